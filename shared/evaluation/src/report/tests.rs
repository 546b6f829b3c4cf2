//! The report against the rows that it is made of.

use std::{fs, path::Path};

use weimocir_domain::TextReference;

use super::*;
use crate::{captions::CaptionChoice, grid::Grid, test_set::GalleryImage};

fn set(name: &str, metrics: &[Metric]) -> TestSet {
    let image = |n: usize| GalleryImage { name: format!("i{n}"), file: String::new(), part: None };
    TestSet {
        name: name.to_owned(),
        category: None,
        gallery: (0..4).map(image).collect(),
        triplets: vec![],
        metrics: metrics.to_vec(),
        reference_stays: false,
    }
}

/// A plane whose first metric is greatest, 40, at α 0.5 and β 0.25 and falls off by distance; every
/// further metric is 10 more than the one before.
fn plane(text_reference: TextReference, choice: CaptionChoice, metrics: usize) -> Vec<Row> {
    let grid = Grid::sweep(0.25).unwrap();
    let row = |cell| {
        let (alpha, beta) = grid.weights(cell);
        let away = f64::from((alpha.get() - 0.5).hypot(beta.get() - 0.25));
        let percents = (0..metrics).map(|nth| 40.0 - 20.0 * away + 10.0 * nth as f64).collect();
        Row { category: None, choice, text_reference, alpha, beta, percents }
    };
    (0..grid.cells()).map(row).collect()
}

fn weights(alpha: f32, beta: f32) -> (Alpha, Beta) {
    (Alpha::new(alpha).unwrap(), Beta::new(beta).unwrap())
}

fn report<'a>(sets: &'a [&'a TestSet], rows: &'a [Row]) -> Report<'a> {
    let (alpha, beta) = weights(0.75, 0.0);
    Report {
        sets,
        facts: vec![("Embeddings".to_owned(), "a|model".to_owned())],
        alpha,
        beta,
        point_is: "as asked for".to_owned(),
        rows,
        ablation: &[],
        tuned: &[],
        seed: None,
        problems: vec![],
        sheets: vec![],
        tables: vec![],
        took: vec![("evaluation", Duration::from_millis(1230))],
    }
}

fn written(report: &Report<'_>) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = report.write(folder.path()).unwrap();
    let text = fs::read_to_string(file).unwrap();
    (folder, text)
}

fn png(folder: &Path, name: &str) -> image::RgbImage {
    image::open(folder.join(format!("{name}.png"))).unwrap().into_rgb8()
}

const CIRR: [Metric; 5] = [
    Metric::Recall(1),
    Metric::Recall(5),
    Metric::Recall(10),
    Metric::Recall(50),
    Metric::SubsetRecall(1),
];

#[test]
fn our_rows_stand_above_those_of_the_paper() {
    let (set, all) = (set("cirr-val", &CIRR), CaptionChoice::all(3));
    let rows = [TextReference::Image, TextReference::Caption].map(|text| plane(text, all, 5));
    let rows = rows.concat();
    let (_folder, text) = written(&report(&[&set], &rows));
    // 40 - 20 · sqrt(2) / 4
    for line in [
        "## At α = 0.75, β = 0, as asked for",
        "| **ours** | image | 0.75 | 0 | 32.93 | 42.93 | 52.93 | 62.93 | 72.93 |",
        "| paper, CLIP ViT-B/32 | caption | 0.8 | 0.1 | 26.31 | 57.69 | 70.36 | 91.01 | – |",
        "| mean of all | caption | 0.5 | 0.25 | 40.00 | 50.00 | 60.00 | 70.00 | 80.00 |",
        "The paper's rows are of the test split, ours are not",
        "| Embeddings | a\\|model |",
        "evaluation 1.2 s",
        "![Metrics over the plane of α and β](plane.png)",
        "## Problems\n\nNone.",
    ] {
        assert!(text.contains(line), "{line:?} is not in\n{text}");
    }
    assert!(!text.contains("## Tuned") && !text.contains("## Captions"), "{text}");
}

#[test]
fn a_data_set_of_ones_own_has_no_rows_of_the_paper() {
    let set = set("garments", &[Metric::Recall(10)]);
    let rows = plane(TextReference::Image, CaptionChoice::all(0), 1);
    let (_folder, text) = written(&report(&[&set], &rows));
    assert!(!text.contains("| paper") && !text.contains("arXiv"), "{text}");
}

#[test]
fn both_pictures_of_a_chart_show_the_same() {
    let (set, all) = (set("a <hostile> & \"name\"", &CIRR), CaptionChoice::all(3));
    let rows = plane(TextReference::Image, all, 5);
    let (folder, _) = written(&report(&[&set], &rows));
    let svg = fs::read_to_string(folder.path().join("plane.svg")).unwrap();
    assert!(!svg.contains("<hostile>") && svg.contains("&lt;hostile&gt;"), "{svg}");
    for told in ["best 40.00 at α 0.5, β 0.25", "32.93 at α 0.75, β 0", "α 0.75, β 0: as asked for"]
    {
        assert!(svg.contains(told), "{told:?} is not in the chart");
    }
    let png = png(folder.path(), "plane");
    let (width, height) = (png.width() / 2, png.height() / 2);
    assert!(svg.contains(&format!("width=\"{width}\" height=\"{height}\"")), "{width} x {height}");
    // viridis at 0 and 1, and paper
    for (colour, least) in [([68, 1, 84], 500), ([253, 231, 37], 500), ([255; 3], 10_000)] {
        let found = png.pixels().filter(|pixel| pixel.0 == colour).count();
        assert!(found > least, "{colour:?} is on {found} pixels");
    }
}

#[test]
fn an_ablation_is_drawn_beside_what_is_without_captions() {
    let set = set("garments", &[Metric::Recall(10)]);
    let rows = plane(TextReference::Image, CaptionChoice::all(2), 1);
    let choices = CaptionChoice::ablation(2);
    let ablation: Vec<Row> =
        choices.iter().flat_map(|&choice| plane(TextReference::Image, choice, 1)).collect();
    let (alpha, beta) = weights(0.5, 0.5);
    let sets = [&set];
    let report = Report { alpha, beta, ablation: &ablation, ..report(&sets, &rows) };
    let (folder, text) = written(&report);
    for line in [
        "| 1+2 | image | 0.5 | 0.5 | 35.00 |",
        "| none (β = 0) | – | 0.5 | 0 | 35.00 |",
        "![Metrics by the captions that count](ablation.png)",
    ] {
        assert!(text.contains(line), "{line:?} is not in\n{text}");
    }
    let svg = fs::read_to_string(folder.path().join("ablation.svg")).unwrap();
    assert!(svg.contains("without captions (β = 0)") && svg.contains("1+2"), "{svg}");
    assert!(png(folder.path(), "ablation").width() > 400);
}

#[test]
fn what_was_tuned_says_which_half_is_which() {
    let set = set("cirr-val", &[Metric::Recall(10)]);
    let rows = plane(TextReference::Image, CaptionChoice::all(3), 1);
    let (alpha, beta) = weights(0.8, 0.1);
    let (picked_on, reported_on) = (vec![41.0], vec![39.5]);
    let text_reference = TextReference::Image;
    let tuned = [Tuned { text_reference, alpha, beta, picked_on, reported_on }];
    let (_folder, text) =
        written(&Report { tuned: &tuned, seed: Some(7), ..report(&[&set], &rows) });
    assert!(text.contains("(seed 7)"), "{text}");
    assert!(text.contains("| picked on | image | 0.8 | 0.1 | 41.00 |"), "{text}");
    assert!(text.contains("| **reported on** | image | 0.8 | 0.1 | 39.50 |"), "{text}");
}

#[test]
fn a_point_has_no_plane_to_draw() {
    let set = set("garments", &[Metric::Recall(10)]);
    let rows = &plane(TextReference::Image, CaptionChoice::all(0), 1)[..1];
    let (folder, text) = written(&report(&[&set], rows));
    assert!(!folder.path().join("plane.png").exists() && !text.contains("## The plane"), "{text}");
    // of another point than the cell, which is said
    assert!(text.contains("the cell nearest to it"), "{text}");
}

#[test]
fn problems_are_listed_and_a_full_disk_is_told() {
    let set = set("garments", &[Metric::Recall(10)]);
    let rows = plane(TextReference::Image, CaptionChoice::all(0), 1);
    let names = (0..30).map(|n| format!("picture-{n}")).collect();
    let problems = vec![Problem { what: "Pictures that cannot be read".to_owned(), names }];
    let sets = [&set];
    let report = Report { problems, ..report(&sets, &rows) };
    let (folder, text) = written(&report);
    assert!(text.contains("- Pictures that cannot be read (30): `picture-0`, "), "{text}");
    assert!(folder.path().join("problems.txt").is_file());
    let file = folder.path().join("report.md");
    let error = report.write(&file).unwrap_err().to_string();
    assert!(error.contains("cannot write") && error.contains("plane.svg"), "{error}");
}
