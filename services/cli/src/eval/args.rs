//! What a user may choose of an evaluation.

use std::path::PathBuf;

use weimocir_domain::{Alpha, Beta, TextReference};
use weimocir_evaluation::{cirr::Split, fashioniq::Category};

#[derive(Debug, clap::Args)]
pub(crate) struct EvalArgs {
    /// Data set: `cirr` or `fashioniq`
    #[arg(value_name = "DATASET", value_enum)]
    pub(super) dataset: Dataset,
    /// Folder of the data set's annotations, in its published layout or flat
    #[arg(long, value_name = "FOLDER")]
    pub(super) data: PathBuf,
    /// Part of CIRR: `val`, or `test1`, whose answers only the evaluation server knows
    #[arg(long, default_value_t = Split::Val, value_name = "SPLIT")]
    pub(super) split: Split,
    /// Category of FashionIQ: `dress`, `shirt` or `toptee`; may be given many times [default: all]
    #[arg(long = "category", value_name = "NAME")]
    pub(super) categories: Vec<Category>,
    /// Raw features made before: F.safetensors with `image [N,d]`, `captions [N,R,d]` and `modifier
    /// [Q,d]`, and F.json beside it with `{"images": [names], "pairs": [ids or places]}`. For FashionIQ,
    /// one file of all categories, one for each in their order, or a path with `{category}`
    #[arg(long = "features", value_name = "FILE", required = true)]
    pub(super) features: Vec<PathBuf>,
    /// Evaluate every α and β from 0 to 1 in steps of this size
    #[arg(long, value_name = "STEP", conflicts_with_all = ["alpha", "beta"])]
    pub(super) sweep: Option<f64>,
    /// How much the modifier counts against the reference, 0 to 1
    #[arg(long, default_value = "0.8", value_name = "α")]
    pub(super) alpha: Alpha,
    /// How much the captions count against the pixels, 0 to 1
    #[arg(long, default_value = "0.1", value_name = "β")]
    pub(super) beta: Beta,
    /// What meets the captions: the reference's `image`, or its own `caption` [default: both]
    #[arg(long, value_name = "WHAT")]
    pub(super) text_reference: Option<TextReference>,
    /// Write modifiers as the published code did, with its quirks
    #[arg(long)]
    pub(super) published: bool,
    /// Write CIRR's two submission files at this α and β, recall.json and recall_subset.json, with
    /// --text-reference `image` if none is named
    #[arg(long, conflicts_with = "sweep")]
    pub(super) submission: bool,
    /// Folder for what is written
    #[arg(long, default_value = "eval", value_name = "FOLDER")]
    pub(super) out: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Dataset {
    Cirr,
    Fashioniq,
}

impl EvalArgs {
    pub(super) fn text_references(&self) -> Vec<TextReference> {
        match self.text_reference {
            Some(one) => vec![one],
            None if self.submission => vec![TextReference::default()],
            None => vec![TextReference::Image, TextReference::Caption],
        }
    }

    pub(super) fn results(&self) -> PathBuf {
        self.out.join("results.csv")
    }

    pub(super) fn categories(&self) -> Vec<Category> {
        match self.categories.as_slice() {
            [] => Category::ALL.to_vec(),
            some => some.to_vec(),
        }
    }
}
