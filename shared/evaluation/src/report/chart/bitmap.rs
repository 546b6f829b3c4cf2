//! Pixels for `plotters` to draw on, lettered with our own font. Lines, circles and areas are those of
//! `plotters`' rasterizer.

use std::convert::Infallible;

use image::{Rgb, RgbImage};
use plotters_backend::{
    BackendColor, BackendCoord, BackendTextStyle, DrawingBackend, DrawingErrorKind, FontTransform,
    text_anchor::{HPos, VPos},
};
use weimocir_lettering::{Letters, X_HEIGHT};

/// Of what `plotters` calls the size, in the em.
pub(super) const SIZE_OF_EM: f64 = 1.24;

#[derive(Debug)]
pub(super) struct Bitmap<'a>(pub(super) &'a mut RgbImage);

type Drawn = Result<(), DrawingErrorKind<Infallible>>;

impl DrawingBackend for Bitmap<'_> {
    type ErrorType = Infallible;

    fn get_size(&self) -> (u32, u32) {
        self.0.dimensions()
    }

    fn ensure_prepared(&mut self) -> Drawn {
        Ok(())
    }

    fn present(&mut self) -> Drawn {
        Ok(())
    }

    fn draw_pixel(&mut self, (x, y): BackendCoord, colour: BackendColor) -> Drawn {
        let (Ok(x), Ok(y)) = (u32::try_from(x), u32::try_from(y)) else { return Ok(()) };
        let Some(below) = self.0.get_pixel_mut_checked(x, y) else { return Ok(()) };
        let (r, g, b) = colour.rgb;
        let over = [r, g, b];
        *below = Rgb(std::array::from_fn(|i| {
            let (under, over) = (f64::from(below.0[i]), f64::from(over[i]));
            (under + (over - under) * colour.alpha.clamp(0.0, 1.0)).round() as u8
        }));
        Ok(())
    }

    /// In the places where an SVG of `plotters` puts it.
    fn draw_text<S: BackendTextStyle>(&mut self, text: &str, style: &S, at: BackendCoord) -> Drawn {
        let em = (style.size() / SIZE_OF_EM) as f32;
        let (letters, colour, anchor) = (Letters::of_em(em), style.color(), style.anchor());
        let width = letters.width(text);
        let start = match anchor.h_pos {
            HPos::Left => 0.0,
            HPos::Center => -width / 2.0,
            HPos::Right => -width,
        };
        let baseline = match anchor.v_pos {
            VPos::Top => 0.76 * em,
            VPos::Center => 0.5 * X_HEIGHT * em,
            VPos::Bottom => -0.5 * X_HEIGHT * em,
        };
        letters.draw(text, (start, baseline.round()), |x, y, coverage| {
            let (x, y) = match style.transform() {
                FontTransform::None => (x, y),
                FontTransform::Rotate90 => (-y, x),
                FontTransform::Rotate180 => (-x, -y),
                FontTransform::Rotate270 => (y, -x),
            };
            let alpha = colour.alpha * f64::from(coverage);
            let Ok(()) = self.draw_pixel((at.0 + x, at.1 + y), BackendColor { alpha, ..colour })
            else {
                unreachable!("a pixel of memory can be drawn")
            };
        });
        Ok(())
    }
}
