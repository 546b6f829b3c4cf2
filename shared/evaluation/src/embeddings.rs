//! A test set's raw embeddings, in its order: checked once, trusted after.
//!
//! Where they come from is `features`' and the caller's; what is made of them is `ranking`'s.

use std::ops::{Range, RangeInclusive};

use weimocir_domain::{Raw, norm};

use crate::{captions::CaptionChoice, error::EmbeddingsError, test_set::TestSet};

/// Lengths whose products f32 can hold; those of real embeddings are between 1 and 100.
const LENGTHS: RangeInclusive<f64> = 1e-12..=1e12;

/// Raw f32 embeddings of one model. An image's norm is 0 if its picture could not be encoded, a
/// caption's if the image has none in that slot.
#[derive(Debug, Clone, PartialEq)]
pub struct Embeddings {
    dim: usize,
    slots: usize,
    image: Vec<f32>,
    image_norms: Vec<f64>,
    captions: Vec<f32>,
    caption_norms: Vec<f64>,
    modifier: Vec<f32>,
}

/// What [`Embeddings`] are made of, row after row.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Parts {
    pub dim: usize,
    /// `[N, dim]`, in the order of the gallery.
    pub image: Vec<f32>,
    /// Captions of each image.
    pub slots: usize,
    /// `[N, slots, dim]`; a row of zeros says that there is no caption in that slot.
    pub captions: Vec<f32>,
    /// `[Q, dim]`, in the order of the triplets.
    pub modifier: Vec<f32>,
    /// Images whose picture could not be encoded: their rows are zeros.
    pub absent: Vec<usize>,
}

impl Embeddings {
    /// # Errors
    /// Shapes that do not fit the test set, numbers that are not finite, or zeros where no absence
    /// is declared.
    pub fn new(set: &TestSet, parts: Parts) -> Result<Self, EmbeddingsError> {
        let Parts { dim, slots, .. } = parts;
        if slots > CaptionChoice::MOST {
            return Err(EmbeddingsError::TooManyCaptions { slots, most: CaptionChoice::MOST });
        }
        let (images, triplets) = (set.gallery.len(), set.triplets.len());
        shape("image", &parts.image, &[images, dim])?;
        shape("captions", &parts.captions, &[images, slots, dim])?;
        shape("modifier", &parts.modifier, &[triplets, dim])?;
        let image_norms = norms("image", &parts.image, dim, |n| set.gallery[n].name.clone())?;
        let caption =
            |n: usize| format!("{}, caption {}", set.gallery[n / slots].name, n % slots + 1);
        let caption_norms = norms("captions", &parts.captions, dim, caption)?;
        let pair = |n: usize| format!("query {}", set.triplets[n].pair);
        let modifier_norms = norms("modifier", &parts.modifier, dim, pair)?;
        let zero = |n: &usize| image_norms[*n] == 0.0 && !parts.absent.contains(n);
        if let Some(n) = (0..images).find(zero) {
            let name = set.gallery[n].name.clone();
            return Err(EmbeddingsError::Zero { tensor: "image", name });
        }
        if let Some(n) = modifier_norms.iter().position(|&norm| norm == 0.0) {
            return Err(EmbeddingsError::Zero { tensor: "modifier", name: pair(n) });
        }
        let Parts { image, captions, modifier, .. } = parts;
        Ok(Self { dim, slots, image, image_norms, captions, caption_norms, modifier })
    }

    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Captions of each image, R.
    pub fn slots(&self) -> usize {
        self.slots
    }

    pub fn images(&self) -> usize {
        self.image_norms.len()
    }

    pub fn is_absent(&self, image: usize) -> bool {
        self.image_norms[image] == 0.0
    }

    /// Images that lack at least one caption, and of these the ones without any.
    pub fn without_captions(&self) -> (Vec<usize>, Vec<usize>) {
        let lacking = |n: &usize| (0..self.slots).any(|r| !self.has_caption(*n, r));
        let bare = |n: &usize| (0..self.slots).all(|r| !self.has_caption(*n, r));
        ((0..self.images()).filter(lacking).collect(), (0..self.images()).filter(bare).collect())
    }

    pub(crate) fn has_caption(&self, image: usize, slot: usize) -> bool {
        self.caption_norms[image * self.slots + slot] > 0.0
    }

    /// `v_n`.
    pub fn image(&self, image: usize) -> Raw<'_> {
        Raw::new(&self.image[self.row(image)], self.image_norms[image])
    }

    /// `t_n,r`; its norm is 0 where there is none.
    pub fn caption(&self, image: usize, slot: usize) -> Raw<'_> {
        let row = image * self.slots + slot;
        Raw::new(&self.captions[self.row(row)], self.caption_norms[row])
    }

    /// `m`.
    pub fn modifier(&self, triplet: usize) -> &[f32] {
        &self.modifier[self.row(triplet)]
    }

    pub(crate) fn image_rows(&self) -> &[f32] {
        &self.image
    }

    pub(crate) fn caption_rows(&self) -> &[f32] {
        &self.captions
    }

    fn row(&self, n: usize) -> Range<usize> {
        n * self.dim..(n + 1) * self.dim
    }
}

fn shape(tensor: &'static str, found: &[f32], sides: &[usize]) -> Result<(), EmbeddingsError> {
    if found.len() == sides.iter().product::<usize>() {
        return Ok(());
    }
    let sides: Vec<String> = sides.iter().map(usize::to_string).collect();
    let expected = sides.join(" × ");
    Err(EmbeddingsError::Shape { tensor, found: found.len(), expected })
}

/// `‖x‖` of every row.
fn norms(
    tensor: &'static str,
    values: &[f32],
    dim: usize,
    name: impl Fn(usize) -> String,
) -> Result<Vec<f64>, EmbeddingsError> {
    let norms: Vec<f64> = values.chunks_exact(dim.max(1)).map(norm).collect();
    // because: a sum of squares of f32 cannot overflow f64, so that it is finite if they all are
    if let Some(n) = norms.iter().position(|norm| !norm.is_finite()) {
        return Err(EmbeddingsError::NotFinite { tensor, name: name(n) });
    }
    match norms.iter().position(|norm| *norm != 0.0 && !LENGTHS.contains(norm)) {
        Some(n) => Err(EmbeddingsError::Length { tensor, name: name(n), length: norms[n] }),
        None => Ok(norms),
    }
}
