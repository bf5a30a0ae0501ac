//! Tables as Docker's command line prints them: headings, and columns as wide as what is in them.

/// Least width of a column.
const LEAST: usize = 10;
/// Spaces between columns.
const GAP: usize = 3;

/// The table as lines, each with its newline.
pub fn render<const N: usize>(headings: [&str; N], rows: &[[String; N]]) -> String {
    let lines = std::iter::once(headings.join("\t")).chain(rows.iter().map(|row| row.join("\t")));
    align(&lines.map(|line| line + "\n").collect::<String>())
}

/// Lines whose cells end with tabs, with spaces in place of those. What follows the last tab of a line is of no column.
pub fn align(text: &str) -> String {
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split('\t').collect()).collect();
    let mut widths = Vec::new();
    for line in &lines {
        for (column, cell) in line[..line.len() - 1].iter().enumerate() {
            let width = (cell.chars().count() + GAP).max(LEAST);
            match widths.get_mut(column) {
                Some(known) => *known = width.max(*known),
                None => widths.push(width),
            }
        }
    }
    let mut aligned = String::new();
    for line in &lines {
        let (last, cells) = line.split_last().expect("a line has a cell");
        for (cell, width) in cells.iter().zip(&widths) {
            aligned.push_str(cell);
            aligned.extend(std::iter::repeat_n(' ', width - cell.chars().count()));
        }
        aligned.push_str(last);
        aligned.push('\n');
    }
    aligned
}

#[cfg(test)]
mod tests {
    #[test]
    fn columns_are_as_wide_as_what_is_in_them() {
        let rows = [["a".to_owned(), "é".to_owned()], ["longer than ten".to_owned(), String::new()]];
        let text = super::render(["ID", "NAME"], &rows);
        assert_eq!(text, "ID                NAME\na                 é\nlonger than ten   \n");
    }
}
