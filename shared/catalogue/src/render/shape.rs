//! Outlines in a unit square: (0, 0) is the upper left corner of the picture, (1, 1) the lower
//! right one.

use tiny_skia::{Path, PathBuilder, Rect};

/// One stretch of an outline: straight to a point, or bent to it by a control point.
#[derive(Debug, Clone, Copy)]
pub(super) enum Stretch {
    To(f32, f32),
    Bend(f32, f32, f32, f32),
}

impl Stretch {
    fn end(self) -> (f32, f32) {
        match self {
            Self::To(x, y) | Self::Bend(_, _, x, y) => (x, y),
        }
    }

    fn mirrored(self) -> Self {
        match self {
            Self::To(x, y) => Self::To(1.0 - x, y),
            Self::Bend(cx, cy, x, y) => Self::Bend(1.0 - cx, cy, 1.0 - x, y),
        }
    }
}

/// A closed outline.
pub(super) fn closed(start: (f32, f32), stretches: &[Stretch]) -> Path {
    path(start, stretches, true)
}

/// A line with two ends.
pub(super) fn open(start: (f32, f32), stretches: &[Stretch]) -> Path {
    path(start, stretches, false)
}

/// The outline and its mirror image about the middle of the picture.
pub(super) fn both(start: (f32, f32), stretches: &[Stretch]) -> [Path; 2] {
    let mirrored: Vec<_> = stretches.iter().map(|stretch| stretch.mirrored()).collect();
    [closed(start, stretches), closed((1.0 - start.0, start.1), &mirrored)]
}

/// A closed outline that is its own mirror image, given by the half that runs from the middle at
/// the top to the middle at the bottom.
pub(super) fn symmetric(start: (f32, f32), half: &[Stretch]) -> Path {
    let mut stretches = half.to_vec();
    for (index, stretch) in half.iter().enumerate().rev() {
        let (x, y) = if index == 0 { start } else { half[index - 1].end() };
        stretches.push(match *stretch {
            Stretch::To(..) => Stretch::To(1.0 - x, y),
            Stretch::Bend(cx, cy, ..) => Stretch::Bend(1.0 - cx, cy, 1.0 - x, y),
        });
    }
    closed(start, &stretches)
}

/// A closed outline with straight sides.
pub(super) fn polygon(points: &[(f32, f32)]) -> Path {
    let stretches: Vec<_> = points[1..].iter().map(|&(x, y)| Stretch::To(x, y)).collect();
    closed(points[0], &stretches)
}

/// An ellipse about a centre.
pub(super) fn ellipse(x: f32, y: f32, across: f32, down: f32) -> Path {
    let bounds = Rect::from_xywh(x - across, y - down, 2.0 * across, 2.0 * down);
    let path = bounds.and_then(PathBuilder::from_oval);
    path.expect("an ellipse has a positive width and height")
}

fn path(start: (f32, f32), stretches: &[Stretch], close: bool) -> Path {
    let mut builder = PathBuilder::new();
    builder.move_to(start.0, start.1);
    for stretch in stretches {
        match *stretch {
            Stretch::To(x, y) => builder.line_to(x, y),
            Stretch::Bend(cx, cy, x, y) => builder.quad_to(cx, cy, x, y),
        }
    }
    if close {
        builder.close();
    }
    builder.finish().expect("an outline has at least two different points")
}
