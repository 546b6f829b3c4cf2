//! The two weights of the method, and whose text stands in for the reference.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum WeightError {
    #[error("{name} is {value}, which is not between 0 and 1")]
    OutOfRange { name: &'static str, value: f32 },
    #[error("`{0}` is no number between 0 and 1")]
    NotANumber(String),
    #[error("`{0}` is no text reference: expected `image` or `caption`")]
    TextReference(String),
}

macro_rules! weight {
    ($(#[$doc:meta])* $name:ident, $symbol:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
        #[serde(try_from = "f32", into = "f32")]
        pub struct $name(f32);

        impl $name {
            /// # Errors
            /// Anything outside 0..=1, NaN included.
            pub fn new(value: f32) -> Result<Self, WeightError> {
                if (0.0..=1.0).contains(&value) {
                    Ok(Self(value))
                } else {
                    Err(WeightError::OutOfRange { name: $symbol, value })
                }
            }

            pub fn get(self) -> f32 {
                self.0
            }
        }

        #[cfg(feature = "openapi")]
        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
                crate::schemas::weight()
            }
        }

        #[cfg(feature = "openapi")]
        impl utoipa::ToSchema for $name {}

        impl TryFrom<f32> for $name {
            type Error = WeightError;

            fn try_from(value: f32) -> Result<Self, WeightError> {
                Self::new(value)
            }
        }

        impl From<$name> for f32 {
            fn from(weight: $name) -> f32 {
                weight.0
            }
        }

        impl FromStr for $name {
            type Err = WeightError;

            fn from_str(s: &str) -> Result<Self, WeightError> {
                Self::new(s.parse().map_err(|_| WeightError::NotANumber(s.to_owned()))?)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

weight!(
    /// How much the modifier counts against the reference, 0 (image only) to 1 (text only).
    Alpha,
    "alpha"
);
weight!(
    /// How much a gallery image's captions count against its pixels, 0 to 1.
    Beta,
    "beta"
);
weight!(
    /// How much a negative text or feedback moves the query, 0 (not at all) to 1.
    Gamma,
    "gamma"
);

impl Default for Gamma {
    fn default() -> Self {
        Self(0.0)
    }
}

/// What takes the reference's place when the query meets captions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum TextReference {
    /// The reference's image embedding: one query for pixels and captions.
    #[default]
    Image,
    /// The reference's own caption r meets caption r of a gallery image.
    Caption,
}

impl FromStr for TextReference {
    type Err = WeightError;

    fn from_str(s: &str) -> Result<Self, WeightError> {
        match s {
            "image" => Ok(Self::Image),
            "caption" => Ok(Self::Caption),
            other => Err(WeightError::TextReference(other.to_owned())),
        }
    }
}

impl fmt::Display for TextReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Image => "image",
            Self::Caption => "caption",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_outside_zero_to_one_are_refused() {
        for wrong in [-0.001, 1.001, f32::NAN, f32::INFINITY] {
            assert!(Alpha::new(wrong).is_err(), "{wrong} was taken");
        }
        assert_eq!("0.8".parse::<Beta>().unwrap().get(), 0.8);
        assert_eq!(
            "1.5".parse::<Beta>().unwrap_err().to_string(),
            "beta is 1.5, which is not between 0 and 1"
        );
    }
}
