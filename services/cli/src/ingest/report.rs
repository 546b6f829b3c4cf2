//! What the user sees of an ingest: progress while it runs, a summary at the end.

use std::{collections::HashMap, time::Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use weimocir_client::{Expected, Outcome};
use weimocir_domain::ImageId;

use crate::{say, say_json};

/// What became of one picture of a source.
#[derive(Debug)]
pub(crate) enum Taken {
    Was(Outcome),
    /// The same file had come before in this run, and was taken.
    Repeated {
        image: ImageId,
    },
}

#[derive(Debug, Serialize)]
pub(crate) struct Summary {
    pub submitted: u64,
    pub already_there: u64,
    pub repeated: u64,
    /// Objects of buckets that have not changed since they were taken.
    pub unchanged: u64,
    /// Images deleted because their objects are gone.
    pub deleted: u64,
    /// Known only after waiting.
    pub searchable: Option<u64>,
    pub captioned: Option<u64>,
    pub refused: Vec<Refused>,
    pub seconds: f64,
    #[serde(skip)]
    pub expected: HashMap<ImageId, Expected>,
    #[serde(skip)]
    started: Instant,
}

#[derive(Debug, Serialize)]
pub(crate) struct Refused {
    pub source: String,
    pub reason: String,
}

impl Default for Summary {
    fn default() -> Self {
        Self {
            submitted: 0,
            already_there: 0,
            repeated: 0,
            unchanged: 0,
            deleted: 0,
            searchable: None,
            captioned: None,
            refused: vec![],
            seconds: 0.0,
            expected: HashMap::new(),
            started: Instant::now(),
        }
    }
}

impl Summary {
    pub(crate) fn count(&mut self, taken: Taken) {
        match taken {
            Taken::Was(Outcome::Submitted { image, expected }) => {
                self.submitted += 1;
                self.expected.insert(image, expected);
            }
            Taken::Was(Outcome::AlreadyThere { .. }) => self.already_there += 1,
            Taken::Was(Outcome::Refused { source, reason }) => {
                self.refused.push(Refused { source, reason });
            }
            Taken::Repeated { .. } => self.repeated += 1,
        }
        self.clock();
    }

    pub(crate) fn clock(&mut self) {
        self.seconds = self.started.elapsed().as_secs_f64();
    }

    pub(crate) fn refused_so_far(&self) -> String {
        match self.refused.len() {
            0 => String::new(),
            n => format!(", {n} refused"),
        }
    }
}

/// A bar with rate and time left where the total is known, a counter where not.
pub(crate) fn submitting(total: Option<u64>, show: bool) -> ProgressBar {
    match total {
        Some(total) => bar("submitted", total, show),
        None => {
            let counter = ProgressBar::with_draw_target(None, target(show));
            counter.with_style(style("{spinner} submitted {pos}, {per_sec}{msg}"))
        }
    }
}

pub(crate) fn bar(what: &'static str, total: u64, show: bool) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(total), target(show));
    bar.with_prefix(what)
        .with_style(style("{prefix:>10} {wide_bar} {pos}/{len}, {per_sec}, {eta} left{msg}"))
}

fn target(show: bool) -> ProgressDrawTarget {
    if show { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// Reasons shown one by one; the rest is counted.
const SHOWN: usize = 20;

pub(crate) fn tell(summary: &Summary, json: bool) -> anyhow::Result<()> {
    if json {
        return say_json(summary);
    }
    let rate = summary.submitted as f64 / summary.seconds.max(1e-9);
    say(format_args!("{} submitted in {:.1} s ({rate:.0}/s)", summary.submitted, summary.seconds));
    for (count, what) in [
        (summary.already_there, "already there"),
        (summary.repeated, "repeated"),
        (summary.unchanged, "unchanged"),
        (summary.deleted, "deleted"),
    ] {
        if count > 0 {
            say(format_args!("{count} {what}"));
        }
    }
    if let (Some(searchable), Some(captioned)) = (summary.searchable, summary.captioned) {
        say(format_args!("{searchable} searchable, {captioned} of them with captions"));
    }
    if !summary.refused.is_empty() {
        say(format_args!("{} refused:", summary.refused.len()));
    }
    for refused in summary.refused.iter().take(SHOWN) {
        say(format_args!("  {}: {}", refused.source, refused.reason));
    }
    if summary.refused.len() > SHOWN {
        say(format_args!("  and {} more; --json lists all", summary.refused.len() - SHOWN));
    }
    Ok(())
}
