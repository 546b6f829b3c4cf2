//! The surface that everything is painted on: turns unit coordinates and inks into pixels.

use image::RgbImage;
use rand::Rng;
use tiny_skia::{FillRule, LineCap, LineJoin, Mask, Paint, Path, Pixmap, Stroke, Transform};

use super::palette::{Inks, Rgb, scaled};

/// A part of the garment made of its cloth.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) outline: Path,
    /// Brightness of the cloth in percent: sleeves lie a little in the shade.
    pub(super) light: u32,
}

/// Something on the cloth.
#[derive(Debug)]
pub(super) struct Mark {
    pub(super) path: Path,
    pub(super) ink: Ink,
    /// Width of the line, or `None` to fill.
    pub(super) line: Option<f32>,
}

/// What a mark is drawn with.
#[derive(Debug, Clone, Copy)]
pub(super) enum Ink {
    Dark,
    Bright,
    Trim,
    /// A fold: black at about a seventh of its strength.
    Shade,
    /// A crease that catches the light.
    Glint,
}

pub(super) struct Canvas {
    pixels: Pixmap,
    size: u32,
    placed: Transform,
}

impl Canvas {
    pub(super) fn new(size: u32) -> Self {
        assert!((1..=4096).contains(&size), "a picture is 1 to 4096 pixels wide, not {size}");
        let pixels = Pixmap::new(size, size).expect("the size was checked");
        let placed = Transform::from_scale(size as f32, size as f32);
        Self { pixels, size, placed }
    }

    /// From here on, everything is drawn in this pose.
    pub(super) fn place(&mut self, pose: Transform) {
        self.placed = pose.post_scale(self.size as f32, self.size as f32);
    }

    pub(super) fn fill(&mut self, path: &Path, color: Rgb) {
        self.fill_faintly(path, color, 255);
    }

    pub(super) fn fill_faintly(&mut self, path: &Path, color: Rgb, opacity: u8) {
        let paint = paint(color, opacity);
        self.pixels.fill_path(path, &paint, FillRule::Winding, self.placed, None);
    }

    pub(super) fn line(&mut self, path: &Path, color: Rgb, width: f32) {
        self.line_faintly(path, color, 255, width);
    }

    /// A soft shadow below and beside the outlines: three faint copies of them.
    pub(super) fn shadow(&mut self, silhouette: &[&Path], rng: &mut impl Rng) {
        let opacity = rng.random_range(8..22);
        let (x, y) = (rng.random_range(-0.022..0.03), rng.random_range(0.014..0.03));
        let placed = self.placed;
        for step in 1..=3 {
            let along = step as f32 / 2.0 * self.size as f32;
            self.placed = placed.post_translate(x * along, y * along);
            for path in silhouette {
                self.fill_faintly(path, [16, 14, 22], opacity);
            }
        }
        self.placed = placed;
    }

    /// Lays a piece of cloth with its pattern and its outline.
    pub(super) fn cloth(&mut self, piece: &Piece, pattern: &Option<Path>, inks: &Inks) {
        self.fill(&piece.outline, scaled(inks.cloth, piece.light));
        if let Some(pattern) = pattern {
            let mut inside = Mask::new(self.size, self.size).expect("the size was checked");
            inside.fill_path(&piece.outline, FillRule::Winding, true, self.placed);
            let paint = paint(scaled(inks.pattern, piece.light), 255);
            let inside = Some(&inside);
            self.pixels.fill_path(pattern, &paint, FillRule::Winding, self.placed, inside);
        }
        self.line(&piece.outline, inks.dark, 0.011);
    }

    pub(super) fn mark(&mut self, mark: &Mark, inks: &Inks) {
        let (color, opacity) = match mark.ink {
            Ink::Dark => (inks.dark, 255),
            Ink::Bright => (inks.bright, 255),
            Ink::Trim => (inks.trim, 255),
            Ink::Shade => ([0, 0, 10], 36),
            Ink::Glint => ([255, 255, 250], 40),
        };
        match mark.line {
            Some(width) => self.line_faintly(&mark.path, color, opacity, width),
            None => self.fill_faintly(&mark.path, color, opacity),
        }
    }

    pub(super) fn into_image(self) -> RgbImage {
        let rgb = self.pixels.pixels().iter().flat_map(|p| [p.red(), p.green(), p.blue()]);
        RgbImage::from_raw(self.size, self.size, rgb.collect()).expect("three bytes for each pixel")
    }

    fn line_faintly(&mut self, path: &Path, color: Rgb, opacity: u8, width: f32) {
        let stroke = Stroke {
            width,
            line_cap: LineCap::Round,
            line_join: LineJoin::Round,
            ..Stroke::default()
        };
        self.pixels.stroke_path(path, &paint(color, opacity), &stroke, self.placed, None);
    }
}

fn paint(color: Rgb, opacity: u8) -> Paint<'static> {
    let mut paint = Paint { anti_alias: true, ..Paint::default() };
    paint.set_color_rgba8(color[0], color[1], color[2], opacity);
    paint
}
