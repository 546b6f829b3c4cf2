//! Files that are no pictures, or pictures that are traps: each has something of its own wrong with
//! it, and none may become searchable. And odd ones that are pictures all the same. `trial` submits
//! them.

mod trial;

use std::{
    collections::BTreeSet,
    io::Cursor,
    path::{Path, PathBuf},
};

use anyhow::{Context, ensure};
use image::{ImageFormat, RgbImage};

pub use trial::{Findings, Plan, Trial};

/// A file's name and bytes.
type File = (String, Vec<u8>);

/// Writes every bad file into `bad` and every odd one that is good into `odd`; gives how many of each.
///
/// # Errors
/// A folder that cannot be written, or two files that are the same.
pub fn write(bad: &Path, odd: &Path) -> anyhow::Result<(usize, usize)> {
    let bases = Bases::new()?;
    let mut files = Vec::new();
    truncations(&bases, &mut files);
    bombs(&bases, &mut files);
    strangers(&mut files);
    empty(&bases, &mut files);
    colours(&bases, &mut files);
    damaged(&bases, &mut files);
    mazes(&bases, &mut files);
    Ok((write_all(bad, &files)?, write_all(odd, &good(&bases)?)?))
}

fn write_all(folder: &Path, files: &[File]) -> anyhow::Result<usize> {
    std::fs::create_dir_all(folder)?;
    let mut seen = BTreeSet::new();
    for (name, bytes) in files {
        ensure!(bytes.is_empty() || seen.insert(bytes), "{name} is the same as another file");
        std::fs::write(folder.join(name), bytes)?;
    }
    Ok(files.len())
}

struct Bases {
    png: Vec<u8>,
    gif: Vec<u8>,
    bmp: Vec<u8>,
    tiff: Vec<u8>,
    jpeg: Vec<u8>,
    progressive: Vec<u8>,
    lossless: Vec<u8>,
    lossy: Vec<u8>,
    lzw: Vec<u8>,
}

impl Bases {
    fn new() -> anyhow::Result<Self> {
        let of = |format| -> anyhow::Result<Vec<u8>> {
            let mut file = Cursor::new(Vec::new());
            noise(64, 64).write_to(&mut file, format)?;
            Ok(file.into_inner())
        };
        Ok(Self {
            png: of(ImageFormat::Png)?,
            gif: of(ImageFormat::Gif)?,
            bmp: of(ImageFormat::Bmp)?,
            tiff: of(ImageFormat::Tiff)?,
            jpeg: of(ImageFormat::Jpeg)?,
            lossless: of(ImageFormat::WebP)?,
            progressive: fixture("photo_progressive.jpg")?,
            lossy: fixture("lossy.webp")?,
            lzw: fixture("lzw.tiff")?,
        })
    }

    fn all(&self) -> [(&'static str, &Vec<u8>); 9] {
        [
            ("noise.png", &self.png),
            ("noise.gif", &self.gif),
            ("noise.bmp", &self.bmp),
            ("noise.tiff", &self.tiff),
            ("noise.jpg", &self.jpeg),
            ("progressive.jpg", &self.progressive),
            ("lossless.webp", &self.lossless),
            ("lossy.webp", &self.lossy),
            ("lzw.tiff", &self.lzw),
        ]
    }
}

fn fixture(name: &str) -> anyhow::Result<Vec<u8>> {
    let folder = "../shared/models/tests/fixtures/pictures";
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder).join(name);
    std::fs::read(&path).with_context(|| format!("no {}", path.display()))
}

/// Compresses badly, so that whatever is cut off is missed.
fn noise(width: u32, height: u32) -> RgbImage {
    let mut state = 0x9E37_79B9_u32;
    RgbImage::from_fn(width, height, |_, _| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let [a, b, c, _] = state.to_be_bytes();
        image::Rgb([a, b, c])
    })
}

/// At the places where a format's parts begin, and at every tenth of the file.
fn truncations(bases: &Bases, files: &mut Vec<File>) {
    for (name, base) in bases.all() {
        let tenths = (1..=9).map(|n| base.len() * n / 10);
        let mut cuts: BTreeSet<usize> = tenths.chain([1, 2, 4, 8, 16, 32]).collect();
        cuts.extend(marks(base).into_iter().filter(|&at| at < base.len() * 9 / 10).take(12));
        for cut in cuts {
            // because: a TIFF's directory may lie before its pixels or behind them, and 8 bytes of
            // it are the same for all
            if cut > 0 && cut < base.len() {
                let (stem, kind) = name.split_once('.').unwrap_or((name, "bin"));
                files.push((format!("cut-{stem}-{cut:05}.{kind}"), base[..cut].to_vec()));
            }
        }
    }
    let mut seen = BTreeSet::new();
    files.retain(|(_, bytes)| seen.insert(bytes.clone()));
}

/// Where parts of a PNG or JPEG begin.
fn marks(file: &[u8]) -> Vec<usize> {
    if file.starts_with(b"\x89PNG") {
        let mut at = 8;
        let mut found = Vec::new();
        while let Some(length) = file.get(at..at + 4) {
            found.extend([at, at + 4, at + 8]);
            let length = u32::from_be_bytes([length[0], length[1], length[2], length[3]]);
            at += 12 + length as usize;
        }
        return found;
    }
    if file.starts_with(b"\xff\xd8") {
        let is_mark = |&at: &usize| file[at] == 0xff && !matches!(file[at + 1], 0 | 0xff);
        return (0..file.len() - 1).filter(is_mark).collect();
    }
    Vec::new()
}

fn chunk(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let mut body = kind.to_vec();
    body.extend_from_slice(data);
    let mut out = (data.len() as u32).to_be_bytes().to_vec();
    out.extend_from_slice(&body);
    out.extend_from_slice(&crc32(&body).to_be_bytes());
    out
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg())
        })
    })
}

/// A PNG of these parts behind its header.
fn png(width: u32, height: u32, [depth, colour, interlace]: [u8; 3], parts: &[Vec<u8>]) -> Vec<u8> {
    let mut header = width.to_be_bytes().to_vec();
    header.extend_from_slice(&height.to_be_bytes());
    header.extend_from_slice(&[depth, colour, 0, 0, interlace]);
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    file.extend(chunk(b"IHDR", &header));
    file.extend(parts.concat());
    file.extend(chunk(b"IEND", &[]));
    file
}

/// The pixels of a base.
fn pixels_of(png: &[u8]) -> Vec<u8> {
    let mut at = 8;
    let mut data = Vec::new();
    while let Some(head) = png.get(at..at + 8) {
        let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
        if &head[4..] == b"IDAT" {
            data.extend_from_slice(&png[at + 8..at + 8 + length]);
        }
        at += 12 + length;
    }
    chunk(b"IDAT", &data)
}

/// A TIFF of one directory, whose entries are (tag, type, count, value).
fn tiff(entries: &[(u16, u16, u32, u32)], next: u32, rest: &[u8]) -> Vec<u8> {
    let mut file = b"II*\0\x08\0\0\0".to_vec();
    file.extend_from_slice(&(entries.len() as u16).to_le_bytes());
    for (tag, kind, count, value) in entries {
        file.extend_from_slice(&tag.to_le_bytes());
        file.extend_from_slice(&kind.to_le_bytes());
        file.extend_from_slice(&count.to_le_bytes());
        file.extend_from_slice(&value.to_le_bytes());
    }
    file.extend_from_slice(&next.to_le_bytes());
    file.extend_from_slice(rest);
    file
}

const SHORT: u16 = 3;
const LONG: u16 = 4;

fn grey_tiff(width: u32, height: u32, offset: u32, bytes: u32) -> [(u16, u16, u32, u32); 9] {
    [
        (256, LONG, 1, width),
        (257, LONG, 1, height),
        (258, SHORT, 1, 8),
        (259, SHORT, 1, 1),
        (262, SHORT, 1, 1),
        (273, LONG, 1, offset),
        (277, SHORT, 1, 1),
        (278, LONG, 1, height),
        (279, LONG, 1, bytes),
    ]
}

/// Headers that claim more than there is, and little data that would become much.
fn bombs(bases: &Bases, files: &mut Vec<File>) {
    let data = pixels_of(&bases.png);
    for (width, height) in [
        (100_000, 100_000),
        (0x7fff_ffff, 0x7fff_ffff),
        (0xffff_ffff, 1),
        (1, 0xffff_ffff),
        (20_001, 1),
        (1, 20_001),
        (8_001, 8_001),
        (30_000, 30_000),
    ] {
        let file = png(width, height, [8, 2, 0], std::slice::from_ref(&data));
        files.push((format!("bomb-{width}x{height}.png"), file));
        let file = png(width, height, [16, 6, 1], std::slice::from_ref(&data));
        files.push((format!("bomb-interlaced-{width}x{height}.png"), file));
    }
    for (width, height) in [(65_535_u16, 65_535_u16), (30_000, 3_000), (65_535, 1)] {
        let mut gif = bases.gif.clone();
        gif[6..8].copy_from_slice(&width.to_le_bytes());
        gif[8..10].copy_from_slice(&height.to_le_bytes());
        files.push((format!("bomb-{width}x{height}.gif"), gif));
        for (name, base) in [("plain", &bases.jpeg), ("progressive", &bases.progressive)] {
            if let Some(file) = resized_jpeg(base, width, height) {
                files.push((format!("bomb-{name}-{width}x{height}.jpg"), file));
            }
        }
    }
    for (width, height) in [(100_000, 100_000), (0x7fff_ffff, 0x7fff_ffff), (60_000, 60_000)] {
        let mut bmp = bases.bmp.clone();
        bmp[18..22].copy_from_slice(&(width as u32).to_le_bytes());
        bmp[22..26].copy_from_slice(&(height as u32).to_le_bytes());
        files.push((format!("bomb-{width}x{height}.bmp"), bmp));
        let entries = grey_tiff(width as u32, height as u32, 122, 64);
        files.push((format!("bomb-{width}x{height}.tiff"), tiff(&entries, 0, &[7; 64])));
    }
    // VP8L: 14 bits each of width - 1 and height - 1
    let mut webp = bases.lossless.clone();
    if let Some(at) = webp.windows(4).position(|w| w == b"VP8L") {
        let bits = 0x3fff_u32 | (0x3fff << 14);
        webp[at + 9..at + 13].copy_from_slice(&bits.to_le_bytes());
        files.push(("bomb-16384x16384.webp".into(), webp));
    }
    let mut extended = b"RIFF\0\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0".to_vec();
    extended.extend_from_slice(&[0xff; 6]);
    let length = (extended.len() as u32 - 8).to_le_bytes();
    extended[4..8].copy_from_slice(&length);
    files.push(("bomb-canvas.webp".into(), extended));
    // because: the limit on the file itself is met before anything is read of it
    files.push(("bomb-33-megabytes.png".into(), [&bases.png[..], &vec![0; 33 << 20]].concat()));
}

/// The same JPEG with another size in its frame header.
fn resized_jpeg(base: &[u8], width: u16, height: u16) -> Option<Vec<u8>> {
    let at = marks(base).into_iter().find(|&at| matches!(base[at + 1], 0xc0..=0xc2))?;
    let mut file = base.to_vec();
    file[at + 5..at + 7].copy_from_slice(&height.to_be_bytes());
    file[at + 7..at + 9].copy_from_slice(&width.to_be_bytes());
    Some(file)
}

/// What is no picture at all, or none of ours, under a picture's name.
fn strangers(files: &mut Vec<File>) {
    let svg = br#"<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>"#;
    let mut noise = Vec::new();
    noise.extend((0..4096_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8 | 0x10));
    for (name, bytes) in [
        ("zip.png", b"PK\x03\x04\x14\0\0\0\0\0zipped".to_vec()),
        ("svg.png", svg.to_vec()),
        (
            "svg-with-entities.png",
            b"<?xml version=\"1.0\"?><!DOCTYPE a [<!ENTITY b \"c\">]><svg/>".to_vec(),
        ),
        ("page.jpg", b"<!doctype html><title>404</title>".to_vec()),
        ("text.webp", b"this is no picture".to_vec()),
        ("json.gif", b"{\"error\": \"not found\"}".to_vec()),
        ("program.bmp", b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec()),
        ("windows.png", b"MZ\x90\0\x03\0\0\0".to_vec()),
        ("document.tif", b"%PDF-1.7\n1 0 obj".to_vec()),
        ("film.jpg", b"\0\0\0\x18ftypmp42\0\0\0\0mp42".to_vec()),
        ("phone.jpg", b"\0\0\0\x18ftypheic\0\0\0\0heic".to_vec()),
        ("avif.png", b"\0\0\0\x1cftypavif\0\0\0\0avifmif1".to_vec()),
        ("icon.png", b"\0\0\x01\0\x01\0\x10\x10\0\0\x01\0\x20\0".to_vec()),
        ("photoshop.png", b"8BPS\0\x01\0\0\0\0\0\0\0\x03".to_vec()),
        ("hdr.jpg", b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 2 +X 2\n".to_vec()),
        ("exr.png", b"\x76\x2f\x31\x01\x02\0\0\0".to_vec()),
        ("qoi.png", b"qoif\0\0\0\x02\0\0\0\x02\x03\0".to_vec()),
        ("dds.png", b"DDS \x7c\0\0\0".to_vec()),
        ("farbfeld.png", b"farbfeld\0\0\0\x01\0\0\0\x01abcdefgh".to_vec()),
        ("pnm.png", b"P6 1 1 255\nabc".to_vec()),
        ("gzip.png", b"\x1f\x8b\x08\0\0\0\0\0".to_vec()),
        ("sound.png", b"RIFF\x24\0\0\0WAVEfmt ".to_vec()),
        ("zeros.png", vec![0; 4096]),
        ("ones.jpg", vec![0xff; 4096]),
        ("noise.png", noise),
        ("newlines.png", b"\n\n\n\n".to_vec()),
        ("spaced.png", [b" ".as_slice(), b"\x89PNG\r\n\x1a\n"].concat()),
    ] {
        files.push((format!("stranger-{name}"), bytes));
    }
}

fn empty(bases: &Bases, files: &mut Vec<File>) {
    let data = pixels_of(&bases.png);
    files.push(("nothing.png".into(), Vec::new()));
    for (width, height) in [(0, 0), (0, 8), (8, 0)] {
        let file = png(width, height, [8, 2, 0], std::slice::from_ref(&data));
        files.push((format!("zero-{width}x{height}.png"), file));
        let entries = grey_tiff(width, height, 122, 8);
        files.push((format!("zero-{width}x{height}.tiff"), tiff(&entries, 0, &[7; 8])));
        let mut bmp = bases.bmp.clone();
        bmp[18..22].copy_from_slice(&width.to_le_bytes());
        bmp[22..26].copy_from_slice(&height.to_le_bytes());
        files.push((format!("zero-{width}x{height}.bmp"), bmp));
        if let Some(file) = resized_jpeg(&bases.jpeg, width as u16, height as u16) {
            files.push((format!("zero-{width}x{height}.jpg"), file));
        }
    }
    files.push(("no-pixels.png".into(), png(8, 8, [8, 2, 0], &[])));
    files.push(("empty-pixels.png".into(), png(8, 8, [8, 2, 0], &[chunk(b"IDAT", &[])])));
    files.push(("no-frames.gif".into(), b"GIF89a\x08\0\x08\0\0\0\0;".to_vec()));
    files.push(("no-picture.jpg".into(), b"\xff\xd8\xff\xd9".to_vec()));
    files.push(("no-picture.webp".into(), b"RIFF\x04\0\0\0WEBP".to_vec()));
    files.push(("no-entries.tiff".into(), tiff(&[], 0, &[])));
}

/// Kinds of colours that there are not, or that nobody can read.
fn colours(bases: &Bases, files: &mut Vec<File>) {
    let data = pixels_of(&bases.png);
    for [depth, colour, interlace] in [
        [8, 1, 0],
        [8, 5, 0],
        [8, 7, 0],
        [8, 255, 0],
        [3, 0, 0],
        [0, 2, 0],
        [32, 2, 0],
        [1, 2, 0],
        [2, 6, 0],
        [16, 3, 0],
        [8, 2, 2],
        [8, 2, 255],
    ] {
        let file = png(64, 64, [depth, colour, interlace], std::slice::from_ref(&data));
        files.push((format!("colour-{depth}-{colour}-{interlace}.png"), file));
    }
    files.push(("palette-missing.png".into(), png(64, 64, [8, 3, 0], std::slice::from_ref(&data))));
    for bits in [0_u16, 3, 12, 64, 65_535] {
        let mut bmp = bases.bmp.clone();
        bmp[28..30].copy_from_slice(&bits.to_le_bytes());
        files.push((format!("colour-{bits}.bmp"), bmp));
    }
    for (name, tag, value) in [
        ("compression-65535", 259, 65_535),
        ("compression-3", 259, 3),
        ("photometric-99", 262, 99),
        ("bits-77", 258, 77),
        ("samples-9", 277, 9),
        ("samples-65535", 277, 65_535),
    ] {
        let mut entries = grey_tiff(8, 8, 122, 64);
        entries.iter_mut().filter(|entry| entry.0 == tag).for_each(|entry| entry.3 = value);
        files.push((format!("colour-{name}.tiff"), tiff(&entries, 0, &[7; 64])));
    }
    // lossless, differential and arithmetic frames, twelve bits, two inks
    if let Some(at) = marks(&bases.jpeg).into_iter().find(|&at| bases.jpeg[at + 1] == 0xc0) {
        for frame in [0xc3_u8, 0xc5, 0xc6, 0xc7, 0xc9, 0xcb, 0xcd] {
            let mut file = bases.jpeg.clone();
            file[at + 1] = frame;
            files.push((format!("frame-{frame:02x}.jpg"), file));
        }
        let mut twelve = bases.jpeg.clone();
        twelve[at + 4] = 12;
        files.push(("twelve-bits.jpg".into(), twelve));
        let mut inks = bases.jpeg.clone();
        inks[at + 9] = 77;
        files.push(("many-inks.jpg".into(), inks));
    }
}

fn damaged(bases: &Bases, files: &mut Vec<File>) {
    let mut crc = bases.png.clone();
    crc[29] ^= 1;
    files.push(("damaged-header-checksum.png".into(), crc));
    let mut bits = bases.png.clone();
    let middle = bits.len() / 2;
    bits[middle] ^= 0x10;
    files.push(("damaged-pixels.png".into(), bits));
    let garbage = chunk(b"IDAT", &[0xaa; 200]);
    files.push(("damaged-stream.png".into(), png(64, 64, [8, 2, 0], &[garbage])));
    let mut half = pixels_of(&bases.png);
    let length = half.len() - 12;
    half = chunk(b"IDAT", &half[8..8 + length / 2]);
    files.push(("half-of-the-pixels.png".into(), png(64, 64, [8, 2, 0], &[half])));
    let mut swapped = bases.png.clone();
    swapped[12..16].copy_from_slice(b"IDAT");
    files.push(("no-header.png".into(), swapped));
    let mut gif = bases.gif.clone();
    let middle = gif.len() / 2;
    gif[middle..middle + 64].fill(0xff);
    files.push(("damaged-pixels.gif".into(), gif));
    let mut file = bases.jpeg.clone();
    for at in marks(&bases.jpeg).into_iter().rev().filter(|&at| bases.jpeg[at + 1] == 0xdb) {
        let length = usize::from(u16::from_be_bytes([file[at + 2], file[at + 3]]));
        file.drain(at..at + 2 + length);
    }
    files.push(("no-tables.jpg".into(), file));
    let mut holes = bases.progressive.clone();
    let middle = holes.len() / 2;
    holes[middle..middle + 200].fill(0xff);
    files.push(("holes.jpg".into(), holes));
    for (name, base) in [("lossless", &bases.lossless), ("lossy", &bases.lossy)] {
        let mut file = base.clone();
        let end = file.len().min(60);
        file[20..end].fill(0xff);
        files.push((format!("damaged-{name}.webp"), file));
    }
}

/// What a careless reader would never come out of.
fn mazes(bases: &Bases, files: &mut Vec<File>) {
    // a picture may have at most 500 scans: this one says its last scan 5,000 times
    let scans: Vec<usize> = marks(&bases.progressive)
        .into_iter()
        .filter(|&at| bases.progressive[at + 1] == 0xda)
        .collect();
    if let Some(&last) = scans.last() {
        let end = bases.progressive.len() - 2;
        let mut file = bases.progressive[..end].to_vec();
        let scan = bases.progressive[last..end].to_vec();
        file.extend(std::iter::repeat_n(scan, 5_000).flatten());
        file.extend_from_slice(b"\xff\xd9");
        file.truncate(31 << 20);
        files.push(("thousands-of-scans.jpg".into(), file));
    }
    let loops = grey_tiff(8, 8, 1 << 30, 64);
    files.push(("loop-to-itself.tiff".into(), tiff(&loops, 8, &[])));
    let outside = grey_tiff(8, 8, 0xffff_fff0, 64);
    files.push(("strip-outside.tiff".into(), tiff(&outside, 0, &[])));
    let many = [
        (256, LONG, 1, 8),
        (257, LONG, 1, 8),
        (258, SHORT, 1, 8),
        (259, SHORT, 1, 1),
        (262, SHORT, 1, 1),
        (273, LONG, 0xffff_ffff, 8),
        (278, LONG, 1, 1),
        (279, LONG, 0xffff_ffff, 8),
    ];
    files.push(("strips-without-end.tiff".into(), tiff(&many, 0, &[7; 64])));
    files.push(("directory-outside.tiff".into(), b"II*\0\xff\xff\xff\x7f".to_vec()));
    files.push(("directory-in-the-header.tiff".into(), b"II*\0\0\0\0\0".to_vec()));
    let mut crowded = b"II*\0\x08\0\0\0\xff\xff".to_vec();
    crowded.extend(std::iter::repeat_n([0x00, 0x01, 4, 0, 1, 0, 0, 0, 0, 0, 0, 0], 1000).flatten());
    files.push(("entries-without-end.tiff".into(), crowded));
    // a GIF of a million extensions and no frame
    let mut gif = b"GIF89a\x08\0\x08\0\0\0\0".to_vec();
    gif.extend(std::iter::repeat_n(b"!\xfe\x01x\0".as_slice(), 1_000_000).flatten());
    files.push(("extensions-without-end.gif".into(), gif));
    // as many chunks of text before the pixels never come
    let text = chunk(b"tEXt", b"a\0b");
    let parts: Vec<Vec<u8>> = vec![text; 500_000];
    files.push(("texts-without-end.png".into(), png(8, 8, [8, 2, 0], &parts)));
    let mut segments = b"\xff\xd8".to_vec();
    segments.extend(std::iter::repeat_n([0xff, 0xe1, 0, 4, b'E', b'x'], 1_000_000).flatten());
    files.push(("markers-without-end.jpg".into(), segments));
}

/// Odd, and pictures all the same.
fn good(bases: &Bases) -> anyhow::Result<Vec<File>> {
    let of = |picture: &RgbImage, format| -> anyhow::Result<Vec<u8>> {
        let mut file = Cursor::new(Vec::new());
        picture.write_to(&mut file, format)?;
        Ok(file.into_inner())
    };
    let plain =
        |width, height, grey: u8| RgbImage::from_pixel(width, height, image::Rgb([grey; 3]));
    let mut garbage = b"\xff\xd8\xff\xe1\x01\x02Exif\0\0".to_vec();
    garbage.extend_from_slice(&[0xa5; 250]);
    garbage.extend_from_slice(&bases.jpeg[2..]);
    let mut looping = b"\xff\xd8\xff\xe1\0\x22Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0".to_vec();
    looping.extend_from_slice(b"\x01\0\0\0\x63\0\0\0\x08\0\0\0");
    looping.resize(2 + 2 + 0x22, 0);
    looping.extend_from_slice(&bases.jpeg[2..]);
    let mut frames = bases.gif[..bases.gif.len() - 1].to_vec();
    let again = b"!\xf9\x04\0\0\0\0\0,\0\0\0\0\x01\0\x01\0\0\x02\x02\x44\x01\0".as_slice();
    frames.extend(std::iter::repeat_n(again, 100_000).flatten());
    frames.push(b';');
    Ok(vec![
        ("jpeg-named.png".into(), bases.jpeg.clone()),
        ("png-named.jpg".into(), bases.png.clone()),
        ("exif-garbage.jpg".into(), garbage),
        ("exif-loop.jpg".into(), looping),
        ("frames-without-end.gif".into(), frames),
        ("trailing-garbage.png".into(), [&bases.png[..], &[0xaa; 5_000]].concat()),
        ("fifty-megapixels.png".into(), of(&plain(8_000, 6_250, 9), ImageFormat::Png)?),
        ("fifty-megapixels.jpg".into(), of(&plain(6_250, 8_000, 11), ImageFormat::Jpeg)?),
        ("thin.png".into(), of(&plain(20_000, 1, 40), ImageFormat::Png)?),
        ("one-pixel.png".into(), of(&plain(1, 1, 50), ImageFormat::Png)?),
    ])
}
