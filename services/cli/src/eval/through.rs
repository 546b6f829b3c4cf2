//! The same queries through a running pipeline, whose collection holds the test set's gallery.
//!
//! An answer tells what each score is made of, so that equal ones are ordered as everywhere in an
//! evaluation: by f64, then by the gallery's order. Answers are cut by the pipeline's own order; some
//! more are asked for than count, so that the two orders differ only among more equals than that.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::Path,
};

use anyhow::{Context, bail, ensure};
use futures::{StreamExt, TryStreamExt};
use rayon::prelude::*;
use weimocir_domain::{Alpha, Beta, ImageId, TextReference};
use weimocir_evaluation::{
    CaptionChoice, Metric, Nearest, Point, Problem, Row, Sweep, TestSet, Triplet,
};
use weimocir_runtime::Bus;
use weimocir_wire::search::{Reference, SearchAnswer, SearchRequest};

use super::{
    Clock, Results,
    args::EvalArgs,
    backbone::picture_file,
    data,
    report::{self, About},
    tables::tell_problems,
};
use crate::{Done, Shared, ingest, say, say_json, search};

/// Searches under way at once; because a query worker takes several, and more would only wait.
const AT_ONCE: usize = 8;
/// Candidates beyond those that count.
const MORE: usize = 16;
/// Candidates of one answer at most, as the query worker has it.
const MOST: usize = 1_000;

pub(super) async fn run(args: EvalArgs, shared: Shared, url: &str) -> anyhow::Result<Done> {
    std::fs::create_dir_all(&args.out)
        .with_context(|| format!("cannot make the folder {}", args.out.display()))?;
    let mut nats = shared.nats.clone();
    nats.url = url.to_owned();
    let bus = Shared { nats, ..shared.clone() }.connect().await?;
    let read = args.clone();
    let gallery = tokio::task::spawn_blocking(move || Gallery::read(&read)).await??;
    let asker = Asker { args: &args, shared: &shared, bus: &bus, gallery: &gallery };
    let (set, mut clock) = (&gallery.set, Clock::start());
    let (mut results, mut sheets) = (Results::default(), None);
    for text_reference in args.text_references() {
        let (sweep, found) = asker.sweep(text_reference).await?;
        results.rows.extend(weimocir_evaluation::rows(
            &sweep,
            &set.metrics,
            set.category.as_deref(),
        ));
        if sheets.is_none() {
            sheets = Some(report::of_answers(set, &sweep, &found, &args)?);
        }
    }
    clock.lap("searches");
    weimocir_evaluation::write_csv(&args.results(), &set.metrics, &results.rows)?;
    let problems = gallery.problems();
    let report = About {
        args: &args,
        sets: vec![set],
        alpha: results.rows[0].alpha,
        beta: results.rows[0].beta,
        default_is: "what suits the model",
        facts: vec![(
            "Asked".to_owned(),
            format!("a running pipeline, collection {}", shared.collection),
        )],
        problems: &problems,
        sheets: sheets.unwrap_or_default(),
        submission: &[],
        took: clock.laps,
    }
    .write(&results)?;
    tell(&args, &shared, &gallery, (&results.rows, &problems, &report))?;
    Ok(if gallery.unreadable.is_empty() { Done::Fully } else { Done::Partly })
}

/// A test set, and which images of the pipeline its pictures are.
struct Gallery {
    set: TestSet,
    /// `None` for a picture that cannot be read.
    ids: Vec<Option<ImageId>>,
    /// Places in the gallery, of the same file more than one.
    places: HashMap<ImageId, Vec<usize>>,
    unreadable: BTreeMap<String, String>,
}

impl Gallery {
    fn read(args: &EvalArgs) -> anyhow::Result<Self> {
        let mut sets = data::sets(args)?;
        let names: Vec<&str> = sets.iter().map(|set| set.name.as_str()).collect();
        ensure!(
            sets.len() == 1,
            "{} have a gallery each, and so need a collection each: name one by --category",
            names.join(", ")
        );
        let set = sets.remove(0);
        ensure!(set.has_targets(), super::NO_TARGETS);
        if let Some(part) = set.gallery.iter().find(|image| image.part.is_some()) {
            bail!(
                "{} is a part of a picture, and a pipeline has whole ones: evaluate {} without it",
                part.name,
                set.name
            );
        }
        let read = set.gallery.par_iter().map(|image| {
            let bytes = std::fs::read(picture_file(args.images(), image)?)?;
            // because: what cannot be decoded was never put into the pipeline
            image::load_from_memory(&bytes)?;
            Ok(ImageId::of(&bytes))
        });
        let (mut ids, mut unreadable) = (Vec::new(), BTreeMap::new());
        let mut places: HashMap<ImageId, Vec<usize>> = HashMap::new();
        for (place, read) in read.collect::<Vec<anyhow::Result<ImageId>>>().into_iter().enumerate()
        {
            let id = read.map_err(|error| {
                unreadable.insert(set.gallery[place].name.clone(), format!("{error:#}"));
            });
            if let Ok(id) = id {
                places.entry(id).or_default().push(place);
            }
            ids.push(id.ok());
        }
        Ok(Self { set, ids, places, unreadable })
    }

    /// What was not as it should be, by name.
    fn problems(&self) -> Vec<Problem> {
        let name = |&place: &usize| self.set.gallery[place].name.as_str();
        let same = self.places.values().filter(|places| places.len() > 1);
        let mut same: Vec<String> =
            same.map(|places| places.iter().map(name).collect::<Vec<_>>().join(" = ")).collect();
        same.sort_unstable();
        let what = "Pictures of the same bytes, which are one image with the same captions there";
        let mut problems = vec![
            data::unreadable(&self.unreadable),
            Problem { what: what.to_owned(), names: same },
        ];
        problems.retain(|problem| !problem.names.is_empty());
        problems
    }
}

struct Asker<'a> {
    args: &'a EvalArgs,
    shared: &'a Shared,
    bus: &'a Bus,
    gallery: &'a Gallery,
}

impl Asker<'_> {
    async fn sweep(&self, text_reference: TextReference) -> anyhow::Result<(Sweep, Vec<Nearest>)> {
        let set = &self.gallery.set;
        let bar = ingest::bar("searches", set.triplets.len() as u64, true);
        let mut searches = Vec::with_capacity(set.triplets.len());
        for triplet in &set.triplets {
            searches.push(async {
                let found = self.nearest(triplet, text_reference).await;
                bar.inc(1);
                found.with_context(|| format!("the search of pair {} failed", triplet.pair))
            });
        }
        let found: Vec<_> = futures::stream::iter(searches).buffered(AT_ONCE).try_collect().await?;
        bar.finish_and_clear();
        let weights = found.iter().find_map(|(_, weights)| *weights);
        let (alpha, beta) = weights.context("no reference could be read: nothing was asked")?;
        let choice = CaptionChoice::of(&[]);
        let point = Point { text_reference, choice, alpha, beta };
        let found: Vec<Nearest> = found.into_iter().map(|(nearest, _)| nearest).collect();
        Ok((Sweep::of_found(set, point, &found), found))
    }

    /// What is found, and by which weights; nothing for a reference that could not be read.
    async fn nearest(
        &self,
        triplet: &Triplet,
        text_reference: TextReference,
    ) -> anyhow::Result<(Nearest, Option<(Alpha, Beta)>)> {
        let Some(reference) = self.gallery.ids[triplet.reference] else {
            return Ok((Nearest::default(), None));
        };
        let request = SearchRequest {
            collection: self.shared.collection.clone(),
            reference: Some(Reference::Id(reference)),
            modifier: Some(triplet.modifier.clone()),
            alpha: self.args.alpha,
            beta: self.args.beta,
            text_reference,
            long_text: self.args.backbone.long_text,
            // because: another file of the same bytes is the same image there, and ranks here
            exclude_reference: Some(false),
            timeout_ms: Some(30_000),
            explain: true,
            ..SearchRequest::default()
        };
        let metrics = &self.gallery.set.metrics;
        let (mut nearest, mut weights) = (Nearest::default(), None);
        if let Some(most) = metrics.iter().filter_map(among_all).max() {
            let k = (most as usize + MORE).min(self.gallery.set.gallery.len()).min(MOST);
            let request = SearchRequest { k: Some(k), ..request.clone() };
            let answer = self.ask(&request).await?;
            weights = Some((answer.alpha, answer.beta));
            nearest.among_all = self.ordered(&answer, triplet)?;
        }
        let subset: BTreeSet<ImageId> =
            triplet.subset.iter().filter_map(|&n| self.gallery.ids[n]).collect();
        if metrics.iter().any(|metric| among_all(metric).is_none()) && !subset.is_empty() {
            let others = self.gallery.places.keys().filter(|id| !subset.contains(id));
            let (k, exclude) = (Some(subset.len()), others.copied().collect());
            let answer = self.ask(&SearchRequest { k, exclude, ..request }).await?;
            weights = Some((answer.alpha, answer.beta));
            nearest.among_subset = self.ordered(&answer, triplet)?;
            nearest.among_subset.retain(|place| triplet.subset.contains(place));
        }
        Ok((nearest, weights))
    }

    async fn ask(&self, request: &SearchRequest) -> anyhow::Result<SearchAnswer> {
        let answer = search::ask(self.bus, request).await?;
        ensure!(
            !answer.partial,
            "shards {:?} did not answer in time: the figures would be of a part of the gallery",
            answer.missing_shards
        );
        let (images, expected) = (answer.images, self.gallery.places.len() as u64);
        ensure!(
            images == expected,
            "collection {} has {images} images and the gallery {expected}: ingest the gallery whole, \
             and into a collection of its own",
            self.shared.collection
        );
        Ok(answer)
    }

    /// The places of what was found, by their scores in f64 and then by their order in the gallery.
    fn ordered(&self, answer: &SearchAnswer, triplet: &Triplet) -> anyhow::Result<Vec<usize>> {
        let norms = answer.norms.as_ref().context("an answer explains nothing")?;
        let mut scored = Vec::new();
        for candidate in &answer.candidates {
            let components = candidate.components.as_ref().context("a score is not explained")?;
            let score = components.similarity(norms, answer.alpha, answer.beta)?;
            let places = self.gallery.places.get(&candidate.image);
            let places = places.with_context(|| {
                format!("{} ({}) is not of the gallery", candidate.image, candidate.source)
            })?;
            scored.extend(places.iter().map(|&place| (score, place)));
        }
        if !self.gallery.set.reference_stays {
            scored.retain(|(_, place)| *place != triplet.reference);
        }
        scored.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        Ok(scored.into_iter().map(|(_, place)| place).collect())
    }
}

/// How deep a metric looks into the whole gallery; `None` for one of subsets.
fn among_all(metric: &Metric) -> Option<u32> {
    match *metric {
        Metric::Recall(k) | Metric::MeanPrecision(k) => Some(k),
        Metric::SubsetRecall(_) => None,
    }
}

fn tell(
    args: &EvalArgs,
    shared: &Shared,
    gallery: &Gallery,
    (rows, problems, report): (&[Row], &[Problem], &Path),
) -> anyhow::Result<()> {
    let set = &gallery.set;
    if shared.json {
        return say_json(&serde_json::json!({
            "set": set.name,
            "images": set.gallery.len(),
            "queries": set.triplets.len(),
            "unreadable": gallery.unreadable,
            "results": args.results(),
            "report": report,
        }));
    }
    let (images, queries) = (set.gallery.len(), set.triplets.len());
    say(format_args!("{}: {images} images, {queries} queries", set.name));
    tell_problems(problems);
    for row in rows {
        let percents = set.metrics.iter().zip(&row.percents);
        let percents: Vec<String> = percents.map(|(m, p)| format!("{m} {p:.2}")).collect();
        let (text, alpha, beta) = (row.text_reference, row.alpha, row.beta);
        let percents = percents.join("  ");
        say(format_args!("text reference {text}, α = {alpha}, β = {beta}: {percents}"));
    }
    say(format_args!("{} rows in {}", rows.len(), args.results().display()));
    say(format_args!("report: {}", report.display()));
    Ok(())
}
