//! The caption worker: has sentences made about pictures, for the gallery and for queries. Their
//! vectors are the encode worker's.
//!
//! `describe` does the work of the queue and answers requests; the captioner is `weimocir-models`'.

mod describe;

use std::time::Duration;

use anyhow::Context;
use futures::{FutureExt, future::BoxFuture};
use weimocir_models::{Captioner, CaptionerHandle, DeviceChoice, ModelSource, Queues};
use weimocir_runtime::{
    Asked, Bus, CancellationToken, NatsArgs, Patience, Pictures, Pull, Service, TelemetryArgs, work,
};
use weimocir_wire::{
    names::{CAPTION_DURABLE, CAPTION_SERVICE, WORK_STREAM},
    subjects,
};

use crate::describe::Describer;

/// Writes captions about pictures.
#[derive(Debug, clap::Parser)]
#[command(name = "weimocir-caption", version)]
pub struct Command {
    #[command(flatten)]
    pub nats: NatsArgs,
    #[command(flatten)]
    pub caption: CaptionArgs,
    #[command(flatten)]
    pub telemetry: TelemetryArgs,
}

#[derive(Debug, Clone, clap::Args)]
pub struct CaptionArgs {
    /// Captioner: `bundled`, a folder in Hugging Face's format, or `organisation/name` on the hub
    #[arg(long, env = "WEIMOCIR_CAPTIONER", default_value = "bundled", value_name = "MODEL")]
    pub captioner: ModelSource,
    /// Where the captioner runs: `cpu`, `cuda` or `cuda:N`
    #[arg(long, env = "WEIMOCIR_CAPTION_DEVICE", default_value = "cpu", value_name = "DEVICE")]
    pub caption_device: DeviceChoice,
    /// Captions for each picture, different sentences
    #[arg(long, env = "WEIMOCIR_CAPTIONS_PER_IMAGE", default_value_t = 3, value_name = "R",
        value_parser = clap::value_parser!(u8).range(1..))]
    pub captions_per_image: u8,
    /// Pictures in work at the same time
    // because: two device batches, and as many again being fetched and decoded meanwhile
    #[arg(long, env = "WEIMOCIR_CAPTION_IN_FLIGHT", default_value_t = 64, value_name = "N",
        value_parser = clap::value_parser!(u16).range(1..))]
    pub caption_in_flight: u16,
    /// Seconds of silence after which this worker's deliveries go to another
    #[arg(long, env = "WEIMOCIR_CAPTION_ACK_WAIT", default_value_t = 60, value_name = "SECONDS",
        value_parser = clap::value_parser!(u64).range(1..))]
    pub caption_ack_wait: u64,
}

/// Runs until `shutdown`, then finishes what was begun.
///
/// # Errors
/// No NATS, or a captioner that cannot be loaded.
pub fn run(
    nats: NatsArgs,
    args: CaptionArgs,
    shutdown: CancellationToken,
) -> BoxFuture<'static, anyhow::Result<()>> {
    work_until(nats, args, shutdown).boxed()
}

async fn work_until(
    nats: NatsArgs,
    args: CaptionArgs,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let bus = Bus::connect(&nats, CAPTION_SERVICE, Patience::Worker).await?;
    bus.provision().await?;
    let captioner = load(&args).await?;
    let facts = [("captioner".to_owned(), captioner.id().to_string())];
    let service = Service::start(&bus, CAPTION_SERVICE, facts.into()).await?;
    let describer = Describer {
        bus: bus.clone(),
        pictures: Pictures::open(&bus).await?,
        captioner: captioner.clone(),
        captions: usize::from(args.captions_per_image),
    };
    let asked = Asked {
        name: "caption-query",
        subject: subjects::CAPTION_QUERY.into(),
        group: "caption".into(),
        limit: 64,
    };
    let answerer = describer.clone();
    let handler = move |question| answerer.clone().answer(question);
    service.answer(asked, handler, &shutdown).await?;
    let pull = Pull {
        step: "caption",
        stream: WORK_STREAM,
        durable: CAPTION_DURABLE,
        subject: subjects::CAPTION,
        in_flight: usize::from(args.caption_in_flight),
        ack_wait: Duration::from_secs(args.caption_ack_wait),
    };
    tracing::info!(captioner = %captioner.id(), captions = args.captions_per_image, "caption ready");
    let outcome =
        work(&bus, pull, move |delivery| describer.clone().handle(delivery), &shutdown).await;
    shutdown.cancel();
    service.finish().await;
    bus.close().await;
    Ok(outcome?)
}

async fn load(args: &CaptionArgs) -> anyhow::Result<CaptionerHandle> {
    let (source, device) = (args.captioner.clone(), args.caption_device);
    tokio::task::spawn_blocking(move || {
        let captioner = Captioner::load(&source, device)
            .with_context(|| format!("failed to load the captioner {source}"))?;
        CaptionerHandle::spawn(captioner, Queues::default())
            .context("failed to start the captioner's thread")
    })
    .await
    .context("the loader died")?
}
