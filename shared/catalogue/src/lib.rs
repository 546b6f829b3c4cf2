//! A procedural catalogue of garments: pictures, sentences about them, and composed queries.
//!
//! A picture is a handful of attributes ([`Attributes`]) and a seed; [`render`] draws it, always
//! to the same bytes. [`gallery`] makes up whole galleries with their triplets, [`write_gallery`]
//! writes them to disk, and [`training`] writes what the bundled models are trained on. No picture
//! is downloaded and none is shipped.
//!
//! A model trained on [`Split::Train`] has seen no attribute combination of the other splits, and
//! no composed query at all.

mod attributes;
pub mod captions;
mod contradictions;
mod gallery;
pub mod modifiers;
mod parallel;
mod render;
mod sample;
mod splits;
pub mod training;
mod words;
mod write;

pub use attributes::{
    Attributes, Background, Color, Facet, Garment, Graphic, Length, Pattern, Sleeve,
};
pub use contradictions::Contradictions;
pub use gallery::{Gallery, Picture, Query, Triplet, gallery};
pub use render::render;
pub use splits::Split;
pub use words::Text;
pub use write::{write_gallery, write_gallery_with};
