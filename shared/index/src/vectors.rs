//! The exact vectors: raw f32 as the encoder made them, each record with its norms and a checksum.
//!
//! They decide every answer, so what is read is verified each time: memory may be a file's.

use std::collections::HashMap;

use memmap2::MmapMut;
use weimocir_domain::Raw;

use crate::{
    IndexError,
    memory::{allocate, populate},
};

/// f32 of one piece of memory.
// because: 64 MiB is small beside a gallery and large beside a record
const CHUNK: usize = 16 << 20;

/// With fewer f32 left of the last piece, there is one more.
// because: so many are more than a group of images, whose pages are found before it is put in
const AHEAD: usize = CHUNK / 2;

/// Where a record lies. It holds `count` vectors; none is the record of an image without captions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Record {
    chunk: u32,
    start: u32,
    pub(crate) count: u32,
}

#[derive(Debug)]
pub(crate) struct Vectors {
    dim: usize,
    chunks: Vec<MmapMut>,
    /// What becomes the last chunk next: there before it is needed, so that it can be populated.
    next: Option<MmapMut>,
    /// f32 used of the last chunk.
    used: usize,
    /// Records that were given back, by their number of vectors.
    free: HashMap<u32, Vec<Record>>,
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
    pub(crate) fn of(norms: Vec<f64>, vectors: &[&[f32]]) -> Self {
        let mut checksum = crc32fast::Hasher::new();
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
    pub(crate) fn new(dim: usize) -> Self {
        Self { dim, chunks: Vec::new(), next: None, used: CHUNK, free: HashMap::new() }
    }

    /// Words of a record: a checksum, two for each norm, and the values.
    fn words(&self, count: u32) -> usize {
        1 + count as usize * (2 + self.dim)
    }

    /// `seal` is that of the vectors.
    pub(crate) fn put(&mut self, vectors: &[&[f32]], seal: &Seal) -> Result<Record, IndexError> {
        let count = vectors.len() as u32;
        if count == 0 {
            return Ok(Record::default());
        }
        let record = match self.free.get_mut(&count).and_then(Vec::pop) {
            Some(record) => record,
            None => self.extend(count)?,
        };
        let words = self.words(count);
        let chunk = bytemuck::cast_slice_mut::<u8, u32>(&mut self.chunks[record.chunk as usize]);
        let (checksum, body) = chunk[record.start as usize..][..words].split_at_mut(1);
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
        if words > CHUNK {
            return Err(IndexError::Memory {
                bytes: words * 4,
                cause: format!("an image has {count} captions, which is more than can be kept"),
            });
        }
        if self.used + words > CHUNK {
            let next = self.next.take().map_or_else(|| allocate(CHUNK * 4), Ok)?;
            self.chunks.push(next);
            self.used = 0;
        }
        let record = Record { chunk: self.chunks.len() as u32 - 1, start: self.used as u32, count };
        self.used += words;
        Ok(record)
    }

    /// Makes ready for [`Self::populate`].
    pub(crate) fn look_ahead(&mut self) -> Result<(), IndexError> {
        if self.next.is_none() && self.used + AHEAD > CHUNK {
            self.next = Some(allocate(CHUNK * 4)?);
        }
        Ok(())
    }

    /// Has pages found for new records of so many vectors each.
    pub(crate) fn populate(&self, counts: impl Iterator<Item = usize>) {
        let words: usize = counts.map(|count| self.words(count as u32)).sum();
        if let Some(last) = self.chunks.last() {
            populate(last, 4 * self.used..4 * (self.used + words));
        }
        if let Some(next) = &self.next {
            populate(next, 0..4 * (self.used + words).saturating_sub(CHUNK));
        }
    }

    pub(crate) fn give_back(&mut self, record: Record) {
        if record.count > 0 {
            self.free.entry(record.count).or_default().push(record);
        }
    }

    /// The record's vectors, or `None` if they are not what was written.
    pub(crate) fn get(&self, record: Record) -> Option<Exact<'_>> {
        let count = record.count as usize;
        if count == 0 {
            return Some(Exact { dim: self.dim, norms: &[], values: &[] });
        }
        let chunk = bytemuck::cast_slice::<u8, u32>(self.chunks.get(record.chunk as usize)?);
        let words = chunk.get(record.start as usize..)?.get(..self.words(record.count))?;
        let (checksum, body) = words.split_at(1);
        if crc32fast::hash(bytemuck::cast_slice(body)) != checksum[0] {
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
        self.chunks[0][40] ^= 1;
    }

    pub(crate) fn bytes(&self) -> usize {
        self.chunks.len() * CHUNK * 4
    }
}
