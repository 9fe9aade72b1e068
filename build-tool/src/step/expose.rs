//! Ports as EXPOSE has them: `80`, `80/udp`, `8000-8010`; with a host's port in front, which means nothing in an image.

/// The ports that a word names, each `PORT/PROTOCOL`; `None` if it names none.
pub(super) fn ports(word: &str) -> Option<Vec<String>> {
    let (range, protocol) = word.split_once('/').unwrap_or((word, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    if !["tcp", "udp", "sctp"].contains(&protocol.as_str()) {
        return None;
    }
    let range = range.rsplit(':').next()?;
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let number = |text: &str| text.parse::<u16>().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
    let (first, last) = (number(first)?, number(last)?);
    (first <= last && last > 0).then(|| (first..=last).map(|port| format!("{port}/{protocol}")).collect())
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
        ] {
            assert_eq!(ports(word), expected.map(|ports| ports.into_iter().map(str::to_owned).collect()), "{word}");
        }
    }
}
