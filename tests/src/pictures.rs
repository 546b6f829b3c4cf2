//! Pictures of the held-out catalogue, as files, and tiny ones.

use std::{io::Cursor, path::Path};

use image::{ImageFormat, RgbImage};
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

/// The file of a small picture like no other.
pub fn tiny(n: u32) -> Vec<u8> {
    let [a, b, c, d] = n.to_le_bytes();
    let picture =
        RgbImage::from_fn(8, 8, |x, y| image::Rgb([a ^ (x as u8 * 32), b ^ (y as u8 * 32), c ^ d]));
    let mut file = Cursor::new(Vec::new());
    // because: writing into memory fails only for pictures of no size
    picture.write_to(&mut file, ImageFormat::Png).expect("a picture of 8 by 8 pixels");
    file.into_inner()
}
