//! Galleries: what they hold, and the fields that searches can filter them by.

use axum::{extract::State, response::IntoResponse};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use weimocir_client::{Gallery, Totals};
use weimocir_domain::{Collection, FieldKinds, ModelId};
use weimocir_wire::vectors::CollectionRecord;

use crate::{
    app::{App, Gateway},
    extract::{Json, Path},
    problem::Problem,
};

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CollectionList {
    collections: Vec<CollectionView>,
}

/// A gallery.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CollectionView {
    name: Collection,
    shards: u16,
    /// The encoder of every vector, once there are any.
    model: Option<ModelId>,
    /// The encoders of generations that do not serve: a change of model under way, or a former one.
    other_models: Vec<ModelId>,
    images: u64,
    /// Images whose captions have come.
    captioned: u64,
    /// Shards that nobody answers for: their images are not counted.
    missing_shards: Vec<u16>,
    /// What searches can filter by.
    fields: FieldKinds,
}

/// Fields to declare.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Declaration {
    fields: FieldKinds,
}

/// List the collections
#[utoipa::path(
    get,
    path = "/v1/collections",
    operation_id = "list_collections",
    tag = "collections",
    responses(
        (status = 200, description = "Every collection, by name", body = CollectionList),
    ),
    security((), ("key" = []))
)]
pub(crate) async fn list(State(app): State<App>) -> Result<impl IntoResponse, Problem> {
    Ok(axum::Json(CollectionList { collections: all(&app).await? }))
}

/// Show one collection
#[utoipa::path(
    get,
    path = "/v1/collections/{collection}",
    operation_id = "get_collection",
    tag = "collections",
    params(("collection" = Collection, Path, description = "Its name")),
    responses(
        (status = 200, description = "The collection", body = CollectionView),
        (status = 400, description = "No name of a collection"),
        (status = 404, description = "There is none of this name"),
    ),
    security((), ("key" = []))
)]
pub(crate) async fn get(
    State(app): State<App>,
    Path(name): Path<Collection>,
) -> Result<impl IntoResponse, Problem> {
    let gallery = app.gallery(&name).await?;
    let records = app.collections.generations(&name).await?;
    Ok(axum::Json(view(&app, gallery.collection, &records).await))
}

/// Declare fields of the metadata that searches can filter by; the collection is made if it is new
#[utoipa::path(
    patch,
    path = "/v1/collections/{collection}",
    tag = "collections",
    params(("collection" = Collection, Path, description = "Its name")),
    request_body = Declaration,
    responses(
        (status = 200, description = "The collection, with the fields", body = CollectionView),
        (status = 400, description = "A field is declared with another kind already, or makes no sense"),
        (status = 413, description = "Too much"),
        (status = 415, description = "No JSON"),
    ),
    security((), ("key" = []))
)]
pub(crate) async fn declare(
    State(app): State<App>,
    Path(name): Path<Collection>,
    Json(Declaration { fields }): Json<Declaration>,
) -> Result<impl IntoResponse, Problem> {
    let mut checked = FieldKinds::default();
    fields
        .iter()
        .try_for_each(|(field, kind)| checked.declare(field, kind))
        .map_err(Problem::invalid)?;
    app.collections.ensure(&name, app.args.http_shards).await?;
    let record = app.collections.declare(&name, &checked).await?;
    let records = app.collections.generations(&name).await?;
    Ok(axum::Json(view(&app, record, &records).await))
}

/// Every collection, by name.
pub(crate) async fn all(app: &Gateway) -> Result<Vec<CollectionView>, Problem> {
    let records = app.collections.records().await?;
    let collections = records.iter().filter(|record| record.of.is_none());
    let views = collections.map(|record| view(app, record.clone(), &records));
    Ok(futures::future::join_all(views).await)
}

async fn view(
    app: &Gateway,
    record: CollectionRecord,
    records: &[CollectionRecord],
) -> CollectionView {
    let totals = Gallery::new(&app.bus, record.clone()).totals().await;
    let (model, other_models) = (record.serving_model().cloned(), record.other_models(records));
    let CollectionRecord { name, shards, fields, .. } = record;
    let Totals { images, captioned, missing_shards } = totals;
    CollectionView { name, shards, model, other_models, images, captioned, missing_shards, fields }
}
