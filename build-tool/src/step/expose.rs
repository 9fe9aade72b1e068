//! The ports of EXPOSE: `80`, `80/udp`, `8000-8010`. A host's address and port before it have no meaning in an image.

use bundle_tool::option::port::Expose;

/// The ports that a word names, each `PORT/PROTOCOL`; `None` if the word is not valid.
pub(super) fn ports(word: &str) -> Option<Vec<String>> {
    let expose: Expose = word.rsplit(':').next()?.parse().ok()?;
    Some(expose.ports().map(|(port, protocol)| format!("{port}/{protocol}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_and_ranges() {
        for (word, expected) in [
            ("80", Some(vec!["80/tcp"])),
            ("53/UDP", Some(vec!["53/udp"])),
            ("8000-8002", Some(vec!["8000/tcp", "8001/tcp", "8002/tcp"])),
            ("127.0.0.1:80:8080", Some(vec!["8080/tcp"])),
            ("x", None),
            ("80/foo", None),
            ("90-80", None),
            ("70000", None),
            ("+80", None),
            ("0", None),
        ] {
            assert_eq!(ports(word), expected.map(|ports| ports.into_iter().map(str::to_owned).collect()), "{word}");
        }
    }
}
