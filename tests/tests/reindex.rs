//! A collection's model is changed while people search, submit and delete, and back again.

use std::{collections::BTreeMap, process::Stdio, time::Duration};

use anyhow::Context;
use async_nats::jetstream::{AckKind, consumer::PullConsumer};
use futures::StreamExt;
use serde_json::{Value, json};
use tokio::{
    process::Command,
    time::{Instant, MissedTickBehavior, interval},
};
use weimocir_catalogue::Split;
use weimocir_domain::{Collection, ImageId, ModelId, Revision, Shard};
use weimocir_runtime::{Bus, CancellationToken, Collections, DeadLetters, Pictures, ShardLog};
use weimocir_tests::{Kind, Outcome, Pipeline, Searching, Worker, program, render, tiny, until};
use weimocir_wire::{
    Encoding, decode,
    names::{ENCODE_DURABLE, LANES_STREAM, WORK_STREAM},
    search::{Refusal, SearchAnswer, SearchRequest},
    subjects::{self, Part},
    vectors::{CaptionsPart, ImagePart, Tombstone},
    work::{EncodeImage, Metadata},
};

/// Slow enough for everything else to happen meanwhile, one picture at a time, and fit for any searches.
const SLOW: &str = "simulated:250ms,64";
const QUICK: &str = "simulated:10ms,8";
const SHARDS: u16 = 2;
const PICTURES: usize = 40;

/// A collection of pictures with captions and metadata, and workers of two models.
struct Stage {
    pipeline: Pipeline,
    bus: Bus,
    workers: Vec<Worker>,
    ids: Vec<String>,
}

impl Stage {
    async fn new(other: &str) -> anyhow::Result<Self> {
        let (pipeline, mut workers) = Pipeline::complete().await?;
        let folder = pipeline.folder().join("pictures");
        let gallery = render(Split::Validation, PICTURES, 96, &folder)?;
        let facts = gallery.pictures.iter().zip(0..);
        let facts = facts.map(|(picture, n)| (picture.name.clone(), json!({ "price": n })));
        let metadata = pipeline.folder().join("metadata.json");
        std::fs::write(&metadata, Value::Object(facts.collect()).to_string())?;
        let [folder, metadata] = [folder, metadata].map(|path| path.display().to_string());
        let args = ["ingest", &folder, "--metadata", &metadata, "--field", "price:integer"];
        let args = [&args[..], &["--shards", "2", "--wait", "--json"]].concat();
        pipeline.weimocir(&args).await?.json()?;
        let bus = pipeline.bus().await?;
        let in_flight = if other == SLOW { "1" } else { "128" };
        let args = ["--model", other, "--encode-in-flight", in_flight];
        workers.push(pipeline.start(Kind::Encode, &args)?);
        pipeline.until_alive(Kind::Encode, 2).await?;
        let mut files: Vec<_> = std::fs::read_dir(&folder)?.collect::<Result<_, _>>()?;
        files.retain(|file| file.path().extension().is_some_and(|end| end == "png"));
        let ids =
            files.iter().map(|file| Ok(ImageId::of(&std::fs::read(file.path())?).to_string()));
        let ids = ids.collect::<anyhow::Result<_>>()?;
        Ok(Self { pipeline, bus, workers, ids })
    }

    async fn reindex(&self, args: &[&str]) -> anyhow::Result<Outcome> {
        self.pipeline.weimocir(&[&["reindex", "--json"], args].concat()).await
    }

    /// Begins a reindex that can be killed.
    fn begin(&self, model: &str) -> anyhow::Result<tokio::process::Child> {
        let mut command = Command::new(program("weimocir")?);
        command.args(["reindex", "--json", "--model", model]);
        command.env("WEIMOCIR_NATS", self.pipeline.url()).stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        Ok(command.spawn()?)
    }

    async fn words(&self, name: &Collection) -> anyhow::Result<Words> {
        Words::of(&self.bus, name).await
    }

    /// The name of the other model's generation.
    fn other(&self) -> Collection {
        Collection::default().generation(&ModelId::new("simulated"))
    }

    async fn serving(&self) -> anyhow::Result<Collection> {
        let collections = Collections::open(&self.bus).await?;
        Ok(collections.get(&Collection::default()).await?.generation().clone())
    }

    async fn search(&self) -> anyhow::Result<SearchAnswer> {
        Ok(self.bus.ask(subjects::SEARCH, &request(), Duration::from_secs(6)).await?)
    }

    /// Submits 20 pictures a second until told to stop, and says how many.
    async fn feed(&self, stop: &CancellationToken) -> anyhow::Result<u64> {
        let pictures = Pictures::open(&self.bus).await?;
        let mut clock = interval(Duration::from_millis(50));
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut submitted = 0;
        while !stop.is_cancelled() {
            clock.tick().await;
            let image = pictures.put(&tiny(1_000 + submitted)).await?;
            let (collection, source) = (Collection::default(), submitted.to_string());
            let work = EncodeImage { collection, image, source, metadata: Metadata::new() };
            self.bus.submit(subjects::ENCODE_IMAGE, &work).await?;
            submitted += 1;
        }
        Ok(submitted.into())
    }

    fn searching(&self) -> Searching {
        Searching::start(self.bus.clone(), request())
    }
}

/// What a generation's logs say, without the vectors.
#[derive(Debug, Default, PartialEq)]
struct Words {
    images: BTreeMap<ImageId, (Revision, String, Value)>,
    captions: BTreeMap<ImageId, (Revision, Vec<String>)>,
    deletions: BTreeMap<ImageId, Revision>,
    models: BTreeMap<String, usize>,
    /// Where the logs have an image's part.
    places: BTreeMap<ImageId, u64>,
}

impl Words {
    async fn of(bus: &Bus, name: &Collection) -> anyhow::Result<Self> {
        let mut words = Self::default();
        for shard in 0..SHARDS {
            let mut log = ShardLog::open(bus, name, Shard(shard)).await?;
            while let Some(entries) = log.next_to_end(500).await? {
                for entry in entries {
                    words.read(&entry.subject, &entry.payload, entry.sequence)?;
                }
            }
        }
        Ok(words)
    }

    fn read(&mut self, subject: &str, payload: &[u8], sequence: u64) -> anyhow::Result<()> {
        match Part::of_subject(subject) {
            Some(Part::Image) => {
                let part: ImagePart = decode(payload, Encoding::MessagePack)?;
                *self.models.entry(part.model.to_string()).or_default() += 1;
                self.places.insert(part.image, sequence);
                let word = (part.revision, part.source, Value::Object(part.metadata));
                self.images.insert(part.image, word);
            }
            Some(Part::Captions) => {
                let part: CaptionsPart = decode(payload, Encoding::MessagePack)?;
                *self.models.entry(part.model.to_string()).or_default() += 1;
                let texts = part.captions.into_iter().map(|caption| caption.text).collect();
                self.captions.insert(part.image, (part.revision, texts));
            }
            _ => {
                let part: Tombstone = decode(payload, Encoding::MessagePack)?;
                self.deletions.insert(part.image, part.revision);
            }
        }
        Ok(())
    }

    /// The same words, of whatever model.
    fn are(&self, other: &Self) -> bool {
        (&self.images, &self.captions, &self.deletions)
            == (&other.images, &other.captions, &other.deletions)
    }
}

fn request() -> SearchRequest {
    SearchRequest { modifier: Some("a red dress".into()), k: Some(3), ..SearchRequest::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_is_changed_and_changed_back_while_everything_goes_on() -> anyhow::Result<()> {
    let stage = Stage::new(SLOW).await?;
    let (own, other) = (Collection::default(), stage.other());
    let before = stage.search().await?;
    let searching = stage.searching();
    let meanwhile = async {
        until("the first words", async || {
            let collections = Collections::open(&stage.bus).await?;
            Ok(collections.record(&stage.other()).await.is_ok()
                && !stage.words(&stage.other()).await?.images.is_empty())
        })
        .await?;
        let more = stage.pipeline.folder().join("more");
        std::fs::create_dir(&more)?;
        (0..4).try_for_each(|n| std::fs::write(more.join(format!("{n}.png")), tiny(n)))?;
        let more = more.display().to_string();
        stage.pipeline.weimocir(&["ingest", &more, "--wait", "--json"]).await?.json()?;
        let delete = ["delete", &stage.ids[0], &stage.ids[1], "--json"];
        stage.pipeline.weimocir(&delete).await?.json()?;
        anyhow::ensure!(stage.serving().await? == own, "it was too quick for what came meanwhile");
        Ok(())
    };
    let change = ["--model", SLOW];
    let (outcome, meanwhile) = tokio::join!(stage.reindex(&change), meanwhile);
    meanwhile?;
    let told = outcome?.json()?;
    let images = PICTURES + 4 - 2;
    assert_eq!((&told["model"], &told["given_up"]), (&"simulated".into(), &0.into()), "{told}");
    assert_eq!((&told["images"], &told["captioned"]), (&images.into(), &images.into()), "{told}");

    let (old, new) = (stage.words(&own).await?, stage.words(&other).await?);
    assert!(old.are(&new), "{old:?}\n{new:?}");
    assert_eq!((new.images.len(), new.deletions.len()), (images, 2));
    assert!(new.models.keys().eq(["simulated"]), "{:?}", new.models);
    assert!(old.models.keys().all(|model| model.starts_with("bundled-clip")), "{:?}", old.models);
    let answer = stage.search().await?;
    assert_eq!((answer.model.as_str(), answer.images), ("simulated", images as u64));
    assert_eq!(answer.collection, own);

    // it is one collection still, and the gallery knows both models
    let status = stage.pipeline.weimocir(&["status", "--json"]).await?.json()?;
    let collections = status["collections"].as_array().cloned().unwrap_or_default();
    assert_eq!((collections.len(), &collections[0]["model"]), (1, &"simulated".into()), "{status}");
    assert_eq!(collections[0]["other_models"], json!([before.model]), "{status}");
    assert_eq!(status["dead_letters"], 0, "{status}");

    // what comes now is the new model's, and of the former one again after the way back
    let late = stage.pipeline.folder().join("late");
    std::fs::create_dir(&late)?;
    std::fs::write(late.join("late.png"), tiny(99))?;
    let late = late.display().to_string();
    stage.pipeline.weimocir(&["ingest", &late, "--wait", "--json"]).await?.json()?;
    stage.pipeline.weimocir(&["delete", &stage.ids[2], "--json"]).await?.json()?;
    let record = stage.pipeline.weimocir(&["get", &stage.ids[3], "--json"]).await?.json()?;
    assert_eq!((&record["model"], &record["collection"]), (&"simulated".into(), &"default".into()));
    let deleted: ImageId = stage.ids[2].parse()?;
    // because: the one that serves hears of a deletion first
    until("the deletion", async || Ok(!stage.words(&own).await?.images.contains_key(&deleted)))
        .await?;
    let gone_on = stage.words(&own).await?;
    let mut expected = old.images.clone();
    assert!(expected.remove(&deleted).is_some());
    assert_eq!(gone_on.images, expected, "the former generation has gone on");
    stage.reindex(&["--model", before.model.as_str()]).await?.json()?;
    let all = searching.stop().await?;
    assert!(all > 100, "only {all} searches");

    let (back, new) = (stage.words(&own).await?, stage.words(&other).await?);
    assert!(back.are(&new), "{back:?}\n{new:?}");
    assert_eq!((stage.serving().await?, stage.search().await?.model), (own, before.model));
    // only what differed was encoded
    let kept = old.places.iter().filter(|(image, _)| back.places.contains_key(image));
    assert!(kept.clone().all(|(image, place)| back.places[image] == *place));
    assert_eq!((kept.count(), back.places.len()), (images - 1, images));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_steady_feed_does_not_hold_a_change_up() -> anyhow::Result<()> {
    let stage = Stage::new(QUICK).await?;
    let stop = CancellationToken::new();
    let change = async {
        let change = ["--model", QUICK];
        let changed = tokio::time::timeout(Duration::from_secs(60), stage.reindex(&change)).await;
        stop.cancel();
        changed?
    };
    let (changed, submitted) = tokio::join!(change, stage.feed(&stop));
    let (told, submitted) = (changed?.json()?, submitted?);
    assert_eq!((&told["given_up"], &told["left_out"]), (&0.into(), &0.into()), "{told}");
    assert!(submitted > 20, "{submitted} pictures are no feed");
    let images = PICTURES as u64 + submitted;
    until("all that was submitted", async || Ok(stage.search().await?.images == images)).await?;
    let old = stage.words(&Collection::default()).await?;
    let new = stage.words(&stage.other()).await?;
    let lost = old.images.iter().filter(|&(id, word)| new.images.get(id) != Some(word));
    let lost: Vec<_> = lost.collect();
    assert!(lost.is_empty(), "{lost:?}");
    assert_eq!(new.images.len() as u64, images);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_deleted_before_the_change_is_not_found_after_it() -> anyhow::Result<()> {
    let stage = Stage::new(SLOW).await?;
    let (own, other) = (Collection::default(), stage.other());
    let deleted: ImageId = stage.ids[0].parse()?;
    let after_the_change = async {
        until("most words", async || {
            let collections = Collections::open(&stage.bus).await?;
            Ok(collections.record(&other).await.is_ok()
                && stage.words(&other).await?.images.len() > PICTURES / 2)
        })
        .await?;
        stage.pipeline.weimocir(&["delete", &stage.ids[0], "--json"]).await?.json()?;
        anyhow::ensure!(stage.serving().await? == own, "it was too quick for a deletion");
        until("the change", async || Ok(stage.serving().await? == other)).await?;
        let all = SearchRequest { k: Some(PICTURES), ..request() };
        let answer: Result<SearchAnswer, Refusal> =
            stage.bus.ask(subjects::SEARCH, &all, Duration::from_secs(6)).await;
        Ok(answer?)
    };
    let (changed, answer) = tokio::join!(stage.reindex(&["--model", SLOW]), after_the_change);
    let answer: SearchAnswer = answer?;
    changed?.json()?;
    assert_eq!((answer.model.as_str(), answer.candidates.len()), ("simulated", PICTURES - 1));
    assert!(answer.candidates.iter().all(|candidate| candidate.image != deleted), "{answer:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_moment_it_goes_on_where_it_was() -> anyhow::Result<()> {
    let stage = Stage::new(SLOW).await?;
    let (own, other) = (Collection::default(), stage.other());
    let searching = stage.searching();
    for some in [1, 10] {
        let mut killed = stage.begin(SLOW)?;
        until("some words", async || {
            let collections = Collections::open(&stage.bus).await?;
            Ok(collections.record(&other).await.is_ok()
                && stage.words(&other).await?.images.len() >= some)
        })
        .await?;
        killed.kill().await?;
        assert_eq!(stage.serving().await?, own, "it was too quick to be killed");
    }
    // once more in the moment of the change
    let mut killed = stage.begin(SLOW)?;
    until("the change", async || Ok(stage.serving().await? == other)).await?;
    killed.kill().await?;
    let told = stage.reindex(&["--model", SLOW]).await?.json()?;
    assert_eq!(told["images"], PICTURES, "{told}");
    searching.stop().await?;
    let (old, new) = (stage.words(&own).await?, stage.words(&other).await?);
    assert!(old.are(&new), "{old:?}\n{new:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_serve_can_be_dropped_and_made_again() -> anyhow::Result<()> {
    let stage = Stage::new(QUICK).await?;
    let (own, other) = (Collection::default(), stage.other());
    let nobody = stage.reindex(&["--model", "simulated:1ms,1"]).await?;
    let why = "no encode worker with the model `simulated:1ms,1` is alive";
    assert!(nobody.code == 5 && nobody.stderr.contains(why), "{nobody:?}");
    assert!(nobody.stderr.contains("weimocir-encode --model simulated:1ms,1"), "{nobody:?}");
    let bundled = stage.reindex(&["--model", "bundled"]).await?;
    assert!(bundled.code == 1 && bundled.stderr.contains("already"), "{bundled:?}");

    let before = stage.search().await?.model;
    stage.reindex(&["--model", QUICK]).await?.json()?;
    let disk = stage.pipeline.folder().join("store");
    assert!(disk.join("default").is_dir() && disk.join(other.as_str()).is_dir());
    let dropped = stage.reindex(&["--drop-old"]).await?.json()?;
    assert_eq!(dropped["dropped"], json!([before]), "{dropped}");
    assert!(ShardLog::open(&stage.bus, &own, Shard(0)).await.is_err(), "the log is there still");
    until("the store to let go", async || Ok(!disk.join("default").exists())).await?;
    assert_eq!(stage.search().await?.images, PICTURES as u64);
    let status = stage.pipeline.weimocir(&["status", "--json"]).await?.json()?;
    assert_eq!(status["collections"][0]["other_models"], json!([]), "{status}");
    let nothing = stage.reindex(&["--drop-old"]).await?.json()?;
    assert_eq!(nothing["dropped"], json!([]), "{nothing}");

    let again = stage.reindex(&["--model", "bundled"]).await?.json()?;
    assert_eq!(again["images"], PICTURES, "{again}");
    let (old, new) = (stage.words(&other).await?, stage.words(&own).await?);
    assert!(old.are(&new), "{old:?}\n{new:?}");
    assert_eq!((stage.search().await?.model, stage.serving().await?), (before, own));
    assert_eq!(DeadLetters::open(&stage.bus).await?.count().await?, 0);
    assert!(
        !stage.pipeline.log(Kind::Store).contains("ERROR"),
        "{}",
        stage.pipeline.log(Kind::Store)
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generation_is_no_collection_of_its_own() -> anyhow::Result<()> {
    let stage = Stage::new(QUICK).await?;
    stage.reindex(&["--model", QUICK]).await?.json()?;
    let other = stage.other().to_string();
    let folder = stage.pipeline.folder().join("pictures").display().to_string();
    for name in ["x--2", &other] {
        let taken = stage.pipeline.weimocir(&["ingest", &folder, "--collection", name]).await?;
        assert!(taken.code == 1 && taken.stderr.contains("without `--`"), "{taken:?}");
        let found = stage.pipeline.weimocir(&["search", "a hat", "--collection", name]).await?;
        assert!(found.code == 4 && found.stderr.contains("there are: default"), "{found:?}");
    }
    // fields are those of the collection, and a backup has what serves
    let fields = ["ingest", &folder, "--field", "shop:keyword", "--json"];
    stage.pipeline.weimocir(&fields).await?.json()?;
    let filtered = ["search", "a hat", "--where", "shop=x", "--json"];
    until("the stores to hear of the field", async || {
        let answer = stage.pipeline.weimocir(&filtered).await?;
        Ok(answer.code == 0 && answer.json()?["partial"] == false)
    })
    .await?;
    let file = stage.pipeline.folder().join("backup.tar").display().to_string();
    let backup = stage.pipeline.weimocir(&["backup", "--to", &file, "--json"]).await?.json()?;
    assert_eq!(backup["counts"]["images"], PICTURES, "{backup}");
    stage.pipeline.weimocir(&["restore", &file, "--as", "copy", "--json"]).await?.json()?;
    let collections = Collections::open(&stage.bus).await?;
    let copy = collections.get(&"copy".parse()?).await?;
    assert_eq!(copy.model, Some(ModelId::new("simulated")));
    assert_eq!(copy.serving, None);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_cannot_be_encoded_holds_nothing_up() -> anyhow::Result<()> {
    let stage = Stage::new(QUICK).await?;
    // because: to the new model a picture that is damaged is as good as one that it refuses
    let lost: ImageId = stage.ids[0].parse()?;
    let store = async_nats::jetstream::new(async_nats::connect(stage.pipeline.url()).await?);
    let pictures = store.get_object_store(weimocir_wire::names::IMAGES_BUCKET).await?;
    pictures.put(lost.to_string().as_str(), &mut &b"no picture"[..]).await?;
    let outcome = stage.reindex(&["--model", QUICK]).await?;
    let told = outcome.json_of_any()?;
    assert_eq!((outcome.code, &told["given_up"]), (3, &1.into()), "{told}");
    assert_eq!(told["images"], PICTURES - 1, "{told}");
    let letters = stage.pipeline.weimocir(&["dead", "list", "--json"]).await?.json()?;
    assert_eq!(letters.as_array().map(Vec::len), Some(1), "{letters}");
    assert_eq!(letters[0]["image"], lost.to_string(), "{letters}");
    assert_eq!(stage.search().await?.model.as_str(), "simulated");
    Ok(())
}

/// Submits tiny pictures.
async fn submit(bus: &Bus, to: &Collection, numbers: std::ops::Range<u32>) -> anyhow::Result<()> {
    let pictures = Pictures::open(bus).await?;
    for n in numbers {
        let image = pictures.put(&tiny(n)).await?;
        let (collection, source) = (to.clone(), n.to_string());
        let work = EncodeImage { collection, image, source, metadata: Metadata::new() };
        bus.submit(subjects::ENCODE_IMAGE, &work).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn work_for_a_model_without_workers_keeps_nobody_from_their_own() -> anyhow::Result<()> {
    let pipeline = Pipeline::bare().await?;
    let bus = pipeline.bus().await?;
    let (absent, own): (Collection, Collection) = ("absent".parse()?, "own".parse()?);
    let collections = Collections::open(&bus).await?;
    for name in [&absent, &own] {
        collections.ensure(name, SHARDS).await?;
    }
    let encoded = async |name: &Collection, count: usize| {
        until("the pictures", async || Ok(Words::of(&bus, name).await?.images.len() == count)).await
    };
    let bundled = pipeline.start(Kind::Encode, &[])?;
    pipeline.until_alive(Kind::Encode, 1).await?;
    submit(&bus, &absent, 0..1).await?;
    encoded(&absent, 1).await?;
    assert_eq!(bundled.stop().await?, 0);

    let jetstream = async_nats::jetstream::new(async_nats::connect(pipeline.url()).await?);
    let mut lanes = jetstream.get_stream(LANES_STREAM).await?.cached_info().config.clone();
    lanes.max_messages_per_subject = 2;
    jetstream.update_stream(lanes).await?;
    let other = pipeline.start(Kind::Encode, &["--model", QUICK, "--encode-in-flight", "2"])?;
    pipeline.until_alive(Kind::Encode, 1).await?;
    submit(&bus, &absent, 1..20).await?;
    submit(&bus, &own, 20..30).await?;
    encoded(&own, 10).await?;
    assert_eq!(bus.messages(LANES_STREAM).await?, 2, "the lane is full");
    until(
        "the others to wait where they were",
        async || Ok(bus.messages(WORK_STREAM).await? == 17),
    )
    .await?;

    // what waits is given back when its worker stops, and is passed on when there is room
    assert_eq!(other.stop().await?, 0);
    let log = pipeline.log(Kind::Encode);
    assert!(!log.contains("stopped before all work was finished"), "{log}");
    let _workers = [
        pipeline.start(Kind::Encode, &["--model", QUICK, "--encode-in-flight", "2"])?,
        pipeline.start(Kind::Encode, &[])?,
    ];
    encoded(&absent, 20).await?;
    assert_eq!(Words::of(&bus, &own).await?.images.len(), 10);
    assert_eq!(DeadLetters::open(&bus).await?.count().await?, 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_finishes_does_not_keep_the_former_generation_if_that_is_given_up()
-> anyhow::Result<()> {
    let mut stage = Stage::new(QUICK).await?;
    let own = Collection::default();
    let former = stage.search().await?.model;
    stage.reindex(&["--model", QUICK]).await?.json()?;
    stage.workers.clear();
    stage.pipeline.until_alive(Kind::Encode, 0).await?;

    // a picture that only the former generation has
    let image = ImageId::of(b"late");
    let mut log = ShardLog::open(&stage.bus, &own, Shard(0)).await?;
    let entries = log.next_to_end(500).await?.context("the log is empty")?;
    let mut parts =
        entries.iter().filter(|entry| Part::of_subject(&entry.subject) == Some(Part::Image));
    let part = parts.next().context("no picture")?;
    let part: ImagePart = decode(&part.payload, Encoding::MessagePack)?;
    let revision = Revision(1_000_000);
    let part = ImagePart { image, revision, ..part };
    let place = (image.shard(SHARDS), Part::Image);
    stage.bus.submit_part(&own, image, place, (revision, &part)).await?;

    // and a delivery that a worker has for ever
    submit(&stage.bus, &own, 0..1).await?;
    let jetstream = async_nats::jetstream::new(async_nats::connect(stage.pipeline.url()).await?);
    let queue: PullConsumer =
        jetstream.get_consumer_from_stream(ENCODE_DURABLE, WORK_STREAM).await?;
    let mut deliveries =
        queue.batch().max_messages(1).expires(Duration::from_secs(10)).messages().await?;
    let delivery = deliveries.next().await.context("nothing was delivered")?;
    let delivery = delivery.map_err(|error| anyhow::anyhow!("{error}"))?;
    let working = tokio::spawn(async move {
        let mut clock = interval(Duration::from_secs(5));
        while delivery.ack_with(AckKind::Progress).await.is_ok() {
            clock.tick().await;
        }
    });

    let (patience, began) = (8, Instant::now());
    let args = ["--drop-old", "--give-up", "--patience", &patience.to_string()];
    let outcome = tokio::time::timeout(Duration::from_secs(60), stage.reindex(&args)).await??;
    let (dropped, took) = (outcome.json_of_any()?, began.elapsed());
    assert!(!working.is_finished(), "the delivery was let go");
    working.abort();
    assert_eq!((outcome.code, &dropped["dropped"]), (3, &json!([former])), "{dropped}");
    let missing = ["given_up", "late", "ended_early"].map(|name| &dropped[name]);
    assert_eq!(missing, [&json!(0), &json!(1), &json!(true)], "{dropped}");
    // the picture was waited for, and then the delivery
    assert!(took > 2 * Duration::from_secs(patience), "{took:?}");
    assert!(ShardLog::open(&stage.bus, &own, Shard(0)).await.is_err(), "the log is there still");
    Ok(())
}
