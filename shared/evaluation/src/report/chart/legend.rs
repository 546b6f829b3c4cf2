//! Marks, and what they mean in words.

use plotters::style::RGBColor;
use plotters_backend::DrawingBackend;

use super::canvas::{At, Canvas, Drawn, FAINT, INK, PAPER, Text};

/// Blue and vermilion of Okabe and Ito's palette, which the colour-blind can tell apart.
pub(super) const BLUE: RGBColor = RGBColor(0, 114, 178);
const VERMILION: RGBColor = RGBColor(213, 94, 0);

#[derive(Debug, Clone)]
pub(super) struct Key {
    mark: Mark,
    text: String,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Mark {
    Best,
    Point,
    Line,
    Dashes,
    Disc,
    Diamond,
}

const TEXT: Text = Text::new(12.0, INK);
const LINE: f64 = 22.0;
const BEFORE_TEXT: f64 = 20.0;
const BETWEEN: f64 = 26.0;

impl Key {
    pub(super) fn new(mark: Mark, text: &str) -> Self {
        Self { mark, text: text.to_owned() }
    }

    fn width(&self) -> f64 {
        BEFORE_TEXT + TEXT.width(&self.text)
    }
}

/// Of the keys in lines of this width.
pub(super) fn height(keys: &[Key], width: f64) -> f64 {
    places(keys, width).last().map_or(0.0, |(_, y)| y + LINE)
}

pub(super) fn draw<B: DrawingBackend>(
    canvas: &Canvas<B>,
    (left, top): At,
    width: f64,
    keys: &[Key],
) -> Drawn<B> {
    for (key, (x, y)) in keys.iter().zip(places(keys, width)) {
        let (x, y) = (left + x, top + y + LINE / 2.0);
        key.mark.draw(canvas, (x + 6.0, y), 1.0)?;
        canvas.text((x + BEFORE_TEXT, y), &key.text, TEXT)?;
    }
    Ok(())
}

/// One after the other, in as many lines as they need.
fn places(keys: &[Key], width: f64) -> Vec<At> {
    let (mut x, mut y) = (0.0, 0.0);
    let place = |key: &Key| {
        if x > 0.0 && x + key.width() > width {
            (x, y) = (0.0, y + LINE);
        }
        let place = (x, y);
        x += key.width() + BETWEEN;
        place
    };
    keys.iter().map(place).collect()
}

impl Mark {
    pub(super) fn draw<B: DrawingBackend>(self, canvas: &Canvas<B>, at: At, size: f64) -> Drawn<B> {
        let (x, y) = at;
        match self {
            Self::Best => {
                canvas.disc(at, 6.5 * size, INK)?;
                canvas.disc(at, 5.0 * size, PAPER)
            }
            Self::Point => {
                canvas.diamond(at, 6.0 * size, PAPER)?;
                canvas.diamond(at, 4.2 * size, INK)
            }
            Self::Line => canvas.line((x - 7.0, y), (x + 7.0, y), INK, 1.5),
            Self::Dashes => {
                for start in [-7.0, -2.0, 3.0] {
                    canvas.line((x + start, y), (x + start + 3.0, y), FAINT, 1.5)?;
                }
                Ok(())
            }
            Self::Disc => canvas.disc(at, 4.5 * size, BLUE),
            Self::Diamond => canvas.diamond(at, 5.5 * size, VERMILION),
        }
    }
}
