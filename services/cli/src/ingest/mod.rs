//! `weimocir ingest`: pictures from folders, globs, tar shards, JSONL lists and S3 buckets into the
//! pipeline.
//!
//! `sources`, `webdataset` and `bucket` find pictures, `tables` reads captions and metadata made elsewhere, `feed` submits,
//! `wait` follows them until they are searchable, `report` is what the user is told.

mod bucket;
mod bucket_http;
mod feed;
mod report;
mod sources;
mod tables;
mod wait;
mod webdataset;

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, ensure};
use futures::StreamExt;
use tokio::sync::mpsc;
use weimocir_client::{Gallery, Losses, SubmitOptions, Submitter};
use weimocir_domain::{FieldDeclaration, FieldKinds};
use weimocir_fetch::FetchArgs;
use weimocir_runtime::{Bus, Collections, DeadLetters, Pictures};

use crate::{Done, Shared};
use bucket::Bucket;
use feed::Feed;
use sources::{Item, Place, Watched};

pub(crate) use report::{Summary, bar};

#[derive(Debug, Clone, clap::Args)]
pub struct IngestArgs {
    /// Folders, picture files, glob patterns, .tar shards (pictures with .json beside them), or
    /// .jsonl lists with a "path" or "url" on each line; or s3://BUCKET/FOLDER, by AWS_ACCESS_KEY_ID,
    /// AWS_SECRET_ACCESS_KEY, AWS_REGION and, for services other than Amazon's, AWS_ENDPOINT_URL
    #[arg(value_name = "PATH", required = true)]
    pub paths: Vec<String>,
    /// Captions made elsewhere: JSON `{"name": ["…"]}`, or objects with "image" and "captions"
    #[arg(long, value_name = "FILE")]
    pub captions: Option<PathBuf>,
    /// Metadata: JSON `{"name": {…}}`, or objects with "image" and whatever else
    #[arg(long, value_name = "FILE")]
    pub metadata: Option<PathBuf>,
    /// Declare a field of the metadata that searches can filter by: keyword, integer, float,
    /// timestamp or boolean. It stays declared, and pictures whose metadata do not fit are refused
    #[arg(long = "field", value_name = "NAME:KIND")]
    pub fields: Vec<FieldDeclaration>,
    /// Make no captions for pictures that bring none
    #[arg(long)]
    pub no_captions: bool,
    /// Wait until every picture is searchable and has its captions
    #[arg(long)]
    pub wait: bool,
    /// Go on looking for new pictures
    #[arg(long)]
    pub watch: bool,
    /// How often a bucket is looked at by --watch
    #[arg(long, default_value_t = 30, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    pub poll: u64,
    /// Delete the images of a bucket whose objects are gone or have changed
    #[arg(long)]
    pub follow_deletions: bool,
    /// Submit pictures again that the gallery has already
    #[arg(long)]
    pub force: bool,
    /// Shards of the gallery, if this makes it
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub shards: u16,
    /// Pictures submitted at the same time
    #[arg(long, default_value_t = 32, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub jobs: u16,
    /// Pictures larger than this are refused, in bytes
    #[arg(long, default_value_t = 32 << 20, value_name = "BYTES")]
    pub max_bytes: u64,
    #[command(flatten)]
    pub fetch: FetchArgs,
}

impl IngestArgs {
    /// One folder, every default, and waiting to the end.
    pub(crate) fn waiting_for(folder: &std::path::Path) -> Self {
        Self {
            paths: vec![folder.display().to_string()],
            captions: None,
            metadata: None,
            fields: vec![],
            no_captions: false,
            wait: true,
            watch: false,
            poll: 30,
            follow_deletions: false,
            force: false,
            shards: 1,
            jobs: 32,
            max_bytes: 32 << 20,
            fetch: FetchArgs::default(),
        }
    }
}

pub(crate) fn tell(summary: &Summary) -> anyhow::Result<()> {
    report::tell(summary, false)
}

/// How often a watched folder is looked at.
const WATCH: Duration = Duration::from_secs(1);

pub(crate) async fn run(args: IngestArgs, shared: Shared) -> anyhow::Result<Done> {
    let bus = shared.connect().await?;
    let summary = ingest(&bus, &args, &shared, !shared.json).await?;
    report::tell(&summary, shared.json)?;
    Ok(if summary.refused.is_empty() { Done::Fully } else { Done::Partly })
}

/// Submits everything, and then waits or watches as the arguments say.
pub(crate) async fn ingest(
    bus: &Bus,
    args: &IngestArgs,
    shared: &Shared,
    show: bool,
) -> anyhow::Result<Summary> {
    let tables = tables::Tables::read(args.captions.as_deref(), args.metadata.as_deref())?;
    let of_buckets = args.paths.iter().filter(|path| bucket::is_bucket(path)).count();
    ensure!(
        of_buckets == 0 || of_buckets == args.paths.len(),
        "files and buckets are two feeds: run one command for each"
    );
    ensure!(of_buckets > 0 || !args.follow_deletions, "--follow-deletions is for s3:// buckets");
    let places = if of_buckets > 0 { vec![] } else { sources::places(&args.paths)? };
    let mut fields = FieldKinds::default();
    args.fields.iter().try_for_each(|new| fields.declare(&new.field, new.kind))?;
    bus.provision().await?;
    let collections = Collections::open(bus).await?;
    collections.ensure(&shared.collection, args.shards).await?;
    let collection = collections.declare(&shared.collection, &fields).await?;
    let mut losses = Losses::from_now(DeadLetters::open(bus).await?).await?;
    let options = SubmitOptions {
        force: args.force,
        make_captions: !args.no_captions,
        max_bytes: args.max_bytes,
        patient: true,
    };
    let gallery = Gallery::new(bus, collection).following(&collections);
    let submitter = Submitter::new(gallery, Pictures::open(bus).await?, options);
    let feed = Feed::new(submitter, args, tables);
    let mut summary = Summary::default();
    match of_buckets {
        0 => from_files(&feed, places, args, &mut summary, show).await?,
        _ => from_buckets(&feed, args, &mut summary, show).await?,
    }
    if args.wait {
        Box::pin(wait::until_settled(&feed, &mut losses, &mut summary, show)).await?;
    }
    Ok(summary)
}

async fn from_files(
    feed: &Feed,
    places: Vec<Place>,
    args: &IngestArgs,
    summary: &mut Summary,
    show: bool,
) -> anyhow::Result<()> {
    // because: a file that changes while the first round runs must come again
    let watched = args.watch.then(|| Watched::new(&places));
    submit(feed, places, args, summary, show).await?;
    match watched {
        Some(watched) => watch(feed, watched, args, summary, show).await,
        None => Ok(()),
    }
}

/// One look at each bucket, and with `--watch` others until Ctrl-C; a second one ends the process at
/// once.
async fn from_buckets(
    feed: &Feed,
    args: &IngestArgs,
    summary: &mut Summary,
    show: bool,
) -> anyhow::Result<()> {
    let progress = report::submitting(None, show);
    let mut buckets = Vec::with_capacity(args.paths.len());
    for url in &args.paths {
        buckets.push(Bucket::open(url, feed, args).await?);
    }
    for bucket in &mut buckets {
        bucket.look(feed, args, summary, &progress).await?;
    }
    if !args.watch {
        progress.abandon();
        return buckets.iter().try_for_each(Bucket::ensure_some);
    }
    let stop = weimocir_runtime::on_signal()?;
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(Duration::from_secs(args.poll)) => {}
        }
        feed.start_over().await;
        for bucket in &mut buckets {
            if let Err(error) = bucket.look(feed, args, summary, &progress).await {
                tracing::warn!("the next look may go better: {error:#}");
            }
        }
    }
}

async fn submit(
    feed: &Feed,
    places: Vec<Place>,
    args: &IngestArgs,
    summary: &mut Summary,
    show: bool,
) -> anyhow::Result<()> {
    let progress = report::submitting(sources::known_total(&places), show);
    let (jobs, max_bytes) = (usize::from(args.jobs), args.max_bytes);
    let (send, mut items) = mpsc::channel::<Item>(jobs);
    let reader = tokio::task::spawn_blocking(move || sources::read(places, max_bytes, &send));
    let items = futures::stream::poll_fn(move |context| items.poll_recv(context));
    let mut outcomes = items.map(|item| feed.take(item)).buffer_unordered(jobs);
    while let Some(outcome) = outcomes.next().await {
        progress.inc(1);
        summary.count(outcome?);
        progress.set_message(summary.refused_so_far());
    }
    progress.abandon();
    reader.await.context("reading the sources stopped")?
}

/// Takes what is new in the places, until Ctrl-C; a second one ends the process at once.
async fn watch(
    feed: &Feed,
    mut watched: Watched,
    args: &IngestArgs,
    summary: &mut Summary,
    show: bool,
) -> anyhow::Result<()> {
    let stop = weimocir_runtime::on_signal()?;
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(WATCH) => {}
        }
        let paths = args.paths.clone();
        let looking = tokio::task::spawn_blocking(move || {
            let fresh = sources::places(&paths).map(|places| watched.fresh(places));
            (fresh, watched)
        });
        let (fresh, back) = looking.await.context("looking for pictures stopped")?;
        watched = back;
        match fresh {
            Ok(fresh) if !fresh.is_empty() => submit(feed, fresh, args, summary, show).await?,
            Ok(_) => {}
            Err(error) => tracing::warn!("the next look may go better: {error:#}"),
        }
    }
}
