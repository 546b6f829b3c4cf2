//! `weimocir plan`: what a gallery of a given size needs, by what was measured, and where the design has
//! not been tried or ends. Needs no NATS.

use anyhow::{Context, ensure};
use serde::Serialize;
use weimocir_models::{KNOWN_MODELS, Origin, Role};

use crate::{Done, Shared, say, say_json};

#[derive(Debug, clap::Args)]
pub(crate) struct PlanArgs {
    /// Images of the gallery
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000_000_000))]
    images: u64,
    /// Searches a second
    #[arg(long, default_value_t = 1.0, value_name = "Q")]
    qps: f64,
    /// Encoder, by the name that `weimocir models` has
    #[arg(long, default_value = "bundled", value_name = "M")]
    model: String,
    /// Values of an embedding; the model's, if it is known
    #[arg(long, value_name = "D", value_parser = clap::value_parser!(u32).range(1..=65_536))]
    dim: Option<u32>,
    /// Images that one device encodes a second, their captions included, as you measured it; needed
    /// for all models but the bundled one
    #[arg(long, value_name = "RATE")]
    images_per_second: Option<f64>,
    /// Captions of each image
    #[arg(long, default_value_t = 3, value_name = "R", value_parser = clap::value_parser!(u32).range(..=64))]
    captions: u32,
    /// Size of a picture's file
    #[arg(long, default_value_t = 100.0, value_name = "KB")]
    picture_kb: f64,
    /// Images of a shard, at most
    #[arg(long, default_value_t = 1_000_000, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    shard_images: u64,
    /// Copies of each stream that the NATS servers keep
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=5))]
    copies: u32,
    /// Days in which the gallery is to be encoded
    #[arg(long, default_value_t = 7.0, value_name = "DAYS")]
    days: f64,
}

/// A measured number, and where it stands.
#[derive(Debug, Clone, Copy, Serialize)]
struct Figure {
    value: f64,
    unit: &'static str,
    what: &'static str,
    from: &'static str,
}

const fn figure(value: f64, unit: &'static str, what: &'static str, from: &'static str) -> Figure {
    Figure { value, unit, what, from }
}

const STORE: &str = "make bench-store: a million images with a caption each, d = 512";
const INDEX: &str = "make bench-index: a million images, d = 512, K = 10, two threads";

const CODES: Figure =
    figure(1_209.0, "B", "codes of an image at d = 512, of which 77 for any d", INDEX);
/// What of the codes does not grow with the dimension.
const CODES_FIXED: f64 = 77.0;
const RESIDENT: Figure = figure(1_440.0, "B", "memory of an image beside its codes", STORE);
const SLED: Figure = figure(2.12, "", "bytes in sled for each byte of raw vectors", STORE);
const KNOWN: Figure =
    figure(240.0, "B", "of the index for an image, beside vectors and codes", STORE);
const START: Figure = figure(7.0, "s", "start of a store, for a million images", STORE);
const REBUILD: Figure = figure(61.0, "s", "start without an index, for a million images", STORE);
const SEARCH: Figure = figure(5.8, "ms", "search of a million images, on two cores", INDEX);
const ENTRY: Figure = figure(
    267.0,
    "B",
    "of the log for a part, beside its vectors",
    "make bench-scaling: the log's size, vectors taken off",
);
const PIPELINE: Figure = figure(
    0.89,
    "",
    "share of the encoder's own rate that the pipeline reaches",
    "make bench-pipeline: medians of three runs",
);
const BUNDLED: Figure = figure(
    316.0,
    "/s",
    "images and three captions of each, by the bundled encoder on a core",
    "make bench-pipeline: the encoder alone",
);
const IN_HAND: Figure = figure(
    64.0,
    "",
    "searches that a query worker has in hand",
    "--searches of weimocir-query, whose default was measured with 16 clients",
);

const FIGURES: [Figure; 11] =
    [CODES, RESIDENT, SLED, KNOWN, START, REBUILD, SEARCH, ENTRY, PIPELINE, BUNDLED, IN_HAND];

/// Of a million: what the measurements of stores and of the index are about.
const MEASURED_SHARD: u64 = 1_000_000;
/// What a collection can have.
const MOST_SHARDS: u64 = 1_024;
/// More than that is rarely on one server's disks.
const ONE_SERVER: f64 = 20e12;

/// Bytes are of the whole gallery, unless they say of what.
#[derive(Debug, Serialize)]
struct Plan {
    images: u64,
    dim: u32,
    captions: u32,
    qps: f64,
    model: String,
    shards: u64,
    /// Codes of one image.
    codes_bytes_per_image: f64,
    memory_bytes: f64,
    memory_bytes_per_shard: f64,
    sled_bytes: f64,
    index_bytes: f64,
    store_disk_bytes_per_shard: f64,
    nats_log_bytes: f64,
    nats_pictures_bytes: f64,
    device_hours: f64,
    encode_workers_for_ingest: u64,
    encode_workers_for_searches: u64,
    query_workers: u64,
    store_cores: u64,
    search_ms_per_shard: f64,
    start_seconds: f64,
    rebuild_seconds: f64,
    /// Where this goes beyond what was measured, or ends.
    limits: Vec<String>,
}

pub(crate) fn run(args: &PlanArgs, shared: &Shared) -> anyhow::Result<Done> {
    let plan = plan(args)?;
    if shared.json {
        say_json(&serde_json::json!({ "plan": plan, "figures": FIGURES }))?;
    } else {
        show(&plan, args);
    }
    Ok(Done::Fully)
}

fn plan(args: &PlanArgs) -> anyhow::Result<Plan> {
    for (name, value) in
        [("--qps", args.qps), ("--picture-kb", args.picture_kb), ("--days", args.days)]
    {
        ensure!(value.is_finite() && value > 0.0, "{name} is {value}, which is not above 0");
    }
    let (dim, rate) = (dim(args)?, rate(args)?);
    let (images, d) = (args.images as f64, f64::from(dim));
    let vectors = f64::from(1 + args.captions) * 4.0 * d;
    let codes = CODES_FIXED + (CODES.value - CODES_FIXED) * d / 512.0;
    let parts = if args.captions > 0 { 2.0 } else { 1.0 };
    let copies = f64::from(args.copies);
    let shards = args.images.div_ceil(args.shard_images);
    let shard = images / shards as f64;
    let millions = shard / MEASURED_SHARD as f64;
    let (memory, sled) = (codes + RESIDENT.value, vectors * SLED.value);
    let index = vectors + codes + KNOWN.value;
    let search_ms = SEARCH.value * millions * d / 512.0;
    let workers = |load: f64| (load.ceil() as u64).max(1);
    let mut plan = Plan {
        images: args.images,
        dim,
        captions: args.captions,
        qps: args.qps,
        model: args.model.clone(),
        shards,
        codes_bytes_per_image: codes,
        memory_bytes: images * memory,
        memory_bytes_per_shard: shard * memory,
        sled_bytes: images * sled,
        index_bytes: images * index,
        store_disk_bytes_per_shard: shard * (sled + index),
        nats_log_bytes: images * (vectors + parts * ENTRY.value) * copies,
        nats_pictures_bytes: images * args.picture_kb * 1e3 * copies,
        device_hours: images / (rate * PIPELINE.value) / 3_600.0,
        encode_workers_for_ingest: workers(
            images / (rate * PIPELINE.value) / (args.days * 86_400.0),
        ),
        // because: at half of what a device can do, few searches wait for another
        encode_workers_for_searches: workers(args.qps / rate / 0.5),
        query_workers: workers(args.qps * (search_ms / 1e3).max(0.1) / IN_HAND.value),
        store_cores: workers(args.qps * shards as f64 * 2.0 * search_ms / 1e3),
        search_ms_per_shard: search_ms,
        start_seconds: START.value * millions,
        rebuild_seconds: REBUILD.value * millions,
        limits: vec![],
    };
    plan.limits = limits(&plan, args);
    Ok(plan)
}

fn dim(args: &PlanArgs) -> anyhow::Result<u32> {
    let known = KNOWN_MODELS.iter().find(|model| is_named(model.name, model.origin, &args.model));
    let known = known.filter(|model| model.role == Role::Encoder).and_then(|model| model.dim);
    match (args.dim, known) {
        (Some(given), _) => Ok(given),
        (None, Some(known)) => Ok(known),
        (None, None) => anyhow::bail!(
            "{} is no encoder of `weimocir models`: say its dimension by --dim",
            args.model
        ),
    }
}

fn is_named(name: &str, origin: Origin, given: &str) -> bool {
    name == given || origin == Origin::Bundled && given == "bundled"
}

/// Images a second of one device.
fn rate(args: &PlanArgs) -> anyhow::Result<f64> {
    let measured = (args.model == "bundled").then_some(BUNDLED.value);
    let rate = args.images_per_second.or(measured).with_context(|| {
        format!(
            "how fast {} is on your device has not been measured: `weimocir ingest … --wait` tells; say it by --images-per-second",
            args.model
        )
    })?;
    ensure!(rate.is_finite() && rate > 0.0, "--images-per-second is {rate}, which is not above 0");
    Ok(rate)
}

fn limits(plan: &Plan, args: &PlanArgs) -> Vec<String> {
    let mut limits = Vec::new();
    if plan.shards > MOST_SHARDS {
        limits.push(format!(
            "{} shards: a collection has {MOST_SHARDS} at most, so shards must be larger (--shard-images) or the gallery split into collections",
            plan.shards
        ));
    }
    if args.shard_images > MEASURED_SHARD && plan.images > MEASURED_SHARD {
        limits.push(format!("no shard of more than {MEASURED_SHARD} images has been measured"));
    }
    if plan.shards > 1 {
        limits.push(format!(
            "a search asks all {} shards, {:.0} questions a second in all, and is as slow as the slowest: figures are of one shard",
            plan.shards,
            plan.qps * plan.shards as f64
        ));
    }
    if plan.nats_pictures_bytes / f64::from(args.copies) > ONE_SERVER {
        limits.push(format!(
            "the pictures are one stream, {} on one server's disk (and on each copy's): there is no store of pictures over several servers",
            bytes(plan.nats_pictures_bytes / f64::from(args.copies))
        ));
    }
    if plan.dim != 512 {
        limits.push("figures are of d = 512, and carried over in proportion".to_owned());
    }
    if args.captions > 0 {
        limits.push(
            "captions are counted as being there: what a captioner takes to write them is not in this plan".to_owned(),
        );
    }
    limits
}

fn show(plan: &Plan, args: &PlanArgs) {
    let row = |what: &str, value: String| say(format_args!("{what:<34} {value}"));
    say(format_args!(
        "{} images of {} captions, d = {}, {} searches/s, {}\n",
        plan.images, plan.captions, plan.dim, plan.qps, plan.model
    ));
    row("shards", format!("{} of {} images at most", plan.shards, args.shard_images));
    row(
        "memory of the stores",
        format!("{}, {} a shard", bytes(plan.memory_bytes), bytes(plan.memory_bytes_per_shard)),
    );
    let disk = plan.sled_bytes + plan.index_bytes;
    row(
        "disk of the stores",
        format!("{}, {} a shard", bytes(disk), bytes(plan.store_disk_bytes_per_shard)),
    );
    row("cores of the stores for searches", plan.store_cores.to_string());
    row(
        "NATS: logs of vectors",
        format!("{}, copies: {}", bytes(plan.nats_log_bytes), args.copies),
    );
    row("NATS: pictures", format!("{}, copies: {}", bytes(plan.nats_pictures_bytes), args.copies));
    row("encoding everything once", format!("{:.1} hours of a device", plan.device_hours));
    row(
        "encode workers",
        format!(
            "{} for {} days, and {} for searches",
            plan.encode_workers_for_ingest, args.days, plan.encode_workers_for_searches
        ),
    );
    row("query workers", plan.query_workers.to_string());
    row("one shard's part of a search", format!("{:.1} ms on two cores", plan.search_ms_per_shard));
    row(
        "start of a store",
        format!("{:.0} s; {:.0} s if its index is gone", plan.start_seconds, plan.rebuild_seconds),
    );
    if !plan.limits.is_empty() {
        say("\nbeyond what was measured:");
        plan.limits.iter().for_each(|limit| say(format_args!("  - {limit}")));
    }
    say("\nmeasured:");
    for Figure { value, unit, what, from } in FIGURES {
        say(format_args!("  {value} {unit} {what} ({from})"));
    }
}

/// In units that are read, of a thousand each.
fn bytes(bytes: f64) -> String {
    let units = ["B", "KB", "MB", "GB", "TB", "PB"];
    let at = (bytes.max(1.0).log10() / 3.0) as usize;
    let at = at.min(units.len() - 1);
    format!("{:.1} {}", bytes / 1e3_f64.powi(at as i32), units[at])
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn planned(args: &[&str]) -> anyhow::Result<Plan> {
        let all = crate::Weimocir::try_parse_from([&["weimocir", "plan"], args].concat())?;
        let crate::Command::Plan(args) = all.command else { panic!("this is another command") };
        plan(&args)
    }

    /// The number that stands before a text of the README.
    fn told(after: &str) -> f64 {
        let readme = include_str!("../../../README.md").replace('\n', " ");
        let (before, _) = readme.split_once(after).unwrap_or_else(|| panic!("{after} is gone"));
        before.rsplit(' ').next().unwrap().parse().unwrap()
    }

    #[test]
    fn a_measured_gallery_is_planned_as_the_readme_measured_it() {
        let plan = planned(&["--images", "1000000", "--dim", "512", "--captions", "1"]).unwrap();
        for (planned, after) in [
            (plan.codes_bytes_per_image / 1e3, " KB of codes an image"),
            (plan.memory_bytes / 1e9, " GB of memory. "),
            (plan.index_bytes / 1e9, " GB of index, beside"),
            (plan.sled_bytes / 1e9, " GB in sled"),
            (plan.search_ms_per_shard, " (4.1) | 8.3 (5.0)"),
        ] {
            let told = told(after);
            assert!((planned / told - 1.0).abs() < 0.1, "{planned} for{after}, where it is {told}");
        }
        assert_eq!((plan.shards, plan.query_workers), (1, 1));
    }

    #[test]
    fn it_says_where_the_design_ends() {
        let small = planned(&["--images", "1000", "--dim", "512", "--captions", "0"]).unwrap();
        assert!(small.limits.is_empty(), "{:?}", small.limits);
        let large = ["--images", "1000000000", "--dim", "512", "--qps", "100"];
        let plan = planned(&large).unwrap();
        assert_eq!(plan.shards, 1_000);
        let limits = plan.limits.join("\n");
        assert!(limits.contains("all 1000 shards, 100000 questions"), "{limits}");
        assert!(limits.contains("100.0 TB on one server"), "{limits}");
        let fine = planned(&[&large[..], &["--shard-images", "900000"]].concat()).unwrap();
        assert!(fine.limits[0].contains("1112 shards: a collection has 1024"), "{:?}", fine.limits);
    }

    #[test]
    fn what_is_not_known_is_asked_for() {
        for (args, why) in [
            (&["--images", "5", "--model", "a/b"][..], "--dim"),
            (&["--images", "5", "--model", "a/b", "--dim", "8"], "--images-per-second"),
            (&["--images", "5", "--qps", "0"], "--qps is 0"),
            (&["--images", "5", "--days", "nan"], "--days is NaN"),
            (&["--images", "5", "--images-per-second=-1"], "--images-per-second is -1"),
            (&["--images", "0"], "0"),
        ] {
            let error = planned(args).map(|plan| plan.shards).unwrap_err().to_string();
            assert!(error.contains(why), "{args:?}: {error}");
        }
    }
}
