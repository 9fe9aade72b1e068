//! What a command may do to a terminal: colour its own lines.

use image_tool::show::human::{lines, plain};

/// A line of a command for a terminal. Colours pass, up to the line's end, as in the terminal that BuildKit emulates for each step.
/// All else that a terminal obeys does not: stages run at the same time, so a cursor that moves would write into the lines of other
/// steps and into ours. Other control sequences are left out (ECMA-48, "Control sequences"), since they are of no use in a log, and the
/// rest is escaped.
pub(super) fn colours_only(line: &str) -> String {
    let mut safe = String::with_capacity(line.len());
    let mut rest = line;
    let mut is_coloured = false;
    while let Some((before, sequence)) = rest.split_once("\x1b[") {
        safe += &lines(before);
        let parameters = sequence.find(|byte: char| !(' '..='?').contains(&byte)).unwrap_or(sequence.len());
        let (parameters, after) = sequence.split_at(parameters);
        match after.chars().next() {
            Some('m') if parameters.chars().all(|byte| byte.is_ascii_digit() || ";:".contains(byte)) => {
                safe += &format!("\x1b[{parameters}m");
                is_coloured = true;
                rest = &after[1..];
            }
            Some('@'..='~') => rest = &after[1..],
            _ => {
                safe += &plain("\x1b[");
                rest = sequence;
            }
        }
    }
    safe += &lines(rest);
    if is_coloured { safe + "\x1b[0m" } else { safe }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_colours_its_own_lines_and_moves_no_cursor() {
        for (line, shown) in [
            ("plain\ttext", "plain\ttext"),
            ("\x1b[1;31mred\x1b[m text", "\x1b[1;31mred\x1b[m text\x1b[0m"),
            ("\x1b[01;31m\x1b[Kgrep\x1b[m\x1b[K", "\x1b[01;31mgrep\x1b[m\x1b[0m"),
            ("\x1b[2J\x1b[1A\x1b[?25l#1 DONE", "#1 DONE"),
            ("\x1b[>4;2mkeys", "keys"),
            ("\x1b]0;title\x07\u{9b}2J\u{202e}", "\\u{1b}]0;title\\u{7}\\u{9b}2J\\u{202e}"),
            ("\x1b[", "\\u{1b}["),
            ("\x1b[3\x1b[2J1m", "\\u{1b}[31m"),
            ("\x1b[12é", "\\u{1b}[12é"),
        ] {
            assert_eq!(colours_only(line), shown, "{line:?}");
        }
    }
}
