//! The cleaning of OpenAI's tokenizer: `ftfy.fix_text`, `html.unescape` twice, white space to one
//! space, lower case.
//!
//! Of ftfy one part is left out, the repair of text that was decoded with the wrong encoding
//! ("cafÃ©"): such text keeps its wrong characters. What ftfy does to line breaks does not show,
//! since all white space becomes one space.

use std::sync::LazyLock;

use regex::{Captures, Regex};
use tokenizers::NormalizedString;

pub(super) fn clean(text: &str) -> String {
    let fixed = fix_text(text);
    let unescaped = unescape(&unescape(&fixed));
    unescaped.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase()
}

/// Line by line, and until nothing changes, as ftfy does. From the first `<` on, entities are taken
/// for intended.
fn fix_text(text: &str) -> String {
    let mut unescapes = true;
    let mut fixed = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        unescapes &= !line.contains('<');
        fixed.push_str(&fix_line(line, unescapes));
    }
    fixed
}

fn fix_line(line: &str, unescapes: bool) -> String {
    let mut line = line.to_owned();
    loop {
        let text = if unescapes { unescape_whole_entities(&line) } else { line.clone() };
        let text = TERMINAL_ESCAPE.replace_all(&fix_characters(&text), "").into_owned();
        let text: String = text.chars().filter(|c| !is_control(*c)).collect();
        let text = normalized(&text, NormalizedString::nfc);
        if text == line {
            return line;
        }
        line = text;
    }
}

#[expect(
    clippy::unwrap_used,
    reason = "a constant pattern, which every test of this file compiles"
)]
static TERMINAL_ESCAPE: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\x1b\[[\d;]*[a-zA-Z]").unwrap());

#[expect(
    clippy::unwrap_used,
    reason = "a constant pattern, which every test of this file compiles"
)]
static ENTITY: LazyLock<Regex> = LazyLock::new(|| Regex::new("&#?[0-9A-Za-z]{1,24};").unwrap());

/// Only what is an entity from `&` to `;`, and names in capitals, as in `&EACUTE;`.
fn unescape_whole_entities(text: &str) -> String {
    let replaced = ENTITY.replace_all(text, |found: &Captures<'_>| {
        let entity = &found[0];
        unescape_whole(entity)
            .or_else(|| {
                let is_capital = entity == entity.to_uppercase();
                let lower = unescape_whole(&entity.to_lowercase()).filter(|_| is_capital);
                lower.map(|character| character.to_uppercase())
            })
            .unwrap_or_else(|| entity.to_owned())
    });
    replaced.into_owned()
}

/// None if `entity` is not one, or only its beginning is.
fn unescape_whole(entity: &str) -> Option<String> {
    let text = unescape(entity);
    // No entity stands for more than two characters; what is left of one ends in more.
    (text != entity && text.chars().count() <= 2).then_some(text)
}

/// Python's `html.unescape`: the standard's, without the characters that the standard calls errors.
fn unescape(text: &str) -> String {
    if !text.contains('&') {
        return text.to_owned();
    }
    htmlize::unescape(text).chars().filter(|c| !is_ascii_control(*c)).collect()
}

/// Windows' characters in place of C1 controls, Latin ligatures taken apart, full and half width
/// made ordinary, and quotation marks straight.
fn fix_characters(text: &str) -> String {
    let mut fixed = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\u{80}'..='\u{9f}' => fixed.push(windows_1252(character)),
            '\u{2bc}' | '\u{2018}'..='\u{201b}' => fixed.push('\''),
            '\u{201c}'..='\u{201f}' => fixed.push('"'),
            '\u{3000}' => fixed.push(' '),
            '\u{ff01}'..='\u{ffef}' => {
                fixed.push_str(&normalized(
                    character.encode_utf8(&mut [0; 4]),
                    NormalizedString::nfkc,
                ));
            }
            _ => match ligature(character) {
                Some(letters) => fixed.push_str(letters),
                None => fixed.push(character),
            },
        }
    }
    fixed
}

/// What browsers take a C1 control for; five have no meaning there either.
fn windows_1252(control: char) -> char {
    const CHARACTERS: [char; 32] = [
        '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž',
        '\u{8f}', '\u{90}', '\u{2018}', '\u{2019}', '\u{201c}', '\u{201d}', '•', '–', '—', '˜',
        '™', 'š', '›', 'œ', '\u{9d}', 'ž', 'Ÿ',
    ];
    CHARACTERS.get(control as usize - 0x80).copied().unwrap_or(control)
}

fn ligature(character: char) -> Option<&'static str> {
    let letters = match character {
        'Ĳ' => "IJ",
        'ĳ' => "ij",
        'ŉ' => "ʼn",
        'Ǳ' => "DZ",
        'ǲ' => "Dz",
        'ǳ' => "dz",
        'Ǆ' => "DŽ",
        'ǅ' => "Dž",
        'ǆ' => "dž",
        'Ǉ' => "LJ",
        'ǈ' => "Lj",
        'ǉ' => "lj",
        'Ǌ' => "NJ",
        'ǋ' => "Nj",
        'ǌ' => "nj",
        'ﬀ' => "ff",
        'ﬁ' => "fi",
        'ﬂ' => "fl",
        'ﬃ' => "ffi",
        'ﬄ' => "ffl",
        'ﬅ' => "ſt",
        'ﬆ' => "st",
        _ => return None,
    };
    Some(letters)
}

/// ASCII's control characters but for its white space.
fn is_ascii_control(character: char) -> bool {
    matches!(character, '\0'..='\u{8}' | '\u{b}' | '\u{e}'..='\u{1f}' | '\u{7f}')
}

/// The control characters that ftfy removes.
fn is_control(character: char) -> bool {
    is_ascii_control(character)
        || matches!(
            character,
            '\u{206a}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffc}'
        )
}

fn normalized(text: &str, form: impl Fn(&mut NormalizedString) -> &mut NormalizedString) -> String {
    let mut text = NormalizedString::from(text);
    form(&mut text);
    text.get().to_owned()
}
