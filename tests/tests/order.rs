//! Parts come late, twice and in the wrong order; the log and the gallery end up the same.

use std::time::Duration;

use weimocir_catalogue::Split;
use weimocir_domain::{Collection, ImageId, ModelId, Revision, Shard};
use weimocir_runtime::{Bus, Collections, DeadLetters, ShardLog};
use weimocir_tests::{Pipeline, render};
use weimocir_wire::{
    Encoding, Vector, decode,
    subjects::Part,
    vectors::{ImagePart, Tombstone},
};

fn image() -> ImageId {
    ImageId::of(b"a picture")
}

async fn put(bus: &Bus, revision: u64) -> anyhow::Result<()> {
    let part = ImagePart {
        image: image(),
        revision: Revision(revision),
        model: ModelId::new("m"),
        embedding: Vector(vec![1.0, revision as f32]),
        source: format!("revision {revision}"),
        metadata: Default::default(),
    };
    let place = (Shard(0), Part::Image);
    Ok(bus.submit_part(&Collection::default(), image(), place, (part.revision, &part)).await?)
}

async fn bury(bus: &Bus, revision: u64) -> anyhow::Result<()> {
    let (collection, revision) = (Collection::default(), Revision(revision));
    let tombstone = Tombstone { image: image(), revision };
    let place = (Shard(0), Part::Tombstone);
    bus.submit_part(&collection, image(), place, (revision, &tombstone)).await?;
    Ok(bus.purge_image(&collection, Shard(0), image(), revision).await?)
}

/// What the log says of images, from the beginning.
async fn sources(bus: &Bus) -> anyhow::Result<Vec<String>> {
    let mut log = ShardLog::open(bus, &Collection::default(), Shard(0)).await?;
    log.follow_after(0);
    let mut sources = Vec::new();
    let mut position = 0;
    while position < log.identity().last_sequence {
        for entry in log.next_entries(100).await? {
            position = entry.sequence;
            if Part::of_subject(&entry.subject) == Some(Part::Image) {
                sources.push(decode::<ImagePart>(&entry.payload, Encoding::MessagePack)?.source);
            }
        }
    }
    Ok(sources)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_keeps_the_newest_revision_whatever_comes_last() -> anyhow::Result<()> {
    let pipeline = Pipeline::bare().await?;
    let bus = pipeline.bus().await?;
    bus.provision().await?;
    Collections::open(&bus).await?.ensure(&Collection::default(), 1).await?;

    for revision in [10, 20, 10, 20, 15] {
        put(&bus, revision).await?;
    }
    assert_eq!(sources(&bus).await?, ["revision 20"]);

    // a deletion that is older than what is there removes nothing, however often it comes
    bury(&bus, 18).await?;
    bury(&bus, 18).await?;
    assert_eq!(sources(&bus).await?, ["revision 20"]);
    bury(&bus, 30).await?;
    assert_eq!(sources(&bus).await?, Vec::<String>::new());
    put(&bus, 40).await?;
    bury(&bus, 30).await?;
    assert_eq!(sources(&bus).await?, ["revision 40"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_of_the_log_goes_on_where_it_was_after_the_server_was_away() -> anyhow::Result<()>
{
    let pipeline = Pipeline::bare().await?;
    let bus = pipeline.bus().await?;
    bus.provision().await?;
    Collections::open(&bus).await?.ensure(&Collection::default(), 1).await?;
    let mut log = ShardLog::open(&bus, &Collection::default(), Shard(0)).await?;
    log.follow_after(0);

    let mut read = Vec::new();
    for round in 1..=3_u64 {
        for revision in round * 10..round * 10 + 5 {
            put(&bus, revision).await?;
            let expected = revision;
            let until = tokio::time::Instant::now() + Duration::from_secs(60);
            while read.last() != Some(&expected) && tokio::time::Instant::now() < until {
                for entry in log.next_entries(100).await.unwrap_or_default() {
                    read.push(
                        decode::<ImagePart>(&entry.payload, Encoding::MessagePack)?.revision.0,
                    );
                }
            }
        }
        pipeline.restart_server().await?;
    }
    assert_eq!(read, [10, 11, 12, 13, 14, 20, 21, 22, 23, 24, 30, 31, 32, 33, 34]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn new_metadata_leave_captions_alone_and_are_taken_once() -> anyhow::Result<()> {
    let (pipeline, _workers) = Pipeline::complete().await?;
    let folder = pipeline.folder().join("pictures");
    let gallery = render(Split::Validation, 2, 96, &folder)?;
    let name = &gallery.pictures[0].name;
    let file = |name: &str| folder.join(name).display().to_string();
    std::fs::write(file("captions.json"), serde_json::json!({ name: ["mine"] }).to_string())?;
    std::fs::write(file("metadata.json"), serde_json::json!({ name: { "price": 3 } }).to_string())?;
    let (path, captions, metadata) = (file(""), file("captions.json"), file("metadata.json"));
    let ingest = async |more: &[&str]| {
        let args = [&["ingest", path.as_str(), "--wait", "--json"], more].concat();
        pipeline.weimocir(&args).await?.json()
    };
    assert_eq!(ingest(&["--captions", &captions]).await?["submitted"], 2);
    assert_eq!(ingest(&["--captions", &captions]).await?["already_there"], 2);
    assert_eq!(ingest(&["--metadata", &metadata]).await?["submitted"], 1);
    assert_eq!(ingest(&["--metadata", &metadata]).await?["already_there"], 2);

    let bytes = std::fs::read(file(&format!("{name}.png")))?;
    let id = ImageId::of(&bytes).to_string();
    let image = pipeline.weimocir(&["get", &id, "--json"]).await?.json()?;
    assert_eq!((&image["captions"][0], &image["metadata"]["price"]), (&"mine".into(), &3.into()));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_of_a_part_never_goes_over_a_newer_one() -> anyhow::Result<()> {
    let pipeline = Pipeline::bare().await?;
    let bus = pipeline.bus().await?;
    bus.provision().await?;
    Collections::open(&bus).await?.ensure(&Collection::default(), 1).await?;
    put(&bus, 10).await?;
    let mut log = ShardLog::open(&bus, &Collection::default(), Shard(0)).await?;
    log.follow_after(0);
    let old = log.next_entries(1).await?.remove(0);
    bus.bury_log_entry("store", &old, "the disk was full").await?;
    let letters = DeadLetters::open(&bus).await?;

    // the part is still the newest: it comes again
    letters.retry(1).await?;
    assert_eq!(sources(&bus).await?, ["revision 10"]);
    assert_eq!(letters.after(0).await?.len(), 0);
    assert_eq!(log.next_entries(1).await?.len(), 1, "the store would never see it again");

    // there is a newer one, and then a deletion: the letter stays, the log too
    bus.bury_log_entry("store", &old, "the disk was full").await?;
    put(&bus, 20).await?;
    let refused = letters.retry(2).await.unwrap_err().to_string();
    assert!(refused.contains("newer"), "{refused}");
    assert_eq!(sources(&bus).await?, ["revision 20"]);
    bury(&bus, 30).await?;
    let refused = letters.retry(2).await.unwrap_err().to_string();
    assert!(refused.contains("deleted"), "{refused}");
    assert_eq!(sources(&bus).await?.len(), 0);
    assert_eq!(letters.after(0).await?.len(), 1);
    Ok(())
}
