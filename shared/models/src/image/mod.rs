//! Bytes of a picture to the numbers a model takes, as Hugging Face's image processors (their
//! Pillow backend) or the paper's published code make them. Needs no model, so it runs on any thread.

mod config;
mod decode;
mod error;
mod guard;
mod jpeg;
mod jpeg_errors;
mod resample;

use image::RgbImage;

use config::{Centre, Resize, Settings};
pub use decode::ImageLimits;
pub(crate) use decode::decode;
pub use error::ImageError;
pub(crate) use guard::decoding;
use resample::{Padded, Span};

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

/// The published code pads pictures for BLIP to this ratio of the longer side to the shorter.
const PUBLISHED_RATIO: f64 = 1.25;

/// Turns pictures into `Pixels`, by a model's preprocessor_config.json or as the published code does.
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
        Ok(Self::new(Settings::parse(json, file)?))
    }

    /// The published code's for CLIP: shorter side to `side`, centre crop, OpenAI's mean and
    /// deviation, whatever the checkpoint's own file says.
    pub fn published_clip(side: u32) -> Self {
        Self::new(Settings::published(side, None))
    }

    /// The published code's for BLIP: black beside pictures longer than 5:4, then as for CLIP.
    ///
    /// The original converts to RGB last, here it comes first: pictures with alpha, a palette or
    /// CMYK are padded and resized as RGB.
    pub fn published_blip(side: u32) -> Self {
        Self::new(Settings::published(side, Some(PUBLISHED_RATIO)))
    }

    fn new(settings: Settings) -> Self {
        let table = |channel: usize| {
            std::array::from_fn(|level| {
                let value = (level as f64 * settings.rescale) as f32;
                (value - settings.mean[channel]) / settings.deviation[channel]
            })
        };
        let tables = Box::new(std::array::from_fn(table));
        Self { settings, limits: ImageLimits::default(), tables }
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

    /// As `pixels`, of what `part` makes of the upright picture.
    ///
    /// # Errors
    /// As `pixels`.
    pub fn pixels_of(
        &self,
        bytes: &[u8],
        part: impl FnOnce(&RgbImage) -> RgbImage,
    ) -> Result<Pixels, ImageError> {
        let picture = part(&decode::decode(bytes, &self.limits)?);
        Ok(self.normalise(&self.fit(&picture)))
    }

    /// The picture at the model's size.
    fn fit(&self, picture: &RgbImage) -> RgbImage {
        let padded = match self.settings.pad_beyond {
            Some(ratio) => padded(picture, ratio),
            None => Padded { picture, beside: 0, above: 0 },
        };
        let (full_width, full_height) = match self.settings.resize {
            Resize::To { width, height } => (width, height),
            Resize::Shortest(side) => shortest(side, padded.size()),
        };
        let (width, height) = self.settings.output;
        let centre = self.settings.centre;
        let across = Crop::centred(full_width, width, centre);
        let down = Crop::centred(full_height, height, centre);
        let window = resample::resize(
            padded,
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

/// Black beside a picture whose longer side is more than `ratio` times the shorter. Halves of pixels
/// are dropped, so the result may be a little longer than that.
fn padded(picture: &RgbImage, ratio: f64) -> Padded<'_> {
    let (width, height) = picture.dimensions();
    let (long, short) = (f64::from(width.max(height)), f64::from(width.min(height)));
    if long / short < ratio {
        return Padded { picture, beside: 0, above: 0 };
    }
    let wanted = long / ratio;
    let missing = |side: u32| ((wanted - f64::from(side)) / 2.0).max(0.0) as u32;
    Padded { picture, beside: missing(width), above: missing(height) }
}

/// The shorter side becomes `side`; the longer one is rounded down, as both originals do.
fn shortest(side: u32, (width, height): (u32, u32)) -> (u32, u32) {
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
    fn centred(full: u32, wanted: u32, centre: Centre) -> Self {
        if full < wanted {
            let margin = (wanted - full).div_ceil(2);
            return Self { span: Span { start: 0, len: full }, margin };
        }
        let spare = full - wanted;
        let start = match centre {
            Centre::Down => spare / 2,
            Centre::Even => (f64::from(spare) / 2.0).round_ties_even() as u32,
        };
        Self { span: Span { start, len: wanted }, margin: 0 }
    }
}
