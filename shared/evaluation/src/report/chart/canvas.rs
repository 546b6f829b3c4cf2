//! What charts are drawn with: shapes and lettering in units that are pixels of the SVG, and some
//! pixels each of the PNG.

use plotters::{
    coord::Shift,
    drawing::{DrawingArea, DrawingAreaErrorKind},
    element::{Circle, PathElement, Rectangle},
    style::{
        Color, FontTransform, IntoFont, RGBColor, ShapeStyle, TextStyle,
        text_anchor::{HPos, Pos, VPos},
    },
};
use plotters_backend::DrawingBackend;
use weimocir_lettering::{FAMILY, Letters};

use super::bitmap::SIZE_OF_EM;

pub(super) const PAPER: RGBColor = RGBColor(255, 255, 255);
pub(super) const INK: RGBColor = RGBColor(31, 41, 55);
pub(super) const FAINT: RGBColor = RGBColor(107, 114, 128);
pub(super) const RULE: RGBColor = RGBColor(209, 213, 219);

pub(in crate::report) type Drawn<B> =
    Result<(), DrawingAreaErrorKind<<B as DrawingBackend>::ErrorType>>;

/// A place, in units from the left and the top.
pub(super) type At = (f64, f64);

pub(in crate::report) struct Canvas<B: DrawingBackend> {
    pub(super) area: DrawingArea<B, Shift>,
    /// Pixels of a unit.
    pub(super) scale: f64,
}

/// A line of text.
#[derive(Clone, Copy)]
pub(super) struct Text {
    /// The em, in units.
    pub(super) size: f64,
    pub(super) colour: RGBColor,
    pub(super) across: HPos,
    pub(super) down: VPos,
    /// Read from below to above.
    pub(super) upright: bool,
}

impl<B: DrawingBackend> Canvas<B> {
    pub(super) fn fill(&self, from: At, to: At, colour: RGBColor) -> Drawn<B> {
        self.area.draw(&Rectangle::new([self.pixel(from), self.pixel(to)], colour.filled()))
    }

    pub(super) fn frame(&self, from: At, to: At, colour: RGBColor) -> Drawn<B> {
        let style = self.stroke(colour, 1.0);
        let ((left, top), (right, bottom)) = (from, to);
        let corners = [from, (right, top), to, (left, bottom), from];
        self.area.draw(&PathElement::new(corners.map(|at| self.pixel(at)), style))
    }

    pub(super) fn line(&self, from: At, to: At, colour: RGBColor, width: f64) -> Drawn<B> {
        let ends = [self.pixel(from), self.pixel(to)];
        self.area.draw(&PathElement::new(ends, self.stroke(colour, width)))
    }

    pub(super) fn disc(&self, centre: At, radius: f64, colour: RGBColor) -> Drawn<B> {
        let radius = (radius * self.scale).round() as i32;
        self.area.draw(&Circle::new(self.pixel(centre), radius, colour.filled()))
    }

    /// A square that stands on a corner.
    pub(super) fn diamond(&self, (x, y): At, radius: f64, colour: RGBColor) -> Drawn<B> {
        let corners = [(x, y - radius), (x + radius, y), (x, y + radius), (x - radius, y)];
        let corners = corners.map(|at| self.pixel(at)).to_vec();
        self.area.draw(&plotters::element::Polygon::new(corners, colour.filled()))
    }

    pub(super) fn text(&self, at: At, text: &str, style: Text) -> Drawn<B> {
        let family = format!("{FAMILY}, Verdana, sans-serif");
        let font = (family.as_str(), style.size * SIZE_OF_EM * self.scale).into_font();
        let font = match style.upright {
            true => font.transform(FontTransform::Rotate270),
            false => font,
        };
        let style =
            TextStyle::from(font).color(&style.colour).pos(Pos::new(style.across, style.down));
        self.area.draw_text(text, &style, self.pixel(at))
    }

    fn pixel(&self, (x, y): At) -> (i32, i32) {
        ((x * self.scale).round() as i32, (y * self.scale).round() as i32)
    }

    fn stroke(&self, colour: RGBColor, width: f64) -> ShapeStyle {
        colour.stroke_width((width * self.scale).round() as u32)
    }
}

impl Text {
    /// Faces right from its place, whose height is its middle.
    pub(super) const fn new(size: f64, colour: RGBColor) -> Self {
        Self { size, colour, across: HPos::Left, down: VPos::Center, upright: false }
    }

    pub(super) const fn centred(self) -> Self {
        Self { across: HPos::Center, ..self }
    }

    pub(super) const fn to_the_left(self) -> Self {
        Self { across: HPos::Right, ..self }
    }

    pub(super) const fn upright(self) -> Self {
        Self { upright: true, across: HPos::Center, ..self }
    }

    /// In units.
    pub(super) fn width(self, text: &str) -> f64 {
        f64::from(Letters::of_em(self.size as f32).width(text))
    }
}
