//! Pieces of Markdown: tables, and lists of names that may be long.

/// A table whose first column is text and whose others are numbers.
pub(super) fn table(heads: &[String], rows: &[Vec<String>]) -> String {
    let rule = (0..heads.len()).map(|column| if column == 0 { "---" } else { "---:" }.to_owned());
    let lines = [heads.to_vec(), rule.collect()].into_iter().chain(rows.iter().cloned());
    lines.map(|cells| line(&cells)).collect()
}

/// A table of what goes with what, without heads.
pub(super) fn facts(facts: &[(String, String)]) -> String {
    let rows = facts.iter().map(|(what, value)| line(&[what.clone(), value.clone()]));
    ["| | |\n|---|---|\n".to_owned()].into_iter().chain(rows).collect()
}

fn line(cells: &[String]) -> String {
    // because: a bar ends a cell, and a line a row
    let cells = cells.iter().map(|cell| cell.replace('|', "\\|").replace('\n', " "));
    format!("| {} |\n", cells.collect::<Vec<_>>().join(" | "))
}

/// Something that is to be read letter by letter, such as a file's name.
pub(super) fn literal(text: &str) -> String {
    format!("`{}`", text.replace('`', "'").replace('\n', " "))
}

/// With two decimals; `–` for what is not there.
pub(super) fn percent(percent: Option<f64>) -> String {
    percent.map_or("–".to_owned(), |percent| format!("{percent:.2}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_stay_cells() {
        let cells = |row: &[&str]| row.iter().map(|&cell| cell.to_owned()).collect::<Vec<_>>();
        let table = table(&cells(&["", "R@1"]), &[cells(&["a|b\nc", "1.00"])]);
        assert_eq!(table, "|  | R@1 |\n| --- | ---: |\n| a\\|b c | 1.00 |\n");
        assert_eq!(literal("a`b"), "`a'b`");
    }
}
