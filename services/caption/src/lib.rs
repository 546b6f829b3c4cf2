//! The caption worker: has sentences made about pictures, for the gallery and for queries. Their
//! vectors are the encode worker's.
//!
//! `describe` does the work of the queue and answers requests, `captioner` is the choice of what
//! makes the sentences; the captioners themselves are `weimocir-models`'.

mod captioner;
mod describe;

use std::{
    num::{NonZeroU8, NonZeroUsize},
    time::Duration,
};

use futures::{FutureExt, future::BoxFuture};
use weimocir_runtime::{
    Asked, Bus, CancellationToken, NatsArgs, Operations, OperationsArgs, Patience, Pictures, Pull,
    Service, TelemetryArgs, work,
};
use weimocir_wire::{
    names::{CAPTION_DURABLE, CAPTION_SERVICE, WORK_STREAM},
    subjects,
};

use crate::describe::Describer;

pub use captioner::{CaptionerSource, EndpointArgs, LocalArgs, open_captioner};

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
    #[command(flatten)]
    pub operations: OperationsArgs,
}

#[derive(Debug, Clone, clap::Args)]
pub struct CaptionArgs {
    /// Captioner: `bundled`, a folder in Hugging Face's format, `organisation/name` on the hub,
    /// `endpoint` with --caption-url and --caption-model, or `file:PATH` of captions made before
    #[arg(long, env = "WEIMOCIR_CAPTIONER", default_value = "bundled", value_name = "CAPTIONER")]
    pub captioner: CaptionerSource,
    #[command(flatten)]
    pub local: LocalArgs,
    /// Captions for each picture, different sentences
    #[arg(long, env = "WEIMOCIR_CAPTIONS_PER_IMAGE", default_value = "3", value_name = "R")]
    pub captions_per_image: NonZeroU8,
    /// Pictures in work at the same time
    // because: two device batches, and as many again being fetched and decoded meanwhile
    #[arg(long, env = "WEIMOCIR_CAPTION_IN_FLIGHT", default_value_t = 64, value_name = "N",
        value_parser = clap::value_parser!(u16).range(1..))]
    pub caption_in_flight: u16,
    /// Seconds of silence after which this worker's deliveries go to another
    #[arg(long, env = "WEIMOCIR_CAPTION_ACK_WAIT", default_value_t = 60, value_name = "SECONDS",
        value_parser = clap::value_parser!(u64).range(1..))]
    pub caption_ack_wait: u64,
    #[command(flatten)]
    pub endpoint: EndpointArgs,
}

impl CaptionArgs {
    /// Deliveries handled at the same time.
    fn in_flight(&self) -> usize {
        let in_flight = usize::from(self.caption_in_flight);
        match self.captioner {
            // because: a delivery that waits for its place at the endpoint grows old meanwhile
            CaptionerSource::Endpoint => {
                in_flight.min(2 * usize::from(self.endpoint.caption_concurrency.get()))
            }
            CaptionerSource::Model(_) | CaptionerSource::File(_) => in_flight,
        }
    }
}

/// The queue of pictures.
pub fn queue(in_flight: usize, ack_wait: Duration) -> Pull {
    Pull {
        step: "caption",
        stream: WORK_STREAM,
        durable: CAPTION_DURABLE.into(),
        subject: subjects::CAPTION.into(),
        in_flight,
        ack_wait,
        waits: false,
    }
}

/// Runs until `shutdown`, then finishes what was begun.
///
/// # Errors
/// No NATS, or a captioner that cannot be opened or stops working.
pub fn run(
    nats: NatsArgs,
    args: CaptionArgs,
    operations: Operations,
    shutdown: CancellationToken,
) -> BoxFuture<'static, anyhow::Result<()>> {
    work_until(nats, args, operations, shutdown).boxed()
}

async fn work_until(
    nats: NatsArgs,
    args: CaptionArgs,
    operations: Operations,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let bus = Bus::connect(&nats, CAPTION_SERVICE, Patience::Worker).await?;
    bus.provision().await?;
    let captioner = open_captioner(&args.captioner, &args.local, &args.endpoint).await?;
    let facts = [("captioner".to_owned(), captioner.name().to_owned())];
    let service = Service::start(&bus, CAPTION_SERVICE, facts.into()).await?;
    let describer = Describer {
        bus: bus.clone(),
        pictures: Pictures::open(&bus).await?,
        captioner: captioner.clone(),
        captions: NonZeroUsize::from(args.captions_per_image),
    };
    let asked = Asked {
        subject: subjects::CAPTION_QUERY.into(),
        group: "caption".into(),
        question: "caption",
        limit: 64,
    };
    let answerer = describer.clone();
    let handler = move |question| answerer.clone().answer(question);
    service.answer(asked, handler, &shutdown).await?;
    let pull = queue(args.in_flight(), Duration::from_secs(args.caption_ack_wait));
    operations.ready(&bus);
    tracing::info!(
        captioner = captioner.name(),
        captions = args.captions_per_image,
        "caption ready"
    );
    let outcome =
        work(&bus, pull, move |delivery| describer.clone().handle(delivery), &shutdown).await;
    shutdown.cancel();
    service.finish().await;
    bus.close().await;
    Ok(outcome?)
}
