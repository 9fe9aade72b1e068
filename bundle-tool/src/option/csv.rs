//! Values of several `key=value` fields, such as that of `--mount`. Docker reads them as a line of CSV (RFC 4180).

/// A quoted field without its closing quote.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("missing closing quote")]
pub struct Unclosed;

/// Splits at commas. A field may be quoted to hold a comma; `""` is a quote in it.
pub fn fields(text: &str) -> Result<Vec<String>, Unclosed> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        let field = fields.last_mut().expect("there is one from the start");
        match char {
            '"' if quoted && chars.next_if_eq(&'"').is_some() => field.push('"'),
            '"' if quoted => quoted = false,
            '"' if field.is_empty() => quoted = true,
            ',' if !quoted => fields.push(String::new()),
            char => field.push(char),
        }
    }
    if quoted { Err(Unclosed) } else { Ok(fields) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_keep_commas_and_are_doubled_within() {
        let cases: [(&str, &[&str]); 5] = [
            ("type=bind,src=/a", &["type=bind", "src=/a"]),
            ("\"src=/a,b\",ro", &["src=/a,b", "ro"]),
            ("\"src=/a\"\"b\"", &["src=/a\"b"]),
            ("src=/a\"b", &["src=/a\"b"]),
            ("", &[""]),
        ];
        for (text, expected) in cases {
            assert_eq!(fields(text).unwrap(), expected, "{text}");
        }
        assert_eq!(fields("\"src=/a,b"), Err(Unclosed));
    }
}
