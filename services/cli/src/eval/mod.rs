//! `weimocir eval`: the method's figures on a data set. `args` is what a user may choose, `data` reads
//! test sets and their embeddings, `tables` shows the result; what is computed is
//! `weimocir-evaluation`'s.

mod args;
mod data;
mod tables;

use std::path::PathBuf;

use anyhow::{Context, ensure};
use weimocir_evaluation::{
    CaptionChoice, Embeddings, Grid, Plan, Point, Row, SUBMITTED, Sweep, TestSet,
};

use crate::{Done, Shared, ingest};

use args::Dataset;
pub(crate) use args::EvalArgs;
use tables::Report;

/// A test set, and its embeddings in its order.
#[derive(Debug)]
struct Case {
    set: TestSet,
    embeddings: Embeddings,
}

pub(crate) async fn run(args: EvalArgs, shared: Shared) -> anyhow::Result<Done> {
    tokio::task::spawn_blocking(move || evaluate(&args, shared.json))
        .await
        .context("the evaluation died")?
}

fn evaluate(args: &EvalArgs, json: bool) -> anyhow::Result<Done> {
    std::fs::create_dir_all(&args.out)
        .with_context(|| format!("cannot make the folder {}", args.out.display()))?;
    let cases = data::cases(args)?;
    let secret = cases.iter().any(|case| !case.set.has_targets());
    ensure!(args.submission || !secret, NO_TARGETS);
    let submission = if args.submission { submit(args, &cases[0])? } else { Vec::new() };
    let rows = if secret { Vec::new() } else { scored(args, &cases)? };
    Report { cases: &cases, rows: &rows, submission: &submission, args }.tell(json)?;
    Ok(Done::Fully)
}

/// Evaluates all cases, and writes results.csv.
fn scored(args: &EvalArgs, cases: &[Case]) -> anyhow::Result<Vec<Row>> {
    let parts: anyhow::Result<Vec<_>> = cases.iter().map(|case| swept(args, case)).collect();
    let rows = rows(cases, &parts?);
    weimocir_evaluation::write_csv(&args.results(), &cases[0].set.metrics, &rows)?;
    Ok(rows)
}

const NO_TARGETS: &str = "the answers of this split are secret: nothing can be reported of it, only \
                          --submission written";

fn submit(args: &EvalArgs, case: &Case) -> anyhow::Result<Vec<PathBuf>> {
    ensure!(args.dataset == Dataset::Cirr, "a submission is CIRR's: no other data set has one");
    let point = Point {
        text_reference: args.text_reference.unwrap_or_default(),
        choice: CaptionChoice::all(case.embeddings.slots()),
        alpha: args.alpha,
        beta: args.beta,
    };
    let found = weimocir_evaluation::nearest(&case.set, &case.embeddings, point, SUBMITTED)?;
    Ok(weimocir_evaluation::write_submission(&args.out, &case.set, &found)?.to_vec())
}

fn swept(args: &EvalArgs, case: &Case) -> anyhow::Result<Vec<Sweep>> {
    let plan = Plan {
        grid: grid(args)?,
        text_references: args.text_references(),
        choices: vec![CaptionChoice::all(case.embeddings.slots())],
    };
    let bar = ingest::bar("ranked", case.set.triplets.len() as u64, true);
    let sweeps = weimocir_evaluation::sweep(&case.set, &case.embeddings, &plan, &|queries| {
        bar.inc(queries as u64);
    });
    bar.finish_and_clear();
    Ok(sweeps?)
}

fn grid(args: &EvalArgs) -> anyhow::Result<Grid> {
    match args.sweep {
        Some(step) => Ok(Grid::sweep(step)?),
        None => Ok(Grid::point(args.alpha, args.beta)),
    }
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
