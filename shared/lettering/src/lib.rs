//! The one font that sheets and charts are lettered with, and where the ink of a line goes. Lines are
//! broken and put in their places by who draws them.

use std::sync::LazyLock;

use ab_glyph::{Font, FontRef, GlyphId, PxScale, PxScaleFont, ScaleFont};

/// As documents name it that are lettered elsewhere.
pub const FAMILY: &str = "DejaVu Sans";
/// How high a small letter is, of the em.
pub const X_HEIGHT: f32 = 0.547;

static FONT: LazyLock<FontRef<'static>> = LazyLock::new(|| {
    FontRef::try_from_slice(include_bytes!("../assets/DejaVuSans-subset.ttf"))
        .expect("the embedded font can be read")
});

/// The font in one size.
#[derive(Debug, Clone)]
pub struct Letters(PxScaleFont<&'static FontRef<'static>>);

impl Letters {
    /// From the top of the highest letter to the bottom of the deepest, in pixels.
    pub fn of_height(pixels: f32) -> Self {
        Self(FONT.as_scaled(PxScale::from(pixels)))
    }

    /// By the em, in pixels, which is what other programs call the size.
    pub fn of_em(pixels: f32) -> Self {
        let em = FONT.units_per_em().expect("the embedded font has an em");
        Self::of_height(pixels * FONT.height_unscaled() / em)
    }

    pub fn height(&self) -> f32 {
        self.0.height()
    }

    /// From the top of the highest letter to the baseline.
    pub fn ascent(&self) -> f32 {
        self.0.ascent()
    }

    /// Of a line, in pixels.
    pub fn width(&self, line: &str) -> f32 {
        self.glyphs(line).last().map_or(0.0, |(_, _, end)| end)
    }

    /// Calls `ink` with every pixel that the line touches, and how much of it is covered, 0 to 1. The
    /// line starts at `x`, and stands on `y`.
    pub fn draw(&self, line: &str, (x, y): (f32, f32), mut ink: impl FnMut(i32, i32, f32)) {
        for (id, start, _) in self.glyphs(line) {
            let place = ab_glyph::point(x + start, y);
            let glyph = id.with_scale_and_position(self.0.scale(), place);
            let Some(outline) = self.0.outline_glyph(glyph) else { continue };
            let corner = outline.px_bounds().min;
            outline.draw(|dx, dy, coverage| {
                ink(corner.x as i32 + dx as i32, corner.y as i32 + dy as i32, coverage);
            });
        }
    }

    /// The glyphs of a line, each with where it starts and where the next one may. A character that
    /// the font lacks is an empty box.
    fn glyphs<'a>(&'a self, line: &'a str) -> impl Iterator<Item = (GlyphId, f32, f32)> {
        let (mut x, mut before) = (0.0, None);
        line.chars().filter(|letter| !letter.is_control()).map(move |letter| {
            let id = self.0.glyph_id(letter);
            let start = x + before.map_or(0.0, |before| self.0.kern(before, id));
            x = start + self.0.h_advance(id);
            before = Some(id);
            (id, start, x)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_of_the_font() {
        // the font's own table: an em of 2048, ascent 1901, descent -483, and 1303 to advance after 0
        let letters = Letters::of_em(2048.0);
        assert!((letters.height() - 2384.0).abs() < 0.01, "{}", letters.height());
        assert!((letters.ascent() - 1901.0).abs() < 0.01);
        assert!((letters.width("00") - 2606.0).abs() < 0.01);
        assert_eq!(letters.width(""), 0.0);
    }

    #[test]
    fn ink_stays_on_its_line() {
        let letters = Letters::of_em(20.0);
        let mut touched = Vec::new();
        letters.draw("αβ 31.04 %", (5.0, 40.0), |x, y, coverage| {
            assert!((0.0..=1.01).contains(&coverage));
            touched.push((x, y));
        });
        let end = 5 + letters.width("αβ 31.04 %").ceil() as i32;
        assert!(touched.len() > 500);
        assert!(touched.iter().all(|(x, y)| (4..=end).contains(x) && (20..=46).contains(y)));
    }
}
