use std::io::{self, Read as _};

use anyhow::Context as _;
use image_tool::program::pipe;
use image_tool::show::human;

/// Align a table of processes as `docker top` does.
///
/// Reads the table of ps(1) from standard input, as `run-tool ps` prints it.
#[derive(clap::Args)]
#[command(after_long_help = "Examples:
  run-tool ps web | bundle-tool top
  run-tool ps web -o pid,args | bundle-tool top")]
pub(crate) struct Top {}

/// A table of ten thousand processes is smaller.
const LIMIT: u64 = 64 << 20;

impl Top {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let Self {} = self;
        let mut text = String::new();
        io::stdin().lock().take(LIMIT).read_to_string(&mut text).context("read standard input")?;
        pipe::print(align(&text))
    }
}

/// The first line has the names of columns; what is behind the last of them belongs to it.
fn align(text: &str) -> String {
    let columns = text.lines().next().map_or(0, |line| line.split_whitespace().count());
    let mut aligned = String::new();
    for line in text.lines() {
        let mut rest = line.trim_start();
        for _ in 1..columns {
            let (cell, after) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
            aligned += &format!("{:<20}", human::plain(cell));
            if cell.chars().count() > 17 {
                aligned.push_str("   ");
            }
            rest = after.trim_start();
        }
        aligned += &human::plain(rest.trim_end());
        aligned.push('\n');
    }
    aligned
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_twenty_wide_and_the_last_one_has_blanks() {
        let text = "UID   PID CMD\nroot    7 sleep 300\n";
        let expected = format!("{:20}{:20}CMD\n{:20}{:20}sleep 300\n", "UID", "PID", "root", "7");
        assert_eq!(align(text), expected);
        assert_eq!(align(""), "");
    }
}
