//! Writes a gallery to a directory: pictures as PNG, everything said about them as JSON lines.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use serde::Serialize;

use crate::attributes::Attributes;
use crate::captions;
use crate::gallery::{Gallery, Picture};
use crate::parallel;
use crate::render::render;

/// Captions written for each picture.
const CAPTIONS: usize = 3;

/// Pictures between two reports of progress, for each thread.
const BATCH: usize = 8;

/// Writes the gallery to `directory`, which is created if need be.
///
/// `NAME.png` holds a picture of `size` × `size` pixels, `triplets.jsonl` the triplets,
/// `captions.jsonl` three true sentences for each picture, `attributes.jsonl` its attributes, and
/// `queries.jsonl` the hand-picked queries if the gallery has any. `progress` is called with the
/// number of pictures written since its last call.
pub fn write_gallery(
    gallery: &Gallery,
    directory: &Path,
    size: u32,
    progress: impl FnMut(usize),
) -> Result<()> {
    write_gallery_with(gallery, directory, size, parallel::available(), progress)
}

/// [`write_gallery`] on a given number of threads.
pub fn write_gallery_with(
    gallery: &Gallery,
    directory: &Path,
    size: u32,
    threads: usize,
    mut progress: impl FnMut(usize),
) -> Result<()> {
    fs::create_dir_all(directory)
        .with_context(|| format!("cannot create the directory {}", directory.display()))?;
    write_sentences(gallery, directory)?;
    for batch in gallery.pictures.chunks(BATCH * threads.max(1)) {
        let written = parallel::map(batch, threads, |picture| {
            let path = directory.join(file_name(picture));
            render(&picture.attributes, picture.seed, size)
                .save(&path)
                .with_context(|| format!("cannot write the picture {}", path.display()))
        });
        written.into_iter().collect::<Result<()>>()?;
        progress(batch.len());
    }
    Ok(())
}

#[derive(Serialize)]
struct TripletLine<'a> {
    reference: String,
    modifier: &'a str,
    target: String,
}

#[derive(Serialize)]
struct QueryLine<'a> {
    reference: String,
    modifier: &'a str,
}

#[derive(Serialize)]
struct CaptionsLine {
    image: String,
    captions: Vec<String>,
}

#[derive(Serialize)]
struct AttributesLine<'a> {
    image: String,
    #[serde(flatten)]
    attributes: &'a Attributes,
}

fn write_sentences(gallery: &Gallery, directory: &Path) -> Result<()> {
    let name = |at: usize| file_name(&gallery.pictures[at]);
    let triplets = gallery.triplets.iter().map(|triplet| TripletLine {
        reference: name(triplet.reference),
        modifier: &triplet.modifier,
        target: name(triplet.target),
    });
    write_lines(&directory.join("triplets.jsonl"), triplets)?;
    let captions = gallery.pictures.iter().map(|picture| CaptionsLine {
        image: file_name(picture),
        captions: true_captions(picture),
    });
    write_lines(&directory.join("captions.jsonl"), captions)?;
    let attributes = gallery.pictures.iter().map(|picture| AttributesLine {
        image: file_name(picture),
        attributes: &picture.attributes,
    });
    write_lines(&directory.join("attributes.jsonl"), attributes)?;
    if gallery.queries.is_empty() {
        return Ok(());
    }
    let queries = gallery
        .queries
        .iter()
        .map(|query| QueryLine { reference: name(query.reference), modifier: &query.modifier });
    write_lines(&directory.join("queries.jsonl"), queries)
}

fn file_name(picture: &Picture) -> String {
    format!("{}.png", picture.name)
}

/// Different sentences, the same for every call.
fn true_captions(picture: &Picture) -> Vec<String> {
    let mut rng = ChaCha8Rng::seed_from_u64(!picture.seed);
    let mut sentences = Vec::with_capacity(CAPTIONS);
    while sentences.len() < CAPTIONS {
        let sentence = captions::full(&picture.attributes, &mut rng).sentence;
        if !sentences.contains(&sentence) {
            sentences.push(sentence);
        }
    }
    sentences
}

fn write_lines(path: &Path, lines: impl Iterator<Item = impl Serialize>) -> Result<()> {
    let context = || format!("cannot write {}", path.display());
    let mut file = BufWriter::new(File::create(path).with_context(context)?);
    for line in lines {
        serde_json::to_writer(&mut file, &line).with_context(context)?;
        file.write_all(b"\n").with_context(context)?;
    }
    file.flush().with_context(context)
}
