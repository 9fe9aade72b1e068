//! A piece of a Dockerfile with the lines that an error or a finding is about.

use image_tool::show::human::plain;

use super::lex::Span;

/// How many lines are shown before and after.
const AROUND: usize = 2;

/// The lines of `span`, marked, and those around them, as BuildKit shows them. Everything is safe for a terminal.
pub fn excerpt(file: &str, source: &[u8], span: Span) -> String {
    let text = String::from_utf8_lossy(source);
    let lines: Vec<&str> = text.lines().collect();
    let last = span.end.min(lines.len());
    let rule = "-".repeat(20);
    let mut shown = format!("{}:{}\n{rule}\n", plain(file), span.start);
    for number in span.start.saturating_sub(AROUND).max(1)..=(last + AROUND).min(lines.len()) {
        let mark = if (span.start..=last).contains(&number) { ">>>" } else { "   " };
        let line = plain(&lines[number - 1].trim_end().replace('\t', "    "));
        shown += format!("{number:4} | {mark} {line}").trim_end();
        shown.push('\n');
    }
    shown + &rule + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_are_marked_and_a_few_others_are_shown() {
        let source = b"FROM a\n\nRUN <<E\n\tx\x1b[0m\nE\nCMD y\nCMD z\nCMD w\n";
        let expected = "D:3\n--------------------\n   1 |     FROM a\n   2 |\n   3 | >>> RUN <<E\n   4 | >>>     x\\u{1b}[0m\n   5 | >>> E\n   \
                        6 |     CMD y\n   7 |     CMD z\n--------------------\n";
        assert_eq!(excerpt("D", source, Span { start: 3, end: 5 }), expected);
        assert!(excerpt("D", b"", Span { start: 1, end: 1 }).starts_with("D:1\n"));
    }
}
