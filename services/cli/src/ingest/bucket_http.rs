//! How `object_store` reaches a bucket: by ureq, as everything else here is fetched.

use std::time::Duration;

use async_trait::async_trait;
use object_store::{
    ClientConfigKey, ClientOptions,
    client::{
        HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse,
        HttpResponseBody, HttpService,
    },
};
use ureq::Agent;

/// How long one request may take, its answer included.
const PATIENCE: Duration = Duration::from_secs(60);
/// Room for a page of a list beside the largest picture.
const PAGE: u64 = 16 << 20;

/// Answers of more than `max_bytes`, and a page besides, break off.
#[derive(Debug)]
pub(super) struct Connector {
    pub max_bytes: u64,
}

#[derive(Debug)]
struct Client {
    agent: Agent,
    limit: u64,
}

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let allow_http = options.get_config_value(&ClientConfigKey::AllowHttp);
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .https_only(allow_http.as_deref() != Some("true"))
            .timeout_global(Some(PATIENCE))
            .build();
        let limit = self.max_bytes.saturating_add(PAGE);
        Ok(HttpClient::new(Client { agent: config.into(), limit }))
    }
}

#[async_trait]
impl HttpService for Client {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let (agent, limit) = (self.agent.clone(), self.limit);
        let (parts, body) = request.into_parts();
        debug_assert!(body.is_empty(), "a feed only reads");
        let asking = tokio::task::spawn_blocking(move || {
            let request = ureq::http::Request::from_parts(parts, ());
            let (parts, mut body) = agent.run(request).map_err(failure)?.into_parts();
            let bytes = body.with_config().limit(limit).read_to_vec().map_err(failure)?;
            Ok(HttpResponse::from_parts(parts, HttpResponseBody::from(bytes)))
        });
        asking.await.unwrap_or_else(|died| Err(HttpError::new(HttpErrorKind::Unknown, died)))
    }
}

/// Whether the request is sent again depends on the kind.
fn failure(error: ureq::Error) -> HttpError {
    let kind = match &error {
        ureq::Error::Timeout(_) => HttpErrorKind::Timeout,
        ureq::Error::ConnectionFailed => HttpErrorKind::Connect,
        ureq::Error::Io(_) => HttpErrorKind::Interrupted,
        ureq::Error::BodyExceedsLimit(_) => HttpErrorKind::Decode,
        _ => HttpErrorKind::Unknown,
    };
    HttpError::new(kind, error)
}
