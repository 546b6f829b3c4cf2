//! What becomes of images, as server-sent events: each is waiting, searchable, captioned, or has
//! failed. The stores are asked again and again, because only they know what a search would see.

use std::{
    collections::{BTreeMap, VecDeque},
    convert::Infallible,
    time::Duration,
};

use axum::{
    extract::{RawQuery, State},
    response::{
        IntoResponse, Sse,
        sse::{Event, KeepAlive},
    },
};
use futures::stream;
use serde::Serialize;
use tokio::time::{Instant, sleep};
use utoipa::ToSchema;
use weimocir_client::{Gallery, Loss, Losses, queues};
use weimocir_domain::{Collection, ImageId};
use weimocir_wire::query::ImageState;

use crate::{app::App, extract::Path, problem::Problem};

/// How far an image has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Stage {
    Waiting,
    Searchable,
    Captioned,
    Failed,
}

/// A server-sent event.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what the stream's own format says")]
pub(crate) struct StreamedEvent {
    /// `image`, `status` or `done`.
    event: String,
    /// As JSON: an `ImageEvent`, a `StatusEvent`, or nothing.
    data: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ImageEvent {
    id: ImageId,
    state: Stage,
    /// Why it failed, or why it stays searchable without captions: the last event about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct StatusEvent {
    images: u64,
    captioned: u64,
    /// Deliveries that wait in the queues, of all collections.
    waiting: u64,
}

/// Images followed by one request.
const MOST: usize = 1_000;
/// How often the stores are asked.
const PAUSE: Duration = Duration::from_millis(200);
/// How often the totals and the dead letters are.
const SLOW: Duration = Duration::from_secs(1);
/// How long a stream goes on: whoever still listens begins another.
const LONGEST: Duration = Duration::from_secs(3_600);
/// Dead letters from before the request that may be about its images.
// because: a picture may fail between its submission and the question what became of it
const EARLIER_LETTERS: u64 = 1_000;

/// Follow images until they are searchable and captioned, and how full the gallery is
#[utoipa::path(
    get,
    path = "/v1/collections/{collection}/events",
    tag = "images",
    params(
        ("collection" = Collection, Path, description = "The gallery"),
        ("id" = Vec<ImageId>, Query, description = "Images to follow, 1,000 at most; `image` events tell their states, and `done` the end. Without any, `status` events alone are sent, about one a second while something changes")
    ),
    responses(
        (status = 200, description = "Events `image`, `status` and `done`", content((StreamedEvent = "text/event-stream"))),
        (status = 400, description = "An id that is none"),
        (status = 404, description = "No such collection"),
    ),
    security((), ("key" = []))
)]
pub(crate) async fn follow(
    State(app): State<App>,
    Path(collection): Path<Collection>,
    RawQuery(query): RawQuery,
) -> Result<impl IntoResponse, Problem> {
    let images = ids(query.as_deref().unwrap_or_default())?;
    let gallery = app.gallery(&collection).await?.following(&app.collections);
    let read = app.letters.last_number().await?.saturating_sub(EARLIER_LETTERS);
    let losses = Losses::after(app.letters.clone(), read);
    let until = Instant::now() + LONGEST;
    let following = Following {
        app,
        gallery,
        is_endless: images.is_empty(),
        open: images.into_iter().map(|image| (image, None)).collect(),
        captionless: BTreeMap::new(),
        ready: VecDeque::new(),
        losses,
        told: None,
        next_slow: Instant::now(),
        until,
        is_done: false,
    };
    let events = stream::unfold(following, |mut following| async move {
        let event = following.next().await?;
        Some((Ok::<_, Infallible>(event), following))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::default()))
}

fn ids(query: &str) -> Result<Vec<ImageId>, Problem> {
    let pairs = form_urlencoded::parse(query.as_bytes());
    let ids = pairs.map(|(name, value)| match name.as_ref() {
        "id" => value.parse().map_err(Problem::invalid),
        other => Err(Problem::invalid(format!("events have no parameter `{other}`"))),
    });
    let ids = ids.collect::<Result<Vec<ImageId>, _>>()?;
    if ids.len() > MOST {
        let detail = format!("{} images are to be followed, of at most {MOST}", ids.len());
        return Err(Problem::invalid(detail));
    }
    Ok(ids)
}

struct Following {
    app: App,
    gallery: Gallery,
    /// Whether there are no images that it could end with.
    is_endless: bool,
    /// Images that may still change, with what was told of them.
    open: BTreeMap<ImageId, Option<Stage>>,
    /// Images that get no captions, and are not searchable yet.
    captionless: BTreeMap<ImageId, String>,
    ready: VecDeque<Event>,
    losses: Losses,
    told: Option<StatusEvent>,
    next_slow: Instant,
    until: Instant,
    is_done: bool,
}

impl Following {
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            if self.is_done || Instant::now() > self.until {
                return None;
            }
            // because: what cannot be asked now can be asked in a moment
            if let Err(problem) = self.look().await {
                tracing::debug!(?problem, "the stores cannot be asked for a moment");
            }
            if self.open.is_empty() && !self.is_endless {
                self.is_done = true;
                self.ready.push_back(Event::default().event("done").data("{}"));
            } else if self.ready.is_empty() {
                tokio::select! {
                    () = self.app.shutdown.cancelled() => return None,
                    () = sleep(if self.is_endless { SLOW } else { PAUSE }) => {}
                }
            }
        }
    }

    async fn look(&mut self) -> Result<(), Problem> {
        let images: Vec<ImageId> = self.open.keys().copied().collect();
        for (image, state) in self.gallery.states(&images).await? {
            self.note(image, state);
        }
        if Instant::now() < self.next_slow {
            return Ok(());
        }
        self.next_slow = Instant::now() + SLOW;
        if !self.open.is_empty() {
            let is_open = |loss: &Loss| self.open.contains_key(&loss.image);
            for loss in self.losses.next(&self.gallery, is_open).await? {
                self.note_loss(&loss);
            }
        }
        let totals = self.gallery.totals().await;
        let waiting = queues(&self.app.bus).await?.iter().map(|queue| queue.backlog.waiting).sum();
        let status = StatusEvent { images: totals.images, captioned: totals.captioned, waiting };
        if self.told.as_ref() != Some(&status) {
            self.push("status", &status);
            self.told = Some(status);
        }
        Ok(())
    }

    fn note(&mut self, image: ImageId, state: ImageState) {
        let stage = match state {
            ImageState { image: None, .. } => Stage::Waiting,
            ImageState { captions: None, .. } => Stage::Searchable,
            _ => Stage::Captioned,
        };
        let Some(told) = self.open.get_mut(&image) else { return };
        if *told == Some(stage) {
            return;
        }
        *told = Some(stage);
        if stage == Stage::Searchable
            && let Some(reason) = self.captionless.remove(&image)
        {
            return self.end(image, stage, &reason);
        }
        if stage == Stage::Captioned {
            self.open.remove(&image);
        }
        self.push("image", &ImageEvent { id: image, state: stage, reason: None });
    }

    fn note_loss(&mut self, loss: &Loss) {
        let Some(&told) = self.open.get(&loss.image) else { return };
        let is_there = told >= Some(Stage::Searchable);
        match loss.is_whole {
            // because: it is there, so the letter is of another time
            true if is_there => {}
            true => self.end(loss.image, Stage::Failed, &loss.reason),
            false if is_there => self.end(loss.image, Stage::Searchable, &loss.reason),
            false => {
                self.captionless.insert(loss.image, loss.reason.clone());
            }
        }
    }

    /// Nothing more becomes of the image, for this reason.
    fn end(&mut self, image: ImageId, state: Stage, reason: &str) {
        self.open.remove(&image);
        self.push("image", &ImageEvent { id: image, state, reason: Some(reason.to_owned()) });
    }

    fn push(&mut self, name: &str, data: &impl Serialize) {
        match Event::default().event(name).json_data(data) {
            Ok(event) => self.ready.push_back(event),
            Err(error) => tracing::error!(%error, "an event could not be written"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_may_be_repeated_and_nothing_else_is_taken() {
        let (a, b) = (ImageId::of(b"a"), ImageId::of(b"b"));
        assert_eq!(ids(&format!("id={a}&id={b}")).unwrap(), [a, b]);
        assert!(ids("").unwrap().is_empty());
        assert!(ids("id=7").is_err() && ids(&format!("ids={a}")).is_err());
        assert!(ids(&format!("id={a}&").repeat(1_001)).is_err());
    }
}
