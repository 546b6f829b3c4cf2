//! Searches among the images whose metadata a filter lets through.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use weimocir_catalogue::Split;
use weimocir_domain::Collection;
use weimocir_runtime::Collections;
use weimocir_tests::{Outcome, Pipeline, Worker, render, until};
use weimocir_wire::{
    search::{Refusal, RefusalCode, SearchAnswer, SearchRequest},
    subjects,
};

/// One of them is refused.
const PICTURES: usize = 13;

struct Ready {
    pipeline: Pipeline,
    _workers: Vec<Worker>,
    names: Vec<String>,
    folder: String,
}

impl Ready {
    /// Three shards of pictures with metadata: number n is red, blue or green by turns, has the
    /// price 2.5 · n, and only every second one says whether it is on sale.
    async fn new() -> anyhow::Result<Self> {
        let (pipeline, workers) = Pipeline::complete().await?;
        let folder = pipeline.folder().join("pictures");
        let gallery = render(Split::Validation, PICTURES, 96, &folder)?;
        let names: Vec<String> = gallery.pictures.into_iter().map(|picture| picture.name).collect();
        let mut table = serde_json::Map::new();
        for (n, name) in names.iter().enumerate() {
            let colour = ["red", "blue", "green"][n % 3];
            let mut facts = json!({
                "colour": [colour, "any"],
                "price": n as f64 * 2.5,
                "made": format!("2026-01-{:02}T12:00:00Z", n + 1),
                "shop": format!("shop {}", n % 2),
            });
            if n % 2 == 0 {
                facts["sale"] = json!(n % 4 == 0);
            }
            if n == PICTURES - 1 {
                facts["price"] = json!("cheap");
            }
            table.insert(name.clone(), facts);
        }
        let metadata = pipeline.folder().join("metadata.json");
        std::fs::write(&metadata, serde_json::to_vec(&table)?)?;
        let (folder, metadata) = (folder.display().to_string(), metadata.display().to_string());
        let ready = Self { pipeline, _workers: workers, names, folder };
        let fields = ["colour:keyword", "price:float", "made:timestamp", "sale:boolean"];
        let fields: Vec<&str> = fields.iter().flat_map(|field| ["--field", field]).collect();
        let args =
            ["ingest", &ready.folder, "--metadata", &metadata, "--no-captions", "--shards", "3"];
        let args = [&args[..], &fields, &["--wait", "--json"]].concat();
        let outcome = ready.pipeline.weimocir(&args).await?;
        let summary = outcome.json_of_any()?;
        assert_eq!((outcome.code, &summary["searchable"]), (3, &12.into()), "{summary}");
        let refused = &summary["refused"][0];
        assert!(refused["source"].as_str().is_some_and(|s| s.contains(&ready.names[12])));
        assert_eq!(
            refused["reason"],
            "its field `price` is \"cheap\", which is no float: expected a number"
        );
        Ok(ready)
    }

    /// Searches with the arguments, and gives the numbers of the pictures found.
    async fn found(&self, args: &[&str]) -> anyhow::Result<BTreeSet<usize>> {
        let answer = self.search(args).await?;
        let candidates = answer["candidates"].as_array().map(Vec::as_slice).unwrap_or_default();
        let found: BTreeSet<usize> = candidates.iter().filter_map(|c| self.number(c)).collect();
        assert_eq!(found.len(), candidates.len(), "{answer}");
        Ok(found)
    }

    async fn search(&self, args: &[&str]) -> anyhow::Result<Value> {
        let args = [&["search", "a red dress", "-k", "100", "--json"], args].concat();
        self.pipeline.weimocir(&args).await?.json()
    }

    fn number(&self, candidate: &Value) -> Option<usize> {
        let source = candidate["source"].as_str()?;
        self.names.iter().position(|name| source.ends_with(&format!("{name}.png")))
    }

    /// Declares another field, by an ingest that brings nothing else that is new.
    async fn declare(&self, field: &str) -> anyhow::Result<Outcome> {
        let args = ["ingest", &self.folder, "--no-captions", "--json", "--field", field];
        self.pipeline.weimocir(&args).await
    }

    async fn refused(&self, args: &[&str]) -> anyhow::Result<String> {
        let outcome = self.pipeline.weimocir(&[&["search", "a hat"], args].concat()).await?;
        assert_ne!(outcome.code, 0, "{}", outcome.stdout);
        Ok(outcome.stderr)
    }
}

fn set(numbers: impl IntoIterator<Item = usize>) -> BTreeSet<usize> {
    numbers.into_iter().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_finds_what_the_metadata_say_and_nothing_else() -> anyhow::Result<()> {
    let ready = Ready::new().await?;
    let all = 0..12;
    for (filter, expected) in [
        (json!({ "field": "colour", "is": "any" }), set(all.clone())),
        (
            json!({ "field": "colour", "in": ["red", "green", "pink"] }),
            set(all.clone().filter(|n| n % 3 != 1)),
        ),
        (json!({ "field": "price", "range": { "gte": 5, "lt": 12.5 } }), set([2, 3, 4])),
        (json!({ "field": "made", "range": { "gt": "2026-01-11T13:00:00+01:00" } }), set([11])),
        (json!({ "field": "sale", "is": true }), set([0, 4, 8])),
        (json!({ "not": { "field": "sale", "is": true } }), set([1, 2, 3, 5, 6, 7, 9, 10, 11])),
        (json!({ "field": "sale", "exists": false }), set([1, 3, 5, 7, 9, 11])),
        (
            json!({ "and": [
                { "field": "colour", "is": "red" },
                { "or": [{ "field": "price", "is": 0 }, { "field": "sale", "is": false }] },
            ] }),
            set([0, 6]),
        ),
        (json!({ "field": "colour", "is": "pink" }), set([])),
    ] {
        let filter = filter.to_string();
        assert_eq!(ready.found(&["--filter", &filter]).await?, expected, "{filter}");
    }
    let short = ["--where", "colour!=red", "--where", "price<=10", "--where", "sale=false"];
    assert_eq!(ready.found(&short).await?, set([2]));

    // the best of those that may be found, without what is excluded, and no longer once deleted
    let red = ["--where", "colour=red"];
    let answer = ready.search(&red).await?;
    assert_eq!((&answer["images"], &answer["partial"]), (&4.into(), &false.into()));
    let first = &answer["candidates"][0];
    let best = first["image"].as_str().unwrap_or_default();
    let mut rest = set([0, 3, 6, 9]);
    rest.remove(&ready.number(first).unwrap_or(PICTURES));
    assert_eq!(ready.found(&[&red[..], &["--exclude", best]].concat()).await?, rest);
    ready.pipeline.weimocir(&["delete", best]).await?;
    assert_eq!(ready.found(&red).await?, rest);

    // a reference is found with the rest unless it is kept out, which is the default
    let other = ready.search(&red).await?["candidates"][0].clone();
    let id = other["image"].as_str().unwrap_or_default();
    let by_picture = |more: &'static [&'static str]| {
        [&["search", "--id", id, "--where", "colour=red", "--json"], more].concat()
    };
    let kept = ready.pipeline.weimocir(&by_picture(&["--keep-reference"])).await?.json()?;
    let without = ready.pipeline.weimocir(&by_picture(&[])).await?.json()?;
    let count = |answer: &Value| answer["candidates"].as_array().map(Vec::len);
    assert_eq!((count(&kept), count(&without)), (Some(3), Some(2)));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_filtered_by_is_refused_with_the_reason() -> anyhow::Result<()> {
    let ready = Ready::new().await?;
    for (args, why) in [
        (
            ["--where", "size=L"],
            "there is no field `size` to filter by; there are: colour (keyword), made (timestamp), price (float), sale (boolean)",
        ),
        (["--where", "price<cheap"], "compares `price` with \"cheap\", and it is a float"),
        (["--filter", r#"{"field": "colour", "is": 3}"#], "compares `colour` with 3"),
        (
            ["--filter", r#"{"field": "price", "range": {"gte": 5, "lt": 5}}"#],
            "no value is at least 5 and less than 5",
        ),
        (["--filter", r#"{"field": "colour", "like": "r"}"#], "unknown field `like`"),
        (["--where", "price"], "such as price<20"),
    ] {
        let told = ready.refused(&args).await?;
        assert!(told.contains(why), "{args:?}: {told}");
    }
    let bus = ready.pipeline.bus().await?;
    let filter = serde_json::from_value(json!({ "field": "size", "is": "L" }))?;
    let request = SearchRequest {
        modifier: Some("a hat".into()),
        filter: Some(filter),
        ..SearchRequest::default()
    };
    let within = std::time::Duration::from_secs(10);
    let answer: Result<SearchAnswer, Refusal> = bus.ask(subjects::SEARCH, &request, within).await;
    assert_eq!(answer.unwrap_err().code, RefusalCode::Invalid);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_are_added_later_and_keep_their_kind() -> anyhow::Result<()> {
    let ready = Ready::new().await?;
    let changed = ready.declare("price:integer").await?;
    assert_eq!(changed.code, 1, "{}", changed.stdout);
    let why =
        "collection `default`: the field `price` is declared float, and cannot become integer";
    assert!(changed.stderr.contains(why), "{}", changed.stderr);

    // what is there already is found by a field that is declared now
    ready.declare("shop:keyword").await?;
    let collections = Collections::open(&ready.pipeline.bus().await?).await?;
    let declared = collections.get(&Collection::default()).await?.fields.to_string();
    assert_eq!(
        declared,
        "colour (keyword), made (timestamp), price (float), sale (boolean), shop (keyword)"
    );
    until("the stores' knowledge of the field", || async {
        let args = ["search", "a hat", "--where", "shop=shop 1", "-k", "100", "--json"];
        let outcome = ready.pipeline.weimocir(&args).await?;
        let found = outcome.json_of_any()?["candidates"].as_array().map(Vec::len);
        Ok(outcome.code == 0 && found == Some(6))
    })
    .await
}
