//! `weimocir models`: the models that the method is known with, and which of them are here. Needs no
//! NATS and no network.

use std::path::Path;

use indicatif::DecimalBytes;
use serde::Serialize;
use weimocir_models::{Cached, Hub, KNOWN_MODELS, KnownModel, Origin, Role};

use crate::{Done, Shared, say, say_json};

#[derive(Debug, Serialize)]
struct Listing<'a> {
    cache: &'a Path,
    models: Vec<Listed>,
}

#[derive(Debug, Serialize)]
struct Listed {
    name: &'static str,
    role: Role,
    parameters: u64,
    /// As f32.
    bytes: u64,
    dim: Option<u32>,
    side: u32,
    licence: &'static str,
    alpha: Option<f32>,
    beta: Option<f32>,
    /// Where a file that is not on the hub is published.
    url: Option<&'static str>,
    cached: Cached,
}

pub(crate) fn run(shared: &Shared) -> anyhow::Result<Done> {
    let hub = Hub::from_env()?;
    let models: Vec<Listed> = KNOWN_MODELS.iter().map(|model| list(model, &hub)).collect();
    if shared.json {
        say_json(&Listing { cache: hub.cache(), models })?;
        return Ok(Done::Fully);
    }
    for role in [Role::Encoder, Role::Captioner] {
        head(role);
        models.iter().filter(|model| model.role == role).for_each(show);
        say("");
    }
    say(format_args!("cache: {}", hub.cache().display()));
    Ok(Done::Fully)
}

fn list(model: &KnownModel, hub: &Hub) -> Listed {
    Listed {
        name: model.name,
        role: model.role,
        parameters: model.parameters,
        bytes: model.bytes(),
        dim: model.dim,
        side: model.side,
        licence: model.licence,
        alpha: model.weights.map(|(alpha, _)| alpha),
        beta: model.weights.map(|(_, beta)| beta),
        url: match model.origin {
            Origin::File(url) => Some(url),
            Origin::Bundled | Origin::Hub => None,
        },
        cached: model.cached(hub),
    }
}

fn head(role: Role) {
    let title = match role {
        Role::Encoder => "encoder (--model)",
        Role::Captioner => "captioner (--captioner)",
    };
    say(format_args!(
        "{title:<41} {:>10} {:>9} {:>5} {:>6}  {:<10} {:<12} {}",
        "parameters", "as f32", "dim", "pixels", "α, β", "here", "licence"
    ));
}

fn show(model: &Listed) {
    let here = match (&model.cached, model.url) {
        (_, Some(_)) => "a file",
        (Cached::Bundled, None) => "built in",
        (Cached::Whole(_), None) => "in the cache",
        (Cached::Partly(_), None) => "in part",
        (Cached::No, None) => "no",
    };
    let dim = model.dim.map_or_else(|| "–".to_owned(), |dim| dim.to_string());
    let weights = match (model.alpha, model.beta) {
        (Some(alpha), Some(beta)) => format!("{alpha:.2}, {beta:.2}"),
        _ => "–".to_owned(),
    };
    say(format_args!(
        "{:<41} {:>10} {:>9} {dim:>5} {:>6}  {weights:<10} {here:<12} {}",
        model.name,
        format!("{:.1} M", model.parameters as f64 / 1e6),
        DecimalBytes(model.bytes).to_string(),
        model.side,
        model.licence
    ));
    let detail = match (&model.cached, model.url) {
        (Cached::Whole(path) | Cached::Partly(path), _) => path.display().to_string(),
        (_, Some(url)) => url.to_owned(),
        _ => return,
    };
    say(format_args!("    {detail}"));
}
