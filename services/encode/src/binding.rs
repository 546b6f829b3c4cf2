//! A collection's vectors are all of one model: the first encoder that works for it binds it.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use weimocir_domain::{Collection, ModelId};
use weimocir_runtime::{BusError, CollectionError, Collections, Failure};
use weimocir_wire::vectors::CollectionRecord;

#[derive(Debug, Clone)]
pub(crate) struct Binding {
    collections: Collections,
    model: ModelId,
    /// Bindings are for ever, so that what was seen once holds.
    bound: Arc<RwLock<HashMap<Collection, CollectionRecord>>>,
}

impl Binding {
    pub(crate) fn new(collections: Collections, model: ModelId) -> Self {
        Self { collections, model, bound: Arc::default() }
    }

    /// The collection's record, now bound to this worker's model.
    pub(crate) async fn of(&self, name: &Collection) -> Result<CollectionRecord, Failure> {
        let known = self.bound.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
        if let Some(record) = known {
            return Ok(record);
        }
        let record =
            self.collections.bind(name, &self.model).await.map_err(|error| match error {
                CollectionError::Bus(error) => Failure::retry(error),
                wrong => Failure::reject(wrong),
            })?;
        self.bound
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(name.clone(), record.clone());
        Ok(record)
    }

    /// Says at start which collections this worker's model does not fit.
    pub(crate) async fn warn_of_strangers(&self) -> Result<(), BusError> {
        for record in self.collections.list().await? {
            if let Some(bound) = record.model.filter(|bound| *bound != self.model) {
                tracing::error!(collection = %record.name, %bound, model = %self.model,
                    "this collection is bound to another model: its images will be dead letters here, its searches refused");
            }
        }
        Ok(())
    }
}
