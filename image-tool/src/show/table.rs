//! Columns as Go's text/tabwriter aligns them with docker's settings.

use super::human;

/// The narrowest column of docker's lists of images, with the blanks after it.
pub const WIDE: usize = 20;

/// The narrowest column of docker's other lists.
pub const NARROW: usize = 10;

/// The blanks between columns.
const GAP: usize = 3;

/// Aligns lines whose cells end with tabs. What follows the last tab of a line belongs to no column. A column is a run of lines that have a
/// cell there. No column is narrower than `narrowest`.
#[must_use]
pub fn align(text: &str, narrowest: usize) -> String {
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split('\t').collect()).collect();
    let mut widths: Vec<Vec<usize>> = lines.iter().map(|cells| vec![0; cells.len() - 1]).collect();
    let columns = widths.iter().map(Vec::len).max().unwrap_or(0);
    for column in 0..columns {
        let mut begin = 0;
        while begin < lines.len() {
            let length = widths[begin..].iter().take_while(|widths| widths.len() > column).count();
            let block = begin..begin + length;
            let longest = lines[block.clone()].iter().map(|cells| cells[column].chars().count()).max().unwrap_or(0);
            for widths in &mut widths[block] {
                widths[column] = (longest + GAP).max(narrowest);
            }
            begin += length.max(1);
        }
    }
    let mut aligned = String::with_capacity(text.len() * 2);
    for (cells, widths) in lines.iter().zip(&widths) {
        for (cell, width) in cells.iter().zip(widths) {
            aligned.push_str(cell);
            aligned.extend(std::iter::repeat_n(' ', width - cell.chars().count()));
        }
        aligned.push_str(cells.last().copied().unwrap_or_default());
        aligned.push('\n');
    }
    aligned
}

/// A table of rows of cells, none of which can drive a terminal or break a line, with [`WIDE`] columns.
#[must_use]
pub fn of(rows: &[Vec<String>]) -> String {
    let lines = rows.iter().map(|row| {
        let cells: Vec<String> = row.iter().map(|cell| human::plain(cell)).collect();
        cells.join("\t") + "\n"
    });
    align(&lines.collect::<String>(), WIDE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_they_need_to_be() {
        let text = "CONTAINER ID\tPORTS\tNAMES\nec4c86b8a163\t\teager\n";
        assert_eq!(align(text, NARROW), "CONTAINER ID   PORTS     NAMES\nec4c86b8a163             eager\n");
        // A line without a cell ends the column above it.
        assert_eq!(align("a\tb\nlonger text\na\tb\n", NARROW), "a         b\nlonger text\na         b\n");
        assert_eq!(align("a long cell\tb\nplain\na\tb\n", NARROW), "a long cell   b\nplain\na         b\n");
        assert_eq!(align("", WIDE), "");
    }

    #[test]
    fn a_cell_cannot_drive_a_terminal() {
        assert_eq!(of(&[vec!["\u{9b}".into(), "a\nb".into()]]), format!("{:20}a\\nb\n", "\\u{9b}"));
    }
}
