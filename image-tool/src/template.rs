//! The part of Go's templates that people write after `--format`: fields, `json`, `index`, `len`, `join`, `println`, text.

use serde_json::Value;

/// What is wrong with a template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A `{{` without `}}`.
    #[error("template: {{{{ is not closed")]
    Open,
    /// Something in braces that is not understood.
    #[error(
        "template: {text:?} is not understood (a field as .Name, json, index, len, join, upper or lower before one)"
    )]
    Unknown {
        /// What stood there.
        text: String,
    },
    /// A field that there is not.
    #[error("template: no field {field:?} (there are {})", .known.join(", "))]
    Field {
        /// The field.
        field: String,
        /// Those beside it.
        known: Vec<String>,
    },
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
        // docker takes these two out of what the shell left in single quotes.
        let text = text.replace("\\t", "\t").replace("\\n", "\n");
        let mut parts = Vec::new();
        let mut rest = text.as_str();
        while let Some((before, after)) = rest.split_once("{{") {
            let (inside, after) = after.split_once("}}").ok_or(Error::Open)?;
            parts.push(Part::Text(before.into()));
            parts.push(call(inside.trim_matches('-').trim())?);
            rest = after;
        }
        parts.push(Part::Text(rest.into()));
        Ok(Self { parts, table })
    }
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
    let path = field.strip_prefix('.').ok_or_else(unknown)?;
    let path = path.split('.').filter(|part| !part.is_empty()).map(str::to_owned).collect();
    let argument = text.split_once(field).map_or("", |(_, after)| after.trim()).trim_matches('"').to_owned();
    if argument.is_empty() == matches!(function, Function::Index | Function::Join) {
        return Err(unknown());
    }
    Ok(Part::Call { function, path, argument })
}

impl Template {
    /// Whether it began with `table`: then a line of headings comes first.
    #[must_use]
    pub fn is_table(&self) -> bool {
        self.table
    }

    /// The headings: the fields' names.
    #[must_use]
    pub fn headings(&self, heading: impl Fn(&str) -> String) -> String {
        let part = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            Part::Call { path, .. } => heading(path.last().map_or("", String::as_str)),
        };
        self.parts.iter().map(part).collect()
    }

    /// Fills the template in.
    ///
    /// # Errors
    /// [`Error::Field`].
    pub fn render(&self, value: &Value) -> Result<String, Error> {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Text(part) => text.push_str(part),
                Part::Call { function, path, argument } => {
                    let mut value = value;
                    for field in path {
                        value = step(value, field)?;
                    }
                    text.push_str(&apply(*function, value, argument)?);
                }
            }
        }
        Ok(text)
    }
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
        Function::Json => value.to_string(),
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

/// As Go prints values.
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
            ("plain", "plain"),
        ] {
            assert_eq!(template.parse::<Template>().unwrap().render(&value).unwrap(), expected, "{template}");
        }
        assert!("table {{.Id}}".parse::<Template>().unwrap().is_table());
        assert!(matches!("{{.Nope}}".parse::<Template>().unwrap().render(&value), Err(Error::Field { .. })));
        assert!(matches!("{{.Id".parse::<Template>(), Err(Error::Open)));
        assert!(matches!("{{if .Id}}".parse::<Template>(), Err(Error::Unknown { .. })));
    }
}
