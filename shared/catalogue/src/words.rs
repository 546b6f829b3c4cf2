//! The words of the catalogue: how each attribute value is called. Whoever phrases a sentence
//! takes them from here, so this file is the vocabulary that the bundled models understand.

use rand::Rng;

use crate::attributes::{Background, Color, Garment, Graphic, Length, Pattern, Sleeve};
use crate::contradictions::Contradictions;

/// A sentence and what it rules out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    pub sentence: String,
    pub contradictions: Contradictions,
}

/// One of the words, all equally likely.
pub(crate) fn one_of<'a>(words: &[&'a str], rng: &mut impl Rng) -> &'a str {
    words[rng.random_range(0..words.len())]
}

pub(crate) fn nouns(garment: Garment, length: Option<Length>) -> &'static [&'static str] {
    match garment {
        Garment::Dress => &["dress", "dress", "dress", "gown"],
        Garment::Shirt => &["shirt", "shirt", "shirt", "collared shirt", "button shirt"],
        Garment::TShirt => &["t-shirt", "t-shirt", "tee", "t shirt"],
        Garment::Skirt => &["skirt"],
        Garment::Trousers if length == Some(Length::Short) => &["trousers", "pants", "shorts"],
        Garment::Trousers => &["trousers", "trousers", "pants"],
        Garment::Shoe => &["shoe", "shoe", "sneaker"],
        Garment::Bag => &["bag", "bag", "handbag"],
        Garment::Hat => &["hat", "hat", "cap"],
    }
}

/// Stands for a garment that the text does not name.
pub(crate) const ANY_NOUN: &[&str] = &["item", "garment", "piece", "one", "product"];

pub(crate) fn color(color: Color) -> &'static str {
    match color {
        Color::Red => "red",
        Color::Orange => "orange",
        Color::Yellow => "yellow",
        Color::Green => "green",
        Color::Blue => "blue",
        Color::Purple => "purple",
        Color::Pink => "pink",
        Color::Brown => "brown",
        Color::Black => "black",
        Color::White => "white",
    }
}

pub(crate) fn pattern_adjectives(pattern: Pattern) -> &'static [&'static str] {
    match pattern {
        Pattern::Plain => &["plain", "solid"],
        Pattern::Striped => &["striped"],
        Pattern::Dotted => &["dotted", "polka dot", "spotted"],
        Pattern::Checked => &["checked", "plaid", "checkered"],
    }
}

pub(crate) fn pattern_nouns(pattern: Pattern) -> &'static [&'static str] {
    match pattern {
        Pattern::Plain => &["no pattern", "a plain fabric"],
        Pattern::Striped => &["stripes"],
        Pattern::Dotted => &["dots", "dots", "polka dots", "spots"],
        Pattern::Checked => &["checks"],
    }
}

pub(crate) fn sleeve_adjective(sleeve: Sleeve) -> &'static str {
    match sleeve {
        Sleeve::Sleeveless => "sleeveless",
        Sleeve::Short => "short sleeved",
        Sleeve::Long => "long sleeved",
    }
}

pub(crate) fn sleeve_nouns(sleeve: Sleeve) -> &'static str {
    match sleeve {
        Sleeve::Sleeveless => "no sleeves",
        Sleeve::Short => "short sleeves",
        Sleeve::Long => "long sleeves",
    }
}

pub(crate) fn length(length: Length) -> &'static str {
    match length {
        Length::Short => "short",
        Length::Long => "long",
    }
}

pub(crate) fn graphic_nouns(graphic: Graphic) -> &'static [&'static str] {
    match graphic {
        Graphic::Blank => &["no graphic", "no print", "no logo"],
        Graphic::Clover => {
            &["a four leaf clover", "a clover", "a clover graphic", "a four-leaf clover print"]
        }
        Graphic::Star => &["a star", "a star", "a star graphic", "a star print"],
        Graphic::Heart => &["a heart", "a heart", "a heart graphic", "a heart print"],
        Graphic::Text => &["text", "text", "letters", "lettering", "words", "writing"],
    }
}

/// The graphic without an article, for "has no …" and "instead of a …".
pub(crate) fn graphic_bare(graphic: Graphic) -> &'static str {
    match graphic {
        Graphic::Blank => "graphic",
        Graphic::Clover => "clover",
        Graphic::Star => "star",
        Graphic::Heart => "heart",
        Graphic::Text => "text",
    }
}

pub(crate) fn backgrounds(background: Background) -> &'static [&'static str] {
    match background {
        Background::White => &["a white background", "a bright white background"],
        Background::Grey => &["a grey background", "a gray background"],
        Background::Beige => &["a beige wall", "a beige background"],
        Background::Outdoor => &["the grass outdoors", "the grass outside"],
        Background::Dark => &["a dark background", "a dark wall"],
        Background::Pink => &["a pink wall", "a pink background"],
    }
}

/// Every name of every value, by facet, in the order of the values; an absent value has none.
pub(crate) fn vocabulary() -> serde_json::Value {
    let lengths = [None, Some(Length::Short)];
    let garment_nouns = |garment| {
        let mut all: Vec<_> = lengths.iter().flat_map(|&length| nouns(garment, length)).collect();
        all.sort_unstable();
        all.dedup();
        all
    };
    let adjectives_and_nouns =
        |pattern| [pattern_adjectives(pattern), pattern_nouns(pattern)].concat();
    let sleeve_words = |&sleeve: &Sleeve| [sleeve_adjective(sleeve), sleeve_nouns(sleeve)];
    serde_json::json!({
        "garment": Garment::ALL.iter().map(|&garment| garment_nouns(garment)).collect::<Vec<_>>(),
        "color": Color::ALL.iter().map(|&value| color(value)).collect::<Vec<_>>(),
        "pattern": Pattern::ALL.iter().map(|&value| adjectives_and_nouns(value)).collect::<Vec<_>>(),
        "sleeve": Sleeve::ALL.iter().map(sleeve_words).collect::<Vec<_>>(),
        "length": Length::ALL.iter().map(|&value| length(value)).collect::<Vec<_>>(),
        "graphic": Graphic::ALL.iter().map(|&value| graphic_nouns(value)).collect::<Vec<_>>(),
        "background": Background::ALL.iter().map(|&value| backgrounds(value)).collect::<Vec<_>>(),
    })
}
