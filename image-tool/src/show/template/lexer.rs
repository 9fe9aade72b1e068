//! The tokens of a template, as Go's text/template/parse/lex.go cuts them.

/// The kind of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Error,
    Bool,
    Char,
    CharConstant,
    Complex,
    Assign,
    Declare,
    End,
    Field,
    Identifier,
    LeftDelimiter,
    LeftParenthesis,
    Number,
    Pipe,
    RawText,
    RightDelimiter,
    RightParenthesis,
    Space,
    Quoted,
    Text,
    Variable,
    Dot,
    Nil,
    /// A word that begins an action: `if`, `range` and so on.
    Keyword,
}

/// A token: its kind, its text, and where it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) kind: Kind,
    /// The byte offset in the template.
    pub(super) position: usize,
    pub(super) text: String,
    /// The line, counted from 1.
    pub(super) line: usize,
}

impl std::fmt::Display for Token {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.kind {
            Kind::End => formatter.write_str("EOF"),
            Kind::Error => formatter.write_str(&self.text),
            Kind::Keyword | Kind::Dot | Kind::Nil => write!(formatter, "<{}>", self.text),
            // Go counts the bytes and cuts at a character.
            _ if self.text.len() > 10 => {
                let short: String = self.text.chars().take(10).collect();
                write!(formatter, "{}...", super::quote::quote(&short))
            }
            _ => formatter.write_str(&super::quote::quote(&self.text)),
        }
    }
}

const LEFT: &str = "{{";
const RIGHT: &str = "}}";
const KEYWORDS: [&str; 10] = ["block", "break", "continue", "define", "else", "end", "if", "range", "template", "with"];

/// Cuts a template into tokens, one at a time.
#[derive(Debug)]
pub(super) struct Lexer<'a> {
    input: &'a str,
    position: usize,
    start: usize,
    start_line: usize,
    line: usize,
    inside: bool,
    depth: usize,
    /// What ended the scan.
    failed: Option<Token>,
}

fn is_space(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\r' | '\n')
}

fn is_word(character: char) -> bool {
    // Go's letters and digits; Rust counts some numbers in addition, such as ½.
    character == '_' || character.is_alphabetic() || (character.is_numeric() && !character.is_ascii_punctuation())
}

fn has_left_trim(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() >= 2 && bytes[0] == b'-' && is_space(char::from(bytes[1]))
}

fn has_right_trim(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() >= 2 && is_space(char::from(bytes[0])) && bytes[1] == b'-'
}

impl<'a> Lexer<'a> {
    pub(super) fn new(input: &'a str) -> Self {
        Self { input, position: 0, start: 0, start_line: 1, line: 1, inside: false, depth: 0, failed: None }
    }

    /// The next token. After the end, and after an error, it is the same again.
    pub(super) fn token(&mut self) -> Token {
        if let Some(failed) = &self.failed {
            return Token { kind: Kind::End, position: 0, text: "EOF".into(), line: failed.line };
        }
        let token = loop {
            let found = if self.inside { Some(self.inside_action()) } else { self.text() };
            if let Some(token) = found {
                break token;
            }
        };
        if token.kind == Kind::Error {
            self.failed = Some(token.clone());
        }
        token
    }

    fn rest(&self) -> &'a str {
        &self.input[self.position..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.position += next.len_utf8();
        self.line += usize::from(next == '\n');
        Some(next)
    }

    fn emit(&mut self, kind: Kind) -> Token {
        let text = self.input[self.start..self.position].to_owned();
        let token = Token { kind, position: self.start, text, line: self.start_line };
        self.start = self.position;
        self.start_line = self.line;
        token
    }

    /// Skips input that was passed without [`Self::next`].
    fn ignore(&mut self) {
        self.line += self.input[self.start..self.position].matches('\n').count();
        self.start = self.position;
        self.start_line = self.line;
    }

    fn error(&self, text: String) -> Token {
        Token { kind: Kind::Error, position: self.start, text, line: self.start_line }
    }

    /// Text up to an action, or `None` if there was only a comment.
    fn text(&mut self) -> Option<Token> {
        let Some(length) = self.rest().find(LEFT) else {
            if self.rest().is_empty() {
                return Some(self.emit(Kind::End));
            }
            self.position = self.input.len();
            self.line += self.input[self.start..].matches('\n').count();
            return Some(self.emit(Kind::Text));
        };
        if length > 0 {
            let end = self.position + length;
            let before = &self.input[self.position..end];
            let kept = if has_left_trim(&self.input[end + LEFT.len()..]) {
                before.trim_end_matches(is_space).len()
            } else {
                length
            };
            self.position += kept;
            self.line += before[..kept].matches('\n').count();
            let token = self.emit(Kind::Text);
            self.position = end;
            self.ignore();
            if !token.text.is_empty() {
                return Some(token);
            }
        }
        self.left_delimiter()
    }

    fn left_delimiter(&mut self) -> Option<Token> {
        self.position += LEFT.len();
        let marker = if has_left_trim(self.rest()) { 2 } else { 0 };
        if self.rest()[marker..].starts_with("/*") {
            self.position += marker;
            self.ignore();
            return self.comment();
        }
        let token = self.emit(Kind::LeftDelimiter);
        self.inside = true;
        self.depth = 0;
        self.position += marker;
        self.ignore();
        Some(token)
    }

    /// Passes over a comment, or tells what is wrong with it.
    fn comment(&mut self) -> Option<Token> {
        self.position += 2;
        let Some(length) = self.rest().find("*/") else { return Some(self.error("unclosed comment".into())) };
        self.position += length + 2;
        let (is_end, trim) = self.right_delimiter_here();
        if !is_end {
            return Some(self.error("comment ends before closing delimiter".into()));
        }
        self.position += if trim { 2 } else { 0 } + RIGHT.len();
        if trim {
            self.skip_spaces();
        }
        self.ignore();
        None
    }

    fn skip_spaces(&mut self) {
        self.position = self.input.len() - self.rest().trim_start_matches(is_space).len();
    }

    /// Whether a right delimiter is here, and whether it has a trim marker.
    fn right_delimiter_here(&self) -> (bool, bool) {
        if has_right_trim(self.rest()) && self.rest()[2..].starts_with(RIGHT) {
            return (true, true);
        }
        (self.rest().starts_with(RIGHT), false)
    }

    fn right_delimiter(&mut self) -> Token {
        let (_, trim) = self.right_delimiter_here();
        if trim {
            self.position += 2;
            self.ignore();
        }
        self.position += RIGHT.len();
        let token = self.emit(Kind::RightDelimiter);
        if trim {
            self.skip_spaces();
            self.ignore();
        }
        self.inside = false;
        token
    }

    fn inside_action(&mut self) -> Token {
        if self.right_delimiter_here().0 {
            return if self.depth == 0 { self.right_delimiter() } else { self.error("unclosed left paren".into()) };
        }
        let Some(first) = self.peek() else { return self.error("unclosed action".into()) };
        if is_space(first) {
            return self.space();
        }
        let is_number_after = |rest: &str| rest[1..].starts_with(|next: char| next.is_ascii_digit());
        match first {
            '=' => self.single(Kind::Assign),
            ':' => {
                self.next();
                if self.next() == Some('=') { self.emit(Kind::Declare) } else { self.error("expected :=".into()) }
            }
            '|' => self.single(Kind::Pipe),
            '"' => self.quoted('"', Kind::Quoted, "unterminated quoted string"),
            '\'' => self.quoted('\'', Kind::CharConstant, "unterminated character constant"),
            '`' => self.raw(),
            '$' => {
                self.next();
                self.field_or_variable(Kind::Variable)
            }
            '.' if !is_number_after(self.rest()) => {
                self.next();
                self.field_or_variable(Kind::Field)
            }
            '.' | '+' | '-' | '0'..='9' => self.number(),
            _ if is_word(first) => self.word(),
            '(' => {
                self.depth += 1;
                self.single(Kind::LeftParenthesis)
            }
            ')' if self.depth == 0 => self.error("unexpected right paren".into()),
            ')' => {
                self.depth -= 1;
                self.single(Kind::RightParenthesis)
            }
            _ if first.is_ascii_graphic() => self.single(Kind::Char),
            _ => self.error(format!("unrecognized character in action: {}", super::quote::code_point(first))),
        }
    }

    fn single(&mut self, kind: Kind) -> Token {
        self.next();
        self.emit(kind)
    }

    fn space(&mut self) -> Token {
        let mut count = 0;
        while self.peek().is_some_and(is_space) {
            self.next();
            count += 1;
        }
        // The last space may belong to a right delimiter with a trim marker.
        let last = &self.input[self.position - 1..];
        if has_right_trim(last) && last[2..].starts_with(RIGHT) {
            self.position -= 1;
            self.line -= usize::from(last.starts_with('\n'));
            if count == 1 {
                return self.right_delimiter();
            }
        }
        self.emit(Kind::Space)
    }

    /// Whether what is here may follow a word.
    fn is_terminated(&self) -> bool {
        match self.peek() {
            None | Some('.' | ',' | '|' | ':' | ')' | '(') => true,
            Some(next) => is_space(next) || self.rest().starts_with(RIGHT),
        }
    }

    fn bad_character(&self) -> Token {
        let bad = self.peek().map_or_else(|| "EOF".into(), super::quote::code_point);
        self.error(format!("bad character {bad}"))
    }

    fn pass_word(&mut self) {
        while self.peek().is_some_and(is_word) {
            self.next();
        }
    }

    fn word(&mut self) -> Token {
        self.pass_word();
        if !self.is_terminated() {
            return self.bad_character();
        }
        let kind = match &self.input[self.start..self.position] {
            "true" | "false" => Kind::Bool,
            "nil" => Kind::Nil,
            word if KEYWORDS.contains(&word) => Kind::Keyword,
            _ => Kind::Identifier,
        };
        self.emit(kind)
    }

    /// A field or a variable, of which the first character is passed.
    fn field_or_variable(&mut self, kind: Kind) -> Token {
        if self.is_terminated() {
            return self.emit(if kind == Kind::Field { Kind::Dot } else { kind });
        }
        self.pass_word();
        if self.is_terminated() { self.emit(kind) } else { self.bad_character() }
    }

    fn quoted(&mut self, end: char, kind: Kind, unterminated: &str) -> Token {
        self.next();
        loop {
            match self.next() {
                Some('\\') if !matches!(self.peek(), None | Some('\n')) => drop(self.next()),
                Some(next) if next == end => return self.emit(kind),
                None | Some('\\' | '\n') => return self.error(unterminated.into()),
                Some(_) => {}
            }
        }
    }

    fn raw(&mut self) -> Token {
        self.next();
        loop {
            match self.next() {
                Some('`') => return self.emit(Kind::RawText),
                None => return self.error("unterminated raw quoted string".into()),
                Some(_) => {}
            }
        }
    }

    fn number(&mut self) -> Token {
        let bad = |lexer: &Self| {
            let text = &lexer.input[lexer.start..lexer.position];
            lexer.error(format!("bad number syntax: {}", super::quote::quote(text)))
        };
        if !self.scan_number() {
            return bad(self);
        }
        if !matches!(self.peek(), Some('+' | '-')) {
            return self.emit(Kind::Number);
        }
        if !self.scan_number() || !self.input[..self.position].ends_with('i') {
            return bad(self);
        }
        self.emit(Kind::Complex)
    }

    fn accept(&mut self, valid: &str) -> bool {
        let found = self.peek().is_some_and(|next| valid.contains(next));
        if found {
            self.next();
        }
        found
    }

    fn scan_number(&mut self) -> bool {
        self.accept("+-");
        let mut digits = "0123456789_";
        if self.accept("0") {
            if self.accept("xX") {
                digits = "0123456789abcdefABCDEF_";
            } else if self.accept("oO") {
                digits = "01234567_";
            } else if self.accept("bB") {
                digits = "01_";
            }
        }
        while self.accept(digits) {}
        if self.accept(".") {
            while self.accept(digits) {}
        }
        let exponent = match digits.len() {
            11 => "eE",
            23 => "pP",
            _ => "",
        };
        if self.accept(exponent) {
            self.accept("+-");
            while self.accept("0123456789_") {}
        }
        self.accept("i");
        if self.peek().is_some_and(is_word) {
            self.next();
            return false;
        }
        true
    }
}
