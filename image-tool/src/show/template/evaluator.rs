//! Fills in a template: walks its tree as Go's text/template/exec.go does, with its errors.

use super::functions::{self, Kind};
use super::node::{Branch, Call, Command, Node, Operand, Pipe, Term};
use super::parser::Trees;
use super::value::Value;
use super::{Error, print, quote};

/// How deep templates, branches and loops may be in each other. A template that calls itself ends here.
const DEPTH: usize = 200;

/// The most steps that are taken: a loop over ten million numbers would end here.
const STEPS: u32 = 10_000_000;

/// The longest text that a template writes, or a function makes.
const LONGEST: usize = 64 << 20;

/// How a template is filled in.
#[derive(Clone, Copy, Default)]
pub(super) struct Settings {
    /// A key that a map lacks is an error (Go's option missingkey=error).
    pub(super) is_strict: bool,
    /// docker's functions leave their argument as it is: it is the heading of a column.
    pub(super) headings: bool,
}

/// Fills in a template. `escape` is applied to what actions print. With an error comes what was written before.
pub(super) fn fill_in(
    text: &str,
    trees: &Trees,
    data: &Value,
    settings: Settings,
    escape: &dyn Fn(&str) -> String,
) -> Result<String, (String, Error)> {
    let mut evaluator = Evaluator {
        trees,
        settings,
        escape,
        variables: vec![("$", data.clone())],
        place: None,
        name: "",
        output: String::new(),
        steps: 0,
        depth: 0,
    };
    let root = trees.get("").map(Vec::as_slice).unwrap_or_default();
    match evaluator.list(data, root) {
        Ok(_) => Ok(evaluator.output),
        Err(reason) => {
            let error = evaluator.error(text, reason);
            Err((evaluator.output, error))
        }
    }
}

/// What an error happened at.
#[derive(Clone, Copy)]
enum Place<'t> {
    Pipe(&'t Pipe),
    Command(&'t Command),
    Operand(&'t Operand),
    Call(&'t Call),
}

/// What comes after a node.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flow {
    Next,
    Break,
    Continue,
}

struct Evaluator<'t, 'e> {
    trees: &'t Trees,
    settings: Settings,
    escape: &'e dyn Fn(&str) -> String,
    /// The variables that exist, the latest last.
    variables: Vec<(&'t str, Value)>,
    place: Option<Place<'t>>,
    /// The name of the template that is filled in.
    name: &'t str,
    output: String,
    steps: u32,
    depth: usize,
}

impl<'t> Evaluator<'t, '_> {
    fn error(&self, text: &str, reason: String) -> Error {
        let (position, node) = match self.place {
            None => (0, String::new()),
            Some(Place::Pipe(pipe)) => (pipe.position, pipe.to_string()),
            Some(Place::Command(command)) => (command.position, command.to_string()),
            Some(Place::Operand(operand)) => (operand.position, operand.to_string()),
            Some(Place::Call(call)) => (call.position, call.to_string()),
        };
        let before = text.get(..position).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let column = before.rfind('\n').map_or(position, |at| position - at - 1);
        Error::Execute { line, column, template: quote::quote(self.name), node, reason }
    }

    fn step(&mut self) -> Result<(), String> {
        self.steps += 1;
        if self.steps > STEPS { Err(format!("exceeded {STEPS} steps")) } else { Ok(()) }
    }

    fn deeper<T>(&mut self, act: impl FnOnce(&mut Self) -> Result<T, String>) -> Result<T, String> {
        if self.depth == DEPTH {
            return Err(format!("exceeded maximum template depth ({DEPTH})"));
        }
        self.depth += 1;
        let result = act(self);
        self.depth -= 1;
        result
    }

    fn list(&mut self, dot: &Value, list: &'t [Node]) -> Result<Flow, String> {
        for node in list {
            let flow = self.node(dot, node)?;
            if flow != Flow::Next {
                return Ok(flow);
            }
        }
        Ok(Flow::Next)
    }

    fn write(&mut self, text: &str) -> Result<(), String> {
        self.output.push_str(text);
        if self.output.len() > LONGEST { Err(format!("exceeded {LONGEST} bytes of output")) } else { Ok(()) }
    }

    fn node(&mut self, dot: &Value, node: &'t Node) -> Result<Flow, String> {
        self.step()?;
        match node {
            Node::Text(text) => self.write(text)?,
            Node::Action(pipe) => {
                let value = self.pipe(dot, pipe)?;
                if pipe.variables.is_empty() {
                    let text = (self.escape)(&print::print(&value));
                    self.write(&text)?;
                }
            }
            Node::If(branch) => return self.deeper(|own| own.branch(dot, branch, false)),
            Node::With(branch) => return self.deeper(|own| own.branch(dot, branch, true)),
            Node::Range(branch) => return self.deeper(|own| own.range(dot, branch)),
            Node::Template(call) => self.deeper(|own| own.template(dot, call))?,
            Node::Break => return Ok(Flow::Break),
            Node::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::Next)
    }

    fn branch(&mut self, dot: &Value, branch: &'t Branch, sets_dot: bool) -> Result<Flow, String> {
        let mark = self.variables.len();
        let value = self.pipe(dot, &branch.pipe)?;
        let flow = match (value.is_true(), sets_dot) {
            (true, true) => self.list(&value, &branch.list)?,
            (true, false) => self.list(dot, &branch.list)?,
            (false, _) => self.list(dot, &branch.otherwise)?,
        };
        self.variables.truncate(mark);
        Ok(flow)
    }

    fn range(&mut self, dot: &Value, branch: &'t Branch) -> Result<Flow, String> {
        let mark = self.variables.len();
        let value = self.pipe(dot, &branch.pipe)?;
        let is_empty = match &value {
            Value::List(values) => {
                let values = values.as_deref().unwrap_or_default();
                let pairs = values.iter().enumerate().map(|(index, value)| (index.into(), value.clone()));
                self.rounds(branch, pairs)?
            }
            Value::Map(values) => {
                let values = values.iter().flat_map(|values| values.iter());
                self.rounds(branch, values.map(|(key, value)| (key.into(), value.clone())))?
            }
            Value::Integer(_) if branch.pipe.variables.len() > 1 => {
                return Err(format!("can't use {} to iterate over more than one variable", print::print(&value)));
            }
            Value::Integer(number) => {
                self.rounds(branch, (0..*number).map(|number| (Value::Missing, Value::Integer(number))))?
            }
            Value::Missing | Value::Null => true,
            other => return Err(format!("range can't iterate over {}", print::print(other))),
        };
        let flow = if is_empty { self.list(dot, &branch.otherwise)? } else { Flow::Next };
        self.variables.truncate(mark);
        Ok(flow)
    }

    /// Goes through pairs of index and element. Returns whether there were none.
    fn rounds(&mut self, branch: &'t Branch, pairs: impl Iterator<Item = (Value, Value)>) -> Result<bool, String> {
        let mark = self.variables.len();
        let mut is_empty = true;
        for (index, element) in pairs {
            is_empty = false;
            self.step()?;
            self.set_loop_variables(&branch.pipe, index, &element)?;
            let flow = self.list(&element, &branch.list)?;
            self.variables.truncate(mark);
            if flow == Flow::Break {
                break;
            }
        }
        Ok(is_empty)
    }

    fn set_loop_variables(&mut self, pipe: &'t Pipe, index: Value, element: &Value) -> Result<(), String> {
        let values = match pipe.variables.len() {
            0 => return Ok(()),
            1 => vec![element.clone()],
            _ => vec![index, element.clone()],
        };
        if pipe.assigns {
            return pipe.variables.iter().zip(values).try_for_each(|(name, value)| self.set(name, value));
        }
        // The pipe has declared them.
        let at = self.variables.len() - pipe.variables.len();
        for (variable, value) in self.variables[at..].iter_mut().zip(values) {
            variable.1 = value;
        }
        Ok(())
    }

    fn template(&mut self, dot: &Value, call: &'t Call) -> Result<(), String> {
        self.place = Some(Place::Call(call));
        let Some((name, list)) = self.trees.get_key_value(&call.name) else {
            return Err(format!("template {} not defined", quote::quote(&call.name)));
        };
        let data = match &call.pipe {
            Some(pipe) => self.pipe(dot, pipe)?,
            None => Value::Missing,
        };
        let outer = std::mem::replace(&mut self.variables, vec![("$", data.clone())]);
        let outer_name = std::mem::replace(&mut self.name, name);
        // A break in it is a syntax error, so nothing but the next node can follow.
        self.list(&data, list)?;
        self.variables = outer;
        self.name = outer_name;
        Ok(())
    }

    fn set(&mut self, name: &str, value: Value) -> Result<(), String> {
        match self.variables.iter_mut().rev().find(|(known, _)| *known == name) {
            Some(variable) => {
                variable.1 = value;
                Ok(())
            }
            None => Err(format!("undefined variable: {name}")),
        }
    }

    fn pipe(&mut self, dot: &Value, pipe: &'t Pipe) -> Result<Value, String> {
        self.step()?;
        self.place = Some(Place::Pipe(pipe));
        let mut value = None;
        for command in &pipe.commands {
            value = Some(self.command(dot, command, value)?);
        }
        let value = value.unwrap_or_default();
        for name in &pipe.variables {
            if pipe.assigns {
                self.set(name, value.clone())?;
            } else {
                self.variables.push((name, value.clone()));
            }
        }
        Ok(value)
    }

    /// A command; `last` is the value that a pipe passes on.
    fn command(&mut self, dot: &Value, command: &'t Command, last: Option<Value>) -> Result<Value, String> {
        let (first, arguments) = (&command.operands[0], &command.operands[1..]);
        let is_alone = arguments.is_empty() && last.is_none();
        match &first.term {
            Term::Function(name) => {
                self.place = Some(Place::Operand(first));
                self.function(dot, name, Place::Command(command), arguments, last)
            }
            Term::Field(_) | Term::Chain(..) => self.fields(dot, first, arguments, last),
            Term::Variable(names) if names.len() > 1 => self.fields(dot, first, arguments, last),
            term => {
                if !matches!(term, Term::Pipe(_)) {
                    self.place = Some(Place::Operand(first));
                }
                if !is_alone {
                    return Err(format!("can't give argument to non-function {first}"));
                }
                if matches!(term, Term::Nil) {
                    return Err("nil is not a command".into());
                }
                self.operand(dot, first)
            }
        }
    }

    /// The value of an operand without arguments.
    fn operand(&mut self, dot: &Value, operand: &'t Operand) -> Result<Value, String> {
        self.place = Some(Place::Operand(operand));
        match &operand.term {
            Term::Bool(value) => Ok(Value::Bool(*value)),
            Term::Dot => Ok(dot.clone()),
            Term::Nil => Ok(Value::Null),
            Term::Number(number) if number.is_float() => Ok(Value::Float(number.float)),
            Term::Number(number) => match number.integer {
                Some(integer) if i64::try_from(integer).is_err() => Err(format!("{} overflows int", number.text)),
                integer => Ok(Value::Integer(integer.unwrap_or_default())),
            },
            Term::Quoted(_, text) => Ok(Value::text(text)),
            Term::Variable(names) if names.len() == 1 => self.variable(&names[0]),
            Term::Field(_) | Term::Variable(_) | Term::Chain(..) => self.fields(dot, operand, &[], None),
            Term::Function(name) => self.function(dot, name, Place::Operand(operand), &[], None),
            Term::Pipe(pipe) => self.deeper(|own| own.pipe(dot, pipe)),
        }
    }

    fn variable(&self, name: &str) -> Result<Value, String> {
        let found = self.variables.iter().rev().find(|(known, _)| *known == name);
        found.map(|(_, value)| value.clone()).ok_or_else(|| format!("undefined variable: {name}"))
    }

    /// A chain of fields, the last of which may be a method with arguments.
    fn fields(
        &mut self,
        dot: &Value,
        operand: &'t Operand,
        arguments: &'t [Operand],
        last: Option<Value>,
    ) -> Result<Value, String> {
        self.place = Some(Place::Operand(operand));
        let (mut value, names) = match &operand.term {
            Term::Variable(names) => (self.variable(&names[0])?, &names[1..]),
            Term::Chain(inner, _) if matches!(inner.term, Term::Nil) => {
                return Err(format!("indirection through explicit nil in {operand}"));
            }
            Term::Chain(inner, names) => (self.operand(dot, inner)?, names.as_slice()),
            Term::Field(names) => (dot.clone(), names.as_slice()),
            _ => return Err(format!("can't evaluate command {}", quote::quote(&operand.to_string()))),
        };
        let has_arguments = !arguments.is_empty() || last.is_some();
        let mut rest = Some((arguments, last));
        for (index, name) in names.iter().enumerate() {
            let is_last = index + 1 == names.len();
            value = match self.field(&value, name, is_last && has_arguments)? {
                Value::Method(method) => {
                    let (arguments, last) = if is_last { rest.take().unwrap_or_default() } else { (&[][..], None) };
                    let signature = functions::Signature { fixed: &[Kind::Text], more: None };
                    let values = self.arguments(dot, name, signature, arguments, last)?;
                    let Some(Value::Text(text)) = values.first() else { return Err("expected string".into()) };
                    method(text)
                }
                other => other,
            };
        }
        Ok(value)
    }

    fn field(&self, value: &Value, name: &str, has_arguments: bool) -> Result<Value, String> {
        match value {
            Value::Missing if self.settings.is_strict => {
                Err(format!("nil data; no entry for key {}", quote::quote(name)))
            }
            Value::Missing => Ok(Value::Missing),
            Value::Null | Value::NilPointer => Err(format!("nil pointer evaluating {}.{name}", value.type_name())),
            Value::Struct(own) => match own.field(name) {
                Some(method @ Value::Method(_)) => Ok(method.clone()),
                Some(_) if has_arguments => Err(format!("{name} has arguments but cannot be invoked as function")),
                Some(found) => Ok(found.clone()),
                None => Err(format!("can't evaluate field {name} in type {}", own.name())),
            },
            Value::Map(_) if has_arguments => Err(format!("{name} is not a method but has arguments")),
            Value::Map(values) => match values.as_ref().and_then(|values| values.get(name)) {
                Some(found) => Ok(found.clone()),
                None if self.settings.is_strict => Err(format!("map has no entry for key {}", quote::quote(name))),
                None => Ok(Value::Missing),
            },
            other => Err(format!("can't evaluate field {name} in type {}", other.type_name())),
        }
    }

    fn function(
        &mut self,
        dot: &Value,
        name: &'t str,
        whole: Place<'t>,
        arguments: &'t [Operand],
        last: Option<Value>,
    ) -> Result<Value, String> {
        let Some(signature) = functions::signature(name) else {
            return Err(format!("{} is not a defined function", quote::quote(name)));
        };
        if matches!(name, "and" | "or") {
            return self.short_circuit(dot, name, arguments, last);
        }
        let values = self.arguments(dot, name, signature, arguments, last)?;
        let value = functions::call(name, &values, self.settings.headings).map_err(|reason| {
            self.place = Some(whole);
            format!("error calling {name}: {reason}")
        })?;
        match &value {
            Value::Text(text) if text.len() > LONGEST => Err(format!("exceeded {LONGEST} bytes in {name}")),
            _ => Ok(value),
        }
    }

    /// `and` and `or`, which evaluate no more than they must.
    fn short_circuit(
        &mut self,
        dot: &Value,
        name: &str,
        arguments: &'t [Operand],
        last: Option<Value>,
    ) -> Result<Value, String> {
        if arguments.is_empty() && last.is_none() {
            return Err(format!("wrong number of args for {name}: want at least 1 got 0"));
        }
        let mut value = Value::Missing;
        for argument in arguments {
            value = self.operand(dot, argument)?;
            if value.is_true() == (name == "or") {
                return Ok(value);
            }
        }
        Ok(last.unwrap_or(value))
    }

    /// The values of arguments, each of the kind that the function takes.
    fn arguments(
        &mut self,
        dot: &Value,
        name: &str,
        signature: functions::Signature,
        arguments: &'t [Operand],
        last: Option<Value>,
    ) -> Result<Vec<Value>, String> {
        let (fixed, given) = (signature.fixed.len(), arguments.len() + usize::from(last.is_some()));
        match signature.more {
            Some(_) if given < fixed => {
                return Err(format!("wrong number of args for {name}: want at least {fixed} got {}", arguments.len()));
            }
            None if given != fixed => {
                return Err(format!("wrong number of args for {name}: want {fixed} got {given}"));
            }
            _ => {}
        }
        let kind = |index: usize| signature.fixed.get(index).copied().or(signature.more).unwrap_or(Kind::Any);
        let mut values = Vec::with_capacity(given);
        for (index, argument) in arguments.iter().enumerate() {
            values.push(self.argument(dot, argument, kind(index))?);
        }
        if let Some(last) = last {
            values.push(checked(last, kind(values.len()))?);
        }
        Ok(values)
    }

    fn argument(&mut self, dot: &Value, operand: &'t Operand, kind: Kind) -> Result<Value, String> {
        self.place = Some(Place::Operand(operand));
        match (&operand.term, kind) {
            (Term::Nil, Kind::Text | Kind::Integer) => Err(format!("cannot assign nil to {}", kind.name())),
            (Term::Bool(_) | Term::Number(_), Kind::Text) => Err(format!("expected string; found {operand}")),
            (Term::Number(number), Kind::Integer) => match number.integer {
                Some(integer) if i64::try_from(integer).is_ok() => Ok(Value::Integer(integer)),
                _ => Err(format!("expected integer; found {operand}")),
            },
            (Term::Bool(_) | Term::Quoted(..), Kind::Integer) => Err(format!("expected integer; found {operand}")),
            _ => checked(self.operand(dot, operand)?, kind),
        }
    }
}

/// The value, if it is of the kind.
fn checked(value: Value, kind: Kind) -> Result<Value, String> {
    match (kind, &value) {
        (Kind::Any, _) | (Kind::Text, Value::Text(_)) | (Kind::Integer, Value::Integer(_)) => Ok(value),
        (_, Value::Missing | Value::Null) => Err(format!("invalid value; expected {}", kind.name())),
        _ => Err(format!("wrong type for value; expected {}; got {}", kind.name(), value.type_name())),
    }
}
