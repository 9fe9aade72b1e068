//! Heredocs: `<<NAME`, `<<-NAME` (leading tabs are removed) and `<<"NAME"` (variables are not expanded).

use super::expand::{self, Quoting};
use super::problem::Problem;

/// A heredoc: its head, and its body once that was read.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Heredoc {
    /// The word that ends it; also the file's name in COPY.
    pub name: String,
    /// Whether variables in the body are expanded: the name is not quoted.
    pub expand: bool,
    /// Whether leading tabs are removed: `<<-`.
    pub chomp: bool,
    /// The body as written, line ends included.
    pub content: String,
}

impl Heredoc {
    /// The body, without leading tabs if `<<-` asks for that.
    pub fn body(&self) -> String {
        if self.chomp {
            self.content.split_inclusive('\n').map(|line| line.trim_start_matches('\t')).collect()
        } else {
            self.content.clone()
        }
    }
}

/// Parses a word (`<<EOF`, `3<<-'EOF'`) as the head of a heredoc; `None` if it is not one.
pub fn parse(word: &str) -> Result<Option<Heredoc>, Problem> {
    let Some(rest) = word.trim_start_matches(|c: char| c.is_ascii_digit()).strip_prefix("<<") else {
        return Ok(None);
    };
    let (rest, chomp) = match rest.strip_prefix('-') {
        Some(rest) => (rest, true),
        None => (rest, false),
    };
    let rest = rest.trim_start();
    if rest.is_empty() || rest.contains('<') {
        return Ok(None);
    }
    let plain = expand::words(rest, '\\', Quoting::Strip, &|_| None)?;
    let raw = expand::words(rest, '\\', Quoting::Keep, &|_| None)?;
    let ([name], [quoted]) = (plain.as_slice(), raw.as_slice()) else { return Ok(None) };
    let quotes = |word: &str| word.matches(['\'', '"']).count();
    Ok(Some(Heredoc { name: name.clone(), expand: quotes(name) == quotes(quoted), chomp, content: String::new() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_are_heredocs() {
        for (word, expected) in [
            ("<<EOF", Some(("EOF", true, false))),
            ("<<-EOF", Some(("EOF", true, true))),
            ("<<'EOF'", Some(("EOF", false, false))),
            ("<<-\"a b\"", Some(("a b", false, true))),
            ("3<<EOF", Some(("EOF", true, false))),
            ("<<< x", None),
            ("<<", None),
            ("a<<b", None),
            ("<<a b", None),
            ("<a", None),
        ] {
            let found = parse(word).unwrap();
            assert_eq!(found.as_ref().map(|h| (h.name.as_str(), h.expand, h.chomp)), expected, "{word}");
        }
    }

    #[test]
    fn chomp_takes_tabs_of_every_line() {
        let heredoc = Heredoc { name: "x".into(), expand: true, chomp: true, content: "\t\ta\n\t b\nc".into() };
        assert_eq!(heredoc.body(), "a\n b\nc");
    }
}
