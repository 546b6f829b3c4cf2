//! Backups of a running pipeline, restored into other servers: the same answers, and a life that goes
//! on; and files that are not what was written, of which nothing is applied.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::Context;
use serde_json::Value;
use weimocir_catalogue::Split;
use weimocir_domain::{ImageId, ModelId};
use weimocir_runtime::Collections;
use weimocir_tests::{Kind, Outcome, Pipeline, Worker, render, until};
use weimocir_wire::names;

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
    let full = first.weimocir_with_full_disk(8, &["backup", "--to", &to("full.tar")]).await?;
    refused(full, 1, "cannot write");
    let left: Vec<_> = std::fs::read_dir(first.folder())?
        .filter_map(|file| file.ok()?.file_name().into_string().ok())
        .filter(|name| name.contains("backup") || name.ends_with(".tar"))
        .collect();
    assert_eq!(left, ["b.tar"], "something is left of a backup that failed");

    // a picture that the object store has no more is told, and the rest is backed up
    let bucket = async_nats::jetstream::new(async_nats::connect(first.url()).await?);
    let bucket = bucket.get_object_store(names::IMAGES_BUCKET).await?;
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
