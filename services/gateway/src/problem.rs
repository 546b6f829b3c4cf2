//! What a request that fails is told: a problem document (RFC 9457), with the wire's code for
//! programs and a sentence for people. Routes describe their own failures alone; `describe` adds those
//! that each may have.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::{
    ToSchema,
    openapi::{self, Content, OpenApi, Ref, RefOr},
};
use weimocir_client::SubmissionError;
use weimocir_runtime::{BusError, CollectionError, PictureError, SubmitError};
use weimocir_wire::search::{Refusal, RefusalCode};

use crate::images::Submitted;

/// A problem document (RFC 9457).
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Problem {
    /// Always `about:blank`: the status says what kind of problem it is.
    #[serde(rename = "type")]
    kind: &'static str,
    title: &'static str,
    status: u16,
    /// What is wrong, for people.
    detail: String,
    /// What is wrong, for programs.
    code: &'static str,
    /// What became of each picture, where none of several was taken.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<Submitted>,
}

pub(crate) const CONTENT_TYPE: &str = "application/problem+json";
/// Failures of any route, unless it says more of them itself.
const OF_ALL: [(&str, &str); 3] = [
    ("401", "No API key, or an unknown one"),
    ("429", "Too many requests"),
    ("503", "NATS does not answer"),
];
/// When to come again, in seconds.
// because: work on the way is done in a fraction of a second
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

impl Problem {
    pub(crate) fn new(
        status: StatusCode,
        code: &'static str,
        detail: impl std::fmt::Display,
    ) -> Self {
        Self {
            kind: "about:blank",
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            detail: detail.to_string(),
            code,
            images: Vec::new(),
        }
    }

    pub(crate) fn invalid(detail: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid", detail)
    }

    pub(crate) fn busy(detail: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, RefusalCode::Busy.name(), detail)
    }

    /// What somebody else refused to read, with the nearest code.
    pub(crate) fn rejected(status: StatusCode, detail: impl std::fmt::Display) -> Self {
        let code = match status {
            StatusCode::PAYLOAD_TOO_LARGE => "too_large",
            StatusCode::NOT_FOUND => "not_found",
            StatusCode::METHOD_NOT_ALLOWED => "method_not_allowed",
            StatusCode::UNSUPPORTED_MEDIA_TYPE => "unsupported_media_type",
            status if status.is_client_error() => "invalid",
            _ => "internal",
        };
        Self::new(status, code, detail)
    }

    fn unavailable(error: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, RefusalCode::Unavailable.name(), error)
    }
}

/// Adds the failures of all routes, and that every failure is a problem document.
pub(crate) fn describe(description: &mut OpenApi) {
    let problem = Content::new(Some(Ref::from_schema_name(Problem::name())));
    for item in description.paths.paths.values_mut() {
        let operations = [&mut item.get, &mut item.post, &mut item.patch, &mut item.delete];
        for operation in operations.into_iter().flatten() {
            let responses = &mut operation.responses.responses;
            for (status, why) in OF_ALL {
                let response = || RefOr::T(openapi::Response::new(why));
                responses.entry(status.to_owned()).or_insert_with(response);
            }
            for (status, response) in responses {
                if let RefOr::T(response) = response
                    && status.as_str() >= "400"
                {
                    response.content.insert(CONTENT_TYPE.to_owned(), RefOr::T(problem.clone()));
                }
            }
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        if status.is_server_error() {
            tracing::warn!(status = self.status, detail = self.detail, "a request failed");
        }
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = (status, [(header::CONTENT_TYPE, CONTENT_TYPE)], body).into_response();
        if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER);
        }
        if status == StatusCode::UNAUTHORIZED {
            let bearer = HeaderValue::from_static("Bearer");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, bearer);
        }
        response
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let status = StatusCode::from_u16(refusal.code.status());
        let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self::new(status, refusal.code.name(), refusal.message)
    }
}

impl From<BusError> for Problem {
    fn from(error: BusError) -> Self {
        Self::unavailable(error)
    }
}

impl From<CollectionError> for Problem {
    fn from(error: CollectionError) -> Self {
        of_collection(&error).into()
    }
}

impl From<PictureError> for Problem {
    fn from(error: PictureError) -> Self {
        of_picture(&error).into()
    }
}

impl From<SubmissionError> for Problem {
    fn from(error: SubmissionError) -> Self {
        of_submission(error).into()
    }
}

pub(crate) fn of_collection(error: &CollectionError) -> Refusal {
    let code = match error {
        CollectionError::Unknown { .. } => RefusalCode::UnknownCollection,
        CollectionError::ModelMix { .. } => RefusalCode::ModelMismatch,
        CollectionError::Field { .. } | CollectionError::Reserved { .. } => RefusalCode::Invalid,
        CollectionError::Conflict { .. } | CollectionError::Bus(_) => RefusalCode::Unavailable,
    };
    Refusal::new(code, error.to_string())
}

fn of_picture(error: &PictureError) -> Refusal {
    let code = match error {
        PictureError::Missing(_) => RefusalCode::UnknownImage,
        PictureError::Corrupt(_) => RefusalCode::Internal,
        PictureError::TooLarge { .. } => RefusalCode::Invalid,
        PictureError::Failed { .. } => RefusalCode::Unavailable,
    };
    Refusal::new(code, error.to_string())
}

impl From<SubmitError> for Problem {
    fn from(error: SubmitError) -> Self {
        of_submit(&error).into()
    }
}

fn of_submit(error: &SubmitError) -> Refusal {
    let code = match error {
        SubmitError::Full { .. } => RefusalCode::Busy,
        SubmitError::TooLarge { .. } | SubmitError::Wire(_) => RefusalCode::Invalid,
        SubmitError::Refused { .. } => RefusalCode::Unavailable,
    };
    Refusal::new(code, error.to_string())
}

pub(crate) fn of_submission(error: SubmissionError) -> Refusal {
    match error {
        SubmissionError::Picture { cause, .. } => of_picture(&cause),
        SubmissionError::Submit(cause) => of_submit(&cause),
        SubmissionError::Refused(refusal) => refusal,
    }
}
