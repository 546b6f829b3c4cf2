//! What is printed on a garment: a four-leaf clover, a star, a heart or letters.

use rand::Rng;
use tiny_skia::Path;

use super::canvas::Canvas;
use super::palette::{Inks, Rgb, brightness, contrast};
use super::shape::Stretch::{Bend, To};
use super::shape::{closed, ellipse, open, polygon};
use crate::attributes::{Graphic, Pattern};

/// Where a garment carries its print: centre and half height.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spot {
    pub(super) x: f32,
    pub(super) y: f32,
    pub(super) reach: f32,
}

pub(super) fn draw(
    canvas: &mut Canvas,
    graphic: Graphic,
    spot: Spot,
    pattern: Pattern,
    inks: &Inks,
    rng: &mut impl Rng,
) {
    let Some(own) = own_color(graphic) else { return };
    let reach = spot.reach * rng.random_range(0.92..1.12);
    let x = spot.x + rng.random_range(-0.015..0.015);
    let y = spot.y + rng.random_range(-0.015..0.015);
    let spot = Spot { x, y, reach };
    if pattern != Pattern::Plain {
        // On patterned cloth the print sits on a plain patch, or it would drown.
        let patch = ellipse(x, y, reach * 1.38, reach * 1.38);
        canvas.fill(&patch, inks.cloth);
        canvas.line(&patch, inks.dark, 0.008);
    }
    let color = visible(own, inks.cloth);
    match graphic {
        Graphic::Blank => {}
        Graphic::Clover => clover(canvas, spot, color),
        Graphic::Star => canvas.fill(&star(spot), color),
        Graphic::Heart => canvas.fill(&heart(spot), color),
        Graphic::Text => text(canvas, spot, color, rng),
    }
}

fn own_color(graphic: Graphic) -> Option<Rgb> {
    match graphic {
        Graphic::Blank => None,
        Graphic::Clover => Some([26, 168, 62]),
        Graphic::Star => Some([255, 220, 36]),
        Graphic::Heart => Some([226, 24, 52]),
        Graphic::Text => Some([250, 250, 250]),
    }
}

/// The print's own colour, or black or white where the cloth would swallow it.
fn visible(own: Rgb, cloth: Rgb) -> Rgb {
    match (contrast(own, cloth) < 190, brightness(cloth) < 150) {
        (false, _) => own,
        (true, true) => [246, 246, 246],
        (true, false) => [26, 26, 28],
    }
}

fn clover(canvas: &mut Canvas, Spot { x, y, reach }: Spot, color: Rgb) {
    let stem = open(
        (x, y),
        &[Bend(x + reach * 0.08, y + reach * 0.8, x + reach * 0.42, y + reach * 1.22)],
    );
    canvas.line(&stem, color, reach * 0.22);
    for (across, down) in [(-1.0, -1.0), (1.0, -1.0), (-1.0, 1.0), (1.0, 1.0)] {
        canvas.fill(&leaf(x, y, across * reach, down * reach), color);
    }
}

/// A heart-shaped leaf with its tip at (x, y).
fn leaf(x: f32, y: f32, across: f32, down: f32) -> Path {
    let at = |u: f32, v: f32| (x + across * u, y + down * v);
    let bend = |control: (f32, f32), end: (f32, f32)| Bend(control.0, control.1, end.0, end.1);
    closed(
        at(0.04, 0.04),
        &[
            bend(at(0.05, 0.62), at(0.22, 0.88)),
            bend(at(0.48, 1.12), at(0.68, 0.72)),
            bend(at(1.12, 0.5), at(0.88, 0.22)),
            bend(at(0.62, 0.05), at(0.04, 0.04)),
        ],
    )
}

/// Ten corners, by turns outer and inner, starting at the top.
fn star(Spot { x, y, reach }: Spot) -> Path {
    const OUTER: [(f32, f32); 5] =
        [(0.0, -1.0), (0.951, -0.309), (0.588, 0.809), (-0.588, 0.809), (-0.951, -0.309)];
    let mut points = Vec::with_capacity(10);
    for (index, (across, down)) in OUTER.iter().enumerate() {
        // The inner corner after an outer one lies opposite to the outer one three further on.
        let opposite = OUTER[(index + 3) % 5];
        points.push((x + across * reach * 1.2, y + down * reach * 1.2));
        points.push((x - opposite.0 * reach * 0.48, y - opposite.1 * reach * 0.48));
    }
    polygon(&points)
}

fn heart(Spot { x, y, reach }: Spot) -> Path {
    let right = |u: f32| x + u * reach;
    let down = |v: f32| y + v * reach;
    closed(
        (x, down(-0.5)),
        &[
            Bend(right(0.25), down(-1.05), right(0.62), down(-0.92)),
            Bend(right(1.12), down(-0.75), right(0.98), down(-0.15)),
            Bend(right(0.8), down(0.4), x, down(1.05)),
            Bend(right(-0.8), down(0.4), right(-0.98), down(-0.15)),
            Bend(right(-1.12), down(-0.75), right(-0.62), down(-0.92)),
            Bend(right(-0.25), down(-1.05), x, down(-0.5)),
        ],
    )
}

/// Two lines of three letters.
fn text(canvas: &mut Canvas, Spot { x, y, reach }: Spot, color: Rgb, rng: &mut impl Rng) {
    let (width, height) = (reach * 0.56, reach * 0.78);
    for row in [-1.0_f32, 0.14] {
        for column in [-1.5_f32, -0.5, 0.5] {
            let left = x + column * reach * 0.78 + (reach * 0.78 - width) / 2.0;
            let top = y + row * reach;
            let strokes = LETTERS[rng.random_range(0..LETTERS.len())];
            for stroke in strokes {
                let at = |&(u, v): &(f32, f32)| (left + u * width, top + v * height);
                let points: Vec<_> = stroke.iter().map(at).collect();
                let rest: Vec<_> = points[1..].iter().map(|&(x, y)| To(x, y)).collect();
                canvas.line(&open(points[0], &rest), color, reach * 0.2);
            }
        }
    }
}

/// A letter: strokes of points in a box one wide and one high.
type Letter = &'static [&'static [(f32, f32)]];

const LETTERS: [Letter; 8] = [
    &[&[(0.0, 1.0), (0.5, 0.0), (1.0, 1.0)], &[(0.25, 0.6), (0.75, 0.6)]], // A
    &[&[(1.0, 0.0), (0.0, 0.0), (0.0, 1.0), (1.0, 1.0)], &[(0.0, 0.5), (0.8, 0.5)]], // E
    &[&[(0.0, 0.0), (0.0, 1.0)], &[(1.0, 0.0), (1.0, 1.0)], &[(0.0, 0.5), (1.0, 0.5)]], // H
    &[&[(0.0, 0.0), (0.0, 1.0), (1.0, 1.0)]],                              // L
    &[&[(0.0, 1.0), (0.0, 0.0), (1.0, 1.0), (1.0, 0.0)]],                  // N
    &[&[(0.0, 0.0), (1.0, 0.0)], &[(0.5, 0.0), (0.5, 1.0)]],               // T
    &[&[(0.0, 0.0), (0.5, 1.0), (1.0, 0.0)]],                              // V
    &[&[(0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (1.0, 1.0)]],                  // Z
];
