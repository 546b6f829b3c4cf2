//! Text to token ids and back, by the tokenizer that a checkpoint comes with.

mod byte_pairs;
mod clean;
mod files;
#[cfg(test)]
mod tests;
mod word_pieces;

use std::borrow::Cow;

use tokenizers::Tokenizer;

pub(crate) use files::TokenizerFiles;

use crate::error::{ModelError, TextError};

/// Bytes of a text that are read, far more than any model's context.
// because: tokens take hundreds of bytes each, and cleaning takes as many passes as entities are nested
pub(crate) const READ: usize = 8 << 10;

pub(crate) struct TextTokenizer {
    inner: Tokenizer,
    cleaning: Cleaning,
}

/// What happens to a text before its tokenizer sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cleaning {
    /// Nothing: the tokenizer has a normalizer of its own.
    Own,
    OpenAi,
}

/// Token ids of a text, framed as its model wants them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tokens {
    pub(crate) ids: Vec<u32>,
    /// How many ids all that was read has.
    pub(crate) whole: usize,
    /// The text was longer than the model's context, and its end is missing.
    pub(crate) truncated: bool,
}

impl TextTokenizer {
    /// `path` gives a file's name with the place it is in, for error texts.
    pub(crate) fn load(
        files: &TokenizerFiles,
        path: impl Fn(&str) -> String,
    ) -> Result<Self, ModelError> {
        let invalid = |file: &'static str| {
            let file = path(file);
            move |e: tokenizers::Error| ModelError::InvalidFile { file, reason: e.to_string() }
        };
        let own = |inner| Self { inner, cleaning: Cleaning::Own };
        match files {
            TokenizerFiles::Json(json) => parse_json(json).map(own).map_err(invalid(files::JSON)),
            TokenizerFiles::BytePairs { vocabulary, merges } => {
                let vocabulary =
                    byte_pairs::parse_vocabulary(vocabulary).map_err(invalid(files::VOCABULARY))?;
                let merges = byte_pairs::parse_merges(merges).map_err(invalid(files::MERGES))?;
                byte_pairs::hugging_face(vocabulary, merges)
                    .map(own)
                    .map_err(invalid(files::VOCABULARY))
            }
            TokenizerFiles::WordPieces(vocabulary) => {
                word_pieces::uncased(vocabulary).map(own).map_err(invalid(files::WORD_PIECES))
            }
            TokenizerFiles::OpenAi(merges) => byte_pairs::parse_openai(merges)
                .and_then(|(vocabulary, merges)| byte_pairs::openai(vocabulary, merges))
                .map(|inner| Self { inner, cleaning: Cleaning::OpenAi })
                .map_err(invalid(files::OPENAI_MERGES)),
            TokenizerFiles::Blip => {
                word_pieces::blip().map(own).map_err(invalid("the vocabulary of bert-base-uncased"))
            }
        }
    }

    /// At most `context` ids; a longer text keeps its beginning and its last token, which ends it.
    pub(crate) fn encode(
        &self,
        index: usize,
        text: &str,
        context: usize,
    ) -> Result<Tokens, ModelError> {
        if beginning(text).trim().is_empty() {
            return Err(TextError::Empty { index }.into());
        }
        self.framed(index, text, context)
    }

    /// As `encode`, also of no text at all.
    pub(crate) fn framed(
        &self,
        index: usize,
        text: &str,
        context: usize,
    ) -> Result<Tokens, ModelError> {
        let read = beginning(text);
        let cleaned = match self.cleaning {
            Cleaning::Own => Cow::Borrowed(read),
            Cleaning::OpenAi => Cow::Owned(clean::clean(read)),
        };
        let encoding = self
            .inner
            .encode_fast(cleaned, true)
            .map_err(|e| ModelError::Tokenize { index, reason: e.to_string() })?;
        let mut ids = encoding.get_ids().to_vec();
        let whole = ids.len();
        if let (true, Some(&end)) = (whole > context, ids.last()) {
            ids.truncate(context.saturating_sub(1));
            ids.push(end);
        }
        Ok(Tokens { ids, whole, truncated: whole > context || read.len() < text.trim().len() })
    }

    /// A sentence as people write it.
    pub(crate) fn decode(&self, ids: &[u32]) -> Result<String, ModelError> {
        let text = self
            .inner
            .decode(ids, true)
            .map_err(|e| ModelError::Tokenize { index: 0, reason: e.to_string() })?;
        Ok(tidy(&text))
    }
}

impl std::fmt::Debug for TextTokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TextTokenizer({} tokens)", self.inner.get_vocab_size(true))
    }
}

/// What transformers' `CLIPTokenizer` is with OpenAI's merges.
#[cfg(fuzzing)]
pub(crate) fn hugging_face_clip(merges: &[u8]) -> tokenizers::Result<TextTokenizer> {
    let (vocabulary, merges) = byte_pairs::parse_openai(merges)?;
    let inner = byte_pairs::hugging_face(vocabulary, merges)?;
    Ok(TextTokenizer { inner, cleaning: Cleaning::Own })
}

/// What is read of a text; of one that is too long, white space around it is left out first.
// because: OpenAI's tokenizer reads some of what Unicode calls white space
fn beginning(text: &str) -> &str {
    let text = if text.len() > READ { text.trim() } else { text };
    let end = (0..=text.len().min(READ)).rev().find(|&at| text.is_char_boundary(at));
    &text[..end.unwrap_or(0)]
}

fn parse_json(json: &[u8]) -> tokenizers::Result<Tokenizer> {
    let mut tokenizer = Tokenizer::from_bytes(json)?;
    // The file may pad or cut by settings of its own, which would hide both from here.
    tokenizer.with_padding(None);
    tokenizer.with_truncation(None)?;
    Ok(tokenizer)
}

/// Joins what BERT's tokenizer takes apart: `"a woman ' s t - shirt ."` → `"a woman's t-shirt."`.
fn tidy(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut joins_next = false;
    for word in text.split_whitespace() {
        let joins = matches!(word, "-" | "'" | "." | "," | "!" | "?" | ";" | ":" | "'s" | "n't");
        if !out.is_empty() && !joins && !joins_next {
            out.push(' ');
        }
        out.push_str(word);
        joins_next = matches!(word, "-" | "'");
    }
    out
}
