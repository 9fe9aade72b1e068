//! From tokens to a tree, as Go's text/template/parse/parse.go reads them, with its errors.

use std::collections::BTreeMap;

use super::lexer::{Kind, Lexer, Token};
use super::node::{Branch, Call, Command, Node, Number, Operand, Pipe, Term};
use super::{Error, functions, quote};

/// How deep parts and parentheses may be nested. Go allows more of it, but nobody writes that.
const DEPTH: usize = 100;

/// The templates that a text defines, by name. The text itself is the one without a name.
pub(super) type Trees = BTreeMap<String, Vec<Node>>;

/// Parses a text.
pub(super) fn parse(text: &str) -> Result<Trees, Error> {
    let mut parser = Parser {
        lexer: Lexer::new(text),
        waiting: Vec::new(),
        latest: 1,
        variables: vec!["$".into()],
        ranges: 0,
        depth: 0,
        action: None,
        trees: Trees::new(),
    };
    let root = parser.root()?;
    parser.add(String::new(), root)?;
    Ok(parser.trees)
}

/// What ended a list of parts, and where.
enum Stop {
    End,
    Else,
}

/// What stands between two delimiters.
enum Item {
    Node(Node),
    Stop(Stop),
}

struct Parser<'a> {
    lexer: Lexer<'a>,
    /// Tokens that were put back, the next one last.
    waiting: Vec<Token>,
    /// The line of the token that was read last from the text.
    latest: usize,
    /// The names of the variables that exist here.
    variables: Vec<String>,
    /// The number of `range`s around.
    ranges: usize,
    depth: usize,
    /// The line at which the present action begins.
    action: Option<usize>,
    trees: Trees,
}

/// Whether parts are nothing but blanks.
fn is_empty(list: &[Node]) -> bool {
    list.iter().all(|node| matches!(node, Node::Text(text) if text.trim().is_empty()))
}

impl Parser<'_> {
    fn next(&mut self) -> Token {
        self.waiting.pop().unwrap_or_else(|| {
            let token = self.lexer.token();
            self.latest = token.line;
            token
        })
    }

    fn next_word(&mut self) -> Token {
        loop {
            let token = self.next();
            if token.kind != Kind::Space {
                return token;
            }
        }
    }

    fn back(&mut self, token: Token) {
        self.waiting.push(token);
    }

    fn peek(&mut self) -> Kind {
        let token = self.next();
        let kind = token.kind;
        self.back(token);
        kind
    }

    /// The next token but spaces, which stays.
    fn peek_word(&mut self) -> Token {
        let token = self.next_word();
        self.back(token.clone());
        token
    }

    fn error<T>(&self, reason: impl Into<String>) -> Result<T, Error> {
        Err(Error::Parse { line: self.latest, reason: reason.into() })
    }

    fn unexpected<T>(&self, token: &Token, context: &str) -> Result<T, Error> {
        if token.kind != Kind::Error {
            return self.error(format!("unexpected {token} in {context}"));
        }
        let begun = match self.action.filter(|line| *line != token.line) {
            Some(line) if token.text.ends_with(" action") => format!(" started at :{line}"),
            Some(line) => format!(" in action started at :{line}"),
            None => String::new(),
        };
        self.error(format!("{token}{begun}"))
    }

    fn expect(&mut self, kind: Kind, context: &str) -> Result<Token, Error> {
        let token = self.next_word();
        if token.kind == kind { Ok(token) } else { self.unexpected(&token, context) }
    }

    fn add(&mut self, name: String, list: Vec<Node>) -> Result<(), Error> {
        match self.trees.get(&name) {
            Some(known) if !is_empty(known) => {
                if is_empty(&list) {
                    return Ok(());
                }
                self.error(format!("template: multiple definition of template {}", quote::quote(&name)))
            }
            _ => {
                self.trees.insert(name, list);
                Ok(())
            }
        }
    }

    fn root(&mut self) -> Result<Vec<Node>, Error> {
        let mut list = Vec::new();
        loop {
            match self.peek() {
                Kind::End => return Ok(list),
                Kind::LeftDelimiter => {
                    let delimiter = self.next();
                    let token = self.next_word();
                    if token.kind == Kind::Keyword && token.text == "define" {
                        self.definition()?;
                        continue;
                    }
                    self.back(token);
                    self.back(delimiter);
                }
                _ => {}
            }
            match self.text_or_action()? {
                Item::Node(node) => list.push(node),
                Item::Stop(stop) => return self.error(format!("unexpected {}", stop.name())),
            }
        }
    }

    /// `{{define "name"}} … {{end}}` after the keyword.
    fn definition(&mut self) -> Result<(), Error> {
        let token = self.next_word();
        let name = self.name(&token, "define clause")?;
        self.expect(Kind::RightDelimiter, "define clause")?;
        let list = self.body_of_its_own("define clause")?;
        self.add(name, list)
    }

    /// The parts up to `end`, which see no variables but their own.
    fn body_of_its_own(&mut self, context: &str) -> Result<Vec<Node>, Error> {
        let outer = std::mem::replace(&mut self.variables, vec!["$".into()]);
        let ranges = std::mem::take(&mut self.ranges);
        let (list, stop) = self.list()?;
        if matches!(stop, Stop::Else) {
            return self.error(format!("unexpected {{{{else}}}} in {context}"));
        }
        self.variables = outer;
        self.ranges = ranges;
        Ok(list)
    }

    fn name(&self, token: &Token, context: &str) -> Result<String, Error> {
        match token.kind {
            Kind::Quoted | Kind::RawText => self.unquoted(&token.text),
            _ => self.unexpected(token, context),
        }
    }

    fn unquoted(&self, text: &str) -> Result<String, Error> {
        quote::unquote(text).map_or_else(|| self.error("invalid syntax"), Ok)
    }

    fn list(&mut self) -> Result<(Vec<Node>, Stop), Error> {
        self.depth += 1;
        if self.depth > DEPTH {
            return self.error("max expression depth exceeded");
        }
        let mut list = Vec::new();
        while self.peek_word().kind != Kind::End {
            match self.text_or_action()? {
                Item::Node(node) => list.push(node),
                Item::Stop(stop) => {
                    self.depth -= 1;
                    return Ok((list, stop));
                }
            }
        }
        self.error("unexpected EOF")
    }

    fn text_or_action(&mut self) -> Result<Item, Error> {
        let token = self.next_word();
        match token.kind {
            Kind::Text => Ok(Item::Node(Node::Text(token.text))),
            Kind::LeftDelimiter => {
                self.action = Some(token.line);
                let item = self.action();
                self.action = None;
                item
            }
            _ => self.unexpected(&token, "input"),
        }
    }

    fn action(&mut self) -> Result<Item, Error> {
        let token = self.next_word();
        let word = if token.kind == Kind::Keyword { token.text.as_str() } else { "" };
        let node = match word {
            "block" => self.block()?,
            "break" => self.loop_control("break", Node::Break)?,
            "continue" => self.loop_control("continue", Node::Continue)?,
            "else" => return self.otherwise().map(Item::Stop),
            "end" => {
                self.expect(Kind::RightDelimiter, "end")?;
                return Ok(Item::Stop(Stop::End));
            }
            "if" => Node::If(self.branch("if")?),
            "range" => Node::Range(self.branch("range")?),
            "template" => self.call()?,
            "with" => Node::With(self.branch("with")?),
            _ => {
                self.back(token);
                Node::Action(self.pipe("command", Kind::RightDelimiter)?)
            }
        };
        Ok(Item::Node(node))
    }

    fn loop_control(&mut self, word: &str, node: Node) -> Result<Node, Error> {
        self.expect(Kind::RightDelimiter, &format!("{{{{{word}}}}}"))?;
        if self.ranges == 0 {
            return self.error(format!("{{{{{word}}}}} outside {{{{range}}}}"));
        }
        Ok(node)
    }

    /// `{{else}}` after the keyword; an `if` or `with` that follows it stays.
    fn otherwise(&mut self) -> Result<Stop, Error> {
        let token = self.peek_word();
        if token.kind != Kind::Keyword || !matches!(token.text.as_str(), "if" | "with") {
            self.expect(Kind::RightDelimiter, "else")?;
        }
        Ok(Stop::Else)
    }

    fn branch(&mut self, word: &str) -> Result<Branch, Error> {
        let known = self.variables.len();
        let pipe = self.pipe(word, Kind::RightDelimiter)?;
        self.ranges += usize::from(word == "range");
        let (list, stop) = self.list()?;
        self.ranges -= usize::from(word == "range");
        let otherwise = match stop {
            Stop::End => Vec::new(),
            Stop::Else => self.else_list(word)?,
        };
        self.variables.truncate(known);
        Ok(Branch { pipe, list, otherwise })
    }

    fn else_list(&mut self, word: &str) -> Result<Vec<Node>, Error> {
        let token = self.next();
        // `{{else if x}}` is `{{else}}{{if x}}` with one `{{end}}` for both.
        if token.kind == Kind::Keyword && token.text == word && matches!(word, "if" | "with") {
            self.depth += 1;
            if self.depth > DEPTH {
                return self.error("max expression depth exceeded");
            }
            let branch = self.branch(word)?;
            self.depth -= 1;
            return Ok(vec![if word == "if" { Node::If(branch) } else { Node::With(branch) }]);
        }
        self.back(token);
        let (list, stop) = self.list()?;
        match stop {
            Stop::End => Ok(list),
            Stop::Else => self.error("expected end; found {{else}}"),
        }
    }

    fn block(&mut self) -> Result<Node, Error> {
        let token = self.next_word();
        let name = self.name(&token, "block clause")?;
        let pipe = self.pipe("block clause", Kind::RightDelimiter)?;
        let list = self.body_of_its_own("block clause")?;
        self.add(name.clone(), list)?;
        Ok(Node::Template(Call { position: token.position, name, pipe: Some(pipe) }))
    }

    fn call(&mut self) -> Result<Node, Error> {
        let token = self.next_word();
        let name = self.name(&token, "template clause")?;
        let after = self.next_word();
        let pipe = if after.kind == Kind::RightDelimiter {
            None
        } else {
            self.back(after);
            Some(self.pipe("template clause", Kind::RightDelimiter)?)
        };
        Ok(Node::Template(Call { position: token.position, name, pipe }))
    }

    fn pipe(&mut self, context: &str, end: Kind) -> Result<Pipe, Error> {
        let mut pipe = Pipe { position: self.peek_word().position, ..Pipe::default() };
        while self.declaration(&mut pipe, context)? {}
        loop {
            let token = self.next_word();
            match token.kind {
                kind if kind == end => return self.checked(pipe, context),
                Kind::Bool
                | Kind::CharConstant
                | Kind::Complex
                | Kind::Dot
                | Kind::Field
                | Kind::Identifier
                | Kind::Number
                | Kind::Nil
                | Kind::RawText
                | Kind::Quoted
                | Kind::Variable
                | Kind::LeftParenthesis => {
                    self.back(token);
                    let command = self.command()?;
                    pipe.commands.push(command);
                }
                _ => return self.unexpected(&token, context),
            }
        }
    }

    /// A variable that the pipe declares or sets. Returns whether another one follows.
    fn declaration(&mut self, pipe: &mut Pipe, context: &str) -> Result<bool, Error> {
        let variable = self.next_word();
        if variable.kind != Kind::Variable {
            self.back(variable);
            return Ok(false);
        }
        let after = self.next();
        let next = if after.kind == Kind::Space { self.next_word() } else { after.clone() };
        match next.kind {
            Kind::Assign | Kind::Declare => {
                pipe.assigns = next.kind == Kind::Assign;
                self.declare(pipe, variable.text);
                Ok(false)
            }
            Kind::Char if next.text == "," => {
                self.declare(pipe, variable.text);
                if context != "range" || pipe.variables.len() >= 2 {
                    return self.error(format!("too many declarations in {context}"));
                }
                match self.peek_word().kind {
                    Kind::Variable | Kind::RightDelimiter | Kind::RightParenthesis => Ok(true),
                    _ => self.error("range can only initialize variables"),
                }
            }
            _ => {
                if after.kind == Kind::Space {
                    self.back(next);
                }
                self.back(after);
                self.back(variable);
                Ok(false)
            }
        }
    }

    fn declare(&mut self, pipe: &mut Pipe, name: String) {
        self.variables.push(name.clone());
        pipe.variables.push(name);
    }

    fn checked(&self, pipe: Pipe, context: &str) -> Result<Pipe, Error> {
        if pipe.commands.is_empty() {
            return self.error(format!("missing value for {context}"));
        }
        let is_constant = |command: &Command| {
            matches!(
                command.operands[0].term,
                Term::Bool(_) | Term::Dot | Term::Nil | Term::Number(_) | Term::Quoted(..)
            )
        };
        match pipe.commands.iter().skip(1).position(is_constant) {
            Some(index) => self.error(format!("non executable command in pipeline stage {}", index + 2)),
            None => Ok(pipe),
        }
    }

    fn command(&mut self) -> Result<Command, Error> {
        let mut command = Command { position: self.peek_word().position, operands: Vec::new() };
        loop {
            // Spaces before an operand are no separators.
            let token = self.next_word();
            self.back(token);
            if let Some(operand) = self.operand()? {
                command.operands.push(operand);
            }
            let token = self.next();
            match token.kind {
                Kind::Space => {}
                Kind::RightDelimiter | Kind::RightParenthesis => {
                    self.back(token);
                    break;
                }
                Kind::Pipe => break,
                _ => return self.unexpected(&token, "operand"),
            }
        }
        if command.operands.is_empty() { self.error("empty command") } else { Ok(command) }
    }

    /// A term with its fields, if one is here.
    fn operand(&mut self) -> Result<Option<Operand>, Error> {
        let Some(operand) = self.term()? else { return Ok(None) };
        let mut names = Vec::new();
        let mut position = operand.position;
        while self.peek() == Kind::Field {
            let token = self.next();
            if names.is_empty() {
                position = token.position;
            }
            names.push(token.text[1..].to_owned());
        }
        if names.is_empty() {
            return Ok(Some(operand));
        }
        let term = match operand.term {
            Term::Field(mut own) => {
                own.append(&mut names);
                Term::Field(own)
            }
            Term::Variable(mut own) => {
                own.append(&mut names);
                Term::Variable(own)
            }
            Term::Bool(_) | Term::Quoted(..) | Term::Number(_) | Term::Nil | Term::Dot => {
                let text = quote::quote(&operand.to_string());
                return self.error(format!("unexpected . after term {text}"));
            }
            _ => Term::Chain(Box::new(operand), names),
        };
        Ok(Some(Operand { position, term }))
    }

    fn term(&mut self) -> Result<Option<Operand>, Error> {
        let token = self.next_word();
        let term = match token.kind {
            Kind::Identifier if !functions::exist(&token.text) => {
                return self.error(format!("function {} not defined", quote::quote(&token.text)));
            }
            Kind::Identifier => Term::Function(token.text),
            Kind::Dot => Term::Dot,
            Kind::Nil => Term::Nil,
            Kind::Variable if !self.variables.contains(&token.text) => {
                return self.error(format!("undefined variable {}", quote::quote(&token.text)));
            }
            Kind::Variable => Term::Variable(vec![token.text]),
            Kind::Field => Term::Field(vec![token.text[1..].to_owned()]),
            Kind::Bool => Term::Bool(token.text == "true"),
            Kind::CharConstant | Kind::Complex | Kind::Number => {
                Term::Number(number(&token).or_else(|reason| self.error(reason))?)
            }
            Kind::LeftParenthesis => {
                self.depth += 1;
                if self.depth > DEPTH {
                    return self.error("max expression depth exceeded");
                }
                let pipe = self.pipe("parenthesized pipeline", Kind::RightParenthesis)?;
                self.depth -= 1;
                Term::Pipe(Box::new(pipe))
            }
            Kind::Quoted | Kind::RawText => {
                let text = self.unquoted(&token.text)?;
                Term::Quoted(token.text, text)
            }
            _ => {
                self.back(token);
                return Ok(None);
            }
        };
        Ok(Some(Operand { position: token.position, term }))
    }
}

impl Stop {
    fn name(&self) -> &'static str {
        match self {
            Self::End => "{{end}}",
            Self::Else => "{{else}}",
        }
    }
}

/// Reads a number, as Go's strconv does with base 0.
fn number(token: &Token) -> Result<Number, String> {
    let text = token.text.clone();
    if token.kind == Kind::CharConstant {
        let inside = quote::unquote(&text).filter(|inside| !inside.is_empty()).ok_or("invalid syntax")?;
        let character = Some(inside).filter(|inside| inside.chars().count() == 1);
        let Some(character) = character.and_then(|inside| inside.chars().next()) else {
            return Err(format!("malformed character constant: {text}"));
        };
        let code = u32::from(character);
        return Ok(Number { text, integer: Some(code.into()), float: code.into() });
    }
    if text.ends_with('i') && !text.starts_with("0x") {
        return Err(format!("complex numbers are not supported: {text}"));
    }
    let bad = || format!("illegal number syntax: {}", quote::quote(&text));
    if let Some(integer) = integer(&text) {
        if integer > i128::from(u64::MAX) || integer < i128::from(i64::MIN) {
            return Err(format!("integer overflow: {}", quote::quote(&text)));
        }
        return Ok(Number { text, integer: Some(integer), float: integer as f64 });
    }
    if !text.contains(['.', 'e', 'E']) || text.contains('_') {
        return Err(bad());
    }
    let float: f64 = text.parse().map_err(|_| bad())?;
    if float.is_infinite() {
        return Err(bad());
    }
    let integer = (float.fract() == 0.0 && float.abs() < 9.2e18).then_some(float as i128);
    Ok(Number { text, integer, float })
}

fn integer(text: &str) -> Option<i128> {
    let (is_negative, digits) = match text.strip_prefix(['+', '-']) {
        Some(digits) => (text.starts_with('-'), digits),
        None => (false, text),
    };
    let lower = digits.to_ascii_lowercase();
    let (radix, digits) = match lower.get(..2) {
        Some("0x") => (16, &lower[2..]),
        Some("0o") => (8, &lower[2..]),
        Some("0b") => (2, &lower[2..]),
        Some(start) if start.starts_with('0') => (8, &lower[1..]),
        _ => (10, lower.as_str()),
    };
    let is_separated = !digits.ends_with('_') && !digits.contains("__") && (radix != 10 || !digits.starts_with('_'));
    if digits.is_empty() || !is_separated || digits.starts_with(['+', '-']) {
        return None;
    }
    let value = i128::from_str_radix(&digits.replace('_', ""), radix).ok()?;
    Some(if is_negative { -value } else { value })
}
