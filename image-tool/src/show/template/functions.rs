//! The functions of templates: Go's own (text/template/funcs.go) and docker's (cli/templates).

use std::cmp::Ordering;

use super::print;
use super::quote;
use super::value::Value;
use crate::show::human;

/// The kind of an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Any,
    Text,
    Integer,
}

impl Kind {
    /// Go's name of the type.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Any => "reflect.Value",
            Self::Text => "string",
            Self::Integer => "int",
        }
    }
}

/// What a function takes: these, and then any number of a kind.
#[derive(Clone, Copy, Debug)]
pub(super) struct Signature {
    pub(super) fixed: &'static [Kind],
    pub(super) more: Option<Kind>,
}

const ANY: Kind = Kind::Any;
const TEXT: Kind = Kind::Text;
const INTEGER: Kind = Kind::Integer;

/// What the function `name` takes; `None` if there is no such function.
pub(super) fn signature(name: &str) -> Option<Signature> {
    let (fixed, more): (&[Kind], _) = match name {
        "and" | "or" | "call" | "index" | "slice" | "eq" => (&[ANY], Some(ANY)),
        "html" | "js" | "urlquery" | "print" | "println" => (&[], Some(ANY)),
        "printf" => (&[TEXT], Some(ANY)),
        "len" | "not" | "json" => (&[ANY], None),
        "ne" | "lt" | "le" | "gt" | "ge" => (&[ANY, ANY], None),
        "split" => (&[TEXT, TEXT], None),
        "join" => (&[ANY, TEXT], None),
        "title" | "lower" | "upper" => (&[TEXT], None),
        "pad" => (&[TEXT, INTEGER, INTEGER], None),
        "truncate" => (&[TEXT, INTEGER], None),
        _ => return None,
    };
    Some(Signature { fixed, more })
}

/// Whether there is a function of that name.
pub(super) fn exist(name: &str) -> bool {
    signature(name).is_some()
}

/// Calls a function with arguments that fit its signature. `and` and `or` are the evaluator's, since they may leave out arguments. For
/// `headings`, docker's functions leave a heading as it is.
pub(super) fn call(name: &str, arguments: &[Value], headings: bool) -> Result<Value, String> {
    let text = |index: usize| match &arguments[index] {
        Value::Text(text) => &**text,
        _ => "",
    };
    let integer = |index: usize| match &arguments[index] {
        Value::Integer(number) => *number,
        _ => 0,
    };
    if headings && matches!(name, "json" | "split" | "join" | "title" | "lower" | "upper" | "truncate") {
        return Ok(arguments[0].clone());
    }
    Ok(match name {
        "call" => return Err(uncallable(&arguments[0])),
        "index" => return index(arguments),
        "slice" => return slice(arguments),
        "len" => length(&arguments[0])?.into(),
        "not" => (!arguments[0].is_true()).into(),
        "eq" => equal(&arguments[0], &arguments[1..])?.into(),
        "ne" => (!equal(&arguments[0], &arguments[1..])?).into(),
        "lt" => (order(&arguments[0], &arguments[1])? == Ordering::Less).into(),
        "le" => (order(&arguments[0], &arguments[1])? != Ordering::Greater).into(),
        "gt" => (order(&arguments[0], &arguments[1])? == Ordering::Greater).into(),
        "ge" => (order(&arguments[0], &arguments[1])? != Ordering::Less).into(),
        "print" => print::sprint(arguments).into(),
        "println" => print::sprintln(arguments).into(),
        "printf" => print::sprintf(text(0), &arguments[1..]).into(),
        "html" => html(&shown(arguments)).into(),
        "js" => javascript(&shown(arguments)).into(),
        "urlquery" => query(&shown(arguments)).into(),
        "json" => json(&arguments[0]).into(),
        "split" if text(1).is_empty() => Value::list(text(0).chars().map(String::from)),
        "split" => Value::list(text(0).split(text(1))),
        "join" => join(&arguments[0], text(1))?.into(),
        "title" => title(text(0)).into(),
        "lower" => text(0).to_lowercase().into(),
        "upper" => text(0).to_uppercase().into(),
        "pad" => pad(text(0), integer(1), integer(2))?.into(),
        "truncate" => truncate(text(0), integer(1))?.into(),
        _ => return Err(format!("{} is not a defined function", quote::quote(name))),
    })
}

fn uncallable(value: &Value) -> String {
    match value {
        Value::Missing | Value::Null => "call of nil".into(),
        other => format!("non-function of type {}", other.type_name()),
    }
}

/// The text that html, js and urlquery escape.
fn shown(arguments: &[Value]) -> String {
    match arguments {
        [single] => print::print(single),
        several => print::sprint(several),
    }
}

/// A value as docker's `json` writes it, with what a terminal obeys escaped.
fn json(value: &Value) -> String {
    // A document of these kinds can always be written.
    let json = human::json(&serde_json::to_string(value).unwrap_or_default());
    match value {
        // The rows of lists are written by their own methods, with the escapes of Go's default.
        Value::Struct(own) if own.is_row() => {
            json.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
        }
        _ => json,
    }
}

fn position(index: &Value, most: usize) -> Result<usize, String> {
    match index {
        Value::Integer(number) => {
            let position = usize::try_from(*number).ok().filter(|position| *position <= most);
            position.ok_or_else(|| format!("index out of range: {number}"))
        }
        Value::Missing | Value::Null => Err("cannot index slice/array with nil".into()),
        other => Err(format!("cannot index slice/array with type {}", other.type_name())),
    }
}

fn index(arguments: &[Value]) -> Result<Value, String> {
    let mut item = arguments[0].clone();
    if matches!(item, Value::Missing | Value::Null) {
        return Err("index of untyped nil".into());
    }
    for index in &arguments[1..] {
        item = match &item {
            Value::Missing | Value::Null | Value::NilPointer => return Err("index of nil pointer".into()),
            Value::List(values) => {
                let values = values.as_deref().unwrap_or_default();
                let at = position(index, values.len())?;
                let outside = || format!("reflect: slice index out of range: {at}");
                values
                    .get(at)
                    .cloned()
                    .ok_or_else(outside)
                    .map_err(|_| "reflect: slice index out of range".to_owned())?
            }
            Value::Text(text) => {
                let at = position(index, text.len())?;
                let byte = text.as_bytes().get(at).ok_or("reflect: string index out of range")?;
                Value::Integer((*byte).into())
            }
            Value::Map(values) => match index {
                Value::Text(key) => found(values.as_ref().and_then(|values| values.get(&**key)), &item),
                Value::Missing | Value::Null => return Err("value is nil; should be of type string".into()),
                other => return Err(format!("value has type {}; should be string", other.type_name())),
            },
            other => return Err(format!("can't index item of type {}", other.type_name())),
        };
    }
    Ok(item)
}

/// The value of a key, or the zero value of the map's type.
fn found(value: Option<&Value>, map: &Value) -> Value {
    value.cloned().unwrap_or_else(|| match map.type_name().as_str() {
        _ if matches!(map, Value::Map(Some(values)) if values.is_open()) => Value::Missing,
        "map[string]string" => Value::text(""),
        "map[string]int" => Value::Integer(0),
        "map[string]bool" => Value::Bool(false),
        // A nil map, as that of a container without labels: nearly all of docker's maps are of strings.
        "map[string]interface {}" if matches!(map, Value::Map(None)) => Value::text(""),
        "map[string]interface {}" if matches!(map, Value::Map(Some(values)) if values.is_empty()) => Value::text(""),
        _ => Value::Null,
    })
}

fn slice(arguments: &[Value]) -> Result<Value, String> {
    let (item, indexes) = (&arguments[0], &arguments[1..]);
    if indexes.len() > 3 {
        return Err(format!("too many slice indexes: {}", indexes.len()));
    }
    let length = match item {
        Value::Missing | Value::Null => return Err("slice of untyped nil".into()),
        Value::NilPointer => return Err("slice of nil pointer".into()),
        Value::Text(_) if indexes.len() == 3 => return Err("cannot 3-index slice a string".into()),
        Value::Text(text) => text.len(),
        Value::List(values) => values.as_ref().map_or(0, |values| values.len()),
        other => return Err(format!("can't slice item of type {}", other.type_name())),
    };
    let mut bounds = [0, length, length];
    for (bound, index) in bounds.iter_mut().zip(indexes) {
        *bound = position(index, length)?;
    }
    if bounds[0] > bounds[1] {
        return Err(format!("invalid slice index: {} > {}", bounds[0], bounds[1]));
    }
    if indexes.len() == 3 && bounds[1] > bounds[2] {
        return Err(format!("invalid slice index: {} > {}", bounds[1], bounds[2]));
    }
    let range = bounds[0]..bounds[1];
    Ok(match item {
        Value::Text(text) => String::from_utf8_lossy(&text.as_bytes()[range]).into_owned().into(),
        Value::List(Some(values)) => Value::list(values[range].iter().cloned()),
        other => other.clone(),
    })
}

fn length(item: &Value) -> Result<usize, String> {
    match item {
        Value::Text(text) => Ok(text.len()),
        Value::List(values) => Ok(values.as_ref().map_or(0, |values| values.len())),
        Value::Map(values) => Ok(values.as_ref().map_or(0, |values| values.len())),
        Value::Missing | Value::Null | Value::NilPointer => Err("len of nil pointer".into()),
        other => Err(format!("len of type {}", other.type_name())),
    }
}

fn is_basic(value: &Value) -> bool {
    matches!(value, Value::Bool(_) | Value::Integer(_) | Value::Duration(_) | Value::Float(_) | Value::Text(_))
}

/// Whether the first is equal to one of the others.
fn equal(first: &Value, others: &[Value]) -> Result<bool, String> {
    if others.is_empty() {
        return Err("missing argument for comparison".into());
    }
    for other in others {
        let is_equal = match (&first.in_numbers(), &other.in_numbers()) {
            (Value::Bool(one), Value::Bool(two)) => one == two,
            (Value::Integer(one), Value::Integer(two)) => one == two,
            (Value::Float(one), Value::Float(two)) => one.partial_cmp(two) == Some(Ordering::Equal),
            (Value::Text(one), Value::Text(two)) => one == two,
            (Value::Missing | Value::Null, _) | (_, Value::Missing | Value::Null) => first.is_nil() && other.is_nil(),
            _ if is_basic(first) || is_basic(other) => return Err(incompatible(first, other)),
            _ if first.is_nil() || other.is_nil() => first.is_nil() && other.is_nil(),
            (_, other) => {
                let shown = print::print(other);
                return Err(format!("non-comparable type {shown}: {}", other.type_name()));
            }
        };
        if is_equal {
            return Ok(true);
        }
    }
    Ok(false)
}

fn incompatible(one: &Value, two: &Value) -> String {
    format!("incompatible types for comparison: {} and {}", one.type_name(), two.type_name())
}

fn order(one: &Value, two: &Value) -> Result<Ordering, String> {
    match (&one.in_numbers(), &two.in_numbers()) {
        (Value::Integer(one), Value::Integer(two)) => Ok(one.cmp(two)),
        // Something that is not a number is less than nothing and greater than nothing, and Go says the same of it.
        (Value::Float(one), Value::Float(two)) => Ok(one.partial_cmp(two).unwrap_or(Ordering::Greater)),
        (Value::Text(one), Value::Text(two)) => Ok(one.cmp(two)),
        (Value::Bool(_), Value::Bool(_)) => Err("invalid type for comparison".into()),
        (own_one, own_two) if is_basic(own_one) && is_basic(own_two) => Err(incompatible(one, two)),
        _ => Err("invalid type for comparison".into()),
    }
}

fn html(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\0' => safe.push('\u{fffd}'),
            '"' => safe.push_str("&#34;"),
            '\'' => safe.push_str("&#39;"),
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            _ => safe.push(character),
        }
    }
    safe
}

fn javascript(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\\' => safe.push_str("\\\\"),
            '\'' => safe.push_str("\\'"),
            '"' => safe.push_str("\\\""),
            '<' | '>' | '&' | '=' | '\0'..' ' => safe.push_str(&format!("\\u{:04X}", u32::from(character))),
            _ if character.is_ascii() || quote::is_printable(character) => safe.push(character),
            _ => safe.push_str(&format!("\\u{:04X}", u32::from(character))),
        }
    }
    safe
}

fn query(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' ' => safe.push('+'),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => safe.push(char::from(byte)),
            _ => safe.push_str(&format!("%{byte:02X}")),
        }
    }
    safe
}

fn join(values: &Value, separator: &str) -> Result<String, String> {
    match values {
        Value::Missing | Value::Null | Value::List(None) => Ok(String::new()),
        Value::List(Some(values)) => {
            let all: Vec<String> = values.iter().map(|value| print::sprint(std::slice::from_ref(value))).collect();
            Ok(all.join(separator))
        }
        Value::Map(values) => {
            let all = values.iter().flat_map(|values| values.values());
            let mut all: Vec<String> = all.map(|value| print::sprint(std::slice::from_ref(value))).collect();
            all.sort();
            Ok(all.join(separator))
        }
        other => Err(format!("expected slice, got {}", other.type_name())),
    }
}

/// Each letter that begins a word in upper case (Go's strings.Title).
fn title(text: &str) -> String {
    let mut titled = String::with_capacity(text.len());
    let mut before = ' ';
    for character in text.chars() {
        let is_separated = match before {
            _ if before.is_ascii() => !(before.is_ascii_alphanumeric() || before == '_'),
            _ if before.is_alphanumeric() => false,
            _ => before.is_whitespace(),
        };
        if is_separated {
            titled.extend(character.to_uppercase());
        } else {
            titled.push(character);
        }
        before = character;
    }
    titled
}

/// The most blanks that `pad` adds at one side.
const WIDEST: i128 = 1_000_000;

fn pad(text: &str, before: i128, after: i128) -> Result<String, String> {
    if text.is_empty() {
        return Ok(String::new());
    }
    let blanks = |count: i128| match usize::try_from(count) {
        Err(_) => Err("strings: negative Repeat count".to_owned()),
        Ok(_) if count > WIDEST => Err("strings: Repeat output length overflow".to_owned()),
        Ok(count) => Ok(" ".repeat(count)),
    };
    Ok(blanks(before)? + text + &blanks(after)?)
}

fn truncate(text: &str, length: i128) -> Result<String, String> {
    let length =
        usize::try_from(length).map_err(|_| format!("runtime error: slice bounds out of range [:{length}]"))?;
    Ok(String::from_utf8_lossy(&text.as_bytes()[..length.min(text.len())]).into_owned())
}
