//! Beam search: the sentences that are most probable as a whole, by the rules of Hugging Face's
//! `generate` with a length penalty of 1 and no early stopping.

use candle_core::{DType, Result as CandleResult};

use super::{
    decoder::{Decoder, Look, State},
    write::{Frame, check_scores},
};

/// One sentence that goes on, or that has ended.
#[derive(Debug, Clone)]
struct Beam {
    tokens: Vec<u32>,
    /// Sum of the log-probabilities; for one that has ended, divided by its length.
    score: f32,
}

/// A continuation: by the beam it goes on from, its token, and its score.
#[derive(Debug, Clone, Copy)]
struct Step {
    beam: usize,
    token: u32,
    score: f32,
}

/// The search for one picture.
#[derive(Debug)]
struct Search {
    open: Vec<Beam>,
    ended: Vec<Beam>,
    done: bool,
}

/// The most probable sentence about each picture, token ids without the frame.
pub(super) fn search(
    decoder: &Decoder,
    look: &Look,
    pictures: usize,
    beams: usize,
    frame: Frame,
) -> CandleResult<Vec<Vec<u32>>> {
    let start = Beam { tokens: Vec::new(), score: 0.0 };
    let mut searches: Vec<Search> = (0..pictures)
        .map(|_| Search { open: vec![start.clone()], ended: Vec::new(), done: false })
        .collect();
    let mut state: State = decoder.start(look, beams, frame.limit)?;
    let mut tokens = vec![frame.start; pictures * beams];
    for written in 0..frame.limit {
        let logits: Vec<Vec<f32>> =
            decoder.step(&tokens, &mut state)?.to_dtype(DType::F32)?.to_vec2()?;
        logits.iter().try_for_each(|logits| check_scores(logits))?;
        let mut rows: Vec<u32> = (0..(pictures * beams) as u32).collect();
        for (picture, search) in searches.iter_mut().enumerate().filter(|(_, s)| !s.done) {
            let first = picture * beams;
            let from = search.step(&logits[first..first + beams], beams, written, frame);
            for (n, from) in from.into_iter().enumerate() {
                rows[first + n] = (first + from) as u32;
                tokens[first + n] = search.open[n].tokens.last().copied().unwrap_or(frame.start);
            }
        }
        if searches.iter().all(|search| search.done) {
            break;
        }
        state.reorder(&rows)?;
    }
    let best = searches.into_iter().map(|search| search.ended.into_iter().next());
    Ok(best.map(|best| best.map_or_else(Vec::new, |beam| beam.tokens)).collect())
}

impl Search {
    /// Goes one token on; says which beam each open one goes on from.
    fn step(
        &mut self,
        logits: &[Vec<f32>],
        beams: usize,
        written: usize,
        frame: Frame,
    ) -> Vec<usize> {
        let length = (written + 1) as f32;
        let (mut open, mut from) = (Vec::new(), Vec::new());
        // Twice as many as there are beams, so that enough go on if the best ones end.
        for (rank, step) in self.best_steps(logits, 2 * beams, written, frame).iter().enumerate() {
            let mut tokens = self.open[step.beam].tokens.clone();
            let ends = step.token == frame.end;
            if !ends {
                tokens.push(step.token);
            }
            if ends || written + 1 == frame.limit {
                if rank < beams {
                    self.ended.push(Beam { tokens, score: step.score / length });
                }
            } else if open.len() < beams {
                open.push(Beam { tokens, score: step.score });
                from.push(step.beam);
            }
        }
        self.ended.sort_by(|a, b| b.score.total_cmp(&a.score));
        self.ended.truncate(beams);
        let promising = |best: &Beam| {
            self.ended.len() < beams
                || self.ended.last().is_none_or(|worst| best.score / length > worst.score)
        };
        self.done = !open.first().is_some_and(promising);
        self.open = open;
        from
    }

    fn best_steps(
        &self,
        logits: &[Vec<f32>],
        most: usize,
        written: usize,
        frame: Frame,
    ) -> Vec<Step> {
        let mut steps = Vec::new();
        for (beam, (open, logits)) in self.open.iter().zip(logits).enumerate() {
            let norm = log_sum_exp(logits);
            steps.extend(logits.iter().enumerate().filter_map(|(token, logit)| {
                // A sentence has at least one token.
                let allowed = written > 0 || token != frame.end as usize;
                let score = open.score + logit - norm;
                allowed.then_some(Step { beam, token: token as u32, score })
            }));
        }
        let better = |a: &Step, b: &Step| b.score.total_cmp(&a.score);
        if steps.len() > most {
            steps.select_nth_unstable_by(most, better);
            steps.truncate(most);
        }
        steps.sort_by(|a, b| better(a, b).then(a.beam.cmp(&b.beam)).then(a.token.cmp(&b.token)));
        steps
    }
}

fn log_sum_exp(logits: &[f32]) -> f32 {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    most + logits.iter().map(|logit| (logit - most).exp()).sum::<f32>().ln()
}
