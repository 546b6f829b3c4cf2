//! Collections, the one model that each is bound to, and the fields that each declares.

use async_nats::jetstream::{kv, stream::LastRawMessageErrorKind};
use futures::{Stream, StreamExt, TryStreamExt};
use weimocir_domain::{Collection, FieldError, FieldKinds, ModelId, Shard};
use weimocir_wire::{Encoding, decode, encode, vectors::CollectionRecord};

use crate::{Bus, BusError};

#[derive(Debug, thiserror::Error)]
pub enum CollectionError {
    #[error("there is no collection `{name}`{}", others(known))]
    Unknown { name: Collection, known: Vec<Collection> },
    #[error(
        "collection `{name}` is bound to the model {bound}, and this is {offered}: vectors of two models cannot be mixed. Use that model, or another collection"
    )]
    ModelMix { name: Collection, bound: ModelId, offered: ModelId },
    #[error("collection `{name}`: {cause}. Use that kind, or another collection")]
    Field { name: Collection, cause: FieldError },
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

/// The register of collections, in a key-value bucket.
#[derive(Debug, Clone)]
pub struct Collections {
    bus: Bus,
    bucket: kv::Store,
}

impl Collections {
    /// # Errors
    /// The server refuses the bucket.
    pub async fn open(bus: &Bus) -> Result<Self, BusError> {
        Ok(Self { bucket: bus.collections_bucket().await?, bus: bus.clone() })
    }

    /// # Errors
    /// A collection that was never made, or a server that does not answer.
    pub async fn get(&self, name: &Collection) -> Result<CollectionRecord, CollectionError> {
        match self.entry(name).await? {
            Some((record, _)) => Ok(record),
            None => {
                let known = self.list().await?.into_iter().map(|record| record.name).collect();
                Err(CollectionError::Unknown { name: name.clone(), known })
            }
        }
    }

    pub async fn list(&self) -> Result<Vec<CollectionRecord>, BusError> {
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

    /// Every collection that there is, and then each change, until the connection closes.
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
    pub async fn ensure(
        &self,
        name: &Collection,
        shards: u16,
    ) -> Result<CollectionRecord, BusError> {
        let action = || format!("make the collection `{name}`");
        if let Some((record, _)) = self.entry(name).await? {
            self.provision_logs(&record).await?;
            return Ok(record);
        }
        let fields = FieldKinds::default();
        let record = CollectionRecord { name: name.clone(), shards, model: None, fields };
        self.provision_logs(&record).await?;
        let value = encode(&record, Encoding::Json).map_err(|e| BusError::failed(action(), e))?;
        match self.bucket.create(name.as_str(), value.into()).await {
            Ok(_) => tracing::info!(collection = %name, shards, "collection made"),
            // because: somebody else was first, and what they said holds
            Err(e) if e.kind() == kv::CreateErrorKind::AlreadyExists => {}
            Err(e) => return Err(BusError::failed(action(), e)),
        }
        match self.entry(name).await? {
            Some((record, _)) => Ok(record),
            None => Err(BusError::failed(action(), "it is gone again")),
        }
    }

    async fn provision_logs(&self, record: &CollectionRecord) -> Result<(), BusError> {
        for shard in 0..record.shards {
            self.bus.provision_log(&record.name, Shard(shard)).await?;
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
        self.change(name, &format!("bind the collection `{name}` to {model}"), |record| {
            match &record.model {
                Some(bound) if bound != model => {
                    return Err(CollectionError::ModelMix {
                        name: name.clone(),
                        bound: bound.clone(),
                        offered: model.clone(),
                    });
                }
                _ => record.model = Some(model.clone()),
            }
            Ok(())
        })
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
        self.change(name, &format!("declare fields of the collection `{name}`"), |record| {
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
            let Some((held, revision)) = self.entry(name).await? else {
                return self.get(name).await;
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
        let (value, revision) = match entry {
            Some(entry) if entry.operation == kv::Operation::Put => (entry.value, entry.revision),
            Some(_) => return Ok(None),
            // because: any copy of the bucket has answered, which may not have it yet
            None => match self.entry_of_the_leader(name).await? {
                Some(entry) => entry,
                None => return Ok(None),
            },
        };
        let record = decode(&value, Encoding::Json).map_err(|e| BusError::failed(action(), e))?;
        Ok(Some((record, revision)))
    }

    async fn entry_of_the_leader(
        &self,
        name: &Collection,
    ) -> Result<Option<(bytes::Bytes, u64)>, BusError> {
        let subject = format!("{}{name}", self.bucket.prefix);
        match self.bucket.stream.get_last_raw_message_by_subject(&subject).await {
            // because: only what is deleted has headers, and it is no record any more
            Ok(message) if message.headers.get(OPERATION).is_some() => Ok(None),
            Ok(message) => Ok(Some((message.payload, message.sequence))),
            Err(e) if e.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
            Err(e) => {
                Err(BusError::failed(format!("read the record of the collection `{name}`"), e))
            }
        }
    }
}
