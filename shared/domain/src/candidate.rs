//! Candidates of a search, their total order, and the merge of many shards' lists into one.

use std::{cmp::Ordering, collections::BinaryHeap};

use serde::{Deserialize, Serialize};

use crate::ImageId;

/// A gallery image with its similarities to one query.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
}

/// One caption of an image, and its own similarity to the query; absent where the query has no
/// counterpart for it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CaptionSimilarity {
    pub text: String,
    pub similarity: Option<f32>,
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
/// would have given. An image that two lists name counts once.
pub fn merge(k: usize, candidates: impl IntoIterator<Item = Candidate>) -> Vec<Candidate> {
    let mut all: Vec<Candidate> = candidates.into_iter().collect();
    all.sort_by(|a, b| rank((a.similarity, a.image), (b.similarity, b.image)));
    all.dedup_by_key(|candidate| candidate.image);
    all.truncate(k);
    all
}

#[cfg(test)]
mod tests {
    use super::*;
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
        }
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
