//! What negative text, feedback and reranking each do to recall. Their weights are chosen on the
//! validation gallery, by R@1 and then R@10, and reported on the test gallery.

use std::cmp::Reverse;

use futures::{StreamExt, TryStreamExt};
use weimocir_catalogue::{Triplet, modifiers};
use weimocir_domain::{Alpha, Beta, Gamma, ImageId};
use weimocir_wire::search::{Rerank, Reranker, SearchRequest};

use crate::set::{Recall, Set, Setting};

const GAMMAS: [f32; 6] = [0.1, 0.2, 0.3, 0.4, 0.5, 0.7];
const ALPHAS: [f32; 7] = [0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9];
const BETAS: [f32; 4] = [0.0, 0.2, 0.4, 0.6];

/// What somebody who looks at the first ten would mark: of those that are not the target, the one
/// that shares most with it, and the one that shares least.
#[derive(Debug, Clone, Copy)]
struct Marks {
    more: ImageId,
    less: ImageId,
}

pub(crate) async fn report(
    validation: &Set,
    test: &Set,
    name: &str,
    setting: Setting,
) -> anyhow::Result<()> {
    println!("\n{name}, α = {}, β = {}:", setting.alpha, setting.beta);
    println!("| query | weights | R@1 | R@5 | R@10 |\n|---|---|---|---|---|");
    row("as it is", "", test.recall(|_, triplet| test.request(setting, triplet)).await?);

    let (gamma, found) = chosen(validation, test, &GAMMAS, |set, _, triplet, &gamma| {
        let negative = gone(set, triplet);
        Ok(SearchRequest {
            negative,
            gamma: Some(Gamma::new(gamma)?),
            ..set.request(setting, triplet)
        })
    })
    .await?;
    row(
        "with a negative text: what the reference has and the target has not",
        &format!("γ = {gamma}"),
        found,
    );
    let by_default = |_, triplet: &Triplet| SearchRequest {
        negative: gone(test, triplet),
        ..test.request(setting, triplet)
    };
    row("the same", "by default", test.recall(by_default).await?);

    feedback(validation, test, setting).await?;

    let weights: Vec<_> =
        ALPHAS.iter().flat_map(|&alpha| BETAS.map(|beta| (alpha, beta))).collect();
    let ((alpha, beta), found) = chosen(validation, test, &weights, |set, _, triplet, weights| {
        let by = Reranker::Weights {
            alpha: Some(Alpha::new(weights.0)?),
            beta: Some(Beta::new(weights.1)?),
        };
        let rerank = Some(Rerank { by, top: None, budget_ms: None });
        Ok(SearchRequest { rerank, ..set.request(setting, triplet) })
    })
    .await?;
    let weights = format!("α = {alpha}, β = {beta}");
    row("with the best 50 reranked at other weights", &weights, found);
    Ok(())
}

/// Those marked are known already, and left out: of the comparison as well.
async fn feedback(validation: &Set, test: &Set, setting: Setting) -> anyhow::Result<()> {
    let marks = [marks(validation, setting).await?, marks(test, setting).await?];
    let marked = |set: &Set, n: usize| marks[usize::from(std::ptr::eq(set, test))][n];
    let without = |set: &Set, n: usize, triplet: &Triplet| {
        let mut request = set.request(setting, triplet);
        request
            .exclude
            .extend(marked(set, n).map(|marks| [marks.more, marks.less]).into_iter().flatten());
        request
    };
    let plain = test.recall(|n, triplet| without(test, n, triplet)).await?;
    row("as it is, without the two images marked", "", plain);

    let more = |set: &Set, n: usize, triplet: &Triplet, &weight: &f32| {
        let more_like = marked(set, n).map(|marks| marks.more).into_iter().collect();
        let more_weight = Some(Gamma::new(weight)?);
        anyhow::Ok(SearchRequest { more_like, more_weight, ..without(set, n, triplet) })
    };
    let (liked, found) = chosen(validation, test, &GAMMAS, more).await?;
    row("with one liked", &format!("more {liked}"), found);

    let (disliked, found) = chosen(validation, test, &GAMMAS, |set, n, triplet, &weight| {
        let less_like = marked(set, n).map(|marks| marks.less).into_iter().collect();
        let less_weight = Some(Gamma::new(weight)?);
        Ok(SearchRequest { less_like, less_weight, ..without(set, n, triplet) })
    })
    .await?;
    row("with one not liked", &format!("less {disliked}"), found);

    let (weight, found) = chosen(validation, test, &GAMMAS, |set, n, triplet, &weight| {
        let less_like = marked(set, n).map(|marks| marks.less).into_iter().collect();
        let less_weight = Some(Gamma::new(weight)?);
        Ok(SearchRequest { less_like, less_weight, ..more(set, n, triplet, &liked)? })
    })
    .await?;
    row("with both", &format!("more {liked}, less {weight}"), found);
    let by_default = |n, triplet: &Triplet| SearchRequest {
        more_like: marked(test, n).map(|marks| marks.more).into_iter().collect(),
        less_like: marked(test, n).map(|marks| marks.less).into_iter().collect(),
        ..without(test, n, triplet)
    };
    row("the same", "by default", test.recall(by_default).await?);
    Ok(())
}

/// The weights that validation is best with, and what they give on test. Shows R@1/R@10 of all.
async fn chosen<W: Copy + std::fmt::Debug>(
    validation: &Set,
    test: &Set,
    weights: &[W],
    request: impl Fn(&Set, usize, &Triplet, &W) -> anyhow::Result<SearchRequest>,
) -> anyhow::Result<(W, Recall)> {
    let mut best: Option<(Recall, W)> = None;
    for weight in weights {
        let found = recall(validation, weight, &request).await?;
        eprint!("{weight:?}: {:.1}/{:.1}  ", found[0], found[2]);
        if best.is_none_or(|(best, _)| (found[0], found[2]) > (best[0], best[2])) {
            best = Some((found, *weight));
        }
    }
    eprintln!();
    let Some((_, weight)) = best else { anyhow::bail!("no weights to choose from") };
    Ok((weight, recall(test, &weight, &request).await?))
}

async fn recall<W>(
    set: &Set,
    weight: &W,
    request: impl Fn(&Set, usize, &Triplet, &W) -> anyhow::Result<SearchRequest>,
) -> anyhow::Result<Recall> {
    let requests = set.gallery.triplets.iter().enumerate();
    let requests = requests.map(|(n, triplet)| request(set, n, triplet, weight));
    let requests = requests.collect::<anyhow::Result<Vec<_>>>()?;
    set.recall(|n, _| requests[n].clone()).await
}

/// The marks of each triplet.
async fn marks(set: &Set, setting: Setting) -> anyhow::Result<Vec<Option<Marks>>> {
    let marks = set.gallery.triplets.iter().map(|triplet| async move {
        let found = set.ask(set.request(setting, triplet)).await?;
        let target = set.gallery.pictures[triplet.target].attributes;
        let seen = found.iter().filter_map(|candidate| {
            let at = set.ids.iter().position(|&id| id == candidate.image)?;
            (at != triplet.target)
                .then(|| (set.gallery.pictures[at].attributes.differences(&target), at))
        });
        let seen: Vec<(usize, usize)> = seen.collect();
        let more = seen.iter().min_by_key(|(differences, _)| *differences);
        let others = seen.iter().filter(|mark| Some(*mark) != more);
        let less = others.min_by_key(|(differences, _)| Reverse(*differences));
        let marks = more.zip(less);
        anyhow::Ok(marks.map(|(more, less)| Marks { more: set.ids[more.1], less: set.ids[less.1] }))
    });
    let marks: Vec<_> = marks.collect();
    futures::stream::iter(marks).buffered(16).try_collect().await
}

fn gone(set: &Set, triplet: &Triplet) -> Option<String> {
    let attributes = |at: usize| &set.gallery.pictures[at].attributes;
    modifiers::gone(attributes(triplet.reference), attributes(triplet.target))
}

fn row(name: &str, weights: &str, [r1, r5, r10]: Recall) {
    println!("| {name} | {weights} | {r1:.1} | {r5:.1} | {r10:.1} |");
}
