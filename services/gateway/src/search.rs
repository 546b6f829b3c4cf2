//! Searches: read from JSON or a form, asked of a query worker, and given back as it answers.

use std::time::Duration;

use axum::{
    extract::{FromRequest, Request, State},
    response::IntoResponse,
};
use tokio::time::{Instant, timeout_at};
use utoipa::ToSchema;
use weimocir_wire::{
    Blob,
    search::{Reference, SearchAnswer, SearchRequest},
    subjects,
};

use crate::{
    app::{App, Gateway},
    extract::{self, Json, Kind, Multipart},
    problem::Problem,
};

/// How long a search may take that does not say so itself.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);
/// The least and the most that one may say, in milliseconds.
const TIMEOUTS: std::ops::RangeInclusive<u64> = 100..=60_000;
/// What a query worker takes beyond a search's own time to say what was missing.
const GRACE: Duration = Duration::from_secs(1);

/// A reference picture as a file, and the rest of the search.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the form's parts, which are read one by one")]
pub(crate) struct SearchForm {
    #[schema(value_type = String, format = Binary)]
    reference: Vec<u8>,
    request: Option<SearchRequest>,
}

/// Find the images that are like a reference, but with what the modifier says
#[utoipa::path(
    post,
    path = "/v1/search",
    tag = "search",
    request_body(content((SearchRequest = "application/json"), (SearchForm = "multipart/form-data"))),
    responses(
        (status = 200, description = "The closest images, the best first", body = SearchAnswer),
        (status = 400, description = "The search says nothing, or something wrong"),
        (status = 404, description = "No such collection or image"),
        (status = 409, description = "The collection has no images or captions yet, or another model"),
        (status = 413, description = "The picture is too large"),
        (status = 415, description = "Neither JSON nor a form"),
        (status = 429, description = "Too much at once: come again"),
        (status = 503, description = "A worker that is needed does not answer"),
        (status = 504, description = "It took too long"),
    ),
    security((), ("key" = []))
)]
pub(crate) async fn search(
    State(app): State<App>,
    request: Request,
) -> Result<impl IntoResponse, Problem> {
    let search = match Kind::of(&request)? {
        Kind::Json => Json::from_request(request, &()).await?.0,
        Kind::Form => form(&app, Multipart::from_request(request, &()).await?).await?,
        Kind::Lines => return Err(Kind::unsupported("application/x-ndjson")),
    };
    Ok(axum::Json(ask(&app, search).await?))
}

async fn form(app: &Gateway, Multipart(mut form): Multipart) -> Result<SearchRequest, Problem> {
    let (mut search, mut reference) = (SearchRequest::default(), None);
    while let Some(field) = form.next_field().await.map_err(extract::broken)? {
        match field.name() {
            Some("reference") => {
                let bytes = extract::file(field, app.args.http_max_bytes).await?;
                reference = Some(Reference::Image(Blob(bytes)));
            }
            Some("request") => search = extract::json(field).await?,
            other => {
                let name = other.unwrap_or_default();
                return Err(Problem::invalid(format!("a search has no part `{name}`")));
            }
        }
    }
    if reference.is_some() && search.reference.is_some() {
        return Err(Problem::invalid("the reference is given twice, as a file and in the request"));
    }
    search.reference = search.reference.or(reference);
    Ok(search)
}

/// Asks as soon as few enough others do, within the search's own time.
async fn ask(app: &Gateway, mut search: SearchRequest) -> Result<SearchAnswer, Problem> {
    if let Some(outside) = search.timeout_ms.filter(|ms| !TIMEOUTS.contains(ms)) {
        let (least, most) = (TIMEOUTS.start(), TIMEOUTS.end());
        let detail = format!("timeout_ms is {outside}, which is not between {least} and {most}");
        return Err(Problem::invalid(detail));
    }
    let timeout = search.timeout_ms.map_or(DEFAULT_TIMEOUT, Duration::from_millis);
    let until = Instant::now() + timeout;
    let Ok(permit) = timeout_at(until, app.searches.acquire()).await else {
        return Err(Problem::busy("too many searches wait; try again"));
    };
    let _permit = permit.map_err(Problem::busy)?;
    let left = until.saturating_duration_since(Instant::now());
    search.timeout_ms = Some((left.as_millis() as u64).max(1));
    search.version = None;
    Ok(app.bus.ask(subjects::SEARCH, &search, left + GRACE).await?)
}
