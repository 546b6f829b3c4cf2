//! What went wrong or was odd, by name and count.

use std::path::Path;

use super::markdown::literal;
use crate::error::EvaluationError;

/// Names that share a problem, each with what is to be said of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// For example "Pictures that cannot be read, whose images never rank".
    pub what: String,
    pub names: Vec<String>,
}

/// Names that are shown of each problem; the file has all.
const SHOWN: usize = 20;

/// The file of all names.
pub(super) const FILE: &str = "problems.txt";

/// A list for the report: every problem with its count and its first names.
pub(super) fn shown(problems: &[Problem]) -> String {
    let shown = problems.iter().map(|Problem { what, names }| {
        let first: Vec<String> = names.iter().take(SHOWN).map(|name| literal(name)).collect();
        let rest = match names.len().saturating_sub(SHOWN) {
            0 => String::new(),
            rest => format!(", and {rest} more: see [{FILE}]({FILE})"),
        };
        format!("- {what} ({}): {}{rest}\n", names.len(), first.join(", "))
    });
    shown.collect()
}

/// Writes all names, each on a line of its own, below what is wrong with them.
pub(super) fn write(folder: &Path, problems: &[Problem]) -> Result<(), EvaluationError> {
    let lists = problems.iter().map(|Problem { what, names }| {
        let lines: String =
            names.iter().map(|name| format!("  {}\n", name.replace('\n', " "))).collect();
        format!("{what} ({}):\n{lines}", names.len())
    });
    let file = folder.join(FILE);
    std::fs::write(&file, lists.collect::<Vec<_>>().join("\n"))
        .map_err(|error| EvaluationError::Write { file, reason: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lists_are_cut_with_the_count_of_the_rest() {
        let problem = |names: usize| Problem {
            what: "Without captions".to_owned(),
            names: (0..names).map(|n| format!("image-{n}")).collect(),
        };
        let text = shown(&[problem(23)]);
        assert!(text.starts_with("- Without captions (23): `image-0`, `image-1`, "), "{text}");
        assert!(
            text.ends_with("`image-19`, and 3 more: see [problems.txt](problems.txt)\n"),
            "{text}"
        );
        assert!(shown(&[problem(20)]).ends_with("`image-19`\n"));

        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), &[problem(23), problem(1)]).unwrap();
        let all = std::fs::read_to_string(folder.path().join(FILE)).unwrap();
        assert_eq!(all.lines().filter(|line| line.starts_with("  image-")).count(), 24);
    }
}
