//! Answers against METHOD's formula in f64, for galleries of every kind that live and change; and all
//! kernels against each other.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io,
    sync::{Arc, Mutex},
};

use memmap2::MmapMut;
use proptest::prelude::*;
use rand::{Rng, seq::IndexedRandom};
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
use roaring::RoaringBitmap;
use weimocir_domain::{Beta, Composed, ImageId, exact_dot};

use crate::{
    Entry, Footprint, Found, Guarantee, Index, IndexError, LEARN, Memory, Restoring, Wanted,
    basis::Basis,
    kernels::{Estimates, Instructions},
    sketch::{BLOCK, SCALE_ROUNDING, pack, unpack},
};

type Vector = Vec<f32>;

fn id(n: usize) -> ImageId {
    // because: ascending ids in an order of their own, as ties are broken by them
    ImageId::from_bytes(
        (n as u128).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835).to_be_bytes(),
    )
}

fn random_vector(random: &mut ChaCha8Rng, dim: usize) -> Vector {
    (0..dim).map(|_| (0..4).map(|_| random.random_range(-1.0_f32..1.0)).sum()).collect()
}

fn mixed(a: &[f32], share: f32, b: &[f32]) -> Vector {
    a.iter().zip(b).map(|(a, b)| a + share * b).collect()
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Isotropic,
    /// Few directions hold most of the energy, around a common mean, as encoders' features do.
    Clustered,
    /// Many equal vectors: order is by id.
    Duplicates,
    /// Differences as small as f32 can hold.
    Close,
    /// One direction, in both senses.
    Line,
}

const KINDS: [Kind; 5] =
    [Kind::Isotropic, Kind::Clustered, Kind::Duplicates, Kind::Close, Kind::Line];

/// Draws vectors of one kind.
struct Source {
    kind: Kind,
    dim: usize,
    random: ChaCha8Rng,
    centres: Vec<Vector>,
}

impl Source {
    fn new(kind: Kind, dim: usize, seed: u64) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut centres: Vec<_> = (0..8).map(|_| random_vector(&mut random, dim)).collect();
        let mean = random_vector(&mut random, dim);
        for (n, centre) in centres.iter_mut().enumerate() {
            let decay = 1.0 / (1.0 + n as f32);
            *centre = centre.iter().zip(&mean).map(|(c, m)| 2.0 * m + c * decay).collect();
        }
        Self { kind, dim, random, centres }
    }

    fn draw(&mut self) -> Vector {
        let noise = random_vector(&mut self.random, self.dim);
        let centre = self.centres.choose(&mut self.random).cloned().unwrap_or_default();
        let length = self.random.random_range(0.5_f32..20.0);
        let drawn = match self.kind {
            Kind::Isotropic => noise,
            Kind::Clustered => mixed(&centre, 0.3, &noise),
            Kind::Duplicates => return centre,
            Kind::Close => mixed(&self.centres[0], 1e-6, &noise),
            Kind::Line => {
                let sign = if self.random.random::<bool>() { 1.0 } else { -1.0 };
                self.centres[0].iter().map(|c| sign * c).collect()
            }
        };
        drawn.into_iter().map(|x| x * length).collect()
    }
}

/// A gallery told twice: to the index, and as it should be.
struct Gallery {
    index: Index,
    held: BTreeMap<usize, (Vector, Vec<Vector>)>,
    /// What was put in or removed, whether or not that changed anything.
    touched: BTreeSet<usize>,
    source: Source,
    most_captions: usize,
}

impl Gallery {
    fn new(kind: Kind, dim: usize, most_captions: usize, seed: u64) -> Self {
        let source = Source::new(kind, dim, seed);
        let index = Index::new(dim).unwrap();
        Self { index, held: BTreeMap::new(), touched: BTreeSet::new(), source, most_captions }
    }

    fn put(&mut self, numbers: impl IntoIterator<Item = usize>) {
        let mut new = Vec::new();
        for n in numbers {
            let embedding = self.source.draw();
            let count = self.source.random.random_range(0..=self.most_captions);
            let captions = (0..count).map(|_| self.source.draw()).collect();
            new.push((n, (embedding, captions)));
        }
        self.insert(new);
    }

    fn insert(&mut self, new: Vec<(usize, (Vector, Vec<Vector>))>) {
        let entries = new.iter().map(|(n, (embedding, captions))| Entry {
            image: id(*n),
            embedding,
            captions: captions.iter().map(Vec::as_slice).collect(),
        });
        self.index.insert(&entries.collect::<Vec<_>>()).unwrap();
        self.touched.extend(new.iter().map(|(n, _)| *n));
        self.held.extend(new);
    }

    /// Images that go, come again with other vectors, or get captions.
    fn change(&mut self, changes: usize) {
        for _ in 0..changes {
            let n = self.source.random.random_range(0..self.held.len() * 11 / 10 + 1);
            match self.source.random.random_range(0..3) {
                0 => {
                    assert_eq!(self.index.remove(id(n)), self.held.remove(&n).is_some());
                    self.touched.insert(n);
                }
                1 => self.put([n]),
                _ => {
                    if let Some((embedding, mut captions)) = self.held.get(&n).cloned() {
                        captions.push(self.source.draw());
                        captions.truncate(self.most_captions);
                        self.insert(vec![(n, (embedding, captions))]);
                    }
                }
            }
        }
    }

    fn learn(&mut self) {
        self.index.begin_learning();
        let mut learned = self.index.sample().unwrap().learn();
        // because: what changes while it is being learned must be in it as well
        self.change(20);
        while !learned.advance(&self.index).unwrap() {
            self.change(5);
        }
        self.change(20);
        self.index.adopt(learned).unwrap();
    }

    fn query(&mut self, slots: usize, beta: f32) -> Composed {
        let modifier = self.source.draw();
        let share = self.source.random.random_range(0.0_f32..2.0);
        let mut compose = || {
            let reference = self.source.draw();
            let mut q = mixed(&reference, share, &modifier);
            if length(&q) < 1e-3 {
                q = modifier.clone();
            }
            let length = length(&q) as f32;
            q.iter_mut().for_each(|x| *x /= length);
            q
        };
        Composed {
            image: compose(),
            captions: (0..slots).map(|_| compose()).collect(),
            beta: Beta::new(beta).unwrap(),
        }
    }

    /// Every image's score by METHOD's formula in f64, from the raw vectors, best first.
    fn scores(&self, query: &Composed, admitted: impl Fn(usize) -> bool) -> Vec<(f32, ImageId)> {
        let held = self.held.iter().filter(|(n, _)| admitted(**n));
        let mut scores: Vec<_> =
            held.map(|(n, (v, t))| (formula(query, v, t) as f32, id(*n))).collect();
        scores.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        scores
    }
}

fn length(x: &[f32]) -> f64 {
    x.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt()
}

fn cosine(q: &[f32], x: &[f32]) -> f64 {
    q.iter().zip(x).map(|(&q, &x)| f64::from(q) * f64::from(x)).sum::<f64>() / length(x)
}

fn formula(query: &Composed, v: &[f32], t: &[Vector]) -> f64 {
    let s_img = cosine(&query.image, v);
    let slots = if query.captions.is_empty() { t.len() } else { t.len().min(query.captions.len()) };
    if slots == 0 {
        return s_img;
    }
    let q = |r: usize| query.captions.get(r).unwrap_or(&query.image);
    let s_txt = (0..slots).map(|r| cosine(q(r), &t[r])).sum::<f64>() / slots as f64;
    let beta = f64::from(query.beta.get());
    (1.0 - beta) * s_img + beta * s_txt
}

/// Memory that outlives an index.
#[derive(Debug, Clone, Default)]
struct Files(Arc<Mutex<Vec<File>>>);

impl Memory for Files {
    #[allow(unsafe_code)]
    fn piece(&self, number: usize, bytes: usize) -> io::Result<MmapMut> {
        let mut files = self.0.lock().unwrap();
        if number == files.len() {
            files.push(tempfile::tempfile()?);
            files[number].set_len(bytes as u64)?;
        }
        // SAFETY: nothing else knows the file, which has no name, and one index maps it at a time.
        unsafe { MmapMut::map_mut(&files[number]) }
    }
}

/// The same images in the same order with the same scores.
fn check(found: &[Found], scores: &[(f32, ImageId)], k: usize) -> Result<(), TestCaseError> {
    let found: Vec<_> = found.iter().map(|found| (found.similarity, found.image)).collect();
    prop_assert_eq!(&found[..], &scores[..k.min(scores.len())]);
    Ok(())
}

fn guarantees() -> [Guarantee; 2] {
    [Guarantee::Proved, Guarantee::default()]
}

proptest! {
    // because: each case is a gallery of its own, learned and searched a dozen times
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn answers_are_those_of_the_formula(
        kind in prop::sample::select(&KINDS[..]),
        dim in prop::sample::select(&[3_usize, 12, 40, 140][..]),
        images in 1_usize..900,
        most_captions in 0_usize..4,
        learned: bool,
        seed: u64,
    ) {
        let mut gallery = Gallery::new(kind, dim, most_captions, seed);
        gallery.put(0..images);
        gallery.change(images / 10);
        if learned && !gallery.held.is_empty() {
            gallery.learn();
            gallery.put(images..images + images / 5);
            gallery.change(images / 10);
        }
        prop_assert_eq!(gallery.index.len(), gallery.held.len());
        prop_assume!(!gallery.held.is_empty());
        for guarantee in guarantees() {
            let random = &mut gallery.source.random;
            let slots = random.random_range(0..4);
            let beta = if random.random::<bool>() { random.random() } else { 0.0 };
            let k = random.random_range(1..=gallery.held.len().min(60));
            let query = gallery.query(slots, beta);
            let wanted = Wanted { k, guarantee, ..Wanted::default() };
            let found = gallery.index.search(&query, &wanted).unwrap();
            check(&found, &gallery.scores(&query, |_| true), k)?;

            // filtered, at any selectivity, and with images that are not wanted
            let random = &mut gallery.source.random;
            let share: f64 = [1.0, 0.5, 0.1, 0.01, 0.0][random.random_range(0..5)];
            let numbers: Vec<usize> =
                gallery.held.keys().copied().filter(|_| random.random_bool(share)).collect();
            let rows: RoaringBitmap =
                numbers.iter().filter_map(|&n| gallery.index.row(id(n))).collect();
            let exclude: Vec<_> = numbers.iter().step_by(7).map(|&n| id(n)).collect();
            let wanted = Wanted { rows: Some(&rows), exclude: &exclude, ..wanted };
            let found = gallery.index.search(&query, &wanted).unwrap();
            let admitted = |n| numbers.contains(&n) && !exclude.contains(&id(n));
            check(&found, &gallery.scores(&query, admitted), k)?;
        }
    }

    #[test]
    fn a_batch_answers_as_its_queries_do(
        kind in prop::sample::select(&KINDS[..]), dim in prop::sample::select(&[12_usize, 140][..]), seed: u64,
    ) {
        let mut gallery = Gallery::new(kind, dim, 3, seed);
        gallery.put(0..700);
        gallery.learn();
        let queries: Vec<_> = (0..5).map(|n| gallery.query(n % 3, 0.2 * n as f32)).collect();
        for guarantee in guarantees() {
            let wanted = Wanted { k: 10, guarantee, ..Wanted::default() };
            let batch = gallery.index.search_batch(&queries, &wanted).unwrap();
            for (query, found) in queries.iter().zip(batch) {
                prop_assert_eq!(&found, &gallery.index.search(query, &wanted).unwrap());
            }
        }
    }

    #[test]
    fn shards_together_answer_as_one_index(
        kind in prop::sample::select(&KINDS[..]), shards in 2_u16..5, seed: u64,
    ) {
        let mut gallery = Gallery::new(kind, 24, 2, seed);
        gallery.put(0..800);
        gallery.learn();
        let mut parts: Vec<Index> = (0..shards).map(|_| Index::new(24).unwrap()).collect();
        for (&n, (embedding, captions)) in &gallery.held {
            let captions = captions.iter().map(Vec::as_slice).collect();
            let entry = Entry { image: id(n), embedding, captions };
            parts[usize::from(id(n).shard(shards).0)].insert(&[entry]).unwrap();
        }
        for part in &mut parts {
            part.begin_learning();
            let learned = part.sample().unwrap().learn();
            part.adopt(learned).unwrap();
        }
        let (k, query) = (20, gallery.query(0, 0.3));
        let wanted = Wanted { k, ..Wanted::default() };
        let mut merged: Vec<Found> =
            parts.iter().flat_map(|part| part.search(&query, &wanted).unwrap()).collect();
        merged.sort_by(|a, b| b.similarity.total_cmp(&a.similarity).then(a.image.cmp(&b.image)));
        merged.truncate(k);
        prop_assert_eq!(merged, gallery.index.search(&query, &wanted).unwrap());
    }

    #[test]
    fn an_index_comes_back_as_it_was(
        dim in prop::sample::select(&[12_usize, 140][..]),
        images in 100_usize..900,
        coded: bool,
        damaged: bool,
        seed: u64,
    ) {
        let files = Files::default();
        let mut gallery = Gallery::new(Kind::Clustered, dim, 2, seed);
        gallery.index = Index::with_memory(dim, Box::new(files.clone())).unwrap();
        gallery.put(0..images);
        if coded {
            gallery.learn();
        }
        gallery.change(20);
        let table = gallery.index.table();
        let basis = gallery.index.basis().cloned();
        gallery.touched.clear();
        let mut segments = vec![Vec::new(); table.segments()];
        for (n, bytes) in segments.iter_mut().enumerate().filter(|_| coded) {
            for page in table.pages(n) {
                gallery.change(20);
                gallery.index.write_page(basis.as_ref().unwrap(), n, &page, bytes).unwrap();
            }
        }
        gallery.change(20);

        let basis = basis.map(|basis| Basis::clone(&basis));
        let mut restoring = Restoring::new(table, basis, Box::new(files)).unwrap();
        prop_assert_eq!(restoring.segments(), segments.len() * usize::from(coded));
        for n in 0..restoring.segments() {
            if damaged {
                segments[n].pop();
                prop_assert!(restoring.read(n, &mut &segments[n][..]).is_err());
                let _lost = restoring.code(n).unwrap();
            } else {
                let mut bytes = &segments[n][..];
                restoring.read(n, &mut bytes).unwrap();
                prop_assert!(bytes.is_empty());
            }
        }
        gallery.index = restoring.finish();
        prop_assert_eq!(gallery.index.basis().is_some(), coded);
        // what was touched since the table was made is put in anew
        let touched = std::mem::take(&mut gallery.touched);
        for &n in &touched {
            gallery.index.remove(id(n));
        }
        let again = touched.into_iter().filter_map(|n| Some((n, gallery.held.get(&n)?.clone())));
        let again = again.collect();
        gallery.insert(again);

        gallery.change(20);
        prop_assert_eq!(gallery.index.len(), gallery.held.len());
        for guarantee in guarantees() {
            let query = gallery.query(2, 0.5);
            let k = gallery.held.len().min(20);
            let wanted = Wanted { k, guarantee, ..Wanted::default() };
            let found = gallery.index.search(&query, &wanted).unwrap();
            check(&found, &gallery.scores(&query, |_| true), k)?;
        }
    }

    #[test]
    fn all_kernels_give_the_same_bits(dim in prop::sample::select(&[12_usize, 140, 200][..]), seed: u64) {
        let mut gallery = Gallery::new(Kind::Clustered, dim, 3, seed);
        gallery.put(0..300);
        gallery.learn();
        let query = gallery.query(2, 0.4);
        let wanted = Wanted { k: 10, ..Wanted::default() };
        let expected = gallery.index.search(&query, &wanted).unwrap();
        for instructions in Instructions::available() {
            compare_kernels(&gallery, &query, instructions)?;
            gallery.index.instructions = instructions;
            prop_assert_eq!(&expected, &gallery.index.search(&query, &wanted).unwrap());
        }
    }
}

fn compare_kernels(
    gallery: &Gallery,
    query: &Composed,
    instructions: Instructions,
) -> Result<(), TestCaseError> {
    let plain = Instructions::Portable;
    let codes = gallery.index.codes.as_ref().unwrap();
    let sketch = gallery.index.sketch_of(query, 5.0);
    for block in 0..300 / BLOCK {
        let (mut one, mut other) = (Estimates::default(), Estimates::default());
        plain.estimate(&sketch, codes.block(block), 0.5, &mut one);
        instructions.estimate(&sketch, codes.block(block), 0.5, &mut other);
        prop_assert_eq!(one.value.map(f32::to_bits), other.value.map(f32::to_bits));
        prop_assert_eq!(one.square.map(f32::to_bits), other.square.map(f32::to_bits));
        prop_assert_eq!((one.reach, one.beyond), (other.reach, other.beyond));
        for n in 0..BLOCK {
            let (above, reaches) = (one.above(n), one.reach >> n & 1 == 1);
            // because: a square and a root round apart
            prop_assert!(reaches == (above >= 0.5) || (above - 0.5).abs() < 1e-5, "{}", above);
        }
    }
    let [some, others] = [89, 147].map(|n| -> Vec<i8> {
        (0..codes.bounds(0).1.len() * 2).map(|i| (i * n % 255) as u8 as i8).collect()
    });
    for row in 0..20 {
        let products = |of: Instructions| of.products(codes.bounds(row).1, [&some, &others]);
        prop_assert_eq!(products(instructions), products(plain));
    }
    let basis = &codes.basis;
    for seed in 0..20 {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let y = random_vector(&mut random, basis.width);
        prop_assert_eq!(instructions.code(basis, &y, 0.3), plain.code(basis, &y, 0.3));
        let signs = random_vector(&mut random, 3 * basis.width);
        let (mut turned, mut expected) = (y.clone(), y);
        instructions.scramble(&signs, &mut turned);
        plain.scramble(&signs, &mut expected);
        prop_assert_eq!(turned, expected);
    }
    Ok(())
}

/// The chance that a swift bound is too low is stated; this counts how often it is, where that is
/// often enough to be counted.
#[test]
fn errors_exceed_deviations_no_more_often_than_a_normal_distribution() {
    // because: these are the chances beyond 1, 2 and 3 deviations, on one side
    for (deviations, chance) in [(1.0, 0.1587), (2.0, 0.02275), (3.0, 0.00135)] {
        let (mut exceeded, mut exceeded_4_bits, mut pairs) = (0, 0, 0);
        for seed in 0..12 {
            let mut gallery = Gallery::new(KINDS[seed as usize % 2], 140, 2, seed);
            gallery.put(0..640);
            gallery.learn();
            let codes = gallery.index.codes.as_ref().unwrap();
            let blocks: Vec<Vec<u8>> = (0..10).map(|block| codes.block(block).to_vec()).collect();
            for _ in 0..10 {
                let query = gallery.query(0, 0.3);
                let sketch = gallery.index.sketch_of(&query, deviations);
                let mut estimates = Estimates::default();
                for (b, block) in blocks.iter().enumerate() {
                    Instructions::detect().estimate(&sketch, block, 0.0, &mut estimates);
                    for n in 0..BLOCK {
                        let image = gallery.index.rows[b * BLOCK + n].image;
                        let held = gallery.held.iter().find(|(n, _)| id(**n) == image);
                        let Some((_, (v, t))) = held else { continue };
                        let score = formula(&query, v, t) as f32;
                        exceeded += u64::from(score > estimates.above(n));
                        pairs += 1;
                        let row = (b * BLOCK + n) as u32;
                        let above = gallery.index.bound_of(&query, deviations, row);
                        exceeded_4_bits += u64::from(score > above);
                    }
                }
            }
        }
        let share = exceeded as f64 / pairs as f64;
        assert!(share <= 1.1 * chance, "{share} of {pairs} exceed {deviations} deviations");
        let share_4_bits = exceeded_4_bits as f64 / pairs as f64;
        assert!(share_4_bits <= 1.1 * chance, "{share_4_bits} exceed {deviations} with 4 bits");
        // because: bounds that are never reached would be bounds of something else
        assert!(share >= 0.2 * chance, "{share} of {pairs} exceed {deviations} deviations");
    }
}

#[test]
fn the_chance_of_so_many_deviations_is_that_of_a_normal_distribution() {
    // `scipy.stats.norm.isf(p)`; the bound is a little above
    for (p, exact) in [(1e-3, 3.0902), (1e-6, 4.7534), (5e-8, 5.3267), (1e-12, 7.0345)] {
        let found = crate::sketch::deviations(p);
        assert!(found >= exact && found < exact + 0.05, "{p} gave {found}");
    }
}

#[test]
fn a_packed_scale_is_off_by_its_rounding_at_most() {
    let mut scale = 1e-13_f32;
    while scale < 2e5 {
        let packed = unpack(pack(scale));
        assert!((packed - scale).abs() <= SCALE_ROUNDING * scale, "{packed} for {scale}");
        scale *= 1.0004;
    }
    assert_eq!(unpack(pack(0.0)), 2.0_f32.powi(-46));
    assert!(unpack(pack(f32::MAX)) > 2.6e5);
}

/// What `weimocir plan` and the README's figures count with, by what the groups hold: of 1,024 coordinates 4 are
/// common, 64 have four bits, 128 two, 188 one, and 640 a quarter.
#[test]
fn codes_take_so_many_bytes() {
    let mut gallery = Gallery::new(Kind::Clustered, 512, 1, 3);
    gallery.put(0..300);
    gallery.learn();
    let Footprint { sketch, codes, .. } = gallery.index.footprint();
    let (scales, head) = (4 * 2, 64 / 64);
    let expected = 4 + 64 / 2 + 128 / 4 + 188_usize.div_ceil(8) + 640 / 16 / 2 + scales + head;
    let (facts, nibbles) = (64, 1_024 / 2);
    assert_eq!((sketch, codes), (expected as f64, (expected + facts + 2 * nibbles) as f64));
}

#[test]
fn a_basis_is_orthonormal() {
    for (kind, dim) in KINDS.into_iter().flat_map(|kind| [(kind, 40), (kind, 144)]) {
        let mut source = Source::new(kind, dim, 1);
        // because: halves of rows of one direction depend on each other, which is hardest
        let rows: Vec<f32> = (0..2 * 200)
            .map(|_| source.draw())
            .flat_map(|x| x.iter().map(|&v| v / length(&x) as f32).collect::<Vec<_>>())
            .collect();
        let basis = Basis::learn(dim, &rows, 7);
        let mut axes = vec![0.0; basis.width * basis.width];
        axes.iter_mut().step_by(basis.width + 1).for_each(|x| *x = 1.0);
        basis.turn(&mut axes);
        let row = |n: usize| &axes[n * basis.width..][..basis.width];
        for i in 0..basis.width {
            for j in 0..=i {
                let product = exact_dot(row(i), row(j));
                let expected = f64::from(u8::from(i == j));
                assert!((product - expected).abs() < 2e-6, "{kind:?}, {i} and {j}: {product}");
            }
        }
    }
}

#[test]
fn codes_are_learned_again_when_the_data_drift() {
    let mut gallery = Gallery::new(Kind::Clustered, 140, 1, 3);
    let step = |gallery: &mut Gallery, from: usize| {
        (from..from + LEARN).step_by(512).for_each(|n| gallery.put(n..n + 512));
        let is_due = gallery.index.learning_is_due();
        gallery.index.learn().unwrap();
        is_due
    };
    assert!(step(&mut gallery, 0), "there are no codes");
    assert!(!step(&mut gallery, LEARN), "nothing has changed");
    gallery.source = Source::new(Kind::Clustered, 140, 4);
    assert!(step(&mut gallery, 2 * LEARN), "the images are around other means");
    assert!(!step(&mut gallery, 3 * LEARN), "they are known by now");
}

#[test]
fn what_cannot_be_searched_is_refused() {
    let mut gallery = Gallery::new(Kind::Isotropic, 12, 1, 5);
    gallery.put(0..20);
    let query = gallery.query(1, 0.5);
    let search = |query: &Composed, k| {
        gallery.index.search(query, &Wanted { k, ..Wanted::default() }).unwrap_err()
    };
    assert_eq!(search(&query, 0), IndexError::K { k: 0, images: 20 });
    assert_eq!(search(&query, 21), IndexError::K { k: 21, images: 20 });
    let short = Composed { image: vec![1.0; 11], ..query.clone() };
    assert_eq!(search(&short, 1), IndexError::Dimension { expected: 12, found: 11 });
    let longer = Composed { captions: vec![vec![1.0; 13]], ..query.clone() };
    assert_eq!(search(&longer, 1), IndexError::Dimension { expected: 12, found: 13 });
    let long = Composed { image: vec![1.0; 12], ..query.clone() };
    assert!(matches!(search(&long, 1), IndexError::NotUnit { .. }));
    for miss in [0.0, 1.0, -1.0, f64::NAN] {
        let guarantee = Guarantee::Swift { miss };
        let wanted = Wanted { k: 1, guarantee, ..Wanted::default() };
        let error = gallery.index.search(&query, &wanted).unwrap_err();
        assert!(matches!(error, IndexError::Chance { .. }), "{miss}");
    }
    for dim in [0, crate::MOST_DIM + 1] {
        assert_eq!(Index::new(dim).unwrap_err(), IndexError::Width { dim });
    }
    for wrong in [f32::NAN, f32::INFINITY, 0.0] {
        let query = Composed { image: vec![wrong; 12], ..query.clone() };
        assert!(matches!(search(&query, 1), IndexError::NoDirection { .. }), "{wrong}");
    }
}

#[test]
fn what_cannot_be_put_in_is_refused_and_changes_nothing() {
    let mut gallery = Gallery::new(Kind::Isotropic, 12, 1, 5);
    gallery.put(0..20);
    let good = [1.0; 12];
    for bad in [&[1.0; 11][..], &[f32::NAN; 12], &[0.0; 12], &[f32::INFINITY; 12], &[]] {
        for (embedding, captions) in [(bad, vec![&good[..]]), (&good[..], vec![&good[..], bad])] {
            let entries = vec![
                Entry { image: id(50), embedding: &good, captions: vec![] },
                Entry { image: id(3), embedding, captions },
            ];
            gallery.index.insert(&entries).unwrap_err();
        }
    }
    assert_eq!(gallery.index.len(), 20);
    let query = gallery.query(0, 0.5);
    let wanted = Wanted { k: 20, ..Wanted::default() };
    let found = gallery.index.search(&query, &wanted).unwrap();
    check(&found, &gallery.scores(&query, |_| true), 20).unwrap();
}

#[test]
fn a_flipped_bit_of_a_vector_is_noticed() {
    let mut gallery = Gallery::new(Kind::Isotropic, 12, 1, 5);
    gallery.put(0..20);
    let query = gallery.query(0, 0.5);
    gallery.index.vectors.corrupt();
    let wanted = Wanted { k: 20, ..Wanted::default() };
    let error = gallery.index.search(&query, &wanted).unwrap_err();
    assert!(matches!(error, IndexError::Corrupt { .. }), "{error:?}");
}

#[test]
fn a_learning_that_another_overtook_is_void() {
    let mut gallery = Gallery::new(Kind::Isotropic, 12, 1, 5);
    gallery.put(0..200);
    gallery.index.begin_learning();
    let first = gallery.index.sample().unwrap().learn();
    gallery.index.begin_learning();
    let second = gallery.index.sample().unwrap().learn();
    gallery.put(0..50);
    assert_eq!(gallery.index.adopt(first).unwrap_err(), IndexError::Void);
    gallery.put(50..60);
    gallery.index.adopt(second).unwrap();
    for guarantee in guarantees() {
        let query = gallery.query(0, 0.5);
        let wanted = Wanted { k: 20, guarantee, ..Wanted::default() };
        let found = gallery.index.search(&query, &wanted).unwrap();
        check(&found, &gallery.scores(&query, |_| true), 20).unwrap();
    }
}
