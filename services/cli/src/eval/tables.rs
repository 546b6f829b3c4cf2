//! What the user is told on the terminal: what was evaluated, and the best point of each plane.

use std::path::PathBuf;

use serde_json::{Map, Value, json};
use weimocir_evaluation::{Metric, Names, Row};

use super::{Case, args::EvalArgs};
use crate::{say, say_json};

pub(super) struct Report<'a> {
    pub(super) cases: &'a [Case],
    /// Empty where the answers are secret.
    pub(super) rows: &'a [Row],
    /// The files of a submission, if it was asked for.
    pub(super) submission: &'a [PathBuf],
    pub(super) args: &'a EvalArgs,
}

impl Report<'_> {
    pub(super) fn tell(&self, json: bool) -> anyhow::Result<()> {
        let best = self.best();
        if json {
            let best: Vec<Value> = best.into_iter().map(|row| self.named(row)).collect();
            let sets: Vec<Value> = self.cases.iter().map(described).collect();
            return say_json(&json!({
                "sets": sets,
                "best": best,
                "results": (!self.rows.is_empty()).then(|| self.args.results()),
                "submission": self.submission,
            }));
        }
        self.cases.iter().for_each(tell_case);
        if !self.rows.is_empty() {
            self.table(&best);
            say(format_args!("{} rows in {}", self.rows.len(), self.args.results().display()));
        }
        for file in self.submission {
            let (alpha, beta) = (self.args.alpha, self.args.beta);
            say(format_args!("submission at α = {alpha}, β = {beta}: {}", file.display()));
        }
        Ok(())
    }

    fn metrics(&self) -> &[Metric] {
        &self.cases[0].set.metrics
    }

    /// Of each category and text reference, the row with the greatest mean of all metrics.
    fn best(&self) -> Vec<&Row> {
        let planes = self
            .rows
            .chunk_by(|a, b| a.category == b.category && a.text_reference == b.text_reference);
        let mean = |row: &Row| row.percents.iter().sum::<f64>();
        planes.filter_map(|rows| rows.iter().max_by(|a, b| mean(a).total_cmp(&mean(b)))).collect()
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
        if best.len() < self.rows.len() {
            say(
                "best by the mean of all columns, chosen on the queries that they are reported on\n",
            );
        }
    }

    fn named(&self, row: &Row) -> Value {
        let percents = self.metrics().iter().zip(&row.percents);
        let mut named: Map<String, Value> =
            percents.map(|(metric, percent)| (metric.column(), json!(percent))).collect();
        named.extend(row.category.iter().map(|category| ("category".to_owned(), json!(category))));
        named.insert("text_reference".to_owned(), json!(row.text_reference));
        named.insert("alpha".to_owned(), json!(row.alpha));
        named.insert("beta".to_owned(), json!(row.beta));
        Value::Object(named)
    }
}

fn described(case: &Case) -> Value {
    let (lacking, bare) = without_captions(case);
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
        return say("  the features have no captions: every image scores by its pixels");
    }
    let (lacking, bare) = without_captions(case);
    if !bare.is_empty() {
        say(format_args!("  without captions, scored by their pixels: {bare}"));
    }
    if !lacking.is_empty() {
        say(format_args!("  without some of their captions, which are left out: {lacking}"));
    }
}

/// Images that lack some captions, and those that lack all.
fn without_captions(case: &Case) -> (Names, Names) {
    let (lacking, bare) = case.embeddings.without_captions();
    let names = |images: &[usize]| -> Names {
        images.iter().map(|&image| case.set.gallery[image].name.as_str()).collect()
    };
    let some: Vec<usize> = lacking.into_iter().filter(|image| !bare.contains(image)).collect();
    (names(&some), names(&bare))
}
