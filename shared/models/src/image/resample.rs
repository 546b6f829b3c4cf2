//! Pillow's `Image.resize` on 8-bit RGB, bit for bit: the antialiased filters of its Resample.c,
//! with their fixed-point coefficients and the rounding of each pass.

use image::RgbImage;

/// Bits after the point of a coefficient: 8 for the result, 2 because the sum of a filter's lobes
/// may exceed one, the rest is precision.
const PRECISION_BITS: u32 = 32 - 8 - 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Filter {
    Bilinear,
    /// a = -0.5
    Bicubic,
    /// a = 3
    Lanczos,
}

impl Filter {
    /// `PIL.Image.Resampling`'s number, as preprocessor_config.json writes it.
    pub(super) fn from_pillow(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Lanczos),
            2 => Some(Self::Bilinear),
            3 => Some(Self::Bicubic),
            _ => None,
        }
    }

    fn support(self) -> f64 {
        match self {
            Self::Bilinear => 1.0,
            Self::Bicubic => 2.0,
            Self::Lanczos => 3.0,
        }
    }

    fn at(self, x: f64) -> f64 {
        let x = x.abs();
        match self {
            Self::Bilinear if x < 1.0 => 1.0 - x,
            Self::Bicubic if x < 1.0 => (1.5 * x - 2.5) * x * x + 1.0,
            Self::Bicubic if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * -0.5,
            Self::Lanczos if x < 3.0 => sinc(x) * sinc(x / 3.0),
            _ => 0.0,
        }
    }
}

fn sinc(x: f64) -> f64 {
    if x == 0.0 {
        return 1.0;
    }
    let x = x * std::f64::consts::PI;
    x.sin() / x
}

/// Part of an axis: `start..start + len`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: u32,
    pub(super) len: u32,
}

/// A picture with black around it, which is never made: it adds nothing to any sum.
#[derive(Debug, Clone, Copy)]
pub(super) struct Padded<'a> {
    pub(super) picture: &'a RgbImage,
    /// Columns on the left, and as many on the right.
    pub(super) beside: u32,
    /// Rows above, and as many below.
    pub(super) above: u32,
}

impl Padded<'_> {
    pub(super) fn size(&self) -> (u32, u32) {
        let (width, height) = self.picture.dimensions();
        (width + 2 * self.beside, height + 2 * self.above)
    }
}

/// `padded` resized to `width`×`height`, and of that only the window `columns`×`rows`: what a
/// crop would throw away is not computed.
pub(super) fn resize(
    padded: Padded<'_>,
    (width, height): (u32, u32),
    (columns, rows): (Span, Span),
    filter: Filter,
) -> RgbImage {
    let picture = padded.picture;
    let (full_width, full_height) = padded.size();
    let across = Taps::new(full_width, width, columns, filter)
        .within(Span { start: padded.beside, len: picture.width() });
    let down = Taps::new(full_height, height, rows, filter)
        .within(Span { start: padded.above, len: picture.height() });
    if vertical_first(padded.size(), (width, height)) {
        let needed = across.sources();
        let lowered = vertical_pass(picture, &down, 0, needed);
        horizontal_pass(&lowered, &across, needed.start, Span { start: 0, len: rows.len })
    } else {
        let needed = down.sources();
        let narrowed = horizontal_pass(picture, &across, 0, needed);
        vertical_pass(&narrowed, &down, needed.start, Span { start: 0, len: columns.len })
    }
}

/// Each pass rounds, so their order shows. This is Pillow 13's: vertical first where the height
/// shrinks by more than twice what the width does. Before, horizontal always came first.
fn vertical_first((from_width, from_height): (u32, u32), (width, height): (u32, u32)) -> bool {
    let shrinks_across = i64::from(from_width) - i64::from(width);
    let shrinks_down = i64::from(from_height) - i64::from(height);
    shrinks_down > 0 && shrinks_down > 2 * shrinks_across
}

/// For each output position, the first source position and its coefficients.
struct Taps {
    first: Vec<u32>,
    coefficients: Vec<Vec<i32>>,
}

impl Taps {
    /// Pillow's `precompute_coeffs` and `normalize_coeffs_8bpc`.
    fn new(input: u32, output: u32, window: Span, filter: Filter) -> Self {
        let positions = window.start..window.start + window.len;
        if input == output {
            // Pillow leaves out a pass that changes nothing.
            let one = 1 << PRECISION_BITS;
            return Self {
                coefficients: positions.clone().map(|_| vec![one]).collect(),
                first: positions.collect(),
            };
        }
        let scale = f64::from(input) / f64::from(output);
        let stretch = scale.max(1.0);
        let support = filter.support() * stretch;
        let (mut first, mut coefficients) = (Vec::new(), Vec::new());
        for position in positions {
            let centre = (f64::from(position) + 0.5) * scale;
            let from = (centre - support + 0.5).max(0.0) as u32;
            let to = ((centre + support + 0.5) as u32).min(input);
            let weights: Vec<f64> = (from..to)
                .map(|source| filter.at((f64::from(source) - centre + 0.5) * (1.0 / stretch)))
                .collect();
            let total: f64 = weights.iter().sum();
            first.push(from);
            coefficients.push(weights.iter().map(|weight| fixed(weight, total)).collect());
        }
        Self { first, coefficients }
    }

    /// The same, of only the sources in `part`, and counted from its start.
    fn within(mut self, part: Span) -> Self {
        let end = part.start + part.len;
        for (first, taps) in self.first.iter_mut().zip(&mut self.coefficients) {
            let from = (*first).clamp(part.start, end);
            let to = (*first + taps.len() as u32).clamp(part.start, end);
            taps.truncate(to.saturating_sub(*first) as usize);
            let before = (from.saturating_sub(*first) as usize).min(taps.len());
            taps.drain(..before);
            *first = from - part.start;
        }
        self
    }

    /// The source positions that any output reads.
    fn sources(&self) -> Span {
        let start = self.first.first().copied().unwrap_or(0);
        let ends = self
            .first
            .iter()
            .zip(&self.coefficients)
            .map(|(first, taps)| first + taps.len() as u32);
        Span { start, len: ends.max().unwrap_or(start) - start }
    }
}

fn fixed(weight: &f64, total: f64) -> i32 {
    let weight = if total == 0.0 { *weight } else { weight / total };
    (weight * f64::from(1u32 << PRECISION_BITS)).round() as i32
}

fn to_level(sum: i32) -> u8 {
    (sum >> PRECISION_BITS).clamp(0, 255) as u8
}

const HALF: i32 = 1 << (PRECISION_BITS - 1);

/// Rows `rows` of `picture`, each as wide as the taps say. Column 0 is source column `offset`.
fn horizontal_pass(picture: &RgbImage, taps: &Taps, offset: u32, rows: Span) -> RgbImage {
    let stride = picture.width() as usize * 3;
    let width = taps.first.len();
    let mut out = RgbImage::new(width as u32, rows.len);
    if width == 0 {
        return out;
    }
    let rows = picture.as_raw().chunks_exact(stride).skip(rows.start as usize);
    for (to, from) in out.chunks_exact_mut(width * 3).zip(rows) {
        for ((pixel, first), taps) in
            to.chunks_exact_mut(3).zip(&taps.first).zip(&taps.coefficients)
        {
            let mut sums = [HALF; 3];
            for (source, tap) in from[(first - offset) as usize * 3..].chunks_exact(3).zip(taps) {
                for channel in 0..3 {
                    sums[channel] += i32::from(source[channel]) * tap;
                }
            }
            pixel.copy_from_slice(&sums.map(to_level));
        }
    }
    out
}

/// Columns `columns` of `picture`, as high as the taps say. Row 0 is source row `offset`.
fn vertical_pass(picture: &RgbImage, taps: &Taps, offset: u32, columns: Span) -> RgbImage {
    let stride = picture.width() as usize * 3;
    let mut out = RgbImage::new(columns.len, taps.first.len() as u32);
    if columns.len == 0 {
        return out;
    }
    let (start, width) = (columns.start as usize * 3, columns.len as usize * 3);
    let mut sums = vec![HALF; width];
    for ((to, first), taps) in out.chunks_exact_mut(width).zip(&taps.first).zip(&taps.coefficients)
    {
        sums.fill(HALF);
        let rows = picture.as_raw().chunks_exact(stride).skip((first - offset) as usize);
        for (from, tap) in rows.zip(taps) {
            for (sum, level) in sums.iter_mut().zip(&from[start..start + width]) {
                *sum += i32::from(*level) * tap;
            }
        }
        for (level, sum) in to.iter_mut().zip(&sums) {
            *level = to_level(*sum);
        }
    }
    out
}
