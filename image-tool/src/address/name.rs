//! Names of docker: which spellings mean the same image, and the short form for people.
//!
//! The ref of a layout can be any text that the image-spec allows. People type the names of docker (`python`,
//! `python:3.8`, `docker.io/library/python:3.8`), and programs write them in full; this module compares them. It does
//! not contact registries or parse references that go over the network: registry-tool has a strict parser for those.

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
    fn familiar_names_are_those_that_docker_images_prints() {
        assert_eq!(familiar("docker.io/library/python:3.8"), ("python".to_owned(), "3.8"));
        assert_eq!(short("docker.io/library/python"), "python:latest");
        assert_eq!(familiar("xag/my_flask_web"), ("xag/my_flask_web".to_owned(), "latest"));
        assert_eq!(familiar("localhost:5000/x:1"), ("localhost:5000/x".to_owned(), "1"));
    }
}
