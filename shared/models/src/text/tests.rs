//! Token ids against the originals, and what files that are wrong are told.

use std::{
    io::{Read, Write},
    path::PathBuf,
};

use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use serde::Deserialize;

use weimocir_domain::LongText;

use super::{READ, TextTokenizer, TokenizerFiles, byte_pairs, tidy};
use crate::{error::ModelError, text_preprocessor::TextPreprocessor};

const CONTEXT: usize = 77;
const WORD_PIECES: &[u8] = include_bytes!("../../vocabularies/bert-base-uncased.txt");

fn fixture(name: &str) -> Vec<u8> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/text");
    std::fs::read(folder.join(name)).unwrap()
}

fn openai_merges() -> Vec<u8> {
    fixture("bpe_simple_vocab_16e6.txt.gz")
}

/// The same vocabulary as Hugging Face's two files write it.
fn byte_pairs() -> TokenizerFiles {
    let (vocabulary, merges) = byte_pairs::parse_openai(&openai_merges()).unwrap();
    let lines = merges.iter().map(|(left, right)| format!("{left} {right}\n"));
    let merges = format!("#version: 0.2\n{}", lines.collect::<String>());
    let vocabulary: std::collections::HashMap<String, u32> = vocabulary.into_iter().collect();
    let vocabulary = serde_json::to_vec(&vocabulary).unwrap();
    TokenizerFiles::BytePairs { vocabulary, merges: merges.into_bytes() }
}

fn load(files: &TokenizerFiles) -> Result<TextTokenizer, ModelError> {
    TextTokenizer::load(files, |file| format!("there/{file}"))
}

/// A text and its ids by each original.
#[derive(Deserialize)]
struct Row {
    text: String,
    clip: Vec<u32>,
    bert: Vec<u32>,
    openai: Vec<u32>,
}

fn rows() -> Vec<Row> {
    let mut json = String::new();
    GzDecoder::new(&fixture("texts.json.gz")[..]).read_to_string(&mut json).unwrap();
    serde_json::from_str(&json).unwrap()
}

fn check_equal(tokenizer: &TextTokenizer, expected: impl Fn(&Row) -> &Vec<u32>) {
    let rows = rows();
    assert_eq!(rows.len(), 1000);
    let mut wrong = 0;
    let mut cut = 0;
    for (index, row) in rows.iter().enumerate() {
        let found = tokenizer.encode(index, &row.text, CONTEXT).unwrap();
        cut += usize::from(found.truncated);
        if found.ids != *expected(row) {
            wrong += 1;
            eprintln!("{:?}\n  expected {:?}\n  found    {:?}", row.text, expected(row), found.ids);
        }
    }
    assert_eq!(wrong, 0, "texts of 1,000 that differ");
    assert!(cut > 20, "{cut} texts were cut");
}

fn blip() -> TextTokenizer {
    TextTokenizer::load(&TokenizerFiles::Blip, str::to_owned).unwrap()
}

#[test]
fn vocabulary_and_merges_are_transformers_clip_tokenizer() {
    check_equal(&load(&byte_pairs()).unwrap(), |row| &row.clip);
}

#[test]
fn word_pieces_are_transformers_bert_tokenizer() {
    // The added tokens of BLIP in a text are words there.
    let plain = load(&TokenizerFiles::WordPieces(WORD_PIECES.to_vec())).unwrap();
    let blip = blip();
    check_equal(&blip, |row| &row.bert);
    for row in
        rows().iter().filter(|row| !row.text.contains("[DEC]") && !row.text.contains("[ENC]"))
    {
        assert_eq!(plain.encode(0, &row.text, CONTEXT).unwrap().ids, row.bert, "{:?}", row.text);
    }
}

#[test]
fn openais_merges_are_openais_tokenizer() {
    check_equal(&load(&TokenizerFiles::OpenAi(openai_merges())).unwrap(), |row| &row.openai);
}

#[test]
fn tokenizer_json_is_the_tokenizer_that_it_describes() {
    let built = load(&byte_pairs()).unwrap();
    let json = built.inner.to_string(false).unwrap().into_bytes();
    check_equal(&load(&TokenizerFiles::Json(json)).unwrap(), |row| &row.clip);
}

#[test]
fn blip_adds_its_two_tokens() {
    let blip = blip();
    assert_eq!(blip.inner.token_to_id("[DEC]"), Some(30522));
    assert_eq!(blip.inner.token_to_id("[ENC]"), Some(30523));
    assert_eq!(blip.decode(&[30522, 1037, 2417, 4377, 102]).unwrap(), "a red dress");
}

#[test]
fn a_text_that_fits_exactly_is_not_cut() {
    let clip = load(&byte_pairs()).unwrap();
    for (words, truncated) in [(75, false), (76, true)] {
        let tokens = clip.encode(0, &vec!["dog"; words].join(" "), CONTEXT).unwrap();
        assert_eq!((tokens.ids.len(), tokens.truncated), (CONTEXT, truncated));
        assert_eq!(tokens.ids.last(), Some(&49407));
    }
}

/// Millions of tokens would take the memory of a worker, and each level of an entity a pass of
/// OpenAI's cleaning.
#[test]
fn of_a_text_without_end_the_beginning_is_read() {
    for files in [byte_pairs(), TokenizerFiles::OpenAi(openai_merges()), TokenizerFiles::Blip] {
        let tokenizer = TextPreprocessor::new(load(&files).unwrap(), CONTEXT);
        let tokens = |text: &str, long| Ok(tokenizer.tokens(&[text.to_owned()], long)?.remove(0));
        let error = |text: &str, long| tokens(text, long).map_err(|e: ModelError| e.to_string());
        let nested = format!("&{}", "amp;".repeat(1_000_000));
        let digits = "0 ".repeat(1_000_000);
        for text in [nested, "é".repeat(1_000_000), digits.clone()] {
            assert!(tokens(&text, LongText::Truncate).unwrap().truncated);
            let error = error(&text, LongText::Refuse).unwrap_err();
            assert!(error.contains("bytes, and no more than 8192 are read"), "{error}");
        }
        let read = error(&digits[..READ], LongText::Refuse).unwrap_err();
        assert!(read.contains("has 4098 tokens"), "{read}");
        let of_all = tokens(&digits, LongText::Truncate).unwrap();
        assert_eq!(of_all.ids, tokens(&digits[..READ], LongText::Truncate).unwrap().ids);
        let space = " \n".repeat(READ);
        let dog = tokens(&format!("{space}dog{space}"), LongText::Refuse).unwrap();
        assert_eq!(dog, tokens("dog", LongText::Refuse).unwrap());
        let blank = error(&space, LongText::Truncate).unwrap_err();
        assert!(blank.contains("is empty"), "{blank}");
    }
}

#[test]
fn the_first_kind_of_files_that_is_whole_is_taken() {
    let find = |there: &'static [&'static str]| {
        let read = |file: &str| Ok(there.contains(&file).then(|| file.as_bytes().to_vec()));
        TokenizerFiles::find(read).unwrap().map(|files| files.contents().concat())
    };
    let first = |there| String::from_utf8(find(there).unwrap()).unwrap();
    assert_eq!(first(&["vocab.json", "merges.txt", "tokenizer.json"]), "tokenizer.json");
    assert_eq!(first(&["vocab.json", "merges.txt"]), "vocab.jsonmerges.txt");
    assert_eq!(first(&["vocab.json", "vocab.txt"]), "vocab.txt");
    assert_eq!(first(&["bpe_simple_vocab_16e6.txt.gz"]), "bpe_simple_vocab_16e6.txt.gz");
    assert_eq!(find(&["vocab.json"]), None);
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn bad_files_are_named_with_what_is_wrong() {
    let pairs = |vocabulary: &str, merges: &str| TokenizerFiles::BytePairs {
        vocabulary: vocabulary.into(),
        merges: merges.into(),
    };
    let specials = r#"{"<|startoftext|>": 0, "<|endoftext|>": 1, "a": 2, "b</w>": 3}"#;
    let cases = [
        (TokenizerFiles::Json(b"{".to_vec()), "there/tokenizer.json", "EOF"),
        (pairs("[]", ""), "there/vocab.json", "invalid type"),
        (pairs(specials, "a b c"), "there/merges.txt", "line 1 is not a pair of tokens: \"a b c\""),
        (pairs(specials, "#version: 0.2\na b</w>\n"), "there/vocab.json", "ab</w>"),
        (pairs(r#"{"<|endoftext|>": 1}"#, ""), "there/vocab.json", "<|startoftext|>"),
        (TokenizerFiles::WordPieces(b"[UNK]\n[CLS]\na\n".to_vec()), "there/vocab.txt", "[SEP]"),
        (TokenizerFiles::WordPieces(vec![0xff, 0xfe]), "there/vocab.txt", "UTF-8"),
        (TokenizerFiles::OpenAi(b"#version: 0.2\ni n\nt h\n".to_vec()), "16e6.txt.gz", "gzip"),
        (TokenizerFiles::OpenAi(gzip("#version\ni n\n")), "16e6.txt.gz", "1 merges of 48894"),
        (TokenizerFiles::OpenAi(gzip("#version\ni n x\n")), "16e6.txt.gz", "line 2"),
        (
            TokenizerFiles::OpenAi(openai_merges()[..5000].to_vec()),
            "16e6.txt.gz",
            "incomplete deflate stream",
        ),
    ];
    for (files, file, reason) in cases {
        let error = load(&files).unwrap_err().to_string();
        assert!(error.contains(file) && error.contains(reason), "\"{error}\": {file}, {reason}");
    }
}

#[test]
fn a_text_of_white_space_is_refused() {
    let error = blip().encode(3, " \t\n", CONTEXT).unwrap_err();
    assert!(error.to_string().contains("text 3 is empty"), "{error}");
}

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
