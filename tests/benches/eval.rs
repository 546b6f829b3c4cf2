//! Seconds of a whole 21×21 plane in both modes, beside the published way: a pass per α, a sort per β.
//! A made-up gallery of the size of CIRR's validation split.
#![expect(clippy::print_stdout, reason = "the table is the result")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use anyhow::{Context, ensure};
use clap::Parser;
use serde::Deserialize;
use serde_json::json;
use weimocir_domain::{Alpha, Beta, TextReference};
use weimocir_evaluation::{
    CaptionChoice, Embeddings, FeaturesFile, GalleryImage, Grid, Metric, Parts, Plan, Sweep,
    TestSet, Triplet, sweep, write_features,
};
use weimocir_tests::mixture::{CAPTIONS, Mixture};

// because: the program that evaluates uses it too
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const PEERS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/eval_peers.py");
const SUBSET: usize = 5;
const METRICS: [Metric; 7] = [
    Metric::Recall(1),
    Metric::Recall(5),
    Metric::Recall(10),
    Metric::Recall(50),
    Metric::SubsetRecall(1),
    Metric::SubsetRecall(2),
    Metric::SubsetRecall(3),
];
const MODES: [TextReference; 2] = [TextReference::Image, TextReference::Caption];

#[derive(Debug, Parser)]
struct Args {
    #[arg(long, default_value_t = 2_297)]
    images: usize,
    #[arg(long, default_value_t = 4_181)]
    queries: usize,
    #[arg(long, default_value_t = 512)]
    dim: usize,
    /// A Python with torch and safetensors
    #[arg(long, env = "WEIMOCIR_BENCH_PYTHON", default_value = "python3", value_name = "PROGRAM")]
    python: PathBuf,
    /// Values of α that the published way is timed at; all 21 take the same time each
    #[arg(long, value_delimiter = ',', default_value = "0.3,0.8")]
    alphas: Vec<Alpha>,
    #[arg(long, default_value_t = 5)]
    rounds: usize,
}

/// What `eval_peers.py` says of one pass.
#[derive(Debug, Deserialize)]
struct Pass {
    alpha: Alpha,
    text_reference: TextReference,
    seconds: f64,
    r10: Vec<f64>,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    ensure!(args.images > SUBSET + 1 && args.rounds > 0, "some images and a round at least");
    let folder = tempfile::tempdir()?;
    let set = made_up(&args, folder.path())?;
    let mut seconds = Vec::new();
    let mut sweeps = Vec::new();
    for _ in 0..args.rounds {
        let start = Instant::now();
        sweeps = plane(&set, folder.path())?;
        seconds.push(start.elapsed().as_secs_f64());
    }
    let peak = peak_bytes()?;
    let passes = published(&args, folder.path())?;
    report(&args, (median(seconds), peak), &passes, &sweeps)
}

/// Random triplets, each modifier the first caption of its target.
fn made_up(args: &Args, folder: &Path) -> anyhow::Result<TestSet> {
    let mixture = Mixture::new(args.dim);
    let images = mixture.images(0, args.images);
    let at = |n: usize, step: usize| (n * step + n / args.images + 1) % args.images;
    let triplet = |n: usize| {
        let (reference, target) = (at(n, 1), at(n, 7) + 1);
        let target = if target % args.images == reference { target + 1 } else { target };
        let target = target % args.images;
        let others = (1..).map(|step| (target + 11 * step) % args.images);
        let others = others.filter(|n| *n != reference && *n != target).take(SUBSET - 1);
        let subset = others.chain([target]).collect();
        Triplet {
            pair: n as u64,
            reference,
            modifier: String::new(),
            targets: vec![target],
            subset,
        }
    };
    let name =
        |n: usize| GalleryImage { name: format!("image-{n}"), file: String::new(), part: None };
    let set = TestSet {
        name: "made-up".to_owned(),
        category: None,
        gallery: (0..args.images).map(name).collect(),
        triplets: (0..args.queries).map(triplet).collect(),
        metrics: METRICS.to_vec(),
        reference_stays: false,
    };
    let modifier = |triplet: &Triplet| images[triplet.targets[0]].captions[0].clone();
    let parts = Parts {
        dim: args.dim,
        image: images.iter().flat_map(|image| image.embedding.clone()).collect(),
        slots: CAPTIONS,
        captions: images.iter().flat_map(|image| image.captions.concat()).collect(),
        modifier: set.triplets.iter().flat_map(modifier).collect(),
        absent: vec![],
    };
    let embeddings = Embeddings::new(&set, parts)?;
    write_features(&folder.join("features.safetensors"), &[(&set, &embeddings)])?;
    let each =
        |of: fn(&Triplet) -> serde_json::Value| set.triplets.iter().map(of).collect::<Vec<_>>();
    let queries = json!({
        "references": each(|t| json!(t.reference)),
        "targets": each(|t| json!(t.targets[0])),
        "subsets": each(|t| json!(t.subset)),
    });
    fs::write(folder.join("queries.json"), queries.to_string())?;
    Ok(set)
}

/// The whole of it: the features file, both planes, and every figure of results.csv.
fn plane(set: &TestSet, folder: &Path) -> anyhow::Result<Vec<Sweep>> {
    let features = FeaturesFile::open(&folder.join("features.safetensors"))?;
    let embeddings = features.embeddings(std::slice::from_ref(set))?;
    let plan = Plan {
        grid: Grid::sweep(0.05)?,
        text_references: MODES.to_vec(),
        choices: vec![CaptionChoice::all(CAPTIONS)],
    };
    let sweeps = sweep(set, &embeddings[0], &plan, &|_| {})?;
    let rows = sweeps.iter().flat_map(|sweep| weimocir_evaluation::rows(sweep, &METRICS, None));
    weimocir_evaluation::write_csv(
        &folder.join("results.csv"),
        &METRICS,
        &rows.collect::<Vec<_>>(),
    )?;
    Ok(sweeps)
}

fn published(args: &Args, folder: &Path) -> anyhow::Result<Vec<Pass>> {
    let threads = std::thread::available_parallelism()?.to_string();
    let alphas = args.alphas.iter().map(Alpha::to_string);
    let done = Command::new(&args.python).arg(PEERS).arg(folder).arg(threads).args(alphas).output();
    let done = done.with_context(|| format!("cannot run {}", args.python.display()))?;
    ensure!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let text = String::from_utf8(done.stdout)?;
    text.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

fn report(
    args: &Args,
    (ours, peak): (f64, u64),
    passes: &[Pass],
    sweeps: &[Sweep],
) -> anyhow::Result<()> {
    let alphas = Grid::sweep(0.05)?.alphas().len() as f64;
    let each = |mode| {
        median(passes.iter().filter(|p| p.text_reference == mode).map(|p| p.seconds).collect())
    };
    let published = alphas * MODES.into_iter().map(each).sum::<f64>();
    let (ratio, megabytes) = (published / ours, peak >> 20);
    let Args { images, queries, dim, .. } = args;
    println!(
        "{images} images, {CAPTIONS} captions each, {queries} queries, d = {dim}; 21×21 cells, both modes, 7 metrics\n"
    );
    println!("| | seconds |\n|---|---|");
    println!("| the plane from matrix products, median of {} | {ours:.2} |", args.rounds);
    println!(
        "| the published way (torch), 21 × the median of {} passes a mode | {published:.0} |",
        args.alphas.len()
    );
    let worst = worst(passes, sweeps)?;
    println!(
        "\n{ratio:.0} times faster, {megabytes} MiB at most; R@10 differs by {worst:.3} points at most\n"
    );
    println!(
        "{}",
        json!({ "seconds": ours, "published_seconds": published, "ratio": ratio, "peak_mib": megabytes, "worst_difference": worst })
    );
    Ok(())
}

/// The largest difference of R@10 from the published way's, in points.
fn worst(passes: &[Pass], sweeps: &[Sweep]) -> anyhow::Result<f64> {
    let mut worst = 0.0_f64;
    for pass in passes {
        let sweep = sweeps.iter().find(|sweep| sweep.text_reference == pass.text_reference);
        let sweep = sweep.context("both modes are swept")?;
        for (n, theirs) in pass.r10.iter().enumerate() {
            let cell = sweep.grid.cell(pass.alpha, Beta::new((n as f64 / 20.0) as f32)?);
            let ours = sweep.percent(Metric::Recall(10), cell.context("α is of the sweep")?);
            worst = worst.max((ours - theirs).abs());
        }
    }
    Ok(worst)
}

/// The most memory that this process had.
fn peak_bytes() -> anyhow::Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.context("no VmHWM")?.trim().trim_end_matches(" kB");
    Ok(kilobytes.parse::<u64>()? << 10)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
