//! Values as text, as Go's fmt prints them: `%v`, and the verbs of printf.

use std::fmt::Write as _;

use super::quote;
use super::value::Value;

/// A value as an action prints it.
pub(super) fn print(value: &Value) -> String {
    let mut text = String::new();
    match value {
        Value::Missing | Value::Null => text.push_str("<no value>"),
        other => append(&mut text, other, false),
    }
    text
}

/// Several values as Go's Sprint: with a blank between two of which neither is a string.
pub(super) fn sprint(values: &[Value]) -> String {
    let mut text = String::new();
    let is_text = |value: &Value| matches!(value, Value::Text(_));
    for (index, value) in values.iter().enumerate() {
        if index > 0 && !is_text(value) && !is_text(&values[index - 1]) {
            text.push(' ');
        }
        append(&mut text, value, false);
    }
    text
}

/// Several values as Go's Sprintln: with a blank between any two, and a line feed.
pub(super) fn sprintln(values: &[Value]) -> String {
    let mut text = String::new();
    for (index, value) in values.iter().enumerate() {
        if index > 0 {
            text.push(' ');
        }
        append(&mut text, value, false);
    }
    text.push('\n');
    text
}

fn append(text: &mut String, value: &Value, named: bool) {
    // Writing to a String cannot fail.
    match value {
        Value::Missing | Value::Null | Value::NilPointer => text.push_str("<nil>"),
        Value::Bool(value) => drop(write!(text, "{value}")),
        Value::Integer(number) => drop(write!(text, "{number}")),
        Value::Duration(nanoseconds) => text.push_str(&with_units(*nanoseconds)),
        Value::Float(number) => text.push_str(&shortest(*number)),
        Value::Text(own) => text.push_str(own),
        Value::List(values) => {
            text.push('[');
            for (index, value) in values.iter().flat_map(|values| values.iter()).enumerate() {
                if index > 0 {
                    text.push(' ');
                }
                append(text, value, named);
            }
            text.push(']');
        }
        Value::Map(values) => {
            text.push_str("map[");
            for (index, (key, value)) in values.iter().flat_map(|values| values.iter()).enumerate() {
                if index > 0 {
                    text.push(' ');
                }
                let _ = write!(text, "{key}:");
                append(text, value, named);
            }
            text.push(']');
        }
        Value::Struct(own) => {
            text.push('{');
            for (index, (name, value)) in own.pairs().enumerate() {
                if index > 0 {
                    text.push(' ');
                }
                if named {
                    let _ = write!(text, "{name}:");
                }
                append(text, value, named);
            }
            text.push('}');
        }
        Value::Method(_) => text.push_str("<method>"),
    }
}

/// A duration as Go prints it: `1m30s`, and below a second in the largest unit of which it is at least one.
fn with_units(nanoseconds: i64) -> String {
    let sign = if nanoseconds < 0 { "-" } else { "" };
    let all = nanoseconds.unsigned_abs();
    let parts = |unit: u64| {
        let text = format!("{}.{:0width$}", all / unit, all % unit, width = unit.ilog10() as usize);
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    let own = match all {
        0 => "0s".into(),
        1..1_000 => format!("{all}ns"),
        1_000..1_000_000 => parts(1_000) + "µs",
        1_000_000..1_000_000_000 => parts(1_000_000) + "ms",
        _ => {
            let (hours, minutes) = (all / 3_600_000_000_000, all / 60_000_000_000 % 60);
            let seconds = all % 60_000_000_000;
            let text = format!("{}.{:09}", seconds / 1_000_000_000, seconds % 1_000_000_000);
            let seconds = text.trim_end_matches('0').trim_end_matches('.');
            match (hours, minutes) {
                (0, 0) => format!("{seconds}s"),
                (0, _) => format!("{minutes}m{seconds}s"),
                _ => format!("{hours}h{minutes}m{seconds}s"),
            }
        }
    };
    format!("{sign}{own}")
}

/// A float as `%v` prints it: as short as it can be read back, with an exponent from 1e+06.
fn shortest(number: f64) -> String {
    if number.is_nan() {
        return "NaN".into();
    }
    if number.is_infinite() {
        return if number > 0.0 { "+Inf".into() } else { "-Inf".into() };
    }
    let scientific = format!("{number:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    if (-4..6).contains(&exponent) { format!("{number}") } else { format!("{digits}e{}", with_sign(exponent)) }
}

/// An exponent with its sign and at least two digits.
fn with_sign(exponent: i32) -> String {
    format!("{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
}

/// The most that a width or precision can ask for, as in Go.
const WIDEST: usize = 1_000_000;

/// The flags of a verb.
#[derive(Clone, Copy, Default)]
struct Flags {
    plus: bool,
    minus: bool,
    sharp: bool,
    space: bool,
    zero: bool,
    width: Option<usize>,
    precision: Option<usize>,
}

/// Go's Sprintf.
pub(super) fn sprintf(format: &str, values: &[Value]) -> String {
    let mut text = String::new();
    let mut rest = format;
    let mut next = Arguments { values, index: 0, is_reordered: false, is_bad: false };
    while let Some(at) = rest.find('%') {
        text.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let flags = flags(&mut rest, &mut next, &mut text);
        let Some(verb) = rest.chars().next() else {
            text.push_str("%!(NOVERB)");
            break;
        };
        rest = &rest[verb.len_utf8()..];
        match verb {
            '%' => text.push('%'),
            _ if next.is_bad => drop(write!(text, "%!{verb}(BADINDEX)")),
            _ => match next.take() {
                None => drop(write!(text, "%!{verb}(MISSING)")),
                Some(value) => text.push_str(&one(value, verb, flags)),
            },
        }
    }
    text.push_str(rest);
    if !next.is_reordered && next.index < values.len() {
        let extra: Vec<String> = values[next.index..].iter().map(typed).collect();
        // Writing to a String cannot fail.
        let _ = write!(text, "%!(EXTRA {})", extra.join(", "));
    }
    text
}

fn typed(value: &Value) -> String {
    match value {
        Value::Missing | Value::Null => "<nil>".into(),
        other => format!("{}={}", other.type_name(), sprint(std::slice::from_ref(other))),
    }
}

/// The values of a printf, and which one is next.
struct Arguments<'a> {
    values: &'a [Value],
    index: usize,
    is_reordered: bool,
    is_bad: bool,
}

impl<'a> Arguments<'a> {
    fn take(&mut self) -> Option<&'a Value> {
        self.index += 1;
        self.values.get(self.index - 1)
    }

    /// Reads `[3]`.
    fn index(&mut self, rest: &mut &str) -> bool {
        let Some(inside) = rest.strip_prefix('[') else { return false };
        self.is_reordered = true;
        let number = inside.split_once(']').and_then(|(number, after)| Some((number.parse::<usize>().ok()?, after)));
        match number {
            Some((number, after)) if (1..=self.values.len()).contains(&number) => {
                self.index = number - 1;
                *rest = after;
            }
            _ => {
                self.is_bad = true;
                *rest = inside.split_once(']').map_or(inside, |(_, after)| after);
            }
        }
        true
    }

    fn star(&mut self) -> Option<i128> {
        match self.take() {
            Some(Value::Integer(number)) if number.unsigned_abs() <= WIDEST as u128 => Some(*number),
            _ => None,
        }
    }
}

/// Reads flags, width and precision.
fn flags(rest: &mut &str, next: &mut Arguments<'_>, text: &mut String) -> Flags {
    let mut flags = Flags::default();
    next.is_bad = false;
    while let Some(flag) = rest.chars().next() {
        match flag {
            '+' => flags.plus = true,
            '-' => flags.minus = true,
            '#' => flags.sharp = true,
            ' ' => flags.space = true,
            '0' => flags.zero = true,
            _ => break,
        }
        *rest = &rest[1..];
    }
    next.index(rest);
    if let Some(after) = rest.strip_prefix('*') {
        *rest = after;
        match next.star() {
            Some(width) => {
                flags.minus |= width < 0;
                flags.width = usize::try_from(width.unsigned_abs()).ok();
            }
            None => text.push_str("%!(BADWIDTH)"),
        }
    } else {
        flags.width = digits(rest);
    }
    if let Some(after) = rest.strip_prefix('.') {
        *rest = after;
        next.index(rest);
        if let Some(after) = rest.strip_prefix('*') {
            *rest = after;
            match next.star().and_then(|precision| usize::try_from(precision).ok()) {
                Some(precision) => flags.precision = Some(precision),
                None => text.push_str("%!(BADPREC)"),
            }
        } else {
            flags.precision = Some(digits(rest).unwrap_or(0));
        }
    }
    next.index(rest);
    flags
}

fn digits(rest: &mut &str) -> Option<usize> {
    let length = rest.bytes().take_while(u8::is_ascii_digit).count();
    let number = rest[..length].parse::<usize>().ok().map(|number| number.min(WIDEST));
    *rest = &rest[length..];
    number
}

/// One value by a verb.
fn one(value: &Value, verb: char, flags: Flags) -> String {
    let bad = || match value {
        Value::Missing | Value::Null => format!("%!{verb}(<nil>)"),
        _ => format!("%!{verb}({})", typed(value)),
    };
    let text = match (verb, value) {
        ('T', Value::Missing | Value::Null) => "<nil>".into(),
        ('T', _) => value.type_name(),
        ('v', Value::Text(text)) if flags.sharp => quote::quote(text),
        ('v', Value::Integer(number)) => {
            return padded_number(signed(*number, number.unsigned_abs().to_string(), flags), flags);
        }
        ('v', Value::Float(number)) if flags.precision.is_none() => {
            return padded_number(plus(shortest(*number), flags), flags);
        }
        ('v', Value::Float(number)) => return padded_number(general(*number, verb, flags), flags),
        ('v' | 's', Value::Text(text)) => cut(text, flags),
        ('v' | 's', Value::Duration(nanoseconds)) => cut(&with_units(*nanoseconds), flags),
        (_, Value::Duration(_)) => return one(&value.in_numbers(), verb, flags),
        ('v', _) => {
            let mut text = String::new();
            append(&mut text, value, flags.plus);
            text
        }
        ('t', Value::Bool(value)) => value.to_string(),
        ('q', Value::Text(text)) if flags.sharp && !text.contains(['`', '\n', '\r']) => format!("`{text}`"),
        ('q', Value::Text(text)) => quote::quote(&cut(text, flags)),
        ('q' | 'c' | 'U', Value::Integer(number)) => {
            let character = u32::try_from(*number).ok().and_then(char::from_u32).unwrap_or('\u{fffd}');
            match verb {
                'c' => character.to_string(),
                'q' => quote::quote_with(&character.to_string(), '\''),
                _ if flags.sharp => quote::code_point(character),
                _ => format!("U+{number:04X}"),
            }
        }
        ('x', Value::Text(text)) => hexadecimal(text, flags, false),
        ('X', Value::Text(text)) => hexadecimal(text, flags, true),
        ('d' | 'b' | 'o' | 'O' | 'x' | 'X', Value::Integer(number)) => {
            return padded_number(signed(*number, integer(number.unsigned_abs(), verb, flags), flags), flags);
        }
        ('e' | 'E' | 'f' | 'F' | 'g' | 'G', Value::Float(number)) => {
            return padded_number(general(*number, verb, flags), flags);
        }
        // The verb is for the elements.
        (_, Value::List(values)) => {
            let all: Vec<String> =
                values.iter().flat_map(|values| values.iter()).map(|value| one(value, verb, flags)).collect();
            return format!("[{}]", all.join(" "));
        }
        (_, Value::Map(values)) => {
            let all = values.iter().flat_map(|values| values.iter());
            let all: Vec<String> = all
                .map(|(key, value)| format!("{}:{}", one(&Value::text(key), verb, flags), one(value, verb, flags)))
                .collect();
            return format!("map[{}]", all.join(" "));
        }
        (_, Value::Struct(own)) => {
            let all: Vec<String> = own.pairs().map(|(_, value)| one(value, verb, flags)).collect();
            return format!("{{{}}}", all.join(" "));
        }
        _ => bad(),
    };
    padded(&text, flags, if flags.zero && !flags.minus && verb != 'T' { '0' } else { ' ' })
}

fn cut(text: &str, flags: Flags) -> String {
    text.chars().take(flags.precision.unwrap_or(usize::MAX)).collect()
}

fn hexadecimal(text: &str, flags: Flags, upper: bool) -> String {
    let bytes = text.as_bytes();
    let bytes = &bytes[..flags.precision.unwrap_or(bytes.len()).min(bytes.len())];
    let each: Vec<String> =
        bytes.iter().map(|byte| if upper { format!("{byte:02X}") } else { format!("{byte:02x}") }).collect();
    let prefix = match (flags.sharp && !bytes.is_empty(), upper) {
        (false, _) => "",
        (true, false) => "0x",
        (true, true) => "0X",
    };
    let separator = if flags.space { format!(" {prefix}") } else { String::new() };
    format!("{prefix}{}", each.join(&separator))
}

fn integer(number: u128, verb: char, flags: Flags) -> String {
    let digits = match verb {
        'b' => format!("{number:b}"),
        'o' | 'O' => format!("{number:o}"),
        'x' => format!("{number:x}"),
        'X' => format!("{number:X}"),
        _ => number.to_string(),
    };
    let digits = match flags.precision {
        Some(0) if number == 0 => String::new(),
        Some(precision) => format!("{digits:0>precision$}"),
        None => digits,
    };
    let prefix = match verb {
        'O' => "0o",
        'b' if flags.sharp => "0b",
        'o' if flags.sharp && !digits.starts_with('0') => "0",
        'x' if flags.sharp => "0x",
        'X' if flags.sharp => "0X",
        _ => "",
    };
    format!("{prefix}{digits}")
}

fn signed(number: i128, digits: String, flags: Flags) -> String {
    match number {
        ..0 => format!("-{digits}"),
        _ if flags.plus => format!("+{digits}"),
        _ if flags.space => format!(" {digits}"),
        _ => digits,
    }
}

fn plus(text: String, flags: Flags) -> String {
    match (text.starts_with(['-', '+']), flags.plus, flags.space) {
        (false, true, _) => format!("+{text}"),
        (false, false, true) => format!(" {text}"),
        _ => text,
    }
}

/// A float by `%e`, `%f` or `%g`.
fn general(number: f64, verb: char, flags: Flags) -> String {
    if !number.is_finite() {
        return plus(shortest(number), flags);
    }
    let exponential = |precision: usize| {
        let text = format!("{number:.precision$e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        format!("{digits}e{}", with_sign(exponent.parse().unwrap_or_default()))
    };
    let text = match verb {
        'e' | 'E' => exponential(flags.precision.unwrap_or(6)),
        'f' | 'F' => format!("{number:.*}", flags.precision.unwrap_or(6)),
        _ => match flags.precision {
            None => shortest(number),
            Some(precision) => {
                let precision = precision.max(1);
                let scientific = format!("{number:.*e}", precision - 1);
                let exponent: i32 =
                    scientific.split_once('e').and_then(|(_, text)| text.parse().ok()).unwrap_or_default();
                let text = if exponent < -4 || exponent >= i32::try_from(precision).unwrap_or(i32::MAX) {
                    exponential(precision - 1)
                } else {
                    let digits =
                        i32::try_from(precision).unwrap_or(i32::MAX).saturating_sub(1).saturating_sub(exponent);
                    format!("{number:.*}", usize::try_from(digits).unwrap_or(0))
                };
                without_zeros(&text)
            }
        },
    };
    let text = if verb.is_ascii_uppercase() { text.to_ascii_uppercase() } else { text };
    plus(text, flags)
}

fn without_zeros(text: &str) -> String {
    let (digits, exponent) = text.find('e').map_or((text, ""), |at| text.split_at(at));
    let digits = if digits.contains('.') { digits.trim_end_matches('0').trim_end_matches('.') } else { digits };
    format!("{digits}{exponent}")
}

fn padded(text: &str, flags: Flags, fill: char) -> String {
    let missing = flags.width.unwrap_or(0).saturating_sub(text.chars().count());
    if flags.minus {
        return format!("{text}{}", " ".repeat(missing));
    }
    format!("{}{text}", fill.to_string().repeat(missing))
}

/// Pads with zeros between sign and digits, if that is wanted.
fn padded_number(text: String, flags: Flags) -> String {
    if !flags.zero || flags.minus || text.ends_with("Inf") || text.ends_with("NaN") {
        return padded(&text, flags, ' ');
    }
    let at = usize::from(text.starts_with(['-', '+', ' ']));
    let missing = flags.width.unwrap_or(0).saturating_sub(text.chars().count());
    format!("{}{}{}", &text[..at], "0".repeat(missing), &text[at..])
}
