//! BERT's uncased WordPiece, from vocab.txt.

use tokenizers::{
    AddedToken, Result, Tokenizer, decoders::wordpiece::WordPiece as Decoder,
    models::wordpiece::WordPiece, normalizers::BertNormalizer,
    pre_tokenizers::bert::BertPreTokenizer, processors::bert::BertProcessing,
};

/// bert-base-uncased's, which BLIP was trained with and whose checkpoints leave it out.
pub(super) const BERT_BASE_UNCASED: &[u8] =
    include_bytes!("../../vocabularies/bert-base-uncased.txt");

const UNKNOWN: &str = "[UNK]";
const START: &str = "[CLS]";
const END: &str = "[SEP]";

/// What transformers' `BertTokenizer` builds. The special tokens that the vocabulary lacks are left
/// out, but for those that every text needs.
pub(super) fn uncased(vocabulary: &[u8]) -> Result<Tokenizer> {
    let model = WordPiece::builder().vocab(WordPiece::read_bytes(vocabulary)?).build()?;
    let mut tokenizer = Tokenizer::new(model);
    let id = |token: &str| {
        let id = tokenizer.token_to_id(token);
        id.map(|id| (token.to_owned(), id)).ok_or_else(|| format!("it has no token \"{token}\""))
    };
    id(UNKNOWN)?;
    let frame = BertProcessing::new(id(END)?, id(START)?);
    let specials: Vec<AddedToken> = [UNKNOWN, END, "[PAD]", START, "[MASK]"]
        .into_iter()
        .filter(|token| id(token).is_ok())
        .map(|token| AddedToken::from(token, true))
        .collect();
    tokenizer.with_normalizer(Some(BertNormalizer::new(true, true, None, true)))?;
    tokenizer.with_pre_tokenizer(Some(BertPreTokenizer));
    tokenizer.with_decoder(Some(Decoder::new("##".to_owned(), true)));
    tokenizer.with_post_processor(Some(frame));
    tokenizer.add_special_tokens(specials)?;
    Ok(tokenizer)
}

/// What BLIP's `init_tokenizer` builds: `[DEC]`, which begins a caption, is 30522, and `[ENC]`,
/// which begins a text that meets a picture, 30523.
pub(super) fn blip() -> Result<Tokenizer> {
    let mut tokenizer = uncased(BERT_BASE_UNCASED)?;
    tokenizer.add_special_tokens(["[DEC]", "[ENC]"].map(|token| AddedToken::from(token, true)))?;
    Ok(tokenizer)
}
