//! `weimocir-catalogue`: writes galleries and training sets to disk.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Parser, Subcommand, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use weimocir_catalogue::{Split, gallery, training, write_gallery_with};

/// Draws the procedural catalogue of garments.
#[derive(Debug, Parser)]
#[command(name = "weimocir-catalogue", version)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Write a gallery: pictures, captions, attributes, triplets.
    Render {
        /// Part of the catalogue to draw from.
        #[arg(long, value_enum)]
        split: SplitName,
        /// Number of pictures; beyond 2,000 (validation 1,000, sample 240) combinations repeat.
        #[arg(long, default_value_t = 240)]
        count: usize,
        /// Pixels along each side.
        #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(16..=4096))]
        size: u32,
        /// Directory to write to.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// Number of threads.
        #[arg(long, default_value_t = 2)]
        threads: usize,
    },
    /// Write what the bundled models are trained on.
    TrainingSet {
        /// Number of pictures, rounded up to whole families of four.
        #[arg(long, default_value_t = 48_000)]
        count: usize,
        /// Seed of everything random.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Directory to write to.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// Number of threads.
        #[arg(long, default_value_t = 2)]
        threads: usize,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum SplitName {
    Train,
    Validation,
    Test,
    Sample,
}

impl From<SplitName> for Split {
    fn from(name: SplitName) -> Self {
        match name {
            SplitName::Train => Self::Train,
            SplitName::Validation => Self::Validation,
            SplitName::Test => Self::Test,
            SplitName::Sample => Self::Sample,
        }
    }
}

fn main() -> Result<()> {
    match Arguments::parse().task {
        Task::Render { split, count, size, out, threads } => {
            let gallery = gallery(split.into(), count);
            let bar = bar(count)?;
            write_gallery_with(&gallery, &out, size, threads, |written| bar.inc(written as u64))?;
            bar.finish();
        }
        Task::TrainingSet { count, seed, out, threads } => {
            let count = count.next_multiple_of(training::FAMILY);
            let bar = bar(count)?;
            training::write(count, seed, &out, threads, |drawn| bar.inc(drawn as u64))?;
            bar.finish();
        }
    }
    Ok(())
}

fn bar(count: usize) -> Result<ProgressBar> {
    let style = "{bar:40} {pos}/{len} pictures, {per_sec}, {eta} left";
    Ok(ProgressBar::new(count as u64).with_style(ProgressStyle::with_template(style)?))
}
