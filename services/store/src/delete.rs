//! Deletions become tombstones in the log, which every replica then applies.

use std::{sync::Arc, time::Duration};

use weimocir_runtime::{
    Bus, CancellationToken, CollectionError, Collections, Delivery, Failure, Pull, work,
};
use weimocir_wire::{
    names::{DELETE_DURABLE, WORK_STREAM},
    subjects,
    vectors::Tombstone,
    work::DeleteImage,
};

/// The queue of deletions.
pub fn deletions() -> Pull {
    Pull {
        step: "delete",
        stream: WORK_STREAM,
        durable: DELETE_DURABLE.into(),
        subject: subjects::DELETE.into(),
        // because: a deletion is three short requests to the server, and seldom urgent
        in_flight: 16,
        ack_wait: Duration::from_secs(30),
        waits: false,
    }
}

pub(crate) async fn run(bus: Bus, shutdown: CancellationToken) -> anyhow::Result<()> {
    let collections = Collections::open(&bus).await?;
    let handler = {
        let bus = bus.clone();
        move |delivery| delete(bus.clone(), collections.clone(), delivery)
    };
    work(&bus, deletions(), handler, &shutdown).await?;
    Ok(())
}

async fn delete(
    bus: Bus,
    collections: Collections,
    delivery: Arc<Delivery>,
) -> Result<(), Failure> {
    let DeleteImage { collection, image } = delivery.decode()?;
    let record = collections.lately(&collection).await.map_err(|e| match e {
        CollectionError::Bus(e) => Failure::retry(e),
        gone => Failure::reject(gone),
    })?;
    let shard = image.shard(record.shards);
    let revision = delivery.revision();
    let tombstone = Tombstone { image, revision };
    // because: what is deleted is not to come back with a generation that serves again
    let generations = collections.generations_lately(&collection).await.map_err(Failure::retry)?;
    let others = generations.iter().filter(|other| !other.dropped).map(|other| &other.name);
    let serving = record.generation();
    for log in std::iter::once(serving).chain(others.filter(|name| *name != serving)) {
        let place = (shard, subjects::Part::Tombstone);
        let submitted = bus.submit_part(log, image, place, (revision, &tombstone)).await;
        submitted.map_err(Failure::retry)?;
        bus.purge_image(log, shard, image, revision).await.map_err(Failure::retry)?;
    }
    Ok(())
}
