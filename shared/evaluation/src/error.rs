//! What can be wrong with a data set, a features file, or a request to evaluate them.

use std::{fmt, path::PathBuf};

use weimocir_domain::{Alpha, FusionError};

#[derive(Debug, thiserror::Error)]
pub enum DataError {
    #[error("cannot read {}", file.display())]
    Read { file: PathBuf, source: std::io::Error },
    #[error("{} has none of {}", root.display(), tried.join(", "))]
    Missing { root: PathBuf, tried: Vec<String> },
    #[error("{} is not {expected}: {reason}", file.display())]
    Malformed { file: PathBuf, expected: &'static str, reason: String },
    #[error("{} names images that its gallery lacks: {names}", file.display())]
    UnknownImages { file: PathBuf, names: Names },
    #[error("{}: {what}: {names}", file.display())]
    Entries { file: PathBuf, what: &'static str, names: Names },
}

#[derive(Debug, thiserror::Error)]
pub enum FeaturesError {
    #[error("cannot read {}", file.display())]
    Read { file: PathBuf, source: std::io::Error },
    #[error("cannot write {}", file.display())]
    Write { file: PathBuf, source: std::io::Error },
    #[error("{} is not {expected}: {reason}", file.display())]
    Malformed { file: PathBuf, expected: &'static str, reason: String },
    #[error("{}: tensor \"{tensor}\" {reason}", file.display())]
    Tensor { file: PathBuf, tensor: &'static str, reason: String },
    #[error(
        "{} lists {listed} {what}, but tensor \"{tensor}\" has {rows} rows: they must be the same",
        file.display()
    )]
    Count { file: PathBuf, what: &'static str, tensor: &'static str, listed: usize, rows: usize },
    #[error("{} lacks {what} of {of}: {names}", file.display())]
    Lacks { file: PathBuf, what: &'static str, of: String, names: Names },
    #[error("{} has two {what}: {names}", file.display())]
    Twice { file: PathBuf, what: &'static str, names: Names },
    #[error(
        "the \"pairs\" of {} are {found}, which are not those of {of}: pair ids, or places in the annotation counted from 0, one category after the other",
        file.display()
    )]
    Pairs { file: PathBuf, of: String, found: String },
    #[error("in {}", file.display())]
    Embeddings { file: PathBuf, source: EmbeddingsError },
}

/// Numbers that no direction can be made of, or shapes that do not go together.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum EmbeddingsError {
    #[error("the {tensor} embeddings are {found} numbers, which is not {expected}")]
    Shape { tensor: &'static str, found: usize, expected: String },
    #[error("the {tensor} embedding of {name} has a number that is not finite")]
    NotFinite { tensor: &'static str, name: String },
    #[error("the {tensor} embedding of {name} has length {length:.1e}, which no encoder makes")]
    Length { tensor: &'static str, name: String, length: f64 },
    #[error("each image has {slots} captions, but {most} at most can be evaluated")]
    TooManyCaptions { slots: usize, most: usize },
    #[error("the {tensor} embedding of {name} is all zeros and has no direction")]
    Zero { tensor: &'static str, name: String },
}

#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum EvaluationError {
    #[error("for query {pair} at alpha {alpha}: {source}")]
    Cancelled { pair: String, alpha: Alpha, source: FusionError },
    #[error(
        "a sweep by {step} does not reach from 0 to 1 in 1 to 100 equal steps: try 0.05, 0.1 or 0.25"
    )]
    Step { step: f64 },
    #[error("cannot write {}: {reason}", file.display())]
    Write { file: PathBuf, reason: String },
    #[error("pair {pair} has {found} images for {metric}, where a submission takes {wanted}")]
    TooFew { pair: u64, metric: &'static str, found: usize, wanted: usize },
    #[error("no query of {0} has a target to look for")]
    NoTargets(String),
    #[error("captions {chosen} are asked for, but there are only {slots} of each image")]
    NoSuchCaption { chosen: String, slots: usize },
}

/// Names to show: the first few of them, and how many there are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Names(Vec<String>);

impl Names {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn all(&self) -> &[String] {
        &self.0
    }
}

impl<T: Into<String>> FromIterator<T> for Names {
    fn from_iter<I: IntoIterator<Item = T>>(names: I) -> Self {
        Self(names.into_iter().map(Into::into).collect())
    }
}

/// Names shown one by one.
const SHOWN: usize = 5;

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.0.len().min(SHOWN);
        f.write_str(&self.0[..shown].join(", "))?;
        match self.0.len() - shown {
            0 => write!(f, " ({} in all)", shown),
            more => write!(f, " and {more} more ({} in all)", self.0.len()),
        }
    }
}
