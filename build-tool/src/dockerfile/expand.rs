//! Words of a Dockerfile: quotes, escapes and `$variables`.
//!
//! The grammar is the part of the shell's that BuildKit has: `${v:-w}`, `${v-w}`, `${v:+w}`, `${v+w}`, `${v:?w}`,
//! `${v?w}`, `${v#p}`, `${v##p}`, `${v%p}`, `${v%%p}`, `${v/p/w}` and `${v//p/w}`, with `*` and `?` as the only
//! wildcards; no commands, no arithmetic, no nested quotes in defaults. An unset variable is empty.

use super::pattern::Pattern;
use super::problem::Problem;

/// What happens to quotes and escapes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quoting {
    /// Both are removed: the result is a value.
    Strip,
    /// Quotes are kept, escapes removed.
    Keep,
    /// Both are kept, and so is an unset variable: the text is only inspected.
    Raw,
    /// Quotes are ordinary characters, as in the body of a heredoc.
    Literal,
}

/// Arguments that have a value without being set in the file, before the first FROM.
pub const PREDEFINED: [&str; 11] = [
    "TARGETPLATFORM",
    "TARGETOS",
    "TARGETOSVERSION",
    "TARGETARCH",
    "TARGETVARIANT",
    "BUILDPLATFORM",
    "BUILDOS",
    "BUILDOSVERSION",
    "BUILDARCH",
    "BUILDVARIANT",
    "TARGETSTAGE",
];

/// Looks up the value of a variable; `None` if it is not set.
pub type Lookup<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// Expands `source` as one word, keeping its spaces.
pub fn word(source: &str, escape: char, quoting: Quoting, lookup: &Lookup<'_>) -> Result<String, Problem> {
    Ok(Expander::new(source, escape, quoting, lookup).until(None, quoting == Quoting::Raw)?.0)
}

/// Expands `source`, then splits it at spaces outside quotes.
pub fn words(source: &str, escape: char, quoting: Quoting, lookup: &Lookup<'_>) -> Result<Vec<String>, Problem> {
    Ok(Expander::new(source, escape, quoting, lookup).until(None, quoting == Quoting::Raw)?.1)
}

/// The deepest nesting of `${a:-${b:-…}}`; deeper input attacks the stack.
const DEPTH: usize = 64;

struct Expander<'a> {
    chars: std::iter::Peekable<std::str::Chars<'a>>,
    escape: char,
    quoting: Quoting,
    lookup: &'a Lookup<'a>,
    depth: usize,
}

/// Collects words, character by character.
#[derive(Default)]
struct Words {
    done: Vec<String>,
    current: String,
}

impl Words {
    fn push(&mut self, c: char) {
        if c.is_whitespace() { self.end() } else { self.current.push(c) }
    }

    fn end(&mut self) {
        if !self.current.is_empty() {
            self.done.push(std::mem::take(&mut self.current));
        }
    }
}

impl<'a> Expander<'a> {
    fn new(source: &'a str, escape: char, quoting: Quoting, lookup: &'a Lookup<'a>) -> Self {
        Self { chars: source.chars().peekable(), escape, quoting, lookup, depth: 0 }
    }

    /// Expands up to `stop`, which is consumed, or to the end.
    fn until(&mut self, stop: Option<char>, raw_escapes: bool) -> Result<(String, Vec<String>), Problem> {
        self.depth += 1;
        if self.depth > DEPTH {
            return Err(Problem::BadSubstitution("nested too deep".to_owned()));
        }
        let mut result = String::new();
        let mut words = Words::default();
        while let Some(&c) = self.chars.peek() {
            if Some(c) == stop {
                self.chars.next();
                words.end();
                self.depth -= 1;
                return Ok((result, words.done));
            }
            match c {
                '$' => {
                    let value = self.dollar()?;
                    value.chars().for_each(|c| words.push(c));
                    result.push_str(&value);
                }
                '\'' | '"' if self.quoting != Quoting::Literal => {
                    let value = if c == '"' { self.double_quoted(raw_escapes)? } else { self.single_quoted()? };
                    words.current.push_str(&value);
                    result.push_str(&value);
                }
                '<' => {
                    // `<< EOF` is one word although it holds a space.
                    let value = self.redirection();
                    words.current.push_str(&value);
                    result.push_str(&value);
                }
                _ => {
                    self.chars.next();
                    let mut c = c;
                    if c == self.escape {
                        if raw_escapes {
                            words.current.push(c);
                            result.push(c);
                        }
                        match self.chars.next() {
                            Some(escaped) => c = escaped,
                            None => break,
                        }
                        words.current.push(c);
                    } else {
                        words.push(c);
                    }
                    result.push(c);
                }
            }
        }
        if let Some(stop) = stop {
            return Err(Problem::Unclosed(stop));
        }
        words.end();
        self.depth -= 1;
        Ok((result, words.done))
    }

    fn keeps_quotes(&self) -> bool {
        matches!(self.quoting, Quoting::Keep | Quoting::Raw)
    }

    fn single_quoted(&mut self) -> Result<String, Problem> {
        let mut result = String::new();
        let quote = self.chars.next();
        result.extend(quote.filter(|_| self.keeps_quotes()));
        loop {
            match self.chars.next() {
                None => return Err(Problem::Unclosed('\'')),
                Some('\'') => {
                    result.extend(quote.filter(|_| self.keeps_quotes()));
                    return Ok(result);
                }
                Some(c) => result.push(c),
            }
        }
    }

    fn double_quoted(&mut self, raw_escapes: bool) -> Result<String, Problem> {
        let mut result = String::new();
        let quote = self.chars.next();
        result.extend(quote.filter(|_| self.keeps_quotes()));
        loop {
            match self.chars.peek() {
                None => return Err(Problem::Unclosed('"')),
                Some('"') => {
                    self.chars.next();
                    result.extend(quote.filter(|_| self.keeps_quotes()));
                    return Ok(result);
                }
                Some('$') => result.push_str(&self.dollar()?),
                Some(&c) => {
                    self.chars.next();
                    let mut c = c;
                    if c == self.escape {
                        if raw_escapes {
                            result.push(c);
                        }
                        match self.chars.peek() {
                            None => continue,
                            Some(&next) if next == '"' || next == '$' || next == self.escape => {
                                self.chars.next();
                                c = next;
                            }
                            // Before any other character an escape stands for itself; if escapes are kept, it was
                            // pushed above.
                            Some(_) if raw_escapes => continue,
                            Some(_) => {}
                        }
                    }
                    result.push(c);
                }
            }
        }
    }

    fn redirection(&mut self) -> String {
        self.chars.next();
        let mut result = "<".to_owned();
        if self.chars.peek() == Some(&'<') {
            self.chars.next();
            result.push('<');
            while let Some(c) = self.chars.next_if(|c| matches!(c, ' ' | '\t' | '\r')) {
                result.push(c);
            }
        }
        result
    }

    /// Expands a variable, at its `$`.
    fn dollar(&mut self) -> Result<String, Problem> {
        self.chars.next();
        if self.chars.next_if_eq(&'{').is_some() {
            return self.braces();
        }
        let name = self.name();
        Ok(if name.is_empty() {
            "$".to_owned()
        } else {
            match (self.lookup)(&name) {
                Some(value) => value,
                None if self.keeps_unset() => format!("${name}"),
                None => String::new(),
            }
        })
    }

    /// Expands a variable, after its `${`.
    fn braces(&mut self) -> Result<String, Problem> {
        let name = self.name();
        if name.is_empty() {
            return Err(Problem::BadSubstitution("no name after ${".to_owned()));
        }
        let value = (self.lookup)(&name);
        let (operator, colon) = match self.chars.next() {
            Some(':') => (self.chars.next(), ":"),
            other => (other, ""),
        };
        match operator {
            Some('}') if colon.is_empty() => Ok(match value {
                None if self.keeps_unset() => format!("${{{name}}}"),
                value => value.unwrap_or_default(),
            }),
            Some(operator @ ('-' | '+' | '?')) => {
                let word = self.until(Some('}'), false)?.0;
                if self.keeps_unset() && value.is_none() {
                    return Ok(format!("${{{name}{colon}{operator}{word}}}"));
                }
                substitute(name, value, operator, colon.is_empty(), word)
            }
            Some(end @ ('#' | '%')) if colon.is_empty() => self.trimmed(&name, value, end),
            Some('/') if colon.is_empty() => self.replaced(&name, value),
            None => Err(Problem::Unclosed('}')),
            Some(other) => Err(Problem::BadSubstitution(format!("${{{name}{colon}{other}…}} is not supported"))),
        }
    }

    /// Expands `${v#p}`, `${v##p}`, `${v%p}` or `${v%%p}`, after the first operator.
    fn trimmed(&mut self, name: &str, value: Option<String>, end: char) -> Result<String, Problem> {
        let word = self.until(Some('}'), true)?.0;
        if self.keeps_unset() && value.is_none() {
            return Ok(format!("${{{name}{end}{word}}}"));
        }
        let (word, longest) = match word.strip_prefix(end) {
            Some(word) => (word, true),
            None => (word.as_str(), false),
        };
        let pattern = Pattern::shell(word)?;
        let value = value.unwrap_or_default();
        Ok(match end {
            '#' => pattern.trim_prefix(&value, longest).to_owned(),
            _ => pattern.trim_suffix(&value, longest).to_owned(),
        })
    }

    /// Expands `${v/p/w}` or `${v//p/w}`, after the first `/`.
    fn replaced(&mut self, name: &str, value: Option<String>) -> Result<String, Problem> {
        let all = self.chars.next_if_eq(&'/').is_some();
        let pattern = self.until(Some('/'), true)?.0;
        let replacement = self.until(Some('}'), true)?.0;
        if self.keeps_unset() && value.is_none() {
            return Ok(format!("${{{name}/{pattern}/{replacement}}}"));
        }
        Ok(Pattern::shell(&pattern)?.replace(&value.unwrap_or_default(), &replacement, all))
    }

    /// Whether an unset variable is kept as written.
    fn keeps_unset(&self) -> bool {
        self.quoting == Quoting::Raw
    }

    /// Reads a variable's name: digits, or one special character, or letters, digits and `_`.
    fn name(&mut self) -> String {
        let mut name = String::new();
        match self.chars.peek() {
            Some(c) if c.is_numeric() => {
                while let Some(c) = self.chars.next_if(|c| c.is_numeric()) {
                    name.push(c);
                }
                return name;
            }
            Some('@' | '*' | '#' | '?' | '-' | '$' | '!') => {
                name.extend(self.chars.next());
                return name;
            }
            _ => {}
        }
        while let Some(c) = self.chars.next_if(|c| c.is_alphanumeric() || *c == '_') {
            name.push(c);
        }
        name
    }
}

/// Evaluates `${v-w}`, `${v+w}` or `${v?w}`. Unless `empty` (`${v:-w}`), an empty value counts as unset.
fn substitute(
    name: String,
    value: Option<String>,
    operator: char,
    empty: bool,
    word: String,
) -> Result<String, Problem> {
    let set = value.is_some();
    let present = set && (empty || value.as_deref() != Some(""));
    match (operator, present) {
        ('-' | '?', true) => Ok(value.unwrap_or_default()),
        ('-', false) | ('+', true) => Ok(word),
        ('+', false) => Ok(String::new()),
        _ if !word.is_empty() => Err(Problem::Required { name, message: word }),
        _ if set => Err(Problem::Required { name, message: "may not be empty".to_owned() }),
        _ => Err(Problem::Required { name, message: "must be set".to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lookup(name: &str) -> Option<String> {
        Some(
            match name {
                "A" => "a",
                "B" => "b c",
                "EMPTY" => "",
                "PATH" => "/usr/local/lib/x.tar.gz",
                "é" => "accent",
                _ => return None,
            }
            .to_owned(),
        )
    }

    #[test]
    fn single_words() {
        for (source, expected) in [
            ("$A", "a"),
            ("${A}x", "ax"),
            ("$Ax", ""),
            ("a$", "a$"),
            ("\\$A", "$A"),
            ("'$A'", "$A"),
            ("\"$A\"", "a"),
            ("\"\\$A\"", "$A"),
            ("\"\\x\\\\\"", "\\x\\"),
            ("\\x", "x"),
            ("x\\", "x"),
            ("$B", "b c"),
            ("${UNSET:-d}", "d"),
            ("${UNSET-d}", "d"),
            ("${EMPTY:-d}", "d"),
            ("${EMPTY-d}", ""),
            ("${A:+y}", "y"),
            ("${EMPTY:+y}", ""),
            ("${EMPTY+y}", "y"),
            ("${UNSET+y}", ""),
            ("${A?no}", "a"),
            ("${UNSET:-$A}", "a"),
            ("${UNSET:-${EMPTY:-x}}y", "xy"),
            ("${UNSET:-a\\}b}", "a}b"),
            ("${PATH#*/}", "usr/local/lib/x.tar.gz"),
            ("${PATH##*/}", "x.tar.gz"),
            ("${PATH%.*}", "/usr/local/lib/x.tar"),
            ("${PATH%%.*}", "/usr/local/lib/x"),
            ("${PATH/l/L}", "/usr/Local/lib/x.tar.gz"),
            ("${PATH//l/L}", "/usr/LocaL/Lib/x.tar.gz"),
            ("${PATH/\\/usr/}", "/local/lib/x.tar.gz"),
            ("${PATH#?usr}", "/local/lib/x.tar.gz"),
            ("$é", "accent"),
            ("$1a", "a"),
        ] {
            assert_eq!(word(source, '\\', Quoting::Strip, &lookup).as_deref(), Ok(expected), "{source}");
        }
    }

    #[test]
    fn splitting_happens_after_expansion_and_not_in_quotes() {
        for (source, expected) in [
            ("$B x", vec!["b", "c", "x"]),
            ("\"$B\" x", vec!["b c", "x"]),
            ("a\\ b c", vec!["a b", "c"]),
            ("  a  'b  c'd ", vec!["a", "b  cd"]),
            ("$EMPTY", vec![]),
        ] {
            assert_eq!(words(source, '\\', Quoting::Strip, &lookup).unwrap(), expected, "{source}");
        }
    }

    #[test]
    fn wrong_words_say_what_is_wrong() {
        for (source, expected) in [
            ("'x", "missing closing '"),
            ("\"x", "missing closing \""),
            ("${A", "missing closing }"),
            ("${A:-x", "missing closing }"),
            ("${}", "bad substitution: no name after ${"),
            ("${A:x}", "bad substitution: ${A:x…} is not supported"),
            ("${UNSET:?give me}", "UNSET: give me"),
            ("${UNSET?}", "UNSET: must be set"),
            ("${EMPTY:?}", "EMPTY: may not be empty"),
        ] {
            assert_eq!(word(source, '\\', Quoting::Strip, &lookup).unwrap_err().to_string(), expected, "{source}");
        }
    }

    #[test]
    fn a_heredocs_body_keeps_its_quotes() {
        assert_eq!(word("'$A' \"$B\"\n", '\\', Quoting::Literal, &lookup).unwrap(), "'a' \"b c\"\n");
    }

    #[test]
    fn the_other_escape_character() {
        assert_eq!(word("C:\\dir`$A $A", '`', Quoting::Strip, &lookup).unwrap(), "C:\\dir$A a");
    }

    proptest! {
        #[test]
        fn never_panics(source in "([$'\"\\\\{}:?+/#%*<A-C -]|\\$\\{|é){0,60}", quoting in 0..4usize) {
            let quoting = [Quoting::Strip, Quoting::Keep, Quoting::Raw, Quoting::Literal][quoting];
            let _ = words(&source, '\\', quoting, &lookup);
        }

        #[test]
        fn what_needs_no_expansion_is_untouched(source in "[a-zA-Z0-9_./ ,-]{0,40}") {
            prop_assert_eq!(word(&source, '\\', Quoting::Strip, &lookup).unwrap(), source);
        }

        #[test]
        fn single_quotes_protect(source in "[^'\0]{0,40}") {
            prop_assert_eq!(word(&format!("'{source}'"), '\\', Quoting::Strip, &lookup).unwrap(), source);
        }
    }
}
