//! `weimocir eval`: the method's figures on a data set. `args` is what a user may choose, `data` reads
//! test sets and their embeddings, `through` asks a running pipeline instead, `tables` shows the result
//! and `report` writes it down. What is computed is `weimocir-evaluation`'s.

mod args;
mod backbone;
mod captions;
mod data;
mod examples;
mod report;
mod tables;
mod through;

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use weimocir_evaluation::{
    CaptionChoice, Embeddings, Grid, Metric, Plan, Point, Row, SUBMITTED, Sweep, TestSet, Tuned,
};

use crate::{Done, Shared, ingest};

use args::Dataset;
pub(crate) use args::EvalArgs;
use data::Data;
use report::About;
use tables::Told;

/// A test set, and its embeddings in its order.
#[derive(Debug)]
struct Case {
    set: TestSet,
    embeddings: Embeddings,
}

pub(crate) async fn run(args: EvalArgs, shared: Shared) -> anyhow::Result<Done> {
    if let Some(url) = args.through.clone() {
        return through::run(args, shared, &url).await;
    }
    tokio::task::spawn_blocking(move || evaluate(&args, shared.json))
        .await
        .context("the evaluation died")?
}

fn evaluate(args: &EvalArgs, json: bool) -> anyhow::Result<Done> {
    std::fs::create_dir_all(&args.out)
        .with_context(|| format!("cannot make the folder {}", args.out.display()))?;
    let mut clock = Clock::start();
    let data = Data::read(args)?;
    clock.lap("embeddings");
    let secret = data.cases.iter().any(|case| !case.set.has_targets());
    ensure!(args.submission || !secret, NO_TARGETS);
    let submission = if args.submission { submit(args, &data)? } else { Vec::new() };
    let results = if secret { Results::default() } else { scored(args, &data)? };
    clock.lap("evaluation");
    let weights = (data.alpha, data.beta);
    let sheets = if secret { Vec::new() } else { report::sheets(args, &data.cases, weights)? };
    let problems = data.problems();
    let report = About {
        args,
        sets: data.cases.iter().map(|case| &case.set).collect(),
        alpha: data.alpha,
        beta: data.beta,
        default_is: data.default_is,
        facts: data.facts(),
        problems: &problems,
        sheets,
        submission: &submission,
        took: clock.laps,
    }
    .write(&results)?;
    let (submission, report) = (&submission, &report);
    Told { data: &data, results: &results, submission, problems: &problems, report, args }
        .tell(json)?;
    Ok(if data.unreadable.is_empty() { Done::Fully } else { Done::Partly })
}

/// What took how long.
struct Clock {
    last: Instant,
    laps: Vec<(&'static str, Duration)>,
}

impl Clock {
    fn start() -> Self {
        Self { last: Instant::now(), laps: Vec::new() }
    }

    fn lap(&mut self, what: &'static str) {
        self.laps.push((what, self.last.elapsed()));
        self.last = Instant::now();
    }
}

/// What the tables hold; empty where the answers are secret.
#[derive(Debug, Default)]
struct Results {
    rows: Vec<Row>,
    /// With every choice of captions.
    ablation: Vec<Row>,
    tuned: Vec<Tuned>,
}

/// Evaluates all cases, and writes the tables.
fn scored(args: &EvalArgs, data: &Data) -> anyhow::Result<Results> {
    let cases = &data.cases;
    let grid = args.sweep.clone().unwrap_or_else(|| Grid::point(data.alpha, data.beta));
    let parts: anyhow::Result<Vec<_>> =
        cases.iter().map(|case| swept(args, case, grid.clone())).collect();
    let (parts, metrics) = (parts?, &cases[0].set.metrics);
    let all = CaptionChoice::all(cases[0].embeddings.slots());
    let mut results = Results { ablation: rows(cases, &parts), ..Results::default() };
    results.rows = results.ablation.iter().filter(|row| row.choice == all).cloned().collect();
    weimocir_evaluation::write_csv(&args.results(), metrics, &results.rows)?;
    match args.ablation {
        true => weimocir_evaluation::write_ablation(&args.ablations(), metrics, &results.ablation)?,
        false => results.ablation.clear(),
    }
    if let Some(seed) = args.tune {
        results.tuned = tuned(&parts, metrics, all, seed);
        weimocir_evaluation::write_tuned(&args.tunings(), metrics, &results.tuned)?;
    }
    Ok(results)
}

/// One for each text reference.
fn tuned(parts: &[Vec<Sweep>], metrics: &[Metric], all: CaptionChoice, seed: u64) -> Vec<Tuned> {
    let planes = (0..parts[0].len()).filter(|&plane| parts[0][plane].choice == all);
    let tune = |plane| {
        let sweeps: Vec<&Sweep> = parts.iter().map(|sweeps| &sweeps[plane]).collect();
        weimocir_evaluation::tune(&sweeps, metrics, seed)
    };
    planes.filter_map(tune).collect()
}

const NO_TARGETS: &str = "the answers of this split are secret: nothing can be reported of it, only \
                          --submission written";

fn submit(args: &EvalArgs, data: &Data) -> anyhow::Result<Vec<PathBuf>> {
    ensure!(args.dataset == Dataset::Cirr, "a submission is CIRR's: no other data set has one");
    let case = &data.cases[0];
    let point = Point {
        text_reference: args.text_reference.unwrap_or_default(),
        choice: CaptionChoice::all(case.embeddings.slots()),
        alpha: data.alpha,
        beta: data.beta,
    };
    let found = weimocir_evaluation::nearest(&case.set, &case.embeddings, point, SUBMITTED)?;
    Ok(weimocir_evaluation::write_submission(&args.out, &case.set, &found)?.to_vec())
}

fn swept(args: &EvalArgs, case: &Case, grid: Grid) -> anyhow::Result<Vec<Sweep>> {
    let plan = Plan {
        grid,
        text_references: args.text_references(),
        choices: match args.ablation {
            true => CaptionChoice::ablation(case.embeddings.slots()),
            false => vec![CaptionChoice::all(case.embeddings.slots())],
        },
    };
    let bar = ingest::bar("ranked", case.set.triplets.len() as u64, true);
    let sweeps = weimocir_evaluation::sweep(&case.set, &case.embeddings, &plan, &|queries| {
        bar.inc(queries as u64);
    });
    bar.finish_and_clear();
    Ok(sweeps?)
}

/// What results.csv holds: every category, and their mean where there are more than one.
fn rows(cases: &[Case], parts: &[Vec<Sweep>]) -> Vec<Row> {
    let of = |(case, sweeps): (&Case, &Vec<Sweep>)| {
        let category = case.set.category.as_deref();
        let rows = |sweep| weimocir_evaluation::rows(sweep, &case.set.metrics, category);
        sweeps.iter().flat_map(rows).collect::<Vec<_>>()
    };
    let categories: Vec<Vec<Row>> = cases.iter().zip(parts).map(of).collect();
    let mean = match categories.len() {
        1 => Vec::new(),
        _ => weimocir_evaluation::mean(&categories),
    };
    categories.into_iter().flatten().chain(mean).collect()
}
