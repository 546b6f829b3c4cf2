//! The best candidates scored once more, by the matching head of an encode worker or at other weights,
//! within the time there is. What was not scored in time keeps its place below what was.

use std::time::Duration;

use futures::{FutureExt, StreamExt, stream};
use tokio::time::{Instant, timeout_at};
use weimocir_domain::{Alpha, Beta, Candidate, Gamma, ImageId, ModelId};
use weimocir_wire::{
    query::{MatchQuery, Matched},
    search::{Refusal, RefusalCode, Rerank, Reranked, Reranker},
    subjects,
};

use crate::{
    scatter::is_absence,
    search::{Ingredients, MAX_K, Searcher, internal, left, of_lane},
};

const DEFAULT_TOP: usize = 50;
const DEFAULT_WEIGHT: f32 = 0.5;
/// Pictures of one question to an encode worker, and questions at the same time.
// because: a question is the least that can come in time, and several encode workers share them
const PIECE: usize = 8;
const QUESTIONS: usize = 4;
/// What the answer takes after the last score.
const GRACE: Duration = Duration::from_millis(50);

/// Reranking that has been checked.
#[derive(Debug, Clone)]
pub(crate) struct Closer {
    by: By,
    pub(crate) top: usize,
    budget: Option<Duration>,
}

#[derive(Debug, Clone)]
enum By {
    Matching { text: String, weight: Gamma },
    Weights { alpha: Option<Alpha>, beta: Option<Beta> },
}

/// Scores as far as they came, in the order of the candidates.
struct Scores {
    by: Reranker,
    scores: Vec<Option<f32>>,
    /// Why there are no more.
    warning: Option<String>,
}

impl Closer {
    pub(crate) fn new(rerank: Rerank, modifier: Option<&String>) -> Result<Self, Refusal> {
        let top = rerank.top.unwrap_or(DEFAULT_TOP);
        if !(1..=MAX_K).contains(&top) {
            let message = format!("rerank.top is {top}, which is not between 1 and {MAX_K}");
            return Err(Refusal::invalid(message));
        }
        let by = match rerank.by {
            Reranker::Matching { weight } => By::Matching {
                text: modifier.cloned().ok_or_else(|| {
                    Refusal::invalid("reranking by matching needs a modifier to match")
                })?,
                weight: weight.map_or_else(|| Gamma::new(DEFAULT_WEIGHT), Ok).map_err(internal)?,
            },
            Reranker::Weights { alpha: None, beta: None } => {
                return Err(Refusal::invalid(
                    "reranking by weights needs an alpha, a beta, or both",
                ));
            }
            Reranker::Weights { alpha, beta } => By::Weights { alpha, beta },
        };
        Ok(Self { by, top, budget: rerank.budget_ms.map(Duration::from_millis) })
    }

    /// Whether candidates must tell their components.
    pub(crate) fn needs_components(&self) -> bool {
        matches!(self.by, By::Weights { .. })
    }
}

impl Searcher {
    /// Orders candidates anew, as many of the best as get a score, and says what else to know.
    pub(crate) async fn rerank(
        &self,
        closer: &Closer,
        candidates: &mut [Candidate],
        (model, ingredients): (&ModelId, &Ingredients),
        until: Instant,
    ) -> Result<(Reranked, Option<String>), Refusal> {
        let best = &candidates[..closer.top.min(candidates.len())];
        let top = best.len();
        let scored = match &closer.by {
            By::Weights { alpha, beta } => at_weights(*alpha, *beta, best, ingredients)?,
            By::Matching { text, weight } => {
                let until = until.checked_sub(GRACE).unwrap_or(until);
                let until =
                    closer.budget.map_or(until, |budget| until.min(Instant::now() + budget));
                self.matching(model, (text, *weight), best, until).await?
            }
        };
        let Scores { by, scores, warning } = scored;
        for (candidate, score) in candidates.iter_mut().zip(scores) {
            candidate.rerank_score = score;
        }
        order(candidates);
        let images = candidates.iter().filter(|c| c.rerank_score.is_some()).count();
        Ok((Reranked { by, top, images }, warning))
    }

    async fn matching(
        &self,
        model: &ModelId,
        (text, weight): (&str, Gamma),
        candidates: &[Candidate],
        until: Instant,
    ) -> Result<Scores, Refusal> {
        let questions: Vec<_> = candidates
            .chunks(PIECE)
            .map(|piece| {
                let images = piece.iter().map(|candidate| candidate.image).collect();
                self.probabilities(model.clone(), text.to_owned(), images, until).boxed()
            })
            .collect();
        let mut answers = stream::iter(questions).buffered(QUESTIONS);
        let mut scores = Vec::with_capacity(candidates.len());
        let mut warning = None;
        while let Some(answer) = answers.next().await {
            match answer {
                Ok(probabilities) => {
                    let rest = &candidates[scores.len()..];
                    let pairs = rest.iter().zip(probabilities);
                    scores.extend(pairs.map(|(candidate, p)| Some(mix(candidate, p?, weight))));
                }
                Err(refusal) if is_absence(refusal.code) => {
                    let of = candidates.len();
                    warning = Some(format!(
                        "{} of the best {of} were reranked: {}",
                        scores.len(),
                        refusal.message
                    ));
                    break;
                }
                Err(refusal) => return Err(refusal),
            }
        }
        let unread = scores.iter().filter(|score| score.is_none()).count();
        if unread > 0 && warning.is_none() {
            warning =
                Some(format!("{unread} pictures could not be read, and come after the others"));
        }
        Ok(Scores { by: Reranker::Matching { weight: Some(weight) }, scores, warning })
    }

    async fn probabilities(
        &self,
        model: ModelId,
        text: String,
        images: Vec<ImageId>,
        until: Instant,
    ) -> Result<Vec<Option<f32>>, Refusal> {
        let late = || Refusal::new(RefusalCode::Timeout, "there was no time for more");
        let within = left(until).map_err(|_| late())?;
        let within_ms = within.as_millis() as u64;
        let question = MatchQuery { model, text, images, within_ms };
        let lane = subjects::in_lane(subjects::MATCH_QUERY, &question.model);
        let answer = timeout_at(until, self.bus.ask(&lane, &question, within)).await;
        let answer = answer.map_err(|_| late())?;
        let Matched { probabilities } = answer.map_err(|r| of_lane(r, &question.model))?;
        let right = |p: &Option<f32>| p.is_none_or(|p| (0.0..=1.0).contains(&p));
        if probabilities.len() != question.images.len() || !probabilities.iter().all(right) {
            return Err(internal("the encode worker answered another question"));
        }
        Ok(probabilities)
    }
}

fn mix(candidate: &Candidate, probability: f32, weight: Gamma) -> f32 {
    let weight = f64::from(weight.get());
    ((1.0 - weight) * f64::from(candidate.similarity) + weight * f64::from(probability)) as f32
}

fn at_weights(
    alpha: Option<Alpha>,
    beta: Option<Beta>,
    candidates: &[Candidate],
    ingredients: &Ingredients,
) -> Result<Scores, Refusal> {
    let (alpha, beta) = (alpha.unwrap_or(ingredients.alpha), beta.unwrap_or(ingredients.beta));
    let norms = ingredients.query.norms();
    let score = |candidate: &Candidate| {
        let components = candidate.components.as_ref().ok_or_else(|| {
            internal(format!("the store told no components of image {}", candidate.image))
        })?;
        let similarity = components.similarity(&norms, alpha, beta);
        let similarity = similarity
            .map_err(|error| Refusal::invalid(format!("reranking at alpha {alpha}: {error}")))?;
        Ok(Some(similarity as f32))
    };
    let scores = candidates.iter().map(score).collect::<Result<_, Refusal>>()?;
    let by = Reranker::Weights { alpha: Some(alpha), beta: Some(beta) };
    Ok(Scores { by, scores, warning: None })
}

/// Those with a new score first, the highest first and equal ones by id; the others as they were.
fn order(candidates: &mut [Candidate]) {
    candidates.sort_by(|a, b| match (a.rerank_score, b.rerank_score) {
        (Some(x), Some(y)) => y.total_cmp(&x).then(a.image.cmp(&b.image)),
        (x, y) => y.is_some().cmp(&x.is_some()),
    });
}
