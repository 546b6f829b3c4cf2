//! Memory of an index in mapped files.

use std::{fs::File, io, path::PathBuf};

use memmap2::MmapMut;
use weimocir_index::Memory;

/// What the names of the files begin with.
pub(crate) const PIECE: &str = "vectors-";

/// Memory in files, which outlives the process.
#[derive(Debug)]
pub(crate) struct Pieces {
    pub folder: PathBuf,
}

impl Memory for Pieces {
    fn piece(&self, number: usize, bytes: usize) -> io::Result<MmapMut> {
        let path = self.folder.join(format!("{PIECE}{number}"));
        let open = || {
            std::fs::create_dir_all(&self.folder)?;
            let mut options = File::options();
            let file = options.read(true).write(true).create(true).truncate(false).open(&path)?;
            reserve(&file, bytes as u64)?;
            map(&file, bytes)
        };
        open().map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", path.display())))
    }
}

/// Makes the file as long as this at least.
// because: a write to mapped memory that the disk has no room for would kill the process
fn reserve(file: &File, bytes: u64) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        use rustix::{fs::FallocateFlags, io::Errno};
        match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, bytes) {
            // because: a file system without it has no way to promise room
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => {}
            reserved => return Ok(reserved?),
        }
    }
    if file.metadata()?.len() < bytes { file.set_len(bytes) } else { Ok(()) }
}

fn map(file: &File, bytes: usize) -> io::Result<MmapMut> {
    // SAFETY: the file belongs to this shard, whose folder sled keeps locked against other processes,
    // and one index maps it at a time. It is not cut while it is mapped. What a disk or a person
    // changes in it is found by the checksum of each record.
    unsafe { memmap2::MmapOptions::new().len(bytes).map_mut(file) }
}
