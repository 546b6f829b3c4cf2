//! Files in NumPy's array format, version 1.0: a short text header, then the bare numbers.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result};

/// Opens a file, writes the header and leaves the numbers to the caller.
pub(super) fn create(path: &Path, dtype: &str, shape: &[usize]) -> Result<BufWriter<File>> {
    let context = || format!("cannot write {}", path.display());
    let mut file = BufWriter::new(File::create(path).with_context(context)?);
    file.write_all(&header(dtype, shape)).with_context(context)?;
    Ok(file)
}

/// Writes a whole array, in row-major order.
pub(super) fn write<const BYTES: usize>(
    path: &Path,
    dtype: &str,
    shape: &[usize],
    numbers: impl Iterator<Item = [u8; BYTES]>,
) -> Result<()> {
    let context = || format!("cannot write {}", path.display());
    let mut file = create(path, dtype, shape)?;
    for number in numbers {
        file.write_all(&number).with_context(context)?;
    }
    file.flush().with_context(context)
}

/// The header is padded with spaces so that the numbers begin at a multiple of 64 bytes.
fn header(dtype: &str, shape: &[usize]) -> Vec<u8> {
    const PREFIX: usize = 10;
    let sizes: String = shape.iter().map(|size| format!("{size}, ")).collect();
    let mut text = format!("{{'descr': '{dtype}', 'fortran_order': False, 'shape': ({sizes}), }}");
    let total = (PREFIX + text.len() + 1).next_multiple_of(64);
    text.extend(std::iter::repeat_n(' ', total - PREFIX - text.len() - 1));
    text.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((text.len() as u16).to_le_bytes());
    bytes.extend(text.into_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::header;

    #[test]
    fn the_header_is_what_numpy_writes() {
        let bytes = header("|u1", &[3, 2]);
        let text = String::from_utf8_lossy(&bytes[10..]);

        assert_eq!(&bytes[..10], b"\x93NUMPY\x01\x00\x76\x00");
        assert_eq!(
            text.trim_end(),
            "{'descr': '|u1', 'fortran_order': False, 'shape': (3, 2, ), }"
        );
        assert_eq!(bytes.len(), 128);
    }
}
