//! What the user is told on the terminal: what was evaluated, and the best point of each plane.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use weimocir_evaluation::{Metric, Names, Problem, Row, Tuned};

use super::{Case, Results, args::EvalArgs, data::Data};
use crate::{say, say_json};

pub(super) struct Told<'a> {
    pub(super) data: &'a Data,
    pub(super) results: &'a Results,
    /// The files of a submission, if it was asked for.
    pub(super) submission: &'a [PathBuf],
    pub(super) problems: &'a [Problem],
    /// Where report.md is.
    pub(super) report: &'a Path,
    pub(super) args: &'a EvalArgs,
}

impl Told<'_> {
    pub(super) fn tell(&self, json: bool) -> anyhow::Result<()> {
        let best = self.best();
        if json {
            let best: Vec<Value> = best.into_iter().map(|row| self.named(row)).collect();
            let sets: Vec<Value> = self.data.cases.iter().map(described).collect();
            return say_json(&json!({
                "sets": sets,
                "best": best,
                "unreadable": self.data.unreadable,
                "fewer_captions": self.data.captions.fewer,
                "more_captions": self.data.captions.more.all(),
                "results": (!self.results.rows.is_empty()).then(|| self.args.results()),
                "tuned": self.results.tuned.iter().map(|tuned| self.halves(tuned)).collect::<Vec<_>>(),
                "submission": self.submission,
                "report": self.report,
            }));
        }
        self.data.cases.iter().for_each(tell_case);
        tell_problems(self.problems);
        if !self.results.rows.is_empty() {
            self.table(&best);
            self.results.tuned.iter().for_each(|tuned| self.tell_tuned(tuned));
            say(format_args!(
                "{} rows in {}",
                self.results.rows.len(),
                self.args.results().display()
            ));
        }
        for file in self.submission {
            let (alpha, beta) = (self.data.alpha, self.data.beta);
            say(format_args!("submission at α = {alpha}, β = {beta}: {}", file.display()));
        }
        say(format_args!("report with charts: {}", self.report.display()));
        Ok(())
    }

    fn metrics(&self) -> &[Metric] {
        &self.data.cases[0].set.metrics
    }

    /// Of each category and text reference, the row with the greatest mean of all metrics.
    fn best(&self) -> Vec<&Row> {
        let planes = weimocir_evaluation::planes(&self.results.rows);
        planes.into_iter().map(weimocir_evaluation::Plane::best).collect()
    }

    fn table(&self, best: &[&Row]) {
        let heads: String =
            self.metrics().iter().map(|metric| format!("{:>8}", metric.to_string())).collect();
        say(format_args!("\n{:<8} {:<8} {:>5} {:>5}{heads}", "", "text ref", "α", "β"));
        for row in best {
            let percents: String = row.percents.iter().map(|p| format!("{p:>8.2}")).collect();
            let category = row.category.as_deref().unwrap_or("");
            let (text, alpha, beta) = (row.text_reference, row.alpha, row.beta);
            let text = text.to_string();
            say(format_args!("{category:<8} {text:<8} {alpha:>5} {beta:>5}{percents}"));
        }
        if best.len() < self.results.rows.len() {
            say(
                "best by the mean of all columns, chosen on the queries that they are reported on\n",
            );
        }
    }

    fn tell_tuned(&self, tuned: &Tuned) {
        let (text, alpha, beta) = (tuned.text_reference, tuned.alpha, tuned.beta);
        let line = |what: &str, percents: &[f64]| {
            let pairs = self.metrics().iter().zip(percents);
            let told: Vec<String> = pairs.map(|(metric, p)| format!("{metric} {p:.2}")).collect();
            say(format_args!("  {what:<27} {}", told.join("  ")));
        };
        say(format_args!(
            "text reference {text}: α = {alpha}, β = {beta}, picked on half of the queries"
        ));
        line("on the half they suit:", &tuned.picked_on);
        line("on the other half:", &tuned.reported_on);
    }

    fn halves(&self, tuned: &Tuned) -> Value {
        json!({
            "text_reference": tuned.text_reference,
            "alpha": tuned.alpha,
            "beta": tuned.beta,
            "picked_on": self.by_metric(&tuned.picked_on),
            "reported_on": self.by_metric(&tuned.reported_on),
        })
    }

    fn by_metric(&self, percents: &[f64]) -> Map<String, Value> {
        let pairs = self.metrics().iter().zip(percents);
        pairs.map(|(metric, percent)| (metric.column(), json!(percent))).collect()
    }

    fn named(&self, row: &Row) -> Value {
        let mut named = self.by_metric(&row.percents);
        named.extend(row.category.iter().map(|category| ("category".to_owned(), json!(category))));
        named.insert("text_reference".to_owned(), json!(row.text_reference));
        named.insert("alpha".to_owned(), json!(row.alpha));
        named.insert("beta".to_owned(), json!(row.beta));
        Value::Object(named)
    }
}

fn described(case: &Case) -> Value {
    let (lacking, bare) = case.without_captions();
    json!({
        "name": case.set.name,
        "images": case.set.gallery.len(),
        "queries": case.set.triplets.len(),
        "without_some_captions": lacking.all(),
        "without_captions": bare.all(),
    })
}

fn tell_case(case: &Case) {
    let set = &case.set;
    say(format_args!("{}: {} images, {} queries", set.name, set.gallery.len(), set.triplets.len()));
    if case.embeddings.slots() == 0 {
        say("  there are no captions: every image scores by its pixels");
    }
}

/// The first names of each problem; the report has more.
pub(super) fn tell_problems(problems: &[Problem]) {
    for Problem { what, names } in problems {
        let names: Names = names.iter().map(String::as_str).collect();
        say(format_args!("  {what}: {names}"));
    }
}
