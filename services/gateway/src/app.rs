//! The routes, what stands around them, and what they share.

use std::sync::Arc;

use axum::{
    Router,
    extract::{DefaultBodyLimit, State},
    http::{HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::{from_fn, from_fn_with_state},
    response::IntoResponse,
    routing::get,
};
use tokio::sync::Semaphore;
use tower_http::{
    catch_panic::CatchPanicLayer,
    compression::{CompressionLayer, CompressionLevel},
    cors::{AllowOrigin, Any, CorsLayer},
    set_header::SetResponseHeaderLayer,
};
use utoipa::{
    Modify, OpenApi,
    openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
};
use utoipa_axum::{router::OpenApiRouter, routes};
use utoipa_swagger_ui::SwaggerUi;
use weimocir_client::Gallery;
use weimocir_domain::Collection;
use weimocir_fetch::{FetchArgs, Fetcher};
use weimocir_runtime::{
    Bus, BusError, CancellationToken, CollectionError, Collections, DeadLetters, Operations,
    Pictures,
};

use crate::{
    GatewayArgs,
    access::{self, Access, Keys},
    collections, events, images,
    images::Thumbnails,
    measure, page,
    problem::{self, Problem},
    search, status,
};

/// What all routes share.
#[derive(Debug)]
pub(crate) struct Gateway {
    pub bus: Bus,
    pub collections: Collections,
    pub pictures: Pictures,
    pub letters: DeadLetters,
    pub access: Access,
    pub searches: Semaphore,
    pub uploads: Arc<Semaphore>,
    pub thumbnails: Thumbnails,
    pub fetcher: Fetcher,
    pub args: GatewayArgs,
    /// The end: streams that would go on are closed.
    pub shutdown: CancellationToken,
}

pub(crate) type App = Arc<Gateway>;

impl Gateway {
    pub(crate) async fn open(
        bus: Bus,
        args: GatewayArgs,
        keys: Option<Keys>,
        shutdown: CancellationToken,
    ) -> Result<App, BusError> {
        Ok(Arc::new(Self {
            collections: Collections::open(&bus).await?,
            pictures: Pictures::open(&bus).await?,
            letters: DeadLetters::open(&bus).await?,
            access: Access::new(&args, keys),
            searches: Semaphore::new(usize::from(args.http_searches)),
            uploads: Arc::new(Semaphore::new(usize::from(args.http_uploads))),
            thumbnails: Thumbnails::default(),
            fetcher: Fetcher::new(&FetchArgs {
                url_max_bytes: args.fetch.url_max_bytes.min(args.http_max_bytes),
                ..args.fetch.clone()
            }),
            bus,
            args,
            shutdown,
        }))
    }

    /// # Errors
    /// There is no such collection.
    pub(crate) async fn gallery(&self, name: &Collection) -> Result<Gallery, CollectionError> {
        Ok(Gallery::new(&self.bus, self.collections.get(name).await?))
    }
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "WeiMoCIR",
        description = "Image search that understands \"like this, but…\": show a picture, say what \
            should differ, and get the images that match both."
    ),
    tags(
        (name = "search", description = "Find images"),
        (name = "images", description = "Put images in, look at them, take them out"),
        (name = "collections", description = "Galleries, and how the pipeline does")
    ),
    components(schemas(events::ImageEvent, events::StatusEvent, Problem)),
    modifiers(&Bearer)
)]
struct Description;

struct Bearer;

impl Modify for Bearer {
    fn modify(&self, description: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer);
        let scheme = scheme.description(Some("An API key, where the gateway has any."));
        let components = description.components.get_or_insert_default();
        components.add_security_scheme("key", SecurityScheme::Http(scheme.build()));
    }
}

/// The whole interface, and its description.
fn interface() -> (Router<App>, utoipa::openapi::OpenApi) {
    let (router, mut description) = OpenApiRouter::with_openapi(Description::openapi())
        .routes(routes!(search::search))
        .routes(routes!(collections::list))
        .routes(routes!(collections::get, collections::declare))
        .routes(routes!(images::list, images::submit))
        .routes(routes!(images::get, images::delete))
        .routes(routes!(images::file))
        .routes(routes!(images::thumbnail))
        .routes(routes!(events::follow))
        .routes(routes!(status::status))
        .split_for_parts();
    problem::describe(&mut description);
    (router, description)
}

pub(crate) fn router(app: App, operations: &Operations) -> Router {
    let (interface, description) = interface();
    let interface = interface
        .route_layer(from_fn_with_state(app.clone(), access::guard))
        .layer(DefaultBodyLimit::disable())
        .layer(cors(&app.args.allow_origin));
    let pages = Router::new()
        .route("/", get(page::index))
        .route("/page/{*path}", get(page::file))
        .layer(header_layer(header::CONTENT_SECURITY_POLICY, page::POLICY));
    let docs = Router::new()
        .merge(SwaggerUi::new("/docs").url("/v1/openapi.json", description))
        .layer(header_layer(header::CONTENT_SECURITY_POLICY, page::DOCS_POLICY));
    let compression = CompressionLayer::new().quality(CompressionLevel::Fastest);
    Router::new()
        .merge(interface)
        .merge(pages)
        .merge(docs)
        .fallback(unknown_path)
        .method_not_allowed_fallback(unknown_method)
        .layer(from_fn(measure::count))
        .with_state(app)
        .merge(operations.router())
        .layer(compression)
        .layer(CatchPanicLayer::custom(|_| {
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the gateway failed")
                .into_response()
        }))
        .layer(header_layer(header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .layer(header_layer(header::REFERRER_POLICY, "same-origin"))
}

fn header_layer(name: HeaderName, value: &'static str) -> SetResponseHeaderLayer<HeaderValue> {
    SetResponseHeaderLayer::if_not_present(name, HeaderValue::from_static(value))
}

fn cors(origins: &[HeaderValue]) -> CorsLayer {
    let origins = match origins {
        [] => return CorsLayer::new(),
        some if some.iter().any(|origin| origin == "*") => AllowOrigin::any(),
        some => AllowOrigin::list(some.iter().cloned()),
    };
    CorsLayer::new()
        .allow_origin(origins)
        .allow_methods([Method::GET, Method::POST, Method::PATCH, Method::DELETE])
        .allow_headers([header::AUTHORIZATION, header::CONTENT_TYPE])
        .expose_headers(Any)
}

async fn unknown_path() -> Problem {
    Problem::rejected(StatusCode::NOT_FOUND, "there is nothing here: see /docs")
}

async fn unknown_method(State(_): State<App>) -> Problem {
    Problem::rejected(StatusCode::METHOD_NOT_ALLOWED, "this cannot be done here: see /docs")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_answer_is_described() {
        let description = serde_json::to_value(interface().1).unwrap();
        let paths = description["paths"].as_object().unwrap();
        let operations = paths.values().flat_map(|path| path.as_object().unwrap().values());
        let mut count = 0;
        for operation in operations {
            count += 1;
            let answers = operation["responses"].as_object().unwrap();
            let failures = answers.iter().filter(|(status, _)| status.as_str() >= "400");
            let problem = json!({ "schema": { "$ref": "#/components/schemas/Problem" } });
            let contents = json!({ "application/problem+json": problem });
            assert!(failures.clone().all(|(_, told)| told["content"] == contents), "{operation}");
            let every = ["401", "429", "503"];
            assert!(every.iter().all(|status| answers.contains_key(*status)), "{operation}");
            assert!(operation["summary"].is_string(), "{operation}");
        }
        assert_eq!(count, 12);
        assert_eq!(
            description["paths"]["/v1/search"]["post"]["responses"]["503"]["description"],
            "A worker that is needed does not answer"
        );
        assert!(description["components"]["schemas"]["Problem"].is_object());
    }
}
