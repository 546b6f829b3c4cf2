//! `Fields` in a file: a mark, the version of this format, the kinds as JSON, and then the rows
//! of each field, as bitmaps in roaring's own portable format, with its words or numbers. Whatever
//! has a length has it before it. Whole numbers are little-endian.

use roaring::RoaringBitmap;
use weimocir_domain::FieldKinds;

use super::{Column, Fields, numbers::Numbers, words::Words};

const MARK: [u8; 4] = *b"WMCF";
const VERSION: u16 = 1;

#[derive(Debug, thiserror::Error)]
pub enum FieldsError {
    #[error("these bytes are no index of fields")]
    Foreign,
    #[error("the index of fields has version {found}; this program knows version {VERSION}")]
    Version { found: u16 },
    #[error("the index of fields is damaged: {0}")]
    Damaged(String),
}

fn damaged(why: impl std::fmt::Display) -> FieldsError {
    FieldsError::Damaged(why.to_string())
}

impl Fields {
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = MARK.to_vec();
        bytes.extend(VERSION.to_le_bytes());
        put_text(&mut bytes, &serde_json::json!(self.kinds).to_string());
        put_bitmap(&mut bytes, &self.rows);
        for column in self.columns.values() {
            match column {
                Column::Words(words) => {
                    let words = words.sorted();
                    put_number(&mut bytes, words.len());
                    for (text, rows) in words {
                        put_text(&mut bytes, text);
                        put_bitmap(&mut bytes, rows);
                    }
                }
                Column::Numbers(numbers) => {
                    let rows = numbers.rows();
                    put_bitmap(&mut bytes, &rows);
                    for row in rows {
                        let numbers: Vec<u64> = numbers.of_row(row).collect();
                        bytes.push(numbers.len() as u8);
                        numbers.iter().for_each(|number| bytes.extend(number.to_le_bytes()));
                    }
                }
            }
        }
        bytes
    }

    /// # Errors
    /// Bytes that `to_bytes` of this version did not write. What was changed in them so that it
    /// still could have been written is not noticed.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, FieldsError> {
        let mut left = Left(bytes);
        if left.take(MARK.len()).ok() != Some(&MARK) {
            return Err(FieldsError::Foreign);
        }
        let found = u16::from_le_bytes(left.array()?);
        if found != VERSION {
            return Err(FieldsError::Version { found });
        }
        let kinds: FieldKinds = serde_json::from_str(left.text()?).map_err(damaged)?;
        let mut fields = Self::new(&kinds);
        fields.rows = left.bitmap()?;
        for (field, column) in &mut fields.columns {
            match column {
                Column::Words(words) => *words = left.words()?,
                Column::Numbers(numbers) => *numbers = left.numbers()?,
            }
            if !column.rows().is_subset(&fields.rows) {
                return Err(damaged(format!("`{field}` has rows that are not there")));
            }
        }
        if !left.0.is_empty() {
            return Err(damaged(format!("{} bytes are left over", left.0.len())));
        }
        Ok(fields)
    }
}

fn put_number(bytes: &mut Vec<u8>, n: usize) {
    bytes.extend((n as u64).to_le_bytes());
}

fn put_text(bytes: &mut Vec<u8>, text: &str) {
    put_number(bytes, text.len());
    bytes.extend(text.as_bytes());
}

fn put_bitmap(bytes: &mut Vec<u8>, bitmap: &RoaringBitmap) {
    put_number(bytes, bitmap.serialized_size());
    // because: writing to memory fails only where there is none, which ends the process before
    bitmap.serialize_into(bytes).unwrap_or_else(|e| unreachable!("a Vec took no bytes: {e}"));
}

/// What is still to be read.
struct Left<'a>(&'a [u8]);

impl<'a> Left<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], FieldsError> {
        let (taken, left) = self.0.split_at_checked(n).ok_or_else(|| damaged("it breaks off"))?;
        self.0 = left;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], FieldsError> {
        self.take(N)?.try_into().map_err(damaged)
    }

    fn number(&mut self) -> Result<usize, FieldsError> {
        usize::try_from(u64::from_le_bytes(self.array()?)).map_err(damaged)
    }

    fn text(&mut self) -> Result<&'a str, FieldsError> {
        let length = self.number()?;
        std::str::from_utf8(self.take(length)?).map_err(damaged)
    }

    fn bitmap(&mut self) -> Result<RoaringBitmap, FieldsError> {
        let length = self.number()?;
        let mut bytes = self.take(length)?;
        let bitmap = RoaringBitmap::deserialize_from(&mut bytes).map_err(damaged)?;
        if bytes.is_empty() { Ok(bitmap) } else { Err(damaged("a bitmap has bytes left over")) }
    }

    fn words(&mut self) -> Result<Words, FieldsError> {
        let mut words = Words::default();
        let mut last = None;
        for _ in 0..self.number()? {
            let (text, rows) = (self.text()?, self.bitmap()?);
            if last.replace(text) >= Some(text) || rows.is_empty() {
                return Err(damaged(format!("the word {text:?} is out of place")));
            }
            words.insert_word(text, rows);
        }
        Ok(words)
    }

    fn numbers(&mut self) -> Result<Numbers, FieldsError> {
        let mut numbers = Numbers::default();
        for row in self.bitmap()? {
            let [count] = self.array()?;
            let of_row = (0..count).map(|_| self.array().map(u64::from_le_bytes));
            let of_row = of_row.collect::<Result<Vec<_>, _>>()?;
            if of_row.is_empty() || !of_row.is_sorted_by(|a, b| a < b) {
                return Err(damaged(format!("the numbers of row {row} are out of order")));
            }
            numbers.insert(row, of_row.into_iter());
        }
        Ok(numbers)
    }
}
