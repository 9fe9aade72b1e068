//! PEM (RFC 7468): named sections of base64 in a text. What TLS reads has fixed names; cosign's are its own.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// A section of a text.
pub(super) struct Section {
    pub(super) label: String,
    pub(super) bytes: Vec<u8>,
}

/// The sections of a text, in their order; `None` if one does not end or is not base64. What stands between them is skipped.
pub(super) fn sections(text: &str) -> Option<Vec<Section>> {
    let mut found = Vec::new();
    let mut lines = text.lines().map(str::trim);
    while let Some(line) = lines.next() {
        let Some(label) = line.strip_prefix("-----BEGIN ").and_then(|rest| rest.strip_suffix("-----")) else {
            continue;
        };
        let end = format!("-----END {label}-----");
        let mut body = String::new();
        loop {
            let line = lines.next()?;
            if line == end {
                break;
            }
            body.push_str(line);
        }
        found.push(Section { label: label.to_owned(), bytes: STANDARD.decode(body).ok()? });
    }
    Some(found)
}

/// A text with one section.
pub(super) fn text(label: &str, bytes: &[u8]) -> String {
    let body = STANDARD.encode(bytes);
    let mut text = format!("-----BEGIN {label}-----\n");
    for (at, letter) in body.chars().enumerate() {
        if at > 0 && at % 64 == 0 {
            text.push('\n');
        }
        text.push(letter);
    }
    text + &format!("\n-----END {label}-----\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_gives_back_what_was_put_into_it() {
        let bytes: Vec<u8> = (0..200).collect();
        let text = format!("said before\n{}between\n{}", text("A B", &bytes), text("C", b"x"));
        let found = sections(&text).unwrap();
        assert_eq!((found[0].label.as_str(), &found[0].bytes), ("A B", &bytes));
        assert_eq!((found[1].label.as_str(), &found[1].bytes[..]), ("C", &b"x"[..]));
        assert!(sections("-----BEGIN A-----\nAAAA\n").is_none());
        assert!(sections("-----BEGIN A-----\n?\n-----END A-----").is_none());
        assert!(sections("").unwrap().is_empty());
    }
}
