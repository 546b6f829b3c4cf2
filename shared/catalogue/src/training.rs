//! Writes what the bundled models learn from, as arrays that NumPy reads.
//!
//! A training set is families of four pictures, a garment and three mutations of it, each with
//! sixteen texts that describe it alone. No text is about two pictures.

mod npy;

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use image::imageops::{self, FilterType};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use serde_json::json;

use crate::attributes::{Attributes, Facet};
use crate::captions;
use crate::modifiers;
use crate::parallel;
use crate::render::render;
use crate::splits::Split;
use crate::words::{self, Text};

/// Pictures of a family: a garment and its mutations.
pub const FAMILY: usize = 4;
/// Full captions, partial captions and modifier-like texts of each picture, in this order.
pub const TEXTS: [usize; 3] = [6, 4, 6];
/// Texts of each picture.
pub const TEXTS_EACH: usize = TEXTS[0] + TEXTS[1] + TEXTS[2];
/// Pixels along each side of a training picture.
pub const SIDE: u32 = 64;

/// Pictures are drawn this large and then made smaller, as those of a real gallery are.
const DRAWN: u32 = 256;

/// One picture of the training set and what is said about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Example {
    pub attributes: Attributes,
    /// Seed of pose, light and grain.
    pub seed: u64,
    pub texts: Vec<Text>,
}

/// Draws `count` examples, rounded up to whole families. All are of [`Split::Train`].
pub fn examples(count: usize, seed: u64) -> Vec<Example> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut examples = Vec::with_capacity(count + FAMILY);
    while examples.len() < count {
        let first = of_train(Attributes::random, &mut rng);
        examples.push(example(first, &mut rng));
        for _ in 1..FAMILY {
            let mutation = of_train(|rng| first.mutated(rng), &mut rng);
            examples.push(example(mutation, &mut rng));
        }
    }
    examples
}

/// Writes a training set to `directory`: `pictures.npy` (count × 64 × 64 × 3 bytes),
/// `attributes.npy` (count × 8 codes), `masks.npy` (count × 16 contradiction masks), `texts.txt`
/// (16 lines for each picture) and `world.json` (sizes of the facets, kinds of texts, words).
pub fn write(
    count: usize,
    seed: u64,
    directory: &Path,
    threads: usize,
    mut progress: impl FnMut(usize),
) -> Result<()> {
    ensure!(count > 0, "a training set needs at least one picture");
    fs::create_dir_all(directory)
        .with_context(|| format!("cannot create the directory {}", directory.display()))?;
    let examples = examples(count, seed);
    write_texts(&examples, directory)?;

    let side = SIDE as usize;
    let path = directory.join("pictures.npy");
    let context = || format!("cannot write {}", path.display());
    let mut file = npy::create(&path, "|u1", &[examples.len(), side, side, 3])?;
    for batch in examples.chunks(32 * threads.max(1)) {
        for pixels in parallel::map(batch, threads, pixels) {
            file.write_all(&pixels).with_context(context)?;
        }
        progress(batch.len());
    }
    file.flush().with_context(context)
}

/// Drawn large and made smaller with a bicubic filter, as the models' preprocessing does.
fn pixels(example: &Example) -> Vec<u8> {
    let large = render(&example.attributes, example.seed, DRAWN);
    imageops::resize(&large, SIDE, SIDE, FilterType::CatmullRom).into_raw()
}

fn example(attributes: Attributes, rng: &mut ChaCha8Rng) -> Example {
    let [full, partial, modified] = TEXTS;
    let mut texts = Vec::with_capacity(TEXTS_EACH);
    texts.extend((0..full).map(|_| captions::full(&attributes, rng)));
    texts.extend((0..partial).map(|_| captions::partial(&attributes, rng)));
    texts.extend((0..modified).map(|_| modifiers::for_training(&attributes, rng)));
    Example { attributes, seed: rng.next_u64(), texts }
}

fn of_train(
    mut draw: impl FnMut(&mut ChaCha8Rng) -> Attributes,
    rng: &mut ChaCha8Rng,
) -> Attributes {
    loop {
        let attributes = draw(rng);
        if Split::of(&attributes) == Split::Train {
            return attributes;
        }
    }
}

fn write_texts(examples: &[Example], directory: &Path) -> Result<()> {
    let codes = examples.iter().flat_map(|example| example.attributes.codes());
    let shape = [examples.len(), Facet::ALL.len()];
    npy::write(&directory.join("attributes.npy"), "|u1", &shape, codes.map(|code| [code]))?;

    let texts = || examples.iter().flat_map(|example| &example.texts);
    let masks = texts().map(|text| text.contradictions.bits().to_le_bytes());
    npy::write(&directory.join("masks.npy"), "<u8", &[examples.len(), TEXTS_EACH], masks)?;

    let path = directory.join("texts.txt");
    let context = || format!("cannot write {}", path.display());
    let mut file = BufWriter::new(File::create(&path).with_context(context)?);
    for text in texts() {
        writeln!(file, "{}", text.sentence).with_context(context)?;
    }
    file.flush().with_context(context)?;

    let path = directory.join("world.json");
    fs::write(&path, serde_json::to_vec_pretty(&world())?)
        .with_context(|| format!("cannot write {}", path.display()))
}

/// What Python has to know about the catalogue.
fn world() -> serde_json::Value {
    let facets: Vec<_> = Facet::ALL
        .iter()
        .map(
            |facet| json!({ "name": facet.name(), "size": facet.size(), "offset": facet.offset() }),
        )
        .collect();
    json!({
        "facets": facets,
        "family": FAMILY,
        "texts": { "full": TEXTS[0], "partial": TEXTS[1], "modifier": TEXTS[2] },
        "words": words::vocabulary(),
    })
}
