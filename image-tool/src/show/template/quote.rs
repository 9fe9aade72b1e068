//! Go's quoted strings: how they are read and written (strconv.Quote and Unquote).

use std::fmt::Write as _;

/// Whether Go prints the character as it is (`unicode.IsPrint`). Code points that are not assigned count as printable here.
pub(super) fn is_printable(character: char) -> bool {
    let is_invisible = matches!(character, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{e000}'..='\u{f8ff}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{10ffff}');
    character == ' ' || !(character.is_control() || character.is_whitespace() || is_invisible)
}

/// A character for an error, as Go's `%#U` writes it: `U+0023 '#'`.
pub(super) fn code_point(character: char) -> String {
    let code = u32::from(character);
    if is_printable(character) { format!("U+{code:04X} '{character}'") } else { format!("U+{code:04X}") }
}

/// A text in double quotes, with Go's escapes.
#[must_use]
pub fn quote(text: &str) -> String {
    quote_with(text, '"')
}

/// A text in quotes of a kind, with Go's escapes.
pub(super) fn quote_with(text: &str, mark: char) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push(mark);
    for character in text.chars() {
        match character {
            '\\' => quoted.push_str("\\\\"),
            _ if character == mark => {
                quoted.push('\\');
                quoted.push(mark);
            }
            _ if is_printable(character) => quoted.push(character),
            '\u{7}' => quoted.push_str("\\a"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{c}' => quoted.push_str("\\f"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\u{b}' => quoted.push_str("\\v"),
            // Writing to a String cannot fail.
            _ => match u32::from(character) {
                code @ (..0x20 | 0x7f) => drop(write!(quoted, "\\x{code:02x}")),
                code @ ..0x10000 => drop(write!(quoted, "\\u{code:04x}")),
                code => drop(write!(quoted, "\\U{code:08x}")),
            },
        }
    }
    quoted.push(mark);
    quoted
}

/// Reads a quoted string or character, with its quotes. `None` if it is not valid. Bytes that are not UTF-8 are replaced.
pub(super) fn unquote(quoted: &str) -> Option<String> {
    let mark = quoted.chars().next()?;
    let inside = quoted.get(1..quoted.len().checked_sub(1)?)?;
    if mark == '`' {
        return Some(inside.replace('\r', ""));
    }
    let mut bytes = Vec::with_capacity(inside.len());
    let mut rest = inside;
    while let Some(next) = rest.chars().next() {
        rest = &rest[next.len_utf8()..];
        if next != '\\' {
            if next == mark || next == '\n' {
                return None;
            }
            bytes.extend(next.encode_utf8(&mut [0; 4]).bytes());
            continue;
        }
        escape(&mut rest, mark, &mut bytes)?;
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// Reads what follows a backslash.
fn escape(rest: &mut &str, mark: char, bytes: &mut Vec<u8>) -> Option<()> {
    let kind = rest.chars().next()?;
    *rest = &rest[kind.len_utf8()..];
    let mut number = |count: usize, radix: u32| -> Option<u32> {
        let digits = rest.get(..count)?;
        *rest = &rest[count..];
        if digits.starts_with('+') { None } else { u32::from_str_radix(digits, radix).ok() }
    };
    match kind {
        'a' => bytes.push(7),
        'b' => bytes.push(8),
        'f' => bytes.push(12),
        'n' => bytes.push(b'\n'),
        'r' => bytes.push(b'\r'),
        't' => bytes.push(b'\t'),
        'v' => bytes.push(11),
        '\\' => bytes.push(b'\\'),
        '\'' | '"' if kind == mark => bytes.push(kind as u8),
        'x' => bytes.push(u8::try_from(number(2, 16)?).ok()?),
        'u' | 'U' => {
            let character = char::from_u32(number(if kind == 'u' { 4 } else { 8 }, 16)?)?;
            bytes.extend(character.encode_utf8(&mut [0; 4]).bytes());
        }
        '0'..='7' => {
            let more = number(2, 8)?;
            bytes.push(
                u8::try_from(u32::from(kind) - u32::from('0'))
                    .ok()
                    .and_then(|first| u8::try_from(u32::from(first) * 64 + more).ok())?,
            );
        }
        _ => return None,
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_quoted_as_in_go() {
        for (text, quoted) in [
            ("a\"b'\\", r#""a\"b'\\""#),
            ("\u{7}\u{1}\u{7f}\n\t", r#""\a\x01\x7f\n\t""#),
            ("é漢\u{a0}\u{200b}\u{10ffff}", r#""é漢\u00a0\u200b\U0010ffff""#),
        ] {
            assert_eq!(quote(text), quoted);
            assert_eq!(unquote(quoted).as_deref(), Some(text));
        }
    }

    #[test]
    fn what_go_refuses_is_refused() {
        for (quoted, text) in [(r#""\x41\101\u0041\U00000041""#, "AAAA"), ("`a\\n\r`", "a\\n"), (r"'\''", "'")] {
            assert_eq!(unquote(quoted).as_deref(), Some(text));
        }
        for quoted in [r#""\'""#, r#""\q""#, r#""\x4""#, r#""\400""#, r#""\ud800""#, r#""\+12""#, "\"\n\"", ""] {
            assert_eq!(unquote(quoted), None, "{quoted}");
        }
    }
}
