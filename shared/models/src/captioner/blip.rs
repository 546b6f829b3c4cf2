//! BLIP as a captioner: pictures to sentences.
//! Runs on the thread that calls it; `blip_handle` gives it a thread of its own.

use std::{num::NonZeroUsize, sync::Arc};

use candle_core::{DType, Device};
use weimocir_domain::ModelId;

use crate::{
    blip::{Blip, BlipConfig, Wanted},
    device::Budget,
    encoder::stack,
    error::ModelError,
    files::{CONFIG, ModelFiles, PREPROCESSOR, Role},
    image::{Pixels, Preprocessor},
    options::ModelOptions,
    source::ModelSource,
    text::TextTokenizer,
};

#[derive(Debug)]
pub struct BlipCaptioner {
    id: ModelId,
    blip: Blip,
    tokenizer: TextTokenizer,
    preprocessor: Arc<Preprocessor>,
    device: Device,
    dtype: DType,
    beams: usize,
}

impl BlipCaptioner {
    /// # Errors
    /// A file that is missing, unreadable or not a BLIP captioner's, or a device that is not there.
    pub fn load(
        source: &ModelSource,
        options: impl Into<ModelOptions>,
    ) -> Result<Self, ModelError> {
        let options = options.into();
        let device = options.device.open()?;
        let dtype = options.precision.on(&device)?;
        let files = ModelFiles::find(source, Role::Captioner)?;
        let config: BlipConfig = files.config("blip")?;
        config.check(&files.path(CONFIG))?;
        config.check_frame(&files.path(CONFIG))?;
        let preprocessor = Preprocessor::from_json(&files.preprocessor, &files.path(PREPROCESSOR))?;
        let side = config.vision_config.image_size;
        preprocessor.check_size((side, side), &files.path(PREPROCESSOR))?;
        let (blip, id) =
            files.load((&device, dtype), "", |weights| Blip::load(weights, &config))?;
        // Because each thread has a CUDA stream of its own, and another one may run the model.
        device.synchronize()?;
        let captioner = Self {
            blip,
            id,
            tokenizer: TextTokenizer::load(&files.tokenizer, |file| files.path(file))?,
            preprocessor: Arc::new(preprocessor),
            device,
            dtype,
            beams: 1,
        };
        tracing::info!(model = %captioner.id, "captioner loaded");
        Ok(captioner)
    }

    /// Searches for the first sentence with so many beams; 1 is greedy. The others are drawn.
    #[must_use]
    pub fn with_beams(self, beams: NonZeroUsize) -> Self {
        Self { beams: beams.get(), ..self }
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
        self.caption_pixels(&pictures, r, Budget::default().images)
    }

    /// In passes of at most `at_once` pictures.
    pub(crate) fn caption_pixels(
        &self,
        batch: &[(&Pixels, u64)],
        r: usize,
        at_once: usize,
    ) -> Result<Vec<Vec<String>>, ModelError> {
        if r == 0 {
            return Err(ModelError::CaptionCount { asked: r });
        }
        let mut captions = Vec::with_capacity(batch.len());
        for part in batch.chunks(at_once) {
            let (pixels, seeds): (Vec<&Pixels>, Vec<u64>) = part.iter().copied().unzip();
            let pixels = stack(&pixels, self.preprocessor.size(), &self.device)?;
            let wanted = Wanted { r, beams: self.beams, seeds: &seeds };
            let read = |ids: &[u32]| self.tokenizer.decode(ids);
            captions.extend(self.blip.captions(&pixels.to_dtype(self.dtype)?, wanted, &read)?);
        }
        match captions.iter().position(Vec::is_empty) {
            Some(index) => Err(ModelError::NoCaption { index }),
            None => Ok(captions),
        }
    }
}
