//! One question to every shard at once, and the candidates that stream back. A shard that is late
//! or missing makes the answer partial, not wrong.

use futures::future::join_all;
use tokio::time::Instant;
use weimocir_domain::{Candidate, Shard};
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
        let subject = subjects::candidates(&collection.name, shard);
        let query = &query;
        async move { one_shard(bus, &subject, query, until).await }
    }));
    let mut gathered = Gathered::default();
    let mut last_refusal = None;
    for (shard, answer) in shards.zip(answers.await) {
        match answer {
            Ok((candidates, images)) => {
                gathered.candidates.extend(candidates);
                gathered.images += images;
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

fn is_absence(code: RefusalCode) -> bool {
    matches!(
        code,
        RefusalCode::Busy | RefusalCode::Timeout | RefusalCode::Unavailable | RefusalCode::Internal
    )
}

async fn one_shard(
    bus: &Bus,
    subject: &str,
    query: &CandidatesQuery,
    until: Instant,
) -> Result<(Vec<Candidate>, u64), Refusal> {
    let mut replies = bus.ask_for_pieces(subject, query, until).await?;
    let mut candidates = Vec::new();
    let mut expected = 0;
    loop {
        let piece: CandidatesChunk = replies.next().await?;
        if piece.sequence != expected {
            let message =
                format!("{subject}: piece {} came where {expected} was due", piece.sequence);
            return Err(Refusal::new(RefusalCode::Unavailable, message));
        }
        candidates.extend(piece.candidates);
        if piece.last {
            return Ok((candidates, piece.images));
        }
        expected += 1;
    }
}
