//! Which images come first at one point of the plane: for submissions, and for looking at them.

use rayon::prelude::*;
use weimocir_domain::{Alpha, Beta, TextReference};

use crate::{
    asked::{Asked, Shares},
    captions::CaptionChoice,
    embeddings::Embeddings,
    error::EvaluationError,
    products::Gallery,
    sweep::{check_choices, excluding},
    test_set::TestSet,
};

/// One point of the plane.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    pub text_reference: TextReference,
    pub choice: CaptionChoice,
    pub alpha: Alpha,
    pub beta: Beta,
}

/// A query's first images, the best first, in the order that ranks are counted in.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Nearest {
    pub among_all: Vec<usize>,
    /// Of the triplet's subset.
    pub among_subset: Vec<usize>,
}

/// The first `all` images of the gallery and the first `subset` of the subset, for every query; none
/// for a query whose reference could not be encoded.
///
/// # Errors
/// A choice of captions that are not there, or a query whose sides cancel each other out.
pub fn nearest(
    set: &TestSet,
    embeddings: &Embeddings,
    point: Point,
    (all, subset): (usize, usize),
) -> Result<Vec<Nearest>, EvaluationError> {
    check_choices(&[point.choice], embeddings)?;
    let gallery = Gallery::new(set, embeddings);
    let shares = Shares::new(&gallery, &[point.choice]);
    let blocks: Vec<Vec<Nearest>> = gallery
        .blocks()
        .into_par_iter()
        .map(|range| {
            let products = excluding(&gallery, range.clone(), &[point.text_reference]);
            let first = |n| {
                let triplet = &set.triplets[range.start + n];
                let place = (&products, range.start, n);
                let (mode, choice) = (point.text_reference, point.choice);
                let Some(mut asked) = Asked::new(&gallery, &shares, place, mode, choice) else {
                    return Ok(Nearest::default());
                };
                let found = asked.at_alpha(point.alpha).and_then(|()| {
                    Ok(Nearest {
                        among_all: asked.first(None, all, point.beta)?,
                        among_subset: asked.first(Some(&triplet.subset), subset, point.beta)?,
                    })
                });
                found.map_err(|source| EvaluationError::Cancelled {
                    pair: triplet.pair.to_string(),
                    alpha: point.alpha,
                    source,
                })
            };
            (0..range.len()).map(first).collect()
        })
        .collect::<Result<_, _>>()?;
    Ok(blocks.into_iter().flatten().collect())
}
