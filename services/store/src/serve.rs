//! The questions that a shard answers: candidates, what it holds of images, everything about one.

use std::sync::Arc;

use roaring::RoaringBitmap;
use weimocir_domain::{Candidate, Composed, ModelId, Query, TextReference};
use weimocir_index::IndexError;
use weimocir_runtime::{Asked, BusError, CancellationToken, Service};
use weimocir_wire::{
    Vector,
    query::{
        CandidatesChunk, CandidatesQuery, ListQuery, Listing, Lookup, LookupQuery, Record,
        RecordQuery,
    },
    search::{Refusal, RefusalCode},
    subjects,
};

use crate::{
    disk::{DiskError, ImageRecord},
    gallery::Gallery,
    shard::{Place, Shelf},
};

/// Candidates or listed images in one message.
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
    let group = format!("shard-{shard}");
    let asked = |question, subject, limit| Asked { subject, group: group.clone(), question, limit };

    let (held, scan) = (shelf.clone(), place.scan.clone());
    let search = move |query| {
        let (shelf, scan) = (held.clone(), scan.clone());
        async move {
            if let Some(scan) = scan {
                let images = shelf.gallery().images();
                scan.of(images).await;
            }
            in_background(shelf, move |shelf| candidates(shelf, query)).await
        }
    };
    let subject = subjects::candidates(collection, shard);
    service.answer(asked("candidates", subject, SEARCHES), search, shutdown).await?;

    let held = shelf.clone();
    let lookup = move |query| in_background(held.clone(), move |shelf| Ok([look_up(shelf, query)]));
    let subject = subjects::lookup(collection, shard);
    service.answer(asked("lookup", subject, LOOKUPS), lookup, shutdown).await?;

    let held = shelf.clone();
    let list = move |query| in_background(held.clone(), move |shelf| list(shelf, query));
    let subject = subjects::list(collection, shard);
    service.answer(asked("list", subject, 64), list, shutdown).await?;

    let (held, name) = (shelf.clone(), place.known_as.clone());
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
    let composed = query.compose(question.alpha, question.beta).map_err(invalid)?;
    let found = shelf.healing(|gallery| match admit(gallery, &question, &query) {
        Ok(allowed) => find(gallery, &question, (&query, &composed), allowed.as_ref()).map(Ok),
        Err(refusal) => Ok(Err(refusal)),
    });
    let Found { candidates, model, images } = found.map_err(unsound)??;
    Ok(pieces(candidates, model, images))
}

/// The rows that the question's filter lets through, if it has one.
fn admit(
    gallery: &Gallery,
    question: &CandidatesQuery,
    query: &Query,
) -> Result<Option<RoaringBitmap>, Refusal> {
    check_model(gallery.shape(), &question.model, query)?;
    let allowed = question.filter.as_ref().map(|filter| gallery.select(filter)).transpose();
    // because: the query worker has checked it, so what is wrong here is not known here yet
    allowed.map_err(|e| {
        let message = format!("the shard does not know the filter's fields yet: {e}");
        Refusal::new(RefusalCode::Unavailable, message)
    })
}

struct Found {
    candidates: Vec<Candidate>,
    model: Option<ModelId>,
    /// How many there were to choose from.
    images: u64,
}

fn find(
    gallery: &Gallery,
    question: &CandidatesQuery,
    (query, composed): (&Query, &Composed),
    allowed: Option<&RoaringBitmap>,
) -> Result<Found, IndexError> {
    let mut candidates = gallery.search(composed, question.k, &question.exclude, allowed)?;
    if question.explain {
        for candidate in &mut candidates {
            candidate.components = gallery.components(query, candidate.image)?;
        }
    }
    let model = gallery.shape().map(|(model, _)| model.clone());
    let images = allowed.map_or_else(|| gallery.images(), RoaringBitmap::len);
    Ok(Found { candidates, model, images })
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

/// Neither memory nor disk is sound: the shard is missing from the answer, which a person should know.
fn unsound(error: IndexError) -> Refusal {
    tracing::error!(%error, "a search failed: start the store again, and it makes the shard anew");
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

fn list(shelf: &Shelf, query: ListQuery) -> Result<[Listing; 1], Refusal> {
    if !(1..=PIECE).contains(&query.limit) {
        let message = format!("limit is {}, which is not between 1 and {PIECE}", query.limit);
        return Err(Refusal::invalid(message));
    }
    Ok([Listing { images: shelf.gallery().newest(query.before, query.limit) }])
}

fn record(
    shelf: &Shelf,
    collection: weimocir_domain::Collection,
    query: RecordQuery,
) -> Result<Record, Refusal> {
    let internal = |e: DiskError| Refusal::new(RefusalCode::Internal, e.to_string());
    let image = query.image;
    let unknown = || {
        let message = format!("there is no image {image} in the collection `{collection}`");
        Refusal::new(RefusalCode::UnknownImage, message)
    };
    // because: a part that is being written must be read whole or not at all
    let _no_change = shelf.changing();
    let held = shelf.disk.recollection(image).map_err(internal)?.image.ok_or_else(unknown)?;
    let embedding = shelf.disk.vectors(image).map_err(internal)?.embedding.ok_or_else(unknown)?;
    let captions = shelf.disk.captions(image).map_err(internal)?;
    let ImageRecord { revision, model, source, metadata } = held;
    let embedding = Vector(embedding);
    Ok(Record { collection, image, revision, model, embedding, captions, source, metadata })
}
