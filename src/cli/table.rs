//! Tables as Docker's command line prints them: headings, and columns as wide as what is in them.

/// Least width of a column.
const LEAST: usize = 10;
/// Spaces between columns.
const GAP: usize = 3;

/// The table as lines, each with its newline.
pub fn render<const N: usize>(headings: [&str; N], rows: &[[String; N]]) -> String {
    let headings = headings.map(str::to_owned);
    let lines = || std::iter::once(&headings).chain(rows);
    let mut text = String::new();
    let widths: [usize; N] = std::array::from_fn(|column| {
        let widest = lines().map(|line| line[column].chars().count()).max().unwrap_or(0);
        (widest + GAP).max(LEAST)
    });
    for line in lines() {
        for (column, cell) in line.iter().enumerate() {
            text.push_str(cell);
            if column + 1 < N {
                text.extend(std::iter::repeat_n(' ', widths[column] - cell.chars().count()));
            }
        }
        text.push('\n');
    }
    text
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
