//! What a download shows: a bar on a terminal, lines of the log elsewhere.

use std::{
    io::{IsTerminal, stderr},
    time::{Duration, Instant},
};

use indicatif::{HumanBytes, ProgressBar};

/// Between two lines about the same file.
const SILENCE: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(super) struct FileProgress {
    file: String,
    bar: Option<ProgressBar>,
    size: u64,
    done: u64,
    said: Option<Instant>,
}

impl FileProgress {
    pub(super) fn new(file: &str) -> Self {
        Self {
            file: file.to_owned(),
            bar: stderr().is_terminal().then(|| ProgressBar::new(0)),
            size: 0,
            done: 0,
            said: None,
        }
    }

    /// What the hub said that the file has, in bytes.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    fn say(&mut self, what: &str) {
        if self.bar.is_none() {
            let (done, size) = (HumanBytes(self.done), HumanBytes(self.size));
            tracing::info!(file = self.file, %done, %size, "{what}");
        }
        self.said = Some(Instant::now());
    }
}

impl hf_hub::api::Progress for &mut FileProgress {
    fn init(&mut self, size: usize, file: &str) {
        self.size = size as u64;
        if let Some(bar) = &mut self.bar {
            hf_hub::api::Progress::init(bar, size, file);
        }
    }

    fn update(&mut self, bytes: usize) {
        self.done += bytes as u64;
        if let Some(bar) = &self.bar {
            bar.inc(bytes as u64);
        }
        match self.said {
            None => self.say("fetching"),
            Some(said) if said.elapsed() > SILENCE => self.say("still fetching"),
            Some(_) => {}
        }
    }

    fn finish(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish();
        }
        self.say("fetched");
    }
}
