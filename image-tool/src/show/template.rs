//! The part of Go's templates that people use with `--format`: fields, `json`, `index`, `len`, `join`, `println`,
//! `range`, `if` and text.

use std::io::IsTerminal;

use serde_json::Value;

use super::human;

/// What is wrong with a template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A `{{` without `}}`.
    #[error("template: unclosed {{{{")]
    Open,
    /// There is an `end` or `else` too many or too few.
    #[error("template: range, if, else and end do not match")]
    Unbalanced,
    /// An unsupported expression between braces.
    #[error(
        "template: {text:?} is not supported (use a field such as .Name, optionally after json, index, len, join, upper or lower)"
    )]
    Unknown {
        /// The expression.
        text: String,
    },
    /// A field that does not exist.
    #[error("template: no field {field:?} (available: {})", .known.join(", "))]
    Field {
        /// The name of the field.
        field: String,
        /// The names of the existing fields.
        known: Vec<String>,
    },
    /// The lines of a table have different numbers of fields.
    #[error("template: a table needs a tab between its fields")]
    Tabs,
}

/// A parsed template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
    table: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Call { function: Function, path: Vec<String>, argument: String },
    Range { path: Vec<String>, body: Vec<Part>, otherwise: Vec<Part> },
    If { path: Vec<String>, body: Vec<Part>, otherwise: Vec<Part> },
}

/// What ended a list of parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    Text,
    Else,
    End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Function {
    Print,
    Json,
    Index,
    Len,
    Join,
    Upper,
    Lower,
}

impl std::str::FromStr for Template {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let (table, text) = match text.strip_prefix("table ") {
            Some(rest) => (true, rest.trim_start()),
            None => (false, text),
        };
        let text = if text == "json" { "{{json .}}" } else { text };
        // docker replaces these two, which the shell left in single quotes.
        let text = text.replace("\\t", "\t").replace("\\n", "\n");
        let mut rest = text.as_str();
        match parts(&mut rest, 16)? {
            (parts, Stop::Text) => Ok(Self { parts, table }),
            _ => Err(Error::Unbalanced),
        }
    }
}

/// Parses parts up to the end of the text, an `else` or an `end`.
fn parts(rest: &mut &str, depth: u8) -> Result<(Vec<Part>, Stop), Error> {
    let depth = depth.checked_sub(1).ok_or(Error::Unbalanced)?;
    let mut found = Vec::new();
    while let Some((before, after)) = rest.split_once("{{") {
        let (inside, after) = after.split_once("}}").ok_or(Error::Open)?;
        found.push(Part::Text(before.into()));
        *rest = after;
        let inside = inside.trim_matches('-').trim();
        let stop = match inside {
            "end" => return Ok((found, Stop::End)),
            "else" => return Ok((found, Stop::Else)),
            _ => inside.split_once(' ').filter(|(word, _)| matches!(*word, "range" | "if")),
        };
        let Some((word, field)) = stop else {
            found.push(call(inside)?);
            continue;
        };
        let path = field_path(field.trim()).ok_or_else(|| Error::Unknown { text: inside.into() })?;
        let (body, stop) = parts(rest, depth)?;
        let (otherwise, stop) = if stop == Stop::Else { parts(rest, depth)? } else { (Vec::new(), stop) };
        if stop != Stop::End {
            return Err(Error::Unbalanced);
        }
        found.push(match word {
            "range" => Part::Range { path, body, otherwise },
            _ => Part::If { path, body, otherwise },
        });
    }
    found.push(Part::Text((*rest).into()));
    *rest = "";
    Ok((found, Stop::Text))
}

fn field_path(field: &str) -> Option<Vec<String>> {
    let path = field.strip_prefix('.').filter(|path| !path.contains(char::is_whitespace))?;
    Some(path.split('.').filter(|part| !part.is_empty()).map(str::to_owned).collect())
}

fn call(text: &str) -> Result<Part, Error> {
    let unknown = || Error::Unknown { text: text.into() };
    let mut words = text.split_whitespace();
    let first = words.next().ok_or_else(unknown)?;
    let (function, field) = match first {
        "json" => (Function::Json, words.next().ok_or_else(unknown)?),
        "index" => (Function::Index, words.next().ok_or_else(unknown)?),
        "len" => (Function::Len, words.next().ok_or_else(unknown)?),
        "join" => (Function::Join, words.next().ok_or_else(unknown)?),
        "upper" => (Function::Upper, words.next().ok_or_else(unknown)?),
        "lower" => (Function::Lower, words.next().ok_or_else(unknown)?),
        "print" | "println" => (Function::Print, words.next().ok_or_else(unknown)?),
        field => (Function::Print, field),
    };
    let path = field_path(field).ok_or_else(unknown)?;
    let argument = text.split_once(field).map_or("", |(_, after)| after.trim()).trim_matches('"').to_owned();
    if argument.is_empty() == matches!(function, Function::Index | Function::Join) {
        return Err(unknown());
    }
    Ok(Part::Call { function, path, argument })
}

impl Template {
    /// Whether the template begins with `table`: then a line of headings comes first.
    #[must_use]
    pub fn is_table(&self) -> bool {
        self.table
    }

    /// The line of headings, from the names of the fields.
    #[must_use]
    pub fn headings(&self, heading: impl Fn(&str) -> String) -> String {
        let part = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            Part::Range { path, .. } | Part::If { path, .. } | Part::Call { path, .. } => {
                heading(path.last().map_or("", String::as_str))
            }
        };
        self.parts.iter().map(part).collect()
    }

    /// Fills in the template for each value, one line each. A table has a line of headings and aligned columns.
    ///
    /// If `output` is a terminal, what it would obey is escaped in the values, but not in the template itself. In a pipe, values are
    /// not escaped, as with docker. `align` makes the table ([`human::table`] or another), and escapes its cells in any case.
    ///
    /// # Errors
    /// [`Error::Field`], [`Error::Tabs`].
    pub fn lines(
        &self,
        values: &[Value],
        heading: impl Fn(&str) -> String,
        align: impl Fn(&[Vec<String>]) -> String,
        output: &impl IsTerminal,
    ) -> Result<String, Error> {
        let escape = if output.is_terminal() { human::plain } else { str::to_owned };
        let mut lines = Vec::new();
        for value in values {
            let mut line = String::new();
            render(&self.parts, value, &escape, &mut line)?;
            lines.push(line);
        }
        if !self.table {
            return Ok(lines.iter().map(|line| format!("{line}\n")).collect());
        }
        lines.insert(0, self.headings(heading));
        let rows: Vec<Vec<String>> = lines.iter().map(|line| line.split('\t').map(str::to_owned).collect()).collect();
        if rows.iter().any(|row| row.len() != rows[0].len()) {
            return Err(Error::Tabs);
        }
        Ok(align(&rows))
    }
}

/// Appends the parts to `text`, with `escape` applied to all values.
fn render(parts: &[Part], value: &Value, escape: &impl Fn(&str) -> String, text: &mut String) -> Result<(), Error> {
    let find = |path: &[String]| path.iter().try_fold(value, |value, field| step(value, field));
    for part in parts {
        match part {
            Part::Text(part) => text.push_str(part),
            Part::Call { function, path, argument } => match (find(path)?, function, path.last().map(String::as_str)) {
                // The fields of docker are typed, and Go prints the zero value of each type differently.
                (Value::Null, Function::Print, Some("Labels" | "Volumes" | "ExposedPorts")) => text.push_str("map[]"),
                (Value::Null, Function::Print, Some("Env" | "Cmd" | "Entrypoint" | "OnBuild" | "Shell")) => {
                    text.push_str("[]");
                }
                (Value::Null, Function::Join, _) => {}
                (value, ..) => text.push_str(&escape(&apply(*function, value, argument)?)),
            },
            Part::Range { path, body, otherwise } => match find(path)? {
                Value::Array(values) if !values.is_empty() => {
                    values.iter().try_for_each(|value| render(body, value, escape, text))?;
                }
                Value::Object(values) if !values.is_empty() => {
                    values.values().try_for_each(|value| render(body, value, escape, text))?;
                }
                _ => render(otherwise, value, escape, text)?,
            },
            Part::If { path, body, otherwise } => {
                let nothing = match find(path)? {
                    Value::Null | Value::Bool(false) => true,
                    Value::String(text) => text.is_empty(),
                    Value::Array(values) => values.is_empty(),
                    Value::Object(values) => values.is_empty(),
                    Value::Number(number) => number.as_f64() == Some(0.0),
                    Value::Bool(true) => false,
                };
                render(if nothing { otherwise } else { body }, value, escape, text)?;
            }
        }
    }
    Ok(())
}

fn step<'a>(value: &'a Value, field: &str) -> Result<&'a Value, Error> {
    match value {
        Value::Null => Ok(&Value::Null),
        Value::Object(object) => object
            .get(field)
            .ok_or_else(|| Error::Field { field: field.into(), known: object.keys().cloned().collect() }),
        _ => Err(Error::Field { field: field.into(), known: Vec::new() }),
    }
}

fn apply(function: Function, value: &Value, argument: &str) -> Result<String, Error> {
    let missing = || Error::Field { field: argument.into(), known: Vec::new() };
    Ok(match function {
        Function::Print => print(value),
        Function::Json => human::json(&value.to_string()),
        Function::Len => match value {
            Value::Array(array) => array.len(),
            Value::Object(object) => object.len(),
            Value::String(text) => text.len(),
            _ => 0,
        }
        .to_string(),
        Function::Index => {
            let found = match value {
                Value::Array(array) => argument.parse::<usize>().ok().and_then(|index| array.get(index)),
                _ => value.get(argument),
            };
            print(found.ok_or_else(missing)?)
        }
        Function::Join => match value {
            Value::Array(array) => array.iter().map(print).collect::<Vec<_>>().join(argument),
            other => print(other),
        },
        Function::Upper => print(value).to_uppercase(),
        Function::Lower => print(value).to_lowercase(),
    })
}

/// Prints a value like Go.
fn print(value: &Value) -> String {
    match value {
        Value::Null => "<no value>".into(),
        Value::String(text) => text.clone(),
        Value::Array(array) => format!("[{}]", array.iter().map(print).collect::<Vec<_>>().join(" ")),
        Value::Object(object) => {
            format!(
                "map[{}]",
                object.iter().map(|(key, value)| format!("{key}:{}", print(value))).collect::<Vec<_>>().join(" ")
            )
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn filled_in(template: &str, value: &Value) -> Result<String, Error> {
        let (template, pipe) = (template.parse::<Template>().unwrap(), tempfile::tempfile().unwrap());
        template.lines(std::slice::from_ref(value), str::to_owned, human::table, &pipe)
    }

    #[test]
    fn templates_are_filled_in_as_by_docker() {
        let value =
            json!({"Id": "sha256:1", "Config": {"Cmd": ["sh", "-c"], "Labels": {"a": "b"}, "User": null}, "Size": 5});
        for (template, expected) in [
            ("{{.Id}}", "sha256:1"),
            ("{{ .Id }}: {{.Size}}", "sha256:1: 5"),
            ("{{.Config.Cmd}}", "[sh -c]"),
            ("{{json .Config.Cmd}}", "[\"sh\",\"-c\"]"),
            ("{{index .Config.Cmd 1}}", "-c"),
            ("{{index .Config.Labels \"a\"}}", "b"),
            ("{{join .Config.Cmd \", \"}}", "sh, -c"),
            ("{{len .Config.Cmd}}\\t{{upper .Id}}", "2\tSHA256:1"),
            ("{{.Config.Labels}}", "map[a:b]"),
            ("{{range .Config.Cmd}}<{{.}}>{{end}}", "<sh><-c>"),
            ("{{range .Config.User}}x{{else}}none{{end}}", "none"),
            ("{{if .Config.User}}user{{else}}root{{end}}{{if .Id}}!{{end}}", "root!"),
            ("plain", "plain"),
        ] {
            assert_eq!(filled_in(template, &value).unwrap(), format!("{expected}\n"), "{template}");
        }
        assert!("table {{.Id}}".parse::<Template>().unwrap().is_table());
        assert!(matches!(filled_in("{{.Nope}}", &value), Err(Error::Field { .. })));
        assert!(matches!("{{.Id".parse::<Template>(), Err(Error::Open)));
        assert!(matches!("{{with .Id}}".parse::<Template>(), Err(Error::Unknown { .. })));
        for unbalanced in ["{{if .Id}}", "{{end}}", "{{range .Id}}{{else}}", "{{else}}"] {
            assert_eq!(unbalanced.parse::<Template>(), Err(Error::Unbalanced), "{unbalanced}");
        }
    }

    #[test]
    fn values_are_escaped_on_a_terminal_and_raw_in_a_pipe() {
        use rustix::pty::{OpenptFlags, openpt, ptsname, unlockpt};
        let template: Template = "{{.User}}\\t{{json .User}}{{range .Cmd}} {{.}}{{end}}".parse().unwrap();
        let value = [json!({"User": "a\u{1b}[2J\nb\u{9b}", "Cmd": ["\u{7}"]})];
        let lines = |output: &std::fs::File| template.lines(&value, str::to_owned, human::table, output).unwrap();
        let raw = "a\u{1b}[2J\nb\u{9b}\t\"a\\u001b[2J\\nb\\u009b\" \u{7}\n";
        assert_eq!(lines(&tempfile::tempfile().unwrap()), raw);
        let pty = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        unlockpt(&pty).unwrap();
        let terminal = ptsname(&pty, Vec::new()).unwrap();
        let terminal = std::fs::File::options().write(true).open(terminal.to_str().unwrap()).unwrap();
        assert_eq!(lines(&terminal), "a\\u{1b}[2J\\nb\\u{9b}\t\"a\\u001b[2J\\nb\\u009b\" \\u{7}\n");
        let table: Template = "table {{.User}}".parse().unwrap();
        let table = table.lines(&value, str::to_uppercase, human::table, &tempfile::tempfile().unwrap()).unwrap();
        assert_eq!(table, "USER\na\\u{1b}[2J\\nb\\u{9b}\n");
    }
}
