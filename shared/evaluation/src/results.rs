//! The tables that are written, as CSV: percentages with four decimals.

use std::path::Path;

use weimocir_domain::{Alpha, Beta, TextReference};

use crate::{
    captions::CaptionChoice, error::EvaluationError, metric::Metric, sweep::Sweep, tuning::Tuned,
};

/// One cell's metrics.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Of a data set in parts; "mean" for all of them.
    pub category: Option<String>,
    pub choice: CaptionChoice,
    pub text_reference: TextReference,
    pub alpha: Alpha,
    pub beta: Beta,
    /// In the order of the metrics.
    pub percents: Vec<f64>,
}

/// The rows of a test set's sweep, cell by cell.
pub fn rows(sweep: &Sweep, metrics: &[Metric], category: Option<&str>) -> Vec<Row> {
    let row = |cell| {
        let (alpha, beta) = sweep.grid.weights(cell);
        let percents = metrics.iter().map(|&metric| sweep.percent(metric, cell)).collect();
        let (category, choice) = (category.map(str::to_owned), sweep.choice);
        Row { category, choice, text_reference: sweep.text_reference, alpha, beta, percents }
    };
    (0..sweep.grid.cells()).map(row).collect()
}

/// The unweighted mean of the categories' rows, cell by cell.
pub fn mean(parts: &[Vec<Row>]) -> Vec<Row> {
    let Some((first, _)) = parts.split_first() else { return Vec::new() };
    let mean = |(cell, row): (usize, &Row)| {
        let percents = (0..row.percents.len()).map(|metric| {
            let all = parts.iter().map(|rows| rows[cell].percents[metric]);
            all.sum::<f64>() / parts.len() as f64
        });
        Row { category: Some("mean".to_owned()), percents: percents.collect(), ..row.clone() }
    };
    first.iter().enumerate().map(mean).collect()
}

/// Writes results.csv: `category` (of a data set in parts), `text_reference`, `alpha`, `beta` and the
/// metrics.
///
/// # Errors
/// The file cannot be written.
pub fn write_csv(file: &Path, metrics: &[Metric], rows: &[Row]) -> Result<(), EvaluationError> {
    let heads = category(rows).into_iter().chain(WEIGHTS);
    write(file, heads.collect(), metrics, rows.iter().map(|row| (row.leading(), &row.percents[..])))
}

/// Writes ablation.csv: results.csv with a column `captions` before the weights.
///
/// # Errors
/// The file cannot be written.
pub fn write_ablation(
    file: &Path,
    metrics: &[Metric],
    rows: &[Row],
) -> Result<(), EvaluationError> {
    let heads = category(rows).into_iter().chain(["captions"]).chain(WEIGHTS);
    let leading = |row: &Row| {
        let mut leading = row.leading();
        leading.insert(usize::from(row.category.is_some()), row.choice.to_string());
        leading
    };
    write(file, heads.collect(), metrics, rows.iter().map(|row| (leading(row), &row.percents[..])))
}

/// Writes tuned.csv: a row for the half that α and β were picked on, and one for the half that they
/// are reported on.
///
/// # Errors
/// The file cannot be written.
pub fn write_tuned(
    file: &Path,
    metrics: &[Metric],
    tuned: &[Tuned],
) -> Result<(), EvaluationError> {
    let row = |half: &str, tuned: &Tuned| {
        let [text, alpha, beta] = weights(tuned.text_reference, tuned.alpha, tuned.beta);
        vec![half.to_owned(), text, alpha, beta]
    };
    let rows = tuned.iter().flat_map(|tuned| {
        let picked = (row("picked_on", tuned), &tuned.picked_on[..]);
        [picked, (row("reported_on", tuned), &tuned.reported_on[..])]
    });
    let heads = ["half"].into_iter().chain(WEIGHTS);
    write(file, heads.collect(), metrics, rows)
}

const WEIGHTS: [&str; 3] = ["text_reference", "alpha", "beta"];

fn category(rows: &[Row]) -> Option<&'static str> {
    rows.first().and_then(|row| row.category.as_ref()).map(|_| "category")
}

fn weights(text_reference: TextReference, alpha: Alpha, beta: Beta) -> [String; 3] {
    [text_reference.to_string(), alpha.to_string(), beta.to_string()]
}

impl Row {
    /// Its columns before the metrics.
    fn leading(&self) -> Vec<String> {
        let weights = weights(self.text_reference, self.alpha, self.beta);
        self.category.clone().into_iter().chain(weights).collect()
    }
}

fn write<'a>(
    file: &Path,
    heads: Vec<&str>,
    metrics: &[Metric],
    rows: impl Iterator<Item = (Vec<String>, &'a [f64])>,
) -> Result<(), EvaluationError> {
    let failed = |error: csv::Error| {
        let reason = error.to_string();
        EvaluationError::Write { file: file.to_owned(), reason }
    };
    let mut table = csv::Writer::from_path(file).map_err(failed)?;
    let columns = metrics.iter().map(|metric| metric.column());
    table.write_record(heads.into_iter().map(str::to_owned).chain(columns)).map_err(failed)?;
    for (leading, percents) in rows {
        let percents = percents.iter().map(|percent| format!("{percent:.4}"));
        table.write_record(leading.into_iter().chain(percents)).map_err(failed)?;
    }
    table.flush().map_err(|error| failed(error.into()))
}
