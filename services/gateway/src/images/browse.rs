//! Listing images, everything about one, and forgetting it.

use axum::{extract::State, http::StatusCode, response::IntoResponse};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use weimocir_domain::{Collection, ImageId, ModelId, Revision};
use weimocir_wire::{
    query::{ListedImage, Record},
    search::{Refusal, RefusalCode},
    subjects,
    work::{DeleteImage, Metadata},
};

use crate::{
    app::App,
    extract::{Path, Query},
    problem::Problem,
};

/// An image of the gallery.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ImageView {
    id: ImageId,
    /// Where the picture came from, as its feed named it.
    source: String,
    #[schema(value_type = Object)]
    metadata: Metadata,
    captions: Vec<String>,
    /// Later submissions have greater ones.
    revision: Revision,
}

/// Everything about one image.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ImageDetails {
    #[serde(flatten)]
    image: ImageView,
    model: ModelId,
    /// The raw feature of its pixels, where asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    embedding: Option<Vec<f32>>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ImageList {
    images: Vec<ImageView>,
    /// What to send as `cursor` for the images before these; absent at the end.
    next: Option<Revision>,
}

/// As many images as an answer has at most.
const MOST: usize = 64;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListOptions {
    /// How many, 1 to 64. Default 50
    #[param(minimum = 1, maximum = 64)]
    limit: Option<usize>,
    /// The `next` of the answer before
    cursor: Option<Revision>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct GetOptions {
    /// Tell the embedding, too
    #[serde(default)]
    embedding: bool,
}

/// List images, those submitted last first
#[utoipa::path(
    get,
    path = "/v1/collections/{collection}/images",
    operation_id = "list_images",
    tag = "images",
    params(("collection" = Collection, Path, description = "The gallery"), ListOptions),
    responses(
        (status = 200, description = "A page of images", body = ImageList),
        (status = 400, description = "A limit or cursor that is none"),
        (status = 404, description = "No such collection"),
        (status = 503, description = "A store does not answer"),
        (status = 504, description = "A store takes too long"),
    ),
    security((), ("key" = []))
)]
pub(crate) async fn list(
    State(app): State<App>,
    Path(collection): Path<Collection>,
    Query(options): Query<ListOptions>,
) -> Result<impl IntoResponse, Problem> {
    let limit = options.limit.unwrap_or(50);
    if !(1..=MOST).contains(&limit) {
        let detail = format!("limit is {limit}, which is not between 1 and {MOST}");
        return Err(Problem::invalid(detail));
    }
    let images = app.gallery(&collection).await?.newest(options.cursor, limit).await?;
    let last = images.last().map(|image| image.revision);
    let next = last.filter(|_| images.len() == limit);
    let images = images.into_iter().map(ImageView::from).collect();
    Ok(axum::Json(ImageList { images, next }))
}

/// Show everything about one image
#[utoipa::path(
    get,
    path = "/v1/collections/{collection}/images/{image}",
    operation_id = "get_image",
    tag = "images",
    params(
        ("collection" = Collection, Path, description = "The gallery"),
        ("image" = ImageId, Path, description = "The image"),
        GetOptions
    ),
    responses(
        (status = 200, description = "The image", body = ImageDetails),
        (status = 400, description = "An id that is none"),
        (status = 404, description = "No such collection or image"),
        (status = 503, description = "Its store does not answer"),
        (status = 504, description = "Its store takes too long"),
    ),
    security((), ("key" = []))
)]
pub(crate) async fn get(
    State(app): State<App>,
    Path((collection, image)): Path<(Collection, ImageId)>,
    Query(options): Query<GetOptions>,
) -> Result<impl IntoResponse, Problem> {
    let record = app.gallery(&collection).await?.record(image).await?;
    let Record { image, revision, model, embedding, captions, source, metadata, .. } = record;
    let captions = captions.into_iter().map(|caption| caption.text).collect();
    let embedding = options.embedding.then_some(embedding.0);
    let image = ImageView { id: image, source, metadata, captions, revision };
    Ok(axum::Json(ImageDetails { image, model, embedding }))
}

/// Forget an image
#[utoipa::path(
    delete,
    path = "/v1/collections/{collection}/images/{image}",
    tag = "images",
    params(
        ("collection" = Collection, Path, description = "The gallery"),
        ("image" = ImageId, Path, description = "The image")
    ),
    responses(
        (status = 202, description = "It leaves the gallery in a moment"),
        (status = 400, description = "An id that is none"),
        (status = 404, description = "No such collection or image"),
        (status = 429, description = "Too many requests, or a full queue"),
        (status = 503, description = "NATS or its store does not answer"),
    ),
    security((), ("key" = []))
)]
pub(crate) async fn delete(
    State(app): State<App>,
    Path((collection, image)): Path<(Collection, ImageId)>,
) -> Result<StatusCode, Problem> {
    let gallery = app.gallery(&collection).await?;
    if gallery.state(image).await?.image.is_none() {
        let detail = format!("there is no image {image} in the collection `{collection}`");
        return Err(Refusal::new(RefusalCode::UnknownImage, detail).into());
    }
    app.bus.submit(subjects::DELETE, &DeleteImage { collection, image }).await?;
    Ok(StatusCode::ACCEPTED)
}

impl From<ListedImage> for ImageView {
    fn from(listed: ListedImage) -> Self {
        let ListedImage { image, revision, captions, source, metadata } = listed;
        Self { id: image, source, metadata, captions, revision }
    }
}
