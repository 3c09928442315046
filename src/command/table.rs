//! Rows of words as a table on a terminal.

use std::fmt::Write;

/// Each column as wide as its widest cell; the first row says what they are.
pub fn aligned<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.max().unwrap_or(0)
    };
    let widths: [usize; N] = std::array::from_fn(width);
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            let _ = write!(line, "{cell:width$}  ");
        }
        text += line.trim_end();
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_they_must() {
        let row = |a: &str, b: &str, c: &str| [a, b, c].map(str::to_owned);
        let rows = [
            row("A", "NAME", "C"),
            row("éé", "", "x y"),
            row("1", "2", ""),
        ];
        assert_eq!(aligned(&rows), "A   NAME  C\néé        x y\n1   2\n");
    }
}
