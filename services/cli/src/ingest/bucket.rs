//! Pictures of an S3 bucket: listed in the order of their keys, each taken once for as long as it
//! stays the same. What was taken is kept in NATS, so that a feed that starts again, anywhere, takes
//! what is new.

use std::collections::{HashMap, HashSet};

use anyhow::{Context, bail, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use indicatif::ProgressBar;
use object_store::{
    ObjectMeta, ObjectStore, ObjectStoreExt,
    aws::{AmazonS3, AmazonS3Builder},
    path::Path,
};
use weimocir_client::{Gallery, Outcome, too_large};
use weimocir_domain::ImageId;
use weimocir_runtime::Marks;
use weimocir_wire::feed::FeedMark;

use super::{
    IngestArgs,
    bucket_http::Connector,
    feed::Feed,
    report::{Summary, Taken},
    sources::{Content, Item, PICTURES, extension},
};

const SCHEME: &str = "s3://";
/// Objects looked at before those of them that are new are taken.
// because: a page of the list has as many
const PAGE: usize = 1_000;

/// Whether a path of the user names a bucket.
pub(super) fn is_bucket(path: &str) -> bool {
    path.starts_with(SCHEME)
}

pub(super) struct Bucket {
    /// `s3://bucket`.
    url: String,
    folder: Path,
    store: AmazonS3,
    marks: Marks,
    /// What the folder is known to hold, by key.
    known: HashMap<String, Known>,
    /// Objects that could not be taken, by key, with what they were like then.
    refused: HashMap<String, Trouble>,
    /// Marks to be noted after the end of the images that these objects were before.
    replaced: Vec<(FeedMark, ImageId)>,
    round: u64,
}

struct Known {
    /// Empty, as no object's is, where it is to be taken again.
    state: String,
    image: ImageId,
    /// The round in which the list last had it.
    seen: u64,
}

#[derive(PartialEq, Eq)]
struct Trouble {
    state: String,
    /// The object was read, and is none that the gallery takes.
    for_good: bool,
}

/// An object of the list that is new or has changed.
#[derive(Clone)]
struct Fresh {
    key: String,
    state: String,
    location: Path,
    size: u64,
    /// Names what stands there now: an object that comes back is another offer.
    offer: String,
}

/// What became of one object.
enum Read {
    Taken(Taken),
    /// It may be there at the next look.
    Unread(String),
}

impl Bucket {
    /// `s3://bucket/folder`, by what the environment says of the service and the key.
    ///
    /// # Errors
    /// A URL or an environment that makes no sense, or a server that does not tell what was taken.
    pub(super) async fn open(url: &str, feed: &Feed, args: &IngestArgs) -> anyhow::Result<Self> {
        let rest = url.strip_prefix(SCHEME).unwrap_or(url);
        let (bucket, folder) = rest.split_once('/').unwrap_or((rest, ""));
        ensure!(!bucket.is_empty(), "{url} names no bucket: write s3://BUCKET/FOLDER");
        let folder = Path::parse(folder.trim_end_matches('/'));
        let folder = folder.with_context(|| format!("{url} names no folder of a bucket"))?;
        let store = AmazonS3Builder::from_env()
            .with_bucket_name(bucket)
            .with_http_connector(Connector { max_bytes: args.max_bytes })
            .build()
            .with_context(|| format!("cannot reach {url} by what the AWS_ variables say"))?;
        let Gallery { bus, collection, .. } = feed.gallery();
        let marks = Marks::open(bus, &collection.name, &format!("{} {bucket}", endpoint())).await?;
        let held = marks.all().await?.into_iter().filter(|mark| is_below(&folder, &mark.key));
        let known = held.map(|FeedMark { key, state, image }| {
            let state = if args.force { String::new() } else { state };
            (key, Known { state, image, seen: 0 })
        });
        let known = known.collect();
        let url = format!("{SCHEME}{bucket}");
        Ok(Self {
            url,
            folder,
            store,
            marks,
            known,
            refused: HashMap::new(),
            replaced: vec![],
            round: 0,
        })
    }

    /// Looks at every object once, and takes what is new.
    ///
    /// # Errors
    /// The bucket cannot be listed, or the pipeline does not take a picture. What was taken before
    /// stays taken.
    pub(super) async fn look(
        &mut self,
        feed: &Feed,
        args: &IngestArgs,
        summary: &mut Summary,
        progress: &ProgressBar,
    ) -> anyhow::Result<()> {
        self.round += 1;
        let folder = (!self.folder.as_ref().is_empty()).then_some(&self.folder);
        let mut pages = self.store.list(folder).try_chunks(PAGE);
        while let Some(page) = pages.next().await {
            let page = page.map_err(|broken| broken.1);
            let page = page.with_context(|| format!("cannot list {}/{}", self.url, self.folder))?;
            let fresh: Vec<Fresh> =
                page.into_iter().filter_map(|object| self.fresh(object, summary)).collect();
            self.take_all(fresh, feed, args, summary, progress).await?;
        }
        match args.follow_deletions {
            true => self.follow(feed, summary).await,
            false => Ok(()),
        }
    }

    /// The object, unless it is no picture or has been taken as it is.
    fn fresh(&mut self, object: ObjectMeta, summary: &mut Summary) -> Option<Fresh> {
        let ObjectMeta { location, last_modified, size, e_tag, .. } = object;
        let kind = extension(std::path::Path::new(location.as_ref()))?;
        if !PICTURES.contains(&kind.as_str()) {
            return None;
        }
        let key = location.to_string();
        let state = e_tag.filter(|tag| !tag.is_empty());
        let state = state.unwrap_or_else(|| format!("{size} {}", last_modified.to_rfc3339()));
        if let Some(known) = self.known.get_mut(&key) {
            known.seen = self.round;
            if known.state == state {
                summary.unchanged += u64::from(self.round == 1);
                return None;
            }
        }
        let hopeless = self.refused.get(&key).is_some_and(|t| t.for_good && t.state == state);
        let offer = format!("{}/{key} {state} {}", self.url, last_modified.to_rfc3339());
        // because: it goes into a header, which takes no line breaks and should be short
        let offer = ImageId::of(offer.as_bytes()).to_string();
        (!hopeless).then_some(Fresh { key, state, location, size, offer })
    }

    /// Takes them, a few at the same time, and notes what became of each.
    async fn take_all(
        &mut self,
        fresh: Vec<Fresh>,
        feed: &Feed,
        args: &IngestArgs,
        summary: &mut Summary,
        progress: &ProgressBar,
    ) -> anyhow::Result<()> {
        let reader = Reader {
            url: &self.url,
            store: &self.store,
            max_bytes: args.max_bytes,
            offers: !args.force,
        };
        let marks = self.marks.clone();
        let (known, follow) = (&self.known, args.follow_deletions);
        let outcomes = stream::iter(fresh).map(|object| {
            let (reader, marks) = (&reader, &marks);
            async move {
                let read = reader.take(feed, &object).await?;
                let mark = mark_of(&object, &read);
                let former = mark.as_ref().and_then(|mark| former(known, mark)).filter(|_| follow);
                if let (Some(mark), None) = (&mark, former) {
                    marks.put(mark).await?;
                }
                anyhow::Ok((object, read, mark, former))
            }
        });
        let outcomes = outcomes.buffer_unordered(usize::from(args.jobs));
        let outcomes: Vec<_> = outcomes.inspect(|_| progress.inc(1)).try_collect().await?;
        for (object, read, mark, former) in outcomes {
            self.note(object, read, mark.as_ref(), summary);
            self.replaced.extend(mark.zip(former));
        }
        progress.set_message(summary.refused_so_far());
        Ok(())
    }

    fn note(&mut self, object: Fresh, read: Read, mark: Option<&FeedMark>, summary: &mut Summary) {
        let Fresh { key, state, .. } = object;
        if let Some(mark) = mark {
            self.refused.remove(&key);
            let known = Known { state, image: mark.image, seen: self.round };
            self.known.insert(key.clone(), known);
        } else {
            let trouble = Trouble { state, for_good: matches!(read, Read::Taken(_)) };
            if self.refused.get(&key) == Some(&trouble) {
                return;
            }
            self.refused.insert(key.clone(), trouble);
        }
        summary.count(match read {
            Read::Taken(taken) => taken,
            Read::Unread(reason) => {
                let source = format!("{}/{key}", self.url);
                Taken::Was(Outcome::Refused { source, reason })
            }
        });
    }

    /// Deletes the images that no object stands for any more. What is known goes last: an end that
    /// is cut off is begun again.
    async fn follow(&mut self, feed: &Feed, summary: &mut Summary) -> anyhow::Result<()> {
        let gone = self.known.iter().filter(|(_, known)| known.seen != self.round);
        let gone: Vec<(String, ImageId)> =
            gone.map(|(key, known)| (key.clone(), known.image)).collect();
        if gone.is_empty() && self.replaced.is_empty() {
            return Ok(());
        }
        let mut spared = self.spared().await?;
        while let Some((mark, former)) = self.replaced.last() {
            if spared.insert(*former) {
                feed.forget(*former).await?;
                summary.deleted += 1;
            }
            self.marks.put(mark).await?;
            self.replaced.pop();
        }
        for (key, image) in gone {
            if spared.insert(image) {
                feed.forget(image).await?;
                summary.deleted += 1;
            }
            self.marks.remove(&key).await?;
            self.known.remove(&key);
        }
        Ok(())
    }

    /// The images of the objects in the list that was just read, and of those that other feeds of the
    /// bucket have noted up to now.
    async fn spared(&self) -> anyhow::Result<HashSet<ImageId>> {
        let elsewhere = self.marks.others(self.known.keys()).await?;
        let listed = self.known.values().filter(|known| known.seen == self.round);
        let listed = listed.map(|known| known.image);
        Ok(listed.chain(elsewhere.into_iter().map(|mark| mark.image)).collect())
    }

    /// # Errors
    /// No object has been seen that is called like a picture.
    pub(super) fn ensure_some(&self) -> anyhow::Result<()> {
        if self.known.is_empty() && self.refused.is_empty() {
            bail!("there is no picture below {}/{}", self.url, self.folder);
        }
        Ok(())
    }
}

fn is_below(folder: &Path, key: &str) -> bool {
    let folder = folder.as_ref();
    folder.is_empty() || key.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}

/// The image that an object was before it changed.
fn former(known: &HashMap<String, Known>, mark: &FeedMark) -> Option<ImageId> {
    known.get(&mark.key).map(|known| known.image).filter(|image| *image != mark.image)
}

fn mark_of(object: &Fresh, read: &Read) -> Option<FeedMark> {
    let image = match read {
        Read::Taken(
            Taken::Was(Outcome::Submitted { image, .. } | Outcome::AlreadyThere { image })
            | Taken::Repeated { image },
        ) => *image,
        Read::Taken(Taken::Was(Outcome::Refused { .. })) | Read::Unread(_) => return None,
    };
    Some(FeedMark { key: object.key.clone(), state: object.state.clone(), image })
}

struct Reader<'a> {
    url: &'a str,
    store: &'a AmazonS3,
    max_bytes: u64,
    offers: bool,
}

impl Reader<'_> {
    async fn take(&self, feed: &Feed, object: &Fresh) -> anyhow::Result<Read> {
        let name = format!("{}/{}", self.url, object.key);
        let content = match self.bytes(object).await {
            Ok(content) => content,
            Err(error) => return Ok(Read::Unread(format!("cannot be read: {error}"))),
        };
        let offer = self.offers.then(|| object.offer.clone());
        let item = Item { offer, ..Item::new(name, content) };
        Ok(Read::Taken(feed.take(item).await?))
    }

    /// What is refused for a moment (503, 429) is asked for again, with growing pauses.
    async fn bytes(&self, object: &Fresh) -> object_store::Result<Content> {
        if object.size > self.max_bytes {
            return Ok(Content::Unreadable(too_large(self.max_bytes)));
        }
        let bytes = self.store.get(&object.location).await?.bytes().await?;
        Ok(Content::Bytes(bytes.into()))
    }
}

/// The service that has the bucket: another one's bucket of the same name is another place.
fn endpoint() -> String {
    let named = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"];
    named.iter().find_map(|name| std::env::var(name).ok()).unwrap_or_default()
}
