//! Bytes of a picture to the numbers a model takes, as Hugging Face's image processors (their
//! Pillow backend) make them. Needs no model, so it runs on any thread.

mod config;
mod decode;
mod error;
mod resample;

use image::RgbImage;

use config::{Resize, Settings};
pub use decode::ImageLimits;
pub(crate) use decode::decode;
pub use error::ImageError;
use resample::Span;

use crate::error::ModelError;

/// One picture as a model takes it: f32, channels first, rescaled, mean taken off, divided by the
/// deviation. Always `3·height·width` values.
#[derive(Clone, PartialEq)]
pub struct Pixels {
    values: Vec<f32>,
    height: usize,
    width: usize,
}

impl Pixels {
    /// Shape `[3, height, width]`, rows of a channel one after the other.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// `(height, width)`.
    pub fn size(&self) -> (usize, usize) {
        (self.height, self.width)
    }
}

impl std::fmt::Debug for Pixels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pixels({}×{})", self.width, self.height)
    }
}

/// Turns pictures into `Pixels` by a model's preprocessor_config.json.
#[derive(Debug, Clone)]
pub struct Preprocessor {
    settings: Settings,
    limits: ImageLimits,
    /// The value of each level, one table for each channel.
    tables: Box<[[f32; 256]; 3]>,
}

impl Preprocessor {
    /// From the text of a preprocessor_config.json; `file` names it in errors.
    ///
    /// # Errors
    /// Not JSON, or a setting that is not supported.
    pub fn from_json(json: &[u8], file: &str) -> Result<Self, ModelError> {
        let settings = Settings::parse(json, file)?;
        let table = |channel: usize| {
            std::array::from_fn(|level| {
                let value = (level as f64 * settings.rescale) as f32;
                (value - settings.mean[channel]) / settings.deviation[channel]
            })
        };
        let tables = Box::new(std::array::from_fn(table));
        Ok(Self { settings, limits: ImageLimits::default(), tables })
    }

    #[must_use]
    pub fn with_limits(mut self, limits: ImageLimits) -> Self {
        self.limits = limits;
        self
    }

    /// `(height, width)` of what it makes.
    pub fn size(&self) -> (usize, usize) {
        let (width, height) = self.settings.output;
        (height as usize, width as usize)
    }

    /// That it makes what a model takes.
    pub(crate) fn check_size(&self, model: (usize, usize), file: &str) -> Result<(), ModelError> {
        if self.size() == model {
            return Ok(());
        }
        let ((height, width), (model_height, model_width)) = (self.size(), model);
        let reason = format!(
            "it makes pictures of {width}×{height} pixels, the model takes {model_width}×{model_height}"
        );
        Err(ModelError::InvalidFile { file: file.to_owned(), reason })
    }

    /// Decodes, turns upright, resizes, crops and normalises one picture.
    ///
    /// # Errors
    /// Bytes that are not a whole picture within the limits.
    pub fn pixels(&self, bytes: &[u8]) -> Result<Pixels, ImageError> {
        let picture = decode::decode(bytes, &self.limits)?;
        Ok(self.normalise(&self.fit(&picture)))
    }

    /// The picture at the model's size.
    fn fit(&self, picture: &RgbImage) -> RgbImage {
        let (width, height) = self.settings.output;
        let (full_width, full_height) = match self.settings.resize {
            Resize::To { width, height } => (width, height),
            Resize::Shortest(side) => shortest(side, picture.width(), picture.height()),
        };
        let (across, down) = (Crop::centred(full_width, width), Crop::centred(full_height, height));
        let window = resample::resize(
            picture,
            (full_width, full_height),
            (across.span, down.span),
            self.settings.filter,
        );
        if window.dimensions() == (width, height) {
            return window;
        }
        // The resized picture is smaller than the crop: black around it.
        let mut out = RgbImage::new(width, height);
        image::imageops::replace(&mut out, &window, across.margin.into(), down.margin.into());
        out
    }

    fn normalise(&self, picture: &RgbImage) -> Pixels {
        let (height, width) = self.size();
        let mut values = Vec::with_capacity(3 * height * width);
        for (channel, table) in self.tables.iter().enumerate() {
            values.extend(
                picture
                    .as_raw()
                    .iter()
                    .skip(channel)
                    .step_by(3)
                    .map(|&level| table[usize::from(level)]),
            );
        }
        Pixels { values, height, width }
    }
}

/// The shorter side becomes `side`; the longer one is rounded down, as Hugging Face does.
fn shortest(side: u32, width: u32, height: u32) -> (u32, u32) {
    let long =
        |short: u32, long: u32| (f64::from(side) * f64::from(long) / f64::from(short)) as u32;
    if width <= height { (side, long(width, height)) } else { (long(height, width), side) }
}

/// One axis of a centred crop: what to take, and what to leave before it if there is too little.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Crop {
    span: Span,
    margin: u32,
}

impl Crop {
    fn centred(full: u32, wanted: u32) -> Self {
        if full >= wanted {
            return Self { span: Span { start: (full - wanted) / 2, len: wanted }, margin: 0 };
        }
        Self { span: Span { start: 0, len: full }, margin: (wanted - full).div_ceil(2) }
    }
}
