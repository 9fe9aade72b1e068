//! Properties of a unit from annotations (`org.systemd.property.*`), whose values are in GVariant's text form.

use anyhow::{Context, Result, bail};

use super::wire::{Property, Value};

/// Parses a property in an annotation. On the bus systemd's `…Sec` is `…USec`, in microseconds.
pub(super) fn annotated(name: &str, text: &str) -> Result<Property> {
    let value = parse_value(text)?;
    match name.strip_suffix("Sec") {
        Some(stem) if stem.ends_with(|character: char| character.is_ascii_lowercase()) => {
            let microseconds = match value {
                Value::Byte(value) => u64::from(value) * 1_000_000,
                Value::I16(value) => value as u64 * 1_000_000,
                Value::U16(value) => u64::from(value) * 1_000_000,
                Value::I32(value) => value as u64 * 1_000_000,
                Value::U32(value) => u64::from(value) * 1_000_000,
                Value::I64(value) => (value as u64).wrapping_mul(1_000_000),
                Value::U64(value) => value.wrapping_mul(1_000_000),
                Value::Double(value) => (value * 1e6) as u64,
                _ => bail!("not a number"),
            };
            Ok((format!("{stem}USec"), Value::U64(microseconds)))
        }
        _ => Ok((name.to_owned(), value)),
    }
}

/// Parses GVariant's text form, as far as properties of units need it.
fn parse_value(text: &str) -> Result<Value> {
    let text = text.trim();
    let quoted = |text: &str| -> Option<String> {
        let quote = text.chars().next().filter(|quote| matches!(quote, '\'' | '"'))?;
        Some(text[1..].strip_suffix(quote)?.replace(&format!("\\{quote}"), &quote.to_string()))
    };
    if let Some(text) = quoted(text) {
        return Ok(Value::Text(text));
    }
    if let Some(list) = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
        let items = list.split(',').map(str::trim).filter(|item| !item.is_empty());
        let texts: Option<Vec<String>> = items.map(quoted).collect();
        return texts.map(Value::Texts).with_context(|| format!("{text}: only lists of texts are known"));
    }
    let fail = || format!("{text}: not a value");
    Ok(match text.split_once(' ') {
        Some(("byte", number)) => Value::Byte(number.trim().parse().with_context(fail)?),
        Some(("int16", number)) => Value::I16(number.trim().parse().with_context(fail)?),
        Some(("uint16", number)) => Value::U16(number.trim().parse().with_context(fail)?),
        Some(("int32", number)) => Value::I32(number.trim().parse().with_context(fail)?),
        Some(("uint32", number)) => Value::U32(number.trim().parse().with_context(fail)?),
        Some(("int64", number)) => Value::I64(number.trim().parse().with_context(fail)?),
        Some(("uint64", number)) => Value::U64(number.trim().parse().with_context(fail)?),
        Some(("double", number)) => Value::Double(number.trim().parse().with_context(fail)?),
        Some(_) => bail!(fail()),
        None if text == "true" => Value::Bool(true),
        None if text == "false" => Value::Bool(false),
        None if text.contains('.') => Value::Double(text.parse().with_context(fail)?),
        None => Value::I32(text.parse().with_context(fail)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn annotations_are_parsed_with_their_types() {
        let cases = [
            ("TimeoutStopSec", "uint32 3", ("TimeoutStopUSec", Value::U64(3_000_000))),
            ("CollectMode", "'inactive-or-failed'", ("CollectMode", Value::Text("inactive-or-failed".into()))),
            ("SendSIGHUP", "true", ("SendSIGHUP", Value::Bool(true))),
            (
                "After",
                "['a.service', 'b.service']",
                ("After", Value::Texts(vec!["a.service".into(), "b.service".into()])),
            ),
        ];
        for (name, text, (wanted, value)) in cases {
            assert_eq!(annotated(name, text).unwrap(), (wanted.to_owned(), value), "{name}");
        }
        assert!(annotated("TimeoutStopSec", "'x'").is_err());
    }
}
