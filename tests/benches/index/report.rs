//! The table, and the figures of its last line.
#![expect(clippy::print_stdout, reason = "the table is the result")]

use serde::Serialize;

use crate::{
    Args, Case, FLAT, HEADLINE, HEADLINE_BATCH,
    contest::{Outcome, Who},
    gallery::Gallery,
    ours::{Mode, Ours},
    peers::Peer,
};

/// One contestant in one case, among the first `among` images of a gallery of `of`.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) outcome: Outcome,
    pub(crate) among: usize,
    pub(crate) of: usize,
    /// How many times as fast as the fastest FAISS Flat.
    pub(crate) x_flat: Option<f64>,
    /// How many times as long as our swift search it takes.
    pub(crate) x_swift: Option<f64>,
    pub(crate) recall: f64,
    pub(crate) bytes_read: Option<f64>,
    pub(crate) bytes_per_image: f64,
}

impl Row {
    pub(crate) fn repeats(&self, other: &Self) -> bool {
        let key = |row: &Self| (row.outcome.who, row.outcome.case, row.among);
        key(self) == key(other)
    }

    pub(crate) fn print(&self) {
        let Case { threads, k, batch } = self.outcome.case;
        let at_once = if batch > 1 { format!(", {batch} at once") } else { String::new() };
        let part = match self.among < self.of {
            true => format!(", first {} images", self.among),
            false => String::new(),
        };
        let bandwidth = self.bytes_read.map(|bytes| self.outcome.bandwidth(bytes));
        println!(
            "| {}{part}{at_once} | {threads} | {k} | {:.2} | {:.2} | {} | {:.4} | {} | {:.0} |",
            self.outcome.who.title(),
            self.outcome.milliseconds(),
            self.outcome.least(),
            self.x_flat.map_or("–".into(), |x| format!("{x:.2}")),
            self.recall,
            bandwidth.map_or("–".into(), |(rate, share)| format!("{rate:.1}, {share:.2}")),
            self.bytes_per_image,
        );
    }
}

pub(crate) fn head(args: &Args) {
    println!(
        "Milliseconds per query, medians of {} rounds of {} s each. ×Flat: how many times as fast as the \
         faster of the two FAISS Flats in the same case, a median of rounds. GB/s: the images over the time, \
         and the share of what this machine could read just before and after on as many threads.",
        args.rounds, args.seconds
    );
}

pub(crate) fn gallery(gallery: &Gallery, left_out: &[String]) {
    println!("\n{} images, d = {}\n", gallery.rows, gallery.mixture.dim());
    if !left_out.is_empty() {
        println!("Left out: {}.\n", left_out.join("; "));
    }
    println!(
        "| | threads | K | ms, median | ms, least | ×Flat | recall | GB/s, share | bytes per image |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
}

/// The last line of the report, at the headline case of the first gallery.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Figures {
    pub(crate) recall: Option<f64>,
    pub(crate) swift_ms: Option<f64>,
    pub(crate) proved_ms: Option<f64>,
    pub(crate) batch32_ms_per_query: Option<f64>,
    /// As it comes, with its own threads.
    pub(crate) x_faiss_flat: Option<f64>,
    /// In the fastest way that was found to run it: each thread over a part of the images.
    pub(crate) x_faiss_flat_at_best: Option<f64>,
    pub(crate) x_published: Option<f64>,
    pub(crate) x_usearch_exact: Option<f64>,
    pub(crate) x_faiss_flat_batch: Option<f64>,
    pub(crate) x_faiss_flat_batch_at_best: Option<f64>,
    pub(crate) bandwidth_share: Option<f64>,
    pub(crate) inserts_per_s: Option<f64>,
    pub(crate) bytes_per_image: Option<f64>,
}

/// Of our own rows, and of the peers' beside them.
pub(crate) fn figures(rows: &[Row], ours: &Ours<'_>) -> Figures {
    let find = |who: Who, case: Case| {
        rows.iter().find(|row| row.outcome.who == who && row.outcome.case == case)
    };
    let milliseconds = |who, case| find(who, case).map(|row| row.outcome.milliseconds());
    let times = |peer, case| find(Who::Peer(peer), case).and_then(|row| row.x_swift);
    let best_flat =
        |case| FLAT.into_iter().filter_map(|peer| times(peer, case)).min_by(f64::total_cmp);
    let (swift, proved) = (Who::Ours(Mode::Swift), Who::Ours(Mode::Proved));
    let headline = find(swift, HEADLINE);
    let bandwidth = headline.and_then(|row| Some(row.outcome.bandwidth(row.bytes_read?)));
    Figures {
        recall: headline.map(|row| row.recall),
        swift_ms: milliseconds(swift, HEADLINE),
        proved_ms: milliseconds(proved, HEADLINE),
        batch32_ms_per_query: milliseconds(swift, HEADLINE_BATCH),
        x_faiss_flat: times(Peer::Flat, HEADLINE),
        x_faiss_flat_at_best: best_flat(HEADLINE),
        x_published: times(Peer::Published, HEADLINE),
        x_usearch_exact: times(Peer::UsearchExact, HEADLINE),
        x_faiss_flat_batch: times(Peer::Flat, HEADLINE_BATCH),
        x_faiss_flat_batch_at_best: best_flat(HEADLINE_BATCH),
        bandwidth_share: bandwidth.map(|(_, share)| share),
        inserts_per_s: Some(ours.inserts_per_s),
        bytes_per_image: Some(ours.bytes_per_image),
    }
}
