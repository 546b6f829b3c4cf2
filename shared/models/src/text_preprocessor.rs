//! What an encoder's texts go through before the device: cut into tokens and framed, on any thread.
//! How a text becomes ids is `text`'s.

use std::sync::Arc;

use weimocir_domain::LongText;

use crate::{
    error::{ModelError, TextError},
    text::{READ, TextTokenizer, Tokens},
};

#[derive(Debug, Clone)]
pub struct TextPreprocessor {
    tokenizer: Arc<TextTokenizer>,
    /// Tokens that the model reads at most.
    context: usize,
}

impl TextPreprocessor {
    pub(crate) fn new(tokenizer: TextTokenizer, context: usize) -> Self {
        Self { tokenizer: Arc::new(tokenizer), context }
    }

    /// The token ids of each text, in order.
    ///
    /// # Errors
    /// An empty text, or one longer than the model reads where that is refused.
    pub fn tokens(&self, texts: &[String], long: LongText) -> Result<Vec<Tokens>, ModelError> {
        texts.iter().enumerate().map(|(index, text)| self.one(index, text, long)).collect()
    }

    /// The token ids of no text at all, as the published code has them for a missing caption.
    ///
    /// # Errors
    /// A tokenizer that cannot.
    pub fn of_nothing(&self) -> Result<Tokens, ModelError> {
        self.tokenizer.framed(0, "", self.context)
    }

    fn one(&self, index: usize, text: &str, long: LongText) -> Result<Tokens, ModelError> {
        let tokens = self.tokenizer.encode(index, text, self.context)?;
        if !tokens.truncated || long == LongText::Truncate {
            return Ok(tokens);
        }
        let bytes = text.trim().len();
        let error = if bytes > READ {
            TextError::TooManyBytes { index, bytes, limit: READ }
        } else {
            TextError::TooLong { index, tokens: tokens.whole, limit: self.context }
        };
        Err(error.into())
    }
}
