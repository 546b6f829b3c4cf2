//! Candidates of a search, their total order, and the merge of many shards' lists into one.

use std::{
    cmp::Ordering,
    collections::{BinaryHeap, HashSet},
};

use serde::{Deserialize, Serialize};

use crate::{Components, ImageId};

/// A gallery image with its similarities to one query.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Candidate {
    pub image: ImageId,
    /// `s`, by which candidates are ordered.
    pub similarity: f32,
    pub s_img: f32,
    /// Absent while the image's captions have not arrived: then `similarity` is `s_img`.
    pub s_txt: Option<f32>,
    pub captions: Vec<CaptionSimilarity>,
    /// Where the picture came from: a path or address, as its feed named it.
    pub source: String,
    pub metadata: serde_json::Map<String, serde_json::Value>,
    /// What the score is at any other weights, for a search that asks for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub components: Option<Components>,
    /// What a reranked answer orders this candidate by; absent from those that were not scored anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rerank_score: Option<f32>,
}

/// One caption of an image, and its own similarity to the query; absent where the query has no
/// counterpart for it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CaptionSimilarity {
    pub text: String,
    pub similarity: Option<f32>,
}

/// How far a similarity may be from -1..=1: rounding of the query and of the result.
const SLACK: f32 = 1e-5;

#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum CandidateError {
    #[error("image {image} has a similarity of {similarity}, which is not between -1 and 1")]
    Similarity { image: ImageId, similarity: f32 },
    #[error("image {image} has components that are not finite")]
    Components { image: ImageId },
}

impl Candidate {
    /// Whether every similarity is one. A NaN from elsewhere would come first in the total order.
    ///
    /// # Errors
    /// The first one that is not between -1 and 1, or components that are not finite.
    pub fn check(&self) -> Result<(), CandidateError> {
        let captions = self.captions.iter().filter_map(|caption| caption.similarity);
        let mut all = [self.similarity, self.s_img].into_iter().chain(self.s_txt).chain(captions);
        let range = -1.0 - SLACK..=1.0 + SLACK;
        if let Some(similarity) = all.find(|similarity| !range.contains(similarity)) {
            return Err(CandidateError::Similarity { image: self.image, similarity });
        }
        match &self.components {
            Some(components) if !components.is_finite() => {
                Err(CandidateError::Components { image: self.image })
            }
            _ => Ok(()),
        }
    }
}

/// Closest first; equal similarities by ascending id, so that the order is total.
fn rank(a: (f32, ImageId), b: (f32, ImageId)) -> Ordering {
    b.0.total_cmp(&a.0).then(a.1.cmp(&b.1))
}

/// Keeps the K closest of any number of images, in O(n log K).
#[derive(Debug)]
pub struct TopK<T> {
    k: usize,
    heap: BinaryHeap<Ranked<T>>,
}

#[derive(Debug)]
struct Ranked<T> {
    key: (f32, ImageId),
    value: T,
}

impl<T> Ord for Ranked<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        rank(self.key, other.key)
    }
}

impl<T> PartialOrd for Ranked<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> PartialEq for Ranked<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<T> Eq for Ranked<T> {}

impl<T> TopK<T> {
    pub fn new(k: usize) -> Self {
        Self { k, heap: BinaryHeap::new() }
    }

    pub fn push(&mut self, similarity: f32, image: ImageId, value: T) {
        let entry = Ranked { key: (similarity, image), value };
        if self.heap.len() < self.k {
            self.heap.push(entry);
        } else if let Some(mut last) = self.heap.peek_mut()
            && entry < *last
        {
            *last = entry;
        }
    }

    /// The least similarity kept, once there are K of them: anything below it is not among the K.
    pub fn floor(&self) -> Option<f32> {
        let last = self.heap.peek().filter(|_| self.heap.len() == self.k)?;
        Some(last.key.0)
    }

    /// The values kept, closest first.
    pub fn into_sorted(self) -> Vec<T> {
        self.heap.into_sorted_vec().into_iter().map(|entry| entry.value).collect()
    }
}

/// The K closest of the candidates of all shards: the same list that one shard holding every image
/// would have given. An image that two lists name counts once, where it is closest.
pub fn merge(k: usize, candidates: impl IntoIterator<Item = Candidate>) -> Vec<Candidate> {
    let mut all: Vec<Candidate> = candidates.into_iter().collect();
    all.sort_by(|a, b| rank((a.similarity, a.image), (b.similarity, b.image)));
    // because: two lists may name an image with two similarities, which then are no neighbours
    let mut seen = HashSet::new();
    all.retain(|candidate| seen.len() < k && seen.insert(candidate.image));
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Component;
    use proptest::prelude::*;

    fn candidate(n: u32, similarity: f32) -> Candidate {
        Candidate {
            image: ImageId::of(&n.to_be_bytes()),
            similarity,
            s_img: similarity,
            s_txt: None,
            captions: vec![],
            source: String::new(),
            metadata: serde_json::Map::new(),
            components: None,
            rerank_score: None,
        }
    }

    #[test]
    fn an_image_that_two_lists_name_counts_once() {
        let lists =
            [(1, 0.9), (2, 0.8), (1, 0.7), (2, 0.8), (3, 0.6)].map(|(n, s)| candidate(n, s));
        let similarities = |k| {
            merge(k, lists.clone()).iter().map(|candidate| candidate.similarity).collect::<Vec<_>>()
        };
        assert_eq!(similarities(9), [0.9, 0.8, 0.6]);
        assert_eq!(similarities(2), [0.9, 0.8]);
        assert!(similarities(0).is_empty());
    }

    #[test]
    fn what_is_no_similarity_is_told() {
        let caption = |similarity| CaptionSimilarity { text: String::new(), similarity };
        let right = Candidate {
            s_txt: Some(-1.000001),
            captions: vec![caption(None), caption(Some(1.000001))],
            ..candidate(1, 1.0)
        };
        assert_eq!(right.check(), Ok(()));
        for wrong in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1.5, -1.5] {
            let captions = vec![caption(Some(wrong))];
            for candidate in [
                Candidate { similarity: wrong, ..right.clone() },
                Candidate { s_img: wrong, ..right.clone() },
                Candidate { s_txt: Some(wrong), ..right.clone() },
                Candidate { captions, ..right.clone() },
            ] {
                let error = candidate.check().unwrap_err().to_string();
                assert!(error.contains(&format!("a similarity of {wrong},")), "{error}");
            }
        }
        let nowhere = Component { reference: 0.5, modifier: f64::NAN };
        let components = Some(Components { image: Component::default(), captions: vec![nowhere] });
        let error = Candidate { components, ..right }.check().unwrap_err().to_string();
        assert!(error.contains("not finite"), "{error}");
    }

    proptest! {
        #[test]
        fn merged_shards_equal_one_gallery(
            levels in prop::collection::vec(0_u8..5, 0..60), shards in 1_u16..5, k in 0_usize..20,
        ) {
            // because: five levels only, so that ties are common
            let gallery: Vec<_> =
                levels.iter().enumerate().map(|(n, &s)| candidate(n as u32, f32::from(s))).collect();
            let mut expected = gallery.clone();
            expected.sort_by_key(|c| (-(c.similarity as i32), c.image));
            expected.truncate(k);

            let mut kept: Vec<_> = (0..shards).map(|_| TopK::new(k)).collect();
            for c in gallery {
                kept[usize::from(c.image.shard(shards).0)].push(c.similarity, c.image, c);
            }
            let merged = merge(k, kept.into_iter().flat_map(TopK::into_sorted));
            prop_assert_eq!(merged, expected);
        }
    }
}
