//! The colours of a picture: what each colour name looks like, and the inks derived from it.

use rand::Rng;

use crate::attributes::{Attributes, Color};

/// Red, green and blue, 0 to 255 each.
pub(super) type Rgb = [u8; 3];

/// The inks that one garment is drawn with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Inks {
    pub(super) cloth: Rgb,
    pub(super) pattern: Rgb,
    /// Outlines, seams, belts.
    pub(super) dark: Rgb,
    /// Collars, cuffs: the cloth, somewhat brighter.
    pub(super) bright: Rgb,
    /// Soles, laces, buttons: light on dark cloth and dark on light cloth.
    pub(super) trim: Rgb,
}

impl Inks {
    pub(super) fn of(attributes: &Attributes, rng: &mut impl Rng) -> Self {
        let cloth = varied(look(attributes.color), 9, rng);
        let pattern = attributes.second.map_or(cloth, |second| varied(look(second), 9, rng));
        let dark = if brightness(cloth) > 60 { scaled(cloth, 60) } else { [78, 78, 84] };
        let trim = if brightness(cloth) < 165 { [238, 236, 230] } else { [64, 62, 66] };
        Self { cloth, pattern, dark, bright: brightened(cloth), trim }
    }
}

/// What the colour looks like before variation.
pub(super) fn look(color: Color) -> Rgb {
    match color {
        Color::Red => [204, 30, 38],
        Color::Orange => [244, 128, 24],
        Color::Yellow => [246, 216, 44],
        Color::Green => [34, 146, 62],
        Color::Blue => [36, 78, 192],
        Color::Purple => [122, 50, 162],
        Color::Pink => [246, 142, 188],
        Color::Brown => [116, 70, 36],
        Color::Black => [28, 28, 31],
        Color::White => [243, 243, 241],
    }
}

/// The colour in percent of its brightness.
pub(super) fn scaled(color: Rgb, percent: u32) -> Rgb {
    color.map(|channel| (u32::from(channel) * percent / 100).min(255) as u8)
}

/// Each channel moved by up to twice `spread`.
pub(super) fn varied(color: Rgb, spread: i32, rng: &mut impl Rng) -> Rgb {
    let all = rng.random_range(-spread..=spread);
    color.map(|channel| {
        let moved = i32::from(channel) + all + rng.random_range(-spread..=spread);
        moved.clamp(0, 255) as u8
    })
}

/// How different two colours are: the sum over the channels, 0 to 765.
pub(super) fn contrast(one: Rgb, other: Rgb) -> u32 {
    one.iter().zip(other).map(|(&a, b)| u32::from(a.abs_diff(b))).sum()
}

pub(super) fn brightness(color: Rgb) -> u32 {
    color.iter().map(|&channel| u32::from(channel)).sum::<u32>() / 3
}

fn brightened(color: Rgb) -> Rgb {
    color.map(|channel| (u32::from(channel) * 109 / 100 + 9).min(255) as u8)
}
