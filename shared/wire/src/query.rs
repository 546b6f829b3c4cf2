//! Questions that workers ask each other: encode or caption a query, candidates of a shard, what a
//! shard holds.

use serde::{Deserialize, Serialize};
use weimocir_domain::{
    Alpha, Beta, Candidate, Collection, Filter, ImageId, LongText, ModelId, Revision, TextReference,
};

use crate::{Blob, Message, Vector, subjects::Part, vectors::CaptionVector, work::Metadata};

/// Embeddings wanted at once, ahead of the ingest work.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EncodeQuery {
    #[serde(default)]
    pub image: Option<Blob>,
    /// What people wrote.
    #[serde(default)]
    pub texts: Vec<String>,
    /// What a captioner wrote: cut off where too long, whatever `long_text` says.
    #[serde(default)]
    pub captions: Vec<String>,
    /// What becomes of `texts` that are longer than the model reads.
    #[serde(default)]
    pub long_text: LongText,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EncodedQuery {
    pub model: ModelId,
    /// The weights that suit this model, for a search that names none.
    pub alpha: f32,
    pub beta: f32,
    pub image: Option<Vector>,
    /// One for each text, in order.
    pub texts: Vec<EncodedText>,
    /// One for each caption, in order.
    #[serde(default)]
    pub captions: Vec<EncodedText>,
    #[serde(default)]
    pub timing: EncodeTiming,
}

/// Where the time of an encoding went. Picture and texts of a question are encoded side by side:
/// these are of the one that took longer.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EncodeTiming {
    /// Waiting for the device.
    pub queued_ms: f64,
    /// Decoding and resizing a picture, or cutting texts into tokens.
    pub preprocessing_ms: f64,
    /// On the device, with what else was in the batch.
    pub inference_ms: f64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EncodedText {
    pub embedding: Vector,
    /// The text was longer than the model reads; its end was not seen.
    pub truncated: bool,
}

/// Captions of a picture that is not in the gallery.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CaptionQuery {
    pub image: Blob,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CaptionedQuery {
    pub captions: Vec<String>,
}

/// How well does a text describe stored pictures? Asked of a model's image-text matching head.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MatchQuery {
    pub model: ModelId,
    pub text: String,
    /// At most 64.
    pub images: Vec<ImageId>,
    /// After so many milliseconds nobody waits for the answer.
    pub within_ms: u64,
}

/// One entry for each image asked for, in order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Matched {
    /// The probability that the text describes the picture; absent where the picture cannot be read.
    pub probabilities: Vec<Option<f32>>,
}

/// The K closest images of one shard wanted. The query comes raw and uncomposed: a shard composes it
/// as the method says, and can tell the components of a score.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CandidatesQuery {
    pub model: ModelId,
    /// `v_ref`, raw; absent in a search by text alone.
    #[serde(default)]
    pub reference: Option<Vector>,
    /// `m`, raw; absent in a search by picture alone.
    #[serde(default)]
    pub modifier: Option<Vector>,
    pub text_reference: TextReference,
    /// `t_ref,r` each, raw, which count where `text_reference` is `caption`.
    #[serde(default)]
    pub captions: Vec<Vector>,
    pub alpha: Alpha,
    pub beta: Beta,
    pub k: usize,
    #[serde(default)]
    pub exclude: Vec<ImageId>,
    #[serde(default)]
    pub filter: Option<Filter>,
    /// Whether candidates tell their components.
    #[serde(default)]
    pub explain: bool,
}

/// A piece of a shard's answer. Pieces are numbered from 0; the last one says so.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CandidatesChunk {
    pub sequence: u32,
    pub last: bool,
    /// The model of the shard's vectors, once it has any.
    #[serde(default)]
    pub model: Option<ModelId>,
    /// Images of this shard that were compared.
    pub images: u64,
    pub candidates: Vec<Candidate>,
}

/// What does a shard hold of these images?
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LookupQuery {
    pub images: Vec<ImageId>,
}

/// One entry for each image asked for, in order, and the shard's totals.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Lookup {
    pub states: Vec<ImageState>,
    pub images: u64,
    pub captioned: u64,
}

/// The revisions that a shard holds of an image's parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ImageState {
    pub image: Option<Revision>,
    pub captions: Option<Revision>,
    pub tombstone: Option<Revision>,
}

impl ImageState {
    /// What the state becomes with this part, or `None` if newer word is held already: a part is
    /// applied if it is not older than the same part held, and newer than the tombstone.
    pub fn advance(self, part: Part, revision: Revision) -> Option<Self> {
        let newer = |held: Option<Revision>| {
            held.is_none_or(|held| revision >= held)
                && self.tombstone.is_none_or(|tombstone| revision > tombstone)
        };
        match part {
            Part::Image => newer(self.image).then_some(Self { image: Some(revision), ..self }),
            Part::Captions => {
                newer(self.captions).then_some(Self { captions: Some(revision), ..self })
            }
            Part::Tombstone => newer(None).then(|| Self {
                image: self.image.filter(|&held| held > revision),
                captions: self.captions.filter(|&held| held > revision),
                tombstone: Some(revision),
            }),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RecordQuery {
    pub image: ImageId,
}

/// Images of one shard wanted, those submitted last first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ListQuery {
    /// Only images of an older revision.
    #[serde(default)]
    pub before: Option<Revision>,
    pub limit: usize,
}

/// At most as many as asked for; fewer only if there are no more.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Listing {
    pub images: Vec<ListedImage>,
}

/// An image of the gallery, without its vectors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ListedImage {
    pub image: ImageId,
    pub revision: Revision,
    pub captions: Vec<String>,
    pub source: String,
    pub metadata: Metadata,
}

/// Everything that a shard holds of an image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    pub collection: Collection,
    pub image: ImageId,
    pub revision: Revision,
    pub model: ModelId,
    pub embedding: Vector,
    pub captions: Vec<CaptionVector>,
    pub source: String,
    pub metadata: Metadata,
}

impl Message for EncodeQuery {
    const NAME: &'static str = "encode-query";
    // 2: captions and long_text, which a reader of the first version would pass over
    const VERSION: u16 = 2;
}

impl Message for CandidatesQuery {
    const NAME: &'static str = "candidates-query";
    // 2: the raw query in place of the composed one, which a reader of the first version cannot make,
    // and the filter, which it would pass over
    const VERSION: u16 = 2;
}

macro_rules! messages {
    ($($t:ty = $name:literal),* $(,)?) => {$(
        impl Message for $t {
            const NAME: &'static str = $name;
        }
    )*};
}

messages! {
    EncodedQuery = "encoded-query",
    CaptionQuery = "caption-query",
    CaptionedQuery = "captioned-query",
    MatchQuery = "match-query",
    Matched = "matched",
    CandidatesChunk = "candidates-chunk",
    LookupQuery = "lookup-query",
    Lookup = "lookup",
    ListQuery = "list-query",
    Listing = "listing",
    RecordQuery = "record-query",
    Record = "record",
}
