//! Structured captions: the model names facts, and the sentences are made of them here, the same
//! facts always giving the same sentences.

use serde::Deserialize;
use serde_json::{Value, json};

pub(super) const PROMPT: &str = "\
Name what this picture shows, as JSON alone, with these keys. \
\"subject\": the main subject as a noun without article, number or colour (\"dress\", \"puppies\"). \
\"count\": how many of it there are, as a number. \
\"colours\": its colours, the most prominent first. \
\"attributes\": its visible parts, patterns and materials, each as words that may follow \"with\" \
(\"long sleeves\", \"a round neck\"). \
\"background\": what is behind and around it, as words that may follow \"in front of\" \
(\"a white wall\"), or \"\" if there is nothing. \
\"relations\": what it does and where it is, each as words that may follow \"The subject\" \
(\"is lying on a sofa\"). \
Say only what is visible, in English, without guesses. Form: \
{\"subject\": \"\", \"count\": 1, \"colours\": [], \"attributes\": [], \"background\": \"\", \"relations\": []}";

pub(super) fn schema() -> Value {
    let texts = || json!({ "type": "array", "items": { "type": "string" } });
    json!({
        "type": "object",
        "properties": {
            "subject": { "type": "string" },
            "count": { "type": "integer" },
            "colours": texts(),
            "attributes": texts(),
            "background": { "type": "string" },
            "relations": texts(),
        },
        "required": ["subject", "count", "colours", "attributes", "background", "relations"],
        "additionalProperties": false,
    })
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Facts {
    subject: String,
    #[serde(default = "one")]
    count: u32,
    #[serde(default)]
    colours: Vec<String>,
    #[serde(default)]
    attributes: Vec<String>,
    #[serde(default)]
    background: String,
    #[serde(default)]
    relations: Vec<String>,
}

fn one() -> u32 {
    1
}

impl Facts {
    /// Sentences in this order, each only if its facts are there:
    /// 1. number, colours, subject and all attributes;
    /// 2. the subject in front of its background;
    /// 3. the subject with its colours, for each relation;
    /// 4. what the background is, for itself;
    /// 5. the subject with each attribute;
    /// 6. what colours the subject has.
    ///
    /// The caller takes the first R of them. None without a subject.
    pub(super) fn sentences(&self) -> Vec<String> {
        let subject = phrase(&self.subject);
        if subject.is_empty() || self.count == 0 {
            return vec![];
        }
        let (colours, attributes) = (phrases(&self.colours), phrases(&self.attributes));
        let relations = phrases(&self.relations);
        let background = phrase(&self.background);
        let coloured = match colours.is_empty() {
            true => subject.clone(),
            false => format!("{} {subject}", listed(&colours)),
        };
        let plain = self.counted(&subject);
        let mut sentences = vec![match attributes.is_empty() {
            true => self.counted(&coloured),
            false => format!("{} with {}", self.counted(&coloured), listed(&attributes)),
        }];
        if background.is_empty() {
            sentences.push(format!("The image shows {plain}"));
        } else {
            sentences.push(format!("The image shows {plain} in front of {background}"));
        }
        sentences.extend(relations.iter().map(|relation| format!("The {coloured} {relation}")));
        if !background.is_empty() {
            sentences.push(format!("The background is {background}"));
        }
        sentences.extend(attributes.iter().map(|attribute| format!("{plain} with {attribute}")));
        if !colours.is_empty() {
            let verb = if self.count == 1 { "is" } else { "are" };
            sentences.push(format!("The {subject} {verb} {}", listed(&colours)));
        }
        sentences.iter().map(|sentence| finished(sentence)).collect()
    }

    /// "a red dress", "an orange", "two dogs".
    fn counted(&self, noun: &str) -> String {
        const WORDS: [&str; 11] = [
            "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven",
            "twelve",
        ];
        if self.count == 1 {
            let vowel = noun.starts_with(['a', 'e', 'i', 'o', 'u', 'A', 'E', 'I', 'O', 'U']);
            return format!("{} {noun}", if vowel { "an" } else { "a" });
        }
        match WORDS.get(self.count as usize - 2) {
            Some(word) => format!("{word} {noun}"),
            None => format!("{} {noun}", self.count),
        }
    }
}

/// Without white space and stops at its ends.
fn phrase(text: &str) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    text.trim_matches(|c: char| c.is_whitespace() || ".,;".contains(c)).to_owned()
}

fn phrases(texts: &[String]) -> Vec<String> {
    texts.iter().map(|text| phrase(text)).filter(|text| !text.is_empty()).collect()
}

/// "red", "red and white", "red, white and blue".
fn listed(parts: &[String]) -> String {
    match parts {
        [] => String::new(),
        [only] => only.clone(),
        [most @ .., last] => format!("{} and {last}", most.join(", ")),
    }
}

/// With a capital and a stop.
fn finished(sentence: &str) -> String {
    let mut letters = sentence.chars();
    let first = letters.next().map(|letter| letter.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}.", letters.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sentences(facts: &str) -> Vec<String> {
        serde_json::from_str::<Facts>(facts).unwrap().sentences()
    }

    #[test]
    fn facts_become_sentences_in_a_fixed_order() {
        let dress = r#"{"subject": "dress", "count": 1, "colours": ["red", "white"],
            "attributes": ["long sleeves", "a round neck."], "background": "a grey wall",
            "relations": ["is worn by a woman"]}"#;
        assert_eq!(
            sentences(dress),
            [
                "A red and white dress with long sleeves and a round neck.",
                "The image shows a dress in front of a grey wall.",
                "The red and white dress is worn by a woman.",
                "The background is a grey wall.",
                "A dress with long sleeves.",
                "A dress with a round neck.",
                "The dress is red and white.",
            ]
        );
        let puppies = r#"{"subject": " puppies ", "count": 2, "colours": ["orange"]}"#;
        assert_eq!(
            sentences(puppies),
            ["Two orange puppies.", "The image shows two puppies.", "The puppies are orange."]
        );
        assert_eq!(sentences(r#"{"subject": "eggs", "count": 30}"#)[0], "30 eggs.");
        assert_eq!(sentences(r#"{"subject": "umbrella"}"#)[0], "An umbrella.");
    }

    #[test]
    fn without_a_subject_there_is_nothing_to_say() {
        assert!(sentences(r#"{"subject": " . ", "colours": ["red"]}"#).is_empty());
        assert!(sentences(r#"{"subject": "dogs", "count": 0}"#).is_empty());
    }
}
