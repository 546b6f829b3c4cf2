//! CLIP's byte-level BPE, from Hugging Face's vocab.json and merges.txt or from OpenAI's merges.

use std::{collections::HashMap, io::Read};

use flate2::read::GzDecoder;
use tokenizers::{
    AddedToken, Result, SplitDelimiterBehavior, Tokenizer,
    models::bpe::{BPE, Merges, Vocab},
    normalizers::{Lowercase, NFC, Replace, Sequence as Normalizers, replace::ReplacePattern},
    pre_tokenizers::{
        byte_level::ByteLevel,
        sequence::Sequence as PreTokenizers,
        split::{Split, SplitPattern},
    },
    processors::roberta::RobertaProcessing,
};

const START: &str = "<|startoftext|>";
const END: &str = "<|endoftext|>";
const WORD_END: &str = "</w>";

/// What one word is: a special token, an English ending, letters, one digit, or anything else.
const WORDS: &str =
    r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+";

/// With 512 tokens for bytes and two special ones, CLIP's vocabulary of 49,408.
const OPENAI_MERGE_COUNT: usize = 48_894;

/// Far more than the 3 MB of the published file.
const OPENAI_LIMIT: u64 = 64 << 20;

/// vocab.json: each token's id.
pub(super) fn parse_vocabulary(json: &[u8]) -> Result<Vocab> {
    let tokens: HashMap<String, u32> = serde_json::from_slice(json)?;
    Ok(tokens.into_iter().collect())
}

/// merges.txt: a line for the version, then a pair on each line, the most frequent first.
pub(super) fn parse_merges(text: &[u8]) -> Result<Merges> {
    let text = std::str::from_utf8(text)?;
    let has_version = text.starts_with("#version");
    let lines = text.lines().enumerate().skip(usize::from(has_version));
    lines.filter(|(_, line)| !line.is_empty()).map(|(n, line)| parse_merge(n, line)).collect()
}

fn parse_merge(index: usize, line: &str) -> Result<(String, String)> {
    let parts: Vec<&str> = line.split_whitespace().collect();
    match parts[..] {
        [left, right] => Ok((left.to_owned(), right.to_owned())),
        _ => Err(format!("line {} is not a pair of tokens: \"{line}\"", index + 1).into()),
    }
}

/// OpenAI's file, which names no ids: the vocabulary is the bytes, the bytes that end a word, what
/// each merge makes, and the special tokens, in this order. Of its merges only the first count.
pub(super) fn parse_openai(gzip: &[u8]) -> Result<(Vocab, Merges)> {
    let mut text = String::new();
    GzDecoder::new(gzip).take(OPENAI_LIMIT).read_to_string(&mut text)?;
    let lines = text.lines().enumerate().skip(1).take(OPENAI_MERGE_COUNT);
    let merges: Merges = lines.map(|(n, line)| parse_merge(n, line)).collect::<Result<_>>()?;
    if merges.len() < OPENAI_MERGE_COUNT {
        return Err(format!("it has {} merges of {OPENAI_MERGE_COUNT}", merges.len()).into());
    }
    let mut bytes: Vec<char> = ByteLevel::alphabet().into_iter().collect();
    bytes.sort_unstable();
    let tokens = bytes
        .iter()
        .map(char::to_string)
        .chain(bytes.iter().map(|byte| format!("{byte}{WORD_END}")))
        .chain(merges.iter().map(|(left, right)| format!("{left}{right}")))
        .chain([START.to_owned(), END.to_owned()]);
    let vocabulary = tokens.zip(0..).collect();
    Ok((vocabulary, merges))
}

/// What transformers' `CLIPTokenizer` builds.
pub(super) fn hugging_face(vocabulary: Vocab, merges: Merges) -> Result<Tokenizer> {
    let model = builder(vocabulary, merges).unk_token(END.to_owned()).build()?;
    let mut tokenizer = Tokenizer::new(model);
    let one_space = Replace::new(ReplacePattern::Regex(r"\s+".to_owned()), " ")?;
    let normalizers = vec![NFC.into(), one_space.into(), Lowercase.into()];
    tokenizer.with_normalizer(Some(Normalizers::new(normalizers)))?;
    let bytes = ByteLevel::default().add_prefix_space(false);
    tokenizer
        .with_pre_tokenizer(Some(PreTokenizers::new(vec![split(WORDS)?.into(), bytes.into()])));
    finish(tokenizer)
}

/// What OpenAI's `SimpleTokenizer` does to a text that is clean already. A special token that the text
/// spells out counts everywhere; in the original, not directly after punctuation.
pub(super) fn openai(vocabulary: Vocab, merges: Merges) -> Result<Tokenizer> {
    let mut tokenizer = Tokenizer::new(builder(vocabulary, merges).build()?);
    let words = split(&format!("(?i){WORDS}"))?;
    let bytes = ByteLevel::default().add_prefix_space(false).use_regex(false);
    tokenizer.with_pre_tokenizer(Some(PreTokenizers::new(vec![words.into(), bytes.into()])));
    finish(tokenizer)
}

fn builder(vocabulary: Vocab, merges: Merges) -> tokenizers::models::bpe::BpeBuilder {
    BPE::builder().vocab_and_merges(vocabulary, merges).end_of_word_suffix(WORD_END.to_owned())
}

fn split(words: &str) -> Result<Split> {
    Split::new(SplitPattern::Regex(words.to_owned()), SplitDelimiterBehavior::Removed, true)
}

/// The special tokens, also around every text, and the way back to text.
fn finish(mut tokenizer: Tokenizer) -> Result<Tokenizer> {
    let id = |token: &str| {
        let id = tokenizer.token_to_id(token);
        id.map(|id| (token.to_owned(), id)).ok_or_else(|| format!("it has no token \"{token}\""))
    };
    let frame = RobertaProcessing::new(id(END)?, id(START)?);
    tokenizer.add_special_tokens([START, END].map(|token| AddedToken::from(token, true)))?;
    tokenizer.with_post_processor(Some(frame));
    tokenizer.with_decoder(Some(ByteLevel::default()));
    Ok(tokenizer)
}
