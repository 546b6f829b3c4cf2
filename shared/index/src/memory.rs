//! Memory that grows by pieces and never moves: a gallery of millions is not copied when it grows.

use std::{io, ops::Range, sync::Arc};

use memmap2::MmapMut;

use crate::IndexError;

/// Where the exact vectors lie: pieces of memory, numbered from 0, each asked for once.
pub trait Memory: std::fmt::Debug + Send + Sync {
    /// Piece `number`, of `bytes` bytes: zeroed, or what it held before if it outlives the index.
    ///
    /// # Errors
    /// There is no room for it.
    fn piece(&self, number: usize, bytes: usize) -> io::Result<MmapMut>;
}

/// Memory of this process, lost with it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Anonymous;

impl Memory for Anonymous {
    // because: a scan walks through hundreds of megabytes, and with pages of 4 KiB the address
    // translation takes a good part of its time
    fn piece(&self, _number: usize, bytes: usize) -> io::Result<MmapMut> {
        let memory = MmapMut::map_anon(bytes.max(1))?;
        #[cfg(target_os = "linux")]
        if bytes >= 2 << 20
            && let Err(error) = memory.advise(memmap2::Advice::HugePage)
        {
            // because: a kernel without huge pages is slower and as right
            tracing::debug!(%error, "no huge pages");
        }
        Ok(memory)
    }
}

impl<M: Memory + ?Sized> Memory for Arc<M> {
    fn piece(&self, number: usize, bytes: usize) -> io::Result<MmapMut> {
        (**self).piece(number, bytes)
    }
}

pub(crate) fn allocate(
    memory: &dyn Memory,
    number: usize,
    bytes: usize,
) -> Result<MmapMut, IndexError> {
    memory
        .piece(number, bytes)
        .map_err(|error| IndexError::Memory { bytes, cause: error.to_string() })
}

/// Has the system find pages for these bytes, which are written to soon.
// because: a page is found when it is first written to, which takes longer than to write all of it,
// and would happen while no search can run
pub(crate) fn populate(memory: &MmapMut, bytes: Range<usize>) {
    let bytes = bytes.start..bytes.end.min(memory.len());
    #[cfg(target_os = "linux")]
    if !bytes.is_empty()
        && let Err(error) =
            memory.advise_range(memmap2::Advice::PopulateWrite, bytes.start, bytes.len())
    {
        // because: Linux does so from 5.14 on, and without it writing is slower and as right
        tracing::debug!(%error, "pages are found when they are written to");
    }
    #[cfg(not(target_os = "linux"))]
    let _ = bytes;
}
