//! What a process says of itself: logs to standard error, as text for people or JSON for machines,
//! and spans to an OTLP receiver.

use std::{io::IsTerminal, str::FromStr};

use tracing_subscriber::{
    EnvFilter, Layer, filter::Targets, layer::SubscriberExt, util::SubscriberInitExt,
};

use crate::trace;

#[derive(Debug, Clone, clap::Args)]
pub struct TelemetryArgs {
    /// What to log: a level, or tracing's filter syntax [default: info for workers, else warn]
    #[arg(long, env = "WEIMOCIR_LOG", value_name = "FILTER", global = true)]
    pub log: Option<String>,
    /// How to log
    #[arg(long, env = "WEIMOCIR_LOG_FORMAT", default_value = "text", global = true)]
    pub log_format: LogFormat,
    /// Send traces to the OTLP receiver (HTTP) at this address, such as http://127.0.0.1:4318
    #[arg(long, env = "WEIMOCIR_OTLP", value_name = "URL", global = true)]
    pub otlp: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    #[error("cannot read the log filter: {0}")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    #[error("cannot send traces to {url} (--otlp): {cause}")]
    Otlp { url: String, cause: opentelemetry_otlp::ExporterBuildError },
}

impl TelemetryArgs {
    /// Installs the subscriber of this process, with a filter for when none was given. A second
    /// call changes nothing. `service` is what traces call the process.
    ///
    /// # Errors
    /// A filter or an address that cannot be read.
    pub fn install(&self, default: &str, service: &'static str) -> Result<(), TelemetryError> {
        // because: the clients' own info lines repeat what the workers say, and spans are for traces
        let filter = EnvFilter::from_str(&format!(
            "async_nats=warn,opentelemetry_sdk=warn,{},{}=off",
            self.log.as_deref().unwrap_or(default),
            trace::TARGET
        ))?;
        let log = tracing_subscriber::fmt::layer()
            .with_writer(std::io::stderr)
            .with_ansi(std::io::stderr().is_terminal())
            .with_target(false);
        let log = match self.log_format {
            LogFormat::Text => log.boxed(),
            LogFormat::Json => log.json().boxed(),
        };
        let spans = self.otlp.as_ref().map(|url| {
            let tracer = trace::start(url, service);
            let tracer =
                tracer.map_err(|cause| TelemetryError::Otlp { url: url.clone(), cause })?;
            let only_ours = Targets::new().with_target(trace::TARGET, tracing::Level::INFO);
            let spans = tracing_opentelemetry::layer().with_tracer(tracer);
            Ok::<_, TelemetryError>(spans.with_filter(only_ours))
        });
        let installed = tracing_subscriber::registry()
            .with(spans.transpose()?)
            .with(log.with_filter(filter))
            .try_init();
        if installed.is_err() {
            tracing::debug!("another subscriber is installed already");
        }
        Ok(())
    }
}
