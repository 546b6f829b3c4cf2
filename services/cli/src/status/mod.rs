//! `weimocir status`: what there is, what waits, and who is alive. `watch` does so again and again,
//! `view` draws it on a terminal, `history` tells how fast it moves.

mod history;
mod view;
mod watch;

use std::{collections::BTreeMap, io::IsTerminal, time::Duration};

use serde::Serialize;
use weimocir_client::{Totals, queues};
use weimocir_domain::{Collection, FieldKinds, ModelId};
use weimocir_runtime::{Backlog, Bus, Collections, DeadLetters, WorkerInfo};
use weimocir_wire::{names, vectors::CollectionRecord};

use crate::{Done, Shared, say, say_json};

#[derive(Debug, clap::Args)]
pub(crate) struct StatusArgs {
    /// Show it again and again, on a terminal with rates and a history; `q` ends
    #[arg(long)]
    watch: bool,
    /// Seconds from one look to the next
    #[arg(long, default_value_t = 1.0, value_name = "SECONDS", requires = "watch",
        value_parser = interval)]
    every: f64,
}

#[derive(Debug, Clone, Default, Serialize)]
struct Status {
    collections: Vec<Gallery>,
    backlog: BTreeMap<&'static str, Backlog>,
    workers: Vec<WorkerInfo>,
    dead_letters: u64,
}

#[derive(Debug, Clone, Serialize)]
struct Gallery {
    name: Collection,
    model: Option<ModelId>,
    /// Those of generations that do not serve.
    other_models: Vec<ModelId>,
    /// What searches can filter by.
    fields: FieldKinds,
    shards: u16,
    images: u64,
    captioned: u64,
    /// Shards that nobody answers for: their images are not counted.
    missing_shards: Vec<u16>,
}

pub(crate) async fn run(args: StatusArgs, shared: Shared) -> anyhow::Result<Done> {
    let bus = shared.connect().await?;
    bus.provision().await?;
    if args.watch {
        let every = Duration::from_secs_f64(args.every);
        return watch::run(&bus, &shared.nats.shown_url(), every, shared.json).await;
    }
    let status = collect(&bus).await?;
    if shared.json {
        say_json(&status)?;
    } else {
        show(&status);
    }
    Ok(Done::Fully)
}

impl StatusArgs {
    /// Whether a terminal is drawn on, which a line of the log would smear.
    pub(crate) fn draws(&self) -> bool {
        self.watch && std::io::stdout().is_terminal()
    }
}

fn interval(written: &str) -> anyhow::Result<f64> {
    let seconds = crate::seconds(written)?;
    anyhow::ensure!(seconds >= 0.1, "expected at least 0.1 seconds");
    Ok(seconds)
}

async fn collect(bus: &Bus) -> anyhow::Result<Status> {
    let mut collections = Vec::new();
    let records = Collections::open(bus).await?.records().await?;
    for record in records.iter().filter(|record| record.of.is_none()) {
        collections.push(gallery(bus, record.clone(), record.other_models(&records)).await);
    }
    let queues = queues(bus).await?.into_iter();
    let backlog = queues.map(|queue| (queue.name, queue.backlog)).collect();
    let workers = bus.workers().await?;
    let dead_letters = DeadLetters::open(bus).await?.count().await?;
    Ok(Status { collections, backlog, workers, dead_letters })
}

async fn gallery(bus: &Bus, record: CollectionRecord, other_models: Vec<ModelId>) -> Gallery {
    let totals = weimocir_client::Gallery::new(bus, record.clone()).totals().await;
    let model = record.serving_model().cloned();
    let CollectionRecord { name, shards, fields, .. } = record;
    let Totals { images, captioned, missing_shards } = totals;
    Gallery { name, model, other_models, fields, shards, images, captioned, missing_shards }
}

fn show(status: &Status) {
    if status.collections.is_empty() {
        say("no collections yet: `weimocir ingest PATH` makes one");
    }
    for gallery in &status.collections {
        let model = gallery.model.as_ref().map_or("no model yet", ModelId::as_str);
        say(format_args!(
            "collection {}: {} images, {} with captions, {} shard(s), {model}",
            gallery.name, gallery.images, gallery.captioned, gallery.shards
        ));
        for model in &gallery.other_models {
            say(format_args!("  a generation that does not serve: {model}"));
        }
        if !gallery.fields.is_empty() {
            say(format_args!("  fields: {}", gallery.fields));
        }
        if !gallery.missing_shards.is_empty() {
            say(format_args!("  no store worker answers for shards {:?}", gallery.missing_shards));
        }
    }
    for (step, backlog) in &status.backlog {
        say(format_args!("{step:<16} {} waiting, {} in work", backlog.waiting, backlog.in_work));
    }
    for name in names::SERVICES {
        let alive: Vec<&WorkerInfo> =
            status.workers.iter().filter(|worker| worker.name == name).collect();
        say(format!("{name:<16} {} alive {}", alive.len(), facts(&alive)).trim_end());
    }
    say(format_args!("dead letters: {}", status.dead_letters));
}

/// What the first of the workers says of itself, as all of a kind should say the same.
fn facts(alive: &[&WorkerInfo]) -> String {
    let facts = alive.first().map(|worker| worker.facts.iter()).into_iter().flatten();
    facts.map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" ")
}
