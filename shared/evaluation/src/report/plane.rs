//! The rows of results as planes, and the points of a plane that are worth naming.

use weimocir_domain::{Alpha, Beta, TextReference};

use crate::results::Row;

/// One category and text reference: all its cells, in the order of the grid.
#[derive(Debug, Clone, Copy)]
pub struct Plane<'a>(&'a [Row]);

/// The planes of rows that stand together, as results.csv has them.
pub fn planes(rows: &[Row]) -> Vec<Plane<'_>> {
    let same = |a: &Row, b: &Row| {
        a.category == b.category && a.text_reference == b.text_reference && a.choice == b.choice
    };
    rows.chunk_by(same).map(Plane).collect()
}

impl<'a> Plane<'a> {
    pub fn rows(self) -> &'a [Row] {
        self.0
    }

    pub fn category(self) -> Option<&'a str> {
        self.0[0].category.as_deref()
    }

    pub fn text_reference(self) -> TextReference {
        self.0[0].text_reference
    }

    /// The cell with the greatest mean of all metrics, the first of equals.
    pub fn best(self) -> &'a Row {
        self.greatest(|row| row.percents.iter().sum())
    }

    /// The cell with the greatest of one metric, the first of equals.
    pub fn best_of(self, metric: usize) -> &'a Row {
        self.greatest(|row| row.percents[metric])
    }

    fn greatest(self, value: impl Fn(&Row) -> f64) -> &'a Row {
        let greater = |a, b| if value(b) > value(a) { b } else { a };
        self.0.iter().reduce(greater).expect("a plane has a cell")
    }

    /// The cell at these weights, or the one nearest to them.
    pub(super) fn at(self, alpha: Alpha, beta: Beta) -> &'a Row {
        let away = |row: &Row| (row.alpha.get() - alpha.get()).hypot(row.beta.get() - beta.get());
        let nearer = |a, b| if away(b) < away(a) { b } else { a };
        self.0.iter().reduce(nearer).expect("a plane has a cell")
    }

    /// How many values of α and of β there are.
    pub(super) fn sides(self) -> (usize, usize) {
        let betas = self.0.iter().take_while(|row| row.alpha == self.0[0].alpha).count();
        (self.0.len() / betas, betas)
    }

    pub(super) fn is_point(self) -> bool {
        self.0.len() == 1
    }
}
