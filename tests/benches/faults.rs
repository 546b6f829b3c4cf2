//! Every fault, again and again: a row for each with what was acknowledged and what was found.
#![expect(clippy::print_stdout, reason = "the table is the result")]

use std::time::Duration;

use anyhow::ensure;
use clap::Parser;
use weimocir_tests::faults::{Fault, Plan, Tally, strike};

#[derive(Debug, Parser)]
struct Args {
    /// Times that each fault is tried
    #[arg(long, default_value_t = 20)]
    rounds: usize,
    /// Pictures submitted in each round
    #[arg(long, default_value_t = 60)]
    pictures: usize,
    /// Of all that is random
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Only faults whose name has this in it
    #[arg(long)]
    only: Option<String>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let Args { rounds, pictures, seed, only } = Args::parse();
    let wanted = |fault: &Fault| only.as_ref().is_none_or(|only| fault.to_string().contains(only));
    let faults: Vec<Fault> = Fault::ALL.into_iter().filter(wanted).collect();
    ensure!(!faults.is_empty(), "no fault has {:?} in its name", only.unwrap_or_default());
    println!(
        "| fault | times | acknowledged | searchable after | lost | duplicated | recovery, s: median, worst | searches meanwhile, of which failed | workers that ended by themselves |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    let mut all = Tally::default();
    for fault in faults {
        let tally = strike(fault, Plan { rounds, pictures, seed }).await?;
        println!("{}", row(fault, &tally));
        all.rounds += tally.rounds;
        all.acknowledged += tally.acknowledged;
        all.searchable += tally.searchable;
        all.lost += tally.lost;
        all.duplicated += tally.duplicated;
    }
    let Tally { rounds, acknowledged, searchable, lost, duplicated, .. } = all;
    println!(
        "{}",
        serde_json::json!({
            "rounds": rounds, "acknowledged": acknowledged, "searchable": searchable,
            "lost": lost, "duplicated": duplicated,
        })
    );
    ensure!(lost == 0 && duplicated == 0, "{lost} lost, {duplicated} duplicated");
    Ok(())
}

fn row(fault: Fault, tally: &Tally) -> String {
    let Tally { rounds, acknowledged, searchable, lost, duplicated, revived, .. } = tally;
    let mut recoveries: Vec<f64> = tally.recoveries.iter().map(Duration::as_secs_f64).collect();
    recoveries.sort_unstable_by(f64::total_cmp);
    let median = recoveries.get(recoveries.len() / 2).copied().unwrap_or(0.0);
    let worst = recoveries.last().copied().unwrap_or(0.0);
    let (answered, failed) = tally.searches;
    format!(
        "| {fault} | {rounds} | {acknowledged} | {searchable} | {lost} | {duplicated} | {median:.1}, {worst:.1} | {}, {failed} | {revived} |",
        answered + failed
    )
}
