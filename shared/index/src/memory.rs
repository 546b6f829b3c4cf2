//! Memory that grows by pieces and never moves: a gallery of millions is not copied when it grows.

use memmap2::MmapMut;

use crate::IndexError;

/// Fresh zeroed memory, in huge pages where the system has them.
// because: a scan walks through hundreds of megabytes, and with pages of 4 KiB the address
// translation takes a good part of its time
pub(crate) fn allocate(bytes: usize) -> Result<MmapMut, IndexError> {
    let memory = MmapMut::map_anon(bytes.max(1))
        .map_err(|error| IndexError::Memory { bytes, cause: error.to_string() })?;
    #[cfg(target_os = "linux")]
    if bytes >= 2 << 20
        && let Err(error) = memory.advise(memmap2::Advice::HugePage)
    {
        // because: a kernel without huge pages is slower and as right
        tracing::debug!(%error, "no huge pages");
    }
    Ok(memory)
}
