//! Tables for people: columns as wide as they have to be.

/// Rows of equally many cells, words to the left in the columns named, numbers to the right.
pub(super) fn table(rows: &[Vec<String>], words: &[usize]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| {
        let lengths = rows.iter().filter_map(|row| row.get(column));
        lengths.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, width))| {
            if words.contains(&column) {
                format!("{cell:<width$}")
            } else {
                format!("{cell:>width$}")
            }
        });
        text += cells.collect::<Vec<_>>().join("  ").trim_end();
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let row = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
        let rows = [row(["NAME", "N", "ABOUT"]), row(["ä", "100", ""]), row(["abcdef", "1", "x"])];
        assert_eq!(table(&rows, &[0, 2]), "NAME      N  ABOUT\nä       100\nabcdef    1  x\n");
        assert_eq!(table(&[], &[]), "");
    }
}
