//! The scopes that hold an image, by which containers-policy.json(5) and containers-registries.d(5) find what concerns it.

use oci_distribution::Reference;

/// The scopes of an image, the narrowest first: its name, its repository, what leads to that, and the domains of its registry.
pub(super) fn scopes(reference: &Reference) -> Vec<String> {
    let registry = reference.registry();
    let repository = format!("{registry}/{}", reference.repository());
    let mut scopes = vec![reference.to_string(), repository.clone()];
    scopes.extend(repository.match_indices('/').rev().map(|(end, _)| repository[..end].to_owned()));
    scopes.extend(registry.match_indices('.').map(|(start, _)| format!("*{}", &registry[start..])));
    scopes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_begin_with_the_name_and_end_with_the_domains() {
        let expected = ["a.b.c:5/d/e:1", "a.b.c:5/d/e", "a.b.c:5/d", "a.b.c:5", "*.b.c:5", "*.c:5"];
        assert_eq!(scopes(&"a.b.c:5/d/e:1".parse().unwrap()), expected);
        let expected = ["docker.io/library/a:latest", "docker.io/library/a", "docker.io/library", "docker.io", "*.io"];
        assert_eq!(scopes(&"a".parse().unwrap()), expected);
    }
}
