//! Pictures into the pipeline: from a form, from JSON, or many as lines of JSON.

use axum::{
    body::{Body, Bytes},
    extract::{FromRequest, Request, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use futures::{StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::{
    codec::{FramedRead, LinesCodec, LinesCodecError},
    io::StreamReader,
};
use utoipa::ToSchema;
use weimocir_client::{Gallery, Outcome, Submission, SubmissionError, SubmitOptions, Submitter};
use weimocir_domain::{Collection, ImageId};
use weimocir_runtime::CollectionError;
use weimocir_wire::{
    Blob,
    search::{Refusal, RefusalCode},
    submit::{SubmitAnswer, SubmitOutcome, SubmitRequest},
    vectors::CollectionRecord,
    work::Metadata,
};

use crate::{
    app::{App, Gateway},
    extract::{self, Json, Kind, Multipart, Path},
    problem::{self, Problem},
};

/// One picture to put in.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewImage {
    /// The file, in base64.
    image: Option<Blob>,
    /// Where it is to be fetched from, in place of `image`: an http or https address.
    url: Option<String>,
    /// Where it came from: a path or address.
    source: Option<String>,
    /// What else is known of it; what the collection declares can be filtered by.
    #[serde(default)]
    #[schema(value_type = Object)]
    metadata: Metadata,
    /// Captions made elsewhere; without them a captioner makes some.
    captions: Option<Vec<String>>,
}

/// Files, and before them what goes for all.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the form's parts, which are read one by one")]
pub(crate) struct ImageForm {
    #[schema(value_type = Option<Object>)]
    metadata: Option<Metadata>,
    /// Only with a single image.
    captions: Option<Vec<String>>,
    #[schema(value_type = Vec<String>, format = Binary)]
    image: Vec<Vec<u8>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verdict {
    /// It is on its way.
    Submitted,
    /// The gallery has it already.
    Present,
    Refused,
}

/// What became of one picture.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Submitted {
    source: String,
    /// Names the picture by its content; absent if it was not read.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<ImageId>,
    outcome: Verdict,
    /// Why it was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SubmittedImages {
    images: Vec<Submitted>,
}

/// Pictures of one request in work at the same time.
const AT_ONCE: usize = 8;

/// Put pictures in; the collection is made if it is new
#[utoipa::path(
    post,
    path = "/v1/collections/{collection}/images",
    tag = "images",
    params(("collection" = Collection, Path, description = "The gallery")),
    request_body(content(
        (ImageForm = "multipart/form-data"),
        (NewImage = "application/json"),
        (NewImage = "application/x-ndjson")
    )),
    responses(
        (status = 200, description = "Of lines: an outcome a line, as they are decided", content((Submitted = "application/x-ndjson"))),
        (status = 202, description = "What became of each picture", body = SubmittedImages),
        (status = 400, description = "A body that makes no sense"),
        (status = 413, description = "A picture is too large"),
        (status = 415, description = "Neither a form, JSON, nor lines of JSON"),
        (status = 422, description = "No picture was taken: `images` says why"),
        (status = 429, description = "Too much at once, or a full queue: come again"),
    ),
    security((), ("key" = []))
)]
pub(crate) async fn submit(
    State(app): State<App>,
    Path(collection): Path<Collection>,
    request: Request,
) -> Result<Response, Problem> {
    let kind = Kind::of(&request)?;
    let permit = app.uploads.clone().try_acquire_owned();
    let permit = permit.map_err(|_| Problem::busy("too many uploads at once; try again"))?;
    let submitter = submitter(&app, &collection).await?;
    match kind {
        Kind::Json => {
            let Json(new) = Json::<NewImage>::from_request(request, &()).await?;
            answer(vec![take_new(&app, &submitter, new).await?])
        }
        Kind::Form => {
            let form = Multipart::from_request(request, &()).await?;
            answer(from_form(&app, &submitter, form).await?)
        }
        Kind::Lines => Ok(from_lines(app, submitter, request.into_body(), permit)),
    }
}

async fn submitter(app: &Gateway, collection: &Collection) -> Result<Submitter, Problem> {
    let record = match app.collections.get(collection).await {
        Err(CollectionError::Unknown { .. }) => {
            app.collections.ensure(collection, app.args.http_shards).await?
        }
        record => record?,
    };
    Ok(submitter_into(app, record, true))
}

fn submitter_into(app: &Gateway, record: CollectionRecord, make_captions: bool) -> Submitter {
    let options = SubmitOptions {
        force: false,
        make_captions,
        max_bytes: app.args.http_max_bytes,
        patient: false,
    };
    let gallery = Gallery::new(&app.bus, record).following(&app.collections);
    Submitter::new(gallery, app.pictures.clone(), options)
}

/// All of them, unless none was taken.
fn answer(images: Vec<Submitted>) -> Result<Response, Problem> {
    match images.as_slice() {
        [] => Err(Problem::invalid("there is no picture: send parts `image`")),
        all if all.iter().all(|one| one.outcome == Verdict::Refused) => {
            let detail = match all {
                [one] => one.reason.clone().unwrap_or_default(),
                _ => "none of the pictures can be taken".to_owned(),
            };
            let mut problem = Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", detail);
            problem.images = images;
            Err(problem)
        }
        _ => Ok((StatusCode::ACCEPTED, axum::Json(SubmittedImages { images })).into_response()),
    }
}

async fn take(submitter: &Submitter, new: Submission) -> Result<Submitted, SubmissionError> {
    let (source, image) = (new.source.clone(), ImageId::of(&new.bytes));
    let (outcome, reason) = match submitter.take(new).await? {
        Outcome::Submitted { .. } => (Verdict::Submitted, None),
        Outcome::AlreadyThere { .. } => (Verdict::Present, None),
        Outcome::Refused { reason, .. } => (Verdict::Refused, Some(reason)),
    };
    Ok(Submitted { source, id: Some(image), outcome, reason })
}

/// A picture that is sent or named: fetched first, if it is named.
async fn take_new(
    app: &Gateway,
    submitter: &Submitter,
    new: NewImage,
) -> Result<Submitted, SubmissionError> {
    let NewImage { image, url, source, metadata, captions } = new;
    let source = source_of(source, url.as_deref());
    match file_of(app, image, url).await {
        Ok(bytes) => {
            take(submitter, Submission { source, bytes, captions, metadata, offer: None }).await
        }
        Err(Refusal { message, .. }) => {
            let outcome = Verdict::Refused;
            Ok(Submitted { source, id: None, outcome, reason: Some(message) })
        }
    }
}

fn source_of(source: Option<String>, url: Option<&str>) -> String {
    source.or_else(|| url.map(str::to_owned)).unwrap_or_else(|| "upload".to_owned())
}

async fn file_of(
    app: &Gateway,
    image: Option<Blob>,
    url: Option<String>,
) -> Result<Vec<u8>, Refusal> {
    match (image, url) {
        (Some(Blob(bytes)), None) => Ok(bytes),
        (None, Some(url)) => app.fetcher.get(&url).await.map_err(|error| {
            let code = match error.may_pass() {
                true => RefusalCode::Unavailable,
                false => RefusalCode::Invalid,
            };
            Refusal::new(code, error.to_string())
        }),
        _ => Err(Refusal::invalid("one of `image` and `url` is needed")),
    }
}

/// Answers `weimocir.submit`. Unlike over HTTP, no collection is made: a name that is mistyped is
/// told.
///
/// # Errors
/// What is wrong with the picture or the rest of the request, or why it is not taken now.
pub(crate) async fn submit_over_nats(
    app: App,
    request: SubmitRequest,
) -> Result<[SubmitAnswer; 1], Refusal> {
    let SubmitRequest { collection, image, url, source, metadata, captions, .. } = request;
    let busy = |_| Refusal::new(RefusalCode::Busy, "too many uploads at once; try again");
    let _permit = app.uploads.try_acquire().map_err(busy)?;
    let record = app.collections.get(&collection).await;
    let record = record.map_err(|error| problem::of_collection(&error))?;
    let submitter = submitter_into(&app, record, request.make_captions.unwrap_or(true));
    let source = source_of(source, url.as_deref());
    let bytes = file_of(&app, image, url).await?;
    let submission = Submission { source, bytes, captions, metadata, offer: None };
    let (id, outcome) = match submitter.take(submission).await.map_err(problem::of_submission)? {
        Outcome::Submitted { image, .. } => (image, SubmitOutcome::Submitted),
        Outcome::AlreadyThere { image } => (image, SubmitOutcome::Present),
        Outcome::Refused { reason, .. } => return Err(Refusal::invalid(reason)),
    };
    Ok([SubmitAnswer { id, outcome }])
}

/// Takes one file after the other, so that one of them is in memory and not all.
async fn from_form(
    app: &Gateway,
    submitter: &Submitter,
    Multipart(mut form): Multipart,
) -> Result<Vec<Submitted>, Problem> {
    let (mut metadata, mut captions) = (Metadata::new(), None::<Vec<String>>);
    let mut images = Vec::new();
    while let Some(field) = form.next_field().await.map_err(extract::broken)? {
        let is_late = !images.is_empty();
        match field.name() {
            Some("image") if is_late && captions.is_some() => {
                return Err(Problem::invalid("captions go with a single image"));
            }
            Some("image") => {
                let source = field.file_name().unwrap_or("upload").to_owned();
                let bytes = match extract::file(field, app.args.http_max_bytes).await {
                    Ok(bytes) => bytes,
                    // because: the others of the form are no worse for it
                    Err(_) if is_late => {
                        let reason = Some(weimocir_client::too_large(app.args.http_max_bytes));
                        let outcome = Verdict::Refused;
                        images.push(Submitted { source, id: None, outcome, reason });
                        break;
                    }
                    Err(problem) => return Err(problem),
                };
                let (metadata, captions) = (metadata.clone(), captions.clone());
                let new = Submission { source, bytes, captions, metadata, offer: None };
                images.push(take(submitter, new).await?);
            }
            Some("metadata" | "captions") if is_late => {
                return Err(Problem::invalid("metadata and captions go before the images"));
            }
            Some("metadata") => metadata = extract::json(field).await?,
            Some("captions") => captions = Some(extract::json(field).await?),
            other => {
                let name = other.unwrap_or_default();
                return Err(Problem::invalid(format!("an upload has no part `{name}`")));
            }
        }
    }
    Ok(images)
}

/// Answers line by line while the body still comes.
fn from_lines(
    app: App,
    submitter: Submitter,
    body: Body,
    permit: OwnedSemaphorePermit,
) -> Response {
    // because: base64 takes 4 bytes for 3, and the rest of a line is small
    let longest = app.args.http_max_bytes as usize / 3 * 4 + (64 << 10);
    let reader = StreamReader::new(body.into_data_stream().map_err(std::io::Error::other));
    let lines = FramedRead::new(reader, LinesCodec::new_with_max_length(longest));
    let outcomes = lines.enumerate().map(move |(at, line)| {
        let (app, submitter) = (app.clone(), submitter.clone());
        async move { from_line(&app, &submitter, at + 1, line).await }
    });
    let answers = outcomes.buffered(AT_ONCE).filter_map(|outcome| async { outcome });
    let answers = answers.map(move |outcome| {
        let _in_work = &permit;
        let mut line = serde_json::to_vec(&outcome)?;
        line.push(b'\n');
        Ok::<_, serde_json::Error>(Bytes::from(line))
    });
    let kind = [(header::CONTENT_TYPE, "application/x-ndjson")];
    (kind, Body::from_stream(answers)).into_response()
}

/// Nothing of an empty line.
async fn from_line(
    app: &Gateway,
    submitter: &Submitter,
    at: usize,
    line: Result<String, LinesCodecError>,
) -> Option<Submitted> {
    let refused = |reason: String| Submitted {
        source: format!("line {at}"),
        id: None,
        outcome: Verdict::Refused,
        reason: Some(reason),
    };
    let line = match line {
        Ok(line) if line.trim().is_empty() => return None,
        Ok(line) => line,
        Err(error) => return Some(refused(error.to_string())),
    };
    let new: NewImage = match serde_json::from_str(&line) {
        Ok(new) => new,
        Err(error) => return Some(refused(error.to_string())),
    };
    Some(match take_new(app, submitter, new).await {
        Ok(submitted) => submitted,
        Err(error) => refused(format!("not taken now, send it again: {error}")),
    })
}
