//! A gallery in the pipeline, and how well its triplets are answered.

use std::{path::PathBuf, time::Duration};

use futures::{StreamExt, TryStreamExt};
use weimocir_catalogue::{Gallery, Split, Triplet};
use weimocir_domain::{Alpha, Beta, Candidate, Collection, ImageId, TextReference};
use weimocir_runtime::Bus;
use weimocir_tests::{Pipeline, render};
use weimocir_wire::{
    search::{Reference, SearchAnswer, SearchRequest},
    subjects,
};

/// R@1, R@5 and R@10 in percent.
pub(crate) type Recall = [f64; 3];

/// A gallery, and the ids of its pictures in order.
pub(crate) struct Set {
    bus: Bus,
    collection: Collection,
    pub(crate) gallery: Gallery,
    pub(crate) ids: Vec<ImageId>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Setting {
    pub(crate) alpha: Alpha,
    pub(crate) beta: Beta,
    pub(crate) text_reference: TextReference,
    pub(crate) reference: bool,
    pub(crate) modifier: bool,
}

impl Set {
    pub(crate) async fn ingest(
        pipeline: &Pipeline,
        name: &str,
        split: Split,
        count: usize,
    ) -> anyhow::Result<Self> {
        let folder: PathBuf = pipeline.folder().join(name);
        let gallery = render(split, count, 128, &folder)?;
        let path = folder.display().to_string();
        let args = ["ingest", &path, "--collection", name, "--wait", "--json"];
        let summary = pipeline.weimocir(&args).await?.json()?;
        println!(
            "{name}: {} images searchable and captioned in {:.0} s",
            summary["captioned"],
            summary["seconds"].as_f64().unwrap_or(f64::NAN)
        );
        let ids = gallery.pictures.iter().map(|picture| {
            Ok(ImageId::of(&std::fs::read(folder.join(format!("{}.png", picture.name)))?))
        });
        let ids = ids.collect::<anyhow::Result<_>>()?;
        Ok(Self { bus: pipeline.bus().await?, collection: name.parse()?, gallery, ids })
    }

    /// The first ten for a triplet, its reference left out.
    pub(crate) fn request(&self, setting: Setting, triplet: &Triplet) -> SearchRequest {
        let reference = self.ids[triplet.reference];
        SearchRequest {
            collection: self.collection.clone(),
            reference: setting.reference.then_some(Reference::Id(reference)),
            modifier: setting.modifier.then(|| triplet.modifier.clone()),
            alpha: Some(setting.alpha),
            beta: Some(setting.beta),
            text_reference: setting.text_reference,
            k: Some(10),
            exclude: vec![reference],
            ..SearchRequest::default()
        }
    }

    pub(crate) async fn ask(&self, request: SearchRequest) -> anyhow::Result<Vec<Candidate>> {
        let answer: SearchAnswer =
            self.bus.ask(subjects::SEARCH, &request, Duration::from_secs(30)).await?;
        anyhow::ensure!(!answer.partial, "a shard is missing");
        Ok(answer.candidates)
    }

    /// Of all triplets, each asked with the request that is made for it.
    pub(crate) async fn recall(
        &self,
        request: impl Fn(usize, &Triplet) -> SearchRequest,
    ) -> anyhow::Result<Recall> {
        let requests = self.gallery.triplets.iter().enumerate();
        let requests: Vec<_> =
            requests.map(|(n, triplet)| (request(n, triplet), triplet)).collect();
        let ranks: Vec<Option<usize>> = futures::stream::iter(requests)
            .map(|(request, triplet)| async move {
                let target = self.ids[triplet.target];
                let found = self.ask(request).await?;
                anyhow::Ok(found.iter().position(|candidate| candidate.image == target))
            })
            // because: enough to keep two cores busy, and below the workers' limits
            .buffer_unordered(16)
            .try_collect()
            .await?;
        let share = |k: usize| {
            let hits = ranks.iter().filter(|rank| rank.is_some_and(|rank| rank < k)).count();
            100.0 * hits as f64 / ranks.len() as f64
        };
        Ok([share(1), share(5), share(10)])
    }
}
