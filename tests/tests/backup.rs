//! Backups of a running pipeline, restored into other servers: the same answers, and a life that goes
//! on; and files that are not what was written, of which nothing is applied.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::Context;
use async_nats::jetstream;
use serde_json::Value;
use tokio::{process::Command, sync::Mutex};
use weimocir_catalogue::Split;
use weimocir_domain::{Collection, ImageId, ModelId, Revision, Shard};
use weimocir_runtime::{Bus, CancellationToken, Collections, Delivery, Pull, work};
use weimocir_tests::{Kind, Outcome, Pipeline, Worker, program, render, until};
use weimocir_wire::{Encoding, encode, names, subjects, vectors::Tombstone, work::DeleteImage};

const FIRST: usize = 40;
/// Enough to keep captioners busy for longer than a backup takes.
const BESIDE: usize = 600;

fn path(path: &Path) -> String {
    path.display().to_string()
}

async fn workers(pipeline: &Pipeline) -> anyhow::Result<Vec<Worker>> {
    let workers: Result<_, _> =
        Kind::ALL.into_iter().map(|kind| pipeline.start(kind, &[])).collect();
    for kind in Kind::ALL {
        pipeline.until_alive(kind, 1).await?;
    }
    workers
}

async fn images(pipeline: &Pipeline) -> anyhow::Result<u64> {
    let status = pipeline.weimocir(&["status", "--json"]).await?.json()?;
    Ok(status["collections"][0]["images"].as_u64().unwrap_or_default())
}

/// Everything that three searches say of every image, best first: all as it is written, so that
/// equal means equal to the last digit.
async fn answers(pipeline: &Pipeline, collection: &str) -> anyhow::Result<Vec<Vec<Value>>> {
    let mut answers = Vec::new();
    for [modifier, weights @ ..] in [
        ["is green with a star", "--alpha", "0.6", "--beta", "0.2"],
        ["a red dress", "--alpha", "0.9", "--beta", "0.7"],
        ["has long sleeves and stripes", "--alpha", "0.5", "--beta", "0"],
    ] {
        let asked = ["search", modifier, "-k", "1000", "--json", "--collection", collection];
        let answer = pipeline.weimocir(&[&asked[..], &weights].concat()).await?.json()?;
        assert_eq!(answer["partial"], false, "{answer}");
        answers.push(answer["candidates"].as_array().cloned().unwrap_or_default());
    }
    Ok(answers)
}

async fn restore(pipeline: &Pipeline, file: &str, args: &[&str]) -> anyhow::Result<Outcome> {
    pipeline.weimocir(&[&["restore", file, "--json"], args].concat()).await
}

/// What a gallery says of the file's own picture.
async fn get(pipeline: &Pipeline, id: &str, collection: &str) -> anyhow::Result<Outcome> {
    pipeline.weimocir(&["get", id, "--json", "--collection", collection]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_gallery_answers_alike_and_lives_on() -> anyhow::Result<()> {
    let (first, mut at_work) = Pipeline::complete().await?;
    let (shown, beside) = (first.folder().join("first"), first.folder().join("beside"));
    render(Split::Test, FIRST, 64, &shown)?;
    render(Split::Validation, BESIDE, 64, &beside)?;
    let ingest = ["ingest", &path(&shown), "--wait", "--shards", "2", "--json"];
    let field = ["--field", "colour:keyword"];
    first.weimocir(&[&ingest[..], &field].concat()).await?.json()?;
    let [of_all, ..] = &answers(&first, "default").await?[..] else { panic!("no answers") };
    let id = |candidate: &Value| candidate["image"].as_str().unwrap_or_default().to_owned();
    let deleted = id(&of_all[7]);
    first.weimocir(&["delete", &deleted, "--json"]).await?.json()?;
    let of_first = answers(&first, "default").await?;
    assert_eq!(of_first[0].len(), FIRST - 1);

    // a backup beside an ingest has all that was there, and some of what was coming
    let backups = first.folder().join("backups");
    std::fs::create_dir(&backups)?;
    let (backed_up, ingested) = {
        let ingest = ["ingest", &path(&beside), "--wait", "--json"];
        let ingesting = first.weimocir(&ingest);
        let backing_up = async {
            until("the first of many", async || Ok(images(&first).await? > FIRST as u64)).await?;
            let backup = ["backup", "default", "--to", &path(&backups), "--json"];
            let backed_up = first.weimocir(&backup).await?.json()?;
            anyhow::Ok((backed_up, images(&first).await?))
        };
        let (backed_up, ingested) = tokio::join!(backing_up, ingesting);
        (backed_up?, ingested?.json()?)
    };
    let (backed_up, meanwhile) = backed_up;
    assert_eq!(ingested["searchable"], BESIDE);
    assert!(meanwhile < (FIRST - 1 + BESIDE) as u64, "the ingest was over: {meanwhile}");
    let file = backed_up["file"].as_str().unwrap_or_default().to_owned();
    assert_eq!(Path::new(&file).parent(), Some(&*backups));
    let of_first_all = answers(&first, "default").await?;

    // into a server whose workers wait already: their stream of revisions is at its beginning
    let second = Pipeline::bare().await?;
    let _second_at_work = workers(&second).await?;
    let restored = restore(&second, &file, &[]).await?.json()?;
    let counts = &backed_up["counts"];
    assert_eq!(restored["images"], counts["images"]);
    until("the restored gallery", async || Ok(images(&second).await? > FIRST as u64)).await?;
    until("all of it", async || {
        let images = images(&second).await?;
        Ok(Some(images) == counts["pictures"].as_u64())
    })
    .await?;
    let of_second = answers(&second, "default").await?;
    for ((second, all), old) in of_second.iter().zip(&of_first_all).zip(&of_first) {
        let all: BTreeMap<String, &Value> = all.iter().map(|one| (id(one), one)).collect();
        let second: BTreeMap<String, &Value> = second.iter().map(|one| (id(one), one)).collect();
        for candidate in old {
            assert_eq!(second.get(&id(candidate)), Some(&candidate));
        }
        // captions of those that were coming may be later than the backup
        for (id, candidate) in second {
            let now = all.get(&id).map(|one| (&one["s_img"], &one["source"]));
            assert_eq!(now, Some((&candidate["s_img"], &candidate["source"])));
        }
    }

    // the quiet gallery, whole, under another name, before there are workers
    let whole = path(&backups.join("whole.tar"));
    let backup = first.weimocir(&["backup", "--to", &whole, "--json"]).await?.json()?;
    let third = Pipeline::bare().await?;
    let restored = restore(&third, &whole, &["--as", "copy"]).await?.json()?;
    let parts = ["images", "captions", "tombstones"];
    let parts: u64 = parts.iter().filter_map(|part| backup["counts"][part].as_u64()).sum();
    assert_eq!(restored["parts"], parts);
    let _third_at_work = workers(&third).await?;
    let expected = (FIRST - 1 + BESIDE) as u64;
    until("the copy", async || Ok(images(&third).await? == expected)).await?;
    assert_eq!(answers(&third, "copy").await?, of_first_all);
    assert_eq!(get(&third, &deleted, "copy").await?.code, 4);
    let status = third.weimocir(&["status", "--json"]).await?.json()?;
    assert_eq!(status["collections"][0]["fields"]["colour"], "keyword", "{status}");

    // what is said from then on is newer: a deletion, and the same picture with other metadata
    let [gone, changed] = [id(&of_first[0][0]), id(&of_first[0][1])];
    let picture = |of: &str| {
        let found = of_first[0].iter().find(|one| id(one) == of);
        found.and_then(|one| one["source"].as_str()).unwrap_or_default().to_owned()
    };
    third.weimocir(&["delete", &gone, "--collection", "copy", "--json"]).await?.json()?;
    let name = picture(&changed).rsplit('/').next().unwrap_or_default().to_owned();
    let table = third.folder().join("metadata.json");
    std::fs::write(&table, serde_json::json!({ name: { "colour": "mauve" } }).to_string())?;
    let again = ["ingest", &picture(&changed), "--metadata", &path(&table), "--wait"];
    let again = third.weimocir(&[&again[..], &["--collection", "copy", "--json"]].concat()).await?;
    assert_eq!(again.json()?["searchable"], 1);

    // and the same file once more changes none of it
    for _ in 0..2 {
        let again = restore(&third, &whole, &["--as", "copy"]).await?.json()?;
        assert_eq!(again["parts"], 0);
        assert_eq!(get(&third, &gone, "copy").await?.code, 4);
        let record = get(&third, &changed, "copy").await?.json()?;
        assert_eq!(record["metadata"]["colour"], "mauve", "{record}");
    }
    let before = images(&third).await?;
    let again = ["ingest", &picture(&gone), "--wait", "--collection", "copy", "--json"];
    assert_eq!(third.weimocir(&again).await?.json()?["searchable"], 1);
    assert_eq!((before, images(&third).await?), (expected - 1, expected));
    at_work.clear();
    Ok(())
}

/// A small gallery's backup, and the pipeline that it is of.
async fn small() -> anyhow::Result<(Pipeline, Vec<Worker>, PathBuf)> {
    let (pipeline, workers) = Pipeline::complete().await?;
    let (pictures, file) = (pipeline.folder().join("pictures"), pipeline.folder().join("b.tar"));
    render(Split::Test, 5, 64, &pictures)?;
    pipeline.weimocir(&["ingest", &path(&pictures), "--wait", "--json"]).await?.json()?;
    let backup = pipeline.weimocir(&["backup", "--to", &path(&file), "--json"]).await?.json()?;
    assert_eq!(backup["counts"]["pictures"], 5);
    Ok((pipeline, workers, file))
}

fn a_picture(folder: &Path) -> anyhow::Result<PathBuf> {
    let files = std::fs::read_dir(folder)?.filter_map(|file| Some(file.ok()?.path()));
    let mut pictures = files.filter(|path| path.extension().is_some_and(|kind| kind == "png"));
    pictures.next().context("no picture")
}

/// Backups in a folder, those that are being written among them.
fn backups(folder: &Path) -> anyhow::Result<Vec<String>> {
    Ok(std::fs::read_dir(folder)?
        .filter_map(|file| file.ok()?.file_name().into_string().ok())
        .filter(|name| name.contains("backup") || name.ends_with(".tar"))
        .collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_file_that_is_not_as_it_was_written_nothing_is_applied() -> anyhow::Result<()> {
    let (first, _workers, file) = small().await?;
    let right = std::fs::read(&file)?;
    let end = right.len();
    let flipped = |at: usize| {
        let mut wrong = right.clone();
        wrong[at] ^= 1;
        wrong
    };
    let text = |from: &str, to: &str| {
        let mut wrong = right.clone();
        let at = wrong.windows(from.len()).position(|piece| piece == from.as_bytes());
        let at = at.unwrap_or_else(|| panic!("no {from}"));
        wrong[at..at + from.len()].copy_from_slice(to.as_bytes());
        wrong
    };
    let mut wrong: Vec<(String, Vec<u8>, &str)> = vec![
        ("nothing".into(), vec![], "is no backup"),
        (
            "a picture".into(),
            std::fs::read(a_picture(&first.folder().join("pictures"))?)?,
            "is no backup",
        ),
        ("of version 7".into(), text("\"version\": 1", "\"version\": 7"), "of version 7"),
        ("another format".into(), text("weimocir-backup", "weimocir-fooled"), "is no backup"),
        ("longer".into(), [&right[..], &[0; 512]].concat(), "is cut off"),
    ];
    for cut in [1, 511, 512, 1024, 1536, 2048, 4096, end / 2, end - 2560] {
        wrong.push((format!("without {cut} bytes"), right[..end - cut].to_vec(), "is cut off"));
    }
    // in the parts, the pictures, the padding, the contents, the digest, and the end
    for at in [2_000, end / 3, end / 2, end - 2_100, end - 2_000, end - 1_500, end - 1_100] {
        wrong.push((format!("bit {at}"), flipped(at), "was changed or damaged"));
    }
    wrong.push(("the last bit".into(), flipped(end - 1), "is cut off"));

    let target = Pipeline::bare().await?;
    for (what, bytes, reason) in wrong {
        let bad = target.folder().join("bad.tar");
        std::fs::write(&bad, bytes)?;
        let refused = restore(&target, &path(&bad), &[]).await?;
        let told = refused.json_of_any()?["error"].as_str().unwrap_or_default().to_owned();
        assert!(refused.code == 1 && told.contains(reason), "{what}: {refused:?}");
        assert_eq!(Collections::open(&target.bus().await?).await?.list().await?, [], "{what}");
    }
    restore(&target, &path(&file), &[]).await?.json()?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_written_or_joined_is_refused_with_its_reason() -> anyhow::Result<()> {
    let (first, _workers, file) = small().await?;
    let refused = |outcome: Outcome, code: i32, reason: &str| {
        assert!(outcome.code == code && outcome.stderr.contains(reason), "{reason}: {outcome:?}");
    };
    let to = |name: &str| path(&first.folder().join(name));
    refused(first.weimocir(&["backup", "shoes", "--to", &to("s.tar")]).await?, 4, "`shoes`");
    refused(first.weimocir(&["backup", "--to", &path(&file)]).await?, 1, "there is a file");
    refused(first.weimocir(&["backup", "--to", &to("no/b.tar")]).await?, 1, "cannot write into");
    refused(first.weimocir(&["backup", "--to", &to("no/")]).await?, 1, "there is no folder");
    let full = first.weimocir_with_full_disk(8, &["backup", "--to", &to("full.tar")]).await?;
    refused(full, 1, "cannot write");
    assert_eq!(backups(first.folder())?, ["b.tar"], "something is left of a backup that failed");

    // a picture that the object store has no more is told, and the rest is backed up
    let bucket = server(&first).await?.get_object_store(names::IMAGES_BUCKET).await?;
    let image = ImageId::of(&std::fs::read(a_picture(&first.folder().join("pictures"))?)?);
    bucket.delete(image.to_string()).await?;
    let partly = first.weimocir(&["backup", "--to", &to("partly.tar"), "--json"]).await?;
    let told = partly.json_of_any()?;
    assert_eq!((partly.code, &told["without_picture"]), (3, &serde_json::json!([image])));
    assert_eq!((&told["counts"]["images"], &told["counts"]["pictures"]), (&5.into(), &4.into()));

    let file = path(&file);
    refused(restore(&first, &to("none.tar"), &[]).await?, 1, "cannot read");
    // what a collection is cannot be changed, and another may be beside it
    let target = Pipeline::bare().await?;
    let bus = target.bus().await?;
    bus.provision().await?;
    let collections = Collections::open(&bus).await?;
    collections.ensure(&"default".parse()?, 3).await?;
    refused(restore(&target, &file, &[]).await?, 1, "of 3 shards, and the backup has 1");
    collections.ensure(&"strange".parse()?, 1).await?;
    collections.bind(&"strange".parse()?, &ModelId::new("another")).await?;
    refused(restore(&target, &file, &["--as", "strange"]).await?, 1, "of the model another");

    // submissions that wait must not be taken for older than what is restored
    let pictures = target.folder().join("pictures");
    render(Split::Validation, 1, 64, &pictures)?;
    let ingest = ["ingest", &path(&pictures), "--collection", "third", "--json"];
    target.weimocir(&ingest).await?.json()?;
    refused(restore(&target, &file, &["--as", "copy"]).await?, 1, "submissions and deletions wait");
    let _at_work = workers(&target).await?;
    let done = async || {
        let status = target.weimocir(&["status", "--json"]).await?.json()?;
        let empty =
            |step: &str| status["backlog"][step] == serde_json::json!({"waiting": 0, "in_work": 0});
        Ok(empty("encode image") && empty("caption"))
    };
    until("the work to be done", done).await?;
    restore(&target, &file, &["--as", "copy"]).await?.json()?;
    Ok(())
}

/// Does every deletion by writing down its revision.
async fn write_down(
    bus: Bus,
    done: Arc<Mutex<Vec<Revision>>>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let pull = Pull {
        step: "delete",
        stream: names::WORK_STREAM,
        durable: names::DELETE_DURABLE.into(),
        subject: subjects::DELETE.into(),
        in_flight: 16,
        ack_wait: Duration::from_secs(30),
        waits: false,
    };
    let handler = move |delivery: Arc<Delivery>| {
        let done = done.clone();
        async move {
            done.lock().await.push(delivery.revision());
            Ok(())
        }
    };
    Ok(work(&bus, pull, handler, &stop).await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_submitted_beside_a_restore_is_worked_on_once() -> anyhow::Result<()> {
    const RESTORES: u64 = 8;
    let pipeline = Pipeline::bare().await?;
    let (bus, beside) = (pipeline.bus().await?, pipeline.bus().await?);
    bus.provision().await?;
    let (done, stop) = (Arc::new(Mutex::new(Vec::new())), CancellationToken::new());
    let working = tokio::spawn(write_down(bus.clone(), done.clone(), stop.clone()));
    let deletion =
        DeleteImage { collection: Collection::default(), image: ImageId::of(b"a picture") };
    let (restored, came) = (CancellationToken::new(), AtomicUsize::new(0));
    let submitting = async {
        let mut submitted = Vec::new();
        while !restored.is_cancelled() {
            submitted.push(beside.submit(subjects::DELETE, &deletion).await?);
            came.fetch_add(1, Ordering::Relaxed);
        }
        anyhow::Ok(submitted)
    };
    let restoring = async {
        let mut newer = Vec::new();
        for last in (1..=RESTORES).map(|n| Revision(n * 1_000_000)) {
            bus.pass_revision(last).await?;
            let next = bus.submit(subjects::DELETE, &deletion).await?;
            assert!(next > last, "{next:?} comes behind {last:?}");
            newer.push(next);
            // because: who met a closed stream comes again only after a pause
            let before = came.load(Ordering::Relaxed);
            until("a submission", async || Ok(came.load(Ordering::Relaxed) > before)).await?;
        }
        restored.cancel();
        anyhow::Ok(newer)
    };
    let (submitted, newer) = tokio::try_join!(submitting, restoring)?;
    let mut expected = [submitted, newer].concat();
    expected.sort();
    until("all work", async || Ok(done.lock().await.len() >= expected.len())).await?;
    until("no work", async || {
        let backlog = bus.backlog(names::WORK_STREAM, names::DELETE_DURABLE).await?;
        Ok(backlog.waiting + backlog.in_work == 0)
    })
    .await?;
    stop.cancel();
    working.await??;
    let mut done = done.lock().await.clone();
    done.sort();
    assert_eq!(done, expected);
    Ok(())
}

/// The server as others than our programs reach it.
async fn server(pipeline: &Pipeline) -> anyhow::Result<jetstream::Context> {
    Ok(jetstream::new(async_nats::connect(pipeline.url()).await?))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_died_while_nothing_could_be_submitted_is_run_again() -> anyhow::Result<()> {
    let (_first, _first_at_work, file) = small().await?;
    let (second, _second_at_work) = Pipeline::complete().await?;
    second.weimocir(&["provision", "--json"]).await?.json()?;
    let server = server(&second).await?;
    let mut config = server.get_stream(names::WORK_STREAM).await?.cached_info().config.clone();
    let open = std::mem::replace(&mut config.subjects, vec!["weimocir.work.closed".to_owned()]);
    server.update_stream(&config).await?;
    restore(&second, &path(&file), &[]).await?.json()?;
    let now = server.get_stream(names::WORK_STREAM).await?.cached_info().config.clone();
    assert_eq!(now.subjects, open);
    let pictures = second.folder().join("pictures");
    render(Split::Validation, 1, 64, &pictures)?;
    let ingest = ["ingest", &path(&pictures), "--wait", "--json"];
    assert_eq!(second.weimocir(&ingest).await?.json()?["searchable"], 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_without_everything_says_so() -> anyhow::Result<()> {
    let (first, workers, _) = small().await?;
    // because: what is wrong on purpose is nothing for the stores
    drop(workers);
    let (server, collection) = (server(&first).await?, Collection::default());
    let subject =
        |image| subjects::vectors(&collection, Shard(0), image, subjects::Part::Tombstone);
    let other = ImageId::of(b"of another version");
    server.publish(subject(ImageId::of(b"no part")), "no part".into()).await?.await?;
    let to = |name: &str| path(&first.folder().join(name));
    let partly = first.weimocir(&["backup", "--to", &to("partly.tar"), "--json"]).await?;
    assert_eq!(partly.code, 3, "{partly:?}");
    let told = partly.json_of_any()?;
    assert_eq!((&told["left_out"], &told["counts"]["images"]), (&1.into(), &5.into()), "{told}");
    let target = Pipeline::bare().await?;
    assert_eq!(restore(&target, &to("partly.tar"), &[]).await?.json()?["images"], 5);

    let part = Tombstone { image: other, revision: Revision(1) };
    let part = encode(&part, Encoding::MessagePack)?;
    let stamp = b"\xa7version\x01";
    let at = part.windows(stamp.len()).position(|piece| piece == stamp).context("no version")?;
    let mut newer = part;
    newer[at + stamp.len() - 1] = 2;
    server.publish(subject(other), newer.into()).await?.await?;
    let failed = first.weimocir(&["backup", "--to", &to("newer.tar")]).await?;
    assert!(failed.code == 1 && failed.stderr.contains("has version 2"), "{failed:?}");
    assert!(!Path::new(&to("newer.tar")).exists());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_is_stopped_leaves_nothing() -> anyhow::Result<()> {
    let (first, _workers, _) = small().await?;
    // a picture without its bytes is read again and again
    let objects = server(&first).await?.get_stream(format!("OBJ_{}", names::IMAGES_BUCKET)).await?;
    objects.purge().filter(format!("$O.{}.C.>", names::IMAGES_BUCKET)).await?;
    let folder = tempfile::tempdir()?;
    for signal in ["-INT", "-TERM"] {
        let mut backup = Command::new(program("weimocir")?);
        backup.args(["backup", "--to", &path(folder.path())]).env("WEIMOCIR_NATS", first.url());
        let backup = backup.stderr(Stdio::piped()).kill_on_drop(true).spawn()?;
        until("a backup", async || Ok(!backups(folder.path())?.is_empty())).await?;
        let id = backup.id().context("it ended by itself")?.to_string();
        assert!(Command::new("kill").args([signal, &id]).status().await?.success());
        let ended = backup.wait_with_output().await?;
        let told = String::from_utf8_lossy(&ended.stderr);
        assert!(ended.status.code() == Some(1) && told.contains("stopped by a signal"), "{told}");
        assert_eq!(std::fs::read_dir(folder.path())?.count(), 0, "something is left");
    }
    Ok(())
}
