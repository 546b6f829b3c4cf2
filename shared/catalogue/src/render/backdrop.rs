//! What the garment lies on or hangs before.

use rand::Rng;
use tiny_skia::{PathBuilder, Rect};

use super::canvas::Canvas;
use super::palette::{Rgb, scaled, varied};
use super::shape::ellipse;
use crate::attributes::Background;

pub(super) fn draw(canvas: &mut Canvas, background: Background, rng: &mut impl Rng) {
    let color = varied(look(background), 4, rng);
    below(canvas, 0.0, color);
    let horizon = rng.random_range(0.62..0.84);
    match background {
        Background::Outdoor => outdoors(canvas, horizon, rng),
        _ if rng.random_bool(0.5) => below(canvas, horizon, scaled(color, 90)),
        _ => {}
    }
}

fn look(background: Background) -> Rgb {
    match background {
        Background::White => [247, 247, 246],
        Background::Grey => [152, 153, 158],
        Background::Beige => [221, 204, 172],
        Background::Outdoor => [152, 202, 240],
        Background::Dark => [46, 48, 57],
        Background::Pink => [250, 202, 212],
    }
}

/// A sky with clouds over a meadow with darker tufts.
fn outdoors(canvas: &mut Canvas, horizon: f32, rng: &mut impl Rng) {
    for _ in 0..rng.random_range(1..4) {
        let (x, y) = (rng.random_range(0.0..1.0), rng.random_range(0.06..0.3));
        for puff in [-0.07, 0.0, 0.07] {
            canvas.fill(&ellipse(x + puff, y - puff * puff, 0.07, 0.04), [250, 251, 252]);
        }
    }
    let grass = varied([98, 166, 74], 8, rng);
    below(canvas, horizon, grass);
    for _ in 0..24 {
        let (x, y) = (rng.random_range(0.0..1.0), rng.random_range(horizon + 0.02..1.0));
        canvas.fill(&ellipse(x, y, 0.03, 0.007), scaled(grass, 86));
    }
}

fn below(canvas: &mut Canvas, top: f32, color: Rgb) {
    let area = Rect::from_ltrb(0.0, top, 1.0, 1.0).expect("the horizon is inside the picture");
    canvas.fill(&PathBuilder::from_rect(area), color);
}
