//! Our own index in this benchmark: what the harness needs of it, and what it is asked.

use std::fmt;

use crate::{
    gallery::Gallery,
    mixture::{Image, Query},
};

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

type Nearest = anyhow::Result<Vec<u32>>;
type Search<'a> = dyn Fn(Mode, &[Query], usize, usize) -> anyhow::Result<Vec<Vec<u32>>> + Sync + 'a;
type SearchAmong<'a> =
    dyn Fn(&Query, usize, usize, &(dyn Fn(u32) -> bool + Sync)) -> Nearest + Sync + 'a;
type Insert<'a> = dyn Fn(u32, &Image) -> anyhow::Result<()> + Sync + 'a;

/// The index over a whole gallery.
pub(crate) struct Ours<'a> {
    /// Queries, K, threads → the K nearest of each query, best first.
    pub(crate) search: Box<Search<'a>>,
    /// Query, K, threads, the images admitted → the K nearest of those, best first.
    pub(crate) search_among: Box<SearchAmong<'a>>,
    /// A new image, while others search.
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

/// THE PLACE FOR OUR INDEX: build it from `gallery.mixture.images(first, count)`, block after block,
/// as raw vectors. `None` leaves our rows and figures out.
pub(crate) fn ours(_gallery: &Gallery) -> anyhow::Result<Option<Ours<'_>>> {
    Ok(None)
}
