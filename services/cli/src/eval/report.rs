//! report.md of an evaluation: what the arguments and the data say of it, and the sheets of examples.
//! What stands in it is `weimocir-evaluation`'s.

use std::{path::PathBuf, time::Duration};

use weimocir_domain::{Alpha, Beta};
use weimocir_evaluation::{
    CaptionChoice, Grid, Nearest, Plan, Point, Problem, Report, Sheet, Sweep, TestSet,
};

use super::{
    Case, Results,
    args::EvalArgs,
    examples::{self, Examples},
};

/// What is to be said of an evaluation, however it came about.
pub(super) struct About<'a> {
    pub(super) args: &'a EvalArgs,
    pub(super) sets: Vec<&'a TestSet>,
    pub(super) alpha: Alpha,
    pub(super) beta: Beta,
    /// Where α and β come from, if nobody named them.
    pub(super) default_is: &'static str,
    /// What made the embeddings, and from which captions.
    pub(super) facts: Vec<(String, String)>,
    pub(super) problems: &'a [Problem],
    pub(super) sheets: Vec<Sheet>,
    pub(super) submission: &'a [PathBuf],
    pub(super) took: Vec<(&'static str, Duration)>,
}

impl About<'_> {
    /// Writes the report, and says where it is.
    pub(super) fn write(self, results: &Results) -> anyhow::Result<PathBuf> {
        let args = self.args;
        let wording = match args.published {
            _ if !args.features.is_empty() => "those that the features were made of",
            true => "as the published code writes them, with its quirks",
            false => "as annotated",
        };
        let facts = self.facts.into_iter().chain([("Modifiers".to_owned(), wording.to_owned())]);
        let named = args.alpha.is_some() || args.beta.is_some();
        let tables = [
            (!results.rows.is_empty()).then(|| args.results()),
            (!results.ablation.is_empty()).then(|| args.ablations()),
            (!results.tuned.is_empty()).then(|| args.tunings()),
        ];
        let report = Report {
            sets: &self.sets,
            facts: facts.collect(),
            alpha: self.alpha,
            beta: self.beta,
            point_is: if named { "as asked for" } else { self.default_is }.to_owned(),
            rows: &results.rows,
            ablation: &results.ablation,
            tuned: &results.tuned,
            seed: args.tune,
            problems: self.problems.to_vec(),
            sheets: self.sheets,
            tables: tables.into_iter().flatten().chain(self.submission.iter().cloned()).collect(),
            took: self.took,
        };
        Ok(report.write(&args.out)?)
    }
}

/// Sheets of examples of every category, at one point, for the first text reference.
pub(super) fn sheets(
    args: &EvalArgs,
    cases: &[Case],
    weights: (Alpha, Beta),
) -> anyhow::Result<Vec<Sheet>> {
    let mut sheets = Vec::new();
    for Case { set, embeddings } in cases {
        if !examples::are_possible(set, args.images()) {
            continue;
        }
        let (text_reference, choice) =
            (args.text_references()[0], CaptionChoice::all(embeddings.slots()));
        let (alpha, beta) = weights;
        let plan = Plan {
            grid: Grid::point(alpha, beta),
            text_references: vec![text_reference],
            choices: vec![choice],
        };
        let sweep = weimocir_evaluation::sweep(set, embeddings, &plan, &|_| {})?.remove(0);
        let point = Point { text_reference, choice, alpha, beta };
        let shown = (examples::SHOWN, examples::SHOWN);
        let found = weimocir_evaluation::nearest(set, embeddings, point, shown)?;
        sheets.extend(of_answers(set, &sweep, &found, args)?);
    }
    Ok(sheets)
}

/// Sheets of answers that are there.
pub(super) fn of_answers(
    set: &TestSet,
    sweep: &Sweep,
    found: &[Nearest],
    args: &EvalArgs,
) -> anyhow::Result<Vec<Sheet>> {
    Examples { set, sweep, found, images: args.images() }.write(&args.out)
}
