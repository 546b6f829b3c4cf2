//! Collections, the one model that the logs of each are bound to, the generation that serves, and the
//! fields that each declares.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use async_nats::jetstream::{kv, stream::LastRawMessageErrorKind};
use futures::{Stream, StreamExt, TryStreamExt};
use weimocir_domain::{Collection, FieldError, FieldKinds, ModelId, Shard};
use weimocir_wire::{
    Encoding, decode, encode,
    vectors::{CollectionRecord, Serving},
};

use crate::{Bus, BusError};

#[derive(Debug, thiserror::Error)]
pub enum CollectionError {
    #[error("there is no collection `{name}`{}", others(known))]
    Unknown { name: Collection, known: Vec<Collection> },
    #[error("`{name}` could be the name of a generation: name a collection without `--`")]
    Reserved { name: Collection },
    #[error(
        "collection `{name}` is bound to the model {bound}, and this is {offered}: vectors of two models cannot be mixed. Use that model, or another collection"
    )]
    ModelMix { name: Collection, bound: ModelId, offered: ModelId },
    #[error("collection `{name}`: {cause}. Use that kind, or another collection")]
    Field { name: Collection, cause: FieldError },
    #[error(
        "collection `{name}`: {cause}. Somebody changes its generation too: run the same command again"
    )]
    Conflict { name: Collection, cause: String },
    #[error(transparent)]
    Bus(#[from] BusError),
}

fn others(known: &[Collection]) -> String {
    match known {
        [] => "; none has been made yet: `weimocir ingest` makes one".to_owned(),
        some => {
            let names: Vec<_> = some.iter().map(Collection::as_str).collect();
            format!("; there are: {}", names.join(", "))
        }
    }
}

/// The header by which a key-value bucket says that a key was deleted.
const OPERATION: &str = "KV-Operation";

/// How old a record may be for [`Collections::lately`].
// because: a record is asked for with every delivery, and a change of generation waits for it
pub const LATELY: Duration = Duration::from_secs(1);

/// The register of collections, in a key-value bucket. Of a collection and its generations each has a
/// record of its own.
#[derive(Debug, Clone)]
pub struct Collections {
    bus: Bus,
    bucket: kv::Store,
    seen: Arc<Seen<CollectionRecord>>,
    seen_generations: Arc<Seen<Vec<CollectionRecord>>>,
}

/// What was read of collections, and when it was asked for.
#[derive(Debug)]
struct Seen<T>(Mutex<HashMap<Collection, (Instant, T)>>);

impl<T> Default for Seen<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Clone> Seen<T> {
    fn lately(&self, name: &Collection, now: Instant) -> Option<T> {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.get(name).filter(|(at, _)| *at + LATELY > now).map(|(_, value)| value.clone())
    }

    fn last(&self, name: &Collection) -> Option<T> {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.get(name).map(|(_, value)| value.clone())
    }

    fn note(&self, name: &Collection, asked: Instant, value: T) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.insert(name.clone(), (asked, value));
    }
}

impl Collections {
    /// # Errors
    /// The server refuses the bucket.
    pub async fn open(bus: &Bus) -> Result<Self, BusError> {
        let bucket = bus.collections_bucket().await?;
        let (seen, seen_generations) = (Arc::default(), Arc::default());
        Ok(Self { bus: bus.clone(), bucket, seen, seen_generations })
    }

    /// # Errors
    /// A collection that was never made, a generation of one, or a server that does not answer.
    pub async fn get(&self, name: &Collection) -> Result<CollectionRecord, CollectionError> {
        match self.entry(name).await? {
            Some((record, _)) if record.of.is_none() => Ok(record),
            _ => Err(self.unknown(name).await?),
        }
    }

    /// As `get`, at most [`LATELY`] old, whatever copy of the bucket lags behind: for whoever writes.
    ///
    /// # Errors
    /// As `get`.
    pub async fn lately(&self, name: &Collection) -> Result<CollectionRecord, CollectionError> {
        let asked = Instant::now();
        if let Some(record) = self.seen.lately(name, asked) {
            return Ok(record);
        }
        let record = self.record(name).await?;
        if record.of.is_some() {
            return Err(self.unknown(name).await?);
        }
        self.seen.note(name, asked, record.clone());
        Ok(record)
    }

    /// The record that `lately` read last, however old, for whoever can do with that while the server is away.
    pub fn seen_last(&self, name: &Collection) -> Option<CollectionRecord> {
        self.seen.last(name)
    }

    /// The record of these logs, a collection's own or a generation's, as the bucket's leader has it.
    ///
    /// # Errors
    /// They were never made, or a server that does not answer.
    pub async fn record(&self, name: &Collection) -> Result<CollectionRecord, CollectionError> {
        match self.entry_of_the_leader(name).await? {
            Some((record, _)) => Ok(record),
            None => Err(self.unknown(name).await?),
        }
    }

    async fn unknown(&self, name: &Collection) -> Result<CollectionError, BusError> {
        let known = self.list().await?.into_iter().map(|record| record.name).collect();
        Ok(CollectionError::Unknown { name: name.clone(), known })
    }

    /// Every collection, by name.
    pub async fn list(&self) -> Result<Vec<CollectionRecord>, BusError> {
        let records = self.records().await?.into_iter();
        Ok(records.filter(|record| record.of.is_none()).collect())
    }

    /// The records of a collection's generations, its own among them.
    ///
    /// # Errors
    /// A server that does not answer.
    pub async fn generations(&self, of: &Collection) -> Result<Vec<CollectionRecord>, BusError> {
        let records = self.records().await?.into_iter();
        Ok(records.filter(|record| record.known_as() == of).collect())
    }

    /// As `generations`, at most [`LATELY`] old. A generation that was made or dropped since may be missing
    /// or there.
    ///
    /// # Errors
    /// As `generations`.
    pub async fn generations_lately(
        &self,
        of: &Collection,
    ) -> Result<Vec<CollectionRecord>, BusError> {
        let asked = Instant::now();
        if let Some(generations) = self.seen_generations.lately(of, asked) {
            return Ok(generations);
        }
        let generations = self.generations(of).await?;
        self.seen_generations.note(of, asked, generations.clone());
        Ok(generations)
    }

    /// Every collection and every generation, by name.
    pub async fn records(&self) -> Result<Vec<CollectionRecord>, BusError> {
        let failed = |e: String| BusError::failed("list the collections", e);
        // because: the bucket's own list of keys takes a consumer, which not everybody may make
        let prefix = &self.bucket.prefix;
        let stream = &self.bucket.stream;
        let keys = stream.info_with_subjects(format!("{prefix}>")).await;
        let keys: Vec<(String, usize)> = keys
            .map_err(|e| failed(e.to_string()))?
            .try_collect()
            .await
            .map_err(|e| failed(e.to_string()))?;
        let name = |(key, _): (String, usize)| key.strip_prefix(prefix.as_str()).map(str::to_owned);
        let mut names: Vec<String> = keys.into_iter().filter_map(name).collect();
        names.sort();
        let mut records = Vec::with_capacity(names.len());
        for name in names {
            let name = name.parse().map_err(|e| BusError::failed("list the collections", e))?;
            records.extend(self.entry(&name).await?.map(|(record, _)| record));
        }
        Ok(records)
    }

    /// Every collection and generation that there is, and then each change, until the connection closes.
    pub async fn watch(
        &self,
    ) -> Result<impl Stream<Item = Result<CollectionRecord, BusError>> + Unpin + use<>, BusError>
    {
        let failed = |e: String| BusError::failed("watch the collections", e);
        let changes =
            self.bucket.watch_with_history(">").await.map_err(move |e| failed(e.to_string()))?;
        Ok(Box::pin(changes.filter_map(move |change| async move {
            match change {
                Ok(entry) if entry.operation == kv::Operation::Put => {
                    Some(decode(&entry.value, Encoding::Json).map_err(|e| failed(e.to_string())))
                }
                Ok(_) => None,
                Err(e) => Some(Err(failed(e.to_string()))),
            }
        })))
    }

    /// The collection, made with `shards` shards if it is new. Its logs are made before its record,
    /// since a store follows them as soon as it reads the record.
    ///
    /// # Errors
    /// A name that only generations have.
    pub async fn ensure(
        &self,
        name: &Collection,
        shards: u16,
    ) -> Result<CollectionRecord, CollectionError> {
        match self.entry(name).await? {
            Some((record, _)) if record.of.is_none() => {
                self.provision_logs(&record).await?;
                Ok(record)
            }
            None if !name.is_reserved() => {
                self.make(CollectionRecord::new(name.clone(), shards)).await
            }
            _ => Err(CollectionError::Reserved { name: name.clone() }),
        }
    }

    /// The generation of a collection's images by `model`, made if it is new or was dropped: the logs of
    /// the collection's own name, if they are of that model, and else logs of another.
    ///
    /// # Errors
    /// There is no such collection, or the name of the logs is another's.
    pub async fn ensure_generation(
        &self,
        of: &Collection,
        model: &ModelId,
    ) -> Result<CollectionRecord, CollectionError> {
        let collection = self.record(of).await?;
        let name = match &collection.model {
            Some(own) if own == model => of.clone(),
            _ => of.generation(model),
        };
        let made = match self.entry_of_the_leader(&name).await? {
            Some((record, _)) => record,
            None => {
                let of = Some(of.clone());
                let (model, fields) = (Some(model.clone()), collection.fields);
                let new = CollectionRecord::new(name.clone(), collection.shards);
                self.make(CollectionRecord { model, fields, of, ..new }).await?
            }
        };
        let action = format!("make the generation `{name}`");
        if made.known_as() != of || made.model.as_ref() != Some(model) {
            let held = made.model.as_ref().map_or("no model", ModelId::as_str);
            let cause = format!("there are logs of that name, of `{}` and {held}", made.known_as());
            return Err(BusError::failed(action, cause).into());
        }
        self.provision_logs(&CollectionRecord { dropped: false, ..made }).await?;
        self.change(&name, &action, |record| {
            record.dropped = false;
            Ok(())
        })
        .await?;
        // because: fields may have been declared while there was no generation to declare them of
        self.declare_of(&name, of, &self.record(of).await?.fields).await
    }

    async fn make(&self, record: CollectionRecord) -> Result<CollectionRecord, CollectionError> {
        let (name, shards) = (&record.name, record.shards);
        let action = || format!("make the collection `{name}`");
        self.provision_logs(&record).await?;
        let value = encode(&record, Encoding::Json).map_err(|e| BusError::failed(action(), e))?;
        match self.bucket.create(name.as_str(), value.into()).await {
            Ok(_) => tracing::info!(collection = %name, shards, "collection made"),
            // because: somebody else was first, and what they said holds
            Err(e) if e.kind() == kv::CreateErrorKind::AlreadyExists => {}
            Err(e) => return Err(BusError::failed(action(), e).into()),
        }
        match self.entry(name).await? {
            Some((record, _)) => Ok(record),
            None => Err(BusError::failed(action(), "it is gone again").into()),
        }
    }

    async fn provision_logs(&self, record: &CollectionRecord) -> Result<(), BusError> {
        let shards = if record.dropped { 0 } else { record.shards };
        for shard in 0..shards {
            self.bus.provision_log(&record.name, Shard(shard)).await?;
        }
        Ok(())
    }

    /// Has searches, submissions and deletions go to `generation`, if `from` serves still.
    ///
    /// # Errors
    /// Somebody else changed the generation meanwhile, or dropped this one.
    pub async fn serve(
        &self,
        name: &Collection,
        from: &Collection,
        (generation, model): (&Collection, &ModelId),
    ) -> Result<CollectionRecord, CollectionError> {
        let action = format!("change the generation of `{name}`");
        let conflict = |cause| CollectionError::Conflict { name: name.clone(), cause };
        let before = self.record(name).await?.serving;
        let served = self.change(name, &action, |record| {
            if record.generation() == generation {
                return Ok(());
            }
            if record.generation() != from {
                let serves = record.generation();
                return Err(conflict(format!("`{serves}` serves since a moment ago")));
            }
            let (generation, model, from) = (generation.clone(), model.clone(), from.clone());
            record.serving = Some(Serving { generation, model, from });
            Ok(())
        });
        let served = served.await?;
        // because: whoever drops marks first and looks here then; so one of the two sees the other
        if self.record(generation).await?.dropped {
            self.change(name, &action, |record| {
                if record.generation() == generation {
                    record.serving.clone_from(&before);
                }
                Ok(())
            })
            .await?;
            return Err(conflict(format!("`{generation}` was dropped a moment ago")));
        }
        Ok(served)
    }

    /// Drops the logs of a generation that does not serve. Its record says so first, so that stores let
    /// them go, and stays.
    ///
    /// # Errors
    /// It serves, or the server refuses.
    pub async fn drop_logs(&self, name: &Collection) -> Result<(), CollectionError> {
        let action = format!("drop the generation `{name}`");
        let was_dropped = self.record(name).await?.dropped;
        let serves = |of: &Collection| CollectionError::Conflict {
            name: of.clone(),
            cause: format!("`{name}` serves since a moment ago"),
        };
        let marked = self.change(name, &action, |record| {
            // because: a collection's own record says itself what serves
            if record.of.is_none() && record.generation() == name {
                return Err(serves(name));
            }
            record.dropped = true;
            Ok(())
        });
        let record = marked.await?;
        let of = record.known_as();
        // because: as in `serve`
        if self.record(of).await?.generation() == name {
            // because: what was dropped before has no logs any more, and whoever has it serve finds so
            if !was_dropped {
                self.change(name, &action, |record| {
                    record.dropped = false;
                    Ok(())
                })
                .await?;
            }
            return Err(serves(of));
        }
        for shard in 0..record.shards {
            self.bus.drop_log(name, Shard(shard)).await?;
        }
        Ok(())
    }

    /// Binds the collection to `model`, once and for all.
    ///
    /// # Errors
    /// It is bound to another model, or does not exist.
    pub async fn bind(
        &self,
        name: &Collection,
        model: &ModelId,
    ) -> Result<CollectionRecord, CollectionError> {
        self.change(
            name,
            &format!("bind the collection `{name}` to {model}"),
            |record| match record.serving_model() {
                Some(bound) if bound != model => Err(CollectionError::ModelMix {
                    name: name.clone(),
                    bound: bound.clone(),
                    offered: model.clone(),
                }),
                Some(_) => Ok(()),
                None => {
                    record.model = Some(model.clone());
                    Ok(())
                }
            },
        )
        .await
    }

    /// Declares these fields, beside those that the collection has.
    ///
    /// # Errors
    /// One of them is of another kind already, or the collection does not exist.
    pub async fn declare(
        &self,
        name: &Collection,
        fields: &FieldKinds,
    ) -> Result<CollectionRecord, CollectionError> {
        let declared = self.declare_of(name, name, fields).await?;
        // because: most feeds declare what there is already, and a list is many requests
        if fields.is_empty() {
            return Ok(declared);
        }
        for generation in self.generations(name).await? {
            self.declare_of(&generation.name, name, fields).await?;
        }
        Ok(declared)
    }

    async fn declare_of(
        &self,
        generation: &Collection,
        name: &Collection,
        fields: &FieldKinds,
    ) -> Result<CollectionRecord, CollectionError> {
        let action = format!("declare fields of the collection `{name}`");
        self.change(generation, &action, |record| {
            fields.iter().try_for_each(|(field, kind)| {
                let declared = record.fields.declare(field, kind);
                declared.map_err(|cause| CollectionError::Field { name: name.clone(), cause })
            })
        })
        .await
    }

    /// Writes the record as `change` leaves it, if that is another one.
    async fn change(
        &self,
        name: &Collection,
        action: &str,
        change: impl Fn(&mut CollectionRecord) -> Result<(), CollectionError>,
    ) -> Result<CollectionRecord, CollectionError> {
        loop {
            let Some((held, revision)) = self.entry_of_the_leader(name).await? else {
                return Err(self.unknown(name).await?);
            };
            let mut record = held.clone();
            change(&mut record)?;
            if record == held {
                return Ok(record);
            }
            let value = encode(&record, Encoding::Json).map_err(|e| BusError::failed(action, e))?;
            match self.bucket.update(name.as_str(), value.into(), revision).await {
                Ok(_) => return Ok(record),
                // because: another worker was first; look again at what it wrote
                Err(e) if e.kind() == kv::UpdateErrorKind::WrongLastRevision => {}
                Err(e) => return Err(BusError::failed(action, e).into()),
            }
        }
    }

    async fn entry(&self, name: &Collection) -> Result<Option<(CollectionRecord, u64)>, BusError> {
        let action = || format!("read the record of the collection `{name}`");
        let entry =
            self.bucket.entry(name.as_str()).await.map_err(|e| BusError::failed(action(), e))?;
        match entry {
            Some(entry) if entry.operation == kv::Operation::Put => {
                let record = decode(&entry.value, Encoding::Json);
                Ok(Some((record.map_err(|e| BusError::failed(action(), e))?, entry.revision)))
            }
            Some(_) => Ok(None),
            // because: any copy of the bucket has answered, which may not have it yet
            None => self.entry_of_the_leader(name).await,
        }
    }

    async fn entry_of_the_leader(
        &self,
        name: &Collection,
    ) -> Result<Option<(CollectionRecord, u64)>, BusError> {
        let action = || format!("read the record of the collection `{name}`");
        let subject = format!("{}{name}", self.bucket.prefix);
        match self.bucket.stream.get_last_raw_message_by_subject(&subject).await {
            // because: only what is deleted has headers, and it is no record any more
            Ok(message) if message.headers.get(OPERATION).is_some() => Ok(None),
            Ok(message) => {
                let record = decode(&message.payload, Encoding::Json);
                Ok(Some((record.map_err(|e| BusError::failed(action(), e))?, message.sequence)))
            }
            Err(e) if e.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
            Err(e) => Err(BusError::failed(action(), e)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_is_good_for_a_moment_and_for_its_own_name() {
        let (seen, asked) = (Seen::default(), Instant::now());
        let (name, other) = (Collection::default(), "other".parse().unwrap());
        assert_eq!(seen.lately(&name, asked), None);
        seen.note(&name, asked, 7);
        let almost = asked + LATELY - Duration::from_millis(1);
        assert_eq!((seen.lately(&name, almost), seen.lately(&other, almost)), (Some(7), None));
        assert_eq!(seen.lately(&name, asked + LATELY), None);
        assert_eq!((seen.last(&name), seen.last(&other)), (Some(7), None));
        seen.note(&name, asked + LATELY, 8);
        assert_eq!(seen.lately(&name, asked + LATELY), Some(8));
    }
}
