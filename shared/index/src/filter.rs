//! Which rows a filter lets through: bitmaps for each declared field, kept as rows come and go.
//! What a filter means is `weimocir-domain`'s; which rows are live, and what is done with those that
//! match, is the caller's.
//!
//! `words` is the index of keywords and booleans, `numbers` of everything that has an order.

mod numbers;
#[cfg(test)]
mod tests;
mod words;

use std::collections::BTreeMap;

use roaring::{MultiOps, RoaringBitmap};
use serde_json::{Map, Value};
use weimocir_domain::{
    Condition, FieldError, FieldKind, FieldKinds, FieldValue, Filter, FilterError,
};

use numbers::Numbers;
use words::Words;

/// The declared fields of all rows. Rows are numbered from 0, without large gaps.
#[derive(Debug, Clone, Default)]
pub struct Fields {
    kinds: FieldKinds,
    /// Every row, also one that has no field at all: `not` is the complement over these.
    rows: RoaringBitmap,
    columns: BTreeMap<String, Column>,
}

#[derive(Debug, Clone)]
enum Column {
    Words(Words),
    Numbers(Numbers),
}

impl Fields {
    pub fn new(kinds: &FieldKinds) -> Self {
        let column = |(field, kind): (&str, FieldKind)| (field.to_owned(), Column::new(kind));
        let columns = kinds.iter().map(column).collect();
        Self { kinds: kinds.clone(), rows: RoaringBitmap::new(), columns }
    }

    pub fn kinds(&self) -> &FieldKinds {
        &self.kinds
    }

    /// Every row that was inserted and not removed.
    pub fn rows(&self) -> &RoaringBitmap {
        &self.rows
    }

    /// Puts the row in, or in place of what was said of it before. What does not fit its field is
    /// told, and the row then lacks that field.
    pub fn insert(&mut self, row: u32, metadata: &Map<String, Value>) -> Vec<FieldError> {
        self.remove(row);
        self.rows.insert(row);
        let mut misfits = Vec::new();
        for (field, values) in self.kinds.read(metadata) {
            match (values, self.columns.get_mut(field)) {
                (Ok(values), Some(column)) => column.insert(row, values),
                (Err(misfit), _) => misfits.push(misfit),
                (Ok(_), None) => {}
            }
        }
        misfits
    }

    /// Forgets the row, if it is there.
    pub fn remove(&mut self, row: u32) {
        if self.rows.remove(row) {
            self.columns.values_mut().for_each(|column| column.remove(row));
        }
    }

    /// The rows that the filter lets through.
    ///
    /// # Errors
    /// A filter that does not fit these fields.
    pub fn select(&self, filter: &Filter) -> Result<RoaringBitmap, FilterError> {
        Ok(self.matching(&filter.check(&self.kinds)?))
    }

    fn matching(&self, condition: &Condition<'_>) -> RoaringBitmap {
        match condition {
            Condition::All(parts) => {
                let mut rows = self.rows.clone();
                for part in parts {
                    if rows.is_empty() {
                        break;
                    }
                    rows &= self.matching(part);
                }
                rows
            }
            Condition::Any(parts) => parts.iter().map(|part| self.matching(part)).union(),
            Condition::Not(part) => &self.rows - self.matching(part),
            Condition::In { field, values } => {
                self.in_column(field, |column| column.equal_to(values))
            }
            Condition::Within { field, from, to } => {
                self.in_column(field, |column| column.within(*from, *to))
            }
            Condition::Exists { field } => self.in_column(field, Column::rows),
        }
    }

    fn in_column(&self, field: &str, of: impl Fn(&Column) -> RoaringBitmap) -> RoaringBitmap {
        self.columns.get(field).map(of).unwrap_or_default()
    }

    /// The memory that this takes, nearly.
    pub fn bytes(&self) -> usize {
        let columns = self.columns.values().map(|column| match column {
            Column::Words(words) => words.bytes(),
            Column::Numbers(numbers) => numbers.bytes(),
        });
        bitmap_bytes(&self.rows) + columns.sum::<usize>()
    }
}

impl Column {
    fn new(kind: FieldKind) -> Self {
        match kind {
            FieldKind::Keyword | FieldKind::Boolean => Self::Words(Words::default()),
            FieldKind::Integer | FieldKind::Float | FieldKind::Timestamp => {
                Self::Numbers(Numbers::default())
            }
        }
    }

    /// The values are of the column's kind, none twice, of a row that it does not hold.
    fn insert(&mut self, row: u32, values: Vec<FieldValue>) {
        match self {
            Self::Words(words) => words.insert(row, values.iter().filter_map(word)),
            Self::Numbers(numbers) => numbers.insert(row, values.iter().filter_map(number)),
        }
    }

    fn remove(&mut self, row: u32) {
        match self {
            Self::Words(words) => words.remove(row),
            Self::Numbers(numbers) => numbers.remove(row),
        }
    }

    fn rows(&self) -> RoaringBitmap {
        match self {
            Self::Words(words) => words.rows(),
            Self::Numbers(numbers) => numbers.rows(),
        }
    }

    fn equal_to(&self, values: &[FieldValue]) -> RoaringBitmap {
        match self {
            Self::Words(words) => words.equal_to(values.iter().filter_map(word)),
            Self::Numbers(numbers) => {
                numbers.within(values.iter().filter_map(number).map(|n| (n, n)).collect())
            }
        }
    }

    fn within(&self, from: u64, to: u64) -> RoaringBitmap {
        match self {
            Self::Words(_) => RoaringBitmap::new(),
            Self::Numbers(numbers) => numbers.within(vec![(from, to)]),
        }
    }
}

fn word(value: &FieldValue) -> Option<&str> {
    match value {
        FieldValue::Word(word) => Some(word),
        FieldValue::Number(_) => None,
    }
}

fn number(value: &FieldValue) -> Option<u64> {
    match value {
        FieldValue::Number(number) => Some(*number),
        FieldValue::Word(_) => None,
    }
}

/// Where what is known of each row is kept: the page, and the place on it.
fn place(row: u32) -> (usize, usize) {
    ((row >> 16) as usize, (row & 0xffff) as usize)
}

fn bitmap_bytes(bitmap: &RoaringBitmap) -> usize {
    let containers = bitmap.statistics().n_containers as usize;
    // because: memory holds what a file does, and about so much around each container
    bitmap.serialized_size() + containers * 40 + size_of::<RoaringBitmap>()
}
