//! How the pipeline's rates grow with its workers, on one machine: encode workers that share the queue,
//! stores that share a collection's shards, query workers that share the searches. Each worker is a
//! process, and what it stands for takes a fixed time and no processor, so that what is measured is all
//! around that.
#![expect(clippy::print_stdout, reason = "the table is the result")]

mod encode;
mod search;

use clap::{Parser, ValueEnum};
use serde_json::json;

#[derive(Debug, Parser)]
pub(crate) struct Args {
    /// What to measure; all of it if not given
    #[arg(long, value_delimiter = ',')]
    only: Vec<Part>,
    /// Numbers of workers, the first of which the others are compared with
    #[arg(long, value_delimiter = ',', default_values_t = [1, 2, 4, 8, 16])]
    workers: Vec<usize>,
    /// Pictures that wait each time for encode workers
    #[arg(long, default_value_t = 2_048)]
    images: u32,
    /// What an encode worker's device takes for a batch, in milliseconds
    // because: 16 workers then ask for 256 images/s in all, which two cores can serve
    #[arg(long, default_value_t = 500)]
    batch_ms: u64,
    #[arg(long, default_value_t = 8)]
    batch: usize,
    /// Pictures that an encode worker has in work at the same time; its own default if not given
    #[arg(long)]
    in_flight: Option<u16>,
    /// What a store takes to scan an image, in nanoseconds
    // because: 8,000 of them keep a store for 320 ms, and 16 stores for 20 ms each
    #[arg(long, default_value_t = 40_000)]
    scan_ns: u64,
    /// What the encoding of a search takes, in milliseconds, while query workers are measured
    #[arg(long, default_value_t = 200)]
    encoding_ms: u64,
    /// Seconds that searches are counted for each time
    #[arg(long, default_value_t = 15)]
    seconds: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    Encode,
    Stores,
    Queries,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let wanted = |part| args.only.is_empty() || args.only.contains(&part);
    println!("{} cores\n", std::thread::available_parallelism()?);
    let mut told = serde_json::Map::new();
    if wanted(Part::Encode) {
        told.insert("encode".into(), encode::run(&args).await?);
    }
    if wanted(Part::Stores) {
        told.insert("stores".into(), search::stores(&args).await?);
    }
    if wanted(Part::Queries) {
        told.insert("queries".into(), search::queries(&args).await?);
    }
    println!("\n{}", json!(told));
    Ok(())
}
