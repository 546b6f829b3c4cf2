//! The inner loops over the gallery, one source compiled for the best instructions that the processor has.
//! Nothing is fused and each image is computed on its own, so that all give the same numbers.

use std::sync::OnceLock;

use crate::products::Reach;

/// Images that stay in the first cache while every β looks at them.
const CHUNK: usize = 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Instructions {
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    Portable,
}

/// What a query's rows are weighed with at one α.
#[derive(Debug)]
pub(crate) struct Weighing<'a> {
    pub(crate) image: (Reach<'a>, [f32; 2]),
    pub(crate) captions: Vec<(Reach<'a>, [f32; 2])>,
    /// One over the number of captions that count, or 0, and then the pixels stand in.
    pub(crate) shares: &'a [f32],
}

/// `s_img` and `s_txt` of all images at one α; NaN for an image that is not ranked.
#[derive(Debug, Default, Clone)]
pub(crate) struct Sides {
    pub(crate) image: Vec<f32>,
    pub(crate) text: Vec<f32>,
}

/// How many images score more than a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Above {
    /// By more than f32 can be wrong.
    pub(crate) surely: u32,
    /// These, those that are too close to call, and the target itself.
    pub(crate) perhaps: u32,
}

impl Sides {
    /// Those of some images.
    pub(crate) fn only(&self, images: &[usize]) -> Self {
        let some = |of: &[f32]| images.iter().map(|&n| of[n]).collect();
        Self { image: some(&self.image), text: some(&self.text) }
    }
}

impl Instructions {
    pub(crate) fn detect() -> Self {
        static FOUND: OnceLock<Instructions> = OnceLock::new();
        *FOUND.get_or_init(|| Self::available()[0])
    }

    /// Those of this processor, the best first.
    pub(crate) fn available() -> Vec<Self> {
        let mut found = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f") {
                found.push(Self::Avx512);
            }
            if is_x86_feature_detected!("avx2") {
                found.push(Self::Avx2);
            }
        }
        found.push(Self::Portable);
        found
    }

    pub(crate) fn weigh(self, weighing: &Weighing<'_>, sides: &mut Sides) {
        match self {
            // SAFETY: `available` has seen the processor have them.
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => unsafe { weigh_avx512(weighing, sides) },
            // SAFETY: the same.
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => unsafe { weigh_avx2(weighing, sides) },
            Self::Portable => weigh(weighing, sides),
        }
    }

    /// Counts the images above the `target`th at every β.
    pub(crate) fn above(
        self,
        sides: &Sides,
        target: usize,
        betas: &[f32],
        slack: f32,
    ) -> Vec<Above> {
        let mut counts = vec![Above::default(); betas.len()];
        let all = &mut counts[..];
        match self {
            // SAFETY: `available` has seen the processor have them.
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => unsafe { above_avx512(sides, target, betas, slack, all) },
            // SAFETY: the same.
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => unsafe { above_avx2(sides, target, betas, slack, all) },
            Self::Portable => above(sides, target, betas, slack, all),
        }
        counts
    }

    /// The images that are too close to the `target`th to call at this β, itself among them.
    pub(crate) fn close(self, sides: &Sides, target: usize, beta: f32, slack: f32) -> Vec<usize> {
        match self {
            // SAFETY: `available` has seen the processor have them.
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => unsafe { close_avx512(sides, target, beta, slack) },
            // SAFETY: the same.
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => unsafe { close_avx2(sides, target, beta, slack) },
            Self::Portable => close(sides, target, beta, slack),
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn weigh_avx512(weighing: &Weighing<'_>, sides: &mut Sides) {
    weigh(weighing, sides);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn weigh_avx2(weighing: &Weighing<'_>, sides: &mut Sides) {
    weigh(weighing, sides);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn above_avx512(s: &Sides, target: usize, betas: &[f32], slack: f32, counts: &mut [Above]) {
    above(s, target, betas, slack, counts);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn above_avx2(s: &Sides, target: usize, betas: &[f32], slack: f32, counts: &mut [Above]) {
    above(s, target, betas, slack, counts);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn close_avx512(sides: &Sides, target: usize, beta: f32, slack: f32) -> Vec<usize> {
    close(sides, target, beta, slack)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn close_avx2(sides: &Sides, target: usize, beta: f32, slack: f32) -> Vec<usize> {
    close(sides, target, beta, slack)
}

#[inline(always)]
fn weigh(weighing: &Weighing<'_>, sides: &mut Sides) {
    let (reach, [x, m]) = weighing.image;
    sides.image.clear();
    let pairs = reach.reference.iter().zip(reach.modifier);
    sides.image.extend(pairs.map(|(&reference, &modifier)| x * reference + m * modifier));
    sides.text.clear();
    sides.text.resize(sides.image.len(), 0.0);
    for (reach, [x, m]) in &weighing.captions {
        let pairs = reach.reference.iter().zip(reach.modifier);
        for (text, (&reference, &modifier)) in sides.text.iter_mut().zip(pairs) {
            *text += x * reference + m * modifier;
        }
    }
    let rows = sides.text.iter_mut().zip(&sides.image).zip(weighing.shares);
    for ((text, &image), &share) in rows {
        *text = if share == 0.0 { image } else { *text * share };
    }
}

#[inline(always)]
fn above(s: &Sides, target: usize, betas: &[f32], slack: f32, counts: &mut [Above]) {
    for (image, text) in s.image.chunks(CHUNK).zip(s.text.chunks(CHUNK)) {
        for (&beta, count) in betas.iter().zip(counts.iter_mut()) {
            let own = at(beta, s.image[target], s.text[target]);
            let (over, under) = (own + slack, own - slack);
            let (mut surely, mut perhaps) = (0_u32, 0_u32);
            for (&image, &text) in image.iter().zip(text) {
                let score = at(beta, image, text);
                surely += u32::from(score > over);
                perhaps += u32::from(score >= under);
            }
            count.surely += surely;
            count.perhaps += perhaps;
        }
    }
}

#[inline(always)]
fn close(s: &Sides, target: usize, beta: f32, slack: f32) -> Vec<usize> {
    // because: few images are close, so that a quick look passes most groups of them over
    const GROUP: usize = 64;
    let own = at(beta, s.image[target], s.text[target]);
    let (over, under) = (own + slack, own - slack);
    let is_close = |score: f32| score >= under && score <= over;
    let mut close = Vec::new();
    let groups = s.image.chunks(GROUP).zip(s.text.chunks(GROUP)).enumerate();
    for (group, (image, text)) in groups {
        let mut any = false;
        for (&image, &text) in image.iter().zip(text) {
            any |= is_close(at(beta, image, text));
        }
        if any {
            let scores = image.iter().zip(text).map(|(&image, &text)| at(beta, image, text));
            let found = scores.enumerate().filter(|(_, score)| is_close(*score));
            close.extend(found.map(|(n, _)| group * GROUP + n));
        }
    }
    close
}

/// `s = (1-β)·s_img + β·s_txt`
#[inline(always)]
pub(crate) fn at(beta: f32, image: f32, text: f32) -> f32 {
    (1.0 - beta) * image + beta * text
}
