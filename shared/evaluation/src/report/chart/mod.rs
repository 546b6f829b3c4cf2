//! Charts as SVG and PNG. `plane`, `ablation` and `timelines` say what is drawn where, `canvas` draws.

mod ablation;
mod axis;
mod bitmap;
mod canvas;
mod legend;
mod plane;
mod timelines;
mod viridis;

use std::{fmt::Display, fs, path::Path};

use image::{
    RgbImage,
    codecs::png::{CompressionType, FilterType, PngEncoder},
};
use plotters::{backend::SVGBackend, drawing::IntoDrawingArea};
use plotters_backend::DrawingBackend;

pub(super) use ablation::Ablation;
pub(super) use plane::Heatmaps;
pub use timelines::{Panel, Timelines};

use crate::{error::EvaluationError, metric::Metric};
use bitmap::Bitmap;
use canvas::{Canvas, Drawn, PAPER};

/// Pixels of the PNG for a pixel of the SVG, a side; because print wants them.
const FINE: u32 = 2;

/// Something that can be drawn at any size.
pub(super) trait Figure {
    /// Width and height, in units.
    fn size(&self) -> (u32, u32);

    fn draw<B: DrawingBackend>(&self, canvas: &Canvas<B>) -> Drawn<B>;
}

/// Writes `NAME.svg`, and `NAME.png` with twice the width and height.
pub(super) fn write(
    figure: &impl Figure,
    folder: &Path,
    name: &str,
) -> Result<(), EvaluationError> {
    write_svg(figure, &folder.join(format!("{name}.svg")))?;
    let png = folder.join(format!("{name}.png"));
    let (width, height) = figure.size();
    let mut pixels = RgbImage::new(width * FINE, height * FINE);
    draw(figure, Bitmap(&mut pixels), f64::from(FINE))
        .map_err(|reason| EvaluationError::Write { file: png.clone(), reason })?;
    let file = fs::File::create(&png).map_err(|error| failed(&png, &error))?;
    // because: few colours and straight edges get half as small, and a chart takes no time to look through
    let encoder = PngEncoder::new_with_quality(file, CompressionType::Best, FilterType::NoFilter);
    pixels.write_with_encoder(encoder).map_err(|error| failed(&png, &error))
}

fn write_svg(figure: &impl Figure, file: &Path) -> Result<(), EvaluationError> {
    let mut text = String::new();
    draw(figure, SVGBackend::with_string(&mut text, figure.size()), 1.0)
        .map_err(|reason| EvaluationError::Write { file: file.to_owned(), reason })?;
    fs::write(file, text).map_err(|error| failed(file, &error))
}

fn draw<B: DrawingBackend>(figure: &impl Figure, backend: B, scale: f64) -> Result<(), String> {
    let canvas = Canvas { area: backend.into_drawing_area(), scale };
    let drawn = canvas.area.fill(&PAPER).and_then(|()| figure.draw(&canvas));
    drawn.and_then(|()| canvas.area.present()).map_err(|error| error.to_string())
}

fn failed(file: &Path, error: &impl Display) -> EvaluationError {
    EvaluationError::Write { file: file.to_owned(), reason: error.to_string() }
}

/// The places of the metrics that are drawn: four at most, and of those among subsets the first one.
fn drawn(metrics: &[Metric]) -> Vec<usize> {
    let (subset, all): (Vec<usize>, Vec<usize>) =
        (0..metrics.len()).partition(|&metric| metrics[metric].is_of_subset());
    let subset = subset.into_iter().take(if all.is_empty() { 4 } else { 1 });
    let rest = 4 - subset.len();
    all.into_iter().take(rest).chain(subset).collect()
}
