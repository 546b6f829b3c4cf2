use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// What becomes of a text that is longer than the model reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum LongText {
    /// Its beginning is encoded, and the reply warns.
    #[default]
    Truncate,
    /// It is an error.
    Refuse,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a long text can be `truncate`d or `refuse`d, not \"{0}\"")]
pub struct LongTextError(String);

impl FromStr for LongText {
    type Err = LongTextError;

    fn from_str(s: &str) -> Result<Self, LongTextError> {
        match s {
            "truncate" => Ok(Self::Truncate),
            "refuse" => Ok(Self::Refuse),
            other => Err(LongTextError(other.to_owned())),
        }
    }
}

impl fmt::Display for LongText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Truncate => "truncate",
            Self::Refuse => "refuse",
        })
    }
}
