//! What a model says instead of a caption when it will not write one.

/// Phrases of a model that speaks of itself, which captions do not.
const PHRASES: [&str; 14] = [
    "i cannot",
    "i can't",
    "i am unable",
    "i'm unable",
    "i am not able",
    "i'm not able",
    "i won't",
    "i will not",
    "i'm sorry",
    "i am sorry",
    "i apologize",
    "i am programmed",
    "ai assistant",
    "as an ai",
];

/// Whether the text declines to describe the picture. Words in double quotes are not the model's
/// own: a sign may say "I can't".
pub(super) fn is_refusal(text: &str) -> bool {
    let own: String = text
        .to_lowercase()
        .replace('\u{2019}', "'")
        .replace(['\u{201c}', '\u{201d}'], "\"")
        .split('"')
        .step_by(2)
        .collect::<Vec<_>>()
        .join(" ");
    let words: Vec<&str> = own
        .split(|c: char| !(c.is_alphanumeric() || c == '\''))
        .filter(|word| !word.is_empty())
        .collect();
    let text = format!(" {} ", words.join(" "));
    PHRASES.iter().any(|phrase| text.contains(&format!(" {phrase} ")))
}

#[cfg(test)]
mod tests {
    use super::is_refusal;

    #[test]
    fn a_model_that_declines_is_told_from_one_that_describes() {
        for refusal in [
            "I'm unable to help with that.",
            "I\u{2019}m sorry, but I can\u{2019}t describe people.",
            "Unfortunately, I cannot provide descriptions of this picture",
            "As an AI, it is best not to guess.",
            "However, I am programmed to be harmless",
        ] {
            assert!(is_refusal(refusal), "{refusal}");
        }
        for caption in [
            "A red mug says \"I can't even\" in white letters.",
            "A sign with the words \u{201c}I cannot wait\u{201d} hangs on a door.",
            "A Hawaiian AI assistants' conference.",
            "Two dogs are unable to reach a ball.",
            "",
        ] {
            assert!(!is_refusal(caption), "{caption}");
        }
    }
}
