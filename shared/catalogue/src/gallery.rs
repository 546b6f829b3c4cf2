//! Galleries: pictures of one split, and the triplets that ask for some of them.

use std::collections::HashSet;

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::attributes::Attributes;
use crate::modifiers;
use crate::sample;
use crate::splits::Split;

/// A picture that has a name but is not drawn yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// Without extension, for example `test-00017`.
    pub name: String,
    pub attributes: Attributes,
    /// Seed of pose, light and grain.
    pub seed: u64,
}

/// A composed query with its one right answer. The positions are those of [`Gallery::pictures`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Triplet {
    pub reference: usize,
    pub modifier: String,
    pub target: usize,
}

/// A query without an answer, for showing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    pub reference: usize,
    pub modifier: String,
}

/// Pictures of one split, with what to ask about them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gallery {
    pub split: Split,
    pub pictures: Vec<Picture>,
    pub triplets: Vec<Triplet>,
    /// Hand-picked; only the sample gallery has any.
    pub queries: Vec<Query>,
}

/// Pictures of a gallery before combinations begin to repeat.
fn distinct(split: Split) -> usize {
    match split {
        Split::Train | Split::Test => 2_000,
        Split::Validation => 1_000,
        Split::Sample => 240,
    }
}

/// A gallery of `count` pictures.
///
/// The first 1,000 pictures of validation, 240 of the sample and 2,000 of the others have
/// combinations of their own, so each triplet has one right answer; most of them are mutations of
/// a reference or a target, which makes the gallery hard. Further pictures, as many as wanted,
/// repeat combinations (never a target's) in another pose and light. A smaller gallery is the
/// beginning of a larger one; its triplets are those whose two pictures are in it.
pub fn gallery(split: Split, count: usize) -> Gallery {
    let mut rng = ChaCha8Rng::seed_from_u64(split.seed());
    let mut drawing = Drawing::new(split);
    for attributes in sample::pictures(split) {
        drawing.add(attributes);
    }
    drawing.pairs(&mut rng);
    drawing.neighbours(&mut rng);
    drawing.repeats(count, &mut rng);
    drawing.gallery(count)
}

/// A gallery in the making.
struct Drawing {
    split: Split,
    pictures: Vec<Attributes>,
    triplets: Vec<Triplet>,
    taken: HashSet<[u8; 7]>,
}

impl Drawing {
    fn new(split: Split) -> Self {
        Self { split, pictures: Vec::new(), triplets: Vec::new(), taken: HashSet::new() }
    }

    fn is_new(&self, attributes: &Attributes) -> bool {
        Split::of(attributes) == self.split && !self.taken.contains(&attributes.combination())
    }

    fn add(&mut self, attributes: Attributes) {
        self.taken.insert(attributes.combination());
        self.pictures.push(attributes);
    }

    /// References, each followed by its target: six in ten pictures are one or the other. Three in
    /// ten pairs differ in one attribute, the others in more: with one, the target would often be
    /// among the pictures nearest to the reference, with several, among those the modifier fits.
    fn pairs(&mut self, rng: &mut ChaCha8Rng) {
        let wanted = distinct(self.split) * 3 / 10;
        while self.triplets.len() < wanted {
            let reference = Attributes::random(rng);
            let target = reference.mutated(rng);
            let near = rng.random_bool(0.3);
            let fits = (reference.differences(&target) == 1) == near;
            if !fits || !self.is_new(&reference) || !self.is_new(&target) {
                continue;
            }
            let Some(text) = modifiers::between(&reference, &target, rng) else { continue };
            let at = self.pictures.len();
            self.add(reference);
            self.add(target);
            self.triplets.push(Triplet { reference: at, modifier: text.sentence, target: at + 1 });
        }
    }

    /// Mutations of references and targets: what a query that is almost right would find.
    fn neighbours(&mut self, rng: &mut ChaCha8Rng) {
        let pairs = self.pictures.len();
        while self.pictures.len() < distinct(self.split) {
            let neighbour = self.pictures[rng.random_range(0..pairs)].mutated(rng);
            if self.is_new(&neighbour) {
                self.add(neighbour);
            }
        }
    }

    fn repeats(&mut self, count: usize, rng: &mut ChaCha8Rng) {
        let targets: HashSet<_> = self
            .triplets
            .iter()
            .map(|triplet| self.pictures[triplet.target].combination())
            .collect();
        while self.pictures.len() < count {
            let attributes = Attributes::random(rng);
            let allowed = !targets.contains(&attributes.combination());
            if allowed && Split::of(&attributes) == self.split {
                self.pictures.push(attributes);
            }
        }
    }

    fn gallery(self, count: usize) -> Gallery {
        let split = self.split;
        let picture = |(index, attributes)| Picture {
            name: format!("{}-{index:05}", split.name()),
            attributes,
            seed: split.seed() << 32 | index as u64,
        };
        let pictures: Vec<_> =
            self.pictures.into_iter().take(count).enumerate().map(picture).collect();
        let inside = |triplet: &Triplet| triplet.reference.max(triplet.target) < pictures.len();
        let triplets = self.triplets.into_iter().filter(inside).collect();
        let queries = sample::queries(split)
            .into_iter()
            .filter(|query| query.reference < pictures.len())
            .collect();
        Gallery { split, pictures, triplets, queries }
    }
}
