//! A feed that remembers what was acknowledged, and what must then be found.

use std::{collections::BTreeMap, io::Cursor, sync::Arc, time::Duration};

use anyhow::Context;
use image::{ImageFormat, RgbImage};
use rand::{Rng, RngCore, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use tokio::time::{Instant, sleep};
use weimocir_domain::{Collection, Embedding, ImageId, Revision};
use weimocir_models::{Encoder, ModelOptions};
use weimocir_runtime::{Bus, Pictures};
use weimocir_wire::{
    Message, subjects,
    work::{CaptionImage, EncodeCaptions, EncodeImage, Metadata},
};

/// One picture in so many gets its captions from the captioner; because that takes the longest.
const CAPTIONED: usize = 6;
/// How long a feed goes on trying to submit one picture.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two pictures.
const PACE: Duration = Duration::from_millis(25);

/// A picture, and what the pipeline should make of it.
#[derive(Debug, Clone)]
pub(super) struct Sample {
    pub(super) image: ImageId,
    bytes: Vec<u8>,
    pub(super) embedding: Embedding,
    /// `None` if a captioner shall make them.
    pub(super) captions: Option<Vec<String>>,
}

/// Makes pictures that no round has twice.
#[derive(Debug)]
pub(super) struct Samples {
    encoder: Encoder,
}

impl Samples {
    pub(super) fn new() -> anyhow::Result<Self> {
        let encoder = Encoder::load(&"bundled".parse()?, ModelOptions::default())?;
        Ok(Self { encoder })
    }

    pub(super) fn draw(&self, count: usize, rng: &mut ChaCha8Rng) -> anyhow::Result<Vec<Sample>> {
        let files: Vec<Vec<u8>> = (0..count).map(|_| picture(rng)).collect::<Result<_, _>>()?;
        let preprocessor = self.encoder.preprocessor();
        let pixels =
            files.iter().map(|bytes| preprocessor.pixels(bytes)).collect::<Result<Vec<_>, _>>()?;
        let embeddings = self.encoder.encode_images(&pixels)?;
        let sample = |(n, (bytes, embedding)): (usize, (Vec<u8>, Embedding))| {
            let image = ImageId::of(&bytes);
            let captions = (n % CAPTIONED != 0)
                .then(|| vec![format!("picture {image}"), "a picture of squares".to_owned()]);
            Sample { image, bytes, embedding, captions }
        };
        Ok(files.into_iter().zip(embeddings).enumerate().map(sample).collect())
    }
}

/// Squares in colours of their own.
fn picture(rng: &mut ChaCha8Rng) -> anyhow::Result<Vec<u8>> {
    let mut colours = [[0_u8; 3]; 16];
    colours.iter_mut().for_each(|colour| rng.fill_bytes(colour));
    let picture =
        RgbImage::from_fn(48, 48, |x, y| image::Rgb(colours[(x / 12 + y / 12 * 4) as usize]));
    let mut file = Cursor::new(Vec::new());
    picture.write_to(&mut file, ImageFormat::Png)?;
    Ok(file.into_inner())
}

/// What the server acknowledged: revisions by image.
pub(super) type Acknowledged = BTreeMap<ImageId, Revision>;

/// How a feed behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    Once,
    /// Every piece of work three times, late and in any order.
    Repeating,
}

/// Submits pictures one after the other, at a pace that faults can get between.
#[derive(Debug)]
pub(super) struct Feed {
    pub(super) bus: Bus,
    pub(super) collection: Collection,
    pub(super) samples: Arc<Vec<Sample>>,
    pub(super) manner: Manner,
}

impl Feed {
    /// Returns what was acknowledged; a picture whose submission stays in doubt is not.
    pub(super) async fn run(self, mut rng: ChaCha8Rng) -> anyhow::Result<Acknowledged> {
        let pictures = Pictures::open(&self.bus).await?;
        let mut acknowledged = Acknowledged::new();
        let mut echoes = Vec::new();
        for sample in self.samples.iter() {
            let until = Instant::now() + PATIENCE;
            while pictures.put(&sample.bytes).await.is_err() && Instant::now() < until {
                sleep(Duration::from_millis(200)).await;
            }
            if let Some(revision) = self.submit(sample).await {
                acknowledged.insert(sample.image, revision);
                echoes.push((sample, revision));
            }
            sleep(PACE.mul_f64(rng.random_range(0.2..1.8))).await;
        }
        if self.manner == Manner::Repeating {
            let mut echoes = [&echoes[..], &echoes].concat();
            echoes.shuffle(&mut rng);
            for (sample, revision) in echoes {
                // because: a delivery that comes again has the revision of the first one
                self.submit_captions(sample, revision).await.context("an echo was not taken")?;
                let again = self.submit_image(sample).await.context("an echo was not taken")?;
                self.submit_captions(sample, again).await.context("an echo was not taken")?;
                acknowledged.insert(sample.image, again);
            }
        }
        Ok(acknowledged)
    }

    /// The revision, if both messages of a submission were acknowledged.
    async fn submit(&self, sample: &Sample) -> Option<Revision> {
        let revision = self.submit_image(sample).await?;
        self.submit_captions(sample, revision).await?;
        Some(revision)
    }

    async fn submit_image(&self, sample: &Sample) -> Option<Revision> {
        let work = EncodeImage {
            collection: self.collection.clone(),
            image: sample.image,
            source: sample.image.to_string(),
            metadata: Metadata::new(),
        };
        self.publish(subjects::ENCODE_IMAGE, &work).await
    }

    async fn submit_captions(&self, sample: &Sample, revision: Revision) -> Option<Revision> {
        let (collection, image) = (self.collection.clone(), sample.image);
        match &sample.captions {
            Some(captions) => {
                let captions = captions.clone();
                let work =
                    EncodeCaptions { collection, generation: None, image, revision, captions };
                self.publish(subjects::ENCODE_CAPTIONS, &work).await
            }
            None => {
                let work = CaptionImage { collection, image, revision, source: None };
                self.publish(subjects::CAPTION, &work).await
            }
        }
    }

    async fn publish<T: Message>(&self, subject: &str, message: &T) -> Option<Revision> {
        let until = Instant::now() + PATIENCE;
        loop {
            match self.bus.submit(subject, message).await {
                Ok(revision) => return Some(revision),
                Err(error) if Instant::now() > until => {
                    eprintln!("not acknowledged: {error}");
                    return None;
                }
                Err(_) => sleep(Duration::from_millis(200)).await,
            }
        }
    }
}
