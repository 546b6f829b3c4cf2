//! Text to token ids and back, by a model's tokenizer.json.

use tokenizers::Tokenizer;

use crate::{
    error::{ModelError, TextError},
    files::{ModelFiles, TOKENIZER},
};

pub(crate) struct TextTokenizer {
    inner: Tokenizer,
}

/// Token ids of a text, framed as its model wants them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tokens {
    pub(crate) ids: Vec<u32>,
    /// How many ids the whole text has.
    pub(crate) whole: usize,
    /// The text was longer than the model's context, and its end is missing.
    pub(crate) truncated: bool,
}

impl TextTokenizer {
    pub(crate) fn load(files: &ModelFiles) -> Result<Self, ModelError> {
        let invalid =
            |reason: String| ModelError::InvalidFile { file: files.path(TOKENIZER), reason };
        let mut inner =
            Tokenizer::from_bytes(&files.tokenizer).map_err(|e| invalid(e.to_string()))?;
        // The file may pad or cut by settings of its own, which would hide both from here.
        inner.with_padding(None);
        inner.with_truncation(None).map_err(|e| invalid(e.to_string()))?;
        Ok(Self { inner })
    }

    /// At most `context` ids; a longer text keeps its beginning and its last token, which ends it.
    pub(crate) fn encode(
        &self,
        index: usize,
        text: &str,
        context: usize,
    ) -> Result<Tokens, ModelError> {
        if text.trim().is_empty() {
            return Err(TextError::Empty { index }.into());
        }
        let encoding = self
            .inner
            .encode_fast(text, true)
            .map_err(|e| ModelError::Tokenize { index, reason: e.to_string() })?;
        let mut ids = encoding.get_ids().to_vec();
        let whole = ids.len();
        let truncated = whole > context;
        if let (true, Some(&end)) = (truncated, ids.last()) {
            ids.truncate(context.saturating_sub(1));
            ids.push(end);
        }
        Ok(Tokens { ids, whole, truncated })
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

#[cfg(test)]
mod tests {
    use super::tidy;

    #[test]
    fn punctuation_joins_its_words() {
        let cases = [
            ("a red t - shirt", "a red t-shirt"),
            ("a woman ' s dress , with stripes .", "a woman's dress, with stripes."),
            ("a woman 's dress", "a woman's dress"),
            ("  two   words ", "two words"),
            ("", ""),
        ];
        for (input, expected) in cases {
            assert_eq!(tidy(input), expected);
        }
    }
}
