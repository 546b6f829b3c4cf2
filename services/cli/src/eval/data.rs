//! Test sets with their embeddings, as the arguments name them.

use std::{
    collections::BTreeMap,
    num::NonZeroUsize,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use weimocir_catalogue::{Split, write_gallery};
use weimocir_domain::{Alpha, Beta};
use weimocir_evaluation::{
    Embeddings, FeaturesFile, Names, Problem, TestSet, circo, cirr, fashioniq, genecis, jsonl,
};

use crate::ingest;

use super::{
    Case,
    args::{Dataset, EvalArgs},
    backbone::Backbone,
    captions::Captions,
};

/// What is evaluated, and what there is to say of how it came about.
#[derive(Debug)]
pub(super) struct Data {
    pub(super) cases: Vec<Case>,
    pub(super) alpha: Alpha,
    pub(super) beta: Beta,
    /// Where α and β come from, if nobody named them.
    pub(super) default_is: &'static str,
    /// What made the embeddings.
    pub(super) made_by: String,
    pub(super) captions: Captions,
    /// Why pictures could not be encoded, by the names of their images.
    pub(super) unreadable: BTreeMap<String, String>,
}

/// What suits CLIP, for features of whose model nothing is known.
const WEIGHTS: (f32, f32) = (0.8, 0.1);
const OF_FEATURES: &str = "what suits CLIP";

impl Data {
    pub(super) fn read(args: &EvalArgs) -> anyhow::Result<Self> {
        let sets = sets(args)?;
        let mut data = match args.features.as_slice() {
            [] => Self::encoded(args, sets)?,
            files => {
                let mut data =
                    Self::new(from_features(files, args.backbone.r, &sets)?, sets, WEIGHTS)?;
                let names: Vec<String> =
                    files.iter().map(|file| file.display().to_string()).collect();
                (data.default_is, data.made_by) = (OF_FEATURES, names.join(", "));
                data
            }
        };
        data.alpha = args.alpha.unwrap_or(data.alpha);
        data.beta = args.beta.unwrap_or(data.beta);
        Ok(data)
    }

    fn new(
        embeddings: Vec<Embeddings>,
        sets: Vec<TestSet>,
        (alpha, beta): (f32, f32),
    ) -> anyhow::Result<Self> {
        let cases = sets.into_iter().zip(embeddings);
        Ok(Self {
            cases: cases.map(|(set, embeddings)| Case { set, embeddings }).collect(),
            alpha: Alpha::new(alpha)?,
            beta: Beta::new(beta)?,
            default_is: "what suits the model",
            made_by: String::new(),
            captions: Captions::default(),
            unreadable: BTreeMap::new(),
        })
    }

    fn encoded(args: &EvalArgs, sets: Vec<TestSet>) -> anyhow::Result<Self> {
        let own = &args.backbone;
        let beside = args.data.join("captions.jsonl");
        let beside = beside.is_file().then_some(&beside);
        let captions = match own.captions.as_ref().or(beside) {
            Some(file) => Captions::read(file, own.r, args.published, &sets)?,
            None => Captions::default(),
        };
        let mut backbone = Backbone::load(args)?;
        let encoded: anyhow::Result<Vec<Embeddings>> =
            sets.iter().map(|set| backbone.embeddings(set, &captions, args.images())).collect();
        let embeddings = encoded?;
        if let Some(file) = &own.save_features {
            let all: Vec<(&TestSet, &Embeddings)> = sets.iter().zip(&embeddings).collect();
            weimocir_evaluation::write_features(file, &all)?;
        }
        let mut data = Self::new(embeddings, sets, backbone.default_weights())?;
        data.made_by = backbone.name();
        (data.captions, data.unreadable) = (captions, backbone.unreadable);
        Ok(data)
    }

    /// What was not as it should be, by name.
    pub(super) fn problems(&self) -> Vec<Problem> {
        let owned = |names: &[String]| names.to_vec();
        let mut problems = vec![
            unreadable(&self.unreadable),
            Problem {
                what: "Fewer captions than asked for".to_owned(),
                names: owned(&self.captions.fewer),
            },
            Problem {
                what: "More captions than asked for, of which the first count".to_owned(),
                names: owned(self.captions.more.all()),
            },
        ];
        for case in self.cases.iter().filter(|case| case.embeddings.slots() > 0) {
            let (lacking, bare) = case.without_captions();
            let name = &case.set.name;
            problems.push(Problem {
                what: format!("Images of {name} without captions, which score by their pixels"),
                names: owned(bare.all()),
            });
            problems.push(Problem {
                what: format!("Images of {name} without some captions, which are left out"),
                names: owned(lacking.all()),
            });
        }
        problems.retain(|problem| !problem.names.is_empty());
        problems
    }

    /// What made the embeddings, for a report.
    pub(super) fn facts(&self) -> Vec<(String, String)> {
        let slots = self.cases[0].embeddings.slots();
        let captions = match slots {
            0 => "none: every image scores by its pixels".to_owned(),
            slots => format!("{slots} of each image"),
        };
        vec![("Embeddings".to_owned(), self.made_by.clone()), ("Captions".to_owned(), captions)]
    }
}

/// Pictures with the reasons why they cannot be read.
pub(super) fn unreadable(why: &BTreeMap<String, String>) -> Problem {
    Problem {
        what: "Pictures that cannot be read, whose images never rank".to_owned(),
        names: why.iter().map(|(name, why)| format!("{name} ({why})")).collect(),
    }
}

impl Case {
    /// Images that lack some captions, and those that lack all.
    pub(super) fn without_captions(&self) -> (Names, Names) {
        let (lacking, bare) = self.embeddings.without_captions();
        let names = |images: &[usize]| -> Names {
            images.iter().map(|&image| self.set.gallery[image].name.as_str()).collect()
        };
        let some: Vec<usize> = lacking.into_iter().filter(|image| !bare.contains(image)).collect();
        (names(&some), names(&bare))
    }
}

pub(super) fn sets(args: &EvalArgs) -> anyhow::Result<Vec<TestSet>> {
    match args.dataset {
        Dataset::Cirr => Ok(vec![cirr::read(&args.data, args.split, args.published)?]),
        Dataset::Fashioniq => {
            let read = |category| fashioniq::read(&args.data, category, args.published);
            let categories = args.categories(&fashioniq::Category::ALL)?;
            Ok(categories.into_iter().map(read).collect::<Result<_, _>>()?)
        }
        Dataset::Genecis => {
            let read = |task| genecis::read(&args.data, task, args.published);
            let tasks = args.categories(&genecis::Task::ALL)?;
            Ok(tasks.into_iter().map(read).collect::<Result<_, _>>()?)
        }
        Dataset::Circo => Ok(vec![circo::read(&args.data, args.published)?]),
        Dataset::Triplets => own(args),
        Dataset::Catalogue => {
            draw(&args.data)?;
            own(args)
        }
    }
}

fn own(args: &EvalArgs) -> anyhow::Result<Vec<TestSet>> {
    Ok(vec![jsonl::read(&args.data, args.images(), args.published)?])
}

/// Garments of the held-out gallery, and the sides of their pictures; as the README's figures have them.
const DRAWN: (usize, u32) = (2_000, 224);

fn draw(folder: &Path) -> anyhow::Result<()> {
    if folder.join("triplets.jsonl").is_file() {
        return Ok(());
    }
    let gallery = weimocir_catalogue::gallery(Split::Test, DRAWN.0);
    // because: its sentences are written first, so that a folder that has them would pass for whole
    let partial = folder.with_extension("partial");
    let bar = ingest::bar("drawn", DRAWN.0 as u64, true);
    write_gallery(&gallery, &partial, DRAWN.1, |drawn| bar.inc(drawn as u64))?;
    bar.finish_and_clear();
    std::fs::rename(&partial, folder)
        .with_context(|| format!("cannot put the drawn pictures into {}", folder.display()))
}

/// One file for all test sets, or one for each.
fn from_features(
    files: &[PathBuf],
    r: NonZeroUsize,
    sets: &[TestSet],
) -> anyhow::Result<Vec<Embeddings>> {
    let open = |file: &PathBuf| {
        let features = FeaturesFile::open(file)?;
        let (captions, file) = (features.slots(), file.display());
        if captions > r.get() {
            tracing::warn!(%file, captions, "more captions of each image than the {r} that count (-r): the first do");
        } else if captions < r.get() {
            tracing::warn!(%file, captions, "fewer captions of each image than {r} (-r)");
        }
        anyhow::Ok(features.with_captions(r.get()))
    };
    let files: Vec<PathBuf> = match files {
        [one] if one.to_string_lossy().contains(CATEGORY) => {
            sets.iter().map(|set| of_category(one, set)).collect()
        }
        some => some.to_vec(),
    };
    match files.as_slice() {
        [one] => Ok(open(one)?.embeddings(sets)?),
        many if many.len() == sets.len() => {
            let pairs = many.iter().zip(sets.chunks(1));
            let read = |(file, set): (&PathBuf, &[TestSet])| Ok(open(file)?.embeddings(set)?);
            let read: anyhow::Result<Vec<Vec<Embeddings>>> = pairs.map(read).collect();
            Ok(read?.into_iter().flatten().collect())
        }
        many => bail!(
            "{} files of features for {} test sets: give one for all, or one for each in this order: {}",
            many.len(),
            sets.len(),
            sets.iter().map(|set| set.name.as_str()).collect::<Vec<_>>().join(", ")
        ),
    }
}

/// What stands for a category's name in a path.
const CATEGORY: &str = "{category}";

fn of_category(pattern: &Path, set: &TestSet) -> PathBuf {
    let category = set.category.as_deref().unwrap_or(&set.name);
    pattern.to_string_lossy().replace(CATEGORY, category).into()
}
