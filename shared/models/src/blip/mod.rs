//! BLIP as a captioner, as Hugging Face's `BlipForConditionalGeneration` computes it, and as a dual
//! encoder (`retrieval`). Token ids in and out; sentences are `captioner`'s and `text`'s matter.

mod beam;
mod bert;
mod config;
mod decoder;
mod retrieval;
mod text_encoder;
mod vision;
mod write;

use std::collections::HashSet;

use candle_core::{Result as CandleResult, Tensor};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

pub(crate) use config::BlipConfig;
use decoder::{Decoder, Look};
pub(crate) use retrieval::BlipRetrieval;
use vision::VisionTower;
use write::{Choice, Frame, write};

use crate::{
    error::ModelError,
    weights::{Weights, ignorable},
};

/// As BLIP's authors sample captions.
const TOP_P: f32 = 0.9;

/// The temperature of each round of sampling; later rounds only serve pictures whose sentences
/// came out alike, so they are bolder. Their number bounds the work.
const TEMPERATURES: [f32; 4] = [1.0, 1.0, 1.4, 2.0];

/// Longer than any caption of the data sets BLIP learnt from; bounds the work of a caption that
/// never ends.
const LONGEST_CAPTION: usize = 40;

/// What to write about a batch of pictures.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'a> {
    /// Sentences for each picture.
    pub(crate) r: usize,
    /// Beams of the search for the first sentence; 1 is greedy.
    pub(crate) beams: usize,
    /// One for each picture.
    pub(crate) seeds: &'a [u64],
}

#[derive(Debug)]
pub(crate) struct Blip {
    vision: VisionTower,
    decoder: Decoder,
    frame: Frame,
}

impl Blip {
    pub(crate) fn load(weights: &Weights, config: &BlipConfig) -> Result<Self, ModelError> {
        let (root, text) = (weights.root(), &config.text_config);
        if root.has("text_encoder") && !root.has("text_decoder") {
            return Err(ModelError::EncoderNotCaptioner { file: weights.name().to_owned() });
        }
        let blip = Self {
            vision: VisionTower::load(&root.at("vision_model"), &config.vision_config)?,
            decoder: Decoder::load(&root.at("text_decoder"), config)?,
            frame: Frame {
                start: text.bos_token_id,
                end: text.sep_token_id,
                limit: LONGEST_CAPTION.min(text.max_position_embeddings),
            },
        };
        weights.finish(ignorable::BLIP_CAPTIONER)?;
        Ok(blip)
    }

    /// Up to `r` different sentences for each picture, as `read` spells them; the most probable one
    /// first.
    ///
    /// Pixels `[B, 3, S, S]`. Random numbers are a picture's own, so its captions do not depend on
    /// the pictures beside it.
    pub(crate) fn captions(
        &self,
        pixels: &Tensor,
        Wanted { r, beams, seeds }: Wanted<'_>,
        read: &dyn Fn(&[u32]) -> Result<String, ModelError>,
    ) -> Result<Vec<Vec<String>>, ModelError> {
        let look = self.decoder.look(&self.vision.forward(pixels)?)?;
        let mut found: Vec<Distinct> = seeds.iter().map(|_| Distinct::default()).collect();
        if beams > 1 {
            let best = beam::search(&self.decoder, &look, seeds.len(), beams, self.frame)?;
            for (sentences, tokens) in found.iter_mut().zip(best) {
                sentences.add(read(&tokens)?, r);
            }
        }
        for (round, temperature) in TEMPERATURES.into_iter().enumerate() {
            let short: Vec<usize> = (0..found.len()).filter(|&n| found[n].kept.len() < r).collect();
            if short.is_empty() {
                break;
            }
            // r sentences however few are missing: what a picture needs must not change what
            // another one gets.
            let mut choices = Vec::with_capacity(short.len() * r);
            for &picture in &short {
                choices.extend((0..r).map(|slot| match (beams, round, slot) {
                    (1, 0, 0) => Choice::Greedy,
                    _ => drawn(round, slot, seeds[picture], temperature),
                }));
            }
            let sentences = self.write(&look, &short, seeds.len(), &mut choices)?;
            for (row, tokens) in sentences.iter().enumerate() {
                found[short[row / r]].add(read(tokens)?, r);
            }
        }
        Ok(found.into_iter().map(|sentences| sentences.kept).collect())
    }

    fn write(
        &self,
        look: &Look,
        pictures: &[usize],
        all: usize,
        choices: &mut [Choice],
    ) -> CandleResult<Vec<Vec<u32>>> {
        if pictures.len() == all {
            return write(&self.decoder, look, choices, all, self.frame);
        }
        write(&self.decoder, &look.select(pictures)?, choices, pictures.len(), self.frame)
    }
}

/// A sentence with random numbers of its own.
fn drawn(round: usize, slot: usize, seed: u64, temperature: f32) -> Choice {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    random.set_stream(((round as u64) << 32) | slot as u64);
    Choice::Nucleus { top_p: TOP_P, temperature, random: Box::new(random) }
}

/// Sentences that differ, in the order they came.
#[derive(Debug, Default)]
struct Distinct {
    kept: Vec<String>,
    seen: HashSet<String>,
}

impl Distinct {
    fn add(&mut self, sentence: String, most: usize) {
        if self.kept.len() < most && !sentence.is_empty() && self.seen.insert(sentence.clone()) {
            self.kept.push(sentence);
        }
    }
}

#[cfg(test)]
mod tests;
