//! A made-up gallery with the shape of CLIP's: embeddings, three captions an image, queries.
//!
//! What it imitates. Images lie around an image mean and captions around a text mean, each with two
//! outlying coordinates, so that all similarities within a kind are high and close together. What
//! is left of an image belongs to one of 4,000 clusters (those with small numbers are larger: the
//! number is ⌊4000·u²⌋) and varies around it with a decaying spectrum, σ_i ∝ (1 + i/20)^-0.6,
//! turned by a rotation that image and text share. Its captions follow the image to 0.6, and vary
//! with it, in a way that the image does not show but its captions share, and each for itself.
//! Norms are log-normal around 10 with 5 %. A query is composed of one unseen image and a caption
//! of another; every second one has the published α and β of CLIP, the others α in 0.3..0.8 and
//! β in 0.1..=0.8 by eighths.
//!
//! What it is not: any encoder's output. Clusters are round, dependence is linear, queries have no
//! right answer beside their exact neighbours. It says how fast a search is and whether it finds
//! those, and nothing of how good they are.
//!
//! Image n and query n depend on n and d alone: a smaller gallery is the beginning of a larger one.

use rayon::prelude::*;

pub const CAPTIONS: usize = 3;
const CLUSTERS: usize = 4_000;
const PUBLISHED: (f32, f32) = (0.8, 0.1);
/// Queries look here for their images, past every gallery.
const UNSEEN: u64 = 1 << 40;

/// A gallery image and its captions: raw vectors of length d.
#[derive(Debug)]
pub struct Image {
    pub embedding: Vec<f32>,
    pub captions: [Vec<f32>; CAPTIONS],
}

impl Image {
    /// `[N(v); t̄]` with `t̄ = mean_r N(t_r)`.
    pub fn row(&self) -> Vec<f32> {
        let mut row = unit(&self.embedding);
        let captions = self.captions.each_ref().map(|caption| unit(caption));
        let sum = |i: usize| captions.iter().map(|caption| caption[i]).sum::<f32>();
        row.extend((0..self.embedding.len()).map(|i| sum(i) / CAPTIONS as f32));
        row
    }
}

/// A query's raw vectors of length d, and its weights.
#[derive(Debug)]
pub struct Query {
    pub reference: Image,
    pub modifier: Vec<f32>,
    pub alpha: f32,
    pub beta: f32,
}

impl Query {
    /// `q = N((1-α)·v_ref + α·m)`, shape `[d]`.
    pub fn composed(&self) -> Vec<f32> {
        let both = self.reference.embedding.iter().zip(&self.modifier);
        unit(&both.map(|(v, m)| (1.0 - self.alpha) * v + self.alpha * m).collect::<Vec<_>>())
    }

    /// `[(1-β)q; βq]`, whose product with an image's row is the score.
    pub fn folded(&self) -> Vec<f32> {
        let q = self.composed();
        let (image, text) = (1.0 - self.beta, self.beta);
        q.iter().map(|x| x * image).chain(q.iter().map(|x| x * text)).collect()
    }
}

#[derive(Debug)]
pub struct Mixture {
    dim: usize,
    spectrum: Vec<f32>,
    centres: Vec<f32>,
    rotation: Rotation,
    image_mean: Vec<f32>,
    text_mean: Vec<f32>,
}

impl Mixture {
    /// # Panics
    /// Where `dim` is odd or less than 256.
    pub fn new(dim: usize) -> Self {
        assert!(dim.is_multiple_of(2) && dim >= 256, "no mixture of {dim} dimensions");
        let mut random = Random::of(dim as u64, 0);
        let spectrum =
            unit(&(0..dim).map(|i| (1.0 + i as f32 / 20.0).powf(-0.6)).collect::<Vec<_>>());
        let centres = (0..CLUSTERS).flat_map(|_| varied(&spectrum, &mut random)).collect();
        let rotation = Rotation::new(dim, &mut random);
        let mut mean = |outliers: [(usize, f32); 2]| {
            let mut mean: Vec<f32> = (0..dim).map(|_| random.normal()).collect();
            outliers.into_iter().for_each(|(at, value)| mean[at] = value);
            unit(&mean)
        };
        let image_mean = mean([(133, 12.0), (92, -8.0)]);
        let text_mean = mean([(133, 10.0), (77, 9.0)]);
        Self { dim, spectrum, centres, rotation, image_mean, text_mean }
    }

    pub fn dim(&self) -> usize {
        self.dim
    }

    pub fn image(&self, n: u64) -> Image {
        let mut random = Random::of(self.dim as u64, n + 1);
        let cluster = (random.uniform().powi(2) * CLUSTERS as f32) as usize;
        let centre = &self.centres[cluster.min(CLUSTERS - 1) * self.dim..][..self.dim];
        let shown = unit(&sum([(0.65, centre), (0.76, &varied(&self.spectrum, &mut random))]));
        let told = varied(&self.spectrum, &mut random);
        let embedding = self.placed(&self.image_mean, &shown, &mut random);
        let captions = std::array::from_fn(|_| {
            let own = varied(&self.spectrum, &mut random);
            let said = unit(&sum([(0.6, &shown), (0.56, &told), (0.57, &own)]));
            self.placed(&self.text_mean, &said, &mut random)
        });
        Image { embedding, captions }
    }

    /// Images `first..first + count`, made on all threads.
    pub fn images(&self, first: usize, count: usize) -> Vec<Image> {
        (first..first + count).into_par_iter().map(|n| self.image(n as u64)).collect()
    }

    pub fn query(&self, n: usize) -> Query {
        let mut random = Random::of(self.dim as u64 ^ UNSEEN, n as u64);
        let (alpha, beta) = match n % 2 {
            0 => PUBLISHED,
            _ => (0.3 + 0.5 * random.uniform(), (1 + n / 2 % 8) as f32 / 10.0),
        };
        let at = UNSEEN + 2 * n as u64;
        let [modifier, ..] = self.image(at + 1).captions;
        Query { reference: self.image(at), modifier, alpha, beta }
    }

    fn placed(&self, mean: &[f32], rest: &[f32], random: &mut Random) -> Vec<f32> {
        let direction = unit(&sum([(0.75, mean), (0.66, &self.rotation.turned(rest))]));
        let norm = 10.0 * (0.05 * random.normal()).exp();
        direction.iter().map(|x| x * norm).collect()
    }
}

fn varied(spectrum: &[f32], random: &mut Random) -> Vec<f32> {
    unit(&spectrum.iter().map(|sigma| sigma * random.normal()).collect::<Vec<_>>())
}

fn sum<const N: usize>(parts: [(f32, &[f32]); N]) -> Vec<f32> {
    let mut sum = vec![0.0; parts.first().map_or(0, |(_, part)| part.len())];
    for (weight, part) in parts {
        sum.iter_mut().zip(part).for_each(|(sum, x)| *sum += weight * x);
    }
    sum
}

/// N(x).
pub fn unit(x: &[f32]) -> Vec<f32> {
    let norm = x.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt() as f32;
    x.iter().map(|x| x / norm).collect()
}

/// A rotation of any even length: turns by 45° of coordinate j and j + d/2 with random signs, then
/// a perfect shuffle, often enough that every coordinate meets every other more than once.
#[derive(Debug)]
struct Rotation {
    /// ±1/√2, d for each round.
    signs: Vec<Vec<f32>>,
}

impl Rotation {
    fn new(dim: usize, random: &mut Random) -> Self {
        let sign = |random: &mut Random| {
            if random.next().is_multiple_of(2) { 0.5f32.sqrt() } else { -0.5f32.sqrt() }
        };
        let rounds = 2 * dim.next_power_of_two().ilog2();
        Self { signs: (0..rounds).map(|_| (0..dim).map(|_| sign(random)).collect()).collect() }
    }

    fn turned(&self, x: &[f32]) -> Vec<f32> {
        let (mut from, mut to) = (x.to_vec(), vec![0.0; x.len()]);
        for signs in &self.signs {
            let (low, high) = from.split_at(x.len() / 2);
            let (low_signs, high_signs) = signs.split_at(x.len() / 2);
            let pairs = low.iter().zip(low_signs).zip(high.iter().zip(high_signs));
            for (pair, ((a, s), (b, t))) in to.as_chunks_mut::<2>().0.iter_mut().zip(pairs) {
                *pair = [a * s + b * t, a * s - b * t];
            }
            std::mem::swap(&mut from, &mut to);
        }
        from
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014): nothing to set up, as each image starts its own.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn of(kind: u64, n: u64) -> Self {
        let mut random = Self(kind.wrapping_mul(0xA076_1D64_78BD_642F) ^ n);
        // because: neighbouring n must not share a piece of the sequence
        Self(random.next() ^ n.rotate_left(32))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// In 0..1.
    fn uniform(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u64 << 24) as f32
    }

    /// Near N(0, 1): the sum of four uniform numbers, which ends at ±3.46. Rotations sum many.
    fn normal(&mut self) -> f32 {
        let bits = self.next();
        let sum: u64 = (0..4).map(|part| (bits >> (16 * part)) & 0xffff).sum();
        (sum as f32 / 65_536.0 - 2.0) * 3f32.sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dot(a: &[f32], b: &[f32]) -> f32 {
        a.iter().zip(b).map(|(a, b)| a * b).sum()
    }

    #[test]
    fn a_rotation_keeps_inner_products_and_spreads_a_coordinate() {
        for dim in [256, 514, 768] {
            let mut random = Random(1);
            let rotation = Rotation::new(dim, &mut random);
            let [a, b]: [Vec<f32>; 2] =
                std::array::from_fn(|_| (0..dim).map(|_| random.normal()).collect());
            let turned = dot(&rotation.turned(&a), &rotation.turned(&b));
            assert!((turned - dot(&a, &b)).abs() < 1e-3, "d = {dim}");
            let mut one = vec![0.0; dim];
            one[dim / 3] = 1.0;
            let most = rotation.turned(&one).into_iter().map(f32::abs).fold(0.0, f32::max);
            assert!(most < 7.0 / (dim as f32).sqrt(), "d = {dim}: {most}");
        }
    }

    #[test]
    fn captions_of_an_image_are_nearer_to_each_other_than_to_another_image() {
        let mixture = Mixture::new(512);
        let near = |a: &Image, b: &Image| dot(&unit(&a.captions[0]), &unit(&b.captions[1]));
        let images = mixture.images(0, 64);
        let own: f32 = images.iter().map(|image| near(image, image)).sum();
        let others: f32 = images.windows(2).map(|pair| near(&pair[0], &pair[1])).sum();
        assert!(own / 64.0 > others / 63.0 + 0.05, "{own} {others}");
    }
}
