//! One question to every shard at once, and the candidates that stream back. A shard that is late,
//! missing or makes no sense makes the answer partial, not wrong.

use futures::future::join_all;
use tokio::time::Instant;
use weimocir_domain::{Candidate, CandidateError, ModelId, Shard};
use weimocir_runtime::Bus;
use weimocir_wire::{
    query::{CandidatesChunk, CandidatesQuery},
    search::{Refusal, RefusalCode},
    subjects,
    vectors::CollectionRecord,
};

#[derive(Debug, Default)]
pub(crate) struct Gathered {
    pub candidates: Vec<Candidate>,
    /// Images that were compared.
    pub images: u64,
    pub missing: Vec<u16>,
}

/// # Errors
/// No shard answered, or one said that the question itself is wrong.
pub(crate) async fn ask(
    bus: &Bus,
    collection: &CollectionRecord,
    query: CandidatesQuery,
    until: Instant,
) -> Result<Gathered, Refusal> {
    let shards = (0..collection.shards).map(Shard);
    let answers = join_all(shards.clone().map(|shard| {
        let subject = subjects::candidates(collection.generation(), shard);
        let query = &query;
        async move { one_shard(bus, &subject, query, until).await }
    }));
    let mut gathered = Gathered::default();
    let mut last_refusal = None;
    for (shard, answer) in shards.zip(answers.await) {
        match answer {
            Ok((candidates, images)) => {
                gathered.candidates.extend(candidates);
                gathered.images = gathered.images.saturating_add(images);
            }
            Err(refusal) if is_absence(refusal.code) => {
                tracing::warn!(%shard, reason = refusal.message, "a shard is missing from an answer");
                gathered.missing.push(shard.0);
                last_refusal = Some(refusal);
            }
            Err(refusal) => return Err(refusal),
        }
    }
    match last_refusal {
        Some(refusal) if gathered.missing.len() == usize::from(collection.shards) => Err(refusal),
        _ => Ok(gathered),
    }
}

/// Whether an answer goes without what is missing.
pub(crate) fn is_absence(code: RefusalCode) -> bool {
    // because: the query is of the collection's model, so that a shard of another is itself wrong
    matches!(
        code,
        RefusalCode::Busy
            | RefusalCode::Timeout
            | RefusalCode::Unavailable
            | RefusalCode::Internal
            | RefusalCode::ModelMismatch
    )
}

async fn one_shard(
    bus: &Bus,
    subject: &str,
    query: &CandidatesQuery,
    until: Instant,
) -> Result<(Vec<Candidate>, u64), Refusal> {
    let mut replies = bus.ask_for_pieces(subject, query, until).await?;
    let mut answer = Pieces { model: &query.model, k: query.k, due: 0, candidates: Vec::new() };
    loop {
        let taken = answer.take(replies.next().await?);
        let unusable = |e| Refusal::new(RefusalCode::Unavailable, format!("{subject}: {e}"));
        if let Some(images) = taken.map_err(unusable)? {
            return Ok((answer.candidates, images));
        }
    }
}

/// The pieces of one shard's answer so far. Any that is not what was due spoils all of them: they
/// may be of two workers, and half an answer of each is none.
#[derive(Debug)]
struct Pieces<'a> {
    model: &'a ModelId,
    k: usize,
    due: u32,
    candidates: Vec<Candidate>,
}

#[derive(Debug, PartialEq, thiserror::Error)]
enum PieceError {
    #[error("piece {found} came where {due} was due")]
    OutOfOrder { found: u32, due: u32 },
    #[error("piece {sequence} is empty and not the last")]
    Empty { sequence: u32 },
    #[error("{found} candidates came where {k} were asked for")]
    TooMany { found: usize, k: usize },
    #[error("the answer is about vectors of {found}, and the query is of {asked}")]
    ModelMix { found: ModelId, asked: ModelId },
    #[error(transparent)]
    Candidate(#[from] CandidateError),
}

impl Pieces<'_> {
    /// Takes the next piece; with the last one, tells how many images were compared.
    fn take(&mut self, piece: CandidatesChunk) -> Result<Option<u64>, PieceError> {
        let CandidatesChunk { sequence, last, model, images, candidates } = piece;
        if sequence != self.due {
            return Err(PieceError::OutOfOrder { found: sequence, due: self.due });
        }
        // because: with this and the bound below, no stream of pieces is endless
        if candidates.is_empty() && !last {
            return Err(PieceError::Empty { sequence });
        }
        let found = self.candidates.len() + candidates.len();
        if found > self.k {
            return Err(PieceError::TooMany { found, k: self.k });
        }
        if let Some(found) = model.filter(|model| model != self.model) {
            return Err(PieceError::ModelMix { found, asked: self.model.clone() });
        }
        candidates.iter().try_for_each(Candidate::check)?;
        self.candidates.extend(candidates);
        self.due += 1;
        Ok(last.then_some(images))
    }
}

#[cfg(test)]
mod tests {
    use weimocir_domain::ImageId;

    use super::*;

    fn candidate(n: u32, similarity: f32) -> Candidate {
        Candidate {
            image: ImageId::of(&n.to_be_bytes()),
            similarity,
            s_img: 0.5,
            s_txt: None,
            captions: vec![],
            source: String::new(),
            metadata: serde_json::Map::new(),
            components: None,
            rerank_score: None,
        }
    }

    fn piece(sequence: u32, last: bool, similarities: &[f32]) -> CandidatesChunk {
        let candidates =
            (sequence * 10..).zip(similarities).map(|(n, &similarity)| candidate(n, similarity));
        CandidatesChunk { sequence, last, model: None, images: 7, candidates: candidates.collect() }
    }

    /// The similarities that pieces come to, of four asked for, or what is wrong with them.
    fn put_together(
        pieces: impl IntoIterator<Item = CandidatesChunk>,
    ) -> Result<Option<Vec<f32>>, String> {
        let model = ModelId::new("m");
        let mut answer = Pieces { model: &model, k: 4, due: 0, candidates: vec![] };
        for piece in pieces {
            if let Some(images) = answer.take(piece).map_err(|e| e.to_string())? {
                assert_eq!(images, 7);
                let similarities = answer.candidates.iter().map(|c| c.similarity);
                return Ok(Some(similarities.collect()));
            }
        }
        Ok(None)
    }

    #[test]
    fn pieces_in_order_are_an_answer() {
        let first = piece(0, false, &[0.9, 0.8]);
        let whole = put_together([first.clone(), piece(1, true, &[0.7])]);
        assert_eq!(whole, Ok(Some(vec![0.9, 0.8, 0.7])));
        assert_eq!(put_together([piece(0, true, &[])]), Ok(Some(vec![])));
        // without its last piece it is none yet
        assert_eq!(put_together([first]), Ok(None));
    }

    #[test]
    fn pieces_that_are_not_due_are_no_answer() {
        let (first, second) = (piece(0, false, &[0.9]), piece(1, false, &[0.8]));
        for (pieces, told) in [
            (vec![first.clone(), first.clone()], "piece 0 came where 1 was due"),
            (vec![second.clone(), first.clone()], "piece 1 came where 0 was due"),
            (vec![first, piece(2, true, &[0.7])], "piece 2 came where 1 was due"),
            (vec![piece(u32::MAX, true, &[])], "piece 4294967295 came where 0 was due"),
        ] {
            assert_eq!(put_together(pieces), Err(told.to_owned()));
        }
    }

    #[test]
    fn a_stream_of_pieces_has_an_end() {
        let endless = |similarities: &'static [f32]| {
            put_together((0..).map(move |sequence| piece(sequence, false, similarities)))
        };
        assert_eq!(endless(&[]), Err("piece 0 is empty and not the last".into()));
        let told = "5 candidates came where 4 were asked for";
        assert_eq!(endless(&[0.5]), Err(told.into()));
        assert_eq!(put_together([piece(0, true, &[0.5; 5])]), Err(told.into()));
    }

    #[test]
    fn what_another_model_or_no_similarity_says_is_no_answer() {
        let of = |model: &str| CandidatesChunk {
            model: Some(ModelId::new(model)),
            ..piece(0, true, &[0.5])
        };
        assert_eq!(put_together([of("m")]), Ok(Some(vec![0.5])));
        let told = "the answer is about vectors of other, and the query is of m";
        assert_eq!(put_together([of("other")]), Err(told.into()));
        for wrong in [f32::NAN, f32::INFINITY, 2.0] {
            let told = put_together([piece(0, true, &[0.5, wrong])]).unwrap_err();
            assert!(told.contains("not between -1 and 1"), "{told}");
        }
    }
}
