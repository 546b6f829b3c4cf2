//! `weimocir demo`: the whole pipeline on a sample gallery, from nothing to answers, in one go.

use std::path::{Path, PathBuf};

use anyhow::Context;
use weimocir_catalogue::{Gallery, Split, gallery, write_gallery_with};
use weimocir_runtime::{Bus, CancellationToken, Operations, Patience};
use weimocir_wire::{
    Blob,
    search::{Reference, SearchRequest},
};

use crate::{
    Done, Shared, ingest,
    nats_server::{self, NatsServer},
    say, search, sheet,
    up::{self, UpArgs},
};

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct DemoArgs {
    /// Folder for the sample gallery, the demo's data and the contact sheet
    #[arg(long, default_value = ".weimocir/demo", value_name = "DIR")]
    folder: PathBuf,
    /// The nats-server program [default: the one on PATH]
    #[arg(long, env = "WEIMOCIR_NATS_SERVER", value_name = "FILE")]
    nats_server: Option<PathBuf>,
}

/// Pictures in the sample, and their edge in pixels.
const PICTURES: usize = 240;
const EDGE: u32 = 256;
/// Candidates shown for each search.
const SHOWN: usize = 5;

pub(crate) async fn run(args: DemoArgs, mut shared: Shared) -> anyhow::Result<Done> {
    let folder = args.folder.clone();
    let pictures = folder.join("gallery");
    let sample = tokio::task::spawn_blocking({
        let pictures = pictures.clone();
        move || render_if_absent(&pictures)
    })
    .await
    .context("rendering stopped")??;

    let data = folder.join("data");
    if data.exists() {
        std::fs::remove_dir_all(&data)
            .with_context(|| format!("cannot empty {}", data.display()))?;
    }
    let up = UpArgs::below(&data)?;
    let server =
        NatsServer::start(&nats_server::find(args.nats_server)?, &up.nats_data, None).await?;
    shared.nats.url = server.url().to_owned();
    say(format_args!(
        "NATS and the workers (caption, encode, store, query) start at {}",
        server.url()
    ));
    let shutdown = CancellationToken::new();
    let nats = shared.nats.clone();
    let workers = up::workers(&up, &nats, Operations::default(), shutdown.clone());
    tokio::pin!(workers);
    let outcome = tokio::select! {
        // because: without the workers, the rest would wait for ever
        stopped = &mut workers => stopped.and(Err(anyhow::anyhow!("the workers stopped"))),
        shown = show(&shared, &sample, &pictures, &folder) => {
            shutdown.cancel();
            workers.await.and(shown)
        }
    };
    server.stop().await?;
    outcome?;
    say("Everything is stopped again.");
    go_on(&pictures);
    Ok(Done::Fully)
}

fn render_if_absent(folder: &Path) -> anyhow::Result<Gallery> {
    let sample = gallery(Split::Sample, PICTURES);
    let complete =
        sample.pictures.iter().all(|picture| folder.join(format!("{}.png", picture.name)).exists());
    if complete {
        say(format_args!("The sample gallery is in {}", folder.display()));
    } else {
        say(format_args!(
            "Rendering a sample gallery of {PICTURES} garments into {}",
            folder.display()
        ));
        write_gallery_with(&sample, folder, EDGE, 2, &|_| {})?;
    }
    Ok(sample)
}

async fn show(
    shared: &Shared,
    sample: &Gallery,
    pictures: &Path,
    folder: &Path,
) -> anyhow::Result<()> {
    let bus = Bus::connect(&shared.nats, "weimocir", Patience::Worker).await?;
    ingest_sample(&bus, shared, pictures).await?;
    let mut rows = Vec::new();
    for query in &sample.queries {
        let name = format!("{}.png", sample.pictures[query.reference].name);
        let path = pictures.join(&name);
        let bytes =
            std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let request = SearchRequest {
            collection: shared.collection.clone(),
            reference: Some(Reference::Image(Blob(bytes))),
            modifier: Some(query.modifier.clone()),
            k: Some(SHOWN),
            ..SearchRequest::default()
        };
        let answer = search::ask(&bus, &request).await?;
        say(format_args!("\nLike {name}, but \"{}\":", query.modifier));
        search::show(&answer);
        rows.push(search::row(&bus, &request, &answer.candidates).await?);
    }
    let path = folder.join("contact-sheet.png");
    sheet::draw(&rows).save(&path).with_context(|| format!("cannot write {}", path.display()))?;
    say(format_args!("\nContact sheet: {}", path.display()));
    bus.close().await;
    Ok(())
}

async fn ingest_sample(bus: &Bus, shared: &Shared, pictures: &Path) -> anyhow::Result<()> {
    say(format_args!("Ingesting the pictures of {}", pictures.display()));
    let args = ingest::IngestArgs::waiting_for(pictures);
    let summary = ingest::ingest(bus, &args, shared, true).await?;
    ingest::tell(&summary)?;
    anyhow::ensure!(summary.refused.is_empty(), "some pictures of the sample were refused");
    Ok(())
}

fn go_on(pictures: &Path) {
    let weimocir = std::env::args().next().unwrap_or_else(|| "weimocir".into());
    let pictures = pictures.display();
    say(format_args!(
        "
How to go on:
  make up                               keeps NATS and all workers running; then, in another terminal:
  {weimocir} ingest {pictures} --wait
  {weimocir} search --reference {pictures}/sample-00000.png \"is green with a star\"
The bundled model knows these garments and their words, nothing else. For photographs:
  {weimocir} up --with-nats --nats-server .build/nats-server --model laion/CLIP-ViT-B-32-laion2B-s34B-b79K --captioner Salesforce/blip-image-captioning-base
  {weimocir} ingest YOUR_PICTURES --wait --collection photographs"
    ));
}
