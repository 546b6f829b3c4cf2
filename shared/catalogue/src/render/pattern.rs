//! The pattern of the cloth as one outline that covers the whole picture. It is drawn in the
//! second colour and cut to the garment; it stays wide enough to be seen at 64 pixels, and covers
//! clearly less than half of the cloth so that the first colour can be told from the second.

use rand::Rng;
use tiny_skia::{Path, PathBuilder, Rect};

use crate::attributes::Pattern;

/// The pattern, or `None` for plain cloth.
pub(super) fn draw(pattern: Pattern, rng: &mut impl Rng) -> Option<Path> {
    let step = rng.random_range(0.105..0.15);
    let start = -rng.random_range(0.0..step) - 0.2;
    match pattern {
        Pattern::Plain => None,
        Pattern::Striped => stripes(step, start, rng.random_bool(0.4)),
        Pattern::Dotted => dots(step * 1.05, start),
        Pattern::Checked => checks(step, start),
    }
}

fn stripes(step: f32, start: f32, upright: bool) -> Option<Path> {
    let mut builder = PathBuilder::new();
    for at in steps(step, start) {
        let (x, y) = if upright { (at, -0.3) } else { (-0.3, at) };
        let (width, height) = if upright { (step * 0.41, 1.6) } else { (1.6, step * 0.41) };
        builder.push_rect(Rect::from_xywh(x, y, width, height)?);
    }
    builder.finish()
}

fn dots(step: f32, start: f32) -> Option<Path> {
    let mut builder = PathBuilder::new();
    for (row, y) in steps(step, start).enumerate() {
        let shift = if row % 2 == 0 { 0.0 } else { step / 2.0 };
        for x in steps(step, start) {
            builder.push_circle(x + shift, y, step * 0.31);
        }
    }
    builder.finish()
}

fn checks(step: f32, start: f32) -> Option<Path> {
    let mut builder = PathBuilder::new();
    for (row, y) in steps(step, start).enumerate() {
        for (column, x) in steps(step, start).enumerate() {
            if (row + column) % 2 == 0 {
                builder.push_rect(Rect::from_xywh(x, y, step * 0.86, step * 0.86)?);
            }
        }
    }
    builder.finish()
}

fn steps(step: f32, start: f32) -> impl Iterator<Item = f32> {
    let count = (1.5 / step) as usize + 1;
    (0..count).map(move |index| start + index as f32 * step)
}
