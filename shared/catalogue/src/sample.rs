//! The hand-picked queries of the sample gallery. Their references and answers are its first
//! pictures: the reference of the first query, its answer, the reference of the second…

use crate::attributes::{Attributes, Background, Color, Garment, Graphic, Length, Pattern, Sleeve};
use crate::gallery::Query;
use crate::splits::Split;

const MODIFIERS: [&str; 3] = [
    "is green with a four leaf clover",
    "is green with a star and has no text",
    "is green with white polka dots",
];

/// The pictures that open the gallery of this split.
pub(crate) fn pictures(split: Split) -> Vec<Attributes> {
    match split {
        Split::Sample => pairs().into_iter().flatten().collect(),
        Split::Train | Split::Validation | Split::Test => Vec::new(),
    }
}

pub(crate) fn queries(split: Split) -> Vec<Query> {
    if split != Split::Sample {
        return Vec::new();
    }
    let query = |(index, modifier): (usize, &str)| Query {
        reference: 2 * index,
        modifier: modifier.to_owned(),
    };
    MODIFIERS.into_iter().enumerate().map(query).collect()
}

fn pairs() -> [[Attributes; 2]; 3] {
    let t_shirt = |color, graphic, background| Attributes {
        sleeve: Some(Sleeve::Short),
        graphic: Some(graphic),
        ..plain(Garment::TShirt, color, background)
    };
    let bag = |color, graphic, background| Attributes {
        graphic: Some(graphic),
        ..plain(Garment::Bag, color, background)
    };
    let dress = |color, background| Attributes {
        sleeve: Some(Sleeve::Sleeveless),
        length: Some(Length::Long),
        graphic: Some(Graphic::Blank),
        ..plain(Garment::Dress, color, background)
    };
    let dotted = Attributes {
        pattern: Pattern::Dotted,
        second: Some(Color::White),
        ..dress(Color::Green, Background::Beige)
    };
    [
        [
            t_shirt(Color::Yellow, Graphic::Heart, Background::Grey),
            t_shirt(Color::Green, Graphic::Clover, Background::White),
        ],
        [
            bag(Color::Black, Graphic::Text, Background::Pink),
            bag(Color::Green, Graphic::Star, Background::Beige),
        ],
        [dress(Color::Brown, Background::White), dotted],
    ]
}

fn plain(garment: Garment, color: Color, background: Background) -> Attributes {
    Attributes {
        garment,
        color,
        pattern: Pattern::Plain,
        second: None,
        sleeve: None,
        length: None,
        graphic: None,
        background,
    }
}
