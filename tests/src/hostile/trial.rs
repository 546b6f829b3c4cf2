//! Hostile files among good pictures, all submitted at once to worker processes, and what became of
//! each.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Context, ensure};
use serde_json::Value;
use weimocir_catalogue::Split;
use weimocir_domain::ImageId;

use super::write;
use crate::{Pipeline, Worker, render, until};

/// What is submitted beside the files of our own.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// Good pictures.
    pub good: usize,
    /// A folder of further files, which may be anything.
    pub more: Option<PathBuf>,
}

/// A pipeline that has got all of them.
#[derive(Debug)]
pub struct Trial {
    pub pipeline: Pipeline,
    pub workers: Vec<Worker>,
    pub findings: Findings,
}

/// What became of the files.
#[derive(Debug, Default)]
pub struct Findings {
    pub good: usize,
    /// Odd ones that are good.
    pub odd: usize,
    pub bad: usize,
    pub more: usize,
    /// Images in the gallery.
    pub searchable: u64,
    /// Good and odd files that were refused, with why.
    pub good_refused: Vec<String>,
    /// Bad files without a reason: they became images.
    pub bad_taken: Vec<String>,
    /// Further files that became images: they are pictures, whatever else they are.
    pub more_taken: Vec<String>,
    /// Files that were refused before they were work.
    pub at_submission: usize,
    /// Files with a dead letter.
    pub dead: usize,
    /// Dead letters. One of each step that a file did not get through.
    pub letters: Vec<Value>,
    /// Reasons, their numbers left out, and the files that have them.
    pub reasons: BTreeMap<String, usize>,
    /// Workers that ended.
    pub ended: usize,
    /// The most memory that each worker has had, in MiB.
    pub peaks: Vec<(&'static str, u64)>,
    pub seconds: f64,
}

impl Trial {
    /// # Errors
    /// The pipeline does not start or does not answer.
    pub async fn run(plan: &Plan) -> anyhow::Result<Self> {
        let (pipeline, workers) = Pipeline::complete().await?;
        let files = Files::new(&pipeline.folder().join("pictures"), plan)?;
        let list = pipeline.folder().join("all.jsonl");
        std::fs::write(&list, files.list())?;
        let start = Instant::now();
        let ingest = ["ingest", &list.display().to_string(), "--wait", "--json"];
        let summary = pipeline.weimocir(&ingest).await?.json_of_any()?;
        let seconds = start.elapsed().as_secs_f64();
        let letters = letters(&pipeline).await?;
        let findings = Findings { seconds, ..files.findings(&summary, letters)? };
        let mut trial = Self { pipeline, workers, findings };
        trial.look_at_workers().await?;
        Ok(trial)
    }

    async fn look_at_workers(&mut self) -> anyhow::Result<()> {
        let status = self.pipeline.weimocir(&["status", "--json"]).await?.json()?;
        let images = &status["collections"][0]["images"];
        self.findings.searchable = images.as_u64().context("no images in the status")?;
        for worker in &mut self.workers {
            if worker.is_running()? {
                let name = worker.kind().name();
                self.findings.peaks.push((name, worker.peak_memory()?));
            } else {
                self.findings.ended += 1;
            }
        }
        Ok(())
    }
}

/// All letters, when both steps have written theirs.
async fn letters(pipeline: &Pipeline) -> anyhow::Result<Vec<Value>> {
    let idle = async || {
        let status = pipeline.weimocir(&["status", "--json"]).await?.json()?;
        let steps = status["backlog"].as_object().context("no backlog in the status")?;
        let empty = |step: &Value| step["waiting"] == 0 && step["in_work"] == 0;
        Ok(steps.values().all(empty))
    };
    until("an end of all work", idle).await?;
    let letters = pipeline.weimocir(&["dead", "list", "--json"]).await?.json()?;
    Ok(letters.as_array().cloned().unwrap_or_default())
}

struct Files {
    good: Vec<PathBuf>,
    odd: Vec<PathBuf>,
    bad: Vec<PathBuf>,
    more: Vec<PathBuf>,
}

impl Files {
    fn new(folder: &Path, plan: &Plan) -> anyhow::Result<Self> {
        let at = |name: &str| folder.join(name);
        render(Split::Validation, plan.good, 96, &at("good"))?;
        write(&at("bad"), &at("odd"))?;
        let more = plan.more.as_ref().map(|folder| files_below(folder)).transpose()?;
        let good = files_below(&at("good"))?;
        let is_picture = |path: &PathBuf| path.extension().is_some_and(|kind| kind == "png");
        Ok(Self {
            good: good.into_iter().filter(is_picture).collect(),
            odd: files_below(&at("odd"))?,
            bad: files_below(&at("bad"))?,
            more: more.unwrap_or_default(),
        })
    }

    /// A line for each, whatever it is called, the bad ones spread among the good.
    fn list(&self) -> String {
        let hostile: Vec<_> = self.bad.iter().chain(&self.odd).chain(&self.more).collect();
        let all = self.good.len() + hostile.len();
        let place = |n: usize, of: usize| n * all / of.max(1);
        let hostile = hostile.iter().enumerate().map(|(n, path)| (place(n, hostile.len()), *path));
        let good = self.good.iter().enumerate().map(|(n, path)| (place(n, self.good.len()), path));
        let mut lines: Vec<(usize, &PathBuf)> = hostile.chain(good).collect();
        lines.sort();
        let line = |path: &PathBuf| format!("{}\n", serde_json::json!({ "path": path }));
        lines.into_iter().map(|(_, path)| line(path)).collect()
    }

    fn findings(&self, summary: &Value, letters: Vec<Value>) -> anyhow::Result<Findings> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let refused = summary["refused"].as_array().context("no `refused` in the summary")?;
        let reasons: BTreeMap<String, String> =
            refused.iter().map(|one| (text(&one["source"]), text(&one["reason"]))).collect();
        let buried: HashSet<String> = letters.iter().map(|letter| text(&letter["image"])).collect();
        let mut found = Findings {
            good: self.good.len(),
            odd: self.odd.len(),
            bad: self.bad.len(),
            more: self.more.len(),
            ..Findings::default()
        };
        let fates = fates(self.bad.iter().chain(&self.more), &reasons)?;
        for (n, (path, image, reason)) in fates.into_iter().enumerate() {
            let Some(reason) = reason.filter(|reason| !reason.is_empty()) else {
                let is_bad = n < self.bad.len();
                let taken = if is_bad { &mut found.bad_taken } else { &mut found.more_taken };
                taken.push(path.display().to_string());
                continue;
            };
            match buried.contains(&image.to_string()) {
                true => found.dead += 1,
                false => found.at_submission += 1,
            }
            *found.reasons.entry(without_numbers(&reason)).or_default() += 1;
        }
        let good = self.good.iter().chain(&self.odd).map(|path| path.display().to_string());
        let refused = good.filter_map(|name| Some(format!("{}: {}", name, reasons.get(&name)?)));
        found.good_refused = refused.collect();
        found.letters = letters;
        Ok(found)
    }
}

/// Each file's image, and why it is none. Of files that are the same, one was submitted.
fn fates<'a>(
    files: impl Iterator<Item = &'a PathBuf>,
    reasons: &BTreeMap<String, String>,
) -> anyhow::Result<Vec<(&'a PathBuf, ImageId, Option<String>)>> {
    let mut fates = Vec::new();
    let mut told: HashMap<ImageId, &String> = HashMap::new();
    for path in files {
        let bytes = std::fs::read(path).with_context(|| format!("no {}", path.display()))?;
        let image = ImageId::of(&bytes);
        if let Some(reason) = reasons.get(&path.display().to_string()) {
            told.insert(image, reason);
        }
        fates.push((path, image));
    }
    let why = |image: ImageId| told.get(&image).map(|&reason| reason.clone());
    Ok(fates.into_iter().map(|(path, image)| (path, image, why(image))).collect())
}

/// So that reasons that differ in a size alone are one.
fn without_numbers(reason: &str) -> String {
    let mut text = String::new();
    for letter in reason.chars() {
        match letter.is_ascii_digit() {
            true if text.ends_with('#') => {}
            true => text.push('#'),
            false => text.push(letter),
        }
    }
    text
}

/// Every file, in order.
fn files_below(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let failed = || format!("cannot read {}", folder.display());
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(folder).with_context(failed)? {
        let path = entry.with_context(failed)?.path();
        match path.is_dir() {
            true => found.extend(files_below(&path)?),
            false => drop(found.insert(path)),
        }
    }
    Ok(found.into_iter().collect())
}

impl Findings {
    /// # Errors
    /// A good picture that is missing, a bad file without a reason, a worker that ended, or one
    /// that took more than a bounded decoder may.
    pub fn judge(&self) -> anyhow::Result<()> {
        let Self { good_refused, bad_taken, ended, .. } = self;
        ensure!(good_refused.is_empty(), "good pictures were refused: {good_refused:#?}");
        ensure!(bad_taken.is_empty(), "hostile files were taken: {bad_taken:#?}");
        ensure!(*ended == 0, "{ended} workers ended");
        // because: files that are the same are one image
        let least = (self.good + self.odd) as u64;
        let most = least + self.more_taken.len() as u64;
        let searchable = self.searchable;
        ensure!((least..=most).contains(&searchable), "{searchable} images of {least} good ones");
        let greedy: Vec<_> = self.peaks.iter().filter(|(_, mib)| *mib > MOST).collect();
        ensure!(greedy.is_empty(), "more than {MOST} MiB: {greedy:?}");
        Ok(())
    }
}

/// The most memory that a worker may take, in MiB: a gigabyte of pictures being decoded for ingest and
/// one for queries, files in hand, and models.
const MOST: u64 = 4_000;
