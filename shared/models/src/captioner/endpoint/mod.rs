//! A captioner behind an OpenAI-compatible chat endpoint: vLLM, Ollama, Gemini, OpenAI.
//!
//! This file is the course of one picture. `settings` is what a user chooses, `picture` what is
//! sent of a picture, `request` the body, `http` one exchange, `answer` and `facts` its meaning,
//! `retry` the pauses.

mod answer;
mod facts;
mod http;
mod key;
mod picture;
mod request;
mod retry;
mod settings;

use std::{
    num::NonZeroUsize,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::{FutureExt, future::BoxFuture};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

use super::{CaptionError, Captioner, Picture, off_thread};
use crate::{device::Lane, image::decoding};
use answer::{Completion, Unusable, Wanted};
use http::{Client, Fault};
use request::{Dialect, Question};

pub use key::ApiKey;
pub use settings::{EndpointError, EndpointSettings};

/// Answers without captions that are asked again; a model that has declined so often will go on.
const UNUSABLE: u32 = 3;
/// For one picture of a query, whatever the patience for others is.
// because: a search waits 5 seconds unless told otherwise, and a minute at most
const QUERY_PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub struct EndpointCaptioner {
    name: String,
    settings: EndpointSettings,
    client: Client,
    ingest: Arc<Semaphore>,
    query: Arc<Semaphore>,
    /// What the server was found to take.
    dialect: Mutex<Dialect>,
}

impl EndpointCaptioner {
    /// Asks nothing yet.
    ///
    /// # Errors
    /// An address that is none, or a setting out of range.
    pub fn new(settings: EndpointSettings) -> Result<Self, EndpointError> {
        let address = settings.check()?;
        if settings.key.is_some() && !address.encrypted && !address.local {
            tracing::warn!(host = address.host, "the key is sent unencrypted: the address is http");
        }
        Ok(Self {
            name: format!("endpoint:{}@{}", settings.model, address.host),
            client: Client::new(address, settings.key.clone()),
            ingest: Arc::new(Semaphore::new(settings.concurrency)),
            // because: a query must not wait until a gallery has been captioned
            query: Arc::new(Semaphore::new(settings.concurrency.div_ceil(4))),
            dialect: Mutex::default(),
            settings,
        })
    }

    async fn write(&self, picture: Picture, r: usize) -> Result<Vec<String>, CaptionError> {
        let permit = Arc::new(self.permit(picture.lane).await?);
        let side = self.settings.longest_side;
        let bytes = picture.bytes;
        let data_url =
            decoding(picture.lane, bytes, move |bytes| picture::data_url(bytes, side)).await?;
        let patience = match picture.lane {
            Lane::Query => QUERY_PATIENCE.min(self.settings.patience),
            Lane::Ingest => self.settings.patience,
        };
        let mut course = Course {
            until: Instant::now() + patience,
            dialect: *self.known_dialect(),
            failures: 0,
            unusable: 0,
        };
        let wanted = match self.settings.structured {
            true => Wanted::Facts { r },
            false => Wanted::Captions { r },
        };
        loop {
            let question = Question {
                model: &self.settings.model,
                data_url: &data_url,
                wanted,
                // because: the same question would get the same unusable answer again
                seed: picture.seed.wrapping_add(u64::from(course.unusable)),
                temperature: (self.settings.temperature + 0.2 * course.unusable as f32).min(2.0),
            };
            let body = question.body(course.dialect).to_string();
            match self.exchange(body, course.until, permit.clone()).await? {
                Ok(completion) => {
                    self.learn(course.dialect);
                    match completion.captions(wanted) {
                        Ok(captions) => return Ok(captions),
                        Err(unusable) => self.after_unusable(unusable, &mut course)?,
                    }
                }
                Err(fault) => self.after(fault, &mut course, picture.lane).await?,
            }
        }
    }

    /// A place among the requests under way.
    async fn permit(&self, lane: Lane) -> Result<OwnedSemaphorePermit, CaptionError> {
        let closed = || CaptionError::Broken { reason: "it has been closed".to_owned() };
        match lane {
            Lane::Ingest => Arc::clone(&self.ingest).acquire_owned().await.map_err(|_| closed()),
            Lane::Query => {
                let query = Arc::clone(&self.query);
                query.try_acquire_owned().map_err(|_| self.busy("all its places are taken"))
            }
        }
    }

    /// One request. It holds its place until it has ended, even if nobody waits for it any more.
    async fn exchange(
        &self,
        body: String,
        until: Instant,
        place: Arc<OwnedSemaphorePermit>,
    ) -> Result<Result<Completion, Fault>, CaptionError> {
        let left = until.saturating_duration_since(Instant::now());
        let timeout = self.settings.timeout.min(left.max(Duration::from_millis(1)));
        let client = self.client.clone();
        off_thread(move || {
            let outcome = client.complete(body.as_bytes(), timeout);
            drop(place);
            outcome
        })
        .await
    }

    /// Goes on after an answer without captions, unless there were too many.
    fn after_unusable(&self, unusable: Unusable, course: &mut Course) -> Result<(), CaptionError> {
        course.unusable += 1;
        course.failures += 1;
        let reason = format!("{unusable} ({} of {UNUSABLE} answers)", course.unusable);
        tracing::debug!(captioner = self.name, reason, "unusable answer");
        if course.unusable >= UNUSABLE {
            return Err(CaptionError::Rejected { reason });
        }
        if course.failures >= self.settings.attempts {
            return Err(CaptionError::Unavailable { reason });
        }
        Ok(())
    }

    /// Waits as a fault demands, or ends with it.
    async fn after(
        &self,
        fault: Fault,
        course: &mut Course,
        lane: Lane,
    ) -> Result<(), CaptionError> {
        let about = |reason: String| format!("the endpoint {} {reason}", self.client.host());
        let (reason, limited, asked) = match fault {
            Fault::Broken { reason } => return Err(CaptionError::Broken { reason: about(reason) }),
            Fault::Picture { reason } => {
                return Err(CaptionError::Rejected { reason: about(reason) });
            }
            Fault::Invalid { reason } => {
                let Some(dialect) = course.dialect.without(&reason) else {
                    return Err(CaptionError::Rejected { reason: about(reason) });
                };
                tracing::debug!(captioner = self.name, reason, "asking without what is refused");
                course.dialect = dialect;
                return Ok(());
            }
            Fault::Passing { reason, limited, asked } => (about(reason), limited, asked),
        };
        course.failures += 1;
        let pause = retry::pause(course.failures, self.settings.first_pause, asked, rand::random());
        let left = course.until.saturating_duration_since(Instant::now());
        if course.failures >= self.settings.attempts || pause >= left {
            let failures = course.failures;
            let reason = format!("{reason} (gave up after {failures} failed requests)");
            return Err(match (lane, limited) {
                (Lane::Query, true) => self.busy(&reason),
                _ => CaptionError::Unavailable { reason },
            });
        }
        tracing::debug!(captioner = self.name, reason, ?pause, "will be asked again");
        tokio::time::sleep(pause).await;
        Ok(())
    }

    fn busy(&self, reason: &str) -> CaptionError {
        CaptionError::Busy { reason: format!("{}: {reason}", self.name) }
    }

    fn learn(&self, dialect: Dialect) {
        let mut known = self.known_dialect();
        *known = known.meet(dialect);
    }

    fn known_dialect(&self) -> std::sync::MutexGuard<'_, Dialect> {
        self.dialect.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How far the questions about one picture have come.
struct Course {
    until: Instant,
    dialect: Dialect,
    failures: u32,
    unusable: u32,
}

impl Captioner for EndpointCaptioner {
    fn name(&self) -> &str {
        &self.name
    }

    /// Exactly `r` captions.
    fn caption(
        &self,
        picture: Picture,
        r: NonZeroUsize,
    ) -> BoxFuture<'_, Result<Vec<String>, CaptionError>> {
        self.write(picture, r.get()).boxed()
    }
}
