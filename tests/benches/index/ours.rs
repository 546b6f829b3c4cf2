//! Our own index in this benchmark: what the harness needs of it, and what it is asked.

use std::{
    fmt,
    sync::{PoisonError, RwLock},
    time::Instant,
};

use rayon::{ThreadPool, ThreadPoolBuilder, prelude::*};
use roaring::RoaringBitmap;
use weimocir_domain::{Beta, Composed, ImageId, WeightError};
use weimocir_index::{Entry, Found, Guarantee, Index, Wanted};
use weimocir_tests::mixture::{CAPTIONS, Image, Query};

use crate::gallery::Gallery;

/// Images made and put in at once.
const BLOCK: usize = 4_096;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// As searches run by default.
    Swift,
    /// With the proof that nothing nearer was left out.
    Proved,
}

impl Mode {
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Swift => "ours, swift",
            Self::Proved => "ours, proved",
        }
    }
}

type Search<'a> = dyn Fn(Mode, &[Query], usize, usize) -> anyhow::Result<Vec<Vec<u32>>> + Sync + 'a;
type SearchAmong<'a> =
    dyn Fn(&Query, usize, usize, &RoaringBitmap) -> anyhow::Result<Vec<u32>> + Sync + 'a;
type Insert<'a> = dyn Fn(u32, &[Image]) -> anyhow::Result<()> + Sync + 'a;

/// The index over a whole gallery.
pub(crate) struct Ours<'a> {
    /// Queries, K, threads → the K nearest of each query, best first.
    pub(crate) search: Box<Search<'a>>,
    /// Query, K, threads, the images admitted → the K nearest of those, best first.
    pub(crate) search_among: Box<SearchAmong<'a>>,
    /// New images of ascending numbers, while others search.
    pub(crate) insert: Box<Insert<'a>>,
    /// Read from memory for one query on its own, on average.
    pub(crate) bytes_per_query: f64,
    /// While it was built.
    pub(crate) inserts_per_s: f64,
    pub(crate) bytes_per_image: f64,
}

impl fmt::Debug for Ours<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ours")
            .field("bytes_per_image", &self.bytes_per_image)
            .finish_non_exhaustive()
    }
}

/// Builds the index from the gallery, block after block.
pub(crate) fn ours(gallery: &Gallery) -> anyhow::Result<Ours<'_>> {
    let index = Built::new(gallery)?;
    let footprint = read(&index.index).footprint();
    let (seconds, rows) = (index.seconds, gallery.rows as f64);
    let index = std::sync::Arc::new(index);
    let (one, other) = (index.clone(), index.clone());
    Ok(Ours {
        search: Box::new(move |mode, queries, k, threads| {
            let wanted = Wanted { k, guarantee: mode.guarantee(), ..Wanted::default() };
            one.search(queries, &wanted, threads)
        }),
        search_among: Box::new(move |query, k, threads, rows| {
            let wanted = Wanted { k, rows: Some(rows), ..Wanted::default() };
            let found = other.search(std::slice::from_ref(query), &wanted, threads)?;
            Ok(found.into_iter().next().unwrap_or_default())
        }),
        insert: Box::new(move |first, images| index.insert(first, images)),
        bytes_per_query: footprint.sketch * rows,
        inserts_per_s: rows / seconds,
        bytes_per_image: footprint.codes,
    })
}

impl Mode {
    fn guarantee(self) -> Guarantee {
        match self {
            Self::Swift => Guarantee::default(),
            Self::Proved => Guarantee::Proved,
        }
    }
}

struct Built {
    index: RwLock<Index>,
    /// With one thread and with two.
    pools: [ThreadPool; 2],
    /// What putting everything in took, without the learning.
    seconds: f64,
}

impl Built {
    fn new(gallery: &Gallery) -> anyhow::Result<Self> {
        let blocks = gallery.rows.div_ceil(BLOCK);
        let bytes = BLOCK * gallery.mixture.dim() * 4 * (2 + CAPTIONS);
        let mut pages = (0..blocks).map(|_| found(bytes)).collect::<Result<Vec<_>, _>>()?;
        let mut index = Index::new(gallery.mixture.dim())?;
        let (mut seconds, mut learning) = (0.0, 0.0);
        for first in (0..gallery.rows).step_by(BLOCK) {
            let images = gallery.mixture.images(first, BLOCK.min(gallery.rows - first));
            let entries = (first as u32..).zip(&images).map(|(id, image)| entry(id, image));
            let entries: Vec<_> = entries.collect();
            pages.pop();
            let start = Instant::now();
            index.insert(&entries)?;
            seconds += start.elapsed().as_secs_f64();
            let start = Instant::now();
            index.learn()?;
            learning += start.elapsed().as_secs_f64();
        }
        eprintln!("index built: {seconds:.1} s of inserting, {learning:.1} s of learning");
        let pool = |threads| ThreadPoolBuilder::new().num_threads(threads).build();
        Ok(Self { index: RwLock::new(index), pools: [pool(1)?, pool(2)?], seconds })
    }

    fn search(
        &self,
        queries: &[Query],
        wanted: &Wanted<'_>,
        threads: usize,
    ) -> anyhow::Result<Vec<Vec<u32>>> {
        let index = read(&self.index);
        let queries = queries.iter().map(composed).collect::<Result<Vec<_>, _>>()?;
        let found = self.pools[threads - 1].install(|| index.search_batch(&queries, wanted))?;
        Ok(found.iter().map(|found| found.iter().map(number).collect()).collect())
    }

    fn insert(&self, first: u32, images: &[Image]) -> anyhow::Result<()> {
        let entries: Vec<_> = (first..).zip(images).map(|(id, image)| entry(id, image)).collect();
        let prepared = read(&self.index).prepare(&entries)?;
        self.index.write().unwrap_or_else(PoisonError::into_inner).apply(&entries, prepared)?;
        Ok(())
    }
}

/// Memory that the system has found pages for.
// because: a virtual machine asks its host for memory that it has not used of late, which takes longer
// than all that is done with it; what is given up just before it is needed is there still
fn found(bytes: usize) -> anyhow::Result<memmap2::MmapMut> {
    let mut memory = memmap2::MmapMut::map_anon(bytes)?;
    #[cfg(target_os = "linux")]
    memory.advise(memmap2::Advice::HugePage)?;
    memory.par_chunks_mut(4_096).for_each(|page| page[0] = 1);
    Ok(memory)
}

fn read(index: &RwLock<Index>) -> std::sync::RwLockReadGuard<'_, Index> {
    index.read().unwrap_or_else(PoisonError::into_inner)
}

fn composed(query: &Query) -> Result<Composed, WeightError> {
    Ok(Composed { image: query.composed(), captions: vec![], beta: Beta::new(query.beta)? })
}

fn entry(id: u32, image: &Image) -> Entry<'_> {
    Entry {
        image: ImageId::from_bytes(u128::from(id).to_be_bytes()),
        embedding: &image.embedding,
        captions: image.captions.iter().map(Vec::as_slice).collect(),
    }
}

fn number(found: &Found) -> u32 {
    u128::from_be_bytes(*found.image.as_bytes()) as u32
}
