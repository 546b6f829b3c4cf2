//! The questions that a shard answers: candidates, what it holds of images, everything about one.

use std::sync::Arc;

use weimocir_domain::{Candidate, ModelId, Query, TextReference};
use weimocir_index::IndexError;
use weimocir_runtime::{Asked, BusError, CancellationToken, Service};
use weimocir_wire::{
    Vector,
    query::{CandidatesChunk, CandidatesQuery, Lookup, LookupQuery, Record, RecordQuery},
    search::{Refusal, RefusalCode},
    subjects,
};

use crate::{
    disk::DiskError,
    shard::{Place, Shelf},
};

/// Candidates in one message.
// because: some 500 bytes each with captions and metadata keep a piece far below the server's limit
const PIECE: usize = 64;
/// Searches taken at the same time.
// because: each keeps all cores busy for milliseconds, so that more would only wait here
const SEARCHES: usize = 64;

/// Lookups at the same time.
// because: each costs microseconds, and a feed makes one for every picture that it submits at once
const LOOKUPS: usize = 1_024;

/// Starts answering.
pub(crate) async fn start(
    place: &Place,
    shelf: &Arc<Shelf>,
    service: &Service,
    shutdown: &CancellationToken,
) -> Result<(), BusError> {
    let (collection, shard) = (&place.collection, place.shard);
    let asked =
        |name, subject, limit| Asked { name, subject, group: format!("shard-{shard}"), limit };

    let held = shelf.clone();
    let search = move |query| in_background(held.clone(), move |shelf| candidates(shelf, query));
    let subject = subjects::candidates(collection, shard);
    service.answer(asked("candidates", subject, SEARCHES), search, shutdown).await?;

    let held = shelf.clone();
    let lookup = move |query| in_background(held.clone(), move |shelf| Ok([look_up(shelf, query)]));
    let subject = subjects::lookup(collection, shard);
    service.answer(asked("lookup", subject, LOOKUPS), lookup, shutdown).await?;

    let (held, name) = (shelf.clone(), collection.clone());
    let record = move |query| {
        let name = name.clone();
        in_background(held.clone(), move |shelf| Ok([record(shelf, name, query)?]))
    };
    let subject = subjects::record(collection, shard);
    service.answer(asked("record", subject, 64), record, shutdown).await
}

async fn in_background<T: Send + 'static>(
    shelf: Arc<Shelf>,
    answer: impl FnOnce(&Shelf) -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    tokio::task::spawn_blocking(move || answer(&shelf)).await.unwrap_or_else(|e| {
        Err(Refusal::new(RefusalCode::Internal, format!("the shard failed: {e}")))
    })
}

fn candidates(shelf: &Shelf, question: CandidatesQuery) -> Result<Vec<CandidatesChunk>, Refusal> {
    let query = read(&question)?;
    let gallery = shelf.gallery();
    check_model(gallery.shape(), &question.model, &query)?;
    let composed = query.compose(question.alpha, question.beta).map_err(invalid)?;
    let allowed = question.filter.map(|filter| gallery.select(&filter)).transpose();
    // because: the query worker has checked it, so what is wrong here is not known here yet
    let allowed = allowed.map_err(|e| {
        let message = format!("the shard does not know the filter's fields yet: {e}");
        Refusal::new(RefusalCode::Unavailable, message)
    })?;
    let found = gallery.search(&composed, question.k, &question.exclude, allowed.as_ref());
    let mut found = found.map_err(unsound)?;
    if question.explain {
        for candidate in &mut found {
            candidate.components = gallery.components(&query, candidate.image).map_err(unsound)?;
        }
    }
    let model = gallery.shape().map(|(model, _)| model.clone());
    let images = allowed.map_or_else(|| gallery.images(), |rows| rows.len());
    drop(gallery);
    Ok(pieces(found, model, images))
}

fn pieces(mut found: Vec<Candidate>, model: Option<ModelId>, images: u64) -> Vec<CandidatesChunk> {
    let mut chunks = Vec::new();
    loop {
        let rest = found.split_off(found.len().min(PIECE));
        let sequence = chunks.len() as u32;
        let (last, model) = (rest.is_empty(), model.clone());
        chunks.push(CandidatesChunk { sequence, last, model, images, candidates: found });
        if last {
            return chunks;
        }
        found = rest;
    }
}

/// The query's raw sides, checked.
fn read(question: &CandidatesQuery) -> Result<Query, Refusal> {
    let embedding = |side: &Vector| side.clone().embedding(&question.model).map_err(invalid);
    let captions = match question.text_reference {
        TextReference::Image => &[][..],
        TextReference::Caption => &question.captions,
    };
    Query::new(
        question.reference.as_ref().map(embedding).transpose()?,
        question.modifier.as_ref().map(embedding).transpose()?,
        captions.iter().map(embedding).collect::<Result<_, _>>()?,
    )
    .map_err(invalid)
}

/// Memory that is not sound: the shard is missing from the answer, which a person should know.
fn unsound(error: IndexError) -> Refusal {
    tracing::error!(%error, "a search failed: the shard should be restarted, and reads its disk anew then");
    Refusal::new(RefusalCode::Internal, error.to_string())
}

fn invalid(error: impl std::fmt::Display) -> Refusal {
    Refusal::invalid(error.to_string())
}

fn check_model(
    held: Option<(&ModelId, usize)>,
    asked: &ModelId,
    query: &Query,
) -> Result<(), Refusal> {
    let Some((model, dim)) = held else { return Ok(()) };
    if (model, dim) == (asked, query.dim()) {
        return Ok(());
    }
    Err(Refusal::new(
        RefusalCode::ModelMismatch,
        format!(
            "the gallery's vectors are of {model} ({dim} numbers), the query's of {asked} ({})",
            query.dim()
        ),
    ))
}

fn look_up(shelf: &Shelf, query: LookupQuery) -> Lookup {
    let gallery = shelf.gallery();
    let states = query.images.into_iter().map(|image| gallery.state(image)).collect();
    Lookup { states, images: gallery.images(), captioned: gallery.captioned() }
}

fn record(
    shelf: &Shelf,
    collection: weimocir_domain::Collection,
    query: RecordQuery,
) -> Result<Record, Refusal> {
    let internal = |e: DiskError| Refusal::new(RefusalCode::Internal, e.to_string());
    let part = shelf.disk.image(query.image).map_err(internal)?.ok_or_else(|| {
        let message = format!("there is no image {} in the collection `{collection}`", query.image);
        Refusal::new(RefusalCode::UnknownImage, message)
    })?;
    let captions = shelf.disk.captions(query.image).map_err(internal)?;
    Ok(Record {
        collection,
        image: part.image,
        revision: part.revision,
        model: part.model,
        embedding: part.embedding,
        captions: captions.map_or_else(Vec::new, |part| part.captions),
        source: part.source,
        metadata: part.metadata,
    })
}
