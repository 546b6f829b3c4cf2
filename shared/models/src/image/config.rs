//! preprocessor_config.json of Hugging Face's CLIP and BLIP image processors.

use serde::Deserialize;

use super::resample::Filter;
use crate::error::ModelError;

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum SizeEntry {
    Number(u32),
    Shortest { shortest_edge: u32 },
    Sides { height: u32, width: u32 },
}

#[derive(Debug, Deserialize)]
struct File {
    #[serde(alias = "feature_extractor_type")]
    image_processor_type: Option<String>,
    do_resize: Option<bool>,
    size: Option<SizeEntry>,
    resample: Option<u8>,
    do_center_crop: Option<bool>,
    crop_size: Option<SizeEntry>,
    do_rescale: Option<bool>,
    rescale_factor: Option<f64>,
    do_normalize: Option<bool>,
    image_mean: Option<[f64; 3]>,
    image_std: Option<[f64; 3]>,
    do_pad: Option<bool>,
}

/// How a picture's size becomes the model's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Resize {
    /// The shorter side becomes this, the other follows.
    Shortest(u32),
    /// Both sides, whatever that does to the picture's shape.
    To { width: u32, height: u32 },
}

/// Where a centred crop begins if it cannot be in the middle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Centre {
    /// Half a pixel before, as Hugging Face does.
    Down,
    /// At the even one of both positions, as torchvision does.
    Even,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Settings {
    /// A longer side over the shorter that is beyond this is brought to it by black.
    pub(super) pad_beyond: Option<f64>,
    pub(super) resize: Resize,
    pub(super) centre: Centre,
    pub(super) filter: Filter,
    /// Width and height of what the model sees.
    pub(super) output: (u32, u32),
    pub(super) rescale: f64,
    pub(super) mean: [f32; 3],
    pub(super) deviation: [f32; 3],
}

const CLIP_MEAN: [f64; 3] = [0.481_454_66, 0.457_827_5, 0.408_210_73];
const CLIP_DEVIATION: [f64; 3] = [0.268_629_54, 0.261_302_58, 0.275_777_11];

impl Settings {
    /// torchvision's shorter side to `side`, bicubic, centre crop, and OpenAI's mean and deviation,
    /// of the padded picture.
    pub(super) fn published(side: u32, pad_beyond: Option<f64>) -> Self {
        Self {
            pad_beyond,
            resize: Resize::Shortest(side),
            centre: Centre::Even,
            filter: Filter::Bicubic,
            output: (side, side),
            rescale: 1.0 / 255.0,
            mean: CLIP_MEAN.map(|x| x as f32),
            deviation: CLIP_DEVIATION.map(|x| x as f32),
        }
    }

    pub(super) fn parse(json: &[u8], file: &str) -> Result<Self, ModelError> {
        let parsed: File = serde_json::from_slice(json).map_err(|e| ModelError::InvalidFile {
            file: file.to_owned(),
            reason: e.to_string(),
        })?;
        let refuse = |setting, value: String| ModelError::Unsupported {
            file: file.to_owned(),
            setting,
            value,
        };
        if !parsed.do_resize.unwrap_or(true) {
            return Err(refuse("do_resize", "false".to_owned()));
        }
        if parsed.do_pad.unwrap_or(false) {
            return Err(refuse("do_pad", "true".to_owned()));
        }
        let number = parsed.resample.unwrap_or(3);
        let filter =
            Filter::from_pillow(number).ok_or_else(|| refuse("resample", number.to_string()))?;
        let is_blip =
            parsed.image_processor_type.as_deref().is_some_and(|name| name.starts_with("Blip"));
        let resize = match parsed.size {
            // A bare number is a square for BLIP, the shorter side for CLIP.
            Some(SizeEntry::Number(side)) if is_blip => Resize::To { width: side, height: side },
            Some(SizeEntry::Number(side) | SizeEntry::Shortest { shortest_edge: side }) => {
                Resize::Shortest(side)
            }
            Some(SizeEntry::Sides { height, width }) => Resize::To { width, height },
            None if is_blip => Resize::To { width: 384, height: 384 },
            None => Resize::Shortest(224),
        };
        let crop = match parsed.crop_size {
            Some(SizeEntry::Number(side) | SizeEntry::Shortest { shortest_edge: side }) => {
                (side, side)
            }
            Some(SizeEntry::Sides { height, width }) => (width, height),
            None => (224, 224),
        };
        let output = match (parsed.do_center_crop.unwrap_or(!is_blip), resize) {
            (true, _) => crop,
            (false, Resize::To { width, height }) => (width, height),
            // Without a crop the size would differ from picture to picture.
            (false, Resize::Shortest(_)) => {
                return Err(refuse("do_center_crop", "false".to_owned()));
            }
        };
        if output.0 == 0 || output.1 == 0 || resize == Resize::Shortest(0) {
            return Err(refuse("size", "0".to_owned()));
        }
        let (mean, deviation) = if parsed.do_normalize.unwrap_or(true) {
            (parsed.image_mean.unwrap_or(CLIP_MEAN), parsed.image_std.unwrap_or(CLIP_DEVIATION))
        } else {
            ([0.0; 3], [1.0; 3])
        };
        Ok(Self {
            pad_beyond: None,
            resize,
            centre: Centre::Down,
            filter,
            output,
            rescale: if parsed.do_rescale.unwrap_or(true) {
                parsed.rescale_factor.unwrap_or(1.0 / 255.0)
            } else {
                1.0
            },
            mean: mean.map(|x| x as f32),
            deviation: deviation.map(|x| x as f32),
        })
    }
}
