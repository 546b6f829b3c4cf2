//! `weimocir search`: one composed search.

use std::{path::PathBuf, time::Duration};

use anyhow::Context;
use weimocir_domain::{
    Alpha, Beta, Candidate, Explained, Filter, Gamma, ImageId, LongText, Share, TextReference,
};
use weimocir_runtime::{Bus, Pictures};
use weimocir_wire::{
    Blob,
    search::{Reference, Rerank, Reranked, Reranker, SearchAnswer, SearchRequest, SearchTiming},
    subjects,
};

use crate::{
    Done, Shared,
    condition::Condition,
    say, say_json,
    sheet::{self, Row, Tile},
};

#[derive(Debug, clap::Args)]
pub(crate) struct SearchArgs {
    /// What should differ, for example "is green with a four leaf clover"
    #[arg(value_name = "MODIFIER")]
    modifier: Option<String>,
    /// Reference picture: a file
    #[arg(long, short, value_name = "FILE", conflicts_with = "id")]
    reference: Option<PathBuf>,
    /// Reference picture: an image of the gallery
    #[arg(long, value_name = "ID")]
    id: Option<ImageId>,
    /// How much the modifier counts against the reference, 0 to 1 [default: what suits the model]
    #[arg(long, value_name = "NUMBER")]
    alpha: Option<Alpha>,
    /// How much captions count against pixels, 0 to 1 [default: what suits the model]
    #[arg(long, value_name = "NUMBER")]
    beta: Option<Beta>,
    /// What stands for the reference against captions: `image`, or its own `caption`s
    #[arg(long, default_value_t, value_name = "KIND")]
    text_reference: TextReference,
    /// A modifier longer than the model reads: `truncate` it and warn, or `refuse` it
    #[arg(long, default_value_t, value_name = "WHAT")]
    long_text: LongText,
    /// How many candidates
    #[arg(short, default_value_t = 10, value_name = "K")]
    k: usize,
    /// What the images should not show, for example "a belt"
    #[arg(long, value_name = "TEXT")]
    without: Option<String>,
    /// How much --without counts, 0 to 1 [default: 0.3]
    #[arg(long, value_name = "NUMBER", requires = "without")]
    gamma: Option<Gamma>,
    /// Images that are liked: the search moves towards them
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    more_like: Vec<ImageId>,
    /// How much --more-like counts, 0 to 1 [default: 0.3]
    #[arg(long, value_name = "NUMBER", requires = "more_like")]
    more_weight: Option<Gamma>,
    /// Images that are not liked: the search moves away from them
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    less_like: Vec<ImageId>,
    /// How much --less-like counts, 0 to 1 [default: 0.1]
    #[arg(long, value_name = "NUMBER", requires = "less_like")]
    less_weight: Option<Gamma>,
    /// Score the best once more: by `matching` or `matching=WEIGHT`, where a BLIP model is loaded, or at
    /// other weights, `alpha=A`, `beta=B` or `alpha=A,beta=B`
    #[arg(long, value_name = "HOW", value_parser = reranker)]
    rerank: Option<Reranker>,
    /// How many of the best are scored once more [default: 50]
    #[arg(long, value_name = "N", requires = "rerank")]
    rerank_top: Option<usize>,
    /// Seconds that this may take [default: what is left of --timeout]
    #[arg(long, value_name = "SECONDS", requires = "rerank", value_parser = crate::seconds)]
    rerank_budget: Option<f64>,
    /// Images that are not wanted
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    exclude: Vec<ImageId>,
    /// What the metadata must say, by declared fields: {"field": "colour", "in": ["red", "blue"]},
    /// "is", "range" or "exists" instead of "in", and {"and": […]}, {"or": […]}, {"not": …} around
    #[arg(long, value_name = "JSON", value_parser = |json: &str| serde_json::from_str::<Filter>(json))]
    filter: Option<Filter>,
    /// The same for one field, as often as needed: colour=red, colour!=red, price<20, price>=5
    #[arg(long = "where", value_name = "CONDITION")]
    conditions: Vec<Condition>,
    /// Let the reference itself be found
    #[arg(long)]
    keep_reference: bool,
    /// Draw reference, modifier and candidates into a PNG
    #[arg(long, value_name = "FILE")]
    sheet: Option<PathBuf>,
    /// Seconds that the search may take
    #[arg(long, default_value_t = 5.0, value_name = "SECONDS", value_parser = crate::seconds)]
    timeout: f64,
    /// Say where the time went (always told with --json)
    #[arg(long)]
    timing: bool,
    /// Say how each score comes about
    #[arg(long)]
    explain: bool,
}

pub(crate) async fn run(args: SearchArgs, shared: Shared) -> anyhow::Result<Done> {
    let bus = shared.connect().await?;
    let reference = match (&args.reference, args.id) {
        (Some(path), _) => {
            let bytes =
                std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
            Some(Reference::Image(Blob(bytes)))
        }
        (None, id) => id.map(Reference::Id),
    };
    let filter = filter(&args, &shared, &bus).await?;
    let request = SearchRequest {
        collection: shared.collection.clone(),
        reference,
        modifier: args.modifier.clone(),
        alpha: args.alpha,
        beta: args.beta,
        text_reference: args.text_reference,
        long_text: args.long_text,
        k: Some(args.k),
        negative: args.without.clone(),
        gamma: args.gamma,
        more_like: args.more_like.clone(),
        more_weight: args.more_weight,
        less_like: args.less_like.clone(),
        less_weight: args.less_weight,
        rerank: args.rerank.map(|by| Rerank {
            by,
            top: args.rerank_top,
            budget_ms: args.rerank_budget.map(|seconds| (seconds * 1e3) as u64),
        }),
        exclude: args.exclude.clone(),
        exclude_reference: Some(!args.keep_reference),
        filter,
        timeout_ms: Some((args.timeout * 1e3) as u64),
        explain: args.explain,
        ..SearchRequest::default()
    };
    let answer = ask(&bus, &request).await?;
    if let Some(path) = &args.sheet {
        let row = row(&bus, &request, &answer.candidates).await?;
        sheet::draw(&[row])
            .save(path)
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    if shared.json {
        say_json(&answer)?;
    } else {
        show(&answer);
        if args.timing {
            show_timing(&answer.timing);
        }
    }
    Ok(if answer.partial { Done::Partly } else { Done::Fully })
}

/// Everything that the arguments ask of the metadata.
async fn filter(args: &SearchArgs, shared: &Shared, bus: &Bus) -> anyhow::Result<Option<Filter>> {
    let mut parts: Vec<Filter> = args.filter.iter().cloned().collect();
    if !args.conditions.is_empty() {
        let fields = shared.existing_collection(bus).await?.fields;
        parts.extend(args.conditions.iter().map(|condition| condition.filter(&fields)));
    }
    Ok(if parts.len() > 1 { Some(Filter::And(parts)) } else { parts.pop() })
}

pub(crate) async fn ask(bus: &Bus, request: &SearchRequest) -> anyhow::Result<SearchAnswer> {
    // because: the worker keeps to the request's own time and then says what was missing
    let within = Duration::from_millis(request.timeout_ms.unwrap_or(5_000).saturating_add(1_000));
    Ok(bus.ask(subjects::SEARCH, request, within).await?)
}

pub(crate) fn show(answer: &SearchAnswer) {
    for (rank, candidate) in answer.candidates.iter().enumerate() {
        say(format_args!(
            "{:>3}. {:.4}  {}  {}",
            rank + 1,
            candidate.similarity,
            candidate.image,
            candidate.source
        ));
        if let Some(score) = candidate.rerank_score {
            say(format_args!("       reranked {score:.4}"));
        }
        let text =
            candidate.s_txt.map_or("no captions yet".to_owned(), |s| format!("captions {s:.4}"));
        say(format_args!("       pixels {:.4}, {text}", candidate.s_img));
        for caption in &candidate.captions {
            let similarity = caption.similarity.map_or("      ".to_owned(), |s| format!("{s:.4}"));
            say(format_args!("       {similarity}  {}", caption.text));
        }
        if let (Some(norms), Some(components)) = (&answer.norms, &candidate.components) {
            match components.explain(norms, answer.alpha, answer.beta) {
                Ok(explained) => show_explained(&explained, answer.beta),
                Err(error) => say(format_args!("       {error}")),
            }
        }
    }
    if let Some(reranked) = &answer.reranked {
        say(reranking(reranked));
    }
    answer.warnings.iter().for_each(|warning| say(format_args!("warning: {warning}")));
    if answer.partial {
        say(format_args!("partial: shards {:?} did not answer in time", answer.missing_shards));
    }
    say(format_args!(
        "{} of {} images, alpha {}, beta {}, {:.1} ms",
        answer.candidates.len(),
        answer.images,
        answer.alpha,
        answer.beta,
        answer.took_ms
    ));
}

/// A score from the top down, each line a sum of what reference and modifier contribute.
fn show_explained(explained: &Explained, beta: Beta) {
    let line = |name: &str, share: &Share| {
        let Share { reference, modifier } = share;
        let sum = share.sum();
        say(format_args!(
            "       {name:<10}{sum:>8.4} = reference {reference:>7.4} + modifier {modifier:>7.4}"
        ));
    };
    line("score", &explained.total());
    if let Some(text) = explained.text() {
        say(format_args!("       which is (1 - {beta}) pixels + {beta} captions"));
        line("pixels", &explained.image);
        line("captions", &text);
        for (r, caption) in explained.captions.iter().enumerate() {
            line(&format!("caption {}", r + 1), caption);
        }
    }
}

fn show_timing(timing: &SearchTiming) {
    let SearchTiming { reference_ms, encode_ms, encode, candidates_ms, merge_ms, rerank_ms } =
        timing;
    say(format_args!(
        "time in ms: reference {reference_ms:.1}, encode {encode_ms:.1} (queued {:.1}, \
         preprocessing {:.1}, inference {:.1}), candidates {candidates_ms:.1}, merge {merge_ms:.1}, \
         rerank {rerank_ms:.1}",
        encode.queued_ms, encode.preprocessing_ms, encode.inference_ms
    ));
}

/// Reads `--rerank`.
fn reranker(written: &str) -> anyhow::Result<Reranker> {
    let unknown = || {
        anyhow::anyhow!(
            "`{written}` is no reranking: expected matching, matching=0.5, alpha=0.5, beta=0.2 or alpha=0.5,beta=0.2"
        )
    };
    let mut parts = written.split(',').map(|part| match part.split_once('=') {
        Some((name, value)) => (name.trim(), Some(value.trim())),
        None => (part.trim(), None),
    });
    let (mut alpha, mut beta) = (None, None);
    for (place, (name, value)) in parts.by_ref().enumerate() {
        match (name, value) {
            ("matching", weight) if place == 0 && !written.contains(',') => {
                return Ok(Reranker::Matching { weight: weight.map(str::parse).transpose()? });
            }
            ("alpha", Some(value)) if alpha.is_none() => alpha = Some(value.parse::<Alpha>()?),
            ("beta", Some(value)) if beta.is_none() => beta = Some(value.parse::<Beta>()?),
            _ => return Err(unknown()),
        }
    }
    Ok(Reranker::Weights { alpha, beta })
}

/// What an answer says of its reranking.
fn reranking(reranked: &Reranked) -> String {
    let Reranked { by, top, images } = reranked;
    let by = match by {
        Reranker::Matching { weight } => {
            let weight = weight.map_or_else(String::new, |weight| format!(", weight {weight}"));
            format!("matching{weight}")
        }
        Reranker::Weights { alpha, beta } => {
            let named = [alpha.map(|a| format!("alpha {a}")), beta.map(|b| format!("beta {b}"))];
            named.into_iter().flatten().collect::<Vec<_>>().join(", ")
        }
    };
    format!("reranked: {images} of the best {top}, by {by}")
}

/// A row of a contact sheet, with the pictures as the gallery stores them.
pub(crate) async fn row(
    bus: &Bus,
    request: &SearchRequest,
    found: &[Candidate],
) -> anyhow::Result<Row> {
    let pictures = Pictures::open(bus).await?;
    let reference = match &request.reference {
        None => None,
        Some(Reference::Image(Blob(bytes))) => Some(image::load_from_memory(bytes)?.into_rgb8()),
        Some(Reference::Id(id)) => {
            Some(image::load_from_memory(&pictures.get(*id).await?)?.into_rgb8())
        }
    };
    let mut results = Vec::with_capacity(found.len());
    for (rank, candidate) in (1..).zip(found) {
        let picture = image::load_from_memory(&pictures.get(candidate.image).await?)?.into_rgb8();
        let caption =
            candidate.captions.first().map_or_else(String::new, |caption| caption.text.clone());
        let (heading, similarity) = (rank.to_string(), Some(candidate.similarity));
        results.push(Tile { picture, heading, similarity, caption, wanted: false });
    }
    Ok(Row { reference, modifier: request.modifier.clone(), results })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::reranker;

    #[test]
    fn rerankings_are_read() {
        for (written, expected) in [
            ("matching", json!({ "matching": {} })),
            ("matching=0.25", json!({ "matching": { "weight": 0.25 } })),
            ("alpha=0.5", json!({ "weights": { "alpha": 0.5 } })),
            ("beta = 0.25 , alpha = 1", json!({ "weights": { "alpha": 1.0, "beta": 0.25 } })),
        ] {
            let read = serde_json::to_value(reranker(written).unwrap()).unwrap();
            assert_eq!(read, expected, "{written}");
        }
    }

    #[test]
    fn what_is_no_reranking_is_refused() {
        for wrong in ["", "alpha", "gamma=0.5", "matching,alpha=0.5", "alpha=0.5,alpha=0.6"] {
            let error = reranker(wrong).unwrap_err().to_string();
            assert!(error.contains("is no reranking: expected"), "{wrong}: {error}");
        }
        for (wrong, reason) in [("alpha=2", "not between 0 and 1"), ("matching=x", "no number")] {
            let error = reranker(wrong).unwrap_err().to_string();
            assert!(error.contains(reason), "{wrong}: {error}");
        }
    }
}
