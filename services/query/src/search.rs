//! One search, step by step: check, find the reference, encode, compose, ask the shards, merge.

use std::time::Duration;

use tokio::time::Instant;
use weimocir_domain::{
    Alpha, Beta, Collection, Embedding, Filter, Gamma, ImageId, ModelId, Query, Steering,
    SteeringError, TextReference, merge,
};
use weimocir_runtime::{Bus, CollectionError, Collections};
use weimocir_wire::{
    Vector, metrics as names,
    query::{CandidatesQuery, EncodeQuery, EncodeTiming, EncodedQuery},
    search::{Reference, Refusal, RefusalCode, SearchAnswer, SearchRequest, SearchTiming},
    subjects,
    vectors::CollectionRecord,
};

use crate::{
    feedback::{Feedback, mean},
    reference::Resolved,
    rerank::Closer,
    scatter,
};

const DEFAULT_K: usize = 10;
/// More candidates than this are a listing, not a search.
pub(crate) const MAX_K: usize = 1_000;
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);
const MAX_TIMEOUT: Duration = Duration::from_secs(60);
// because: on the catalogue they lie between what suits a composed query and what a picture alone would take
// (README, "Measured")
const DEFAULT_GAMMA: f32 = 0.3;
const DEFAULT_MORE: f32 = 0.3;
const DEFAULT_LESS: f32 = 0.1;

#[derive(Debug, Clone)]
pub(crate) struct Searcher {
    pub bus: Bus,
    collections: Collections,
}

/// A request that has been checked.
#[derive(Debug)]
struct Plan {
    record: CollectionRecord,
    model: ModelId,
    modifier: Option<String>,
    negative: Option<String>,
    filter: Option<Filter>,
    k: usize,
    closer: Option<Closer>,
    until: Instant,
}

impl Plan {
    /// How many candidates the shards are asked for: those answered, and those looked at once more.
    fn asked_for(&self) -> usize {
        self.k.max(self.closer.as_ref().map_or(0, |closer| closer.top))
    }
}

/// What a search is made of, all of it encoded.
#[derive(Debug)]
pub(crate) struct Ingredients {
    pub(crate) query: Query,
    pub(crate) alpha: Alpha,
    pub(crate) beta: Beta,
    warnings: Vec<String>,
    timing: EncodeTiming,
}

impl Searcher {
    pub(crate) fn new(bus: Bus, collections: Collections) -> Self {
        Self { bus, collections }
    }

    pub(crate) async fn search(&self, mut request: SearchRequest) -> Result<SearchAnswer, Refusal> {
        let start = Instant::now();
        let mut steps = Steps { last: start };
        let plan = self.plan(&mut request, start).await?;
        let resolved = self.resolve(&mut request, &plan).await?;
        let feedback = self.feedback(&plan.record, &request, plan.until).await?;
        let exclude = excluded(&request, &resolved);
        let reference_ms = steps.step("reference");
        let ingredients = self.ingredients(&request, &plan, resolved, feedback).await?;
        let encode_ms = steps.step("encode");
        let Ingredients { query, alpha, beta, .. } = &ingredients;
        let question = candidates_query(&plan, &request, query, (*alpha, *beta), exclude)?;
        let gathered = scatter::ask(&self.bus, &plan.record, question, plan.until).await?;
        let candidates_ms = steps.step("candidates");
        let mut candidates = merge(plan.asked_for(), gathered.candidates);
        let merge_ms = steps.step("merge");
        let (mut reranked, mut warning) = (None, None);
        if let Some(closer) = &plan.closer {
            let of = (&plan.model, &ingredients);
            let outcome = self.rerank(closer, &mut candidates, of, plan.until).await?;
            (reranked, warning) = (Some(outcome.0), outcome.1);
        }
        candidates.truncate(plan.k);
        if !request.explain {
            candidates.iter_mut().for_each(|candidate| candidate.components = None);
        }
        let rerank_ms = steps.step("rerank");
        let mut warnings = ingredients.warnings;
        warnings.extend(warning);
        if !gathered.missing.is_empty() {
            metrics::counter!(names::PARTIAL_SEARCHES).increment(1);
        }
        if gathered.missing.is_empty() && plan.filter.is_none() {
            warnings.extend(fewer_than_asked(request.k, gathered.images));
        }
        let encode = ingredients.timing;
        Ok(SearchAnswer {
            candidates,
            collection: plan.record.name,
            model: plan.model,
            alpha: ingredients.alpha,
            beta: ingredients.beta,
            text_reference: request.text_reference,
            images: gathered.images,
            partial: !gathered.missing.is_empty(),
            missing_shards: gathered.missing,
            warnings,
            took_ms: start.elapsed().as_secs_f64() * 1e3,
            timing: SearchTiming {
                reference_ms,
                encode_ms,
                encode,
                candidates_ms,
                merge_ms,
                rerank_ms,
            },
            reranked,
            norms: request.explain.then(|| ingredients.query.norms()),
        })
    }

    async fn plan(&self, request: &mut SearchRequest, start: Instant) -> Result<Plan, Refusal> {
        let modifier = written(request.modifier.take());
        let negative = written(request.negative.take());
        if modifier.is_none() && request.reference.is_none() && request.more_like.is_empty() {
            return Err(Refusal::invalid(
                "a search needs a reference picture, a modifier, or both",
            ));
        }
        let k = request.k.unwrap_or(DEFAULT_K);
        if !(1..=MAX_K).contains(&k) {
            return Err(Refusal::invalid(format!("k is {k}, which is not between 1 and {MAX_K}")));
        }
        let closer =
            request.rerank.map(|rerank| Closer::new(rerank, modifier.as_ref())).transpose()?;
        let timeout = request.timeout_ms.map_or(DEFAULT_TIMEOUT, Duration::from_millis);
        let record = self.collection(&request.collection).await?;
        let filter = request.filter.take();
        if let Some(filter) = &filter {
            filter.check(&record.fields).map_err(|e| Refusal::invalid(e.to_string()))?;
        }
        let model = record.serving_model().cloned().ok_or_else(|| {
            let message = format!("the collection `{}` has no images yet", record.name);
            Refusal::new(RefusalCode::NotReady, message)
        })?;
        let until = start + timeout.min(MAX_TIMEOUT);
        Ok(Plan { record, model, modifier, negative, filter, k, closer, until })
    }

    async fn collection(&self, name: &Collection) -> Result<CollectionRecord, Refusal> {
        self.collections.get(name).await.map_err(|error| {
            let code = match error {
                CollectionError::Unknown { .. } => RefusalCode::UnknownCollection,
                _ => RefusalCode::Unavailable,
            };
            Refusal::new(code, error.to_string())
        })
    }

    async fn resolve(&self, request: &mut SearchRequest, plan: &Plan) -> Result<Resolved, Refusal> {
        let with_captions = request.text_reference == TextReference::Caption;
        match request.reference.take() {
            None => Ok(Resolved::Absent),
            Some(Reference::Id(image)) => {
                self.stored_reference(&plan.record, image, with_captions, plan.until).await
            }
            Some(Reference::Image(picture)) => {
                self.uploaded_reference(picture, with_captions, plan.until).await
            }
        }
    }

    /// Has everything encoded that the store does not hold already, in one request.
    async fn ingredients(
        &self,
        request: &SearchRequest,
        plan: &Plan,
        resolved: Resolved,
        feedback: Feedback,
    ) -> Result<Ingredients, Refusal> {
        let texts: Vec<String> = plan.modifier.iter().chain(&plan.negative).cloned().collect();
        let (image, captions, stored) = match resolved {
            Resolved::Absent => (None, vec![], None),
            Resolved::Stored { embedding, captions, .. } => {
                (None, vec![], Some((embedding, captions)))
            }
            Resolved::Uploaded { picture, captions, .. } => (Some(picture), captions, None),
        };
        let asked = (image.is_some(), texts.len(), captions.len());
        let question = EncodeQuery { image, texts, captions, long_text: request.long_text };
        let lane = subjects::in_lane(subjects::ENCODE_QUERY, &plan.model);
        let encoded = self.bus.ask(&lane, &question, left(plan.until)?).await;
        let encoded: EncodedQuery = encoded.map_err(|refusal| of_lane(refusal, &plan.model))?;
        same_model(&plan.model, &encoded.model, &plan.record.name)?;
        if asked != (encoded.image.is_some(), encoded.texts.len(), encoded.captions.len()) {
            return Err(internal("the encode worker answered another question"));
        }

        let embedding = |vector: Vector| vector.embedding(&encoded.model).map_err(internal);
        let image = encoded.image.map(embedding).transpose()?;
        let captions = encoded.captions.into_iter().map(|caption| embedding(caption.embedding));
        let captions = captions.collect::<Result<Vec<_>, _>>()?;
        let mut texts = encoded.texts.into_iter();
        let mut warnings = Vec::new();
        let mut text = |of: &Option<String>, name: &str| {
            let Some(text) = of.as_ref().and_then(|_| texts.next()) else { return Ok(None) };
            if text.truncated {
                warnings.push(format!(
                    "the {name} is longer than the model reads; its end was not seen"
                ));
            }
            embedding(text.embedding).map(Some)
        };
        let modifier = text(&plan.modifier, "modifier")?;
        let negative = text(&plan.negative, "negative text")?;
        let (reference, captions) = match stored {
            Some((embedding, captions)) => (Some(embedding), captions),
            None => (image, captions),
        };
        let weight = |e: weimocir_domain::WeightError| internal(e);
        let steering = steering(request, negative, feedback).map_err(weight)?;
        Ok(Ingredients {
            query: query(reference, modifier, captions, steering)?,
            alpha: request.alpha.map_or_else(|| Alpha::new(encoded.alpha).map_err(weight), Ok)?,
            beta: request.beta.map_or_else(|| Beta::new(encoded.beta).map_err(weight), Ok)?,
            warnings,
            timing: encoded.timing,
        })
    }
}

/// Measures one step after the other.
struct Steps {
    last: Instant,
}

impl Steps {
    /// Milliseconds since the step before.
    fn step(&mut self, name: &'static str) -> f64 {
        let now = Instant::now();
        let took = now - self.last;
        metrics::histogram!(names::SEARCH_STEP_SECONDS, "step" => name).record(took);
        self.last = now;
        took.as_secs_f64() * 1e3
    }
}

/// The time left, or a refusal if there is none.
pub(crate) fn left(until: Instant) -> Result<Duration, Refusal> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(Refusal::new(RefusalCode::Timeout, "the search's time is up"));
    }
    Ok(left)
}

/// What somebody wrote, if it says anything.
fn written(text: Option<String>) -> Option<String> {
    text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
}

fn steering(
    request: &SearchRequest,
    negative: Option<Embedding>,
    feedback: Feedback,
) -> Result<Steering, weimocir_domain::WeightError> {
    let weight = |given: Option<Gamma>, default| given.map_or_else(|| Gamma::new(default), Ok);
    let gamma = weight(request.gamma, DEFAULT_GAMMA)?;
    Ok(Steering {
        negative: negative.map(|negative| (negative, gamma)),
        more_like: feedback.more_like,
        more_weight: weight(request.more_weight, DEFAULT_MORE)?,
        less_like: feedback.less_like,
        less_weight: weight(request.less_weight, DEFAULT_LESS)?,
    })
}

/// The raw query, steered. What is liked stands for a query that has nothing else.
fn query(
    reference: Option<Embedding>,
    modifier: Option<Embedding>,
    captions: Vec<Embedding>,
    mut steering: Steering,
) -> Result<Query, Refusal> {
    let reference = match (&reference, &modifier) {
        (None, None) => mean(&std::mem::take(&mut steering.more_like))?,
        _ => reference,
    };
    let query = Query::new(reference, modifier, captions).map_err(internal)?;
    query.steered(&steering).map_err(|error| match error {
        SteeringError::Cancelled(_) => Refusal::invalid(error.to_string()),
        SteeringError::Mix(_) => internal(error),
    })
}

/// Says that fewer images than asked for are all there are.
fn fewer_than_asked(k: Option<usize>, images: u64) -> Option<String> {
    let k = k.filter(|&k| k as u64 > images)?;
    Some(format!("k is {k}, and the collection has {images} images: these are all"))
}

fn excluded(request: &SearchRequest, resolved: &Resolved) -> Vec<ImageId> {
    let mut exclude = request.exclude.clone();
    exclude.extend(&request.less_like);
    if request.exclude_reference.unwrap_or(true) {
        exclude.extend(resolved.image());
    }
    exclude
}

/// Names the model of a lane that nobody answers in.
pub(crate) fn of_lane(refusal: Refusal, model: &ModelId) -> Refusal {
    match refusal.code {
        RefusalCode::Unavailable => {
            let message = format!("{}: no encode worker with the model {model}", refusal.message);
            Refusal::new(refusal.code, message)
        }
        _ => refusal,
    }
}

fn same_model(held: &ModelId, offered: &ModelId, collection: &Collection) -> Result<(), Refusal> {
    if held == offered {
        return Ok(());
    }
    Err(Refusal::new(
        RefusalCode::ModelMismatch,
        format!(
            "the collection `{collection}` is bound to the model {held}, and the encode worker that answered runs {offered}"
        ),
    ))
}

/// The question to the shards, raw. It is composed here as well, so that one that cannot be is
/// refused before anybody is asked.
fn candidates_query(
    plan: &Plan,
    request: &SearchRequest,
    query: &Query,
    (alpha, beta): (Alpha, Beta),
    exclude: Vec<ImageId>,
) -> Result<CandidatesQuery, Refusal> {
    query.compose(alpha, beta).map_err(|error| Refusal::invalid(error.to_string()))?;
    Ok(CandidatesQuery {
        model: plan.model.clone(),
        reference: query.reference().map(Vector::from),
        modifier: query.modifier().map(Vector::from),
        text_reference: request.text_reference,
        captions: query.captions().iter().map(Vector::from).collect(),
        alpha,
        beta,
        k: plan.asked_for(),
        exclude,
        filter: plan.filter.clone(),
        explain: request.explain || plan.closer.as_ref().is_some_and(Closer::needs_components),
    })
}

pub(crate) fn internal(error: impl std::fmt::Display) -> Refusal {
    Refusal::new(RefusalCode::Internal, error.to_string())
}
