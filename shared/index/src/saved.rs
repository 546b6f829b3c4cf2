//! An index that outlives its process: what is to be kept of it, in pieces that take milliseconds
//! each, and how it is put together again.
//!
//! A table says which images there were at one moment and where their exact vectors lie. Codes are
//! copied page by page after that moment, while images come and go. So the rows and vectors of images
//! that were put in or removed since may be those of others by now: whoever restores the index removes
//! these images, and then puts those in anew that are still there.

use std::{
    io::{self, Read},
    ops::Range,
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use weimocir_domain::ImageId;

use crate::{
    Index, IndexError,
    basis::Basis,
    codes::{Codes, SEGMENT},
    index::{Row, STRIDE},
    memory::Memory,
    sketch::BLOCK,
    vectors::{Extent, Vectors},
};

/// Which images there are, and where their vectors lie.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Table {
    dim: usize,
    rows: Vec<Option<Row>>,
    extent: Extent,
    learned_at: usize,
}

impl Table {
    /// Rows of one segment of the codes.
    fn rows_of(&self, segment: usize) -> usize {
        self.rows.len().saturating_sub(segment * SEGMENT).min(SEGMENT)
    }

    /// Segments of the codes.
    pub fn segments(&self) -> usize {
        self.rows.len().div_ceil(SEGMENT)
    }

    /// The pages of a segment, for [`Index::write_page`].
    pub fn pages(&self, segment: usize) -> impl Iterator<Item = Range<usize>> + use<> {
        Codes::pages(self.rows_of(segment))
    }
}

impl Index {
    /// Which images there are now.
    pub fn table(&self) -> Table {
        let rows = (0_u32..).zip(&self.rows);
        Table {
            dim: self.dim,
            rows: rows.map(|(n, row)| self.is_live(n).then_some(*row)).collect(),
            extent: self.vectors.extent(),
            learned_at: self.learned_at,
        }
    }

    /// What the codes are made with, once there are codes.
    pub fn basis(&self) -> Option<&Arc<Basis>> {
        self.codes.as_ref().map(|codes| &codes.basis)
    }

    /// How often each segment of the codes was written since it was made or restored.
    pub fn changes(&self) -> Vec<u64> {
        self.codes.as_ref().map_or_else(Vec::new, Codes::changes)
    }

    /// Appends a page of the codes to `out`.
    ///
    /// # Errors
    /// The codes are not those of `basis` any more.
    pub fn write_page(
        &self,
        basis: &Arc<Basis>,
        segment: usize,
        page: &Range<usize>,
        out: &mut Vec<u8>,
    ) -> Result<(), IndexError> {
        let codes = self.codes.as_ref().filter(|codes| Arc::ptr_eq(&codes.basis, basis));
        codes.ok_or(IndexError::Void)?.write_page(segment, page, out);
        Ok(())
    }
}

/// An index on its way back. Each segment of its codes is read, or else coded.
#[derive(Debug)]
pub struct Restoring {
    index: Index,
    table: Table,
}

impl Restoring {
    /// # Errors
    /// A basis of another width, or memory that is not there.
    pub fn new(
        table: Table,
        basis: Option<Basis>,
        memory: Box<dyn Memory>,
    ) -> Result<Self, IndexError> {
        let vectors = Vectors::restore(table.dim, memory, table.extent.clone())?;
        let mut index = Index::of(table.dim, vectors);
        index.learned_at = table.learned_at;
        index.live = vec![0; table.rows.len().div_ceil(BLOCK)];
        for (n, row) in (0_u32..).zip(&table.rows) {
            index.rows.push(row.unwrap_or(Row::NONE));
            match row {
                Some(_) => index.enliven(n),
                None => index.free.push(n),
            }
        }
        if let Some(basis) = basis {
            if !basis.is_for(table.dim) {
                return Err(IndexError::Foreign("the codes are of another width".into()));
            }
            let mut codes = Codes::new(Arc::new(basis));
            codes.reserve(table.rows.len())?;
            index.codes = Some(codes);
        }
        Ok(Self { index, table })
    }

    /// Segments of the codes, each to be read or coded.
    pub fn segments(&self) -> usize {
        self.index.codes.as_ref().map_or(0, |_| self.table.segments())
    }

    /// Reads the pages of a segment.
    ///
    /// # Errors
    /// The reader's; the segment is then to be read again, or coded.
    pub fn read(&mut self, segment: usize, from: &mut dyn Read) -> io::Result<()> {
        let Some(codes) = &mut self.index.codes else { return Ok(()) };
        self.table.pages(segment).try_for_each(|page| codes.read_page(segment, &page, from))
    }

    /// Codes the images of a segment anew from their vectors; removes and names those whose vectors
    /// are not what was stored.
    ///
    /// # Errors
    /// No memory.
    pub fn code(&mut self, segment: usize) -> Result<Vec<ImageId>, IndexError> {
        let mut lost = Vec::new();
        let Some(basis) = self.index.basis().cloned() else { return Ok(lost) };
        let first = segment * SEGMENT;
        let rows: Vec<u32> = (first as u32..(first + self.table.rows_of(segment)) as u32).collect();
        for rows in rows.chunks(STRIDE) {
            let coded = loop {
                match self.index.code_rows(&basis, rows) {
                    Err(IndexError::Corrupt { image }) => {
                        self.index.remove(image);
                        lost.push(image);
                    }
                    coded => break coded?,
                }
            };
            if let Some(codes) = &mut self.index.codes {
                coded.iter().try_for_each(|(row, coded)| codes.put(*row, coded))?;
            }
        }
        Ok(lost)
    }

    pub fn finish(self) -> Index {
        self.index
    }
}
