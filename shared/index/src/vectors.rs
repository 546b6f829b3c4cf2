//! The exact vectors: raw f32 as the encoder made them, each record with its norms and a checksum.
//!
//! They decide every answer, so what is read is verified each time: memory may be a file's.

use std::collections::HashMap;

use memmap2::MmapMut;
use serde::{Deserialize, Serialize};
use weimocir_domain::{ImageId, Raw};

use crate::{
    IndexError,
    memory::{Memory, allocate, populate},
};

/// f32 of the first piece of memory, and of the greatest: each has twice that of the one before.
// because: 1 MiB wastes little on a small gallery, and 64 MiB is large beside a record
const PIECE: std::ops::Range<usize> = 1 << 18..16 << 20;

/// Where a record lies. It holds `count` vectors; none is the record of an image without captions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    piece: u32,
    start: u32,
    pub(crate) count: u32,
}

impl Record {
    pub(crate) const NONE: Self = Self { piece: 0, start: 0, count: 0 };
}

#[derive(Debug)]
pub(crate) struct Vectors {
    dim: usize,
    memory: Box<dyn Memory>,
    pieces: Vec<MmapMut>,
    /// What becomes the last piece next: there before it is needed, so that it can be populated.
    next: Option<MmapMut>,
    /// f32 used of the last piece.
    used: usize,
    /// Records that were given back, by their number of vectors.
    free: HashMap<u32, Vec<Record>>,
}

/// Where records are and can be: all of [`Vectors`] but the vectors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Extent {
    /// Bytes of each piece.
    pieces: Vec<usize>,
    used: usize,
    free: Vec<Record>,
}

/// The vectors of a record: raw, with their norms.
#[derive(Debug, Clone, Copy)]
pub struct Exact<'a> {
    dim: usize,
    norms: &'a [[u32; 2]],
    values: &'a [f32],
}

impl<'a> Exact<'a> {
    pub fn len(&self) -> usize {
        self.norms.len()
    }

    pub fn is_empty(&self) -> bool {
        self.norms.is_empty()
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = Raw<'a>> + use<'a> {
        let norms = self
            .norms
            .iter()
            .map(|&[low, high]| f64::from_bits(u64::from(low) | u64::from(high) << 32));
        self.values.chunks_exact(self.dim).zip(norms).map(|(values, norm)| Raw::new(values, norm))
    }
}

/// What a record says beside its vectors, worked out before they are copied.
#[derive(Debug)]
pub(crate) struct Seal {
    pub(crate) norms: Vec<f64>,
    checksum: u32,
}

impl Seal {
    /// `norms` are those of the vectors.
    // because: a record that became another image's must not pass for the first one's
    pub(crate) fn of(image: ImageId, norms: Vec<f64>, vectors: &[&[f32]]) -> Self {
        let mut checksum = crc32fast::Hasher::new();
        checksum.update(image.as_bytes());
        norms.iter().for_each(|&norm| checksum.update(bytemuck::bytes_of(&halves(norm))));
        vectors.iter().for_each(|vector| checksum.update(bytemuck::cast_slice(vector)));
        Self { norms, checksum: checksum.finalize() }
    }
}

/// A norm's bits, the lower half first.
fn halves(norm: f64) -> [u32; 2] {
    let bits = norm.to_bits();
    [bits as u32, (bits >> 32) as u32]
}

impl Vectors {
    pub(crate) fn new(dim: usize, memory: Box<dyn Memory>) -> Self {
        Self { dim, memory, pieces: Vec::new(), next: None, used: 0, free: HashMap::new() }
    }

    /// The vectors that the memory still holds.
    pub(crate) fn restore(
        dim: usize,
        memory: Box<dyn Memory>,
        extent: Extent,
    ) -> Result<Self, IndexError> {
        let Extent { pieces, used, free } = extent;
        let pieces = pieces.iter().enumerate();
        let pieces = pieces.map(|(number, &bytes)| allocate(&*memory, number, bytes));
        let pieces = pieces.collect::<Result<_, _>>()?;
        let mut vectors = Self { dim, memory, pieces, next: None, used, free: HashMap::new() };
        free.into_iter().for_each(|record| vectors.give_back(record));
        Ok(vectors)
    }

    pub(crate) fn extent(&self) -> Extent {
        Extent {
            pieces: self.pieces.iter().map(|piece| piece.len()).collect(),
            used: self.used,
            free: self.free.values().flatten().copied().collect(),
        }
    }

    /// Words of a record: a checksum, two for each norm, and the values.
    fn words(&self, count: u32) -> usize {
        1 + count as usize * (2 + self.dim)
    }

    /// `seal` is that of the vectors.
    pub(crate) fn put(&mut self, vectors: &[&[f32]], seal: &Seal) -> Result<Record, IndexError> {
        let count = vectors.len() as u32;
        if count == 0 {
            return Ok(Record::NONE);
        }
        let record = match self.free.get_mut(&count).and_then(Vec::pop) {
            Some(record) => record,
            None => self.extend(count)?,
        };
        let words = self.words(count);
        let piece = bytemuck::cast_slice_mut::<u8, u32>(&mut self.pieces[record.piece as usize]);
        let (checksum, body) = piece[record.start as usize..][..words].split_at_mut(1);
        let (norms, values) = body.split_at_mut(2 * vectors.len());
        for (slot, &norm) in norms.as_chunks_mut().0.iter_mut().zip(&seal.norms) {
            *slot = halves(norm);
        }
        for (slot, vector) in values.chunks_exact_mut(self.dim).zip(vectors) {
            slot.copy_from_slice(bytemuck::cast_slice(vector));
        }
        checksum[0] = seal.checksum;
        Ok(record)
    }

    fn extend(&mut self, count: u32) -> Result<Record, IndexError> {
        let words = self.words(count);
        if words > PIECE.end {
            return Err(IndexError::Memory {
                bytes: words * 4,
                cause: format!("an image has {count} captions, which is more than can be kept"),
            });
        }
        if self.used + words > self.room() {
            let next = self.next.take().filter(|next| next.len() >= words * 4);
            let next = next.map_or_else(|| self.piece(words), Ok)?;
            self.pieces.push(next);
            self.used = 0;
        }
        let record = Record { piece: self.pieces.len() as u32 - 1, start: self.used as u32, count };
        self.used += words;
        Ok(record)
    }

    /// f32 of the last piece.
    fn room(&self) -> usize {
        self.pieces.last().map_or(0, |piece| piece.len() / 4)
    }

    /// A piece to follow the last one, with room for so many f32 at least.
    fn piece(&self, words: usize) -> Result<MmapMut, IndexError> {
        let wanted = (2 * self.room()).clamp(PIECE.start, PIECE.end).max(words);
        allocate(&*self.memory, self.pieces.len(), wanted * 4)
    }

    /// Makes ready for [`Self::populate`].
    // because: half of a piece is more than a group of images, whose pages are found before it is put
    // in
    pub(crate) fn look_ahead(&mut self) -> Result<(), IndexError> {
        if self.next.is_none() && self.used > self.room() / 2 {
            self.next = Some(self.piece(0)?);
        }
        Ok(())
    }

    /// Has pages found for new records of so many vectors each.
    pub(crate) fn populate(&self, counts: impl Iterator<Item = usize>) {
        let words: usize = counts.map(|count| self.words(count as u32)).sum();
        if let Some(last) = self.pieces.last() {
            populate(last, 4 * self.used..4 * (self.used + words));
        }
        if let Some(next) = &self.next {
            populate(next, 0..4 * (self.used + words).saturating_sub(self.room()));
        }
    }

    pub(crate) fn give_back(&mut self, record: Record) {
        if record.count > 0 {
            self.free.entry(record.count).or_default().push(record);
        }
    }

    /// The record's vectors, or `None` if they are not what was written for this image.
    pub(crate) fn get(&self, image: ImageId, record: Record) -> Option<Exact<'_>> {
        let count = record.count as usize;
        if count == 0 {
            return Some(Exact { dim: self.dim, norms: &[], values: &[] });
        }
        let piece = bytemuck::cast_slice::<u8, u32>(self.pieces.get(record.piece as usize)?);
        let words = piece.get(record.start as usize..)?.get(..self.words(record.count))?;
        let (checksum, body) = words.split_at(1);
        let mut found = crc32fast::Hasher::new();
        found.update(image.as_bytes());
        found.update(bytemuck::cast_slice(body));
        if found.finalize() != checksum[0] {
            return None;
        }
        let (norms, values) = body.split_at(2 * count);
        Some(Exact {
            dim: self.dim,
            norms: bytemuck::cast_slice(norms),
            values: bytemuck::cast_slice(values),
        })
    }

    #[cfg(test)]
    pub(crate) fn corrupt(&mut self) {
        self.pieces[0][40] ^= 1;
    }

    pub(crate) fn bytes(&self) -> usize {
        self.pieces.iter().map(|piece| piece.len()).sum()
    }
}
