//! The tree of a template, with the texts by which Go's errors name its nodes.

use std::fmt::{self, Display, Formatter};

/// A part of a template.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    Text(String),
    Action(Pipe),
    If(Branch),
    With(Branch),
    Range(Branch),
    Template(Call),
    Break,
    Continue,
}

/// `if`, `with` or `range` with what depends on it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Branch {
    pub(super) pipe: Pipe,
    pub(super) list: Vec<Node>,
    pub(super) otherwise: Vec<Node>,
}

/// `{{template "name" pipe}}`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Call {
    pub(super) position: usize,
    pub(super) name: String,
    pub(super) pipe: Option<Pipe>,
}

/// Commands, each of which passes its value on to the next as the last argument.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Pipe {
    pub(super) position: usize,
    /// Whether the variables exist already (`=`, not `:=`).
    pub(super) assigns: bool,
    /// The variables that get the value, with their `$`.
    pub(super) variables: Vec<String>,
    pub(super) commands: Vec<Command>,
}

/// A function, a field or a value, with arguments.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Command {
    pub(super) position: usize,
    /// At least one.
    pub(super) operands: Vec<Operand>,
}

/// A part of a command.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Operand {
    pub(super) position: usize,
    pub(super) term: Term,
}

/// What an operand is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Term {
    Bool(bool),
    Dot,
    Nil,
    Number(Number),
    /// A string as it was written, and what it means.
    Quoted(String, String),
    /// `.A.B`, without the dots.
    Field(Vec<String>),
    /// `$x.A`: the name of the variable with its `$`, then the fields.
    Variable(Vec<String>),
    /// Fields of something else, such as `(pipe).A`.
    Chain(Box<Operand>, Vec<String>),
    Function(String),
    Pipe(Box<Pipe>),
}

/// A number as it was written, and the values that it can have.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Number {
    pub(super) text: String,
    pub(super) integer: Option<i128>,
    pub(super) float: f64,
}

impl Number {
    /// Whether the number is a float if nothing else says what it is.
    pub(super) fn is_float(&self) -> bool {
        let is_hexadecimal = self.text.get(..2).is_some_and(|start| start.eq_ignore_ascii_case("0x"));
        self.integer.is_none()
            || (self.text.contains(['.', 'e', 'E', 'p', 'P']) && !is_hexadecimal && !self.text.starts_with('\''))
    }
}

impl Pipe {
    fn is_single(&self) -> bool {
        self.commands.is_empty() && self.variables.is_empty()
    }
}

fn joined<T: Display>(formatter: &mut Formatter<'_>, all: &[T], separator: &str) -> fmt::Result {
    for (index, each) in all.iter().enumerate() {
        if index > 0 {
            formatter.write_str(separator)?;
        }
        write!(formatter, "{each}")?;
    }
    Ok(())
}

impl Display for Call {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        write!(formatter, "{{{{template {}", super::quote::quote(&self.name))?;
        if let Some(pipe) = self.pipe.as_ref().filter(|pipe| !pipe.is_single()) {
            write!(formatter, " {pipe}")?;
        }
        formatter.write_str("}}")
    }
}

impl Display for Pipe {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        if !self.variables.is_empty() {
            joined(formatter, &self.variables, ", ")?;
            formatter.write_str(if self.assigns { " = " } else { " := " })?;
        }
        joined(formatter, &self.commands, " | ")
    }
}

impl Display for Command {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        joined(formatter, &self.operands, " ")
    }
}

impl Display for Operand {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        let fields = |formatter: &mut Formatter<'_>, names: &[String]| {
            names.iter().try_for_each(|name| write!(formatter, ".{name}"))
        };
        match &self.term {
            Term::Bool(value) => write!(formatter, "{value}"),
            Term::Dot => formatter.write_str("."),
            Term::Nil => formatter.write_str("nil"),
            Term::Number(number) => formatter.write_str(&number.text),
            Term::Quoted(quoted, _) => formatter.write_str(quoted),
            Term::Field(names) => fields(formatter, names),
            Term::Variable(names) => joined(formatter, names, "."),
            Term::Chain(operand, names) => {
                write!(formatter, "{operand}")?;
                fields(formatter, names)
            }
            Term::Function(name) => formatter.write_str(name),
            Term::Pipe(pipe) => write!(formatter, "({pipe})"),
        }
    }
}
