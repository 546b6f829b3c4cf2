//! Milliseconds of an exact search over images and captions, beside the published way, FAISS and
//! usearch, on a made-up gallery. Each round measures all in turn; ratios are medians of rounds.
#![expect(clippy::print_stdout, reason = "the table is the result")]

mod contest;
mod gallery;
mod ours;
mod peers;
mod probe;
mod report;
mod truth;
mod usage;

use std::{fmt, path::PathBuf};

use anyhow::{Context, ensure};
use clap::Parser;

use crate::{
    contest::{Contest, Who},
    gallery::{Gallery, Wanted},
    ours::Mode,
    peers::{Peer, Peers},
    probe::Probe,
    report::{Figures, Row},
    truth::DEPTH,
};

// because: the store uses it too
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Debug, Parser)]
struct Args {
    /// Images of a single gallery, instead of all the usual galleries
    #[arg(long)]
    rows: Option<usize>,
    /// Length of an embedding, for a single gallery
    #[arg(long)]
    dim: Option<usize>,
    #[arg(long, default_value_t = 128)]
    queries: usize,
    /// A Python with torch, faiss and usearch
    #[arg(long, env = "WEIMOCIR_BENCH_PYTHON", default_value = "python3", value_name = "PROGRAM")]
    python: PathBuf,
    /// Where the peers find the vectors, 10 GB for a million images
    #[arg(long, default_value = ".build/bench-index", value_name = "FOLDER")]
    folder: PathBuf,
    /// The graphs are built over no more images than this, as building takes minutes; 0 for no graphs
    #[arg(long, default_value_t = 100_000)]
    hnsw_rows: usize,
    /// Measure our own index alone
    #[arg(long)]
    skip_peers: bool,
    /// Measure our own index under filters and while images arrive, too
    #[arg(long)]
    usage: bool,
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Measuring time of each contestant in each round
    #[arg(long, default_value_t = 0.5)]
    seconds: f64,
}

/// What is measured: `batch` queries at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Case {
    threads: usize,
    k: usize,
    batch: usize,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { threads, k, batch } = self;
        write!(f, "{threads} threads, K {k}, {batch} at once")
    }
}

const CASES: [Case; 6] = [
    Case { threads: 1, k: 10, batch: 1 },
    Case { threads: 1, k: 50, batch: 1 },
    Case { threads: 2, k: 10, batch: 1 },
    Case { threads: 2, k: 50, batch: 1 },
    Case { threads: 2, k: 10, batch: 32 },
    Case { threads: 2, k: 50, batch: 32 },
];
const HEADLINE: Case = Case { threads: 2, k: 10, batch: 1 };
const HEADLINE_BATCH: Case = Case { threads: 2, k: 10, batch: 32 };

/// Bytes that the published way may hold.
/// because: with our index, which holds as much, and the probe it has to fit into 24 GiB
const ROOM: usize = 9 << 30;

/// Ways to have FAISS Flat search, of which the fastest in a case is what others are compared with.
const FLAT: [Peer; 2] = [Peer::Flat, Peer::FlatHalves];

/// One gallery of the run.
#[derive(Debug, Clone, Copy)]
struct Plan {
    rows: usize,
    dim: usize,
    /// Whether the graphs are measured too, over its beginning where it is long.
    graphs: bool,
}

const USUAL: [Plan; 3] = [
    // because: the second gallery is the first one's beginning, and has the graphs
    Plan { rows: 1_000_000, dim: 512, graphs: false },
    Plan { rows: 100_000, dim: 512, graphs: true },
    Plan { rows: 1_000_000, dim: 768, graphs: false },
];

impl Plan {
    fn published(self) -> bool {
        self.held() <= ROOM
    }

    /// Bytes of the images and the captions.
    fn held(self) -> usize {
        4 * self.rows * self.dim * (1 + weimocir_tests::mixture::CAPTIONS)
    }

    /// What is not measured, for the reader of the table.
    fn left_out(self) -> Vec<String> {
        let gigabytes = self.held() >> 30;
        let published =
            format!("the published way, which would need {gigabytes} GiB beside our index");
        let graphs = "graphs, which take too long to build".to_owned();
        [(self.published(), published), (self.graphs, graphs)]
            .into_iter()
            .filter_map(|(measured, what)| (!measured).then_some(what))
            .collect()
    }

    /// Peers that are loaded together, and over how many images.
    fn stages(self, args: &Args) -> Vec<(usize, Vec<Peer>)> {
        // because: others may look into FAISS Flat's memory, which therefore is loaded first
        let beside_flat = |others: &[Peer]| [&FLAT, others].concat();
        let mut stages = vec![(self.rows, beside_flat(&[Peer::UsearchExact, Peer::Quantized]))];
        if self.published() {
            stages.push((self.rows, vec![Peer::Published]));
        }
        if self.graphs {
            let graphs = beside_flat(&[Peer::Hnsw64, Peer::Hnsw256, Peer::UsearchHnsw]);
            stages.push((args.hnsw_rows.min(self.rows), graphs));
        }
        stages
    }
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    ensure!(args.queries >= 32, "a batch is 32 queries");
    ensure!(args.rows.is_none_or(|rows| rows >= 1_000), "1,000 images at least");
    let probe = Probe::new()?;
    let one = Plan {
        rows: args.rows.unwrap_or(USUAL[0].rows),
        dim: args.dim.unwrap_or(USUAL[0].dim),
        graphs: args.hnsw_rows > 0,
    };
    let plans = if args.rows.or(args.dim).is_some() { vec![one] } else { USUAL.to_vec() };
    report::head(&args);
    let mut all = Vec::new();
    for plan in plans {
        all.push(measured(&args, plan, &probe)?);
    }
    println!("\n{}", serde_json::to_string(&all[0])?);
    Ok(())
}

fn measured(args: &Args, plan: Plan, probe: &Probe) -> anyhow::Result<Figures> {
    let wanted = Wanted {
        rows: plan.rows,
        dim: plan.dim,
        queries: args.queries,
        beginning: args.hnsw_rows,
        captions: plan.published() && !args.skip_peers,
    };
    let gallery = Gallery::make(wanted, &args.folder)?;
    let ours = ours::ours(&gallery)?;
    let peers = match args.skip_peers {
        true => None,
        false => Some(Peers::start(&args.python, &args.folder, plan.dim)?),
    };
    let mut contest = Contest {
        gallery: &gallery,
        ours: &ours,
        peers,
        probe,
        rounds: args.rounds,
        seconds: args.seconds,
    };
    report::gallery(&gallery, &plan.left_out());
    let stages = if args.skip_peers { vec![(plan.rows, vec![])] } else { plan.stages(args) };
    let mut rows = Vec::new();
    for (among, peers) in stages {
        stage(&mut contest, among, &peers, &mut rows)?;
    }
    if args.usage {
        drop(contest);
        usage::report(&gallery, &ours)?;
    }
    Ok(report::figures(&rows, &ours))
}

/// Loads these peers, measures and prints them and our own index, and lets the peers go.
fn stage(
    contest: &mut Contest<'_>,
    among: usize,
    peers: &[Peer],
    rows: &mut Vec<Row>,
) -> anyhow::Result<()> {
    let entrants = entrants(contest, among, peers)?;
    let field: Vec<Who> = entrants.iter().map(|entrant| entrant.who).collect();
    let truth = contest.gallery.truth_among(among)?;
    for case in CASES {
        eprintln!("{among} images, {case}");
        let outcomes = contest.run(&field, case)?;
        // because: FAISS gives a lone query to its matrix product where it may use two threads, and
        // is slower for it than on one
        let flat = (outcomes.iter())
            .filter(|outcome| FLAT.map(Who::Peer).contains(&outcome.who))
            .min_by(|a, b| a.milliseconds().total_cmp(&b.milliseconds()));
        for outcome in &outcomes {
            let entrant = entrants.iter().find(|entrant| entrant.who == outcome.who);
            let entrant = entrant.context("nobody enters unasked")?;
            let row = Row {
                outcome: outcome.clone(),
                among,
                of: contest.gallery.rows,
                x_flat: flat.map(|flat| flat.times(outcome)),
                x_swift: (outcomes.iter())
                    .find(|own| own.who == Who::Ours(Mode::Swift))
                    .map(|own| outcome.times(own)),
                recall: match entrant.who {
                    // because: our index works in another way for each K
                    Who::Ours(mode) => {
                        let queries = &contest.gallery.queries;
                        let answers = (contest.ours.search)(mode, queries, case.k, case.threads)?;
                        truth.recall(&answers, case.k)
                    }
                    Who::Peer(_) => truth.recall(&entrant.answers, case.k),
                },
                // because: a batch reads an image once for many queries
                bytes_read: entrant.bytes_read.filter(|_| case.batch == 1),
                bytes_per_image: entrant.bytes_per_image,
            };
            // because: who was measured before among as many images is there for the ratios alone
            if rows.iter().all(|known| !known.repeats(&row)) {
                row.print();
            }
            rows.push(row);
        }
    }
    if let Some(running) = &mut contest.peers {
        // because: others look into the memory of the first
        peers.iter().rev().try_for_each(|peer| running.drop(*peer))?;
    }
    Ok(())
}

struct Entrant {
    who: Who,
    bytes_per_image: f64,
    /// For one query on its own, where that is known.
    bytes_read: Option<f64>,
    answers: Vec<Vec<u32>>,
}

fn entrants(
    contest: &mut Contest<'_>,
    among: usize,
    peers: &[Peer],
) -> anyhow::Result<Vec<Entrant>> {
    let mut entrants = Vec::new();
    if let Some(running) = &mut contest.peers {
        for &peer in peers {
            let bytes_per_image = running.load(peer, among)?;
            entrants.push(Entrant {
                who: Who::Peer(peer),
                bytes_per_image,
                bytes_read: peer.scans().then_some(bytes_per_image * among as f64),
                answers: running.answers(peer, DEPTH)?,
            });
        }
    }
    if among == contest.gallery.rows {
        let ours = contest.ours;
        for mode in [Mode::Swift, Mode::Proved] {
            entrants.push(Entrant {
                who: Who::Ours(mode),
                bytes_per_image: ours.bytes_per_image,
                bytes_read: Some(ours.bytes_per_query),
                answers: Vec::new(),
            });
        }
    }
    Ok(entrants)
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
