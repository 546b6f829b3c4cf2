//! Embeddings of test sets by an encoder in this process. What the cache has is not encoded again, so
//! that an interrupted evaluation goes on where it was.

use std::{
    collections::{BTreeMap, HashSet},
    path::{Path, PathBuf},
};

use anyhow::Context;
use rayon::prelude::*;
use weimocir_domain::{Embedding, ImageId, LongText, ModelId};
use weimocir_evaluation::{Cache, Embeddings, GalleryImage, Parts, TestSet};
use weimocir_models::{Encoder, ModelOptions, PixelRecipe, Pixels};

use super::{args::EvalArgs, captions::Captions};
use crate::ingest;

/// Pictures decoded before they are encoded; because that many decoded ones fit any memory.
const PICTURES_AT_ONCE: usize = 32;
/// Texts between two records of progress.
const TEXTS_AT_ONCE: usize = 256;

#[derive(Debug)]
pub(super) struct Backbone {
    encoder: Encoder,
    cache: Cache,
    long_text: LongText,
    /// Why pictures could not be encoded, by the names of their images.
    pub(super) unreadable: BTreeMap<String, String>,
}

impl Backbone {
    pub(super) fn load(args: &EvalArgs) -> anyhow::Result<Self> {
        let own = &args.backbone;
        let pixels = if args.published { PixelRecipe::Published } else { PixelRecipe::Declared };
        let options = ModelOptions { device: own.device, precision: own.precision, pixels };
        let encoder = Encoder::load(&own.model, options)
            .with_context(|| format!("failed to load the encoder {}", own.model))?;
        // because: another precision rounds otherwise
        let model = ModelId::new(format!("{}-{}", encoder.id(), own.precision));
        let cache = Cache::open(&own.cache, &model, encoder.dim())?;
        Ok(Self { encoder, cache, long_text: own.long_text, unreadable: BTreeMap::new() })
    }

    /// The weights that suit the model.
    pub(super) fn default_weights(&self) -> (f32, f32) {
        self.encoder.default_weights()
    }

    pub(super) fn embeddings(
        &mut self,
        set: &TestSet,
        captions: &Captions,
        images: &Path,
    ) -> anyhow::Result<Embeddings> {
        let pictures = self.encode_pictures(set, images)?;
        let modifiers = set.triplets.iter().map(|triplet| triplet.modifier.clone());
        let texts: Vec<String> = captions.texts().map(str::to_owned).chain(modifiers).collect();
        self.encode_texts(&texts)?;
        let (dim, slots) = (self.encoder.dim(), captions.slots());
        let none = vec![0.0; dim];
        let text = |text: &str| self.cache.get(&text_id(text)).unwrap_or(&none).iter().copied();
        let absent = pictures.iter().enumerate().filter(|(_, id)| id.is_none()).map(|(n, _)| n);
        let picture = |id: &Option<ImageId>| id.and_then(|id| self.cache.get(&id)).unwrap_or(&none);
        let caption = |image: &GalleryImage| {
            let all = captions.of(&image.name);
            let slot = |r: usize| all.get(r).map_or_else(|| none.clone(), |t| text(t).collect());
            (0..slots).flat_map(slot).collect::<Vec<f32>>()
        };
        let parts = Parts {
            dim,
            slots,
            image: pictures.iter().flat_map(|id| picture(id).iter().copied()).collect(),
            captions: set.gallery.iter().flat_map(caption).collect(),
            modifier: set.triplets.iter().flat_map(|triplet| text(&triplet.modifier)).collect(),
            absent: absent.collect(),
        };
        Ok(Embeddings::new(set, parts)?)
    }

    /// The name of each image's picture in the cache; `None` for one that cannot be read.
    fn encode_pictures(
        &mut self,
        set: &TestSet,
        folder: &Path,
    ) -> anyhow::Result<Vec<Option<ImageId>>> {
        let bar = ingest::bar("pictures", set.gallery.len() as u64, true);
        let mut ids = Vec::with_capacity(set.gallery.len());
        for group in set.gallery.chunks(PICTURES_AT_ONCE) {
            let read = group.par_iter().map(|image| self.read(image, folder));
            let (mut new, mut pictures) = (Vec::new(), Vec::new());
            for (image, read) in group.iter().zip(read.collect::<Vec<_>>()) {
                match read {
                    Ok((id, pixels)) => {
                        ids.push(Some(id));
                        if let Some(pixels) = pixels {
                            new.push(id);
                            pictures.push(pixels);
                        }
                    }
                    Err(error) => {
                        ids.push(None);
                        self.unreadable.insert(image.name.clone(), format!("{error:#}"));
                    }
                }
            }
            let encoded = self.encoder.encode_images(&pictures);
            self.keep(new.into_iter().zip(encoded.context("failed to encode the pictures")?))?;
            bar.inc(group.len() as u64);
        }
        bar.finish_and_clear();
        Ok(ids)
    }

    /// A picture's name in the cache, and its pixels if it is not there.
    fn read(
        &self,
        image: &GalleryImage,
        folder: &Path,
    ) -> anyhow::Result<(ImageId, Option<Pixels>)> {
        let bytes = std::fs::read(picture_file(folder, image)?)?;
        let id = ImageId::of(&bytes);
        if self.cache.get(&id).is_some() {
            return Ok((id, None));
        }
        Ok((id, Some(self.encoder.preprocessor().pixels(&bytes)?)))
    }

    fn encode_texts(&mut self, texts: &[String]) -> anyhow::Result<()> {
        let mut seen = HashSet::new();
        let mut new: Vec<&String> = texts.iter().filter(|text| seen.insert(*text)).collect();
        let bar = ingest::bar("texts", new.len() as u64, true);
        new.retain(|text| self.cache.get(&text_id(text)).is_none());
        bar.inc((seen.len() - new.len()) as u64);
        let preprocessor = self.encoder.text_preprocessor();
        let mut truncated = 0_usize;
        for group in new.chunks(TEXTS_AT_ONCE) {
            let tokens: Result<Vec<_>, _> = group
                .iter()
                .map(|text| match text.trim().is_empty() {
                    true => preprocessor.of_nothing(),
                    false => {
                        let one = std::slice::from_ref(*text);
                        Ok(preprocessor.tokens(one, self.long_text)?.remove(0))
                    }
                })
                .collect();
            let encoded = tokens.and_then(|tokens| self.encoder.encode_tokens(&tokens));
            let encoded = encoded.context("failed to encode the texts")?;
            truncated += encoded.iter().filter(|text| text.truncated).count();
            let embeddings = encoded.into_iter().map(|text| text.embedding);
            self.keep(group.iter().map(|text| text_id(text)).zip(embeddings))?;
            bar.inc(group.len() as u64);
        }
        bar.finish_and_clear();
        if truncated > 0 {
            tracing::warn!(
                truncated,
                "texts were too long for the model, their ends were left out"
            );
        }
        Ok(())
    }

    fn keep(&mut self, new: impl Iterator<Item = (ImageId, Embedding)>) -> anyhow::Result<()> {
        for (id, embedding) in new {
            self.cache.put(id, &embedding)?;
        }
        Ok(self.cache.flush()?)
    }
}

/// A text's name in the cache, which no picture has.
fn text_id(text: &str) -> ImageId {
    ImageId::of(format!("text: {text}").as_bytes())
}

/// Where a picture is: as the data set says, or with a usual ending, there or right in the folder.
pub(super) fn picture_file(folder: &Path, image: &GalleryImage) -> anyhow::Result<PathBuf> {
    let name = Path::new(&image.file).file_name().map(Path::new);
    let places = [Some(Path::new(&image.file)), name];
    let endings = ["", ".png", ".jpg", ".jpeg"];
    let candidates = places.into_iter().flatten().flat_map(|place| {
        endings.map(|ending| folder.join(format!("{}{ending}", place.display())))
    });
    let found = candidates.into_iter().find(|path| path.is_file());
    found.with_context(|| format!("no {} in {}", image.file, folder.display()))
}
