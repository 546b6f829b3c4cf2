//! The dot products that every score of some queries is made of (METHOD: "The whole plane at once"):
//! `A`, `B`, `C_r` and `D_r` with all images, as matrix products in f32.

use std::ops::Range;

use gemm::Parallelism;
use weimocir_domain::TextReference;

use crate::{captions::CaptionChoice, embeddings::Embeddings, test_set::TestSet};

/// Bytes of one block's products; because a matrix product is fast with some dozen rows, every thread
/// has a block, and a gallery may have 100,000 images.
const ROOM: usize = 32 << 20;

/// What all queries meet: the gallery's rows, and one over their lengths.
#[derive(Debug)]
pub(crate) struct Gallery<'a> {
    pub(crate) set: &'a TestSet,
    pub(crate) embeddings: &'a Embeddings,
    /// NaN for an image that is not there, so that it is above nothing.
    image_scale: Vec<f32>,
    /// For each slot; 0 for a caption that is not there.
    caption_scales: Vec<Vec<f32>>,
}

/// Of a range of queries: each a row for every query, `[queries, N]`.
#[derive(Debug)]
pub(crate) struct Products {
    images: usize,
    /// `A` and `B`.
    image: Pair,
    /// `D_r`.
    modifiers: Vec<Vec<f32>>,
    /// `C_r` of each mode.
    references: Vec<(TextReference, Vec<Vec<f32>>)>,
}

#[derive(Debug)]
struct Pair {
    reference: Vec<f32>,
    modifier: Vec<f32>,
}

/// `x_r·y` and `m·y` of one query with all images.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reach<'a> {
    pub(crate) reference: &'a [f32],
    pub(crate) modifier: &'a [f32],
}

impl<'a> Gallery<'a> {
    pub(crate) fn new(set: &'a TestSet, embeddings: &'a Embeddings) -> Self {
        let images = 0..embeddings.images();
        let inverse = |norm: f64, none: f32| if norm > 0.0 { (1.0 / norm) as f32 } else { none };
        let image_scale = images.clone().map(|n| inverse(embeddings.image(n).norm(), f32::NAN));
        let slot = |r| images.clone().map(move |n| inverse(embeddings.caption(n, r).norm(), 0.0));
        Self {
            set,
            embeddings,
            image_scale: image_scale.collect(),
            caption_scales: (0..embeddings.slots()).map(|r| slot(r).collect()).collect(),
        }
    }

    /// Ranges of queries whose products are made at once.
    pub(crate) fn blocks(&self) -> Vec<Range<usize>> {
        let row = size_of::<f32>() * self.embeddings.images() * (2 + 3 * self.embeddings.slots());
        let (queries, size) = (self.set.triplets.len(), (ROOM / row).clamp(8, 128));
        (0..queries).step_by(size).map(|start| start..queries.min(start + size)).collect()
    }

    /// One over the number of captions that each image has of these, or 0.
    pub(crate) fn shares(&self, choice: CaptionChoice) -> Vec<f32> {
        let share = |n| match self.present(n).and(choice).count() {
            0 => 0.0,
            captions => 1.0 / captions as f32,
        };
        (0..self.embeddings.images()).map(share).collect()
    }

    /// The captions that an image has.
    pub(crate) fn present(&self, image: usize) -> CaptionChoice {
        let slots: Vec<usize> = (0..self.embeddings.slots())
            .filter(|&slot| self.embeddings.has_caption(image, slot))
            .collect();
        CaptionChoice::of(&slots)
    }

    /// Of each mode that is wanted, and of image mode where a reference that lacks a caption may need
    /// it.
    pub(crate) fn products(&self, queries: Range<usize>, modes: &[TextReference]) -> Products {
        let embeddings = self.embeddings;
        let triplets = &self.set.triplets[queries.clone()];
        let all = CaptionChoice::all(embeddings.slots());
        let lacking = triplets.iter().any(|triplet| self.present(triplet.reference) != all);
        let wanted =
            |mode: &TextReference| modes.contains(mode) || lacking && *mode == TextReference::Image;
        let references = || triplets.iter().map(|triplet| triplet.reference);
        let image: Vec<f32> =
            references().flat_map(|n| embeddings.image(n).values()).copied().collect();
        let modifier: Vec<f32> = queries.flat_map(|q| embeddings.modifier(q)).copied().collect();
        let caption = |r| {
            let own = references().flat_map(move |n| embeddings.caption(n, r).values());
            own.copied().collect::<Vec<f32>>()
        };
        let slots = 0..embeddings.slots();
        let reach = |mode, r| match mode {
            TextReference::Image => self.with_captions(&image, r),
            TextReference::Caption => self.with_captions(&caption(r), r),
        };
        Products {
            images: embeddings.images(),
            image: Pair {
                reference: self.with_images(&image),
                modifier: self.with_images(&modifier),
            },
            modifiers: slots.clone().map(|r| self.with_captions(&modifier, r)).collect(),
            references: [TextReference::Image, TextReference::Caption]
                .into_iter()
                .filter(wanted)
                .map(|mode| (mode, slots.clone().map(|r| reach(mode, r)).collect()))
                .collect(),
        }
    }

    fn with_images(&self, rows: &[f32]) -> Vec<f32> {
        let dim = self.embeddings.dim();
        product(rows, dim, (self.embeddings.image_rows(), dim), &self.image_scale)
    }

    fn with_captions(&self, rows: &[f32], slot: usize) -> Vec<f32> {
        let dim = self.embeddings.dim();
        let all = &self.embeddings.caption_rows()[slot * dim..];
        product(rows, dim, (all, self.embeddings.slots() * dim), &self.caption_scales[slot])
    }
}

impl Products {
    /// Of the nth of the queries.
    pub(crate) fn image(&self, n: usize) -> Reach<'_> {
        Reach {
            reference: self.row(&self.image.reference, n),
            modifier: self.row(&self.image.modifier, n),
        }
    }

    /// Of the nth of the queries, in one slot.
    pub(crate) fn caption(&self, n: usize, mode: TextReference, slot: usize) -> Reach<'_> {
        let (_, references) = self
            .references
            .iter()
            .find(|(known, _)| *known == mode)
            .expect("products are made for the modes that are asked for");
        Reach {
            reference: self.row(&references[slot], n),
            modifier: self.row(&self.modifiers[slot], n),
        }
    }

    /// Keeps an image out of the nth query's ranking.
    pub(crate) fn exclude(&mut self, n: usize, image: usize) {
        self.image.reference[n * self.images + image] = f32::NAN;
    }

    fn row<'a>(&self, of: &'a [f32], n: usize) -> &'a [f32] {
        &of[n * self.images..(n + 1) * self.images]
    }
}

/// `rows·othersᵀ`, its columns scaled: `[rows, scales]`. The others begin every `stride` numbers.
fn product(
    rows: &[f32],
    dim: usize,
    (others, stride): (&[f32], usize),
    scales: &[f32],
) -> Vec<f32> {
    let (m, n) = (rows.len() / dim, scales.len());
    let mut out = vec![0.0_f32; m * n];
    assert!(n == 0 || others.len() >= (n - 1) * stride + dim);
    // SAFETY: rows are m·dim numbers, the others reach as far as their strides do, as asserted, and
    // the result has m·n.
    unsafe {
        gemm::gemm(
            m,
            n,
            dim,
            out.as_mut_ptr(),
            1,
            n as isize,
            false,
            rows.as_ptr(),
            1,
            dim as isize,
            others.as_ptr(),
            stride as isize,
            1,
            0.0,
            1.0,
            false,
            false,
            false,
            // because: blocks of queries share the processor out among them
            Parallelism::None,
        );
    }
    for row in out.chunks_exact_mut(n.max(1)) {
        row.iter_mut().zip(scales).for_each(|(x, scale)| *x *= scale);
    }
    out
}
