//! The cascade: sketches of all rows, nibbles of those that may be among the closest, exact scores of
//! those that still may.
//!
//! The K-th best exact score found so far is a floor: a row whose score cannot reach it is passed
//! over. Rows are gone through in rounds of growing size, and each raises the floor for the next by
//! its promising rows, whose estimates reach the floor. No other row is looked at more closely
//! before the floor is nearly the last one.

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

/// The sketch's share of the chance of a miss; the nibbles have the rest.
// because: what the sketch leaves costs most of the time beside the scan, and of what the nibbles
// leave, 8 bits pass over nearly all without any chance
const SKETCH_SHARE: f64 = 15.0 / 16.0;
/// Blocks of the first round.
// because: without a floor all rows are promising, and so many give one
const FIRST_ROUND: usize = if cfg!(test) { 2 } else { 8 };
/// How much larger each round is than all before.
const GROWTH: usize = 8;
/// Blocks of one task.
const TASK: usize = 32;
/// Blocks that all queries of a batch look at before the next ones.
// because: so many stay in the first cache
const TILE: usize = 4;
/// Rows chosen by a filter that are looked at one by one, if they are that share of all or less.
// because: a look at one takes as long as the scan of some ten
const FEW: u64 = if cfg!(test) { 100 } else { 16_384 };
const SHARE: u64 = 16;
/// Promising rows that are bounded by one task.
const SOME: usize = 64;
/// Tasks of a scan whose other rows are bounded by one.
// because: of so many, enough are left for fetching ahead
const PIECES: usize = 16;
/// Rows that are fetched ahead of the one at hand.
// because: a row comes from anywhere in memory, and waiting for it takes longer than its product
const AHEAD: usize = 6;
/// The same in a scan of nibbles, where rows follow each other.
const FAR: u32 = 16;

/// A row that may be among the closest.
#[derive(Debug, Clone, Copy)]
struct Contender {
    row: u32,
    value: f32,
    above: f32,
}

impl Contender {
    /// A row of which nothing is known yet.
    fn unknown(row: u32) -> Self {
        Self { row, value: f32::INFINITY, above: f32::INFINITY }
    }

    fn is_promising(&self, floor: f32) -> bool {
        self.value >= floor || self.value.is_nan()
    }

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
    /// What the scan has left, task by task, without what was promising.
    listed: Vec<Vec<Contender>>,
    /// What 4 bits have left, and has no exact score.
    bounded: Vec<Contender>,
}

/// What a task of the scan leaves of a query's rows.
#[derive(Debug, Clone, Default)]
struct Sifted {
    promising: Vec<Contender>,
    others: Vec<Contender>,
}

impl Sifted {
    fn push(&mut self, contender: Contender, floor: f32) {
        let list =
            if contender.is_promising(floor) { &mut self.promising } else { &mut self.others };
        list.push(contender);
    }
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
            Some(codes) if admitted.count > FEW.min(self.len() as u64 / SHARE) => {
                self.rounds(codes, &mut runs)?;
            }
            Some(codes) => {
                let rows: Vec<u32> = admitted.rows(0..admitted.words.len()).collect();
                runs.par_iter_mut().try_for_each(|run| run.look_at(codes, &rows))?;
            }
            None => runs.par_iter_mut().try_for_each(|run| {
                run.score_rows(admitted.rows(0..admitted.words.len()).collect())
            })?,
        }
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
            let found: Vec<Vec<Sifted>> = tasks
                .into_par_iter()
                .map(|first| scan(codes, runs, first..(first + TASK).min(end), self.instructions))
                .collect();
            let mut promising = vec![Vec::new(); runs.len()];
            for found in found {
                for ((run, promising), found) in runs.iter_mut().zip(&mut promising).zip(found) {
                    promising.extend(found.promising);
                    run.listed.push(found.others);
                }
            }
            let promising = runs.par_iter_mut().zip(promising);
            promising.try_for_each(|(run, promising)| run.raise_floor(codes, &promising))?;
            (start, end) = (end, (end * GROWTH).min(blocks));
        }
        runs.par_iter_mut().try_for_each(|run| run.finish(codes))
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
) -> Vec<Sifted> {
    let mut found = vec![Sifted::default(); runs.len()];
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
                    None => run
                        .admitted
                        .rows(block..block + 1)
                        .map(|row| {
                            codes.prefetch((row + FAR).min(run.index.rows() - 1));
                            run.bound(codes, row, false)
                        })
                        .filter(|contender| contender.may_reach(run.floor))
                        .for_each(|contender| found.push(contender, run.floor)),
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
            listed: Vec::new(),
            bounded: Vec::new(),
        };
        if let Some(codes) = &index.codes {
            run.prepare(codes, wanted.guarantee);
        }
        run
    }

    fn prepare(&mut self, codes: &Codes, guarantee: Guarantee) {
        let basis = &codes.basis;
        let (mut w, slack) = self.weights(basis.width);
        let base = exact_dot(&w, &basis.centre) as f32;
        basis.turn(&mut w);
        // because: the same query is to give the same answer
        let mut random = ChaCha8Rng::seed_from_u64(u64::from(w[0].to_bits()));
        let deviations = |share| match guarantee {
            Guarantee::Proved => None,
            // because: each of the K rows may be missed by either of two bounds
            Guarantee::Swift { miss } => Some(deviations(share * miss / self.k as f64)),
        };
        self.sketch = deviations(SKETCH_SHARE)
            .map(|deviations| SketchQuery::new(basis, &w, base, deviations, slack, &mut random));
        let deviations = deviations(1.0 - SKETCH_SHARE);
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

    fn list(&self, block: usize, estimates: &Estimates, found: &mut Sifted) {
        let mut reach = estimates.reach & self.admitted.words[block];
        while reach != 0 {
            let n = reach.trailing_zeros() as usize;
            reach &= reach - 1;
            let row = (block * BLOCK + n) as u32;
            let (value, above) = (estimates.value[n], estimates.above(n));
            found.push(Contender { row, value, above }, self.floor);
        }
    }

    /// Rows one by one, without a scan.
    fn look_at(&mut self, codes: &Codes, rows: &[u32]) -> Result<(), IndexError> {
        let (mut left, mut round) = (rows, FIRST_ROUND * BLOCK);
        while !left.is_empty() {
            let (rows, rest) = left.split_at(round.min(left.len()));
            let rows: Vec<_> = rows.iter().map(|&row| Contender::unknown(row)).collect();
            self.raise_floor(codes, &rows)?;
            (left, round) = (rest, round * GROWTH);
        }
        self.finish(codes)
    }

    /// Bounds promising rows by 4 bits, and scores those exactly that still are.
    fn raise_floor(&mut self, codes: &Codes, promising: &[Contender]) -> Result<(), IndexError> {
        let bounded =
            promising.par_chunks(SOME).flat_map_iter(|some| self.bounded(codes, some.iter()));
        let bounded: Vec<_> = bounded.collect();
        self.bounded.extend(bounded);
        self.score_promising()
    }

    fn score_promising(&mut self) -> Result<(), IndexError> {
        let floor = self.floor;
        let mut promising: Vec<_> =
            self.bounded.extract_if(.., |c| c.is_promising(floor)).collect();
        promising.sort_unstable_by(|a, b| b.value.total_cmp(&a.value));
        let scored = self.score_while(&promising, Contender::is_promising)?;
        self.bounded.extend(&promising[scored..]);
        Ok(())
    }

    /// Bounds by 4 bits all that the scan has left, by 8 bits what that leaves, and scores the rest
    /// exactly.
    fn finish(&mut self, codes: &Codes) -> Result<(), IndexError> {
        let listed = std::mem::take(&mut self.listed);
        let some = listed.par_chunks(PIECES);
        let bounded = some.flat_map_iter(|some| self.bounded(codes, some.iter().flatten()));
        let bounded: Vec<_> = bounded.collect();
        self.bounded.extend(bounded);
        self.score_promising()?;
        let left = self.bounded.par_iter().with_min_len(32).filter(|c| c.may_reach(self.floor));
        let refined = left.map(|c| self.refine(codes, c.row));
        let mut left: Vec<_> = refined.filter(|c| c.may_reach(self.floor)).collect();
        left.sort_unstable_by(|a, b| b.above.total_cmp(&a.above));
        self.score_while(&left, Contender::may_reach)?;
        Ok(())
    }

    /// Those of some rows that may reach the floor by their 4 bits.
    fn bounded<'c>(
        &self,
        codes: &Codes,
        some: impl Iterator<Item = &'c Contender> + Clone,
    ) -> Vec<Contender> {
        let rows = some.filter(|c| c.may_reach(self.floor)).map(|c| c.row);
        let mut ahead = rows.clone().skip(AHEAD);
        let bounded = rows.map(|row| {
            if let Some(ahead) = ahead.next() {
                codes.prefetch(ahead);
            }
            self.bound(codes, row, true)
        });
        bounded.filter(|c| c.may_reach(self.floor)).collect()
    }

    /// Bounds a row by 4 bits: in a scan by the query's coarse weights alone.
    fn bound(&self, codes: &Codes, row: u32, fine: bool) -> Contender {
        let (facts, upper) = codes.bounds(row);
        self.contender(row, |query| query.with_4_bits(facts, self.products(query, upper, fine)))
    }

    fn refine(&self, codes: &Codes, row: u32) -> Contender {
        let (facts, upper) = codes.bounds(row);
        self.contender(row, |query| {
            let products = |nibbles| self.products(query, nibbles, true);
            query.with_8_bits(facts, products(upper), products(codes.lower(row)))
        })
    }

    fn products(&self, query: &NibbleQuery, nibbles: &[u8], fine: bool) -> Products {
        let instructions = self.index.instructions;
        if !fine {
            let [coarse] = instructions.products(nibbles, [&query.coarse]);
            return Products { coarse, fine: None };
        }
        let [coarse, fine] = instructions.products(nibbles, [&query.coarse, &query.fine]);
        Products { coarse, fine: Some(fine) }
    }

    fn contender(&self, row: u32, bound: impl Fn(&NibbleQuery) -> Bounded) -> Contender {
        let unknown = Bounded { value: f32::INFINITY, error: 0.0 };
        let bounded = self.nibbles.as_ref().map_or(unknown, bound);
        Contender { row, value: bounded.value, above: bounded.above() }
    }

    /// Scores rows exactly, one after the other, until one is not worth it; says how many.
    fn score_while(
        &mut self,
        rows: &[Contender],
        is_worth_it: fn(&Contender, f32) -> bool,
    ) -> Result<usize, IndexError> {
        let mut scored = 0;
        for some in rows.chunks(32) {
            let worth = some.iter().take_while(|c| is_worth_it(c, self.floor));
            let worth: Vec<_> = worth.map(|c| c.row).collect();
            scored += worth.len();
            let is_last = worth.len() < some.len();
            self.score_rows(worth)?;
            if is_last {
                break;
            }
        }
        Ok(scored)
    }

    fn score_rows(&mut self, rows: Vec<u32>) -> Result<(), IndexError> {
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
