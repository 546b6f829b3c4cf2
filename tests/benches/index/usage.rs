//! Our index as it is used: among the images that a filter admits, and while images arrive.
#![expect(clippy::print_stdout, reason = "the table is the result")]

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use roaring::RoaringBitmap;
use weimocir_tests::mixture::{Image, Query};

use crate::{
    gallery::Gallery,
    median,
    ours::{Mode, Ours},
    truth::Truth,
};

/// A filter admits one image of so many; the first admits all.
const SELECTIVITIES: [u64; 6] = [1, 2, 10, 100, 1_000, 10_000];
const FILTERED_QUERIES: usize = 32;
const K: usize = 50;
const THREADS: usize = 2;
const INSERTS_PER_S: u64 = 2_000;
const STREAM: Duration = Duration::from_secs(10);
/// Images made or scored at once.
const BLOCK: usize = 4_096;

pub(crate) fn report(gallery: &Gallery, ours: &Ours<'_>) -> anyhow::Result<()> {
    filtered(gallery, ours)?;
    streaming(gallery, ours)
}

/// Whether the filter admits the image: fixed, and independent of the mixture.
fn admits(one_of: u64, image: u32) -> bool {
    ((u64::from(image) + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32).is_multiple_of(one_of)
}

fn filtered(gallery: &Gallery, ours: &Ours<'_>) -> anyhow::Result<()> {
    println!("\n| filter admits 1 of | ms, median | ms, least | recall |\n|---|---|---|---|");
    let queries = &gallery.queries[..FILTERED_QUERIES];
    for (one_of, truth) in SELECTIVITIES.into_iter().zip(filtered_truths(gallery, queries)?) {
        let (mut times, mut answers) = (Vec::new(), Vec::new());
        // because: images were put in one after the other, so that their numbers are their rows
        let rows: RoaringBitmap =
            (0..gallery.rows as u32).filter(|&image| admits(one_of, image)).collect();
        for query in queries {
            let start = Instant::now();
            answers.push((ours.search_among)(query, K, THREADS, &rows)?);
            times.push(start.elapsed().as_secs_f64() * 1e3);
        }
        let least = times.iter().copied().fold(f64::INFINITY, f64::min);
        let recall = truth.recall(&answers, K);
        println!("| {one_of} | {:.2} | {least:.2} | {recall:.4} |", median(times.into_iter()));
    }
    Ok(())
}

/// The exact answers for each selectivity.
fn filtered_truths(gallery: &Gallery, queries: &[Query]) -> anyhow::Result<Vec<Truth>> {
    let folded: Vec<Vec<f32>> = queries.iter().map(Query::folded).collect();
    let mut truths = vec![Truth::new(&folded)?; SELECTIVITIES.len()];
    for first in (0..gallery.rows).step_by(BLOCK) {
        let images = gallery.mixture.images(first, BLOCK.min(gallery.rows - first));
        let rows: Vec<f32> = images.iter().flat_map(Image::row).collect();
        for (truth, one_of) in truths.iter_mut().zip(SELECTIVITIES) {
            truth.add(first, &rows, |image| admits(one_of, image))?;
        }
    }
    Ok(truths)
}

fn streaming(gallery: &Gallery, ours: &Ours<'_>) -> anyhow::Result<()> {
    println!("\n| | p50 ms | p99 ms | inserted per s |\n|---|---|---|---|");
    let idle = latencies(gallery, ours, || Ok(0.0))?;
    print_latencies("idle", idle);
    let count = INSERTS_PER_S as usize * STREAM.as_secs() as usize;
    let images = gallery.mixture.images(gallery.rows, count);
    let busy = latencies(gallery, ours, || stream(ours, gallery.rows as u32, &images))?;
    print_latencies("while images arrive", busy);
    Ok(())
}

fn print_latencies(name: &str, (mut times, rate): (Vec<f64>, f64)) {
    times.sort_by(f64::total_cmp);
    let quantile = |q: f64| times[((times.len() - 1) as f64 * q).round() as usize];
    println!("| {name} | {:.2} | {:.2} | {rate:.0} |", quantile(0.5), quantile(0.99));
}

/// Searches one after the other while `beside` runs, and for `STREAM` at least: milliseconds each, and
/// what `beside` says.
fn latencies(
    gallery: &Gallery,
    ours: &Ours<'_>,
    beside: impl FnOnce() -> anyhow::Result<f64> + Send,
) -> anyhow::Result<(Vec<f64>, f64)> {
    let (begin, ended, mut times) = (Instant::now(), AtomicBool::new(false), Vec::new());
    let rate = thread::scope(|scope| {
        let beside = scope.spawn(|| {
            let rate = beside();
            ended.store(true, Ordering::Relaxed);
            rate
        });
        while begin.elapsed() < STREAM || !ended.load(Ordering::Relaxed) {
            let query = times.len() % gallery.queries.len();
            let start = Instant::now();
            (ours.search)(Mode::Swift, &gallery.queries[query..=query], K, THREADS)?;
            times.push(start.elapsed().as_secs_f64() * 1e3);
        }
        beside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })?;
    Ok((times, rate))
}

/// Inserts at an even pace, together what is due together as a store does, and says how many a second
/// that were in the end.
fn stream(ours: &Ours<'_>, first: u32, images: &[Image]) -> anyhow::Result<f64> {
    let (begin, mut done) = (Instant::now(), 0);
    while done < images.len() {
        let due = (begin.elapsed().as_secs_f64() * INSERTS_PER_S as f64) as usize;
        let due = due.min(images.len());
        if due == done {
            thread::sleep(Duration::from_millis(1));
        }
        (ours.insert)(first + done as u32, &images[done..due])?;
        done = due;
    }
    Ok(images.len() as f64 / begin.elapsed().as_secs_f64())
}
