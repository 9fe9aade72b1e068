//! Answers for a shell script: assignments of variables that `eval` carries out.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

use bundle_tool::bundle::{Bundle, annotation};

/// A word in single quotes.
pub(super) fn quoted(word: &OsStr) -> OsString {
    let mut text = vec![b'\''];
    for byte in word.as_bytes() {
        match byte {
            b'\'' => text.extend(b"'\\''"),
            byte => text.push(*byte),
        }
    }
    text.push(b'\'');
    OsString::from_vec(text)
}

/// Assignments of texts.
pub(super) fn assignments(variables: &[(&str, &str)]) -> String {
    let line = |(name, value): &(&str, &str)| format!("{name}={}\n", quoted(OsStr::new(value)).display());
    variables.iter().map(line).collect()
}

/// What a script needs to run a container: `id`, `name` and `bundle`, and what was said of it when it was created.
pub(super) fn container(bundle: &Bundle) -> String {
    let text = |key: &str| bundle.annotation(key).unwrap_or_default();
    let name = bundle.runtime_id();
    let terminal = bundle.config().pointer("/process/terminal") == Some(&true.into());
    assignments(&[
        ("id", text(annotation::ID)),
        ("name", &name),
        ("bundle", &bundle.path().to_string_lossy()),
        ("detach", text(annotation::DETACH)),
        ("attach", text(annotation::ATTACH)),
        ("interactive", text(annotation::INTERACTIVE)),
        ("tty", if terminal { "true" } else { "" }),
        ("rm", text(annotation::RM)),
        ("runtime", text(annotation::RUNTIME)),
    ])
}
