//! Names of docker: which spellings mean the same image, and the short form for people.
//!
//! The ref of a layout can be any text that the image-spec allows. People type the names of docker (`python`,
//! `python:3.8`, `docker.io/library/python:3.8`), and programs write them in full; this module compares them. It does
//! not contact registries or parse references that go over the network: registry-tool has a strict parser for those.

/// Why a text is not a name that docker gives an image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A letter of the repository is upper case.
    #[error("invalid reference format: repository name must be lowercase")]
    UpperCase,
    /// The text is an image's ID.
    #[error("invalid repository name ({0}), cannot specify 64-byte hexadecimal strings")]
    Identity(String),
    /// The text has another form.
    #[error("invalid reference format")]
    Form,
}

/// Checks a name by docker's grammar (distribution's reference.md): `[HOST[:PORT]/]PATH[:TAG]`, without a digest.
///
/// # Errors
/// [`Error`].
pub fn check(name: &str) -> Result<(), Error> {
    let (repository, tag) = split_tag(name);
    let (host, path) = match repository.split_once('/') {
        Some((host, path)) if is_host(host) => (Some(host), path),
        _ => (None, repository),
    };
    if path.len() == 64 && host.is_none() && path.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
        return Err(Error::Identity(path.to_owned()));
    }
    let lower = path.to_ascii_lowercase();
    let is_path = repository.len() <= 255 && lower.split('/').all(is_component);
    if !is_path || !host.is_none_or(is_host_name) || !tag.is_none_or(is_tag) {
        return Err(Error::Form);
    }
    if lower == path { Ok(()) } else { Err(Error::UpperCase) }
}

/// Words of lower-case letters and digits, with `.`, `_`, `__` or dashes between them.
fn is_component(component: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = component.as_bytes();
    if !bytes.first().copied().is_some_and(is_word) || !bytes.last().copied().is_some_and(is_word) {
        return false;
    }
    let separators = component.split(|character: char| character.is_ascii_lowercase() || character.is_ascii_digit());
    separators.into_iter().all(|run| matches!(run, "" | "." | "_" | "__") || run.bytes().all(|byte| byte == b'-'))
}

fn is_tag(tag: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let first = tag.bytes().next().is_some_and(word);
    first && tag.len() <= 128 && tag.bytes().all(|byte| word(byte) || b".-".contains(&byte))
}

fn is_host_name(host: &str) -> bool {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, Some(port)),
        _ => (host, None),
    };
    let is_port = port.is_none_or(|port| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()));
    let word = |part: &str| {
        let bytes = part.as_bytes();
        bytes.first().is_some_and(u8::is_ascii_alphanumeric)
            && bytes.last().is_some_and(u8::is_ascii_alphanumeric)
            && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
    };
    let inner = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    let is_name = match inner {
        Some(address) => !address.is_empty() && address.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b':'),
        None => name.split('.').all(word),
    };
    is_port && is_name
}

/// The repository and tag of a name, with docker's defaults filled in: `python` is `("docker.io/library/python",
/// "latest")`.
#[must_use]
pub fn canonical(name: &str) -> (String, &str) {
    let (repository, tag) = split_tag(name);
    let (host, path) = match repository.split_once('/') {
        Some((host, path)) if is_host(host) => (host, path),
        _ => ("docker.io", repository),
    };
    let host = if host == "index.docker.io" { "docker.io" } else { host };
    let library = if host == "docker.io" && !path.contains('/') { "library/" } else { "" };
    (format!("{host}/{library}{path}"), tag.unwrap_or("latest"))
}

/// The repository and tag as docker shows them, without `docker.io/` and `library/`.
#[must_use]
pub fn familiar(name: &str) -> (String, &str) {
    let (repository, tag) = canonical(name);
    let short = repository.strip_prefix("docker.io/").map(|path| path.strip_prefix("library/").unwrap_or(path));
    (short.unwrap_or(&repository).to_owned(), tag)
}

/// The name as docker shows it: `python:3.8` for `docker.io/library/python:3.8`.
#[must_use]
pub fn short(name: &str) -> String {
    let (repository, tag) = familiar(name);
    format!("{repository}:{tag}")
}

/// Whether two spellings mean the same image.
#[must_use]
pub fn equal(one: &str, other: &str) -> bool {
    one == other || canonical(one) == canonical(other)
}

/// Splits off the tag: the part after the last `:`, unless a `/` follows it, as after a port.
#[must_use]
pub fn split_tag(name: &str) -> (&str, Option<&str>) {
    match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository, Some(tag)),
        _ => (name, None),
    }
}

fn is_host(component: &str) -> bool {
    component == "localhost" || component.contains(['.', ':'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_image_are_equal() {
        for (one, other) in [
            ("python", "python:latest"),
            ("python", "docker.io/library/python"),
            ("python:3.8", "index.docker.io/library/python:3.8"),
            ("xag/my_flask_web", "docker.io/xag/my_flask_web:latest"),
            ("127.0.0.1:5000/a", "127.0.0.1:5000/a:latest"),
        ] {
            assert!(equal(one, other), "{one} {other}");
        }
        for (one, other) in [("python:3.8", "python:3.9"), ("localhost/a", "a"), ("a.b/c", "c"), ("x/python", "python")]
        {
            assert!(!equal(one, other), "{one} {other}");
        }
    }

    #[test]
    fn names_have_dockers_grammar() {
        for good in [
            "case",
            "case:1.",
            "case:_1",
            "case:A.b-c_d",
            "case/x",
            "case__x",
            "case.x",
            "case-x",
            "case--x",
            "127.0.0.1:5000/case:1",
            "[::1]:5000/case",
            "CASE.example/x",
            "localhost/case",
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "case:.1",
            "case:-1",
            "case:",
            "case___x",
            "-case",
            "case-",
            "case.",
            "/case",
            "case/",
            "case//x",
            "case:a:b",
            "case x",
            "a..b",
            "host:x/case",
            "case@sha256:12",
        ] {
            assert_eq!(check(bad), Err(Error::Form), "{bad}");
        }
        assert_eq!(check("UPPER"), Err(Error::UpperCase));
        assert_eq!(check("x/UPPER:x"), Err(Error::UpperCase));
        assert!(matches!(check(&"0".repeat(64)), Err(Error::Identity(_))));
        assert_eq!(check(&format!("case:{}", "0".repeat(129))), Err(Error::Form));
    }

    #[test]
    fn familiar_names_are_those_that_docker_images_prints() {
        assert_eq!(familiar("docker.io/library/python:3.8"), ("python".to_owned(), "3.8"));
        assert_eq!(short("docker.io/library/python"), "python:latest");
        assert_eq!(familiar("xag/my_flask_web"), ("xag/my_flask_web".to_owned(), "latest"));
        assert_eq!(familiar("localhost:5000/x:1"), ("localhost:5000/x".to_owned(), "1"));
    }
}
