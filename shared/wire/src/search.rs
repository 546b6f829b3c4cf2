//! What clients say to `weimocir.search`, and what they are told: JSON or MessagePack, by the
//! request's Content-Type, the answer in the same.

use serde::{Deserialize, Serialize};
use weimocir_domain::{
    Alpha, Beta, Candidate, Collection, Filter, Gamma, ImageId, LongText, ModelId, Norms,
    TextReference,
};

use crate::{Blob, Message, query::EncodeTiming};

/// A composed search. Everything but one of `reference` and `modifier` may be left out.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct SearchRequest {
    /// Written by the codec for every message; named here so that it is no unknown field.
    #[cfg_attr(feature = "openapi", schema(ignore))]
    #[serde(default, skip_serializing)]
    pub version: Option<u16>,
    #[serde(default)]
    pub collection: Collection,
    /// The picture to start from; without one the search is by text alone.
    #[serde(default)]
    pub reference: Option<Reference>,
    /// What should differ; without it the search is by picture alone.
    #[serde(default)]
    pub modifier: Option<String>,
    /// Default: what suits the collection's model.
    #[serde(default)]
    pub alpha: Option<Alpha>,
    /// Default: what suits the collection's model.
    #[serde(default)]
    pub beta: Option<Beta>,
    #[serde(default)]
    pub text_reference: TextReference,
    /// What becomes of a modifier that is longer than the model reads.
    #[serde(default)]
    pub long_text: LongText,
    /// How many candidates, 1 to 1,000. Default 10.
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 1000))]
    #[serde(default)]
    pub k: Option<usize>,
    /// Images that are not wanted.
    #[serde(default)]
    pub exclude: Vec<ImageId>,
    /// Keep the reference itself out of the answer. Default: yes.
    #[serde(default)]
    pub exclude_reference: Option<bool>,
    /// What the images' metadata must say, by the collection's declared fields.
    // because: a worker that knows no filters refuses the field, and answers what goes without it
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<Filter>,
    /// What the images should not show ("a belt"): the query moves away from this text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub negative: Option<String>,
    /// How much the negative text counts. Default: 0.3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gamma: Option<Gamma>,
    /// Images of the collection that are liked: the query moves towards their mean. Without
    /// reference and modifier, they are the reference.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub more_like: Vec<ImageId>,
    /// How much they count. Default: 0.3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub more_weight: Option<Gamma>,
    /// Images of the collection that are not liked: the query moves away from their mean.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub less_like: Vec<ImageId>,
    /// How much they count. Default: 0.1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub less_weight: Option<Gamma>,
    /// Score the best once more, and order them by that. Default: no.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rerank: Option<Rerank>,
    /// How long the whole search may take, in milliseconds. Default 5,000.
    #[serde(default)]
    pub timeout_ms: Option<u64>,
    /// Tell the components of every score, and the norms that go with them.
    // because: workers from before it know no such field, and need not be told of a `false`
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub explain: bool,
}

/// The picture in a query: `{"id": "…"}` of the gallery, or `{"image": …}`, a file's bytes
/// (base64 in JSON, binary in MessagePack).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Reference {
    Id(ImageId),
    Image(Blob),
}

/// A second, closer look at the best candidates.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Rerank {
    pub by: Reranker,
    /// How many of the best are scored anew, 1 to 1,000, however few are answered. Default 50.
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 1000))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top: Option<usize>,
    /// How long that may take, in milliseconds; then the answer has what was scored until then.
    /// Default: all that is left of the search's own time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget_ms: Option<u64>,
}

/// What the best candidates are scored by.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Reranker {
    /// The probability that the modifier describes the picture, by the image-text matching head of
    /// the collection's model (BLIP has one): `(1 - weight)·similarity + weight·probability`.
    Matching {
        /// Default: 0.5, which orders as their sum does.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        weight: Option<Gamma>,
    },
    /// The similarity at other weights. One that is absent stays as it was.
    Weights {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        alpha: Option<Alpha>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        beta: Option<Beta>,
    },
}

/// What became of reranking: the first `images` candidates before the answer was cut to K are in the order of
/// their `rerank_score`, the others follow by similarity.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Reranked {
    /// With the weights that were used.
    pub by: Reranker,
    /// Candidates that were to be scored anew.
    pub top: usize,
    /// Candidates that were, in the time there was.
    pub images: usize,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SearchAnswer {
    pub candidates: Vec<Candidate>,
    pub collection: Collection,
    pub model: ModelId,
    pub alpha: Alpha,
    pub beta: Beta,
    pub text_reference: TextReference,
    /// Images that were compared: with a filter, those that it lets through.
    pub images: u64,
    /// Some shard did not answer in time: better candidates may exist.
    pub partial: bool,
    pub missing_shards: Vec<u16>,
    pub warnings: Vec<String>,
    pub took_ms: f64,
    #[serde(default)]
    pub timing: SearchTiming,
    /// The query's own numbers, which with a candidate's `components` give its score at any α and β;
    /// only where the request asks to explain. Weighing anew puts these candidates into another
    /// order, and finds none that are not here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub norms: Option<Norms>,
    /// What was reranked; only where the request asks for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reranked: Option<Reranked>,
}

/// Where the time of a search went, step after step. Together they are almost all of `took_ms`.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SearchTiming {
    /// Finding the collection and the reference; captioning an uploaded one where that is asked for.
    pub reference_ms: f64,
    /// The question to the encode worker, there and back.
    pub encode_ms: f64,
    /// What the encode worker did in that time.
    pub encode: EncodeTiming,
    /// The question to the shards, until the last one has answered.
    pub candidates_ms: f64,
    pub merge_ms: f64,
    /// Scoring the best once more, where the request asks for it.
    #[serde(default)]
    pub rerank_ms: f64,
}

/// Why there is no answer: `code` is for programs, `message` for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    pub code: RefusalCode,
    pub message: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusalCode {
    /// The request itself is wrong: it fails again however often it is sent.
    Invalid,
    UnknownCollection,
    UnknownImage,
    ModelMismatch,
    /// The gallery lacks what the question needs, and may have it later.
    NotReady,
    /// Too many requests wait already: try again later.
    Busy,
    /// A worker that is needed does not answer.
    Unavailable,
    Timeout,
    Internal,
}

impl RefusalCode {
    /// As the wire has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::UnknownCollection => "unknown_collection",
            Self::UnknownImage => "unknown_image",
            Self::ModelMismatch => "model_mismatch",
            Self::NotReady => "not_ready",
            Self::Busy => "busy",
            Self::Unavailable => "unavailable",
            Self::Timeout => "timeout",
            Self::Internal => "internal",
        }
    }

    /// The nearest HTTP status, sent as `Nats-Service-Error-Code`.
    pub fn status(self) -> u16 {
        match self {
            Self::Invalid => 400,
            Self::UnknownCollection | Self::UnknownImage => 404,
            Self::ModelMismatch | Self::NotReady => 409,
            Self::Busy => 429,
            Self::Internal => 500,
            Self::Unavailable => 503,
            Self::Timeout => 504,
        }
    }
}

impl Refusal {
    pub fn new(code: RefusalCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(RefusalCode::Invalid, message)
    }
}

/// What a request-reply subject answers instead of its message when it refuses.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Refused {
    pub error: Refusal,
}

impl Message for SearchRequest {
    const NAME: &'static str = "search";
}

impl Message for SearchAnswer {
    const NAME: &'static str = "search-answer";
}

impl Message for Refused {
    const NAME: &'static str = "error";
}
