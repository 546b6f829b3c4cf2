//! Which texts share a forward pass: those of about one length, so that little is padding.

/// Tokens of padding that cost less than another pass.
// because: a pass costs as much as 45 (CLIP B/32) to 80 tokens (bundled) beside those that it has
const PADDING: usize = 64;

/// The texts of each pass, by their numbers; within a pass, texts times the longest one's length is
/// at most `tokens`, except for a text that is longer alone.
pub(crate) fn by_length(lengths: &[usize], tokens: usize) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    order.sort_by_key(|&n| lengths[n]);
    let mut passes: Vec<Vec<usize>> = Vec::new();
    let mut unpadded = 0;
    for n in order {
        let length = lengths[n];
        match passes.last_mut() {
            Some(pass) if joins(pass.len() + 1, length, unpadded + length, tokens) => pass.push(n),
            _ => {
                passes.push(vec![n]);
                unpadded = 0;
            }
        }
        unpadded += length;
    }
    passes
}

/// Whether a pass of so many texts, the longest of this length, is within the budget and not
/// mostly padding.
fn joins(texts: usize, longest: usize, unpadded: usize, tokens: usize) -> bool {
    let padded = texts * longest;
    padded <= tokens && padded - unpadded <= PADDING
}

#[cfg(test)]
mod tests {
    use super::by_length;

    #[test]
    fn texts_of_one_length_fill_the_budget() {
        assert_eq!(by_length(&[10; 5], 20), [vec![0, 1], vec![2, 3], vec![4]]);
        assert_eq!(by_length(&[], 20), Vec::<Vec<usize>>::new());
    }

    #[test]
    fn a_text_above_the_budget_has_a_pass_of_its_own() {
        assert_eq!(by_length(&[30, 5, 40], 20), [vec![1], vec![0], vec![2]]);
    }

    #[test]
    fn short_texts_are_not_padded_to_long_ones() {
        let lengths = [77, 6, 6, 76, 6, 6, 5];
        assert_eq!(by_length(&lengths, 2_048), [vec![6, 1, 2, 4, 5], vec![3, 0]]);
    }

    #[test]
    fn a_little_padding_is_cheaper_than_another_pass() {
        assert_eq!(by_length(&[9, 12, 10], 2_048), [vec![0, 2, 1]]);
    }
}
