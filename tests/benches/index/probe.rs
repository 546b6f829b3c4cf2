//! How fast this machine reads memory at this moment, on one thread or several.

use std::{hint::black_box, thread, time::Instant};

use memmap2::{Advice, MmapMut};

/// Far more than any cache holds.
const BYTES: usize = 1 << 30;
/// Independent sums, so that additions do not wait for each other.
const LANES: usize = 64;

#[derive(Debug)]
pub(crate) struct Probe {
    buffer: MmapMut,
}

impl Probe {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let mut buffer = MmapMut::map_anon(BYTES)?;
        if let Err(error) = buffer.advise(Advice::HugePage) {
            eprintln!("no huge pages for the probe: {error}");
        }
        // because: pages never written all read as one page of zeros, from the cache
        buffer.fill(1);
        Ok(Self { buffer })
    }

    /// GB/s (10⁹ bytes) of one reading of the whole buffer.
    pub(crate) fn gigabytes_per_s(&self, threads: usize) -> f64 {
        let start = Instant::now();
        thread::scope(|scope| {
            for part in self.buffer.chunks(BYTES / threads) {
                scope.spawn(|| black_box(sum(part)));
            }
        });
        BYTES as f64 / start.elapsed().as_secs_f64() / 1e9
    }
}

fn sum(bytes: &[u8]) -> f32 {
    let mut sums = [0f32; LANES];
    for chunk in bytes.as_chunks::<{ 4 * LANES }>().0 {
        for (sum, value) in sums.iter_mut().zip(chunk.as_chunks::<4>().0) {
            *sum += f32::from_le_bytes(*value);
        }
    }
    sums.iter().sum()
}
