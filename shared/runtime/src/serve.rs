//! Answering requests, as a worker of the NATS service API: every worker can be pinged, counted and
//! asked for its statistics by any NATS client.

use std::{collections::HashMap, future::Future, sync::Arc};

use async_nats::{
    HeaderMap,
    service::{self, ServiceExt, endpoint::Endpoint},
};
use futures::StreamExt;
use tokio::{sync::Semaphore, task::JoinSet};
use tokio_util::sync::CancellationToken;
use weimocir_wire::{
    Encoding, Message, decode, encode,
    names::{CONTENT_JSON, CONTENT_MESSAGE_PACK, CONTENT_TYPE},
    search::{Refusal, RefusalCode, Refused},
};

use crate::{Bus, BusError};

/// A worker's face on the service API.
pub struct Service {
    bus: Bus,
    name: &'static str,
    inner: service::Service,
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Service({})", self.name)
    }
}

/// A subject to answer on.
#[derive(Debug, Clone)]
pub struct Asked {
    pub name: &'static str,
    pub subject: String,
    /// Workers of one group share the requests.
    pub group: String,
    /// Requests handled at once; more are told that this worker is busy.
    pub limit: usize,
}

impl Service {
    /// Registers the worker: from now on it is counted as alive.
    ///
    /// # Errors
    /// The server does not take the subscriptions.
    pub async fn start(
        bus: &Bus,
        name: &'static str,
        facts: HashMap<String, String>,
    ) -> Result<Self, BusError> {
        let inner = bus
            .client
            .service_builder()
            .metadata(facts)
            .start(name, env!("CARGO_PKG_VERSION"))
            .await
            .map_err(|e| BusError::failed(format!("register {name}"), e))?;
        let service = Self { bus: bus.clone(), name, inner };
        service.confirm().await?;
        Ok(service)
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

    /// Answers `asked` until `shutdown`, then finishes what was begun. A handler's answer may have
    /// several pieces, sent in order.
    ///
    /// # Errors
    /// The server does not take the subscription.
    pub async fn answer<Q, A, I, H, F>(
        &self,
        asked: Asked,
        handler: H,
        shutdown: CancellationToken,
    ) -> Result<impl Future<Output = ()> + Send + use<Q, A, I, H, F>, BusError>
    where
        Q: Message + Send,
        A: Message + Send + Sync,
        I: IntoIterator<Item = A> + Send,
        I::IntoIter: Send,
        H: Fn(Q) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Result<I, Refusal>> + Send,
    {
        let endpoint = self
            .inner
            .endpoint_builder()
            .name(asked.name)
            .queue_group(&asked.group)
            .add(&asked.subject)
            .await
            .map_err(|e| BusError::failed(format!("answer on {}", asked.subject), e))?;
        self.confirm().await?;
        let limit = Arc::new(Semaphore::new(asked.limit));
        let bus = self.bus.clone();
        Ok(async move {
            serve(bus, endpoint, limit, handler, shutdown).await;
        })
    }

    pub async fn stop(self) {
        if let Err(error) = self.inner.stop().await {
            tracing::debug!(%error, "the service was gone already");
        }
    }
}

async fn serve<Q, A, I, H, F>(
    bus: Bus,
    mut endpoint: Endpoint,
    limit: Arc<Semaphore>,
    handler: H,
    shutdown: CancellationToken,
) where
    Q: Message + Send,
    A: Message + Send + Sync,
    I: IntoIterator<Item = A> + Send,
    I::IntoIter: Send,
    H: Fn(Q) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Result<I, Refusal>> + Send,
{
    let mut tasks = JoinSet::new();
    loop {
        while tasks.try_join_next().is_some() {}
        let request = tokio::select! {
            request = endpoint.next() => request,
            () = shutdown.cancelled() => break,
        };
        let Some(request) = request else { break };
        let permit = limit.clone().try_acquire_owned();
        let (bus, handler) = (bus.clone(), handler.clone());
        tasks.spawn(async move {
            let encoding = encoding_of(&request);
            let answer = match permit {
                Err(_) => Err(Refusal::new(RefusalCode::Busy, "too many requests wait; try again")),
                Ok(_permit) => match decode::<Q>(&request.message.payload, encoding) {
                    Err(error) => Err(Refusal::invalid(error.to_string())),
                    Ok(question) => handler(question).await,
                },
            };
            reply(&bus, &request, encoding, answer).await;
        });
    }
    // because: the subscription ends first, so that what follows can only shrink
    if let Err(error) = endpoint.stop().await {
        tracing::debug!(%error, "the subscription was gone already");
    }
    while tasks.join_next().await.is_some() {}
}

fn encoding_of(request: &service::Request) -> Encoding {
    let content_type = request.message.headers.as_ref().and_then(|h| h.get(CONTENT_TYPE));
    Encoding::of(content_type.map(|value| value.as_str()), &request.message.payload)
}

async fn reply<A: Message>(
    bus: &Bus,
    request: &service::Request,
    encoding: Encoding,
    answer: Result<impl IntoIterator<Item = A>, Refusal>,
) {
    let sent = match answer {
        Ok(pieces) => {
            let mut sent = Ok(());
            for piece in pieces {
                sent = send(request, encoding, &piece).await;
                if sent.is_err() {
                    break;
                }
            }
            sent
        }
        Err(refusal) => Err(refusal),
    };
    if let Err(refusal) = sent {
        refuse(bus, request, encoding, refusal).await;
    }
}

async fn send<A: Message>(
    request: &service::Request,
    encoding: Encoding,
    piece: &A,
) -> Result<(), Refusal> {
    let internal = |e: String| Refusal::new(RefusalCode::Internal, e);
    let payload = encode(piece, encoding).map_err(|e| internal(e.to_string()))?;
    request
        .respond_with_headers(Ok(payload.into()), content_type(encoding))
        .await
        .map_err(|e| internal(format!("the answer could not be sent: {e}")))
}

/// An error has both the service API's headers and a body in the client's encoding.
async fn refuse(bus: &Bus, request: &service::Request, encoding: Encoding, refusal: Refusal) {
    let Some(reply) = request.message.reply.clone() else { return };
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
