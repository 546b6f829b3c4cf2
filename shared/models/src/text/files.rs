//! The files that a checkpoint keeps its tokenizer in. Each kind behaves as its own original:
//!
//! | files | original | cleaning |
//! |---|---|---|
//! | `tokenizer.json` | whatever the file describes | what the file describes |
//! | `vocab.json`, `merges.txt` | transformers' `CLIPTokenizer` | NFC, white space to one space, lower case |
//! | `vocab.txt` | transformers' `BertTokenizer`, uncased | no control characters, spaces around CJK, lower case, no accents |
//! | `bpe_simple_vocab_16e6.txt.gz` | openai/CLIP's `SimpleTokenizer` | see `clean` |
//! | none, for Salesforce's BLIP | its `init_tokenizer` over bert-base-uncased | as `vocab.txt` |

use super::word_pieces;
use crate::error::ModelError;

pub(super) const JSON: &str = "tokenizer.json";
pub(super) const VOCABULARY: &str = "vocab.json";
pub(super) const MERGES: &str = "merges.txt";
pub(super) const WORD_PIECES: &str = "vocab.txt";
pub(super) const OPENAI_MERGES: &str = "bpe_simple_vocab_16e6.txt.gz";

/// What the files hold, by their kind.
#[derive(Debug, Clone)]
pub(crate) enum TokenizerFiles {
    Json(Vec<u8>),
    BytePairs {
        vocabulary: Vec<u8>,
        merges: Vec<u8>,
    },
    WordPieces(Vec<u8>),
    OpenAi(Vec<u8>),
    /// BLIP's own, for its checkpoints that come without any.
    Blip,
}

impl TokenizerFiles {
    /// The first kind that is there in full. `read` gives none for a file that is not there.
    pub(crate) fn find(
        read: impl Fn(&str) -> Result<Option<Vec<u8>>, ModelError>,
    ) -> Result<Option<Self>, ModelError> {
        if let Some(json) = read(JSON)? {
            return Ok(Some(Self::Json(json)));
        }
        if let (Some(vocabulary), Some(merges)) = (read(VOCABULARY)?, read(MERGES)?) {
            return Ok(Some(Self::BytePairs { vocabulary, merges }));
        }
        if let Some(word_pieces) = read(WORD_PIECES)? {
            return Ok(Some(Self::WordPieces(word_pieces)));
        }
        Ok(read(OPENAI_MERGES)?.map(Self::OpenAi))
    }

    /// Every kind, for the error text when none is there.
    pub(crate) fn expected() -> String {
        format!("{JSON} (or {VOCABULARY} with {MERGES}, {WORD_PIECES} or {OPENAI_MERGES})")
    }

    /// The content of every file, in an order that does not change.
    pub(crate) fn contents(&self) -> Vec<&[u8]> {
        match self {
            Self::Json(file) | Self::WordPieces(file) | Self::OpenAi(file) => vec![file],
            Self::BytePairs { vocabulary, merges } => vec![vocabulary, merges],
            Self::Blip => vec![word_pieces::BERT_BASE_UNCASED],
        }
    }
}
