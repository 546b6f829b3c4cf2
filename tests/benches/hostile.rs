//! Hostile files among good pictures, submitted to worker processes: a row for each reason, and what the
//! workers took.
#![expect(clippy::print_stdout, reason = "the table is the result")]

use std::{collections::BTreeMap, path::PathBuf};

use clap::Parser;
use weimocir_tests::hostile::{Findings, Plan, Trial};

#[derive(Debug, Parser)]
struct Args {
    /// Good pictures among the hostile files
    #[arg(long, default_value_t = 1_000)]
    good: usize,
    /// Submit every file of this folder, too, whatever it is. Those that are pictures all the same
    /// are told
    #[arg(value_name = "FOLDER")]
    more: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let Args { good, more } = Args::parse();
    // because: the pipeline's programs run elsewhere
    let more = more.map(|folder| folder.canonicalize()).transpose()?;
    let Trial { findings, .. } = Trial::run(&Plan { good, more }).await?;
    tell(&findings);
    findings.judge()
}

fn tell(found: &Findings) {
    println!("| reason (# is a number) | files |\n|---|---|");
    let mut reasons: Vec<_> = found.reasons.iter().collect();
    reasons.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    for (reason, count) in reasons {
        println!("| {} | {count} |", reason.replace('|', "\\|"));
    }
    println!("\n| worker | peak memory, MiB |\n|---|---|");
    for (name, mib) in &found.peaks {
        println!("| {name} | {mib} |");
    }
    println!();
    for name in &found.more_taken {
        println!("a picture after all: {name}");
    }
    let peaks: BTreeMap<_, _> = found.peaks.iter().copied().collect();
    println!(
        "{}",
        serde_json::json!({
            "good": found.good, "odd": found.odd, "hostile": found.bad, "further": found.more,
            "searchable": found.searchable, "good_refused": found.good_refused.len(),
            "hostile_taken": found.bad_taken.len(), "further_taken": found.more_taken.len(),
            "refused_at_submission": found.at_submission, "dead": found.dead,
            "dead_letters": found.letters.len(), "reasons": found.reasons.len(),
            "restarts": found.ended, "peak_mib": peaks, "seconds": found.seconds,
        })
    );
}
