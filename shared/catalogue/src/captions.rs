//! Sentences that describe one picture: all of it ([`full`]) or some of it ([`partial`]).

use rand::Rng;
use rand::seq::SliceRandom;

use crate::attributes::{Attributes, Color, Facet, Graphic, Pattern, Sleeve};
use crate::contradictions::Contradictions;
use crate::words::{self, Text, one_of};

/// Describes everything about the garment, sometimes the background too. That a fabric is plain
/// or without a graphic may go unsaid.
pub fn full(attributes: &Attributes, rng: &mut impl Rng) -> Text {
    let mut caption = Caption::new(attributes, 1.0, rng);
    if caption.rng.random_bool(0.35) {
        caption.background();
    }
    caption.finish()
}

/// Describes a random part of the garment.
pub fn partial(attributes: &Attributes, rng: &mut impl Rng) -> Text {
    let share = [0.3, 0.5, 0.7][rng.random_range(0..3)];
    let mut caption = Caption::new(attributes, share, rng);
    if caption.rng.random_bool(0.15) {
        caption.background();
    }
    caption.finish()
}

/// A caption in the making: adjectives, a noun, what comes after "with" and "on".
struct Caption<'a, R> {
    attributes: &'a Attributes,
    /// Chance of each attribute to be mentioned.
    share: f64,
    rng: &'a mut R,
    before: Vec<String>,
    noun: &'static str,
    with: Vec<String>,
    on: Option<&'static str>,
    contradictions: Contradictions,
}

impl<'a, R: Rng> Caption<'a, R> {
    fn new(attributes: &'a Attributes, share: f64, rng: &'a mut R) -> Self {
        let mut caption = Self {
            attributes,
            share,
            rng,
            before: Vec::new(),
            noun: "item",
            with: Vec::new(),
            on: None,
            contradictions: Contradictions::default(),
        };
        caption.garment();
        caption.length();
        caption.sleeve();
        caption.fabric();
        caption.graphic();
        caption
    }

    fn garment(&mut self) {
        if self.mentions() {
            let length = self.attributes.length;
            self.noun = one_of(words::nouns(self.attributes.garment, length), self.rng);
            self.says(Facet::Garment);
            if self.noun == "shorts" {
                self.says(Facet::Length);
            }
        } else {
            self.noun = one_of(words::ANY_NOUN, self.rng);
        }
    }

    fn length(&mut self) {
        let Some(length) = self.attributes.length else { return };
        if self.noun != "shorts" && self.mentions() {
            self.before.push(words::length(length).to_owned());
            self.says(Facet::Length);
        }
    }

    fn sleeve(&mut self) {
        let Some(sleeve) = self.attributes.sleeve else { return };
        if !self.mentions() {
            return;
        }
        let before = if sleeve == Sleeve::Sleeveless { 0.7 } else { 0.35 };
        if self.rng.random_bool(before) {
            self.before.push(words::sleeve_adjective(sleeve).to_owned());
        } else {
            self.with.push(words::sleeve_nouns(sleeve).to_owned());
        }
        self.says(Facet::Sleeve);
    }

    fn fabric(&mut self) {
        let color = self.mentions().then_some(words::color(self.attributes.color));
        if color.is_some() {
            self.says(Facet::Color);
        }
        match self.attributes.second.filter(|_| self.mentions()) {
            Some(second) => self.patterned(color, second),
            None => self.plain(color),
        }
    }

    fn plain(&mut self, color: Option<&'static str>) {
        let says_plain = self.attributes.pattern == Pattern::Plain
            && self.mentions()
            && self.rng.random_bool(0.55);
        if says_plain {
            self.before
                .push(one_of(words::pattern_adjectives(Pattern::Plain), self.rng).to_owned());
            self.says(Facet::Pattern);
        }
        self.before.extend(color.map(str::to_owned));
    }

    fn patterned(&mut self, color: Option<&'static str>, second: Color) {
        let pattern = self.attributes.pattern;
        let adjective = one_of(words::pattern_adjectives(pattern), self.rng);
        self.says(Facet::Pattern);
        if !self.mentions() {
            self.before.extend(color.map(str::to_owned));
            self.before.push(adjective.to_owned());
            return;
        }
        self.says(Facet::Second);
        let second = words::color(second);
        match color {
            Some(color) if self.rng.random_bool(0.5) => {
                self.before.push(format!("{color} and {second} {adjective}"));
            }
            _ => {
                self.before.extend(color.map(str::to_owned));
                let noun = one_of(words::pattern_nouns(pattern), self.rng);
                self.with.push(format!("{second} {noun}"));
            }
        }
    }

    fn graphic(&mut self) {
        let Some(graphic) = self.attributes.graphic else { return };
        let unsaid = graphic == Graphic::Blank && self.rng.random_bool(0.5);
        if unsaid || !self.mentions() {
            return;
        }
        self.with.push(one_of(words::graphic_nouns(graphic), self.rng).to_owned());
        if graphic == Graphic::Blank {
            let without = [0, self.attributes.code(Facet::Graphic)];
            self.contradictions.allow_only(Facet::Graphic, &without);
        } else {
            self.says(Facet::Graphic);
        }
    }

    fn background(&mut self) {
        self.on = Some(one_of(words::backgrounds(self.attributes.background), self.rng));
        self.says(Facet::Background);
    }

    fn finish(mut self) -> Text {
        self.with.shuffle(self.rng);
        let mut things = self.before.join(" ");
        if !things.is_empty() {
            things.push(' ');
        }
        things.push_str(self.noun);
        let article = match self.noun {
            "trousers" | "pants" | "shorts" => "",
            _ if things.starts_with(['a', 'e', 'i', 'o', 'u']) => "an ",
            _ => "a ",
        };
        let mut sentence = match self.rng.random_range(0..6) {
            0 => format!("a photo of {article}{things}"),
            1 => format!("this is {article}{things}"),
            2 => things,
            _ => format!("{article}{things}"),
        };
        if let Some((last, others)) = self.with.split_last() {
            sentence.push_str(" with ");
            if !others.is_empty() {
                sentence.push_str(&others.join(", "));
                sentence.push_str(" and ");
            }
            sentence.push_str(last);
        }
        if let Some(on) = self.on {
            sentence.push_str(" on ");
            sentence.push_str(on);
        }
        Text { sentence, contradictions: self.contradictions }
    }

    fn mentions(&mut self) -> bool {
        self.rng.random_bool(self.share)
    }

    fn says(&mut self, facet: Facet) {
        self.contradictions.allow_only(facet, &[self.attributes.code(facet)]);
    }
}
