//! Sentences in the manner of a modifier: "is green with a four leaf clover and has no text".
//!
//! [`between`] words the change from a reference to a target and is for evaluation only.
//! [`for_training`] words the same kind of sentence about one picture alone: what it is said to
//! have changed from is imagined, so no model ever sees a reference with its modifier.

use rand::Rng;
use rand::seq::SliceRandom;

use crate::attributes::{Attributes, Color, Facet, Garment, Graphic, Length, Pattern, Sleeve};
use crate::contradictions::Contradictions;
use crate::words::{self, Text, one_of};

/// What must change in `reference` to get `target`, or `None` where words cannot tell, as when
/// only the background differs.
pub fn between(reference: &Attributes, target: &Attributes, rng: &mut impl Rng) -> Option<Text> {
    let mut phrases = phrases(reference, target, rng);
    phrases.shuffle(rng);
    let mut contradictions = Contradictions::default();
    for phrase in &phrases {
        contradictions.join(phrase.contradictions);
    }
    let mut sentence = joined(&phrases, rng)?;
    match rng.random_range(0..20) {
        0 | 1 => sentence.insert_str(0, "it "),
        2 => sentence.insert_str(0, "the same but "),
        _ => {}
    }
    Some(Text { sentence, contradictions })
}

/// What of `reference` is not to be seen in `target` any more, in words that are true of the
/// reference: a negative text. `None` where words cannot tell.
pub fn gone(reference: &Attributes, target: &Attributes) -> Option<String> {
    let differs = |facet: Facet| reference.code(facet) != target.code(facet);
    let mut words = Vec::new();
    if differs(Facet::Color) {
        words.push(words::color(reference.color));
    }
    if differs(Facet::Pattern) {
        words.push(words::pattern_adjectives(reference.pattern)[0]);
    }
    if differs(Facet::Length) {
        words.extend(reference.length.map(words::length));
    }
    if differs(Facet::Sleeve) {
        words.extend(reference.sleeve.map(words::sleeve_adjective));
    }
    if differs(Facet::Garment) {
        words.push(words::nouns(reference.garment, None)[0]);
    }
    if differs(Facet::Graphic) {
        let graphic = reference.graphic.filter(|&graphic| graphic != Graphic::Blank);
        words.extend(graphic.map(|graphic| words::graphic_nouns(graphic)[0]));
    }
    (!words.is_empty()).then(|| words.join(" "))
}

/// A sentence in the manner of a modifier that is true of the picture.
pub fn for_training(attributes: &Attributes, rng: &mut impl Rng) -> Text {
    loop {
        let imagined = attributes.mutated(rng);
        if let Some(text) = between(&imagined, attributes, rng) {
            return text;
        }
    }
}

/// One phrase for each attribute that differs and that the target has.
fn phrases(reference: &Attributes, target: &Attributes, rng: &mut impl Rng) -> Vec<Text> {
    let differs = |facet: Facet| reference.code(facet) != target.code(facet);
    let mut phrases = Vec::new();
    if differs(Facet::Garment) {
        phrases.push(garment(target, rng));
    }
    phrases.extend(fabric(reference, target, rng));
    if let Some(sleeve) = target.sleeve.filter(|_| differs(Facet::Sleeve)) {
        phrases.push(phrase(one_of(sleeve_phrases(sleeve), rng), target, &[Facet::Sleeve]));
    }
    if let Some(length) = target.length.filter(|_| differs(Facet::Length)) {
        phrases.push(phrase(one_of(length_phrases(length), rng), target, &[Facet::Length]));
    }
    if let Some(now) = target.graphic.filter(|_| differs(Facet::Graphic)) {
        let before = reference.graphic.filter(|&before| before != Graphic::Blank);
        phrases.extend(graphic(before, now, target, rng));
    }
    phrases
}

/// A phrase that gives the facets the values they have in `target`.
fn phrase(words: impl Into<String>, target: &Attributes, facets: &[Facet]) -> Text {
    let mut contradictions = Contradictions::default();
    for &facet in facets {
        contradictions.allow_only(facet, &[target.code(facet)]);
    }
    Text { sentence: words.into(), contradictions }
}

fn garment(target: &Attributes, rng: &mut impl Rng) -> Text {
    // Without the length, or "shorts" would say more than the kind of garment.
    let noun = one_of(words::nouns(target.garment, None), rng);
    let article = if target.garment == Garment::Trousers { "" } else { "a " };
    phrase(format!("is {article}{noun}"), target, &[Facet::Garment])
}

fn fabric(reference: &Attributes, target: &Attributes, rng: &mut impl Rng) -> Vec<Text> {
    let differs = |facet: Facet| reference.code(facet) != target.code(facet);
    let color = differs(Facet::Color);
    let pattern = differs(Facet::Pattern);
    let second = target.second.filter(|_| differs(Facet::Second));
    let mut phrases = Vec::new();
    if let Some(second) = second.filter(|_| color && pattern && rng.random_bool(0.5)) {
        return vec![two_colors(second, target, rng)];
    }
    if color {
        phrases.push(colored(reference.color, target, rng));
    }
    match second {
        Some(second) if !pattern || rng.random_bool(0.8) => {
            phrases.push(second_colored(second, target, rng));
        }
        _ if pattern => phrases.push(patterned(target, rng)),
        _ => {}
    }
    phrases
}

fn two_colors(second: Color, target: &Attributes, rng: &mut impl Rng) -> Text {
    let (first, second) = (words::color(target.color), words::color(second));
    let adjective = one_of(words::pattern_adjectives(target.pattern), rng);
    let facets = [Facet::Color, Facet::Second, Facet::Pattern];
    phrase(format!("is {first} and {second} {adjective}"), target, &facets)
}

fn colored(before: Color, target: &Attributes, rng: &mut impl Rng) -> Text {
    let (before, now) = (words::color(before), words::color(target.color));
    let words = match rng.random_range(0..12) {
        0 => format!("is {now} in color"),
        1 => format!("is {now} colored"),
        2 => format!("the color is {now}"),
        3 => format!("is {now} instead of {before}"),
        4 => format!("in {now}"),
        _ => format!("is {now}"),
    };
    phrase(words, target, &[Facet::Color])
}

fn second_colored(second: Color, target: &Attributes, rng: &mut impl Rng) -> Text {
    let second = words::color(second);
    // A pattern that has kept its kind is still named: "has white stripes".
    let noun = one_of(words::pattern_nouns(target.pattern), rng);
    phrase(format!("has {second} {noun}"), target, &[Facet::Second, Facet::Pattern])
}

fn patterned(target: &Attributes, rng: &mut impl Rng) -> Text {
    let adjective = one_of(words::pattern_adjectives(target.pattern), rng);
    let words = match rng.random_range(0..5) {
        0 | 1 => format!("has {}", one_of(words::pattern_nouns(target.pattern), rng)),
        2 if target.pattern != Pattern::Plain => format!("has a {adjective} pattern"),
        _ => format!("is {adjective}"),
    };
    phrase(words, target, &[Facet::Pattern])
}

fn sleeve_phrases(sleeve: Sleeve) -> &'static [&'static str] {
    match sleeve {
        Sleeve::Sleeveless => &["is sleeveless", "has no sleeves"],
        Sleeve::Short => &["has short sleeves", "has shorter sleeves", "is short sleeved"],
        Sleeve::Long => &["has long sleeves", "has longer sleeves", "is long sleeved"],
    }
}

fn length_phrases(length: Length) -> &'static [&'static str] {
    match length {
        Length::Short => &["is short", "is shorter", "is shorter", "is short in length"],
        Length::Long => &["is long", "is longer", "is longer", "is long in length"],
    }
}

/// The new graphic, and with some chance that the one before it is gone.
fn graphic(
    before: Option<Graphic>,
    now: Graphic,
    target: &Attributes,
    rng: &mut impl Rng,
) -> Vec<Text> {
    if now == Graphic::Blank {
        return vec![no_graphic(before, target, rng)];
    }
    let noun = one_of(words::graphic_nouns(now), rng);
    let mut has = phrase(format!("has {noun}"), target, &[Facet::Graphic]);
    let Some(before) = before else { return vec![has] };
    let bare = words::graphic_bare(before);
    match rng.random_range(0..10) {
        0..4 => vec![has, no_longer(before)],
        4 => {
            let article = if before == Graphic::Text { "" } else { "a " };
            has.sentence.push_str(&format!(" instead of {article}{bare}"));
            vec![has]
        }
        _ => vec![has],
    }
}

fn no_graphic(before: Option<Graphic>, target: &Attributes, rng: &mut impl Rng) -> Text {
    let words = match before {
        Some(before) if rng.random_bool(0.6) => format!("has no {}", words::graphic_bare(before)),
        _ if rng.random_bool(0.3) => "has nothing printed on it".to_owned(),
        _ => format!("has {}", one_of(words::graphic_nouns(Graphic::Blank), rng)),
    };
    let mut contradictions = Contradictions::default();
    contradictions.allow_only(Facet::Graphic, &[0, target.code(Facet::Graphic)]);
    Text { sentence: words, contradictions }
}

fn no_longer(before: Graphic) -> Text {
    let mut contradictions = Contradictions::default();
    contradictions.forbid(Facet::Graphic, before.index() as u8 + 1);
    Text { sentence: format!("has no {}", words::graphic_bare(before)), contradictions }
}

fn joined(phrases: &[Text], rng: &mut impl Rng) -> Option<String> {
    let (first, rest) = phrases.split_first()?;
    let mut sentence = first.sentence.clone();
    for phrase in rest {
        let words = &phrase.sentence;
        match words.strip_prefix("has ") {
            Some(thing) if !thing.starts_with("no") && rng.random_bool(0.5) => {
                sentence.push_str(" with ");
                sentence.push_str(thing);
            }
            _ => {
                sentence.push_str(one_of(&[" and ", " and ", ", ", " and it "], rng));
                sentence.push_str(words);
            }
        }
    }
    Some(sentence)
}
