//! What a catalogue picture shows, as a handful of named choices, and how such descriptions are
//! drawn at random and changed. How they look belongs to [`crate::render`], how they are put into
//! words to [`crate::captions`] and [`crate::modifiers`].

use rand::Rng;
use rand::seq::IndexedRandom;
use serde::Serialize;

/// Declares an enum without payload, the list of its values and the place of each in that list.
macro_rules! choices {
    ($(#[$doc:meta])* $name:ident { $($(#[$value_doc:meta])* $value:ident),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
        #[serde(rename_all = "lowercase")]
        pub enum $name { $($(#[$value_doc])* $value),+ }

        impl $name {
            /// Every value, in declaration order.
            pub const ALL: &[Self] = &[$(Self::$value),+];

            pub(crate) fn index(self) -> usize {
                self as usize
            }

            pub(crate) fn any(rng: &mut impl Rng) -> Self {
                Self::ALL[rng.random_range(0..Self::ALL.len())]
            }
        }
    };
}

choices! {
    /// Kind of garment.
    Garment { Dress, Shirt, TShirt, Skirt, Trousers, Shoe, Bag, Hat }
}
choices! {
    /// Colour of the fabric or of its pattern.
    Color { Red, Orange, Yellow, Green, Blue, Purple, Pink, Brown, Black, White }
}
choices! {
    /// Pattern of the fabric. Everything but `Plain` has a second colour.
    Pattern { Plain, Striped, Dotted, Checked }
}
choices! {
    /// Sleeves of a dress, a shirt or a T-shirt. A T-shirt always has some.
    Sleeve { Sleeveless, Short, Long }
}
choices! {
    /// Length of a dress, a skirt or trousers.
    Length { Short, Long }
}
choices! {
    /// What is printed on a dress, a shirt, a T-shirt, a bag or a hat.
    Graphic { Blank, Clover, Star, Heart, Text }
}
choices! {
    /// What is behind the garment. No part of the combination that decides the split.
    Background { White, Grey, Beige, Outdoor, Dark, Pink }
}

/// The attributes themselves, in the order in which they are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Facet {
    Garment,
    Color,
    Pattern,
    Second,
    Sleeve,
    Length,
    Graphic,
    Background,
}

impl Garment {
    pub(crate) fn has_sleeves(self) -> bool {
        matches!(self, Self::Dress | Self::Shirt | Self::TShirt)
    }

    pub(crate) fn has_length(self) -> bool {
        matches!(self, Self::Dress | Self::Skirt | Self::Trousers)
    }

    pub(crate) fn has_graphic(self) -> bool {
        matches!(self, Self::Dress | Self::Shirt | Self::TShirt | Self::Bag | Self::Hat)
    }

    /// How often a fresh description is of this garment: those with more attributes to choose
    /// come more often, or the small ones would run out of combinations.
    fn frequency(self) -> u32 {
        match self {
            Self::Dress | Self::TShirt => 20,
            Self::Shirt => 17,
            Self::Bag => 11,
            Self::Hat | Self::Skirt => 9,
            Self::Trousers => 8,
            Self::Shoe => 6,
        }
    }
}

/// One garment before one background.
///
/// Always consistent: a second colour exactly on patterned fabric and different from the first,
/// sleeves, length and graphic exactly where the garment has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[non_exhaustive]
pub struct Attributes {
    pub garment: Garment,
    pub color: Color,
    pub pattern: Pattern,
    pub second: Option<Color>,
    pub sleeve: Option<Sleeve>,
    pub length: Option<Length>,
    pub graphic: Option<Graphic>,
    pub background: Background,
}

impl Attributes {
    /// Draws a description.
    pub fn random(rng: &mut impl Rng) -> Self {
        let garment = Garment::ALL
            .choose_weighted(rng, |garment| garment.frequency())
            .copied()
            .unwrap_or(Garment::Dress);
        let pattern = if rng.random_bool(0.4) { Pattern::Plain } else { Pattern::any(rng) };
        Self {
            garment,
            color: Color::any(rng),
            pattern,
            second: None,
            sleeve: None,
            length: None,
            graphic: None,
            background: Background::any(rng),
        }
        .settled(rng)
    }

    /// Changes one to three of the garment's attributes and draws a new background.
    pub fn mutated(&self, rng: &mut impl Rng) -> Self {
        loop {
            let mut changed = *self;
            let count = [1, 1, 1, 1, 2, 2, 2, 2, 2, 3][rng.random_range(0..10)];
            for _ in 0..count {
                changed.change_one(rng);
            }
            changed.background = Background::any(rng);
            let changed = changed.settled(rng);
            if changed.combination() != self.combination() {
                return changed;
            }
        }
    }

    /// How many of the garment's attributes differ. A pattern and its colour count as one.
    pub fn differences(&self, other: &Self) -> usize {
        let differs = |&&facet: &&Facet| self.code(facet) != other.code(facet);
        let count = Facet::ALL[..7].iter().filter(differs).count();
        let both = differs(&&Facet::Pattern) && differs(&&Facet::Second);
        count - usize::from(both)
    }

    /// The attributes that decide the split: all but the background.
    pub fn combination(&self) -> [u8; 7] {
        let codes = self.codes();
        std::array::from_fn(|facet| codes[facet])
    }

    /// Position of each attribute's value among the values of its [`Facet`], in the order of
    /// [`Facet::ALL`].
    pub fn codes(&self) -> [u8; 8] {
        std::array::from_fn(|facet| self.code(Facet::ALL[facet]))
    }

    pub(crate) fn code(&self, facet: Facet) -> u8 {
        let after_absent = |index: Option<usize>| index.map_or(0, |index| index + 1);
        let code = match facet {
            Facet::Garment => self.garment.index(),
            Facet::Color => self.color.index(),
            Facet::Pattern => self.pattern.index(),
            Facet::Second => after_absent(self.second.map(Color::index)),
            Facet::Sleeve => after_absent(self.sleeve.map(Sleeve::index)),
            Facet::Length => after_absent(self.length.map(Length::index)),
            Facet::Graphic => after_absent(self.graphic.map(Graphic::index)),
            Facet::Background => self.background.index(),
        };
        code as u8
    }

    fn change_one(&mut self, rng: &mut impl Rng) {
        match self.changeable().choose(rng) {
            Some(Facet::Garment) => self.garment = Garment::any(rng),
            Some(Facet::Color) => self.color = Color::any(rng),
            Some(Facet::Pattern) => self.pattern = Pattern::any(rng),
            Some(Facet::Second) => self.second = Some(Color::any(rng)),
            Some(Facet::Sleeve) => self.sleeve = Some(Sleeve::any(rng)),
            Some(Facet::Length) => self.length = Some(Length::any(rng)),
            Some(Facet::Graphic) => self.graphic = Some(Graphic::any(rng)),
            Some(Facet::Background) | None => {}
        }
    }

    /// What a mutation picks from. The graphic and the colour are named several times because
    /// people ask for them most, the kind of garment least.
    fn changeable(&self) -> Vec<Facet> {
        let mut facets = vec![
            Facet::Garment,
            Facet::Color,
            Facet::Color,
            Facet::Color,
            Facet::Pattern,
            Facet::Pattern,
        ];
        let optional: [(bool, &[Facet]); 4] = [
            (self.second.is_some(), &[Facet::Second, Facet::Second]),
            (self.sleeve.is_some(), &[Facet::Sleeve, Facet::Sleeve]),
            (self.length.is_some(), &[Facet::Length, Facet::Length]),
            (self.graphic.is_some(), &[Facet::Graphic; 4]),
        ];
        for (present, named) in optional {
            if present {
                facets.extend(named);
            }
        }
        facets
    }

    /// Gives the garment what it lacks and takes from it what it cannot have.
    fn settled(mut self, rng: &mut impl Rng) -> Self {
        if self.pattern == Pattern::Plain {
            self.second = None;
        } else {
            while self.second.is_none() || self.second == Some(self.color) {
                self.second = Some(Color::any(rng));
            }
        }
        let sleeve = self.sleeve.unwrap_or_else(|| Sleeve::any(rng));
        self.sleeve = self.garment.has_sleeves().then_some(sleeve);
        if self.garment == Garment::TShirt && self.sleeve == Some(Sleeve::Sleeveless) {
            self.sleeve = Some(Sleeve::Short);
        }
        let length = self.length.unwrap_or_else(|| Length::any(rng));
        self.length = self.garment.has_length().then_some(length);
        let graphic = self.graphic.unwrap_or_else(|| Graphic::any(rng));
        self.graphic = self.garment.has_graphic().then_some(graphic);
        self
    }
}

impl Facet {
    /// Every facet, in declaration order.
    pub const ALL: &[Self] = &[
        Self::Garment,
        Self::Color,
        Self::Pattern,
        Self::Second,
        Self::Sleeve,
        Self::Length,
        Self::Graphic,
        Self::Background,
    ];

    /// The facet in one word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Garment => "garment",
            Self::Color => "color",
            Self::Pattern => "pattern",
            Self::Second => "second",
            Self::Sleeve => "sleeve",
            Self::Length => "length",
            Self::Graphic => "graphic",
            Self::Background => "background",
        }
    }

    /// Number of values, the absent one included.
    pub(crate) fn size(self) -> usize {
        match self {
            Self::Garment => Garment::ALL.len(),
            Self::Color => Color::ALL.len(),
            Self::Pattern => Pattern::ALL.len(),
            Self::Second => Color::ALL.len() + 1,
            Self::Sleeve => Sleeve::ALL.len() + 1,
            Self::Length => Length::ALL.len() + 1,
            Self::Graphic => Graphic::ALL.len() + 1,
            Self::Background => Background::ALL.len(),
        }
    }

    /// Number of values of the facets before this one: where its own begin in a mask.
    pub(crate) fn offset(self) -> usize {
        Self::ALL[..self as usize].iter().map(|facet| facet.size()).sum()
    }
}
