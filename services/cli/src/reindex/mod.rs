//! `weimocir reindex`: a collection's images by another model, beside those that serve, and then in their
//! place. `mirror` has one generation follow the other, and `waiting` waits for what workers have at hand; what
//! is done is in the logs and in the collection's record, so that a run that was killed is simply run again.

mod mirror;
mod waiting;

use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use indicatif::ProgressBar;
use serde::Serialize;
use tokio::{sync::OnceCell, time::sleep};
use weimocir_client::Gallery;
use weimocir_domain::{Collection, LongText, ModelId};
use weimocir_models::ModelSource;
use weimocir_runtime::{Bus, Collections, LATELY, WorkerInfo};
use weimocir_wire::{
    names::ENCODE_SERVICE,
    query::{EncodeQuery, EncodedQuery},
    search::{Refusal, RefusalCode},
    subjects,
    vectors::CollectionRecord,
};

use crate::{Done, PATIENCE, Shared, ingest::bar, provision::ACK_WAIT, say, say_json};
use mirror::{AT_ONCE, Mirror};

#[derive(Debug, clap::Args)]
pub(crate) struct ReindexArgs {
    /// Model to change to: what an encode worker was started with, or its id. The former one goes back
    #[arg(long, value_name = "MODEL", required_unless_present = "drop_old")]
    model: Option<String>,
    /// Wait for an encode worker with that model
    #[arg(long, requires = "model")]
    wait: bool,
    /// Delete what does not serve: there is no way back from then on, but to encode anew
    #[arg(long, conflicts_with_all = ["model", "wait"])]
    drop_old: bool,
    /// Go on although the other model could not encode many images, or images would be lost; and once the
    /// change is made, or with --drop-old, wait for nothing that makes no progress
    #[arg(long)]
    give_up: bool,
    /// How long --give-up waits without progress, in each of its waits; up to ten seconds longer, as it looks
    /// no more often, and half a minute where the server does not answer
    // because: what a dead worker had comes again after half a minute, and so does what failed for a while
    #[arg(long, default_value_t = 120, value_name = "SECONDS", requires = "give_up",
        value_parser = clap::value_parser!(u64).range(1..))]
    patience: u64,
}

#[derive(Debug, Serialize)]
struct Reindexed {
    collection: Collection,
    model: ModelId,
    former: ModelId,
    images: u64,
    captioned: u64,
    #[serde(flatten)]
    missing: Missing,
    seconds: f64,
}

/// What was not brought over, or not awaited.
#[derive(Debug, Clone, Default, Serialize)]
struct Missing {
    /// Images of which a part became a dead letter.
    given_up: usize,
    /// Messages of the logs that are no parts.
    left_out: u64,
    /// Parts that did not come in time.
    late: usize,
    /// Whether workers had deliveries from before that were not awaited.
    ended_early: bool,
}

impl Missing {
    fn and(&self, other: &Self) -> Self {
        Self {
            given_up: self.given_up + other.given_up,
            left_out: self.left_out + other.left_out,
            late: self.late + other.late,
            ended_early: self.ended_early || other.ended_early,
        }
    }

    fn done(&self) -> Done {
        match self {
            Self { given_up: 0, left_out: 0, late: 0, ended_early: false } => Done::Fully,
            _ => Done::Partly,
        }
    }

    /// `what_to_do` is about what may yet come.
    fn tell(&self, what_to_do: &str) {
        let Self { given_up, left_out, late, ended_early } = self;
        if *given_up > 0 {
            say(format_args!("{given_up} images lack a part: see `weimocir dead list`"));
        }
        if *left_out > 0 {
            say(format_args!("{left_out} messages of the logs are no parts, and were left out"));
        }
        if *late > 0 {
            say(format_args!("{late} parts did not come in time{what_to_do}"));
        }
        if *ended_early {
            say(format_args!(
                "workers had deliveries from before, which were not awaited{what_to_do}"
            ));
        }
    }
}

#[derive(Debug, Serialize)]
struct Dropped<'a> {
    collection: &'a Collection,
    dropped: Vec<ModelId>,
    #[serde(flatten)]
    missing: &'a Missing,
}

pub(crate) async fn run(args: ReindexArgs, shared: Shared) -> anyhow::Result<Done> {
    let bus = shared.connect().await?;
    let collections = Collections::open(&bus).await?;
    let record = collections.lately(&shared.collection).await?;
    let run = Run {
        bus,
        collections,
        name: record.name.clone(),
        args,
        show: !shared.json,
        shared_settled: OnceCell::new(),
    };
    match &run.args.model {
        Some(asked) => {
            let reindexed = Box::pin(run.reindex(record, asked)).await?;
            tell(&reindexed, shared.json)
        }
        None => Box::pin(run.drop_old(record)).await,
    }
}

struct Run {
    bus: Bus,
    collections: Collections,
    name: Collection,
    args: ReindexArgs,
    show: bool,
    /// Whether the queues that all models share were settled, once that was awaited.
    shared_settled: OnceCell<bool>,
}

impl Run {
    /// How long is waited without progress, if that is given up at all.
    fn patience(&self) -> Option<Duration> {
        self.args.give_up.then_some(Duration::from_secs(self.args.patience))
    }

    async fn reindex(&self, record: CollectionRecord, asked: &str) -> anyhow::Result<Reindexed> {
        let began = Instant::now();
        let Some(serving) = record.serving_model().cloned() else {
            bail!("`{}` has no images yet: ingest with an encode worker of that model", self.name);
        };
        let model = self.alive(asked).await?;
        self.bus.provision().await?;
        for model in [&serving, &model] {
            self.bus.provision_queues(&weimocir_encode::lane(model, 1, ACK_WAIT)).await?;
        }
        let (mirror, former) = if serving == model {
            Box::pin(self.cut_off(&record, &model)).await?
        } else {
            (Box::pin(self.change(&record, &model)).await?, serving)
        };
        Box::pin(self.finish(mirror, (&former, &model), began)).await
    }

    /// Has the generation of a model hold what serves, and serve then.
    async fn change(
        &self,
        record: &CollectionRecord,
        model: &ModelId,
    ) -> anyhow::Result<Mirror<'_>> {
        self.answers(model).await?;
        let target = self.collections.ensure_generation(&self.name, model).await?.name;
        // because: whoever deletes knows of a generation after so long
        sleep(LATELY).await;
        let from = record.generation();
        let mut mirror = Mirror::open(&self.bus, record, from, (&target, model)).await?;
        let images = Gallery::new(&self.bus, record.clone()).totals().await.images;
        let bar = bar("images", images, self.show);
        // because: what was there before says nothing of the rate
        show(&bar, &mirror);
        bar.reset_eta();
        mirror.catch_up(AT_ONCE, |mirror| show(&bar, mirror)).await?;
        mirror.until_stored().await?;
        // because: that may have taken hours
        self.answers(model).await?;
        mirror.catch_up(AT_ONCE, |mirror| show(&bar, mirror)).await?;
        mirror.until_stored().await?;
        bar.abandon();
        let (given_up, images) = (mirror.given_up.len() as u64, mirror.images);
        ensure!(
            self.args.give_up || !is_much(given_up, images),
            "{model} could not encode {given_up} images, and has {images}; nothing was changed. `weimocir dead list` says why, `weimocir dead retry` tries them again; with --give-up they are left out"
        );
        self.collections.serve(&self.name, from, (&target, model)).await?;
        Ok(mirror)
    }

    /// A change that was made, and perhaps not finished, and the model from before it.
    async fn cut_off(
        &self,
        record: &CollectionRecord,
        model: &ModelId,
    ) -> anyhow::Result<(Mirror<'_>, ModelId)> {
        let Some(serving) = &record.serving else {
            bail!("`{}` is of {model} already, and always was", self.name);
        };
        let from = self.collections.record(&serving.from).await?;
        if from.dropped {
            bail!("`{}` is of {model} already, and nothing else is left", self.name);
        }
        let former = from.model.context("the former generation has no model")?;
        let target = (&serving.generation, model);
        Ok((Mirror::open(&self.bus, record, &from.name, target).await?, former))
    }

    /// Brings over what came last, and then what was in workers' hands when the generation changed.
    async fn finish(
        &self,
        mut mirror: Mirror<'_>,
        (former, model): (&ModelId, &ModelId),
        began: Instant,
    ) -> anyhow::Result<Reindexed> {
        let bar = bar("images", mirror.images, self.show);
        mirror.gives_up(self.patience());
        // because: what is missing is missed by searches already
        mirror.catch_up(AT_ONCE, |mirror| show(&bar, mirror)).await?;
        let is_settled = self.until_settled(former, &bar).await?;
        mirror.catch_up(0, |mirror| show(&bar, mirror)).await?;
        bar.abandon();
        Ok(Reindexed {
            collection: self.name.clone(),
            model: model.clone(),
            former: former.clone(),
            images: mirror.images,
            captioned: mirror.captioned,
            missing: Missing {
                given_up: mirror.given_up.len(),
                left_out: mirror.left_out,
                late: mirror.late.len(),
                ended_early: !is_settled,
            },
            seconds: began.elapsed().as_secs_f64(),
        })
    }

    /// The model that is asked for, if an encode worker has it.
    async fn alive(&self, asked: &str) -> anyhow::Result<ModelId> {
        let mut is_told = false;
        loop {
            let models = models(&self.bus.workers().await?)?;
            let is_asked =
                |(model, source): &&(String, String)| model == asked || is_same(source, asked);
            match models.iter().filter(is_asked).collect::<Vec<_>>().as_slice() {
                [(model, _)] => return Ok(ModelId::new(model.as_str())),
                [] if self.args.wait => {
                    if !is_told {
                        tracing::warn!("waiting: {}", nobody(asked, &models).message);
                        is_told = true;
                    }
                    sleep(Duration::from_secs(1)).await;
                }
                [] => return Err(nobody(asked, &models).into()),
                several => {
                    let ids: Vec<&str> = several.iter().map(|(model, _)| model.as_str()).collect();
                    bail!("encode workers of `{asked}` differ; name one: {}", ids.join(", "));
                }
            }
        }
    }

    /// # Errors
    /// No query could be encoded by the model.
    async fn answers(&self, model: &ModelId) -> anyhow::Result<()> {
        let lane = subjects::in_lane(subjects::ENCODE_QUERY, model);
        let (texts, long_text) = (vec!["a picture".to_owned()], LongText::Truncate);
        let question = EncodeQuery { image: None, texts, captions: vec![], long_text };
        let answer: Result<EncodedQuery, Refusal> = self.bus.ask(&lane, &question, PATIENCE).await;
        answer.map(drop).context("no encode worker answers queries; nothing was changed")
    }

    async fn drop_old(&self, record: CollectionRecord) -> anyhow::Result<Done> {
        let serving = record.generation();
        let mut idle = self.collections.generations(&self.name).await?;
        idle.retain(|generation| generation.name != *serving);
        let mut missing = Missing::default();
        for generation in &idle {
            if !generation.dropped {
                missing = missing.and(&Box::pin(self.bring_over(&record, generation)).await?);
            }
        }
        let now = self.collections.record(&self.name).await?;
        ensure!(
            now.generation() == serving,
            "`{}` serves since a moment ago, and nothing was dropped: run the same command again",
            now.generation()
        );
        let mut dropped = Vec::new();
        for generation in idle {
            let Some(model) = generation.model else { continue };
            // because: a run that was killed may have left logs of what is marked as dropped
            self.collections.drop_logs(&generation.name).await?;
            if !generation.dropped {
                dropped.push(model);
            }
        }
        if !self.show {
            say_json(&Dropped { collection: &self.name, dropped, missing: &missing })?;
        } else if dropped.is_empty() {
            say(format_args!("{}: there is nothing that does not serve", self.name));
        } else {
            dropped.iter().for_each(|model| say(format_args!("{}: dropped {model}", self.name)));
            missing.tell("");
        }
        Ok(missing.done())
    }

    /// Has what serves hold what an idle generation says: a run that was killed may have left something.
    async fn bring_over(
        &self,
        record: &CollectionRecord,
        idle: &CollectionRecord,
    ) -> anyhow::Result<Missing> {
        let (Some(former), Some(model)) = (&idle.model, record.serving_model()) else {
            return Ok(Missing::default());
        };
        self.bus.provision_queues(&weimocir_encode::lane(former, 1, ACK_WAIT)).await?;
        let target = (record.generation(), model);
        let mirror = Mirror::open(&self.bus, record, &idle.name, target).await?;
        let finished = Box::pin(self.finish(mirror, (former, model), Instant::now())).await?;
        let lost = finished.missing.given_up as u64 + finished.missing.left_out;
        ensure!(
            lost == 0 || self.args.give_up,
            "{lost} images would be lost: see `weimocir dead list`; --drop-old --give-up drops all the same"
        );
        Ok(finished.missing)
    }
}

fn show(bar: &ProgressBar, mirror: &Mirror<'_>) {
    bar.set_length(bar.length().unwrap_or_default().max(mirror.images));
    bar.set_position(mirror.images);
}

/// Whether so many are missing that the model is the reason, and not they.
fn is_much(given_up: u64, images: u64) -> bool {
    given_up > 10 && given_up * 100 > given_up + images
}

/// Whether a worker that was started with `source` has the model that is asked for.
fn is_same(source: &str, asked: &str) -> bool {
    source == asked || ModelSource::parse(asked).is_ok_and(|model| model.to_string() == source)
}

/// The models of the encode workers, each with what it was started with.
///
/// # Errors
/// A worker that does not say: since there are lanes each does.
fn models(workers: &[WorkerInfo]) -> anyhow::Result<Vec<(String, String)>> {
    let mut models = Vec::new();
    for worker in workers.iter().filter(|worker| worker.name == ENCODE_SERVICE) {
        let fact = |name| worker.facts.get(name).cloned();
        let (Some(model), Some(source)) = (fact("model"), fact("source")) else {
            bail!(
                "the encode worker {} (version {}) would not pass on what is another model's. Replace it first",
                worker.id,
                worker.version
            );
        };
        models.push((model, source));
    }
    models.sort();
    models.dedup();
    Ok(models)
}

fn nobody(asked: &str, alive: &[(String, String)]) -> Refusal {
    let there = match alive {
        [] => "none is alive".to_owned(),
        models => {
            let ids: Vec<&str> = models.iter().map(|(model, _)| model.as_str()).collect();
            format!("there are: {}", ids.join(", "))
        }
    };
    let message = format!(
        "no encode worker with the model `{asked}` is alive ({there}). Start one beside the others: `weimocir-encode --model {asked}`"
    );
    Refusal::new(RefusalCode::Unavailable, message)
}

fn tell(reindexed: &Reindexed, json: bool) -> anyhow::Result<Done> {
    let Reindexed { collection, model, former, images, captioned, missing, seconds } = reindexed;
    if json {
        say_json(reindexed)?;
    } else {
        say(format_args!("{collection} is of {model} now, after {seconds:.1} s"));
        say(format_args!("{images} images, {captioned} with captions"));
        missing.tell(": run the same command again");
        let reindex = format!("weimocir reindex --collection {collection}");
        say(format_args!("back: {reindex} --model {former}"));
        say(format_args!("for good: {reindex} --drop-old"));
    }
    Ok(missing.done())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_is_known_by_what_it_was_started_with() {
        for (source, asked, expected) in [
            ("bundled", "bundled", true),
            ("laion/x@main", "laion/x", true),
            ("laion/x@main", "laion/x@main", true),
            ("laion/x@v2", "laion/x", false),
            ("/models/mine", "/models/mine", true),
            ("bundled", "", false),
        ] {
            assert_eq!(is_same(source, asked), expected, "{source} {asked}");
        }
    }

    #[test]
    fn a_hundredth_of_the_images_is_much_and_ten_are_not() {
        for (given_up, images, expected) in
            [(0, 0, false), (10, 0, false), (11, 0, true), (11, 1_089, false), (11, 1_088, true)]
        {
            assert_eq!(is_much(given_up, images), expected, "{given_up} {images}");
        }
    }

    #[test]
    fn who_has_no_worker_is_told_how_to_start_one() {
        let told = nobody("laion/x", &[("bundled-clip:1".into(), "bundled".into())]);
        let expected = "no encode worker with the model `laion/x` is alive (there are: bundled-clip:1). Start one beside the others: `weimocir-encode --model laion/x`";
        assert_eq!(told.message, expected);
        assert!(nobody("x", &[]).message.contains("none is alive"));
    }

    #[test]
    fn an_encode_worker_that_knows_no_lanes_is_replaced_first() {
        let worker = |name: &str, facts: &[&str]| WorkerInfo {
            name: name.into(),
            id: "W7".into(),
            version: "0.1.0".into(),
            facts: facts.iter().map(|fact| (fact.to_string(), format!("its {fact}"))).collect(),
        };
        let known = worker(ENCODE_SERVICE, &["model", "source"]);
        let others = [worker("weimocir-store", &[]), known.clone(), known];
        assert_eq!(models(&others).unwrap(), [("its model".to_owned(), "its source".to_owned())]);
        let old = [&others[..], &[worker(ENCODE_SERVICE, &["model"])]].concat();
        let error = models(&old).unwrap_err().to_string();
        assert!(error.contains("W7") && error.contains("0.1.0"), "{error}");
    }
}
