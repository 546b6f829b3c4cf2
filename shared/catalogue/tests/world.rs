//! What must hold for whole galleries and training sets, whatever their seed.

use std::collections::HashSet;

use proptest::prelude::*;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use weimocir_catalogue::{
    Attributes, Facet, Garment, Pattern, Sleeve, Split, captions, gallery, modifiers, training,
};

const SPLITS: [Split; 4] = [Split::Train, Split::Validation, Split::Test, Split::Sample];

fn drawn(seed: u64) -> (Attributes, ChaCha8Rng) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (Attributes::random(&mut rng), rng)
}

/// Consistency as the documentation of `Attributes` states it.
fn assert_consistent(attributes: &Attributes) {
    let Attributes { garment, pattern, second, sleeve, length, graphic, .. } = *attributes;
    let wearable = matches!(garment, Garment::Dress | Garment::Shirt | Garment::TShirt);
    let long_or_short = matches!(garment, Garment::Dress | Garment::Skirt | Garment::Trousers);
    let printable = wearable || matches!(garment, Garment::Bag | Garment::Hat);
    assert_eq!(second.is_some(), pattern != Pattern::Plain, "{attributes:?}");
    assert_ne!(second, Some(attributes.color), "{attributes:?}");
    assert_eq!(sleeve.is_some(), wearable, "{attributes:?}");
    assert_eq!(length.is_some(), long_or_short, "{attributes:?}");
    assert_eq!(graphic.is_some(), printable, "{attributes:?}");
    let sleeveless_t_shirt = garment == Garment::TShirt && sleeve == Some(Sleeve::Sleeveless);
    assert!(!sleeveless_t_shirt, "{attributes:?}");
}

proptest! {
    #[test]
    fn attributes_and_their_mutations_are_consistent(seed: u64) {
        let (attributes, mut rng) = drawn(seed);
        let mutated = attributes.mutated(&mut rng);

        assert_consistent(&attributes);
        assert_consistent(&mutated);
        prop_assert_ne!(attributes.combination(), mutated.combination());
    }

    #[test]
    fn no_text_contradicts_its_own_picture(seed: u64) {
        let (attributes, mut rng) = drawn(seed);
        let texts = [
            captions::full(&attributes, &mut rng),
            captions::partial(&attributes, &mut rng),
            modifiers::for_training(&attributes, &mut rng),
        ];
        for text in texts {
            prop_assert!(!text.contradictions.contradict(&attributes), "{attributes:?} {text:?}");
        }
    }

    #[test]
    fn a_full_caption_rules_out_every_other_garment_and_color(seed: u64) {
        let (attributes, mut rng) = drawn(seed);
        let mutated = attributes.mutated(&mut rng);
        let caption = captions::full(&attributes, &mut rng);
        let visible = [Facet::Garment, Facet::Color, Facet::Second, Facet::Sleeve, Facet::Length];
        let differs = visible.iter().any(|&facet| code(&attributes, facet) != code(&mutated, facet));

        // What is plain goes unsaid, so from plain to patterned is no contradiction.
        prop_assume!(attributes.pattern != Pattern::Plain || mutated.pattern == Pattern::Plain);
        // What a garment cannot have goes unsaid too, but then the garment differs.
        prop_assert!(!differs || caption.contradictions.contradict(&mutated), "{caption:?}");
    }

    #[test]
    fn a_modifier_is_true_of_the_target_and_says_only_what_has_changed(seed: u64) {
        let (reference, mut rng) = drawn(seed);
        let target = reference.mutated(&mut rng);
        let Some(text) = modifiers::between(&reference, &target, &mut rng) else {
            return Ok(());
        };
        let changed = |facet| code(&reference, facet) != code(&target, facet);

        prop_assert!(!text.contradictions.contradict(&target), "{target:?} {text:?}");
        for &facet in Facet::ALL {
            // "has white stripes" names the pattern along with its new colour.
            let along = facet == Facet::Pattern && changed(Facet::Second);
            let concerned = text.contradictions.concern(facet);
            prop_assert!(!concerned || changed(facet) || along, "{facet:?} {text:?}");
        }
    }

    #[test]
    fn a_modifier_rules_out_the_reference(seed: u64) {
        let (reference, mut rng) = drawn(seed);
        let target = reference.mutated(&mut rng);
        if let Some(text) = modifiers::between(&reference, &target, &mut rng) {
            prop_assert!(text.contradictions.contradict(&reference), "{reference:?} {text:?}");
        }
    }
}

fn code(attributes: &Attributes, facet: Facet) -> u8 {
    attributes.codes()[facet as usize]
}

#[test]
fn galleries_hold_their_own_split_and_each_combination_once() {
    for (split, count) in SPLITS.into_iter().zip([2_000, 1_000, 2_000, 240]) {
        let gallery = gallery(split, count);
        let combinations: HashSet<_> =
            gallery.pictures.iter().map(|picture| picture.attributes.combination()).collect();

        assert_eq!(gallery.pictures.len(), count);
        assert_eq!(combinations.len(), count);
        assert!(gallery.pictures.iter().all(|picture| Split::of(&picture.attributes) == split));
    }
}

#[test]
fn training_shares_no_combination_with_any_gallery() {
    let trained: HashSet<_> = training::examples(4_000, 1)
        .iter()
        .map(|example| example.attributes.combination())
        .collect();
    for split in [Split::Validation, Split::Test, Split::Sample] {
        for picture in gallery(split, 2_500).pictures {
            assert!(!trained.contains(&picture.attributes.combination()), "{picture:?}");
        }
    }
}

#[test]
fn galleries_have_triplets_enough() {
    assert!(gallery(Split::Test, 2_000).triplets.len() >= 500);
    assert!(gallery(Split::Validation, 1_000).triplets.len() >= 300);
}

#[test]
fn a_larger_gallery_begins_with_the_smaller_one_and_keeps_its_triplets() {
    let small = gallery(Split::Test, 2_000);
    let large = gallery(Split::Test, 5_000);
    let names: HashSet<_> = large.pictures.iter().map(|picture| &picture.name).collect();
    let seeds: HashSet<_> = large.pictures.iter().map(|picture| picture.seed).collect();

    assert_eq!(large.pictures[..2_000], small.pictures);
    assert_eq!(large.triplets, small.triplets);
    assert_eq!((large.pictures.len(), names.len(), seeds.len()), (5_000, 5_000, 5_000));
}

#[test]
fn a_target_stays_the_only_picture_of_its_combination() {
    let gallery = gallery(Split::Test, 6_000);
    let targets: HashSet<_> = gallery
        .triplets
        .iter()
        .map(|triplet| gallery.pictures[triplet.target].attributes.combination())
        .collect();
    let alike = gallery
        .pictures
        .iter()
        .filter(|picture| targets.contains(&picture.attributes.combination()))
        .count();

    assert_eq!(alike, gallery.triplets.len());
}

#[test]
fn each_training_text_is_true_of_its_picture_and_of_the_expected_kind() {
    for example in training::examples(2_000, 7) {
        assert_eq!(Split::of(&example.attributes), Split::Train);
        assert_eq!(example.texts.len(), training::TEXTS_EACH);
        for text in &example.texts {
            assert!(!text.contradictions.contradict(&example.attributes), "{example:?}");
        }
    }
}

/// A composed query would be a picture and the modifier that leads from it to another. The text
/// of a picture that rules the picture itself out would be one; so would one that is the modifier
/// from an earlier member of the family and is stored with that member.
#[test]
fn no_training_text_leads_away_from_its_picture() {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    for family in training::examples(2_000, 7).chunks(training::FAMILY) {
        for (reference, target) in family.iter().zip(&family[1..]) {
            let between = modifiers::between(&reference.attributes, &target.attributes, &mut rng);
            let Some(modifier) = between else { continue };
            assert!(reference.texts.iter().all(|text| text.sentence != modifier.sentence));
        }
    }
}

#[test]
fn the_sample_gallery_answers_its_queries() {
    let gallery = gallery(Split::Sample, 240);
    assert_eq!(gallery.queries.len(), 3);
    for query in &gallery.queries {
        let [reference, target] =
            [query.reference, query.reference + 1].map(|at| gallery.pictures[at].attributes);
        assert_consistent(&reference);
        assert_consistent(&target);
        assert_eq!(reference.garment, target.garment);
        assert_ne!(reference.combination(), target.combination());
    }
}

/// The bundled models know these words and no others; their model card lists them.
const VOCABULARY: &str = "a an and background bag beige black blue bright brown but button cap \
    checked checkered checks clover collared color colored dark dot dots dotted dress fabric four \
    four-leaf garment gown graphic grass gray green grey handbag has hat heart in instead is it \
    item leaf length lettering letters logo long longer no nothing of on one orange outdoors \
    outside pants pattern photo piece pink plaid plain polka print printed product purple red same \
    shirt shoe short shorter shorts skirt sleeved sleeveless sleeves sneaker solid spots spotted \
    star striped stripes t t-shirt tee text the this trousers wall white with words writing yellow";

#[test]
fn texts_use_the_whole_vocabulary_and_nothing_else() {
    let examples = training::examples(8_000, 5);
    let used: HashSet<&str> = examples
        .iter()
        .flat_map(|example| &example.texts)
        .flat_map(|text| text.sentence.split([' ', ',']))
        .filter(|word| !word.is_empty())
        .collect();

    assert_eq!(used, VOCABULARY.split_whitespace().collect());
}
