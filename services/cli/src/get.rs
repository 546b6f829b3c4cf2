//! `weimocir get`: everything that the gallery holds of one image.

use std::path::PathBuf;

use anyhow::Context;
use weimocir_domain::ImageId;
use weimocir_runtime::Pictures;

use crate::{Done, Shared, record, say, say_json};

#[derive(Debug, clap::Args)]
pub(crate) struct GetArgs {
    /// Image id
    #[arg(value_name = "ID")]
    image: ImageId,
    /// Write the picture's file here
    #[arg(long, value_name = "FILE")]
    picture: Option<PathBuf>,
}

pub(crate) async fn run(args: GetArgs, shared: Shared) -> anyhow::Result<Done> {
    let bus = shared.connect().await?;
    let collection = shared.existing_collection(&bus).await?;
    let record = record(&bus, &collection, args.image).await?;
    if let Some(path) = &args.picture {
        let bytes = Pictures::open(&bus).await?.get(args.image).await?;
        std::fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let captions: Vec<&str> = record.captions.iter().map(|caption| caption.text.as_str()).collect();
    if shared.json {
        say_json(&serde_json::json!({
            "image": record.image,
            "collection": record.collection,
            "source": record.source,
            "captions": captions,
            "metadata": record.metadata,
            "model": record.model,
            "dim": record.embedding.0.len(),
            "revision": record.revision,
        }))?;
        return Ok(Done::Fully);
    }
    say(format_args!("image     {}", record.image));
    say(format_args!("source    {}", record.source));
    say(format_args!("model     {} ({} numbers)", record.model, record.embedding.0.len()));
    say(format_args!("revision  {}", record.revision.0));
    if captions.is_empty() {
        say("captions  none yet");
    }
    captions.iter().for_each(|caption| say(format_args!("caption   {caption}")));
    if !record.metadata.is_empty() {
        say(format_args!("metadata  {}", serde_json::to_string(&record.metadata)?));
    }
    Ok(Done::Fully)
}
