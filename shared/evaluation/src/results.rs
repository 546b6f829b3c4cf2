//! results.csv: a row for every cell, metrics in percent.

use std::path::Path;

use weimocir_domain::{Alpha, Beta, TextReference};

use crate::{error::EvaluationError, metric::Metric, sweep::Sweep};

/// One row; a data set in parts has a category, "mean" for all of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    pub category: Option<String>,
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
        let category = category.map(str::to_owned);
        Row { category, text_reference: sweep.text_reference, alpha, beta, percents }
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

/// Writes the rows under the columns `category` (where there is one), `text_reference`, `alpha`,
/// `beta` and the metrics', percentages with four decimals.
///
/// # Errors
/// The file cannot be written.
pub fn write_csv(file: &Path, metrics: &[Metric], rows: &[Row]) -> Result<(), EvaluationError> {
    let failed = |error: csv::Error| EvaluationError::Write {
        file: file.to_owned(),
        reason: error.to_string(),
    };
    let mut table = csv::Writer::from_path(file).map_err(failed)?;
    let category =
        rows.first().and_then(|row| row.category.as_ref()).map(|_| "category".to_owned());
    let weights = ["text_reference", "alpha", "beta"].map(str::to_owned);
    let columns = metrics.iter().map(|metric| metric.column());
    table.write_record(category.into_iter().chain(weights).chain(columns)).map_err(failed)?;
    for row in rows {
        let at = [row.text_reference.to_string(), row.alpha.to_string(), row.beta.to_string()];
        let percents = row.percents.iter().map(|percent| format!("{percent:.4}"));
        let cells = row.category.clone().into_iter().chain(at).chain(percents);
        table.write_record(cells).map_err(failed)?;
    }
    table.flush().map_err(|error| failed(error.into()))
}
