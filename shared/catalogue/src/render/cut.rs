//! How each kind of garment is cut: its pieces of cloth, the marks on them and where it carries
//! a print. All in the unit square, upright; the pose comes later.

use rand::Rng;
use tiny_skia::Path;

use super::canvas::{Ink, Mark, Piece};
use super::graphics::Spot;
use super::shape::Stretch::{Bend, To};
use super::shape::{Stretch, both, closed, ellipse, open, polygon, symmetric};
use crate::attributes::{Attributes, Garment, Length, Sleeve};

/// A garment ready to be drawn, pieces first, then marks.
#[derive(Debug, Default)]
pub(super) struct Cut {
    pub(super) pieces: Vec<Piece>,
    pub(super) marks: Vec<Mark>,
    pub(super) print: Option<Spot>,
}

impl Cut {
    /// The outlines that cast a shadow.
    pub(super) fn silhouette(&self) -> Vec<&Path> {
        self.pieces.iter().map(|piece| &piece.outline).collect()
    }

    fn piece(&mut self, outline: Path, light: u32) {
        self.pieces.push(Piece { outline, light });
    }

    fn fill(&mut self, path: Path, ink: Ink) {
        self.marks.push(Mark { path, ink, line: None });
    }

    fn line(&mut self, start: (f32, f32), stretches: &[Stretch], ink: Ink, width: f32) {
        self.marks.push(Mark { path: open(start, stretches), ink, line: Some(width) });
    }

    /// A filled part with a dark seam around it.
    fn trimmed(&mut self, path: Path, ink: Ink) {
        self.marks.push(Mark { path: path.clone(), ink, line: None });
        self.marks.push(Mark { path, ink: Ink::Dark, line: Some(0.009) });
    }
}

/// Cuts the garment; the seed decides small differences in width and length only.
pub(super) fn cut(attributes: &Attributes, rng: &mut impl Rng) -> Cut {
    let long = attributes.length == Some(Length::Long);
    let sleeve = attributes.sleeve.unwrap_or(Sleeve::Sleeveless);
    match attributes.garment {
        Garment::Dress => dress(sleeve, long, rng),
        Garment::Shirt => shirt(sleeve, rng),
        Garment::TShirt => t_shirt(sleeve, rng),
        Garment::Skirt => skirt(long, rng),
        Garment::Trousers => trousers(long, rng),
        Garment::Shoe => shoe(rng),
        Garment::Bag => bag(rng),
        Garment::Hat => hat(rng),
    }
}

/// A small difference in either direction.
fn about(most: f32, rng: &mut impl Rng) -> f32 {
    rng.random_range(-most..most)
}

/// A fitted bodice with straps or sleeves, a belt and a wide skirt.
fn dress(sleeve: Sleeve, long: bool, rng: &mut impl Rng) -> Cut {
    let mut cut = Cut::default();
    let (hem, wide) = if long { (0.95, 0.33) } else { (0.69, 0.25) };
    let (hem, wide) = (hem + about(0.015, rng), wide + about(0.03, rng));
    let end = match sleeve {
        Sleeve::Sleeveless => None,
        Sleeve::Short => Some([(0.265, 0.235), (0.315, 0.31)]),
        Sleeve::Long => Some([(0.165, 0.545), (0.24, 0.57)]),
    };
    if let Some([(x1, y1), (x2, y2)]) = end {
        let arm = [Bend(0.30, 0.11, x1, y1), To(x2, y2), To(0.41, 0.27), To(0.41, 0.09)];
        for outline in both((0.385, 0.075), &arm) {
            cut.piece(outline, 92);
        }
    }
    let left = 0.5 - wide;
    let body = [
        Bend(0.43, 0.16, 0.41, 0.065),
        To(0.365, 0.08),
        Bend(0.385, 0.2, 0.375, 0.25),
        Bend(0.395, 0.34, 0.415, 0.385),
        Bend(0.35, 0.6, left, hem),
        Bend(0.5 - wide / 2.0, hem + 0.035, 0.5, hem + 0.03),
    ];
    cut.piece(symmetric((0.5, 0.165), &body), 100);
    for (from, to) in [(0.46, 0.42), (0.5, 0.51), (0.545, 0.6)] {
        let foot = 0.5 + (to - 0.5) * wide * 4.0;
        cut.line((from, 0.43), &[Bend(from, 0.55, foot, hem)], Ink::Shade, 0.012);
    }
    cut.fill(polygon(&[(0.41, 0.37), (0.59, 0.37), (0.59, 0.41), (0.41, 0.41)]), Ink::Dark);
    cut.print = Some(if long {
        Spot { x: 0.5, y: 0.66, reach: 0.125 }
    } else {
        Spot { x: 0.5, y: 0.555, reach: 0.1 }
    });
    cut
}

/// Buttons on a placket, a pointed collar, a curved hem and cuffs.
fn shirt(sleeve: Sleeve, rng: &mut impl Rng) -> Cut {
    let mut cut = Cut::default();
    let (left, hem) = (0.315 + about(0.015, rng), 0.87 + about(0.02, rng));
    sleeves(&mut cut, sleeve, left, 0.17, rng);
    let body = [
        To(0.42, 0.13),
        Bend(0.36, 0.15, left - 0.005, 0.185),
        Bend(left + 0.02, 0.5, left, hem - 0.07),
        Bend(left + 0.02, hem + 0.01, 0.42, hem),
        To(0.5, hem - 0.02),
    ];
    cut.piece(symmetric((0.5, 0.15), &body), 100);
    folds(&mut cut, left, hem);
    let placket =
        polygon(&[(0.472, 0.2), (0.528, 0.2), (0.528, hem - 0.025), (0.472, hem - 0.025)]);
    cut.trimmed(placket, Ink::Bright);
    for button in 0..6 {
        let y = 0.27 + button as f32 * (hem - 0.36) / 5.0;
        cut.fill(ellipse(0.5, y, 0.0135, 0.0135), Ink::Trim);
    }
    for side in both((0.5, 0.215), &[To(0.435, 0.115), To(0.375, 0.165), To(0.425, 0.285)]) {
        cut.trimmed(side, Ink::Bright);
    }
    cut.print = Some(Spot { x: 0.5, y: 0.5, reach: 0.12 });
    cut
}

/// A round ribbed neck, wide and boxy, a straight hem.
fn t_shirt(sleeve: Sleeve, rng: &mut impl Rng) -> Cut {
    let mut cut = Cut::default();
    let (left, hem) = (0.275 + about(0.015, rng), 0.84 + about(0.02, rng));
    sleeves(&mut cut, sleeve, left, 0.19, rng);
    let body = [
        Bend(0.42, 0.24, 0.395, 0.135),
        Bend(0.34, 0.155, left - 0.01, 0.2),
        Bend(left + 0.015, 0.5, left, hem),
        Bend(0.4, hem + 0.015, 0.5, hem + 0.012),
    ];
    cut.piece(symmetric((0.5, 0.24), &body), 100);
    folds(&mut cut, left, hem);
    let neck = [Bend(0.585, 0.24, 0.605, 0.135)];
    cut.line((0.395, 0.135), &[Bend(0.415, 0.24, 0.5, 0.24), neck[0]], Ink::Dark, 0.034);
    cut.line((0.395, 0.135), &[Bend(0.415, 0.24, 0.5, 0.24), neck[0]], Ink::Bright, 0.02);
    cut.line((left, hem - 0.035), &[To(1.0 - left, hem - 0.035)], Ink::Shade, 0.008);
    cut.print = Some(Spot { x: 0.5, y: 0.5, reach: 0.135 });
    cut
}

/// Sleeves of a shirt or T-shirt whose body begins at `left` and whose shoulder is at `top`.
fn sleeves(cut: &mut Cut, sleeve: Sleeve, left: f32, top: f32, rng: &mut impl Rng) {
    let inner = left + 0.03;
    let drift = about(0.015, rng);
    let [(x1, y1), (x2, y2)] = match sleeve {
        Sleeve::Sleeveless => return,
        Sleeve::Short => [(0.15 + drift, top + 0.19), (0.235 + drift, top + 0.265)],
        Sleeve::Long => [(0.085 + drift, top + 0.56), (0.18 + drift, top + 0.585)],
    };
    let arm =
        [Bend(left - 0.075, top + 0.03, x1, y1), To(x2, y2), To(inner, top + 0.2), To(inner, top)];
    for outline in both((left + 0.02, top - 0.01), &arm) {
        cut.piece(outline, 92);
    }
    let cuff = [To(x2, y2), To(x2 + 0.008, y2 - 0.045), To(x1 + 0.008, y1 - 0.045)];
    for outline in both((x1, y1), &cuff) {
        cut.trimmed(outline, Ink::Bright);
    }
}

/// Creases down the sides and a glint across the chest.
fn folds(cut: &mut Cut, left: f32, hem: f32) {
    let right = 1.0 - left;
    cut.line(
        (left + 0.06, 0.42),
        &[Bend(left + 0.09, 0.6, left + 0.05, hem - 0.06)],
        Ink::Shade,
        0.013,
    );
    cut.line(
        (right - 0.06, 0.4),
        &[Bend(right - 0.1, 0.6, right - 0.05, hem - 0.06)],
        Ink::Shade,
        0.013,
    );
    cut.line((left + 0.09, 0.27), &[Bend(left + 0.13, 0.4, left + 0.1, 0.55)], Ink::Glint, 0.018);
}

/// A waistband and pleats that open towards the hem.
fn skirt(long: bool, rng: &mut impl Rng) -> Cut {
    let mut cut = Cut::default();
    let (hem, wide) = if long { (0.93, 0.36) } else { (0.6, 0.3) };
    let (hem, wide) = (hem + about(0.02, rng), wide + about(0.03, rng));
    let left = 0.5 - wide;
    let body = [
        To(0.37, 0.2),
        Bend(0.33, 0.34, left, hem),
        Bend(0.5 - wide / 2.0, hem + 0.045, 0.5, hem + 0.04),
    ];
    cut.piece(symmetric((0.5, 0.2), &body), 100);
    for pleat in -2..=2 {
        let (top, foot) = (0.5 + pleat as f32 * 0.045, 0.5 + pleat as f32 * wide * 0.37);
        cut.line((top, 0.27), &[Bend(top, 0.42, foot, hem + 0.02)], Ink::Shade, 0.013);
    }
    let band = polygon(&[(0.362, 0.175), (0.638, 0.175), (0.644, 0.25), (0.356, 0.25)]);
    cut.trimmed(band, Ink::Bright);
    cut.fill(ellipse(0.5, 0.212, 0.016, 0.016), Ink::Trim);
    cut
}

/// Two legs, a waistband with a button, a fly and pockets.
fn trousers(long: bool, rng: &mut impl Rng) -> Cut {
    let mut cut = Cut::default();
    let (hem, outer, inner) = if long { (0.95, 0.285, 0.45) } else { (0.54, 0.285, 0.475) };
    let (hem, outer) = (hem + about(0.015, rng), outer + about(0.015, rng));
    let leg = [
        To(0.355, 0.12),
        Bend(0.315, 0.3, outer, hem),
        To(inner, hem + 0.012),
        Bend(0.475, 0.42, 0.5, 0.375),
    ];
    cut.piece(symmetric((0.5, 0.12), &leg), 100);
    if long {
        cut.line((0.375, 0.42), &[To(0.37, hem - 0.02)], Ink::Shade, 0.012);
        cut.line((0.625, 0.42), &[To(0.63, hem - 0.02)], Ink::Shade, 0.012);
    }
    cut.line((0.5, 0.18), &[Bend(0.505, 0.29, 0.5, 0.37)], Ink::Dark, 0.01);
    cut.line((0.41, 0.18), &[Bend(0.4, 0.25, 0.34, 0.26)], Ink::Dark, 0.01);
    cut.line((0.59, 0.18), &[Bend(0.6, 0.25, 0.66, 0.26)], Ink::Dark, 0.01);
    let band = polygon(&[(0.352, 0.09), (0.648, 0.09), (0.655, 0.165), (0.345, 0.165)]);
    cut.trimmed(band, Ink::Bright);
    cut.fill(ellipse(0.5, 0.128, 0.016, 0.016), Ink::Trim);
    cut
}

/// A sneaker from the side: a thick sole, laces and a heel tab.
fn shoe(rng: &mut impl Rng) -> Cut {
    let mut cut = Cut::default();
    let toe = 0.9 + about(0.02, rng);
    let sole = [
        To(0.09, 0.76),
        Bend(0.5, 0.79, toe, 0.765),
        Bend(toe + 0.04, 0.72, toe, 0.67),
        To(0.1, 0.67),
    ];
    let upper = [
        Bend(0.2, 0.42, 0.34, 0.33),
        Bend(0.44, 0.44, 0.56, 0.5),
        Bend(0.74, 0.53, 0.84, 0.58),
        Bend(toe + 0.01, 0.62, toe, 0.7),
        To(0.1, 0.7),
        Bend(0.09, 0.5, 0.13, 0.33),
    ];
    cut.piece(closed((0.13, 0.33), &upper), 100);
    cut.trimmed(closed((0.095, 0.68), &sole), Ink::Trim);
    cut.line((toe - 0.16, 0.555), &[Bend(toe - 0.17, 0.63, toe - 0.12, 0.67)], Ink::Dark, 0.01);
    for lace in 0..4 {
        let (x, y) = (0.375 + lace as f32 * 0.055, 0.42 + lace as f32 * 0.035);
        cut.line((x, y), &[To(x - 0.03, y + 0.075)], Ink::Trim, 0.022);
    }
    cut.line((0.115, 0.45), &[Bend(0.17, 0.46, 0.22, 0.43)], Ink::Dark, 0.014);
    cut
}

/// A handbag: one tall handle, a flat body with a zip.
fn bag(rng: &mut impl Rng) -> Cut {
    let mut cut = Cut::default();
    let (base, drift) = (0.88 + about(0.02, rng), about(0.015, rng));
    let body = [
        To(0.2 + drift, 0.42),
        Bend(0.15, 0.7, 0.135, base),
        Bend(0.5, base + 0.02, 0.5, base + 0.01),
    ];
    cut.piece(symmetric((0.5, 0.42), &body), 100);
    let handle = [Bend(0.33, 0.13, 0.5, 0.13), Bend(0.67, 0.13, 0.67, 0.43)];
    cut.line((0.33, 0.43), &handle, Ink::Dark, 0.05);
    cut.line((0.33, 0.43), &handle, Ink::Bright, 0.026);
    cut.line((0.225, 0.465), &[To(0.775, 0.465)], Ink::Dark, 0.012);
    for x in [0.33, 0.67] {
        cut.trimmed(ellipse(x, 0.44, 0.026, 0.026), Ink::Trim);
    }
    cut.print = Some(Spot { x: 0.5, y: 0.665, reach: 0.125 });
    cut
}

/// A sun hat: a round crown with a band on a wide brim.
fn hat(rng: &mut impl Rng) -> Cut {
    let mut cut = Cut::default();
    let (top, brim) = (0.23 + about(0.02, rng), 0.41 + about(0.02, rng));
    cut.piece(ellipse(0.5, 0.665, brim, 0.09), 90);
    let crown = [Bend(0.3, top, 0.265, 0.5), To(0.25, 0.66), Bend(0.38, 0.715, 0.5, 0.715)];
    cut.piece(symmetric((0.5, top), &crown), 100);
    let band = [
        To(0.25, 0.655),
        Bend(0.5, 0.765, 0.75, 0.655),
        To(0.743, 0.605),
        Bend(0.5, 0.705, 0.257, 0.605),
    ];
    cut.fill(closed((0.257, 0.605), &band), Ink::Dark);
    cut.line((0.33, 0.36), &[Bend(0.31, 0.46, 0.31, 0.56)], Ink::Glint, 0.02);
    cut.print = Some(Spot { x: 0.5, y: 0.47, reach: 0.1 });
    cut
}
