//! `weimocir embed`: raw embeddings of pictures and texts, by an encoder in this process. Needs no
//! NATS.

use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::Serialize;
use weimocir_domain::{Embedding, LongText, ModelId};
use weimocir_models::{
    DeviceChoice, Encoder, ModelOptions, ModelSource, PixelRecipe, Precision, Preprocessor,
};

use crate::{Done, Shared, ingest, say};

#[derive(Debug, clap::Args)]
pub(crate) struct EmbedArgs {
    /// Encoder: `bundled`, a folder in Hugging Face's format, `organisation/name[@revision]` on the
    /// hub, or a .pth file of Salesforce's BLIP
    #[arg(long, env = "WEIMOCIR_MODEL", default_value = "bundled", value_name = "MODEL")]
    model: ModelSource,
    /// Picture to encode; may be given many times
    #[arg(long = "image", value_name = "FILE", required_unless_present = "texts")]
    images: Vec<PathBuf>,
    /// Text to encode; may be given many times
    #[arg(long = "text", value_name = "TEXT", value_parser = words, allow_hyphen_values = true)]
    texts: Vec<String>,
    /// Where the encoder runs: `cpu`, `cuda` or `cuda:N`
    #[arg(long, env = "WEIMOCIR_DEVICE", default_value = "cpu", value_name = "DEVICE")]
    device: DeviceChoice,
    /// What it calculates in: `f32`, or on a GPU `f16` or `bf16`
    #[arg(long, env = "WEIMOCIR_PRECISION", default_value_t, value_name = "TYPE")]
    precision: Precision,
    /// How pictures are prepared: as the model's files declare, or as the paper's `published` code did
    #[arg(long, env = "WEIMOCIR_PIXELS", default_value_t, value_name = "RECIPE")]
    pixels: PixelRecipe,
    /// What becomes of a text that is longer than the model reads: `truncate` or `refuse`
    #[arg(long, default_value_t, value_name = "RULE")]
    long_text: LongText,
}

/// Pictures decoded before they are encoded; because that many decoded ones fit any memory.
const PICTURES_AT_ONCE: usize = 32;

#[derive(Debug, Serialize)]
struct Embedded {
    model: ModelId,
    dim: usize,
    /// Raw, in the order of the arguments.
    images: Vec<Vec<f32>>,
    texts: Vec<Vec<f32>>,
}

pub(crate) async fn run(args: EmbedArgs, shared: Shared) -> anyhow::Result<Done> {
    tokio::task::spawn_blocking(move || embed(&args, shared.json))
        .await
        .context("the encoder died")?
}

fn embed(args: &EmbedArgs, json: bool) -> anyhow::Result<Done> {
    let options =
        ModelOptions { device: args.device, precision: args.precision, pixels: args.pixels };
    let encoder = Encoder::load(&args.model, options)
        .with_context(|| format!("failed to load the encoder {}", args.model))?;
    let texts = encode_texts(&encoder, &args.texts, args.long_text)?;
    let images = encode_images(&encoder, &args.images)?;
    if json {
        say(serde_json::to_string(&Embedded {
            model: encoder.id().clone(),
            dim: encoder.dim(),
            images: values(&images),
            texts: values(&texts),
        })?);
        return Ok(Done::Fully);
    }
    say(format_args!("model  {} ({} numbers)", encoder.id(), encoder.dim()));
    for (path, embedding) in args.images.iter().zip(&images) {
        show("image", &path.to_string_lossy(), embedding);
    }
    for (text, embedding) in args.texts.iter().zip(&texts) {
        show("text", text, embedding);
    }
    Ok(Done::Fully)
}

fn encode_texts(
    encoder: &Encoder,
    texts: &[String],
    long: LongText,
) -> anyhow::Result<Vec<Embedding>> {
    let tokens = encoder.text_preprocessor().tokens(texts, long);
    let encoded = tokens.and_then(|tokens| encoder.encode_tokens(&tokens));
    let encoded = encoded.context("failed to encode the texts")?;
    for (text, _) in texts.iter().zip(&encoded).filter(|(_, encoded)| encoded.truncated) {
        tracing::warn!(text, "the text is too long for the model, its end was left out");
    }
    Ok(encoded.into_iter().map(|encoded| encoded.embedding).collect())
}

fn encode_images(encoder: &Encoder, paths: &[PathBuf]) -> anyhow::Result<Vec<Embedding>> {
    let bar = ingest::bar("encoded", paths.len() as u64, paths.len() > PICTURES_AT_ONCE);
    let preprocessor = encoder.preprocessor();
    let mut embeddings = Vec::with_capacity(paths.len());
    for group in paths.chunks(PICTURES_AT_ONCE) {
        let pictures: anyhow::Result<Vec<_>> =
            group.iter().map(|path| pixels(&preprocessor, path)).collect();
        let encoded = encoder.encode_images(&pictures?).context("failed to encode the pictures")?;
        embeddings.extend(encoded);
        bar.inc(group.len() as u64);
    }
    bar.finish_and_clear();
    Ok(embeddings)
}

fn pixels(preprocessor: &Preprocessor, path: &Path) -> anyhow::Result<weimocir_models::Pixels> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    preprocessor.pixels(&bytes).with_context(|| format!("cannot encode {}", path.display()))
}

fn values(embeddings: &[Embedding]) -> Vec<Vec<f32>> {
    embeddings.iter().map(|embedding| embedding.values().to_vec()).collect()
}

/// Values of an embedding that a line shows.
const SHOWN: usize = 4;

fn show(kind: &str, name: &str, embedding: &Embedding) {
    let first: String =
        embedding.values().iter().take(SHOWN).map(|value| format!("{value:>9.4} ")).collect();
    say(format_args!("{kind:<6} norm {:>8.4}  {first}…  {name}", embedding.norm()));
}

fn words(text: &str) -> Result<String, String> {
    match text.trim().is_empty() {
        true => Err("a text needs words to be encoded".to_owned()),
        false => Ok(text.to_owned()),
    }
}
