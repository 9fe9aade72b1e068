//! From the bytes of a Dockerfile to its logical lines.
//!
//! This module decides what does not depend on the instruction: parser directives, comments, continuations, where a
//! keyword ends, which words are flags, and the bodies of heredocs. `parse` reads the rest of a line.
//!
//! The rules are those of BuildKit's `frontend/dockerfile/parser`, oddities included, because existing Dockerfiles rely
//! on them: `\\` at the end of a line does not continue it, a comment or an empty line inside a continued instruction
//! is skipped, and continuation lines keep their leading space.

use super::expand::{self, Quoting};
use super::heredoc::{self, Heredoc};
use super::problem::{Error, Problem};

/// A range of lines in the source, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Span {
    /// The first line.
    pub start: usize,
    /// The last line; the first one again for an instruction of a single line.
    pub end: usize,
}

/// The parser directives, `# name=value`, at the head of the file.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Directives {
    /// The character that escapes and continues: `\` or a backtick.
    pub escape: char,
    /// `# syntax=`: the frontend that docker would fetch. It is ignored.
    pub syntax: Option<String>,
    /// `# check=`: settings of the lint.
    pub check: Option<String>,
}

impl Default for Directives {
    fn default() -> Self {
        Self { escape: '\\', syntax: None, check: None }
    }
}

/// A logical line: an instruction that is not parsed yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The lines that it takes.
    pub span: Span,
    /// The keyword as written.
    pub keyword: String,
    /// The leading words that begin with `--`, without quotes.
    pub flags: Vec<String>,
    /// The rest of the line, trimmed.
    pub rest: String,
    /// The whole logical line, as the image's history shows it.
    pub original: String,
    /// The heredocs that the line names, in order, with their bodies.
    pub heredocs: Vec<Heredoc>,
    /// The comments directly above, without `#`, for the lint.
    pub comments: Vec<String>,
    /// The line where the continuations end, if one of them is an empty line, which BuildKit plans to refuse.
    pub empty_continuation: Option<usize>,
}

/// Splits a Dockerfile into its directives and logical lines. `name` is the file's name in errors.
pub fn lines(name: &str, source: &[u8]) -> Result<(Directives, Vec<Line>), Error> {
    let at = |line: usize, problem: Problem| Error { file: name.to_owned(), line, problem };
    let text = match std::str::from_utf8(source) {
        Ok(text) => text,
        Err(error) => {
            let line = 1 + source[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count();
            return Err(at(line, Problem::NotUtf8));
        }
    };
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let physical = &mut text.split_inclusive('\n').enumerate().map(|(number, line)| (number + 1, line));
    let mut head = Head::default();
    let mut found = Vec::new();
    let mut comments: Vec<String> = Vec::new();

    while let Some((number, raw)) = physical.next() {
        let line = trim_newline(raw).trim_start();
        let is_directive = head.directive(line).map_err(|problem| at(number, problem))?;
        if let Some(comment) = line.strip_prefix('#') {
            let comment = comment.trim();
            match comment.is_empty() {
                true => comments.clear(),
                false if !is_directive => comments.push(comment.to_owned()),
                false => {}
            }
            continue;
        }
        let escape = head.directives.escape;
        let Some(mut line) = logical(number, line, physical, escape) else { continue };
        line.comments = std::mem::take(&mut comments);
        if line.keyword.is_empty() {
            continue;
        }
        if may_have_heredoc(&line, escape) {
            bodies(&mut line, physical).map_err(|problem| at(number, problem))?;
        }
        found.push(line);
    }
    Ok((head.directives, found))
}

/// Joins the logical line that begins with `first`; `None` if it is empty.
fn logical<'a>(
    number: usize,
    first: &str,
    physical: &mut impl Iterator<Item = (usize, &'a str)>,
    escape: char,
) -> Option<Line> {
    let (first, mut continues) = trim_continuation(first, escape);
    if first.is_empty() && !continues {
        return None;
    }
    let mut logical = first.to_owned();
    let mut end = number;
    let mut empty_continuation = false;
    while continues {
        let Some((number, raw)) = physical.next() else { break };
        end = number;
        let next = trim_newline(raw);
        if next.trim_start().starts_with('#') {
            continue;
        }
        if next.trim_start().is_empty() {
            empty_continuation = true;
            continue;
        }
        let (part, more) = trim_continuation(next, escape);
        logical.push_str(part);
        continues = more;
    }
    let empty_continuation = empty_continuation.then_some(end);
    Some(Line { span: Span { start: number, end }, empty_continuation, ..split(&logical, escape) })
}

/// Reads the bodies of the heredocs that a line names.
fn bodies<'a>(line: &mut Line, physical: &mut impl Iterator<Item = (usize, &'a str)>) -> Result<(), Problem> {
    for mut heredoc in heredocs(&line.original)? {
        let mut terminated = false;
        for (number, raw) in physical.by_ref() {
            line.span.end = number;
            let end = trim_newline(raw);
            let end = if heredoc.chomp { end.trim_start_matches('\t') } else { end };
            if end == heredoc.name {
                terminated = true;
                break;
            }
            heredoc.content.push_str(raw);
        }
        if !terminated {
            return Err(Problem::UnterminatedHeredoc(heredoc.name));
        }
        line.heredocs.push(heredoc);
    }
    Ok(())
}

/// Reads a single instruction: an `ONBUILD` trigger from an image's config.
pub(super) fn trigger(name: &str, text: &str, escape: char) -> Result<Vec<Line>, Error> {
    // The escape character is all that a directive can change, so a directive is put before the text.
    match escape {
        '\\' => lines(name, text.as_bytes()).map(|(_, lines)| lines),
        other => lines(name, format!("# escape={other}\n{text}").as_bytes()).map(|(_, lines)| lines),
    }
}

/// Splits a logical line into keyword, flags and rest; the span is left at zero.
pub(super) fn split(logical: &str, escape: char) -> Line {
    let trimmed = logical.trim();
    let (keyword, rest) = match trimmed.find([' ', '\t', '\x0b', '\x0c', '\r']) {
        Some(at) => (&trimmed[..at], trimmed[at..].trim_start_matches([' ', '\t', '\x0b', '\x0c', '\r'])),
        None => (trimmed, ""),
    };
    let (flags, rest) = take_flags(rest, escape);
    Line {
        span: Span { start: 0, end: 0 },
        keyword: keyword.to_owned(),
        flags,
        rest: rest.trim().to_owned(),
        original: trimmed.to_owned(),
        heredocs: Vec::new(),
        comments: Vec::new(),
        empty_continuation: None,
    }
}

/// The directives so far, and whether a line has ended them.
#[derive(Default)]
struct Head {
    directives: Directives,
    seen: Vec<String>,
    done: bool,
}

impl Head {
    /// Takes `line` as a directive if it is one.
    fn directive(&mut self, line: &str) -> Result<bool, Problem> {
        if self.done {
            return Ok(false);
        }
        let Some((key, value)) = directive(line) else {
            self.done = true;
            return Ok(false);
        };
        let key = key.to_ascii_lowercase();
        if !["escape", "syntax", "check"].contains(&key.as_str()) {
            return Ok(false);
        }
        if self.seen.contains(&key) {
            return Err(Problem::RepeatedDirective(key));
        }
        match key.as_str() {
            "escape" => match value {
                "\\" => self.directives.escape = '\\',
                "`" => self.directives.escape = '`',
                other => return Err(Problem::BadEscape(other.to_owned())),
            },
            "syntax" => self.directives.syntax = Some(value.to_owned()),
            _ => self.directives.check = Some(value.to_owned()),
        }
        self.seen.push(key);
        Ok(true)
    }
}

/// Splits `# key=value`; `None` if the line has another form.
pub(super) fn directive(line: &str) -> Option<(&str, &str)> {
    let (key, value) = line.strip_prefix('#')?.split_once('=')?;
    let (key, value) = (key.trim(), value.trim());
    let well_formed =
        key.starts_with(|c: char| c.is_ascii_alphabetic()) && key.chars().all(|c| c.is_ascii_alphanumeric());
    (well_formed && !value.is_empty()).then_some((key, value))
}

fn trim_newline(line: &str) -> &str {
    line.trim_end_matches(['\r', '\n'])
}

/// Removes the character that continues a line, and tells whether it was there.
fn trim_continuation(line: &str, escape: char) -> (&str, bool) {
    match line.trim_end_matches([' ', '\t']).strip_suffix(escape) {
        Some(rest) if !rest.ends_with(escape) => (rest, true),
        _ => (line, false),
    }
}

/// Takes the leading words that begin with `--`, without quotes and escapes. A lone `--` ends them and is dropped.
fn take_flags(rest: &str, escape: char) -> (Vec<String>, &str) {
    let mut flags = Vec::new();
    let mut rest = rest.trim_start();
    while rest.starts_with("--") {
        let mut word = String::new();
        let mut quote = None;
        let mut chars = rest.char_indices();
        let mut end = rest.len();
        while let Some((at, c)) = chars.next() {
            match quote {
                None if c.is_whitespace() => {
                    end = at;
                    break;
                }
                None if c == '\'' || c == '"' => quote = Some(c),
                Some(open) if c == open => quote = None,
                _ if c == escape && quote != Some('\'') => word.extend(chars.next().map(|(_, c)| c)),
                _ => word.push(c),
            }
        }
        rest = rest[end..].trim_start();
        if word == "--" {
            break;
        }
        flags.push(word);
    }
    (flags, rest)
}

/// Whether a line may name heredocs: only these instructions do, and not in JSON form (`RUN ["cat", "<<x"]`).
fn may_have_heredoc(line: &Line, escape: char) -> bool {
    if !line.rest.contains("<<") {
        return false;
    }
    let inner;
    let line = if line.keyword.eq_ignore_ascii_case("onbuild") {
        inner = split(&line.rest, escape);
        &inner
    } else {
        line
    };
    let takes_one = ["add", "copy", "run"].iter().any(|keyword| line.keyword.eq_ignore_ascii_case(keyword));
    takes_one && serde_json::from_str::<Vec<String>>(&line.rest).is_err()
}

fn heredocs(logical: &str) -> Result<Vec<Heredoc>, Problem> {
    // A line that cannot be split into words has no heredoc; the parser reports what is wrong with it.
    let words = expand::words(logical, '\\', Quoting::Raw, &|_| None).unwrap_or_default();
    words.iter().filter_map(|word| heredoc::parse(word).transpose()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lex(source: &str) -> Vec<Line> {
        lines("Dockerfile", source.as_bytes()).unwrap().1
    }

    #[test]
    fn continuations_join_and_skip_comments() {
        let found = lex("RUN a \\\n  # not here\n\n  b \\ \t\n c\nCMD x\n");
        assert_eq!(found[0].rest, "a   b  c");
        assert_eq!(found[0].span, Span { start: 1, end: 5 });
        assert_eq!(found[0].empty_continuation, Some(5));
        assert_eq!(found[1].span, Span { start: 6, end: 6 });
    }

    #[test]
    fn doubled_escape_does_not_continue() {
        let found = lex("RUN a \\\\\nCMD b");
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].rest, "a \\\\");
    }

    #[test]
    fn a_backtick_escapes_where_the_directive_says() {
        let (directives, found) = lines("x", b"# escape=`\nRUN dir C:\\ `\n  more\n").unwrap();
        assert_eq!(directives.escape, '`');
        assert_eq!(found[0].rest, "dir C:\\   more");
    }

    #[test]
    fn directives_end_at_the_first_other_line() {
        for (source, escape) in [
            ("#syntax=a/b\n# escape = `\nFROM x", '`'),
            ("# a comment\n# escape=`\nFROM x", '\\'),
            ("\n# escape=`\nFROM x", '\\'),
            ("# unknown=1\n# escape=`\nFROM x", '`'),
        ] {
            assert_eq!(lines("x", source.as_bytes()).unwrap().0.escape, escape, "{source:?}");
        }
    }

    #[test]
    fn bad_heads_name_their_line() {
        for (source, message) in [
            ("# escape=\\\n# escape=`\n", "x:2: the directive escape may be given only once"),
            ("# escape=^\n", "x:1: the escape character must be \\ or `, not ^"),
        ] {
            assert_eq!(lines("x", source.as_bytes()).unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn flags_lose_their_quotes_and_end_at_the_first_word() {
        let found = lex("COPY --from=a \"--chown=b c\" --not");
        assert_eq!(found[0].flags, ["--from=a"]);
        let found = lex("COPY --from=a --chown='b c' x --y");
        assert_eq!(found[0].flags, ["--from=a", "--chown=b c"]);
        assert_eq!(found[0].rest, "x --y");
        assert_eq!(lex("RUN -- --x")[0].rest, "--x");
    }

    #[test]
    fn heredocs_are_collected_in_order() {
        let found = lex("COPY <<a <<-\"b\" /d/\none\na\n\ttwo\n\tb\nRUN x");
        assert_eq!(found[0].heredocs.len(), 2);
        assert_eq!(found[0].heredocs[0].content, "one\n");
        assert_eq!(found[0].heredocs[1].content, "\ttwo\n");
        assert!(found[0].heredocs[0].expand && !found[0].heredocs[1].expand);
        assert_eq!(found[0].span, Span { start: 1, end: 5 });
        assert_eq!(found[1].keyword, "RUN");
    }

    #[test]
    fn only_some_instructions_have_heredocs() {
        assert_eq!(lex("CMD cat <<EOF\nRUN x").len(), 2);
        assert_eq!(lex("RUN [\"cat\", \"<<EOF\"]\nRUN x").len(), 2);
        assert_eq!(lex("ONBUILD RUN <<EOF\nx\nEOF\n")[0].heredocs[0].content, "x\n");
    }

    #[test]
    fn an_open_heredoc_is_an_error_at_its_instruction() {
        let error = lines("D", b"FROM x\nRUN <<EOF\ntrue\n").unwrap_err();
        assert_eq!(error.to_string(), "D:2: unterminated heredoc EOF (end it with a line EOF)");
    }

    proptest! {
        #[test]
        fn never_panics(source in "(?s)([#\\\\`<>\"'$ \t\r\n=a-zA-Z{}-]|FROM |RUN |COPY |<<EOF|\u{feff}|é){0,80}") {
            let _ = lines("x", source.as_bytes());
        }

        #[test]
        fn never_panics_on_bytes(source: Vec<u8>) {
            let _ = lines("x", &source);
        }
    }
}
