//! Draws a picture from its attributes and a seed.
//!
//! Pose, light and the small differences between two garments of one kind come from the seed. The
//! drawing is the same to the byte on every machine: random numbers come from ChaCha, angles are
//! rounded before they are used, and light and grain use only the four basic operations.

mod backdrop;
mod canvas;
mod cut;
mod graphics;
mod light;
mod palette;
mod pattern;
mod shape;

use image::RgbImage;
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use tiny_skia::Transform;

use crate::attributes::Attributes;
use canvas::Canvas;

/// Draws the picture, `size` × `size` pixels.
///
/// Two seeds give two pictures that differ in pose, light and grain, never in an attribute.
///
/// # Panics
///
/// If `size` is 0 or above 4096.
pub fn render(attributes: &Attributes, seed: u64, size: u32) -> RgbImage {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut canvas = Canvas::new(size);
    backdrop::draw(&mut canvas, attributes.background, &mut rng);

    let inks = palette::Inks::of(attributes, &mut rng);
    let cut = cut::cut(attributes, &mut rng);
    let fabric = pattern::draw(attributes.pattern, &mut rng);
    canvas.place(pose(&mut rng));
    canvas.shadow(&cut.silhouette(), &mut rng);
    for piece in &cut.pieces {
        canvas.cloth(piece, &fabric, &inks);
    }
    for mark in &cut.marks {
        canvas.mark(mark, &inks);
    }
    if let (Some(graphic), Some(spot)) = (attributes.graphic, cut.print) {
        graphics::draw(&mut canvas, graphic, spot, attributes.pattern, &inks, &mut rng);
    }
    light::shine(canvas.into_image(), &mut rng)
}

/// Turned by up to 14 degrees, scaled and moved a little.
fn pose(rng: &mut impl Rng) -> Transform {
    let turn: f64 = rng.random_range(-14.0..14.0) * rng.random_range(0.2..1.0);
    let scale = rng.random_range(0.80..1.02_f64);
    let (x, y) = (rng.random_range(-0.06..0.06), rng.random_range(-0.05..0.05));
    // A sine may differ in its last digits between machines; six digits do not.
    let rounded = |value: f64| ((value * 1e6).round() / 1e6) as f32;
    let (sin, cos) = turn.to_radians().sin_cos();
    let (sin, cos) = (rounded(sin * scale), rounded(cos * scale));
    Transform::from_translate(-0.5, -0.5)
        .post_concat(Transform::from_row(cos, sin, -sin, cos, 0.0, 0.0))
        .post_translate(0.5 + x, 0.5 + y)
}
