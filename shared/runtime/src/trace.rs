//! Spans that follow one picture or one search through all processes: their context travels in the
//! messages' headers as W3C Trace Context, and they leave by OTLP. Without `--otlp` there are none.

use std::sync::OnceLock;

use async_nats::{HeaderMap, HeaderName, HeaderValue, jetstream::message::PublishMessage};
use opentelemetry::{
    KeyValue,
    propagation::{Extractor, Injector, TextMapPropagator},
    trace::TracerProvider,
};
use opentelemetry_otlp::{Protocol, WithExportConfig};
use opentelemetry_sdk::{
    Resource,
    propagation::TraceContextPropagator,
    trace::{SdkTracer, SdkTracerProvider},
};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// What all spans have as their target, by which logs leave them out.
pub const TARGET: &str = "weimocir_trace";

static PROVIDER: OnceLock<SdkTracerProvider> = OnceLock::new();

/// Sends spans to an OTLP receiver from now on.
///
/// # Errors
/// An address that cannot be one.
pub(crate) fn start(
    endpoint: &str,
    service: &'static str,
) -> Result<SdkTracer, opentelemetry_otlp::ExporterBuildError> {
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(format!("{}/v1/traces", endpoint.trim_end_matches('/')))
        .build()?;
    let resource = Resource::builder()
        .with_service_name(service)
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_resource(resource.build())
        .build();
    let tracer = provider.tracer(TARGET);
    PROVIDER.get_or_init(|| provider);
    Ok(tracer)
}

/// Sends what is left.
pub(crate) fn finish() {
    if let Some(provider) = PROVIDER.get()
        && let Err(error) = provider.shutdown()
    {
        tracing::debug!(%error, "the last spans could not be sent");
    }
}

fn is_on() -> bool {
    PROVIDER.get().is_some()
}

/// Writes the current span's context into headers.
pub(crate) fn inject(headers: &mut HeaderMap) {
    if is_on() {
        let context = Span::current().context();
        TraceContextPropagator::new().inject_context(&context, &mut Headers(headers));
    }
}

/// A message to publish that carries the current span's context.
pub(crate) fn traced(message: PublishMessage) -> PublishMessage {
    if !is_on() {
        return message;
    }
    let mut headers = HeaderMap::new();
    inject(&mut headers);
    message.headers(headers)
}

/// Makes `span` a part of what the headers' sender did.
pub(crate) fn adopt(span: &Span, headers: Option<&HeaderMap>) {
    if let Some(headers) = headers.filter(|_| is_on()) {
        let context = TraceContextPropagator::new().extract(&Sent(headers));
        if let Err(error) = span.set_parent(context) {
            tracing::debug!(%error, "a span stays alone");
        }
    }
}

struct Headers<'a>(&'a mut HeaderMap);

impl Injector for Headers<'_> {
    fn set(&mut self, key: &str, value: String) {
        if let (Ok(key), Ok(value)) = (key.parse::<HeaderName>(), value.parse::<HeaderValue>()) {
            self.0.insert(key, value);
        }
    }
}

struct Sent<'a>(&'a HeaderMap);

impl Extractor for Sent<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(|value| value.as_str())
    }

    fn keys(&self) -> Vec<&str> {
        Vec::new()
    }
}
