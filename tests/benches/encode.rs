//! Images and texts per second of CLIP ViT-B/32 with random weights, beside PyTorch and ONNX Runtime
//! in f32 on the same threads. Each round measures all three in turn; ratios are medians of rounds.
#![expect(clippy::print_stdout, reason = "the table is the result")]

use std::{
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use clap::Parser;
use weimocir_models::{DeviceChoice, Encoder, ModelSource, Pixels};

// because: the workers use it too, and it decides what an intermediate tensor costs
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const PEERS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/encode_peers.py");

#[derive(Debug, Parser)]
struct Args {
    /// A Python with torch, transformers, onnxscript and onnxruntime
    #[arg(long, env = "WEIMOCIR_BENCH_PYTHON", default_value = "python3", value_name = "PROGRAM")]
    python: PathBuf,
    /// Where the checkpoint and the peers' graphs are kept, about 1.2 GB
    #[arg(long, default_value = ".build/bench-encode", value_name = "FOLDER")]
    folder: PathBuf,
    #[arg(long, default_value_t = 2)]
    threads: usize,
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Measuring time of each of the three in each round
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
}

#[derive(Debug, Clone, Copy)]
enum Case {
    Images { batch: usize },
    Texts { batch: usize, tokens: usize },
}

const CASES: [(&str, Case); 5] = [
    ("image_b1", Case::Images { batch: 1 }),
    ("image_b8", Case::Images { batch: 8 }),
    ("image_b32", Case::Images { batch: 32 }),
    ("text77_b8", Case::Texts { batch: 8, tokens: 77 }),
    ("text_short_b8", Case::Texts { batch: 8, tokens: 10 }),
];

impl Case {
    fn batch(self) -> usize {
        match self {
            Self::Images { batch } | Self::Texts { batch, .. } => batch,
        }
    }

    /// As `encode_peers.py` reads it.
    fn name(self) -> String {
        match self {
            Self::Images { batch } => format!("image:{batch}"),
            Self::Texts { batch, tokens } => format!("text:{batch}:{tokens}"),
        }
    }
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    rayon_threads(args.threads)?;
    let folder = checkpoint(&args)?;
    let encoder = Encoder::load(&ModelSource::Folder(folder.clone()), DeviceChoice::Cpu)?;
    let mut peers = Peers::start(&args, &folder)?;
    println!("{} threads, f32, median of {} rounds\n", args.threads, args.rounds);
    println!(
        "| case | ours, per s | PyTorch, per s | ONNX Runtime, per s | ours / PyTorch | ours / ONNX Runtime |"
    );
    println!("|---|---|---|---|---|---|");
    let mut result = serde_json::Map::new();
    for (key, case) in CASES {
        let mut rounds = [const { Vec::new() }; 5];
        let call = work(&encoder, case)?;
        for _ in 0..args.rounds {
            let ours = seconds_per_call(&call, args.seconds)?;
            let torch = peers.seconds("torch", case, args.seconds)?;
            let ort = peers.seconds("ort", case, args.seconds)?;
            let batch = case.batch() as f64;
            let figures = [batch / ours, batch / torch, batch / ort, torch / ours, ort / ours];
            rounds.iter_mut().zip(figures).for_each(|(all, figure)| all.push(figure));
        }
        let [ours, torch, ort, share, share_ort] = rounds.map(median);
        println!("| {key} | {ours:.1} | {torch:.1} | {ort:.1} | {share:.2} | {share_ort:.2} |");
        result.insert(key.to_owned(), rounded(share));
        result.insert(format!("{key}_ort"), rounded(share_ort));
    }
    println!("\n{}", serde_json::Value::Object(result));
    Ok(())
}

fn rayon_threads(threads: usize) -> anyhow::Result<()> {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global()?;
    Ok(())
}

/// The checkpoint, made once.
fn checkpoint(args: &Args) -> anyhow::Result<PathBuf> {
    let folder = args.folder.join("clip-b32");
    if !folder.join("model.safetensors").is_file() {
        println!("making a checkpoint with random weights in {}", folder.display());
        let made = Command::new(&args.python).args([PEERS, "checkpoint"]).arg(&folder).output();
        let made = made.with_context(|| format!("cannot run {}", args.python.display()))?;
        ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    }
    Ok(folder)
}

type Work<'a> = dyn Fn() -> anyhow::Result<()> + 'a;

/// One batch of the case, encoded.
fn work(encoder: &Encoder, case: Case) -> anyhow::Result<Box<Work<'_>>> {
    Ok(match case {
        Case::Images { batch } => {
            let pixels = vec![picture(encoder)?; batch];
            Box::new(move || Ok(encoder.encode_images(&pixels).map(drop)?))
        }
        Case::Texts { batch, tokens } => {
            // The start and end tokens are two of them.
            let text = |n: usize| {
                let words: Vec<String> =
                    (2..tokens).map(|t| format!("w{}", (n * tokens + t) % 1000)).collect();
                words.join(" ")
            };
            let texts: Vec<String> = (0..batch).map(text).collect();
            Box::new(move || Ok(encoder.encode_texts(&texts).map(drop)?))
        }
    })
}

fn picture(encoder: &Encoder) -> anyhow::Result<Pixels> {
    let mut png = std::io::Cursor::new(Vec::new());
    let shades = |x: u32, y: u32| image::Rgb([x as u8, y as u8, (x ^ y) as u8]);
    image::RgbImage::from_fn(224, 224, shades).write_to(&mut png, image::ImageFormat::Png)?;
    Ok(encoder.preprocessor().pixels(png.get_ref())?)
}

fn seconds_per_call(call: &dyn Fn() -> anyhow::Result<()>, window: f64) -> anyhow::Result<f64> {
    call()?;
    let (mut times, begin) = (Vec::new(), Instant::now());
    while times.len() < 3 || begin.elapsed() < Duration::from_secs_f64(window) {
        let start = Instant::now();
        call()?;
        times.push(start.elapsed().as_secs_f64());
    }
    Ok(median(times))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn rounded(value: f64) -> serde_json::Value {
    ((value * 1000.0).round() / 1000.0).into()
}

/// `encode_peers.py serve`, stopped when dropped.
struct Peers {
    process: Child,
    say: ChildStdin,
    hear: BufReader<ChildStdout>,
}

impl Peers {
    fn start(args: &Args, folder: &Path) -> anyhow::Result<Self> {
        let mut process = Command::new(&args.python)
            .args([PEERS, "serve"])
            .arg(folder)
            .env("THREADS", args.threads.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot run {}", args.python.display()))?;
        let say = process.stdin.take().context("no pipe")?;
        let hear = BufReader::new(process.stdout.take().context("no pipe")?);
        let mut peers = Self { process, say, hear };
        let greeting = peers.line()?;
        ensure!(greeting == "ready", "the peers said \"{greeting}\"");
        Ok(peers)
    }

    fn seconds(&mut self, peer: &str, case: Case, window: f64) -> anyhow::Result<f64> {
        writeln!(self.say, "{peer} {} {window}", case.name())?;
        Ok(self.line()?.parse()?)
    }

    fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        if self.hear.read_line(&mut line)? == 0 {
            bail!("the peers stopped: {}", self.process.wait()?);
        }
        Ok(line.trim().to_owned())
    }
}

impl Drop for Peers {
    fn drop(&mut self) {
        if let Err(error) = self.process.kill() {
            eprintln!("the peers could not be stopped: {error}");
        }
    }
}
