//! What a terminal may be sent: one decision for all tools, applied where a program prints.
//!
//! A terminal obeys control characters, and bidirectional controls make it show characters in another order than they have, so text of
//! an image, a registry or a file could forge what the program says. Letters of every script stay, and so do the joiners that some of
//! them need. run-tool, which links no sibling, has this file as a module of its own: it knows nothing but the standard library.

use std::fmt::Write;

/// Whether a terminal may obey the character or take it for the end of a line: the control characters of ASCII and of ISO 6429
/// (U+0080 to U+009F), the separators of lines and paragraphs, and the controls that reorder text (Unicode Standard Annex 9, "Explicit
/// Directional Embeddings", "Overrides" and "Isolates").
fn is_obeyed(character: char) -> bool {
    character.is_control() || matches!(character, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn escape(text: &str, is_kept: impl Fn(char) -> bool, escaped: impl Fn(&mut String, char)) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        if is_obeyed(character) && !is_kept(character) {
            escaped(&mut safe, character);
        } else {
            safe.push(character);
        }
    }
    safe
}

fn as_rust(text: &mut String, character: char) {
    // Writing to a String cannot fail.
    let _ = write!(text, "{}", character.escape_debug());
}

/// Text as a part of one line: what a terminal obeys is escaped as in Rust, such as `\n` and `\u{1b}`. Escaping twice changes nothing.
#[must_use]
pub fn plain(text: &str) -> String {
    escape(text, |_| false, as_rust)
}

/// Text of several lines: as [`plain`], but line feeds and tabs stay.
#[must_use]
pub fn lines(text: &str) -> String {
    escape(text, |character| matches!(character, '\n' | '\t'), as_rust)
}

/// A JSON document with all that a terminal obeys written as `\u009b`. JSON allows most of it in strings as it is; the document stays
/// equal.
#[must_use]
pub fn json(document: &str) -> String {
    let as_json = |text: &mut String, character: char| {
        // Writing to a String cannot fail. All these characters are in the first plane, so four digits suffice.
        let _ = write!(text, "\\u{:04x}", u32::from(character));
    };
    // Between values JSON has tabs and line ends, and in strings none.
    escape(document, |character| matches!(character, '\n' | '\t' | '\r'), as_json)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_obeys_is_escaped_and_nothing_else() {
        for (text, expected) in [
            ("a\u{1b}[2J\nb\u{9b}", "a\\u{1b}[2J\\nb\\u{9b}"),
            ("\0\u{7}\u{8}\r\t\u{7f}", "\\0\\u{7}\\u{8}\\r\\t\\u{7f}"),
            ("\u{80}\u{9f}\u{85}", "\\u{80}\\u{9f}\\u{85}"),
            ("\u{202a}\u{202b}\u{202c}\u{202d}\u{202e}", "\\u{202a}\\u{202b}\\u{202c}\\u{202d}\\u{202e}"),
            ("\u{2066}\u{2067}\u{2068}\u{2069}", "\\u{2066}\\u{2067}\\u{2068}\\u{2069}"),
            ("one\u{2028}two\u{2029}three", "one\\u{2028}two\\u{2029}three"),
            // Persian needs the non-joiner, families of emoji the joiner, Hebrew beside numbers the mark.
            (
                "é Ω 漢字 می\u{200c}خواهم 👩\u{200d}👧 שלום\u{200f} \u{a0}\\",
                "é Ω 漢字 می\u{200c}خواهم 👩\u{200d}👧 שלום\u{200f} \u{a0}\\",
            ),
        ] {
            assert_eq!(plain(text), expected);
            assert_eq!(plain(expected), expected, "once is enough");
        }
    }

    #[test]
    fn lines_stay_lines_and_nothing_else_moves_the_terminal() {
        assert_eq!(lines("a\tb\n\u{1b}[31mc\u{9b}d\r\n"), "a\tb\n\\u{1b}[31mc\\u{9b}d\\r\n");
    }

    #[test]
    fn a_document_stays_equal() {
        let text = "\u{9b}é\u{7f}\u{202e}\u{2028}\u{200d}";
        let document = json(&format!("[\n\t\"{text}\"]\r\n"));
        assert_eq!(document, "[\n\t\"\\u009bé\\u007f\\u202e\\u2028\u{200d}\"]\r\n");
        assert_eq!(serde_json::from_str::<[String; 1]>(&document).unwrap(), [text]);
    }
}
