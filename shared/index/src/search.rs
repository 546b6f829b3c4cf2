//! The cascade: sketches of all rows, nibbles of those that may be among the closest, exact scores of
//! those that still may.
//!
//! The K-th best exact score found so far is a floor: a row whose score cannot reach it is passed
//! over. Rows are gone through in rounds of growing size, and each raises the floor for the next.

use std::collections::HashSet;

use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
use rayon::prelude::*;
use roaring::RoaringBitmap;
use weimocir_domain::{Composed, ImageId, TopK, exact_dot, norm};

use crate::{
    IndexError,
    chosen::words_of,
    codes::Codes,
    index::{Index, check_vector},
    kernels::{Estimates, Instructions},
    nibbles::{Bounded, NibbleQuery, Products},
    sketch::{BLOCK, SketchQuery, Slack, deviations},
};

/// How sure an answer is to be the exact one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Guarantee {
    /// It is, up to the rounding of f32 in the bounds: they hold whatever the data.
    Proved,
    /// It is, but for this chance for each query. The chance is over the random directions of the
    /// codes, not over the data.
    Swift { miss: f64 },
}

impl Default for Guarantee {
    fn default() -> Self {
        Self::Swift { miss: 1e-6 }
    }
}

/// What is asked for, besides the query.
#[derive(Debug, Clone, Default)]
pub struct Wanted<'a> {
    pub k: usize,
    pub guarantee: Guarantee,
    /// Rows to choose from; all if not given.
    pub rows: Option<&'a RoaringBitmap>,
    /// Images that are not wanted.
    pub exclude: &'a [ImageId],
}

/// An image and its exact score, in f64 and rounded once.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Found {
    pub image: ImageId,
    pub similarity: f32,
}

/// Blocks of the first round.
// because: 4,096 rows give a floor within a few deviations of the last one
const FIRST_ROUND: usize = if cfg!(test) { 2 } else { 64 };
/// Blocks of one task.
const TASK: usize = 32;
/// Blocks that all queries of a batch look at before the next ones.
// because: so many stay in the first cache
const TILE: usize = 4;
/// Rows chosen by a filter that are looked at one by one.
const FEW: u64 = if cfg!(test) { 100 } else { 16_384 };

/// Rows that are fetched ahead of the one at hand.
// because: a row comes from anywhere in memory, and waiting for it takes longer than its product
const AHEAD: usize = 6;

/// A row that may be among the closest.
#[derive(Debug, Clone, Copy)]
struct Contender {
    row: u32,
    value: f32,
    above: f32,
}

impl Contender {
    // because: what is no number must not be passed over
    fn may_reach(&self, floor: f32) -> bool {
        self.above >= floor || self.above.is_nan()
    }
}

/// A query on its way through the cascade.
struct Run<'a> {
    index: &'a Index,
    query: &'a Composed,
    admitted: &'a Admitted,
    k: usize,
    sketch: Option<SketchQuery>,
    nibbles: Option<NibbleQuery>,
    best: TopK<Found>,
    floor: f32,
    /// Rows with an exact score.
    scored: HashSet<u32>,
    contenders: Vec<Contender>,
}

/// The rows to choose from.
struct Admitted {
    words: Vec<u64>,
    count: u64,
}

impl Index {
    /// The `k` closest images, closest first, equal ones by ascending id.
    ///
    /// # Errors
    /// k is 0 or more than there are images; a query of another length or without direction; vectors
    /// that are not what was stored.
    pub fn search(&self, query: &Composed, wanted: &Wanted<'_>) -> Result<Vec<Found>, IndexError> {
        let found = self.search_batch(std::slice::from_ref(query), wanted)?;
        Ok(found.into_iter().next().unwrap_or_default())
    }

    /// Many queries at once: every part of the codes is read once for all of them.
    ///
    /// # Errors
    /// As [`Self::search`].
    pub fn search_batch(
        &self,
        queries: &[Composed],
        wanted: &Wanted<'_>,
    ) -> Result<Vec<Vec<Found>>, IndexError> {
        if !(1..=self.len()).contains(&wanted.k) {
            return Err(IndexError::K { k: wanted.k, images: self.len() });
        }
        for query in queries {
            std::iter::once(&query.image)
                .chain(&query.captions)
                .try_for_each(|q| self.check_query(q))?;
        }
        if let Guarantee::Swift { miss } = wanted.guarantee
            && !(miss > 0.0 && miss < 1.0)
        {
            return Err(IndexError::Chance { miss });
        }
        let admitted = self.admit(wanted);
        let mut runs: Vec<Run<'_>> =
            queries.par_iter().map(|query| Run::new(self, query, &admitted, wanted)).collect();
        match &self.codes {
            Some(codes) if admitted.count > FEW => self.rounds(codes, &mut runs)?,
            Some(codes) => runs.par_iter_mut().try_for_each(|run| {
                run.contend(admitted.rows(0..admitted.words.len()));
                run.narrow(codes, false)
            })?,
            None => runs.par_iter_mut().try_for_each(|run| {
                run.score_rows(admitted.rows(0..admitted.words.len()).collect())
            })?,
        }
        runs.par_iter_mut().try_for_each(Run::decide)?;
        Ok(runs.into_iter().map(|run| run.best.into_sorted()).collect())
    }

    fn check_query(&self, q: &[f32]) -> Result<(), IndexError> {
        check_vector(self.dim, q)?;
        let norm = norm(q);
        // because: bounds count on it, far more roughly than f32 rounds
        if (norm - 1.0).abs() < 1e-3 { Ok(()) } else { Err(IndexError::NotUnit { norm }) }
    }

    fn admit(&self, wanted: &Wanted<'_>) -> Admitted {
        let mut words = self.live.clone();
        if let Some(rows) = wanted.rows {
            let chosen = words_of(rows, words.len());
            words.iter_mut().zip(chosen).for_each(|(live, chosen)| *live &= chosen);
        }
        for row in wanted.exclude.iter().filter_map(|&image| self.row(image)) {
            words[row as usize / BLOCK] &= !(1 << (row as usize % BLOCK));
        }
        let count = words.iter().map(|word| u64::from(word.count_ones())).sum();
        Admitted { words, count }
    }

    #[cfg(test)]
    pub(crate) fn sketch_of(&self, query: &Composed, deviations: f32) -> SketchQuery {
        let admitted = Admitted { words: vec![], count: 0 };
        let wanted = Wanted { k: 1, ..Wanted::default() };
        let mut run = Run::new(self, query, &admitted, &wanted);
        run.sketch.as_mut().unwrap().deviations = deviations;
        run.sketch.unwrap()
    }

    /// What 4 bits say of a row.
    #[cfg(test)]
    pub(crate) fn bound_of(&self, query: &Composed, deviations: f32, row: u32) -> f32 {
        let admitted = Admitted { words: vec![], count: 0 };
        let wanted = Wanted { k: 1, ..Wanted::default() };
        let mut run = Run::new(self, query, &admitted, &wanted);
        run.nibbles.as_mut().unwrap().deviations = Some(deviations);
        run.bound(self.codes.as_ref().unwrap(), row, true).above
    }

    fn rounds(&self, codes: &Codes, runs: &mut [Run<'_>]) -> Result<(), IndexError> {
        let blocks = self.live.len();
        let (mut start, mut end) = (0, FIRST_ROUND.min(blocks));
        while start < blocks {
            let tasks: Vec<_> = (start..end).step_by(TASK).collect();
            let found: Vec<Vec<Vec<Contender>>> = tasks
                .into_par_iter()
                .map(|first| scan(codes, runs, first..(first + TASK).min(end), self.instructions))
                .collect();
            for found in found {
                runs.iter_mut().zip(found).for_each(|(run, found)| run.contenders.extend(found));
            }
            runs.par_iter_mut().try_for_each(|run| run.raise_floor())?;
            (start, end) = (end, (end * 8).min(blocks));
        }
        runs.par_iter_mut().try_for_each(|run| run.narrow(codes, run.sketch.is_none()))
    }
}

impl Admitted {
    fn rows(&self, blocks: std::ops::Range<usize>) -> impl Iterator<Item = u32> + '_ {
        blocks.flat_map(|block| {
            let bits = self.words[block];
            (0..BLOCK).filter(move |n| bits >> n & 1 == 1).map(move |n| (block * BLOCK + n) as u32)
        })
    }
}

/// Every query's contenders among some blocks.
fn scan(
    codes: &Codes,
    runs: &[Run<'_>],
    blocks: std::ops::Range<usize>,
    instructions: Instructions,
) -> Vec<Vec<Contender>> {
    let mut found = vec![Vec::new(); runs.len()];
    let mut estimates = Estimates::default();
    for first in blocks.clone().step_by(TILE) {
        for (run, found) in runs.iter().zip(&mut found) {
            for block in first..(first + TILE).min(blocks.end) {
                if run.admitted.words[block] == 0 {
                    continue;
                }
                match &run.sketch {
                    Some(sketch) => {
                        let codes = codes.block(block);
                        instructions.estimate(sketch, codes, run.floor, &mut estimates);
                        run.list(block, &estimates, found);
                    }
                    None => found.extend(
                        run.admitted
                            .rows(block..block + 1)
                            .map(|row| run.bound(codes, row, false))
                            .filter(|contender| contender.may_reach(run.floor)),
                    ),
                }
            }
        }
    }
    found
}

impl<'a> Run<'a> {
    fn new(
        index: &'a Index,
        query: &'a Composed,
        admitted: &'a Admitted,
        wanted: &Wanted<'_>,
    ) -> Self {
        let mut run = Self {
            index,
            query,
            admitted,
            k: wanted.k,
            sketch: None,
            nibbles: None,
            best: TopK::new(wanted.k),
            floor: f32::NEG_INFINITY,
            scored: HashSet::new(),
            contenders: Vec::new(),
        };
        if let Some(codes) = &index.codes {
            run.prepare(codes, wanted.guarantee);
        }
        run
    }

    fn prepare(&mut self, codes: &Codes, guarantee: Guarantee) {
        let basis = &codes.basis;
        let (w, slack) = self.weights(basis.width);
        let base = exact_dot(&w, &basis.centre) as f32;
        let w = basis.turned(&w);
        // because: the same query is to give the same answer
        let mut random = ChaCha8Rng::seed_from_u64(u64::from(w[0].to_bits()));
        let deviations = match guarantee {
            Guarantee::Proved => None,
            // because: each of the K rows may be missed by either of two bounds
            Guarantee::Swift { miss } => Some(deviations(miss / (2 * self.k) as f64)),
        };
        self.sketch = deviations
            .map(|deviations| SketchQuery::new(basis, &w, base, deviations, slack, &mut random));
        self.nibbles = Some(NibbleQuery::new(basis, &w, base, deviations, slack));
    }

    /// `w = [(1-β)q; βq̄]`, q̄ the mean of the `q_r`, and what captions that meet their own `q_r` can
    /// add to `w·x`: with δ_r = q_r - q̄, `mean_r δ_r·t_r ≤ ‖δ̄‖ + rms_r(δ_r - δ̄)·spread`.
    fn weights(&self, width: usize) -> (Vec<f32>, Slack) {
        let Composed { image, captions, beta } = self.query;
        let (dim, beta) = (image.len(), beta.get());
        let mut w = vec![0.0; width];
        let mean = mean(captions, captions.len()).unwrap_or_else(|| wide(image));
        for i in 0..dim {
            w[i] = (1.0 - beta) * image[i];
            w[dim + i] = beta * mean[i] as f32;
        }
        let mut slack = Slack::default();
        if !captions.is_empty() {
            for (&count, _) in self.index.captions.iter().filter(|(_, images)| **images > 0) {
                let of = caption_slack(image, captions, &mean, count as usize);
                slack.fixed = slack.fixed.max(beta * of.fixed);
                slack.spread = slack.spread.max(beta * of.spread);
            }
        }
        (w, slack)
    }

    fn list(&self, block: usize, estimates: &Estimates, found: &mut Vec<Contender>) {
        let mut reach = estimates.reach & self.admitted.words[block];
        while reach != 0 {
            let n = reach.trailing_zeros() as usize;
            reach &= reach - 1;
            found.push(Contender {
                row: (block * BLOCK + n) as u32,
                value: estimates.value[n],
                above: estimates.above[n],
            });
        }
    }

    fn contend(&mut self, rows: impl Iterator<Item = u32>) {
        self.contenders =
            rows.map(|row| Contender { row, value: f32::INFINITY, above: f32::INFINITY }).collect();
    }

    /// Scores the best estimates exactly, and drops what cannot reach the K-th best any more.
    fn raise_floor(&mut self) -> Result<(), IndexError> {
        let seeds = 2 * self.k;
        let mut order: Vec<_> = self.contenders.iter().map(|c| (c.value, c.row)).collect();
        if order.len() > seeds {
            order.select_nth_unstable_by(seeds, |a, b| b.0.total_cmp(&a.0));
        }
        let rows = order.into_iter().take(seeds).map(|(_, row)| row).collect();
        self.score_rows(rows)?;
        let floor = self.floor;
        self.contenders.retain(|c| c.may_reach(floor));
        Ok(())
    }

    /// Bounds the contenders by their nibbles: by 4 bits, unless a scan has, and in a proof by 8.
    fn narrow(&mut self, codes: &Codes, is_bounded: bool) -> Result<(), IndexError> {
        if !is_bounded {
            let bounded = self.contenders.par_chunks(512).map(|some| {
                let ahead = some.iter().skip(AHEAD).map(Some).chain(std::iter::repeat(None));
                let bounded = some.iter().zip(ahead).map(|(contender, ahead)| {
                    if let Some(ahead) = ahead {
                        codes.prefetch(ahead.row);
                    }
                    self.bound(codes, contender.row, true)
                });
                bounded.filter(|c| c.may_reach(self.floor)).collect::<Vec<_>>()
            });
            self.contenders = bounded.flatten_iter().collect();
            self.raise_floor()?;
        }
        if self.sketch.is_none() {
            let refined = self.contenders.par_iter().map(|c| self.refine(codes, c.row));
            let floor = self.floor;
            self.contenders = refined.filter(|c| c.may_reach(floor)).collect();
        }
        Ok(())
    }

    /// Bounds a row by 4 bits: in a scan by the query's coarse weights alone.
    fn bound(&self, codes: &Codes, row: u32, fine: bool) -> Contender {
        self.contender(row, |query| {
            query.with_4_bits(codes.facts(row), self.products(query, codes.upper(row), fine))
        })
    }

    fn refine(&self, codes: &Codes, row: u32) -> Contender {
        self.contender(row, |query| {
            let products = |nibbles| self.products(query, nibbles, true);
            let (upper, lower) = (products(codes.upper(row)), products(codes.lower(row)));
            query.with_8_bits(codes.facts(row), upper, lower)
        })
    }

    fn products(&self, query: &NibbleQuery, nibbles: &[u8], fine: bool) -> Products {
        let product = |weights| self.index.instructions.product(nibbles, weights);
        Products { coarse: product(&query.coarse), fine: fine.then(|| product(&query.fine)) }
    }

    fn contender(&self, row: u32, bound: impl Fn(&NibbleQuery) -> Bounded) -> Contender {
        let unknown = Bounded { value: f32::INFINITY, error: 0.0 };
        let bounded = self.nibbles.as_ref().map_or(unknown, bound);
        Contender { row, value: bounded.value, above: bounded.above() }
    }

    /// Exact scores of what is left, the most promising first, until none can be better.
    fn decide(&mut self) -> Result<(), IndexError> {
        let mut left = std::mem::take(&mut self.contenders);
        left.sort_unstable_by(|a, b| b.above.total_cmp(&a.above));
        for some in left.chunks(32) {
            let rows = some.iter().take_while(|c| c.may_reach(self.floor)).map(|c| c.row);
            self.score_rows(rows.collect())?;
            if some.last().is_some_and(|c| !c.may_reach(self.floor)) {
                break;
            }
        }
        Ok(())
    }

    fn score_rows(&mut self, mut rows: Vec<u32>) -> Result<(), IndexError> {
        rows.retain(|&row| self.scored.insert(row));
        let scores = rows.par_iter().with_min_len(16).map(|&row| self.score(row));
        for found in scores.collect::<Result<Vec<_>, _>>()? {
            self.best.push(found.similarity, found.image, found);
        }
        if let Some(floor) = self.best.floor() {
            self.floor = floor;
        }
        Ok(())
    }

    fn score(&self, row: u32) -> Result<Found, IndexError> {
        let (embedding, captions) = self.index.exact_row(row)?;
        let image = self.index.rows[row as usize].image;
        let embedding = embedding.iter().next().ok_or(IndexError::Corrupt { image })?;
        let similarity = self.query.score(embedding, captions.iter()).similarity;
        Ok(Found { image, similarity })
    }
}

/// The slack of images with `count` captions, for β = 1.
fn caption_slack(image: &[f32], captions: &[Vec<f32>], mean_of_all: &[f64], count: usize) -> Slack {
    if count == 0 {
        let away = image.iter().zip(mean_of_all).map(|(&q, m)| (f64::from(q) - m).powi(2));
        return Slack { fixed: away.sum::<f64>().sqrt() as f32, spread: 0.0 };
    }
    let slots = count.min(captions.len());
    let mean_of_slots = mean(captions, slots).unwrap_or_default();
    let apart: f64 = captions[..slots]
        .iter()
        .map(|q| {
            q.iter().zip(&mean_of_slots).map(|(&q, m)| (f64::from(q) - m).powi(2)).sum::<f64>()
        })
        .sum();
    let apart = (apart / slots as f64).sqrt();
    if count <= captions.len() {
        let shift = mean_of_slots.iter().zip(mean_of_all).map(|(s, m)| (s - m).powi(2));
        return Slack { fixed: shift.sum::<f64>().sqrt() as f32, spread: apart as f32 };
    }
    // because: the mean of some of an image's captions is not that of all: it is off by at most the
    // spread times √(count/slots)
    let length = mean_of_all.iter().map(|m| m * m).sum::<f64>().sqrt();
    let spread = (length + apart) * (count as f64 / slots as f64).sqrt();
    Slack { fixed: 0.0, spread: spread as f32 }
}

fn mean(vectors: &[Vec<f32>], count: usize) -> Option<Vec<f64>> {
    let first = vectors.first()?;
    let mut sums = vec![0.0; first.len()];
    for vector in &vectors[..count] {
        sums.iter_mut().zip(vector).for_each(|(sum, &x)| *sum += f64::from(x));
    }
    sums.iter_mut().for_each(|sum| *sum /= count as f64);
    Some(sums)
}

fn wide(vector: &[f32]) -> Vec<f64> {
    vector.iter().copied().map(f64::from).collect()
}
