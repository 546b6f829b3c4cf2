//! `weimocir caption`: captions for picture files, without NATS. What makes them is
//! `weimocir-caption`'s.

use std::{
    io::Read,
    num::{NonZeroU8, NonZeroUsize},
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context;
use futures::{StreamExt, stream};
use serde::Serialize;
use weimocir_caption::{CaptionerSource, EndpointArgs, LocalArgs, open_captioner};
use weimocir_domain::ImageId;
use weimocir_models::{CaptionError, Captioner, ImageLimits, Lane, Picture};

use crate::{Done, Shared, ingest, say, say_json};

/// Pictures in work at the same time.
// because: a full batch for a model in this process, and more than an endpoint is asked at once
const IN_FLIGHT: usize = 32;

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct CaptionCommand {
    /// Picture files
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Captioner: `bundled`, a folder in Hugging Face's format, `organisation/name` on the hub,
    /// `endpoint` with --caption-url and --caption-model, or `file:PATH` of captions made before
    #[arg(long, env = "WEIMOCIR_CAPTIONER", default_value = "bundled", value_name = "CAPTIONER")]
    model: CaptionerSource,
    /// Captions for each picture, different sentences
    #[arg(
        short,
        long = "captions",
        env = "WEIMOCIR_CAPTIONS_PER_IMAGE",
        default_value = "3",
        value_name = "R"
    )]
    r: NonZeroU8,
    /// One seed for all pictures [default: each picture's own, as the caption worker has it]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    #[command(flatten)]
    local: LocalArgs,
    #[command(flatten)]
    endpoint: EndpointArgs,
}

#[derive(Debug, Serialize)]
struct Report<'a> {
    model: &'a str,
    /// In the order of the arguments.
    images: Vec<Captioned>,
}

#[derive(Debug, Serialize)]
struct Captioned {
    file: String,
    #[serde(flatten)]
    outcome: Outcome,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    Captions(Vec<String>),
    Error(String),
}

pub(crate) async fn run(args: CaptionCommand, shared: Shared) -> anyhow::Result<Done> {
    let captioner = open_captioner(&args.model, &args.local, &args.endpoint).await?;
    let progress = ingest::bar("captioned", args.files.len() as u64, args.files.len() > 1);
    let pictures: Vec<_> = args.files.iter().map(|file| caption(&captioner, file, &args)).collect();
    let mut pictures = stream::iter(pictures).buffered(IN_FLIGHT);
    let mut images = Vec::with_capacity(args.files.len());
    let mut done = Done::Fully;
    while let Some(image) = pictures.next().await {
        let image = image?;
        progress.inc(1);
        if matches!(image.outcome, Outcome::Error(_)) {
            done = Done::Partly;
        }
        if !shared.json {
            progress.suspend(|| tell(&image));
        }
        images.push(image);
    }
    progress.finish_and_clear();
    if shared.json {
        say_json(&Report { model: captioner.name(), images })?;
    }
    Ok(done)
}

/// # Errors
/// What keeps every picture from its captions. What is wrong with this one is an outcome.
async fn caption(
    captioner: &Arc<dyn Captioner>,
    file: &Path,
    args: &CaptionCommand,
) -> anyhow::Result<Captioned> {
    let outcome = match read(file).await {
        Ok(bytes) => {
            let seed = args.seed.unwrap_or_else(|| ImageId::of(&bytes).seed());
            let source = Some(file.display().to_string());
            let picture = Picture { bytes: bytes.into(), seed, lane: Lane::Ingest, source };
            match captioner.caption(picture, NonZeroUsize::from(args.r)).await {
                Ok(captions) => Outcome::Captions(captions),
                Err(error @ CaptionError::Broken { .. }) => return Err(error.into()),
                Err(error) => Outcome::Error(format!("{:#}", anyhow::Error::new(error))),
            }
        }
        Err(error) => Outcome::Error(format!("{error:#}")),
    };
    Ok(Captioned { file: file.display().to_string(), outcome })
}

/// One byte more than a picture may have, at most: the captioner then says what the limit is.
async fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    let file = file.to_owned();
    let limit = ImageLimits::default().bytes as u64 + 1;
    let bytes = tokio::task::spawn_blocking(move || {
        let mut bytes = Vec::new();
        std::fs::File::open(file)?.take(limit).read_to_end(&mut bytes).map(|_| bytes)
    });
    bytes.await.context("reading stopped")?.context("it cannot be read")
}

fn tell(image: &Captioned) {
    match &image.outcome {
        Outcome::Captions(captions) => {
            say(&image.file);
            captions.iter().for_each(|caption| say(format_args!("  {caption}")));
        }
        Outcome::Error(reason) => crate::exit::complain(&format!("{}: {reason}", image.file)),
    }
}
