//! BLIP as a captioner: pictures to sentences.
//! Runs on the thread that calls it; `blip_handle` gives it a thread of its own.

use std::sync::Arc;

use candle_core::Device;
use weimocir_domain::ModelId;

use crate::{
    blip::{Blip, BlipConfig},
    device_choice::DeviceChoice,
    encoder::stack,
    error::ModelError,
    files::{CONFIG, ModelFiles, PREPROCESSOR, Role},
    image::{Pixels, Preprocessor},
    source::ModelSource,
    text::TextTokenizer,
};

/// Pictures in one forward pass; each is written about by several sentences at a time.
const PICTURES_AT_ONCE: usize = 16;

#[derive(Debug)]
pub struct BlipCaptioner {
    id: ModelId,
    blip: Blip,
    tokenizer: TextTokenizer,
    preprocessor: Arc<Preprocessor>,
    device: Device,
}

impl BlipCaptioner {
    /// # Errors
    /// A file that is missing, unreadable or not a BLIP captioner's, or a device that is not there.
    pub fn load(source: &ModelSource, device: DeviceChoice) -> Result<Self, ModelError> {
        let files = ModelFiles::find(source, Role::Captioner)?;
        let config: BlipConfig = files.config("blip")?;
        config.check(&files.path(CONFIG))?;
        let device = device.open()?;
        let preprocessor = Preprocessor::from_json(&files.preprocessor, &files.path(PREPROCESSOR))?;
        let side = config.vision_config.image_size;
        preprocessor.check_size((side, side), &files.path(PREPROCESSOR))?;
        let captioner = Self {
            blip: Blip::load(&files.weights(&device)?, &config)?,
            id: files.id()?,
            tokenizer: TextTokenizer::load(&files)?,
            preprocessor: Arc::new(preprocessor),
            device,
        };
        tracing::info!(model = %captioner.id, "captioner loaded");
        Ok(captioner)
    }

    pub fn id(&self) -> &ModelId {
        &self.id
    }

    pub fn preprocessor(&self) -> Arc<Preprocessor> {
        Arc::clone(&self.preprocessor)
    }

    /// For each picture 1 to `r` different sentences, the most probable first. The same picture
    /// with the same seed gets the same sentences, whatever is captioned beside it.
    ///
    /// # Errors
    /// `r` of zero, pixels of another model's size, a picture without a sentence, or a failing
    /// device.
    pub fn caption(
        &self,
        batch: &[(Pixels, u64)],
        r: usize,
    ) -> Result<Vec<Vec<String>>, ModelError> {
        let pictures: Vec<(&Pixels, u64)> =
            batch.iter().map(|(pixels, seed)| (pixels, *seed)).collect();
        self.caption_pixels(&pictures, r)
    }

    pub(crate) fn caption_pixels(
        &self,
        batch: &[(&Pixels, u64)],
        r: usize,
    ) -> Result<Vec<Vec<String>>, ModelError> {
        if r == 0 {
            return Err(ModelError::CaptionCount { asked: r });
        }
        let mut captions = Vec::with_capacity(batch.len());
        for part in batch.chunks(PICTURES_AT_ONCE) {
            let (pixels, seeds): (Vec<&Pixels>, Vec<u64>) = part.iter().copied().unzip();
            let pixels = stack(&pixels, self.preprocessor.size(), &self.device)?;
            captions
                .extend(self.blip.captions(&pixels, r, &seeds, &|ids| self.tokenizer.decode(ids))?);
        }
        match captions.iter().position(Vec::is_empty) {
            Some(index) => Err(ModelError::NoCaption { index }),
            None => Ok(captions),
        }
    }
}
