//! Sentences from the decoder, every sentence of every picture in the same steps: the first of a
//! picture greedy, the others drawn from the nucleus.

use candle_core::{DType, Result as CandleResult, bail};
use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::decoder::{Decoder, Look};

/// How the next token is chosen.
#[derive(Debug, Clone)]
pub(super) enum Choice {
    /// The most probable.
    Greedy,
    /// Drawn from the smallest set of tokens that holds `top_p` of the probability
    /// (Holtzman et al., 2020, "The curious case of neural text degeneration").
    Nucleus { top_p: f32, temperature: f32, random: Box<ChaCha8Rng> },
}

/// The tokens that frame a sentence, and its greatest length without them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame {
    pub(super) start: u32,
    pub(super) end: u32,
    pub(super) limit: usize,
}

/// Token ids of one sentence per choice, without the frame; `choices` holds the same number for
/// each picture, picture by picture.
pub(super) fn write(
    decoder: &Decoder,
    look: &Look,
    choices: &mut [Choice],
    pictures: usize,
    frame: Frame,
) -> CandleResult<Vec<Vec<u32>>> {
    let mut sentences = vec![Vec::new(); choices.len()];
    let mut open = vec![true; choices.len()];
    let mut tokens = vec![frame.start; choices.len()];
    let mut state = decoder.start(look, choices.len() / pictures.max(1), frame.limit)?;
    for written in 0..frame.limit {
        let mut logits: Vec<Vec<f32>> =
            decoder.step(&tokens, &mut state)?.to_dtype(DType::F32)?.to_vec2()?;
        for row in 0..choices.len() {
            if !open[row] {
                continue;
            }
            check_scores(&logits[row])?;
            if written == 0 {
                // A sentence has at least one token.
                logits[row][frame.end as usize] = f32::NEG_INFINITY;
            }
            let token = choices[row].choose(&logits[row]);
            tokens[row] = token;
            open[row] = token != frame.end;
            if open[row] {
                sentences[row].push(token);
            }
        }
        if !open.contains(&true) {
            break;
        }
    }
    Ok(sentences)
}

/// A model whose numbers overflow would write nonsense, or nothing.
pub(super) fn check_scores(logits: &[f32]) -> CandleResult<()> {
    if logits.iter().fold(true, |finite, logit| finite & logit.is_finite()) {
        return Ok(());
    }
    bail!("the captioner's scores are not numbers")
}

impl Choice {
    /// An index into `logits`, which are log-probabilities up to a constant.
    fn choose(&mut self, logits: &[f32]) -> u32 {
        match self {
            Self::Greedy => greatest(logits) as u32,
            Self::Nucleus { top_p, temperature, random } => {
                draw(logits, *top_p, *temperature, random.random::<f32>()) as u32
            }
        }
    }
}

fn greatest(logits: &[f32]) -> usize {
    let better = |best: usize, i: usize| if logits[i] > logits[best] { i } else { best };
    (1..logits.len()).fold(0, better)
}

/// The token at the fraction `at` (0..1) of the nucleus, the most probable first.
fn draw(logits: &[f32], top_p: f32, temperature: f32, at: f32) -> usize {
    let top = logits[greatest(logits)];
    let mut odds: Vec<(usize, f32)> =
        logits.iter().map(|logit| ((logit - top) / temperature).exp()).enumerate().collect();
    let total: f32 = odds.iter().map(|(_, odd)| odd).sum();
    // Tokens a million times less probable than the first are never in the nucleus' useful part,
    // and leaving them out keeps the sort short.
    odds.retain(|(_, odd)| *odd > 1e-6);
    odds.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    let mut mass = 0.0;
    let nucleus = odds.iter().take_while(|(_, odd)| {
        let within = mass < top_p * total;
        mass += odd;
        within
    });
    let nucleus: Vec<(usize, f32)> = nucleus.copied().collect();
    let mut rest = at * nucleus.iter().map(|(_, odd)| odd).sum::<f32>();
    for (token, odd) in &nucleus {
        rest -= odd;
        if rest <= 0.0 {
            return *token;
        }
    }
    nucleus.last().map_or(0, |(token, _)| *token)
}

/// Logits after each of `tokens`, `[tokens, vocabulary]`, for one picture. For parity checks.
#[cfg(test)]
pub(super) fn forced(
    decoder: &Decoder,
    look: &Look,
    tokens: &[u32],
) -> CandleResult<candle_core::Tensor> {
    let mut state = decoder.start(look, 1, tokens.len())?;
    let rows = tokens.iter().map(|&token| decoder.step(&[token], &mut state));
    candle_core::Tensor::cat(&rows.collect::<CandleResult<Vec<_>>>()?, 0)
}
