//! The best candidates looked at once more: by a model's matching head, and at other weights.

use std::{collections::BTreeMap, path::Path, time::Duration};

use anyhow::Context;
use serde::Deserialize;
use serde_json::json;
use weimocir_catalogue::Split;
use weimocir_domain::{Alpha, Beta, Candidate, ImageId};
use weimocir_runtime::Bus;
use weimocir_tests::{Kind, Pipeline, render};
use weimocir_wire::{
    search::{Reference, Refusal, RefusalCode, SearchAnswer, SearchRequest},
    subjects,
};

async fn ask(bus: &Bus, request: &SearchRequest) -> Result<SearchAnswer, Refusal> {
    bus.ask(subjects::SEARCH, request, Duration::from_secs(30)).await
}

fn by(rerank: serde_json::Value, request: &SearchRequest) -> anyhow::Result<SearchRequest> {
    Ok(SearchRequest { rerank: Some(serde_json::from_value(rerank)?), ..request.clone() })
}

fn images(candidates: &[Candidate]) -> Vec<ImageId> {
    candidates.iter().map(|candidate| candidate.image).collect()
}

/// Probabilities that Hugging Face's model gave for pairs of pictures and texts
/// (shared/models/tests/fixtures/make.py).
#[derive(Deserialize)]
struct Matching {
    pairs: Vec<(String, String)>,
    odds: Vec<f32>,
}

#[tokio::test(flavor = "multi_thread")]
async fn the_matching_head_orders_as_the_original_does() -> anyhow::Result<()> {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/models/tests/fixtures");
    let model = fixtures.join("blip_retrieval");
    let golden: Matching = serde_json::from_slice(&std::fs::read(model.join("matching.json"))?)?;
    let pipeline = Pipeline::bare().await?;
    let model = model.display().to_string();
    let _workers = [
        pipeline.start(Kind::Store, &[])?,
        pipeline.start(Kind::Query, &[])?,
        pipeline.start(Kind::Encode, &["--model", &model])?,
    ];
    for kind in [Kind::Store, Kind::Query, Kind::Encode] {
        pipeline.until_alive(kind, 1).await?;
    }
    let folder = pipeline.folder().join("pictures");
    std::fs::create_dir(&folder)?;
    let mut expected: BTreeMap<&str, BTreeMap<ImageId, f32>> = BTreeMap::new();
    for ((name, text), &odds) in golden.pairs.iter().zip(&golden.odds) {
        let picture = std::fs::read(fixtures.join("pictures").join(name))?;
        std::fs::write(folder.join(name), &picture)?;
        expected.entry(text).or_default().insert(ImageId::of(&picture), odds);
    }
    let folder = folder.display().to_string();
    let ingest = ["ingest", &folder, "--no-captions", "--wait", "--json"];
    assert_eq!(pipeline.weimocir(&ingest).await?.json()?["searchable"], 4);

    let bus = pipeline.bus().await?;
    for (text, odds) in &expected {
        let plain =
            SearchRequest { modifier: Some((*text).to_owned()), ..SearchRequest::default() };
        let request = by(json!({ "by": { "matching": { "weight": 1.0 } } }), &plain)?;
        let answer = ask(&bus, &request).await?;
        let found: Vec<f32> = answer.candidates.iter().filter_map(|c| c.rerank_score).collect();
        assert_eq!(found.len(), 4, "{answer:?}");
        assert!(found.is_sorted_by(|a, b| a >= b), "{found:?}");
        for candidate in &answer.candidates {
            let (found, expected) = (candidate.rerank_score, odds[&candidate.image]);
            let found = found.context("no score")?;
            assert!((found - expected).abs() < 1e-5, "{text}: {found} is not {expected}");
        }
        let reranked = answer.reranked.context("nothing is said of it")?;
        assert_eq!((reranked.top, reranked.images), (4, 4));

        // half of each by default
        let mixed = ask(&bus, &by(json!({ "by": { "matching": {} } }), &plain)?).await?;
        for candidate in &mixed.candidates {
            let expected = (candidate.similarity + odds[&candidate.image]) / 2.0;
            let found = candidate.rerank_score.context("no score")?;
            assert!((found - expected).abs() < 1e-5, "{text}: {found} is not {expected}");
        }

        // those beyond the best keep their order and have no new score
        let two = json!({ "by": { "matching": { "weight": 1.0 } }, "top": 2 });
        let (two, plain) = (ask(&bus, &by(two, &plain)?).await?, ask(&bus, &plain).await?);
        let scored: Vec<bool> = two.candidates.iter().map(|c| c.rerank_score.is_some()).collect();
        assert_eq!(scored, [true, true, false, false]);
        assert_eq!(images(&two.candidates[2..]), images(&plain.candidates[2..]));
        assert!(plain.reranked.is_none());
    }

    no_time(&bus).await?;
    let args = ["search", "blue", "--rerank", "matching=1", "--rerank-top", "3", "-k", "2"];
    let told = pipeline.weimocir(&args).await?;
    assert!(told.stdout.contains("reranked: 3 of the best 3, by matching, weight 1"), "{told:?}");
    Ok(())
}

/// Without time for it, the answer is the plain one and says so.
async fn no_time(bus: &Bus) -> anyhow::Result<()> {
    let plain = SearchRequest { modifier: Some("blue".into()), ..SearchRequest::default() };
    let at_once = json!({ "by": { "matching": {} }, "budget_ms": 0 });
    let (answer, plain_answer) = (ask(bus, &by(at_once, &plain)?).await?, ask(bus, &plain).await?);
    assert_eq!(images(&answer.candidates), images(&plain_answer.candidates));
    assert_eq!(answer.reranked.context("nothing is said of it")?.images, 0);
    let warning = "0 of the best 4 were reranked: there was no time for more";
    assert_eq!(answer.warnings, [warning]);

    let no_text = SearchRequest {
        modifier: None,
        reference: Some(Reference::Id(plain_answer.candidates[0].image)),
        ..SearchRequest::default()
    };
    let refusal = ask(bus, &by(json!({ "by": { "matching": {} } }), &no_text)?).await;
    let refusal = refusal.err().context("it has no modifier")?;
    assert_eq!(refusal, Refusal::invalid("reranking by matching needs a modifier to match"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn other_weights_order_the_best_anew() -> anyhow::Result<()> {
    let (pipeline, _workers) = Pipeline::complete().await?;
    let folder = pipeline.folder().join("pictures");
    render(Split::Test, 30, 96, &folder)?;
    let folder = folder.display().to_string();
    pipeline.weimocir(&["ingest", &folder, "--shards", "3", "--wait", "--json"]).await?.json()?;
    let bus = pipeline.bus().await?;
    let listed = SearchRequest { modifier: Some("red".into()), ..SearchRequest::default() };
    let reference = ask(&bus, &listed).await?.candidates[3].image;
    let plain = SearchRequest {
        reference: Some(Reference::Id(reference)),
        modifier: Some("has white stripes".into()),
        alpha: Some(Alpha::new(0.3)?),
        beta: Some(Beta::new(0.1)?),
        k: Some(12),
        ..SearchRequest::default()
    };
    let other = SearchRequest {
        alpha: Some(Alpha::new(0.9)?),
        beta: Some(Beta::new(0.5)?),
        ..plain.clone()
    };
    let weights = json!({ "weights": { "alpha": 0.9, "beta": 0.5 } });

    // of the whole gallery, reranking is a search at the other weights
    let (plain_answer, other) = (ask(&bus, &plain).await?, ask(&bus, &other).await?);
    let all = ask(&bus, &by(json!({ "by": weights, "top": 100 }), &plain)?).await?;
    assert_eq!(images(&all.candidates), images(&other.candidates));
    assert_ne!(images(&all.candidates), images(&plain_answer.candidates));
    for (reranked, searched) in all.candidates.iter().zip(&other.candidates) {
        let score = reranked.rerank_score.context("no score")?;
        assert!((score - searched.similarity).abs() < 3e-7, "{score}: {searched:?}");
        assert!(reranked.components.is_none(), "nobody asked to explain");
    }
    assert_eq!(all.reranked.map(|r| (r.top, r.images)), Some((29, 29)));

    // of the best five, those five in the order of the other weights, then the rest as they were
    let five = ask(&bus, &by(json!({ "by": weights, "top": 5 }), &plain)?).await?;
    let best = images(&plain_answer.candidates[..5]);
    let mut everything = plain.clone();
    (everything.alpha, everything.beta, everything.k) =
        (Some(Alpha::new(0.9)?), Some(Beta::new(0.5)?), Some(29));
    let everything = images(&ask(&bus, &everything).await?.candidates);
    let expected: Vec<ImageId> = everything.into_iter().filter(|i| best.contains(i)).collect();
    assert_eq!(images(&five.candidates[..5]), expected);
    assert_eq!(images(&five.candidates[5..]), images(&plain_answer.candidates[5..]));

    refusals(&bus, &plain).await
}

async fn refusals(bus: &Bus, plain: &SearchRequest) -> anyhow::Result<()> {
    for (rerank, reason) in [
        (json!({ "by": { "matching": {} } }), "no image-text matching head, only BLIP has one"),
        (json!({ "by": { "weights": {} } }), "needs an alpha, a beta, or both"),
        (json!({ "by": { "weights": { "beta": 0.5 } }, "top": 0 }), "rerank.top is 0"),
        (json!({ "by": { "weights": { "beta": 0.5 } }, "top": 1001 }), "rerank.top is 1001"),
    ] {
        let refusal = ask(bus, &by(rerank, plain)?).await.err().context(reason)?;
        assert_eq!(refusal.code, RefusalCode::Invalid);
        assert!(refusal.message.contains(reason), "{refusal}");
    }
    for (misspelt, field) in [
        (json!({ "by": { "weights": { "alpha": 0.9, "bta": 0.4 } } }), "bta"),
        (json!({ "by": { "matching": { "wieght": 1 } } }), "wieght"),
        (json!({ "by": { "matching": {} }, "tpo": 5 }), "tpo"),
    ] {
        let error = by(misspelt, plain).err().context(field)?.to_string();
        assert!(error.contains(&format!("unknown field `{field}`")), "{error}");
    }
    Ok(())
}
