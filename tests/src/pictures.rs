//! Pictures of the held-out catalogue, as files.

use std::path::Path;

use weimocir_catalogue::{Gallery, Split, gallery, write_gallery};

/// Renders the first `count` pictures of a split into `folder`, `edge` pixels wide and high.
///
/// # Errors
/// A folder that cannot be written.
pub fn render(split: Split, count: usize, edge: u32, folder: &Path) -> anyhow::Result<Gallery> {
    let gallery = gallery(split, count);
    write_gallery(&gallery, folder, edge, |_| {})?;
    Ok(gallery)
}
