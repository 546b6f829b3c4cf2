//! `weimocir delete`: images leave the gallery, and stay away from whatever is still in the queue.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use weimocir_client::Gallery;
use weimocir_domain::ImageId;
use weimocir_runtime::Collections;
use weimocir_wire::{subjects, work::DeleteImage};

use crate::{Done, PATIENCE, Shared, say, say_json};

#[derive(Debug, clap::Args)]
pub(crate) struct DeleteArgs {
    /// Image ids
    #[arg(value_name = "ID", required = true)]
    images: Vec<ImageId>,
}

pub(crate) async fn run(args: DeleteArgs, shared: Shared) -> anyhow::Result<Done> {
    let bus = shared.connect().await?;
    let collections = Collections::open(&bus).await?;
    let record = collections.get(&shared.collection).await?;
    let gallery = Gallery::new(&bus, record).following(&collections);
    let (mut deleted, mut unknown) = (Vec::new(), Vec::new());
    for image in args.images {
        let was_there = gallery.certain_state(image).await?.image.is_some();
        forget(&gallery, image).await?;
        if was_there { &mut deleted } else { &mut unknown }.push(image);
    }
    if shared.json {
        say_json(&serde_json::json!({ "deleted": deleted, "unknown": unknown }))?;
    } else {
        deleted.iter().for_each(|image| say(format_args!("deleted {image}")));
        unknown.iter().for_each(|image| say(format_args!("unknown {image}")));
    }
    match (deleted.is_empty(), unknown.first()) {
        (_, None) => Ok(Done::Fully),
        (false, Some(_)) => Ok(Done::Partly),
        (true, Some(image)) => Err(weimocir_wire::search::Refusal::new(
            weimocir_wire::search::RefusalCode::UnknownImage,
            format!("there is no image {image} in the collection `{}`", gallery.collection.name),
        )
        .into()),
    }
}

/// Submits the deletion, and waits until the store has heard of it.
pub(crate) async fn forget(gallery: &Gallery, image: ImageId) -> anyhow::Result<()> {
    let message = DeleteImage { collection: gallery.collection.name.clone(), image };
    let revision = gallery.bus.submit(subjects::DELETE, &message).await?;
    let until = Instant::now() + PATIENCE;
    while gallery.certain_state(image).await?.tombstone < Some(revision) {
        anyhow::ensure!(
            Instant::now() < until,
            "the deletion of {image} waits: is a store worker running?"
        );
        sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}
