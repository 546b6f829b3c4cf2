//! What a user may choose of an evaluation.

use std::{
    num::NonZeroUsize,
    path::{Path, PathBuf},
    str::FromStr,
};

use weimocir_domain::{Alpha, Beta, LongText, TextReference};
use weimocir_evaluation::{Grid, cirr::Split};
use weimocir_models::{DeviceChoice, ModelSource, Precision};

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct EvalArgs {
    /// Which data set
    #[arg(value_name = "DATASET", value_enum)]
    pub(super) dataset: Dataset,
    /// Folder of the data set's annotations, in its published layout or flat; `catalogue` draws its
    /// pictures there if they are not
    #[arg(long, value_name = "FOLDER")]
    pub(super) data: PathBuf,
    /// Part of CIRR: `val`, or `test1`, whose answers only the evaluation server knows
    #[arg(long, default_value_t = Split::Val, value_name = "SPLIT")]
    pub(super) split: Split,
    /// Category of FashionIQ (`dress`, `shirt`, `toptee`) or task of GeneCIS (`focus_attribute`, …); may
    /// be given many times [default: all]
    #[arg(long = "category", value_name = "NAME")]
    pub(super) categories: Vec<String>,
    /// Raw features made before: F.safetensors with `image [N,d]`, `captions [N,R,d]` and `modifier
    /// [Q,d]`, and F.json beside it with `{"images": [names], "pairs": [ids or places]}`. For FashionIQ,
    /// one file of all categories, one for each in their order, or a path with `{category}`
    #[arg(long = "features", value_name = "FILE", conflicts_with_all = ["model", "captions", "save_features"])]
    pub(super) features: Vec<PathBuf>,
    /// Ask a running pipeline instead, whose --collection holds the gallery and nothing else: the same
    /// queries as searches, at one α and β
    #[arg(long, value_name = "URL", conflicts_with_all = ["features", "model", "captions", "save_features", "sweep", "ablation", "submission"])]
    pub(super) through: Option<String>,
    #[command(flatten)]
    pub(super) backbone: BackboneArgs,
    /// Evaluate every α and β from 0 to 1 in steps of this size
    #[arg(long, value_name = "STEP", value_parser = grid, conflicts_with_all = ["alpha", "beta"])]
    pub(super) sweep: Option<Grid>,
    /// How much the modifier counts against the reference, 0 to 1 [default: what suits the model, 0.8
    /// for features]
    #[arg(long, value_name = "α")]
    pub(super) alpha: Option<Alpha>,
    /// How much the captions count against the pixels, 0 to 1 [default: what suits the model, 0.1 for
    /// features]
    #[arg(long, value_name = "β")]
    pub(super) beta: Option<Beta>,
    /// What meets the captions: the reference's `image`, or its own `caption` [default: both]
    #[arg(long, value_name = "WHAT")]
    pub(super) text_reference: Option<TextReference>,
    /// Write modifiers as the published code did, with its quirks
    #[arg(long)]
    pub(super) published: bool,
    /// Pick α and β on a random half of the queries, drawn by this seed, and report them on the other
    #[arg(long, value_name = "SEED", requires = "sweep")]
    pub(super) tune: Option<u64>,
    /// Evaluate each caption alone, each pair, and all, into ablation.csv
    #[arg(long)]
    pub(super) ablation: bool,
    /// Write CIRR's two submission files at this α and β, recall.json and recall_subset.json, with
    /// --text-reference `image` if none is named
    #[arg(long, conflicts_with = "sweep")]
    pub(super) submission: bool,
    /// Folder for what is written
    #[arg(long, default_value = "eval", value_name = "FOLDER")]
    pub(super) out: PathBuf,
}

/// How embeddings are made where no features are given.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct BackboneArgs {
    /// Encoder: `bundled`, a folder in Hugging Face's format, `organisation/name[@revision]` on the
    /// hub, or a .pth file of Salesforce's BLIP
    #[arg(long, default_value = "bundled", value_name = "MODEL")]
    pub(super) model: ModelSource,
    /// Folder of the pictures [default: that of the annotations]
    #[arg(long, value_name = "FOLDER")]
    pub(super) images: Option<PathBuf>,
    /// Captions made elsewhere: JSON `{"name": ["…"]}`, or objects with "image" and "captions".
    /// Without them, images score by their pixels [default: captions.jsonl beside the annotations]
    #[arg(long, value_name = "FILE")]
    pub(super) captions: Option<PathBuf>,
    /// Captions of each image that count, the first of its entry
    #[arg(short, default_value = "3", value_name = "R")]
    pub(super) r: NonZeroUsize,
    /// Where the encoder runs: `cpu`, `cuda` or `cuda:N`
    #[arg(long, env = "WEIMOCIR_DEVICE", default_value = "cpu", value_name = "DEVICE")]
    pub(super) device: DeviceChoice,
    /// What it calculates in: `f32`, or on a GPU `f16` or `bf16`
    #[arg(long, env = "WEIMOCIR_PRECISION", default_value_t, value_name = "TYPE")]
    pub(super) precision: Precision,
    /// What becomes of a text that is longer than the model reads: `truncate` or `refuse`
    #[arg(long, default_value_t, value_name = "RULE")]
    pub(super) long_text: LongText,
    /// Folder that keeps what was encoded, so that nothing is encoded twice
    #[arg(long, default_value = ".weimocir/eval", value_name = "FOLDER")]
    pub(super) cache: PathBuf,
    /// Write the embeddings as a features file, of all categories together
    #[arg(long, value_name = "FILE")]
    pub(super) save_features: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Dataset {
    /// CIRR: recall among all images and among subsets, and submissions
    Cirr,
    /// FashionIQ's validation: recall in three categories, and their mean
    Fashioniq,
    /// CIRCO's validation: mean average precision over several targets
    Circo,
    /// GeneCIS: four tasks, recall among each query's own images
    Genecis,
    /// Your own: triplets.jsonl with {"reference", "modifier", "target"} a line, the gallery in
    /// gallery.json or the picture files
    Triplets,
    /// The project's own held-out garments, drawn where they are missing
    Catalogue,
}

fn grid(step: &str) -> anyhow::Result<Grid> {
    Ok(Grid::sweep(step.parse()?)?)
}

impl EvalArgs {
    pub(super) fn text_references(&self) -> Vec<TextReference> {
        match self.text_reference {
            Some(one) => vec![one],
            None if self.submission => vec![TextReference::default()],
            None => vec![TextReference::Image, TextReference::Caption],
        }
    }

    pub(super) fn images(&self) -> &Path {
        self.backbone.images.as_deref().unwrap_or(&self.data)
    }

    pub(super) fn results(&self) -> PathBuf {
        self.out.join("results.csv")
    }

    pub(super) fn ablations(&self) -> PathBuf {
        self.out.join("ablation.csv")
    }

    pub(super) fn tunings(&self) -> PathBuf {
        self.out.join("tuned.csv")
    }

    /// Those that are named, or all.
    pub(super) fn categories<T>(&self, all: &[T]) -> anyhow::Result<Vec<T>>
    where
        T: Clone + FromStr<Err = String>,
    {
        match self.categories.as_slice() {
            [] => Ok(all.to_vec()),
            some => some.iter().map(|name| name.parse().map_err(anyhow::Error::msg)).collect(),
        }
    }
}
