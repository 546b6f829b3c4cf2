//! Modifiers as the published code writes them.

/// The published code's quirk: ` [FORWARD] ` before each piece between the letters "and", wherever
/// they stand.
pub(super) fn published(modifier: &str) -> String {
    modifier.split("and").map(|piece| format!(" [FORWARD] {piece}")).collect()
}

/// FashionIQ's two sentences as one: `c0.strip('.?, ').capitalize() + ' and ' + c1.strip('.?, ')`.
pub(super) fn joined(first: &str, second: &str) -> String {
    let strip = |text: &str| text.trim_matches(['.', '?', ',', ' ']).to_owned();
    format!("{} and {}", capitalized(&strip(first)), strip(second))
}

/// The first letter large, all others small, as Python has it.
fn capitalized(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().into_iter().flat_map(char::to_uppercase);
    first.chain(letters.as_str().to_lowercase().chars()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_are_joined_as_python_joins_them() {
        for (first, second, expected) in [
            ("is a tan shirt.", "Has LONGER sleeves?, ", "Is a tan shirt and Has LONGER sleeves"),
            (" Is More BLUE,", "", "Is more blue and "),
            ("", "éa", " and éa"),
            ("élan", "x\n.", "Élan and x\n"),
        ] {
            assert_eq!(joined(first, second), expected);
        }
    }

    #[test]
    fn the_published_quirk_cuts_at_every_and() {
        assert_eq!(published("red and a hand"), " [FORWARD] red  [FORWARD]  a h [FORWARD] ");
        assert_eq!(published("red"), " [FORWARD] red");
    }
}
