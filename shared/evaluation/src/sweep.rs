//! Where the targets of a test set rank, at every point of the plane at once. How one query ranks them
//! is `asked`'s; what the ranks amount to is `metric`'s.

use std::ops::Range;

use rayon::prelude::*;
use weimocir_domain::TextReference;

use crate::{
    asked::{Asked, Shares},
    captions::CaptionChoice,
    embeddings::Embeddings,
    error::EvaluationError,
    grid::Grid,
    metric::{Metric, NEVER},
    nearest::{Nearest, Point},
    products::{Gallery, Products},
    test_set::{TestSet, Triplet},
};

/// What is evaluated of a test set.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    pub grid: Grid,
    pub text_references: Vec<TextReference>,
    pub choices: Vec<CaptionChoice>,
}

/// All ranks for one text reference and one choice of captions.
#[derive(Debug, Clone, PartialEq)]
pub struct Sweep {
    pub text_reference: TextReference,
    pub choice: CaptionChoice,
    pub grid: Grid,
    /// Where each query's targets begin, and where the last one's end.
    starts: Vec<usize>,
    /// `[targets, cells]`; empty if no metric asks.
    among_all: Vec<u32>,
    among_subset: Vec<u32>,
}

/// Ranks the targets, in the order of the plan: every text reference with every choice of captions.
/// `progress` hears of queries that are done.
///
/// # Errors
/// No targets, a choice of captions that are not there, or a query whose sides cancel each other out.
pub fn sweep(
    set: &TestSet,
    embeddings: &Embeddings,
    plan: &Plan,
    progress: &(dyn Fn(usize) + Sync),
) -> Result<Vec<Sweep>, EvaluationError> {
    if !set.has_targets() {
        return Err(EvaluationError::NoTargets(set.name.clone()));
    }
    check_choices(&plan.choices, embeddings)?;
    let gallery = Gallery::new(set, embeddings);
    let shares = Shares::new(&gallery, &plan.choices);
    let blocks: Vec<Vec<Sweep>> = gallery
        .blocks()
        .into_par_iter()
        .map(|range| {
            let ranked = Block::new(&gallery, &shares, range.clone(), plan).ranked(plan);
            progress(range.len());
            ranked
        })
        .collect::<Result<_, _>>()?;
    Ok(joined(blocks))
}

pub(crate) fn check_choices(
    choices: &[CaptionChoice],
    embeddings: &Embeddings,
) -> Result<(), EvaluationError> {
    let all = CaptionChoice::all(embeddings.slots());
    match choices.iter().find(|choice| choice.and(all) != **choice) {
        None => Ok(()),
        Some(choice) => Err(EvaluationError::NoSuchCaption {
            chosen: choice.to_string(),
            slots: embeddings.slots(),
        }),
    }
}

/// The sweeps of neighbouring queries as those of all.
fn joined(blocks: Vec<Vec<Sweep>>) -> Vec<Sweep> {
    let mut blocks = blocks.into_iter();
    let mut all = blocks.next().unwrap_or_default();
    for block in blocks {
        for (sweep, part) in all.iter_mut().zip(block) {
            let before = sweep.starts.last().copied().unwrap_or(0);
            sweep.starts.extend(part.starts.iter().skip(1).map(|start| before + start));
            sweep.among_all.extend(part.among_all);
            sweep.among_subset.extend(part.among_subset);
        }
    }
    all
}

/// Some queries, with what all their scores are made of.
struct Block<'a> {
    gallery: &'a Gallery<'a>,
    shares: &'a Shares,
    range: Range<usize>,
    products: Products,
}

impl<'a> Block<'a> {
    fn new(gallery: &'a Gallery<'a>, shares: &'a Shares, range: Range<usize>, plan: &Plan) -> Self {
        let products = excluding(gallery, range.clone(), &plan.text_references);
        Self { gallery, shares, range, products }
    }

    fn ranked(&self, plan: &Plan) -> Result<Vec<Sweep>, EvaluationError> {
        let mut sweeps = Vec::new();
        for &text_reference in &plan.text_references {
            for &choice in &plan.choices {
                let grid = plan.grid.clone();
                let mut sweep = Sweep::empty(text_reference, choice, grid);
                for n in 0..self.range.len() {
                    self.rank(n, &mut sweep)?;
                }
                sweeps.push(sweep);
            }
        }
        Ok(sweeps)
    }

    /// Appends the ranks of the nth query's targets.
    fn rank(&self, n: usize, sweep: &mut Sweep) -> Result<(), EvaluationError> {
        let triplet = &self.gallery.set.triplets[self.range.start + n];
        let (all, subset) = sweep.add(triplet, &self.gallery.set.metrics);
        let place = (&self.products, self.range.start, n);
        let (mode, choice) = (sweep.text_reference, sweep.choice);
        let Some(mut asked) = Asked::new(self.gallery, self.shares, place, mode, choice) else {
            return Ok(());
        };
        let (grid, cells) = (&sweep.grid, sweep.grid.cells());
        for (column, &alpha) in grid.alphas().iter().enumerate() {
            let pair = || triplet.pair.to_string();
            let cancelled = |source| EvaluationError::Cancelled { pair: pair(), alpha, source };
            asked.at_alpha(alpha).map_err(cancelled)?;
            for (nth, &target) in triplet.targets.iter().enumerate() {
                let at = nth * cells + column * grid.betas().len();
                for (ranks, start, among) in [
                    (&mut sweep.among_all, all, None),
                    (&mut sweep.among_subset, subset, Some(&triplet.subset[..])),
                ] {
                    let Some(start) = start else { continue };
                    let found = asked.ranks(among, target, grid.betas()).map_err(cancelled)?;
                    ranks[start + at..][..found.len()].copy_from_slice(&found);
                }
            }
        }
        Ok(())
    }
}

/// The products of some queries, their references kept out where the test set does so.
pub(crate) fn excluding(
    gallery: &Gallery<'_>,
    range: Range<usize>,
    modes: &[TextReference],
) -> Products {
    let mut products = gallery.products(range.clone(), modes);
    if !gallery.set.reference_stays {
        for (n, triplet) in gallery.set.triplets[range].iter().enumerate() {
            products.exclude(n, triplet.reference);
        }
    }
    products
}

impl Sweep {
    fn empty(text_reference: TextReference, choice: CaptionChoice, grid: Grid) -> Self {
        let (among_all, among_subset) = (Vec::new(), Vec::new());
        Self { text_reference, choice, grid, starts: vec![0], among_all, among_subset }
    }

    /// Makes room for a query's ranks, `NEVER` so far, and says where they begin.
    fn add(&mut self, triplet: &Triplet, metrics: &[Metric]) -> (Option<usize>, Option<usize>) {
        let targets = triplet.targets.len();
        self.starts.push(self.starts.last().copied().unwrap_or(0) + targets);
        let cells = targets * self.grid.cells();
        let room = |ranks: &mut Vec<u32>, of_subset: bool| {
            let start = ranks.len();
            let wanted = metrics.iter().any(|metric| metric.is_of_subset() == of_subset);
            wanted.then(|| ranks.resize(start + cells, NEVER)).map(|()| start)
        };
        (room(&mut self.among_all, false), room(&mut self.among_subset, true))
    }

    /// The ranks at one point, of targets in lists that somebody has made; who is not there is [`NEVER`].
    pub fn of_found(set: &TestSet, point: Point, found: &[Nearest]) -> Self {
        let Point { text_reference, choice, alpha, beta } = point;
        let mut sweep = Self::empty(text_reference, choice, Grid::point(alpha, beta));
        for (triplet, found) in set.triplets.iter().zip(found) {
            let (all, subset) = sweep.add(triplet, &set.metrics);
            for (ranks, start, list) in [
                (&mut sweep.among_all, all, &found.among_all),
                (&mut sweep.among_subset, subset, &found.among_subset),
            ] {
                let Some(start) = start else { continue };
                for (rank, target) in ranks[start..].iter_mut().zip(&triplet.targets) {
                    let place = list.iter().position(|image| image == target);
                    *rank = place.map_or(NEVER, |place| place as u32 + 1);
                }
            }
        }
        sweep
    }

    pub fn queries(&self) -> usize {
        self.starts.len() - 1
    }

    /// A query's ranks at a cell, from 1, one for each target, as the metric counts them; [`NEVER`]
    /// for a target that is not ranked.
    pub fn ranks(&self, metric: Metric, query: usize, cell: usize) -> Vec<u32> {
        let ranks = if metric.is_of_subset() { &self.among_subset } else { &self.among_all };
        let targets = self.starts[query]..self.starts[query + 1];
        targets.map(|target| ranks[target * self.grid.cells() + cell]).collect()
    }

    /// The metric in percent, over the queries that have targets.
    pub fn percent(&self, metric: Metric, cell: usize) -> f64 {
        self.percent_of(metric, cell, 0..self.queries())
    }

    /// The metric in percent over some queries, of which those that have targets count.
    pub fn percent_of(
        &self,
        metric: Metric,
        cell: usize,
        queries: impl IntoIterator<Item = usize>,
    ) -> f64 {
        let (mut sum, mut counted) = (0.0, 0_u32);
        for query in queries.into_iter().filter(|&q| self.starts[q] < self.starts[q + 1]) {
            sum += metric.of(&self.ranks(metric, query, cell));
            counted += 1;
        }
        100.0 * sum / f64::from(counted)
    }
}
