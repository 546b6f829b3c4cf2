//! The gallery that lives: images come, are replaced, gain captions and go, and every search sees all
//! changes that were applied before it.

use std::{collections::HashMap, ops::Range, sync::Arc};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use weimocir_domain::{ImageId, Raw, norm};

use crate::{
    IndexError,
    basis::{Basis, width_of},
    codes::{BATCH, Codes, RowCodes},
    kernels::Instructions,
    memory::{Anonymous, Memory},
    sketch::BLOCK,
    vectors::{Exact, Record, Seal, Vectors},
};

/// Images from which on there are codes; fewer are compared exactly, one by one.
// because: so many take about two milliseconds
pub const LEARN: usize = 4_096;

/// The longest embeddings that an index takes.
// because: sums of a sketch's table values have 16 bits, which hold those of the tail up to here
pub const MOST_DIM: usize = 4_096;

/// The share of a gallery whose new images tell whether the data drift.
// because: fewer would cost the coding of all others more than they gain
const DRIFT: usize = 8;
/// What sketches leave of them then, compared to the images that the codes were learned from.
// because: bounds are then wider by a quarter
const MUCH: f64 = 1.5;

/// Rows of a sample.
// because: several times the directions that are learned from it
const SAMPLE: usize = 8_192;

/// Rows that are coded at once while learning.
// because: some ten milliseconds' work, for which changes can wait
pub(crate) const STRIDE: usize = 1_024;

/// Rows that there is room for among the codes before they come.
// because: so many are more than a group of images, whose pages are found before it is put in
const AHEAD: usize = 4_096;

/// An image as it is put in: raw embeddings, as the encoder made them.
#[derive(Debug, Clone)]
pub struct Entry<'a> {
    pub image: ImageId,
    /// `v`, of length d.
    pub embedding: &'a [f32],
    /// `t_r` each; empty while there are none.
    pub captions: Vec<&'a [f32]>,
}

/// One shard's images in memory.
#[derive(Debug)]
pub struct Index {
    pub(crate) dim: usize,
    pub(crate) rows: Vec<Row>,
    /// Bit n of word b: row 64·b + n holds an image.
    pub(crate) live: Vec<u64>,
    pub(crate) by_image: HashMap<ImageId, u32>,
    pub(crate) free: Vec<u32>,
    pub(crate) vectors: Vectors,
    pub(crate) codes: Option<Codes>,
    /// How many images have so many captions.
    pub(crate) captions: HashMap<u32, usize>,
    /// Rows that changed since learning began.
    changed: Option<Vec<u32>>,
    /// Images when the basis was learned.
    pub(crate) learned_at: usize,
    /// Images that were put in since, and what sketches leave of them.
    since: (usize, f64),
    /// How often learning has begun.
    learnings: u64,
    pub(crate) instructions: Instructions,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) image: ImageId,
    pub(crate) embedding: Record,
    pub(crate) captions: Record,
}

impl Row {
    /// A row without an image.
    pub(crate) const NONE: Self = Self {
        image: ImageId::from_bytes([0; 16]),
        embedding: Record::NONE,
        captions: Record::NONE,
    };
}

/// Memory of an index.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Footprint {
    /// Bytes of an image's sketch, which every search reads; 0 while there are no codes.
    pub sketch: f64,
    /// Bytes of all codes of an image, the sketch among them.
    pub codes: f64,
    /// Bytes set aside for the exact vectors of all images.
    pub exact: usize,
}

/// What is worked out about entries before they are put in: the default is nothing.
#[derive(Debug, Default)]
pub struct Prepared {
    sealed: Vec<Sealed>,
    codes: Option<(Arc<Basis>, Vec<RowCodes>)>,
}

impl Prepared {
    /// Whether it is that of so many entries, with the codes of the basis that is in use.
    // because: another one may have been learned since
    fn fits(&self, entries: usize, basis: Option<&Arc<Basis>>) -> bool {
        let made_with = self.codes.as_ref().map(|(basis, _)| Arc::as_ptr(basis));
        self.sealed.len() == entries && made_with == basis.map(Arc::as_ptr)
    }
}

/// The same of a batch.
type WorkedOut = (Vec<Sealed>, Option<Vec<RowCodes>>);

/// The seals of an entry's two records.
#[derive(Debug)]
struct Sealed {
    embedding: Seal,
    captions: Seal,
}

impl Sealed {
    /// # Errors
    /// A vector of another length than `dim`, one that is not finite, or one without direction.
    fn of(dim: usize, entry: &Entry<'_>) -> Result<Self, IndexError> {
        let seal = |vectors: &[&[f32]]| {
            let norms = vectors.iter().map(|vector| check_vector(dim, vector));
            Ok::<_, IndexError>(Seal::of(entry.image, norms.collect::<Result<_, _>>()?, vectors))
        };
        Ok(Self { embedding: seal(&[entry.embedding])?, captions: seal(&entry.captions)? })
    }
}

impl Index {
    /// An empty index of embeddings of length `dim`, all of it in this process' memory.
    ///
    /// # Errors
    /// A length of 0, or more than [`MOST_DIM`].
    pub fn new(dim: usize) -> Result<Self, IndexError> {
        Self::with_memory(dim, Box::new(Anonymous))
    }

    /// An empty index of embeddings of length `dim` that keeps the exact vectors in `memory`.
    ///
    /// # Errors
    /// A length of 0, or more than [`MOST_DIM`].
    pub fn with_memory(dim: usize, memory: Box<dyn Memory>) -> Result<Self, IndexError> {
        if !(1..=MOST_DIM).contains(&dim) {
            return Err(IndexError::Width { dim });
        }
        Ok(Self::of(dim, Vectors::new(dim, memory)))
    }

    pub(crate) fn of(dim: usize, vectors: Vectors) -> Self {
        Self {
            dim,
            rows: Vec::new(),
            live: Vec::new(),
            by_image: HashMap::new(),
            free: Vec::new(),
            vectors,
            codes: None,
            captions: HashMap::new(),
            changed: None,
            learned_at: 0,
            since: (0, 0.0),
            learnings: 0,
            instructions: Instructions::detect(),
        }
    }

    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Images held.
    pub fn len(&self) -> usize {
        self.by_image.len()
    }

    pub fn is_empty(&self) -> bool {
        self.by_image.is_empty()
    }

    /// Every image, in no particular order.
    pub fn images(&self) -> impl Iterator<Item = ImageId> + '_ {
        self.by_image.keys().copied()
    }

    /// The row of an image: stable until the image is removed.
    pub fn row(&self, image: ImageId) -> Option<u32> {
        self.by_image.get(&image).copied()
    }

    /// How many captions an image has.
    pub fn captions_of(&self, image: ImageId) -> Option<usize> {
        self.row(image).map(|row| self.rows[row as usize].captions.count as usize)
    }

    /// Rows that there are, those without an image among them.
    pub fn rows(&self) -> u32 {
        self.rows.len() as u32
    }

    /// The images of some rows whose exact vectors are not what was stored.
    pub fn damaged(&self, rows: Range<u32>) -> Vec<ImageId> {
        let rows = rows.start..rows.end.min(self.rows());
        let rows = rows.into_par_iter().filter(|&row| self.is_live(row));
        let damaged = rows.filter(|&row| self.exact_row(row).is_err());
        damaged.map(|row| self.rows[row as usize].image).collect()
    }

    /// An image's raw embedding and its captions.
    ///
    /// # Errors
    /// The memory does not hold what was written to it.
    pub fn exact(&self, image: ImageId) -> Result<Option<(Exact<'_>, Exact<'_>)>, IndexError> {
        self.row(image).map(|row| self.exact_row(row)).transpose()
    }

    pub(crate) fn exact_row(&self, row: u32) -> Result<(Exact<'_>, Exact<'_>), IndexError> {
        let Row { image, embedding, captions } = self.rows[row as usize];
        let read = |record| self.vectors.get(image, record).ok_or(IndexError::Corrupt { image });
        Ok((read(embedding)?, read(captions)?))
    }

    pub fn footprint(&self) -> Footprint {
        Footprint {
            sketch: self.codes.as_ref().map_or(0.0, Codes::sketch_bytes),
            codes: self.codes.as_ref().map_or(0.0, Codes::bytes),
            exact: self.vectors.bytes(),
        }
    }

    /// Checks and codes entries: the slow part of putting them in, which needs no exclusive access.
    ///
    /// # Errors
    /// A vector of another length, one that is not finite, or one without direction.
    pub fn prepare(&self, entries: &[Entry<'_>]) -> Result<Prepared, IndexError> {
        rayon::join(|| self.populate(entries), || self.work_out(entries)).1
    }

    /// Has pages found for what entries need.
    fn populate(&self, entries: &[Entry<'_>]) {
        let captions = entries.iter().map(|entry| entry.captions.len()).filter(|&count| count > 0);
        self.vectors.populate(captions.chain(entries.iter().map(|_| 1)));
        if let Some(codes) = &self.codes {
            codes.populate(self.rows.len()..self.rows.len() + entries.len());
        }
    }

    // because: a batch is in the caches for all that is worked out about it
    fn work_out(&self, entries: &[Entry<'_>]) -> Result<Prepared, IndexError> {
        let basis = self.codes.as_ref().map(|codes| codes.basis.clone());
        let work_out = |batch| -> Result<WorkedOut, IndexError> {
            let sealed = self.seal(batch)?;
            let coded = basis.as_ref().map(|basis| code(basis, batch, &sealed)).transpose()?;
            Ok((sealed, coded))
        };
        let batches = entries.par_chunks(BATCH).map(work_out).collect::<Result<Vec<_>, _>>()?;
        let (sealed, coded): (Vec<_>, Vec<_>) = batches.into_iter().unzip();
        let coded = coded.into_iter().flatten().flatten().collect();
        Ok(Prepared {
            sealed: sealed.into_iter().flatten().collect(),
            codes: basis.map(|basis| (basis, coded)),
        })
    }

    fn seal(&self, entries: &[Entry<'_>]) -> Result<Vec<Sealed>, IndexError> {
        entries.iter().map(|entry| Sealed::of(self.dim, entry)).collect()
    }

    /// Puts entries in that were [prepared](Self::prepare), each in place of what is held of its
    /// image.
    ///
    /// # Errors
    /// No memory; the entries before the one that failed are in. Those of [`Self::prepare`], if
    /// nothing was prepared.
    pub fn apply(&mut self, entries: &[Entry<'_>], prepared: Prepared) -> Result<(), IndexError> {
        if let Some(codes) = &mut self.codes {
            // because: a row without its place among the codes could not be searched
            codes.reserve(self.rows.len() + entries.len() + AHEAD)?;
        }
        self.vectors.look_ahead()?;
        let fits = prepared.fits(entries.len(), self.basis());
        let prepared = if fits { prepared } else { self.work_out(entries)? };
        let Prepared { sealed, codes: coded } = prepared;
        for (n, (entry, sealed)) in entries.iter().zip(&sealed).enumerate() {
            let row = self.put(entry, sealed)?;
            if let (Some(codes), Some((_, coded))) = (&mut self.codes, &coded) {
                codes.put(row, &coded[n])?;
                self.since.0 += 1;
                self.since.1 += coded[n].left;
            }
        }
        Ok(())
    }

    /// [`Self::prepare`] and [`Self::apply`] at once.
    ///
    /// # Errors
    /// Theirs.
    pub fn insert(&mut self, entries: &[Entry<'_>]) -> Result<(), IndexError> {
        let prepared = self.prepare(entries)?;
        self.apply(entries, prepared)
    }

    fn put(&mut self, entry: &Entry<'_>, sealed: &Sealed) -> Result<u32, IndexError> {
        // because: nothing that is held is touched before there is room for what replaces it
        let embedding = self.vectors.put(&[entry.embedding], &sealed.embedding)?;
        let captions = self.vectors.put(&entry.captions, &sealed.captions)?;
        self.remove(entry.image);
        let new = Row { image: entry.image, embedding, captions };
        let row = match self.free.pop() {
            Some(row) => {
                self.rows[row as usize] = new;
                row
            }
            None => {
                self.rows.push(new);
                self.live.resize(self.rows.len().div_ceil(BLOCK), 0);
                self.rows.len() as u32 - 1
            }
        };
        self.enliven(row);
        if let Some(changed) = &mut self.changed {
            changed.push(row);
        }
        Ok(row)
    }

    /// Lets searches see a row.
    pub(crate) fn enliven(&mut self, row: u32) {
        let Row { image, captions, .. } = self.rows[row as usize];
        self.live[row as usize / BLOCK] |= 1 << (row as usize % BLOCK);
        self.by_image.insert(image, row);
        *self.captions.entry(captions.count).or_default() += 1;
    }

    /// Forgets an image; says whether it was there.
    pub fn remove(&mut self, image: ImageId) -> bool {
        let Some(row) = self.by_image.remove(&image) else { return false };
        self.live[row as usize / BLOCK] &= !(1 << (row as usize % BLOCK));
        let Row { embedding, captions, .. } = self.rows[row as usize];
        if let Some(count) = self.captions.get_mut(&captions.count) {
            *count -= 1;
        }
        self.vectors.give_back(embedding);
        self.vectors.give_back(captions);
        self.free.push(row);
        true
    }

    /// Whether a basis should be learned: there is none yet, the gallery has outgrown it, or what is put
    /// in is no longer what it was learned from.
    pub fn learning_is_due(&self) -> bool {
        let has_grown = self.len() >= LEARN.max(4 * self.learned_at);
        (has_grown || self.has_drifted()) && self.changed.is_none()
    }

    fn has_drifted(&self) -> bool {
        let (count, left) = self.since;
        let usual = self.basis().map(|basis| basis.usually_left() * count as f64);
        count >= LEARN.max(self.len() / DRIFT) && usual.is_some_and(|usual| left > MUCH * usual)
    }

    /// Notes what changes from now on, for [`Learned::advance`]; a learning that began before is void.
    pub fn begin_learning(&mut self) {
        self.changed = Some(Vec::new());
        self.learnings += 1;
    }

    /// A sample to learn from.
    ///
    /// # Errors
    /// The memory does not hold what was written to it.
    pub fn sample(&self) -> Result<Sample, IndexError> {
        let step = self.len().div_ceil(SAMPLE).max(1);
        let rows: Vec<u32> = self.live_rows().step_by(step).take(SAMPLE).collect();
        let width = width_of(self.dim);
        let mut sample = vec![0.0; rows.len() * width];
        let joint = rows.par_iter().zip(sample.par_chunks_exact_mut(width));
        joint.try_for_each(|(&row, x)| self.joint(row, x).map(drop))?;
        Ok(Sample { dim: self.dim, rows: sample, learning: self.learnings })
    }

    pub(crate) fn is_live(&self, row: u32) -> bool {
        self.live[row as usize / BLOCK] >> (row as usize % BLOCK) & 1 == 1
    }

    fn live_rows(&self) -> impl Iterator<Item = u32> + '_ {
        let words = self.live.iter().enumerate();
        words.flat_map(|(word, &bits)| {
            (0..BLOCK).filter(move |n| bits >> n & 1 == 1).map(move |n| (word * BLOCK + n) as u32)
        })
    }

    /// Writes the row `x`, zeros so far, and returns its spread.
    fn joint(&self, row: u32, x: &mut [f32]) -> Result<f32, IndexError> {
        let (embedding, captions) = self.exact_row(row)?;
        let vectors = embedding.iter().chain(captions.iter());
        Ok(joint(self.dim, vectors, x))
    }

    /// The codes of those rows that hold an image.
    pub(crate) fn code_rows(
        &self,
        basis: &Basis,
        rows: &[u32],
    ) -> Result<Vec<(u32, RowCodes)>, IndexError> {
        let rows: Vec<u32> = rows.iter().copied().filter(|&row| self.is_live(row)).collect();
        let batches = rows
            .par_chunks(BATCH)
            .map(|rows| RowCodes::of_batch(basis, rows, |&row, x| self.joint(row, x)));
        let coded = batches.collect::<Result<Vec<_>, _>>()?.into_iter().flatten();
        Ok(rows.iter().copied().zip(coded).collect())
    }

    /// Switches to new codes, after coding what is left to.
    ///
    /// # Errors
    /// No memory, or memory that does not hold what was written to it; then the codes are the old
    /// ones.
    pub fn adopt(&mut self, mut learned: Learned) -> Result<(), IndexError> {
        let adopted = self.adopt_whole(&mut learned);
        if learned.learning == self.learnings {
            self.changed = None;
        }
        adopted?;
        self.learned_at = self.len();
        self.since = (0, 0.0);
        self.codes = Some(learned.codes);
        Ok(())
    }

    fn adopt_whole(&self, learned: &mut Learned) -> Result<(), IndexError> {
        while !learned.advance(self)? {}
        learned.codes.reserve(self.rows.len())
    }

    /// Learns at once, if it is due. Takes a second or more; a service learns beside its work, by
    /// the steps that this consists of.
    ///
    /// # Errors
    /// Theirs.
    pub fn learn(&mut self) -> Result<(), IndexError> {
        if self.learning_is_due() {
            let sample = self.sample()?;
            self.begin_learning();
            let learned = Learned { learning: self.learnings, ..sample.learn() };
            self.adopt(learned)?;
        }
        Ok(())
    }
}

/// A sample of a gallery's rows.
#[derive(Debug)]
pub struct Sample {
    dim: usize,
    rows: Vec<f32>,
    learning: u64,
}

impl Sample {
    /// Learns a basis. Takes a second at d = 512.
    pub fn learn(self) -> Learned {
        // because: any seed will do, and a fixed one makes two replicas alike
        let basis = Basis::learn(self.dim, &self.rows, 0x5EED);
        let codes = Codes::new(Arc::new(basis));
        Learned { codes, rows: 0, changes: 0, learning: self.learning }
    }
}

/// New codes on their way.
#[derive(Debug)]
pub struct Learned {
    codes: Codes,
    /// Rows that are coded, and changes that are followed.
    rows: usize,
    changes: usize,
    /// Which learning of the index this is.
    learning: u64,
}

impl Learned {
    /// Codes some more rows; says whether none is left. Needs shared access only, and so little of
    /// it at a time that changes get their turn.
    ///
    /// # Errors
    /// Another learning began since, or the memory does not hold what was written to it.
    pub fn advance(&mut self, index: &Index) -> Result<bool, IndexError> {
        let changed = index.changed.as_ref().filter(|_| self.learning == index.learnings);
        let changed = changed.ok_or(IndexError::Void)?;
        let end = (self.rows + STRIDE).min(index.rows.len());
        let mut rows: Vec<u32> = (self.rows as u32..end as u32).collect();
        rows.extend(&changed[self.changes..]);
        self.code(index, &rows)?;
        (self.rows, self.changes) = (end, changed.len());
        Ok(end == index.rows.len())
    }

    fn code(&mut self, index: &Index, rows: &[u32]) -> Result<(), IndexError> {
        let coded = index.code_rows(&self.codes.basis, rows)?;
        coded.iter().try_for_each(|(row, coded)| self.codes.put(*row, coded))
    }
}

/// # Errors
/// Another length than `dim`, a value that is not finite, or a norm of zero.
pub(crate) fn check_vector(dim: usize, vector: &[f32]) -> Result<f64, IndexError> {
    if vector.len() != dim {
        return Err(IndexError::Dimension { expected: dim, found: vector.len() });
    }
    let norm = norm(vector);
    if norm > 0.0 && norm.is_finite() { Ok(norm) } else { Err(IndexError::NoDirection { norm }) }
}

/// Codes a batch of entries.
fn code(
    basis: &Basis,
    batch: &[Entry<'_>],
    sealed: &[Sealed],
) -> Result<Vec<RowCodes>, IndexError> {
    let batch: Vec<_> = batch.iter().zip(sealed).collect();
    RowCodes::of_batch(basis, &batch, |(entry, Sealed { embedding, captions }), x| {
        let vectors = std::iter::once(&entry.embedding).chain(&entry.captions);
        let norms = embedding.norms.iter().chain(&captions.norms);
        Ok(joint(basis.dim, vectors.zip(norms).map(|(x, &norm)| Raw::new(x, norm)), x))
    })
}

/// Writes `[N(v); t̄]` over the beginning of `x`, and returns `√(mean_r ‖N(t_r) - t̄‖²)`; without
/// captions `[N(v); N(v)]`. The first vector is `v`, the others are the captions.
fn joint<'a>(dim: usize, vectors: impl Iterator<Item = Raw<'a>>, x: &mut [f32]) -> f32 {
    let (image, rest) = x.split_at_mut(dim);
    let text = &mut rest[..dim];
    let (mut sum, mut count) = (vec![0.0_f64; dim], 0_u32);
    for (n, vector) in vectors.enumerate() {
        let unit = vector.values().iter().map(|&v| f64::from(v) / vector.norm());
        if n == 0 {
            image.iter_mut().zip(unit).for_each(|(x, v)| *x = v as f32);
        } else {
            sum.iter_mut().zip(unit).for_each(|(sum, t)| *sum += t);
            count += 1;
        }
    }
    if count == 0 {
        text.copy_from_slice(image);
        return 0.0;
    }
    sum.iter_mut().for_each(|sum| *sum /= f64::from(count));
    // because: the captions are of length one, so that their mean square distance is what the mean
    // lacks to length one
    let spread = (1.0 - sum.iter().map(|m| m * m).sum::<f64>()).max(0.0).sqrt();
    text.iter_mut().zip(&sum).for_each(|(x, &m)| *x = m as f32);
    (spread + 1e-6) as f32
}
