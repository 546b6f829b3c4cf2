//! Logs: to standard error, as text for people or JSON for machines.

use std::{io::IsTerminal, str::FromStr};

use tracing_subscriber::EnvFilter;

#[derive(Debug, Clone, clap::Args)]
pub struct TelemetryArgs {
    /// What to log: a level, or tracing's filter syntax [default: info for workers, else warn]
    #[arg(long, env = "WEIMOCIR_LOG", value_name = "FILTER", global = true)]
    pub log: Option<String>,
    /// How to log
    #[arg(long, env = "WEIMOCIR_LOG_FORMAT", default_value = "text", global = true)]
    pub log_format: LogFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

impl TelemetryArgs {
    /// Installs the subscriber of this process, with a filter for when none was given. A second
    /// call changes nothing.
    ///
    /// # Errors
    /// A filter that cannot be read.
    pub fn install(&self, default: &str) -> Result<(), tracing_subscriber::filter::ParseError> {
        // because: the client's own info lines repeat what the workers say
        let filter = EnvFilter::from_str(&format!(
            "async_nats=warn,{}",
            self.log.as_deref().unwrap_or(default)
        ))?;
        let builder = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            .with_ansi(std::io::stderr().is_terminal())
            .with_target(false);
        let installed = match self.log_format {
            LogFormat::Text => builder.try_init(),
            LogFormat::Json => builder.json().try_init(),
        };
        if installed.is_err() {
            tracing::debug!("another subscriber is installed already");
        }
        Ok(())
    }
}
