//! Reading requests: as axum's own extractors do, but a request that cannot be read gets a problem
//! document.

use axum::{
    extract::{FromRequest, FromRequestParts, Request, multipart::Field},
    http::{StatusCode, header, request::Parts},
};
use serde::de::DeserializeOwned;

use crate::problem::Problem;

/// A JSON body.
pub(crate) struct Json<T>(pub T);
/// Segments of the path.
pub(crate) struct Path<T>(pub T);
/// What follows the question mark.
pub(crate) struct Query<T>(pub T);
/// A form with files.
pub(crate) struct Multipart(pub axum::extract::Multipart);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        match axum::Json::from_request(request, state).await {
            Ok(axum::Json(body)) => Ok(Self(body)),
            Err(rejection) => {
                // because: a body that is JSON but means nothing here is as wrong as one that is not
                let status = match rejection.status() {
                    StatusCode::UNPROCESSABLE_ENTITY => StatusCode::BAD_REQUEST,
                    status => status,
                };
                Err(Problem::rejected(status, rejection.body_text()))
            }
        }
    }
}

impl<S: Send + Sync> FromRequest<S> for Multipart {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let form = axum::extract::Multipart::from_request(request, state).await;
        form.map(Self).map_err(|e| Problem::rejected(e.status(), e.body_text()))
    }
}

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = axum::extract::Path::from_request_parts(parts, state).await;
        path.map(|axum::extract::Path(path)| Self(path))
            .map_err(|e| Problem::rejected(e.status(), e.body_text()))
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let query = axum::extract::Query::from_request_parts(parts, state).await;
        query
            .map(|axum::extract::Query(query)| Self(query))
            .map_err(|e| Problem::rejected(e.status(), e.body_text()))
    }
}

/// What kind of body a request has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Json,
    Form,
    Lines,
}

impl Kind {
    /// # Errors
    /// None of these.
    pub(crate) fn of(request: &Request) -> Result<Self, Problem> {
        let value = request.headers().get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok());
        let essence = value.unwrap_or_default().split(';').next().unwrap_or_default().trim();
        match essence.to_ascii_lowercase().as_str() {
            "application/json" => Ok(Self::Json),
            "multipart/form-data" => Ok(Self::Form),
            "application/x-ndjson" => Ok(Self::Lines),
            _ => Err(Self::unsupported(essence)),
        }
    }

    pub(crate) fn unsupported(essence: &str) -> Problem {
        let detail = format!("a body of type `{essence}` is not understood here");
        Problem::rejected(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail)
    }
}

/// The bytes of a file in a form.
///
/// # Errors
/// More than `limit` bytes, or a form that breaks off.
pub(crate) async fn file(mut field: Field<'_>, limit: u64) -> Result<Vec<u8>, Problem> {
    let mut bytes = Vec::new();
    while let Some(chunk) = field.chunk().await.map_err(broken)? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() as u64 > limit {
            let detail = format!("a file is larger than {limit} bytes (--http-max-bytes)");
            return Err(Problem::rejected(StatusCode::PAYLOAD_TOO_LARGE, detail));
        }
    }
    Ok(bytes)
}

/// A field of a form that holds JSON.
///
/// # Errors
/// It is none, or means something else.
pub(crate) async fn json<T: DeserializeOwned>(field: Field<'_>) -> Result<T, Problem> {
    let name = field.name().unwrap_or_default().to_owned();
    // because: what fits into a picture's limits of metadata and captions fits into this
    let bytes = file(field, 1 << 20).await?;
    serde_json::from_slice(&bytes).map_err(|e| Problem::invalid(format!("part `{name}`: {e}")))
}

pub(crate) fn broken(error: axum::extract::multipart::MultipartError) -> Problem {
    Problem::rejected(error.status(), error.body_text())
}
