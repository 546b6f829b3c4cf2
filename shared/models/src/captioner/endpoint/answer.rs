//! A chat completion's body to captions, or what is wrong with it.

use serde::Deserialize;
use serde_json::Value;

use super::{super::refusal::is_refusal, facts::Facts};

/// The longest caption taken, in characters.
// because: the method's captions have 163 at most, and an encoder reads 77 tokens
const LONGEST: usize = 500;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    Captions {
        r: usize,
    },
    /// Of which `r` captions are made.
    Facts {
        r: usize,
    },
}

impl Wanted {
    pub(super) fn r(self) -> usize {
        match self {
            Self::Captions { r } | Self::Facts { r } => r,
        }
    }
}

/// An answer that has no captions in it. Another try may have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unusable {
    #[error("the model refuses: {0}")]
    Refused(String),
    #[error("the server's filter withheld the answer")]
    Filtered,
    #[error("the answer was cut off after so many tokens as it may have")]
    CutOff,
    #[error("the answer is empty")]
    Empty,
    #[error("the answer is not the JSON asked for: {0}")]
    Malformed(String),
    #[error("the answer has {found} different captions, {wanted} were asked for")]
    TooFew { found: usize, wanted: usize },
    #[error("a caption has {0} characters, of at most {LONGEST}")]
    TooLong(usize),
}

#[derive(Debug, Deserialize)]
pub(super) struct Completion {
    choices: Vec<Choice>,
}

#[derive(Debug, Deserialize)]
struct Choice {
    message: Message,
    finish_reason: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Message {
    content: Option<Content>,
    refusal: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Debug, Deserialize)]
struct Part {
    text: Option<String>,
}

impl Completion {
    pub(super) fn captions(self, wanted: Wanted) -> Result<Vec<String>, Unusable> {
        let Some(choice) = self.choices.into_iter().next() else { return Err(Unusable::Empty) };
        if let Some(refusal) = choice.message.refusal.filter(|text| !text.trim().is_empty()) {
            return Err(Unusable::Refused(shown(&refusal)));
        }
        let finish = choice.finish_reason.as_deref();
        if finish == Some("content_filter") {
            return Err(Unusable::Filtered);
        }
        let text = match choice.message.content {
            Some(Content::Text(text)) => text,
            Some(Content::Parts(parts)) => parts.into_iter().filter_map(|part| part.text).collect(),
            None => String::new(),
        };
        let outcome = captions(&text, wanted);
        match finish {
            Some("length") if outcome.is_err() => Err(Unusable::CutOff),
            _ => outcome,
        }
    }
}

fn captions(text: &str, wanted: Wanted) -> Result<Vec<String>, Unusable> {
    if text.trim().is_empty() {
        return Err(Unusable::Empty);
    }
    let sentences = match wanted {
        Wanted::Captions { .. } => json_in(text).and_then(listed),
        Wanted::Facts { .. } => json_in(text).and_then(|value| {
            let facts: Facts = serde_json::from_value(value).map_err(|e| e.to_string())?;
            Ok(facts.sentences())
        }),
    };
    // because: a model that declines mostly does so in plain words
    let sentences = sentences.map_err(|reason| match is_refusal(text) {
        true => Unusable::Refused(shown(text)),
        false => Unusable::Malformed(format!("{reason}, in: {}", shown(text))),
    })?;
    checked(&sentences, wanted.r())
}

/// The JSON value of an answer, which may stand in a code fence, and after thoughts or a greeting.
fn json_in(text: &str) -> Result<Value, String> {
    let text = text.rsplit_once("</think>").map_or(text, |(_, answer)| answer);
    let text = text.split_once("```").map_or(text, |(_, fenced)| fenced);
    let start = text.find(['{', '[']).ok_or("there is none")?;
    // because: what follows the value is a fence's end or more talk
    let mut values = serde_json::Deserializer::from_str(&text[start..]).into_iter();
    match values.next() {
        Some(Ok(value)) => Ok(value),
        Some(Err(error)) => Err(error.to_string()),
        None => Err("there is none".to_owned()),
    }
}

/// `{"captions": […]}`, or the list alone.
fn listed(value: Value) -> Result<Vec<String>, String> {
    let list = match value {
        Value::Object(mut object) => object.remove("captions").ok_or("it has no \"captions\"")?,
        list => list,
    };
    serde_json::from_value(list).map_err(|_| "its captions are no list of texts".to_owned())
}

/// The first `r` different sentences, if there are so many and each could be a caption.
fn checked(sentences: &[String], r: usize) -> Result<Vec<String>, Unusable> {
    let mut captions: Vec<String> = Vec::new();
    let mut seen: Vec<String> = Vec::new();
    for sentence in sentences {
        let caption = sentence.split_whitespace().collect::<Vec<_>>().join(" ");
        if is_refusal(&caption) {
            return Err(Unusable::Refused(shown(&caption)));
        }
        let length = caption.chars().count();
        if length > LONGEST {
            return Err(Unusable::TooLong(length));
        }
        let bare: String =
            caption.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect();
        if bare.contains(char::is_alphabetic) && !seen.contains(&bare) {
            seen.push(bare);
            captions.push(caption);
        }
    }
    if captions.len() < r {
        return Err(Unusable::TooFew { found: captions.len(), wanted: r });
    }
    captions.truncate(r);
    Ok(captions)
}

/// A text's beginning, for an error.
pub(super) fn shown(text: &str) -> String {
    const SHOWN: usize = 200;
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: Wanted = Wanted::Captions { r: 2 };

    #[test]
    fn json_is_found_in_what_models_put_around_it() {
        for text in [
            r#"{"captions": ["A red hat.", "A hat that is red."]}"#,
            "```json\n{\"captions\": [\"A red hat.\", \"A hat that is red.\"]}\n```\nAnything else?",
            "```\n[\"A red hat.\", \" A hat\\n that is red. \"]```",
            "<think>{a hat?}</think>Here it is: {\"captions\": [\"A red hat.\", \"A hat that is red.\", \"More.\"]}",
        ] {
            let found = captions(text, TWO).unwrap();
            assert_eq!(found, ["A red hat.", "A hat that is red."], "{text}");
        }
    }

    #[test]
    fn what_is_no_answer_is_told_apart() {
        for (text, why) in [
            ("", "is empty"),
            ("A red hat. A hat.", "there is none"),
            (r#"{"captions": ["A red hat.""#, "EOF"),
            (r#"{"sentences": ["A red hat.", "A hat."]}"#, "no \"captions\""),
            (r#"{"captions": [1, 2]}"#, "no list of texts"),
            (r#"{"captions": "A red hat."}"#, "no list of texts"),
            (r#"{"captions": ["A red hat.", "a red hat"]}"#, "1 different captions, 2 were"),
            (r#"{"captions": ["A red hat.", "  ", "--"]}"#, "1 different captions"),
            (r#"{"captions": ["A red hat.", "I cannot say more."]}"#, "refuses: I cannot say"),
            ("I'm sorry, but I can't help with {that}.", "refuses: I'm sorry"),
        ] {
            let error = captions(text, TWO).unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
        let long = format!(r#"{{"captions": ["A hat.", "{}"]}}"#, "a ".repeat(400));
        assert_eq!(captions(&long, TWO), Err(Unusable::TooLong(799)));
    }

    #[test]
    fn facts_are_read_and_made_into_sentences() {
        let text = r#"{"subject": "hat", "count": 1, "colours": ["red"], "attributes": [], "background": "", "relations": []}"#;
        let found = captions(text, Wanted::Facts { r: 2 }).unwrap();
        assert_eq!(found, ["A red hat.", "The image shows a hat."]);
        let error = captions(r#"{"subject": 7}"#, Wanted::Facts { r: 2 }).unwrap_err().to_string();
        assert!(error.contains("invalid type"), "{error}");
        let few = captions(r#"{"subject": "hat"}"#, Wanted::Facts { r: 3 });
        assert_eq!(few, Err(Unusable::TooFew { found: 2, wanted: 3 }));
    }
}
