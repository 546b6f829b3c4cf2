//! Embeddings of test sets by an encoder in this process. What the cache has is not encoded again, so
//! that an interrupted evaluation goes on where it was.

use std::{
    collections::{BTreeMap, HashSet},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use image::{RgbImage, imageops};
use rayon::prelude::*;
use weimocir_domain::{Embedding, ImageId, LongText, ModelId};
use weimocir_evaluation::{Cache, Embeddings, GalleryImage, Parts, TestSet};
use weimocir_models::{Encoder, ModelOptions, PixelRecipe, Pixels, Precision};

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
    precision: Precision,
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
        let (precision, long_text) = (own.precision, own.long_text);
        Ok(Self { encoder, cache, precision, long_text, unreadable: BTreeMap::new() })
    }

    /// What encodes, in words.
    pub(super) fn name(&self) -> String {
        format!("{}, {}", self.encoder.id(), self.precision)
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
        if let (true, Some(why)) =
            (pictures.iter().all(Option::is_none), self.unreadable.values().next())
        {
            bail!("none of the pictures of {} can be read: {why}", set.name);
        }
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
        let preprocessor = self.encoder.preprocessor();
        let Some(part) = image.part else {
            let id = ImageId::of(&bytes);
            let new = self.cache.get(&id).is_none();
            return Ok((id, new.then(|| preprocessor.pixels(&bytes)).transpose()?));
        };
        let id = ImageId::of(&[&bytes, format!("{part:?}").as_bytes()].concat());
        let new = self.cache.get(&id).is_none();
        let pixels = || preprocessor.pixels_of(&bytes, |picture| square_part(picture, part));
        Ok((id, new.then(pixels).transpose()?))
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

/// How far beyond its box a part reaches, and its place in the middle of a black square: as GeneCIS's
/// own evaluation has it.
const DILATION: f64 = 0.7;

pub(super) fn square_part(picture: &RgbImage, [x, y, width, height]: [f64; 4]) -> RgbImage {
    let span = |start: f64, length: f64, end: u32| {
        let first = (start - DILATION * length).max(0.0);
        let last = (first + (1.0 + DILATION) * length).min(f64::from(end));
        // because: Pillow rounds both ends of a crop so
        let [first, last] = [first, last].map(|end| end.round_ties_even() as u32);
        (first, last.max(first + 1))
    };
    let (left, right) = span(x, width, picture.width());
    let (top, bottom) = span(y, height, picture.height());
    let part = imageops::crop_imm(picture, left, top, right - left, bottom - top).to_image();
    let side = part.width().max(part.height());
    let mut square = RgbImage::new(side, side);
    let (beside, above) = ((side - part.width()) / 2, (side - part.height()) / 2);
    imageops::overlay(&mut square, &part, beside.into(), above.into());
    square
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_widened_and_put_into_a_black_square() {
        // a box of 10 x 4 at (20, 10): from 13 to 30 and from 7.2 to 14
        let picture = RgbImage::from_fn(60, 40, |x, y| image::Rgb([x as u8, y as u8, 9]));
        let square = square_part(&picture, [20.0, 10.0, 10.0, 4.0]);
        assert_eq!(square.dimensions(), (17, 17));
        assert_eq!(square.get_pixel(0, 5).0, [13, 7, 9]);
        assert_eq!(square.get_pixel(16, 11).0, [29, 13, 9]);
        assert_eq!((square.get_pixel(0, 4).0, square.get_pixel(0, 12).0), ([0; 3], [0; 3]));
        // beyond the picture there is nothing to widen into
        assert_eq!(square_part(&picture, [55.0, 38.0, 5.0, 2.0]).dimensions(), (8, 8));
    }
}
