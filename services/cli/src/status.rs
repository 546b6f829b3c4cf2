//! `weimocir status`: what there is, what waits, and who is alive.

use std::collections::BTreeMap;

use serde::Serialize;
use weimocir_client::{Totals, queues};
use weimocir_domain::{Collection, FieldKinds, ModelId};
use weimocir_runtime::{Backlog, Bus, Collections, DeadLetters, WorkerInfo};
use weimocir_wire::{names, vectors::CollectionRecord};

use crate::{Done, Shared, say, say_json};

#[derive(Debug, Serialize)]
struct Status {
    collections: Vec<Gallery>,
    backlog: BTreeMap<&'static str, Backlog>,
    workers: Vec<WorkerInfo>,
    dead_letters: u64,
}

#[derive(Debug, Serialize)]
struct Gallery {
    name: Collection,
    model: Option<ModelId>,
    /// What searches can filter by.
    fields: FieldKinds,
    shards: u16,
    images: u64,
    captioned: u64,
    /// Shards that nobody answers for: their images are not counted.
    missing_shards: Vec<u16>,
}

pub(crate) async fn run(shared: Shared) -> anyhow::Result<Done> {
    let bus = shared.connect().await?;
    bus.provision().await?;
    let mut collections = Vec::new();
    for record in Collections::open(&bus).await?.list().await? {
        collections.push(gallery(&bus, record).await);
    }
    let queues = queues(&bus).await?.into_iter();
    let backlog = queues.map(|queue| (queue.name, queue.backlog)).collect();
    let workers = bus.workers().await?;
    let dead_letters = DeadLetters::open(&bus).await?.count().await?;
    let status = Status { collections, backlog, workers, dead_letters };
    if shared.json {
        say_json(&status)?;
    } else {
        show(&status);
    }
    Ok(Done::Fully)
}

async fn gallery(bus: &Bus, record: CollectionRecord) -> Gallery {
    let totals = weimocir_client::Gallery::new(bus, record.clone()).totals().await;
    let CollectionRecord { name, shards, model, fields } = record;
    let Totals { images, captioned, missing_shards } = totals;
    Gallery { name, model, fields, shards, images, captioned, missing_shards }
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
        let facts = alive.first().map_or_else(String::new, |worker| {
            worker.facts.iter().map(|(key, value)| format!(" {key}={value}")).collect()
        });
        say(format_args!("{name:<16} {} alive{facts}", alive.len()));
    }
    say(format_args!("dead letters: {}", status.dead_letters));
}
