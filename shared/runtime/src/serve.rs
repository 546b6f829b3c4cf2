//! Answering requests, as a worker of the NATS service API: every worker can be pinged and counted by
//! any NATS client.

use std::{
    collections::HashMap,
    future::{Future, ready},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_nats::{
    HeaderMap, Subject, Subscriber,
    service::{self, ServiceExt},
};
use bytes::Bytes;
use futures::{FutureExt, StreamExt, future::BoxFuture};
use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;
use weimocir_wire::{
    Encoding, Message, WireError, decode, encode, metrics as names,
    names::{CONTENT_JSON, CONTENT_MESSAGE_PACK, CONTENT_TYPE},
    search::{Refusal, RefusalCode, Refused},
};

use crate::{Bus, BusError, trace};

/// A worker's face on the service API. It owns the tasks that answer.
pub struct Service {
    name: &'static str,
    inner: service::Service,
    bus: Bus,
    answering: Mutex<JoinSet<()>>,
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Service({})", self.name)
    }
}

/// A subject to answer on.
#[derive(Debug, Clone)]
pub struct Asked {
    pub subject: String,
    /// Workers of one group share the requests.
    pub group: String,
    /// What is asked, as metrics name it.
    pub question: &'static str,
    /// Requests handled at once; more are told that this worker is busy.
    pub limit: usize,
}

/// A question's bytes to the answer's pieces, ready to send.
type Handler =
    Arc<dyn Fn(Bytes, Encoding) -> BoxFuture<'static, Result<Vec<Vec<u8>>, Refusal>> + Send + Sync>;

impl Service {
    /// Registers the worker: from now on it is counted as alive.
    ///
    /// # Errors
    /// The server does not take the subscriptions.
    pub fn start<'a>(
        bus: &'a Bus,
        name: &'static str,
        facts: HashMap<String, String>,
    ) -> BoxFuture<'a, Result<Self, BusError>> {
        let starting = async move {
            let builder = bus.client.service_builder().metadata(facts);
            let inner = builder
                .start(name, env!("CARGO_PKG_VERSION"))
                .await
                .map_err(|e| BusError::failed(format!("register {name}"), e))?;
            let service = Self { name, inner, bus: bus.clone(), answering: Mutex::default() };
            service.confirm().await?;
            Ok(service)
        };
        starting.boxed()
    }

    /// Waits until the server routes to this worker: a subscription alone returns before that.
    async fn confirm(&self) -> Result<(), BusError> {
        let id = self.inner.info().await.id;
        let ping = format!("$SRV.PING.{}.{id}", self.name);
        self.bus
            .client
            .request(ping, "".into())
            .await
            .map(|_| ())
            .map_err(|e| BusError::failed(format!("reach {} through the server", self.name), e))
    }

    /// Answers `asked` until `shutdown`. A handler's answer may have several pieces, sent in order.
    ///
    /// # Errors
    /// The server does not take the subscription.
    pub fn answer<Q, A, I, F>(
        &self,
        asked: Asked,
        handler: impl Fn(Q) -> F + Send + Sync + 'static,
        shutdown: &CancellationToken,
    ) -> BoxFuture<'_, Result<(), BusError>>
    where
        Q: Message,
        A: Message,
        I: IntoIterator<Item = A>,
        F: Future<Output = Result<I, Refusal>> + Send + 'static,
    {
        let handler: Handler =
            Arc::new(move |payload, encoding| match decode::<Q>(&payload, encoding) {
                Err(error) => ready(Err(Refusal::invalid(error.to_string()))).boxed(),
                Ok(question) => {
                    let write = move |piece: A| {
                        let internal =
                            |e: WireError| Refusal::new(RefusalCode::Internal, e.to_string());
                        encode(&piece, encoding).map_err(internal)
                    };
                    let pieces =
                        move |answer: Result<I, Refusal>| answer?.into_iter().map(write).collect();
                    handler(question).map(pieces).boxed()
                }
            });
        self.answer_bytes(asked, handler, shutdown.clone()).boxed()
    }

    async fn answer_bytes(
        &self,
        asked: Asked,
        handler: Handler,
        shutdown: CancellationToken,
    ) -> Result<(), BusError> {
        let Asked { subject, group, question, limit } = asked;
        let questions = self.bus.client.queue_subscribe(subject.clone(), group).await;
        let questions =
            questions.map_err(|e| BusError::failed(format!("answer on {subject}"), e))?;
        let answerer = Answerer {
            bus: self.bus.clone(),
            labels: [("service", self.name), ("question", question)],
            limit: Arc::new(Semaphore::new(limit)),
            handler,
        };
        let serving = serve(answerer, questions, shutdown);
        self.answering.lock().unwrap_or_else(PoisonError::into_inner).spawn(serving);
        self.confirm().await
    }

    /// After the shutdown: waits until the last answer is out, and leaves the service API.
    pub fn finish(self) -> BoxFuture<'static, ()> {
        let finishing = async move {
            let mut answering = self.answering.into_inner().unwrap_or_else(PoisonError::into_inner);
            while answering.join_next().await.is_some() {}
            if let Err(error) = self.inner.stop().await {
                tracing::debug!(%error, "the service was gone already");
            }
        };
        finishing.boxed()
    }
}

/// How long the server may take to send what it had routed here before it heard of the end.
const DRAIN: Duration = Duration::from_secs(5);

/// What answers one subject's questions.
#[derive(Clone)]
struct Answerer {
    bus: Bus,
    labels: [(&'static str, &'static str); 2],
    limit: Arc<Semaphore>,
    handler: Handler,
}

// because: an endpoint of the service API leaves out what is on its way when it ends
async fn serve(answerer: Answerer, mut questions: Subscriber, shutdown: CancellationToken) {
    let mut tasks = JoinSet::new();
    loop {
        while tasks.try_join_next().is_some() {}
        let question = tokio::select! {
            question = questions.next() => question,
            () = shutdown.cancelled() => break,
        };
        let Some(question) = question else { break };
        tasks.spawn(answerer.clone().answer(question));
    }
    if let Err(error) = questions.drain().await {
        tracing::debug!(%error, "the subscription was gone already");
    }
    while let Ok(Some(question)) = timeout(DRAIN, questions.next()).await {
        tasks.spawn(answerer.clone().answer(question));
    }
    while tasks.join_next().await.is_some() {}
}

impl Answerer {
    async fn answer(self, question: async_nats::Message) {
        let Some(reply) = question.reply else { return };
        let began = Instant::now();
        let [(_, service), (_, asked)] = self.labels;
        let span = tracing::info_span!(target: trace::TARGET, "answer", service, question = asked);
        trace::adopt(&span, question.headers.as_ref());
        let content_type = question.headers.as_ref().and_then(|h| h.get(CONTENT_TYPE));
        let encoding = Encoding::of(content_type.map(|value| value.as_str()), &question.payload);
        let answer = match self.limit.try_acquire_owned() {
            Err(_) => Err(Refusal::new(RefusalCode::Busy, "too many requests wait; try again")),
            Ok(_permit) => (self.handler)(question.payload, encoding).instrument(span).await,
        };
        let sent = match answer {
            Ok(pieces) => send(&self.bus, &reply, encoding, pieces).await,
            Err(refusal) => Err(refusal),
        };
        let outcome = sent.as_ref().map_or_else(|refusal| refusal.code.name(), |()| "ok");
        if let Err(refusal) = sent {
            refuse(&self.bus, reply, encoding, refusal).await;
        }
        let [service, asked] = self.labels;
        metrics::histogram!(names::REQUEST_SECONDS, &self.labels).record(began.elapsed());
        let labels = [service, asked, ("outcome", outcome)];
        metrics::counter!(names::REQUESTS, &labels).increment(1);
    }
}

async fn send(
    bus: &Bus,
    reply: &Subject,
    encoding: Encoding,
    pieces: Vec<Vec<u8>>,
) -> Result<(), Refusal> {
    for piece in pieces {
        let headers = content_type(encoding);
        let sent = bus.client.publish_with_headers(reply.clone(), headers, piece.into()).await;
        sent.map_err(|e| {
            Refusal::new(RefusalCode::Internal, format!("the answer could not be sent: {e}"))
        })?;
    }
    Ok(())
}

/// An error has both the service API's headers and a body in the client's encoding.
async fn refuse(bus: &Bus, reply: Subject, encoding: Encoding, refusal: Refusal) {
    tracing::debug!(code = ?refusal.code, reason = refusal.message, "refused");
    let mut headers = content_type(encoding);
    headers.insert("Nats-Service-Error", refusal.message.replace(['\r', '\n'], " ").as_str());
    headers.insert("Nats-Service-Error-Code", refusal.code.status().to_string().as_str());
    let body = encode(&Refused { error: refusal }, encoding).unwrap_or_else(|error| {
        tracing::error!(%error, "a refusal could not be written");
        Vec::new()
    });
    if let Err(error) = bus.client.publish_with_headers(reply, headers, body.into()).await {
        tracing::warn!(%error, "a refusal could not be sent");
    }
}

pub(crate) fn content_type(encoding: Encoding) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(
        CONTENT_TYPE,
        match encoding {
            Encoding::MessagePack => CONTENT_MESSAGE_PACK,
            Encoding::Json => CONTENT_JSON,
        },
    );
    headers
}
