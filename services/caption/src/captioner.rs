//! Which captioner makes the captions, as a user chooses it, and opening it.

use std::{
    env, fmt,
    num::{NonZeroU8, NonZeroU16},
    path::PathBuf,
    str::FromStr,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, bail};
use weimocir_models::{
    ApiKey, BlipCaptioner, BlipHandle, Captioner, DeviceChoice, EndpointCaptioner,
    EndpointSettings, FileCaptioner, ModelError, ModelOptions, ModelSource, Precision, Queues,
};

const KEY_VARIABLE: &str = "WEIMOCIR_CAPTION_KEY";
const HEADING: &str = "Captions from an endpoint (its key: WEIMOCIR_CAPTION_KEY)";

/// A model in this process, a server elsewhere, or a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CaptionerSource {
    Model(ModelSource),
    /// What `EndpointArgs` name.
    Endpoint,
    File(PathBuf),
}

impl FromStr for CaptionerSource {
    type Err = ModelError;

    /// `endpoint`, `file:PATH`, or what names a model.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "endpoint" {
            return Ok(Self::Endpoint);
        }
        match text.strip_prefix("file:") {
            Some(path) => Ok(Self::File(PathBuf::from(path))),
            None => ModelSource::parse(text).map(Self::Model),
        }
    }
}

impl fmt::Display for CaptionerSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Model(source) => write!(f, "{source}"),
            Self::Endpoint => f.write_str("endpoint"),
            Self::File(path) => write!(f, "file:{}", path.display()),
        }
    }
}

/// How a model in this process runs.
#[derive(Debug, Clone, clap::Args)]
pub struct LocalArgs {
    /// Where a captioner in this process runs: `cpu`, `cuda` or `cuda:N`
    #[arg(long, env = "WEIMOCIR_CAPTION_DEVICE", default_value = "cpu", value_name = "DEVICE")]
    pub caption_device: DeviceChoice,
    /// What it calculates in: `f32`, or on a GPU `f16` or `bf16`
    #[arg(long, env = "WEIMOCIR_CAPTION_PRECISION", default_value_t, value_name = "TYPE")]
    pub caption_precision: Precision,
    /// Beams of its search for the first caption; 1 is greedy
    #[arg(long, env = "WEIMOCIR_CAPTION_BEAMS", default_value = "1", value_name = "N")]
    pub caption_beams: NonZeroU8,
}

/// A server with OpenAI's chat API: vLLM, Ollama, Gemini, OpenAI. Its key is never an argument,
/// which every user of the machine could see.
#[derive(Debug, Clone, clap::Args)]
pub struct EndpointArgs {
    /// Where the endpoint's API begins: `http://127.0.0.1:8000/v1`
    #[arg(long, help_heading = HEADING, env = "WEIMOCIR_CAPTION_URL", value_name = "URL")]
    pub caption_url: Option<String>,
    /// What the endpoint calls the model
    #[arg(long, help_heading = HEADING, env = "WEIMOCIR_CAPTION_MODEL", value_name = "NAME")]
    pub caption_model: Option<String>,
    /// File with the endpoint's key, where the environment shall not have it
    #[arg(long, help_heading = HEADING, env = "WEIMOCIR_CAPTION_KEY_FILE", value_name = "FILE")]
    pub caption_key_file: Option<PathBuf>,
    /// Ask the endpoint for facts (subject, attributes, colours, count, background, relations) and
    /// make the sentences of them
    #[arg(long, help_heading = HEADING, env = "WEIMOCIR_CAPTION_STRUCTURED")]
    pub caption_structured: bool,
    /// How freely the endpoint's model chooses its words, 0 to 2
    #[arg(long, help_heading = HEADING, env = "WEIMOCIR_CAPTION_TEMPERATURE",
        default_value_t = 0.2, value_name = "T")]
    pub caption_temperature: f32,
    /// Larger pictures are sent to the endpoint with this many pixels on their longer side
    #[arg(long, help_heading = HEADING, env = "WEIMOCIR_CAPTION_SIDE", default_value_t = 768,
        value_name = "PIXELS", value_parser = clap::value_parser!(u32).range(16..=8192))]
    pub caption_side: u32,
    /// Pictures that the endpoint is asked about at the same time
    #[arg(long, help_heading = HEADING, env = "WEIMOCIR_CAPTION_CONCURRENCY",
        default_value = "8", value_name = "N")]
    pub caption_concurrency: NonZeroU16,
    /// Seconds that the endpoint may take for one answer
    // because: a picture that waits for a place and for a slow answer must be done within the ten
    // minutes of a delivery
    #[arg(long, help_heading = HEADING, env = "WEIMOCIR_CAPTION_TIMEOUT", default_value_t = 60,
        value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=240))]
    pub caption_timeout: u64,
}

/// Opens a captioner, which for a model takes as long as its weights are large.
///
/// # Errors
/// A model that cannot be loaded, an endpoint that is not named or not well, or no captions file.
pub async fn open_captioner(
    source: &CaptionerSource,
    local: &LocalArgs,
    endpoint: &EndpointArgs,
) -> anyhow::Result<Arc<dyn Captioner>> {
    let (source, local, endpoint) = (source.clone(), local.clone(), endpoint.clone());
    tokio::task::spawn_blocking(move || match source {
        CaptionerSource::Model(model) => load(&model, &local),
        CaptionerSource::Endpoint => {
            let key = key(env::var(KEY_VARIABLE).ok(), &endpoint)?;
            Ok(Arc::new(EndpointCaptioner::new(endpoint.settings(key)?)?) as Arc<dyn Captioner>)
        }
        CaptionerSource::File(path) => {
            let captions =
                FileCaptioner::open(&path).context("failed to open the captions file")?;
            Ok(Arc::new(captions) as Arc<dyn Captioner>)
        }
    })
    .await
    .context("the loader died")?
}

fn load(source: &ModelSource, local: &LocalArgs) -> anyhow::Result<Arc<dyn Captioner>> {
    let options = ModelOptions {
        device: local.caption_device,
        precision: local.caption_precision,
        ..ModelOptions::default()
    };
    let blip = BlipCaptioner::load(source, options)
        .with_context(|| format!("failed to load the captioner {source}"))?
        .with_beams(local.caption_beams.into());
    let handle = BlipHandle::spawn(blip, Queues::default())
        .context("failed to start the captioner's thread")?;
    Ok(Arc::new(handle))
}

impl EndpointArgs {
    fn settings(&self, key: Option<ApiKey>) -> anyhow::Result<EndpointSettings> {
        let (Some(url), Some(model)) = (&self.caption_url, &self.caption_model) else {
            bail!("the captioner `endpoint` needs --caption-url and --caption-model");
        };
        Ok(EndpointSettings {
            key,
            temperature: self.caption_temperature,
            longest_side: self.caption_side,
            structured: self.caption_structured,
            concurrency: usize::from(self.caption_concurrency.get()),
            timeout: Duration::from_secs(self.caption_timeout),
            ..EndpointSettings::new(url, model)
        })
    }
}

/// The key of the file that is named, else the environment's. An empty one is none.
fn key(variable: Option<String>, args: &EndpointArgs) -> anyhow::Result<Option<ApiKey>> {
    let (text, place) = match (&args.caption_key_file, variable) {
        (Some(path), _) => {
            let text = std::fs::read_to_string(path).with_context(|| {
                format!("cannot read the endpoint's key from {}", path.display())
            })?;
            if text.trim().is_empty() {
                bail!("{} holds no key", path.display());
            }
            (text, path.display().to_string())
        }
        (None, Some(text)) if !text.trim().is_empty() => (text, KEY_VARIABLE.to_owned()),
        (None, _) => return Ok(None),
    };
    let key = ApiKey::new(&text);
    key.with_context(|| format!("{place} is no key: it has characters that cannot be sent"))
        .map(Some)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Arguments {
        #[arg(long, default_value = "bundled")]
        captioner: CaptionerSource,
        #[command(flatten)]
        endpoint: EndpointArgs,
    }

    fn arguments(given: &[&str]) -> Arguments {
        Arguments::try_parse_from([&["test"], given].concat()).unwrap()
    }

    #[test]
    fn a_captioner_is_a_model_an_endpoint_or_a_file() {
        for (given, expected) in [
            ("bundled", CaptionerSource::Model(ModelSource::Bundled)),
            ("endpoint", CaptionerSource::Endpoint),
            ("file:some/captions.json", CaptionerSource::File("some/captions.json".into())),
        ] {
            let source: CaptionerSource = given.parse().unwrap();
            assert_eq!((source.to_string().as_str(), &source), (given, &expected));
        }
        let hub: CaptionerSource = "Salesforce/blip-image-captioning-base".parse().unwrap();
        assert!(matches!(hub, CaptionerSource::Model(ModelSource::Hub { .. })));
        assert!("endpoints".parse::<CaptionerSource>().is_err());
    }

    #[test]
    fn an_endpoint_wants_an_address_and_a_model() {
        let missing = arguments(&["--caption-url", "http://localhost/v1"]).endpoint;
        let error = missing.settings(None).unwrap_err().to_string();
        assert!(error.contains("--caption-model"), "{error}");
        let given = ["--caption-url", "http://localhost/v1", "--caption-model", "m"];
        let settings = arguments(&given).endpoint.settings(None).unwrap();
        assert_eq!((settings.model.as_str(), settings.longest_side), ("m", 768));
    }

    #[test]
    fn the_key_comes_from_the_file_or_the_environment() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "sk-file\n").unwrap();
        let path = file.path().display().to_string();
        let none = arguments(&[]).endpoint;
        let named = arguments(&["--caption-key-file", &path]).endpoint;
        let of_variable = Some("sk-variable".to_owned());
        assert_eq!(key(None, &none).unwrap(), None);
        assert_eq!(key(Some(" ".to_owned()), &none).unwrap(), None);
        assert_eq!(key(of_variable.clone(), &none).unwrap(), ApiKey::new("sk-variable"));
        assert_eq!(key(of_variable, &named).unwrap(), ApiKey::new("sk-file"));

        let error = key(Some("sk secret".to_owned()), &none).unwrap_err().to_string();
        assert!(error.contains(KEY_VARIABLE) && !error.contains("secret"), "{error}");
        std::fs::write(file.path(), " \n").unwrap();
        assert!(key(None, &named).unwrap_err().to_string().contains("holds no key"));
        let missing = arguments(&["--caption-key-file", "/missing/key"]).endpoint;
        assert!(key(None, &missing).unwrap_err().to_string().contains("/missing/key"));
    }
}
