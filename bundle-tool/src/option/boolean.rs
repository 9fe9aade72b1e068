//! Booleans as docker's options take them: the words of Go's `strconv.ParseBool`.

/// Text that is not a boolean.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a boolean (true or false)")]
pub struct Error(String);

/// Reads `1`, `t`, `true`, `0`, `f`, `false`; words are all lower, all upper or title case.
pub fn parse(text: &str) -> Result<bool, Error> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(Error(text.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gos_words_are_booleans_and_no_others() {
        for text in ["1", "t", "T", "true", "TRUE", "True"] {
            assert_eq!(parse(text), Ok(true), "{text}");
        }
        for text in ["0", "f", "F", "false", "FALSE", "False"] {
            assert_eq!(parse(text), Ok(false), "{text}");
        }
        for text in ["", "yes", "no", "on", "2", "tRUE", " 1"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
