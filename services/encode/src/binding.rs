//! Whose work a picture or a set of captions is: the vectors of a generation are all of one model. The
//! first encoder that works for a new collection binds it; work for another model goes to that model's
//! lane.

use weimocir_domain::{Collection, ModelId};
use weimocir_runtime::{CollectionError, Collections, Failure};
use weimocir_wire::vectors::CollectionRecord;

#[derive(Debug, Clone)]
pub(crate) struct Binding {
    collections: Collections,
    model: ModelId,
}

/// Where work belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Route {
    /// To this worker's model, and then into these logs.
    Here { log: Collection, shards: u16 },
    /// Into the lane of another model.
    Lane(ModelId),
}

impl Binding {
    pub(crate) fn new(collections: Collections, model: ModelId) -> Self {
        Self { collections, model }
    }

    /// Of work for the generation that is named, or for the one that serves.
    pub(crate) async fn route(
        &self,
        name: &Collection,
        generation: Option<&Collection>,
    ) -> Result<Route, Failure> {
        let routed = match generation {
            Some(generation) => self.to_generation(name, generation).await,
            None => self.to_serving(name).await,
        };
        routed.map_err(|error| match error {
            CollectionError::Bus(error) => Failure::retry(error),
            wrong => Failure::reject(wrong),
        })
    }

    async fn to_generation(
        &self,
        name: &Collection,
        generation: &Collection,
    ) -> Result<Route, CollectionError> {
        let CollectionRecord { name: log, shards, model, dropped, .. } =
            self.collections.record(generation).await?;
        // because: a dead letter may be tried again when what it was for is gone
        match dropped {
            true => self.to_serving(name).await,
            false => Ok(route(&self.model, (&log, shards), model.as_ref())),
        }
    }

    async fn to_serving(&self, name: &Collection) -> Result<Route, CollectionError> {
        let mut record = self.collections.lately(name).await?;
        if record.serving_model().is_none() {
            record = match self.collections.bind(name, &self.model).await {
                // because: another model's worker was first
                Err(CollectionError::ModelMix { bound, .. }) => return Ok(Route::Lane(bound)),
                bound => bound?,
            };
        }
        let log = (record.generation(), record.shards);
        Ok(route(&self.model, log, record.serving_model()))
    }
}

/// Of work for logs that are bound to a model.
fn route(own: &ModelId, (log, shards): (&Collection, u16), bound: Option<&ModelId>) -> Route {
    match bound {
        Some(model) if model != own => Route::Lane(model.clone()),
        // because: what serves is bound by now, and a generation is from the beginning
        _ => Route::Here { log: log.clone(), shards },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_models_own_work_goes_into_a_log() {
        let (own, other) = (ModelId::new("own"), ModelId::new("other"));
        let log = Collection::default().generation(&own);
        let here = Route::Here { log: log.clone(), shards: 3 };
        assert_eq!(route(&own, (&log, 3), Some(&own)), here);
        assert_eq!(route(&other, (&log, 3), Some(&own)), Route::Lane(own));
    }
}
