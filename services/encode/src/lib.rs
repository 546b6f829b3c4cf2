//! The encode worker: turns pictures and captions into vectors of the log, and encodes queries ahead
//! of that work. Any number of them share the queue.
//!
//! `ingest` does the work of the queues, `query` and `matching` answer requests, all by `embed`; `binding` says
//! which model's work it is. Beside the queues and questions that are anybody's, each model has a lane of
//! its own. The encoder itself is `weimocir-models`'.

mod binding;
mod embed;
mod ingest;
mod matching;
mod query;

use std::time::Duration;

use anyhow::Context;
use futures::{FutureExt, future::BoxFuture};
use weimocir_domain::ModelId;
use weimocir_models::{
    Budget, DeviceChoice, Encoder, EncoderHandle, ModelOptions, ModelSource, PixelRecipe,
    Precision, Queues,
};
use weimocir_runtime::{
    Asked, Bus, CancellationToken, Collections, NatsArgs, Operations, OperationsArgs, Patience,
    Pictures, Pull, Service, TelemetryArgs, work,
};
use weimocir_wire::{
    names::{
        CAPTIONS_STREAM, ENCODE_DURABLE, ENCODE_SERVICE, LANES_STREAM, WORK_STREAM, lane_durable,
    },
    subjects,
};

use crate::{binding::Binding, ingest::Ingest, matching::Matcher};

/// Encodes pictures, captions and queries.
#[derive(Debug, clap::Parser)]
#[command(name = "weimocir-encode", version)]
pub struct Command {
    #[command(flatten)]
    pub nats: NatsArgs,
    #[command(flatten)]
    pub encode: EncodeArgs,
    #[command(flatten)]
    pub telemetry: TelemetryArgs,
    #[command(flatten)]
    pub operations: OperationsArgs,
}

#[derive(Debug, Clone, clap::Args)]
pub struct EncodeArgs {
    /// Encoder: `bundled`, a folder in Hugging Face's format, `organisation/name[@revision]` on the hub,
    /// or a .pth file of Salesforce's BLIP
    #[arg(long, env = "WEIMOCIR_MODEL", default_value = "bundled", value_name = "MODEL")]
    pub model: ModelSource,
    /// Where the encoder runs: `cpu`, `cuda` or `cuda:N`
    #[arg(long, env = "WEIMOCIR_DEVICE", default_value = "cpu", value_name = "DEVICE")]
    pub device: DeviceChoice,
    /// What it calculates in: `f32`, or on a GPU `f16` or `bf16`
    #[arg(long, env = "WEIMOCIR_PRECISION", default_value_t, value_name = "TYPE")]
    pub precision: Precision,
    /// How pictures are prepared: as the model's files declare, or as the paper's `published` code did
    #[arg(long, env = "WEIMOCIR_PIXELS", default_value_t, value_name = "RECIPE")]
    pub pixels: PixelRecipe,
    /// Pictures and caption sets in work at the same time
    // because: two device batches, and as many again being fetched and decoded meanwhile
    #[arg(long, env = "WEIMOCIR_ENCODE_IN_FLIGHT", default_value_t = 128, value_name = "N",
        value_parser = clap::value_parser!(u16).range(1..))]
    pub encode_in_flight: u16,
    /// Pictures in one pass of the encoder; fewer let queries in earlier, more suit a GPU
    #[arg(long, env = "WEIMOCIR_ENCODE_BATCH_IMAGES", default_value_t = Budget::default().images,
        value_name = "N")]
    pub encode_batch_images: usize,
    /// Tokens in one pass of the encoder, padding included
    #[arg(long, env = "WEIMOCIR_ENCODE_BATCH_TOKENS", default_value_t = Budget::default().tokens,
        value_name = "N")]
    pub encode_batch_tokens: usize,
    /// Seconds of silence after which this worker's deliveries go to another
    #[arg(long, env = "WEIMOCIR_ENCODE_ACK_WAIT", default_value_t = 30, value_name = "SECONDS",
        value_parser = clap::value_parser!(u64).range(1..))]
    pub encode_ack_wait: u64,
}

/// Queries handled at once, above what the device thread lets wait, so that it says busy itself.
const QUERIES: usize = 256;

/// The queues of pictures and of captions.
pub fn queues(in_flight: usize, ack_wait: Duration) -> [Pull; 2] {
    let pull = |stream, subject: &str| Pull {
        step: "encode",
        stream,
        durable: ENCODE_DURABLE.into(),
        subject: subject.into(),
        in_flight,
        ack_wait,
        waits: false,
    };
    [pull(WORK_STREAM, subjects::ENCODE_IMAGE), pull(CAPTIONS_STREAM, subjects::ENCODE_CAPTIONS)]
}

/// The same in the lane of one model.
pub fn lane(model: &ModelId, in_flight: usize, ack_wait: Duration) -> [Pull; 2] {
    let [images, captions] = queues(in_flight, ack_wait);
    let in_lane = |pull: Pull, kind| Pull {
        stream: LANES_STREAM,
        durable: lane_durable(kind, model),
        subject: subjects::in_lane(&pull.subject, model),
        waits: true,
        ..pull
    };
    [in_lane(images, "image"), in_lane(captions, "captions")]
}

/// Runs until `shutdown`, then finishes what was begun.
///
/// # Errors
/// No NATS, or a model that cannot be loaded.
pub fn run(
    nats: NatsArgs,
    args: EncodeArgs,
    operations: Operations,
    shutdown: CancellationToken,
) -> BoxFuture<'static, anyhow::Result<()>> {
    work_until(nats, args, operations, shutdown).boxed()
}

async fn work_until(
    nats: NatsArgs,
    args: EncodeArgs,
    operations: Operations,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let bus = Bus::connect(&nats, ENCODE_SERVICE, Patience::Worker).await?;
    bus.provision().await?;
    let encoder = load(&args).await?;
    let model = encoder.id().clone();
    let facts = [
        ("model".to_owned(), model.to_string()),
        ("source".to_owned(), args.model.to_string()),
        ("dim".to_owned(), encoder.dim().to_string()),
    ];
    let service = Service::start(&bus, ENCODE_SERVICE, facts.into()).await?;
    answer(&service, (&bus, &encoder), &shutdown).await?;
    let ingest = Ingest {
        bus: bus.clone(),
        pictures: Pictures::open(&bus).await?,
        encoder: encoder.clone(),
        binding: Binding::new(Collections::open(&bus).await?, model.clone()),
    };
    let (in_flight, ack_wait) =
        (usize::from(args.encode_in_flight), Duration::from_secs(args.encode_ack_wait));
    let [of_images, of_captions] = queues(in_flight, ack_wait);
    let [lane_of_images, lane_of_captions] = lane(&model, in_flight, ack_wait);
    operations.ready(&bus);
    tracing::info!(%model, lane = model.lane(), dim = encoder.dim(), "encode ready");
    let [images, captions, passed_images, passed_captions] =
        std::array::from_fn(|_| ingest.clone());
    let outcome = futures::future::try_join4(
        work(&bus, of_images, move |d| images.clone().submitted(d), &shutdown),
        work(&bus, of_captions, move |d| captions.clone().captions(d), &shutdown),
        work(&bus, lane_of_images, move |d| passed_images.clone().in_lane(d), &shutdown),
        work(&bus, lane_of_captions, move |d| passed_captions.clone().captions(d), &shutdown),
    )
    .await;
    shutdown.cancel();
    service.finish().await;
    bus.close().await;
    outcome?;
    Ok(())
}

/// Answers questions to any encoder, and those to encoders of this model.
async fn answer(
    service: &Service,
    (bus, encoder): (&Bus, &EncoderHandle),
    shutdown: &CancellationToken,
) -> anyhow::Result<()> {
    let matcher = Matcher::open(bus, encoder.clone()).await?;
    let asked = |subject: String, question| Asked {
        subject,
        group: "encode".into(),
        question,
        limit: QUERIES,
    };
    let both = |subject: &str| [subject.to_owned(), subjects::in_lane(subject, encoder.id())];
    for subject in both(subjects::ENCODE_QUERY) {
        let encoder = encoder.clone();
        let handler = move |question| query::answer(encoder.clone(), question);
        service.answer(asked(subject, "encode"), handler, shutdown).await?;
    }
    for subject in both(subjects::MATCH_QUERY) {
        let matcher = matcher.clone();
        let handler = move |question| matcher.clone().answer(question);
        service.answer(asked(subject, "match"), handler, shutdown).await?;
    }
    Ok(())
}

async fn load(args: &EncodeArgs) -> anyhow::Result<EncoderHandle> {
    let source = args.model.clone();
    let options =
        ModelOptions { device: args.device, precision: args.precision, pixels: args.pixels };
    let batch = Budget { images: args.encode_batch_images, tokens: args.encode_batch_tokens };
    tokio::task::spawn_blocking(move || {
        let encoder = Encoder::load(&source, options)
            .with_context(|| format!("failed to load the encoder {source}"))?;
        EncoderHandle::spawn(encoder, Queues { batch, ..Queues::default() })
            .context("failed to start the encoder's thread")
    })
    .await
    .context("the loader died")?
}
