//! A picture's bytes, as they came and made small. An id names its bytes, so that what a browser has
//! once it has for good.

use axum::{
    extract::State,
    http::{HeaderMap, HeaderName, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use utoipa::IntoParams;
use weimocir_domain::ImageId;

use crate::{
    app::{App, Gateway},
    extract::{Path, Query},
    page::is_known,
    problem::Problem,
};

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ThumbnailOptions {
    /// The longer side in pixels, 64 to 1,024. Default 256
    #[param(minimum = 64, maximum = 1024)]
    size: Option<u32>,
}

/// Load a picture's file as it came
#[utoipa::path(
    get,
    path = "/v1/images/{image}/file",
    tag = "images",
    params(("image" = ImageId, Path, description = "The image")),
    responses(
        (status = 200, description = "The file", content(("image/*"))),
        (status = 304, description = "The client has it already"),
        (status = 400, description = "An id that is none"),
        (status = 404, description = "No such picture"),
    ),
    security((), ("key" = []))
)]
pub(crate) async fn file(
    State(app): State<App>,
    Path(image): Path<ImageId>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let tag = format!("\"{image}\"");
    if is_known(&headers, &tag) {
        return Ok((StatusCode::NOT_MODIFIED, caching(&app, tag)).into_response());
    }
    let bytes = app.pictures.get(image).await?;
    let kind = image::guess_format(&bytes).map_or("application/octet-stream", |f| f.to_mime_type());
    Ok((caching(&app, tag), [(header::CONTENT_TYPE, kind)], bytes).into_response())
}

/// Load a picture made small
#[utoipa::path(
    get,
    path = "/v1/images/{image}/thumbnail",
    tag = "images",
    params(("image" = ImageId, Path, description = "The image"), ThumbnailOptions),
    responses(
        (status = 200, description = "The picture, upright", content(("image/jpeg"))),
        (status = 304, description = "The client has it already"),
        (status = 400, description = "An id or a size that is none"),
        (status = 404, description = "No such picture"),
        (status = 422, description = "It cannot be decoded"),
    ),
    security((), ("key" = []))
)]
pub(crate) async fn thumbnail(
    State(app): State<App>,
    Path(image): Path<ImageId>,
    Query(options): Query<ThumbnailOptions>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let size = options.size.unwrap_or(256);
    if !(64..=1024).contains(&size) {
        return Err(Problem::invalid(format!("size is {size}, which is not between 64 and 1024")));
    }
    let tag = format!("\"{image}-{size}\"");
    if is_known(&headers, &tag) {
        return Ok((StatusCode::NOT_MODIFIED, caching(&app, tag)).into_response());
    }
    let small = app.thumbnails.get(&app.pictures, image, size).await?;
    Ok((caching(&app, tag), [(header::CONTENT_TYPE, "image/jpeg")], small).into_response())
}

fn caching(app: &Gateway, tag: String) -> [(HeaderName, String); 2] {
    let whose = if app.access.is_public() { "public" } else { "private" };
    let control = format!("{whose}, max-age=31536000, immutable");
    [(header::ETAG, tag), (header::CACHE_CONTROL, control)]
}
