//! What is wrong with a data set or a features file is said: which file, what in it, and by name.

use std::{fs, path::Path};

use safetensors::{Dtype, tensor::TensorView};
use serde_json::{Value, json};
use weimocir_domain::TextReference;
use weimocir_evaluation::{
    CaptionChoice, DataError, Embeddings, FeaturesFile, Grid, Metric, NEVER, Parts, Plan, TestSet,
    cirr, fashioniq, jsonl, sweep, write_features,
};

const DIM: usize = 4;

/// Four images a, b, c and d; two triplets.
fn set() -> TestSet {
    let folder = tempfile::tempdir().expect("a folder");
    let lines = r#"{"reference": "a", "modifier": "red", "target": "b", "subset": ["b", "c", "d"]}
        {"reference": "b", "modifier": "blue", "target": "c", "subset": ["c", "d"]}"#;
    fs::write(folder.path().join("triplets.jsonl"), lines).expect("a file");
    fs::write(folder.path().join("gallery.json"), r#"["a", "b", "c", "d"]"#).expect("a file");
    jsonl::read(folder.path(), folder.path(), false).expect("a test set")
}

/// A features file in the making.
struct Features {
    image: (Vec<usize>, Vec<f32>),
    captions: (Vec<usize>, Vec<f32>),
    modifier: (Vec<usize>, Vec<f32>),
    images: Vec<String>,
    pairs: Value,
    dtype: Dtype,
    /// Bytes at its end that are missing.
    cut: usize,
}

fn numbers(shape: &[usize], start: usize) -> (Vec<usize>, Vec<f32>) {
    let count: usize = shape.iter().product();
    // because: any directions do, as long as no two are the same
    let values = (0..count).map(|n| ((start + n * n) % 17) as f32 - 8.5).collect();
    (shape.to_vec(), values)
}

impl Features {
    fn sound() -> Self {
        Self {
            image: numbers(&[4, DIM], 0),
            captions: numbers(&[4, 2, DIM], 3),
            modifier: numbers(&[2, DIM], 5),
            images: ["a", "b", "c", "d"].map(str::to_owned).to_vec(),
            pairs: json!([0, 1]),
            dtype: Dtype::F32,
            cut: 0,
        }
    }

    fn read(&self) -> Result<Vec<Embeddings>, String> {
        self.read_first(usize::MAX)
    }

    /// With so many captions of each image at most.
    fn read_first(&self, most: usize) -> Result<Vec<Embeddings>, String> {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("f.safetensors");
        let tensors = [&self.image, &self.captions, &self.modifier].map(|(shape, values)| {
            let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
            (shape.clone(), bytes)
        });
        let views = ["image", "captions", "modifier"].iter().zip(&tensors).map(|(name, tensor)| {
            let view = TensorView::new(self.dtype, tensor.0.clone(), &tensor.1);
            (*name, view.expect("a tensor"))
        });
        let bytes = safetensors::serialize(views, None).expect("a file");
        fs::write(&file, &bytes[..bytes.len() - self.cut]).expect("a file");
        let listing = json!({ "images": self.images, "pairs": self.pairs });
        fs::write(file.with_extension("json"), listing.to_string()).expect("a file");
        let read = FeaturesFile::open(&file)
            .and_then(|file| file.with_captions(most).embeddings(&[set()]));
        read.map_err(|error| chain(&error))
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", chain(source)),
        None => error.to_string(),
    }
}

#[track_caller]
fn refused(change: impl FnOnce(&mut Features), why: &str) {
    let mut features = Features::sound();
    change(&mut features);
    let error = features.read().expect_err("it is refused");
    assert!(error.contains("f.safetensors") || error.contains("f.json"), "{error}");
    assert!(error.contains(why), "{error}");
}

#[test]
fn a_features_file_that_is_wrong_is_refused_with_the_reason() {
    assert!(Features::sound().read().is_ok());
    refused(|f| f.cut = 9, "is not a safetensors file");
    refused(|f| f.dtype = Dtype::I32, "is of type I32");
    refused(|f| f.image = numbers(&[4, DIM, 1], 0), "is [4, 4, 1]: [N, d] is expected");
    refused(|f| f.captions = numbers(&[4, DIM], 0), "[N, R, d] is expected");
    refused(|f| f.modifier = numbers(&[2, 3], 0), "the last side must be the same");
    refused(|f| f.image = numbers(&[3, DIM], 0), "lists 4 images, but tensor \"image\" has 3 rows");
    refused(|f| f.captions = numbers(&[5, 2, DIM], 0), "tensor \"captions\" has 5 rows");
    refused(|f| f.modifier = numbers(&[3, DIM], 0), "lists 2 pairs, but tensor \"modifier\" has 3");
    refused(|f| f.images[2] = "x".into(), "lacks images of");
    refused(|f| f.images[2] = "x".into(), ": c (1 in all)");
    refused(|f| f.images[2] = "a".into(), "has two images: a (1 in all)");
    refused(|f| f.pairs = json!([3, 1]), "lacks pairs of");
    refused(|f| f.pairs = json!([1, 1]), "has two pairs: 1 (1 in all)");
    refused(|f| f.pairs = json!(["0", "dress"]), "pair \"dress\" is no number");
    refused(|f| f.pairs = json!([0, 0]), "are 2 in 2 runs from 0, which are not those of");
    refused(|f| f.pairs = json!({"0": 1}), "is not a list of features");
    refused(
        |f| f.image.1[5] = f32::NAN,
        "the image embedding of b has a number that is not finite",
    );
    refused(|f| f.captions.1[5] = f32::INFINITY, "captions embedding of a, caption 2 has a number");
    refused(|f| f.modifier.1[5] = f32::NAN, "the modifier embedding of query 1 has a number");
    refused(|f| f.image.1[4..8].fill(0.0), "the image embedding of b is all zeros");
    refused(|f| f.modifier.1[..4].fill(0.0), "the modifier embedding of query 0 is all zeros");
    refused(|f| f.image.1[4..8].fill(1e30), "the image embedding of b has length 2.0e30");
}

#[test]
fn files_that_are_not_there_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("f.safetensors");
    let error = chain(&FeaturesFile::open(&file).unwrap_err());
    assert!(error.contains("cannot read") && error.contains("f.safetensors"), "{error}");
    let embeddings = Features::sound().read().unwrap();
    write_features(&file, &[(&set(), &embeddings[0])]).unwrap();
    assert_eq!(FeaturesFile::open(&file).unwrap().embeddings(&[set()]).unwrap(), embeddings);
    fs::remove_file(file.with_extension("json")).unwrap();
    let error = chain(&FeaturesFile::open(&file).unwrap_err());
    assert!(error.contains("f.json"), "{error}");
}

/// As NumPy writes an array, of version 1.0.
fn npy(file: &Path, descr: &str, shape: &str, bytes: &[u8]) {
    let dict = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}");
    let head = format!("{dict:<117}\n");
    let all = [b"\x93NUMPY\x01\x00\x76\x00", head.as_bytes(), bytes].concat();
    fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
    fs::write(file, all).expect("a file");
}

#[test]
fn arrays_of_numpy_are_read_in_the_order_of_their_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let features = folder.path().join("f");
    let Features { image, captions, modifier, images, pairs, .. } = Features::sound();
    let bytes = |values: &[f32]| values.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
    let part = |n: usize| features.join(format!("img_emb/img_emb_{n}.npy"));
    // of ten parts, the tenth is not the second
    npy(&part(2), "<f4", "(3, 4)", &bytes(&image.1[..12]));
    npy(&part(10), "<f4", "(1, 4)", &bytes(&image.1[12..]));
    npy(&features.join("captions.npy"), "<f4", "(4, 2, 4)", &bytes(&captions.1));
    npy(&features.join("modifier.npy"), "<f4", "(2, 4)", &bytes(&modifier.1));
    let listing = json!({ "images": images, "pairs": pairs });
    fs::write(folder.path().join("f.json"), listing.to_string()).unwrap();
    let read = || FeaturesFile::open(&features).and_then(|file| file.embeddings(&[set()]));
    assert_eq!(read().unwrap(), Features::sound().read().unwrap());

    for (descr, shape, bytes, why) in [
        ("<f8", "(1, 4)", vec![0; 32], "f32 or f16 is expected"),
        ("<f4", "(1, 4)", vec![0; 15], "it was cut short"),
        ("<f4", "(1, 5)", vec![0; 20], "it is [1, 5] behind parts of [3, 4]"),
        ("<f2", "(1, 4)", vec![0; 8], "the image embedding of d is all zeros"),
    ] {
        npy(&part(10), descr, shape, &bytes);
        let error = chain(&read().unwrap_err());
        assert!(error.contains(why), "{error}");
    }
}

fn cirr_with(entries: &Value, split: &str) -> Result<TestSet, DataError> {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("cap.rc2.val.json"), entries.to_string()).expect("a file");
    fs::write(folder.path().join("split.rc2.val.json"), split).expect("a file");
    cirr::read(folder.path(), cirr::Split::Val, false)
}

#[test]
fn an_annotation_of_cirr_that_is_wrong_is_refused_by_name() {
    let split = r#"{"a": "./a.png", "b": "./b.png", "c": "./c.png"}"#;
    let entry = |reference: &str, target: &str| {
        let members = json!({ "members": ["a", "b", "c"] });
        json!({"pairid": 7, "reference": reference, "target_hard": target, "caption": "", "img_set": members})
    };
    assert!(cirr_with(&json!([entry("a", "b")]), split).is_ok());
    for (entries, split, why) in [
        (json!([entry("x", "b")]), split, "images that its gallery lacks: x (1 in all)"),
        (json!([entry("a", "y")]), split, "no member of the subset in pairs: 7 (1 in all)"),
        (
            json!([entry("b", "b")]),
            split,
            "the target is the reference, which is not ranked, in pairs: 7",
        ),
        (json!([entry("a", "b"), entry("b", "a")]), split, "pair ids stand there twice: 7"),
        (json!({"a": 1}), split, "cap.rc2.val.json is not CIRR's list of triplets"),
        (json!([entry("a", "b")]), "[\"a\"]", "split.rc2.val.json is not CIRR's list of images"),
        (json!([entry("a", "b")]), "{\"a", "split.rc2.val.json is not CIRR's list of images"),
        (json!([entry("a", "b")]), "{}", "the gallery has no images"),
        (json!([entry("a", "b")]), r#"{"a": "", "a": ""}"#, "the gallery has images twice: a"),
    ] {
        let error = cirr_with(&entries, split).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
    let error = cirr::read(Path::new("/nowhere"), cirr::Split::Val, false).unwrap_err().to_string();
    assert!(error.contains("/nowhere has none of image_splits/split.rc2.val.json"), "{error}");
}

#[test]
fn an_entry_of_fashioniq_has_two_captions() {
    let folder = tempfile::tempdir().unwrap();
    let entries = json!([{"target": "a", "candidate": "b", "captions": ["is red"]}]);
    fs::write(folder.path().join("cap.shirt.val.json"), entries.to_string()).unwrap();
    fs::write(folder.path().join("split.shirt.val.json"), r#"["a", "b"]"#).unwrap();
    let read = fashioniq::read(folder.path(), fashioniq::Category::Shirt, false);
    let error = read.unwrap_err().to_string();
    assert!(error.contains("counted from 0, have not two captions: 0 (1 in all)"), "{error}");
}

#[test]
fn triplets_of_ones_own_are_refused_by_line() {
    for (line, why) in [
        ("{\"reference\": \"a\"", "line 2: "),
        (r#"{"reference": "a", "modifier": "", "target": "b", "traget": 1}"#, "unknown field"),
        (r#"{"reference": "a", "modifier": ""}"#, "counted from 0, have no target: 1 (1 in all)"),
        (r#"{"reference": "a", "modifier": "", "target": "a"}"#, "is a target of triplets: 1"),
        (
            r#"{"reference": "a", "modifier": "", "target": "b", "subset": ["a"]}"#,
            "a target is no member of the subset of triplets: 1",
        ),
        (r#"{"reference": "a", "modifier": "", "target": "z.png"}"#, "gallery lacks: z.png"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let first = r#"{"reference": "a", "modifier": "", "targets": ["b"]}"#;
        fs::write(folder.path().join("triplets.jsonl"), format!("{first}\n{line}\n")).unwrap();
        fs::write(folder.path().join("gallery.json"), r#"["a", "b"]"#).unwrap();
        let error = jsonl::read(folder.path(), folder.path(), false).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
}

#[test]
fn the_first_captions_count_where_a_file_has_more() {
    let both = Features::sound();
    let mut first = Features::sound();
    let rows = both.captions.1.chunks(2 * DIM).flat_map(|row| &row[..DIM]);
    first.captions = (vec![4, 1, DIM], rows.copied().collect());
    assert_eq!(both.read_first(1), first.read());
    assert_eq!(both.read_first(2), both.read());
    assert_ne!(both.read_first(1), both.read());
}

fn plan(embeddings: &Embeddings, text_reference: TextReference) -> Plan {
    Plan {
        grid: Grid::sweep(0.5).expect("a grid"),
        text_references: vec![text_reference],
        choices: vec![CaptionChoice::all(embeddings.slots())],
    }
}

#[test]
fn sides_that_cancel_out_and_captions_that_are_not_there_are_named() {
    let mut features = Features::sound();
    for i in 0..DIM {
        features.modifier.1[i] = -features.image.1[i];
    }
    let embeddings = &features.read().unwrap()[0];
    let mut plan = plan(embeddings, TextReference::Image);
    let error = sweep(&set(), embeddings, &plan, &|_| {}).unwrap_err().to_string();
    assert!(error.contains("query 0 at alpha 0.5: reference and modifier cancel"), "{error}");
    plan.choices = vec![CaptionChoice::of(&[2])];
    let error = sweep(&set(), embeddings, &plan, &|_| {}).unwrap_err().to_string();
    assert_eq!(error, "captions 3 are asked for, but there are only 2 of each image");
}

#[test]
fn an_image_without_captions_scores_by_its_pixels() {
    let mut features = Features::sound();
    features.captions.1[2 * DIM..4 * DIM].fill(0.0);
    let embeddings = &features.read().unwrap()[0];
    assert_eq!(embeddings.without_captions(), (vec![1], vec![1]));
    for mode in [TextReference::Image, TextReference::Caption] {
        // because: as captions that equal the pixels in direction it would score the same
        let mut same = Features::sound();
        let pixels = same.image.1[DIM..2 * DIM].to_vec();
        same.captions.1[2 * DIM..4 * DIM].copy_from_slice(&[pixels.clone(), pixels].concat());
        let same = &same.read().unwrap()[0];
        let plan = plan(embeddings, mode);
        let [found, expected] =
            [embeddings, same].map(|e| sweep(&set(), e, &plan, &|_| {}).unwrap());
        for cell in 0..plan.grid.cells() {
            let rank = |sweep: &weimocir_evaluation::Sweep| sweep.ranks(Metric::Recall(1), 0, cell);
            // because: in caption mode only query 0's reference has captions of its own
            if mode == TextReference::Image {
                assert_eq!(rank(&found[0]), rank(&expected[0]), "cell {cell}");
            }
            assert!(rank(&found[0])[0] <= 3);
        }
    }
}

#[test]
fn an_image_that_could_not_be_encoded_never_ranks() {
    let set = set();
    let parts = |absent: usize| {
        let mut image = numbers(&[4, DIM], 0).1;
        image[absent * DIM..(absent + 1) * DIM].fill(0.0);
        Parts {
            dim: DIM,
            image,
            modifier: numbers(&[2, DIM], 5).1,
            absent: vec![absent],
            ..Parts::default()
        }
    };
    // b: the first target and the second reference
    let embeddings = Embeddings::new(&set, parts(1)).unwrap();
    let plan = plan(&embeddings, TextReference::Image);
    let sweep = &sweep(&set, &embeddings, &plan, &|_| {}).unwrap()[0];
    for metric in [Metric::Recall(1), Metric::SubsetRecall(1)] {
        assert_eq!(
            (sweep.ranks(metric, 0, 4), sweep.ranks(metric, 1, 4)),
            (vec![NEVER], vec![NEVER])
        );
        assert_eq!(sweep.percent(metric, 4), 0.0);
    }
    let undeclared = Parts { absent: vec![], ..parts(1) };
    let error = Embeddings::new(&set, undeclared).unwrap_err().to_string();
    assert_eq!(error, "the image embedding of b is all zeros and has no direction");
}

#[test]
fn images_that_are_equal_rank_in_the_order_of_the_gallery() {
    let mut features = Features::sound();
    // all images are the same, and all their captions
    features.image.1 = features.image.1[..DIM].repeat(4);
    features.captions.1 = features.captions.1[..2 * DIM].repeat(4);
    let embeddings = &features.read().unwrap()[0];
    for mode in [TextReference::Image, TextReference::Caption] {
        let plan = plan(embeddings, mode);
        let sweep = &sweep(&set(), embeddings, &plan, &|_| {}).unwrap()[0];
        for cell in 0..plan.grid.cells() {
            // a is the reference of b: b is first of b, c, d; b is that of c: c is behind a
            let ranks = |metric| [0, 1].map(|query| sweep.ranks(metric, query, cell)[0]);
            assert_eq!(ranks(Metric::Recall(1)), [1, 2]);
            assert_eq!(ranks(Metric::SubsetRecall(1)), [1, 1]);
        }
    }
}
