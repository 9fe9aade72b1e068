//! Names and ids of containers: docker's grammar for names, and random names and ids.

use std::fmt;
use std::str::FromStr;

/// Text that is not a valid name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a valid container name (at least two letters, digits, '_', '.' or '-', the first a letter or digit)"
)]
pub struct Error(String);

/// A container's name, which is also its id for the runtime: `[a-zA-Z0-9][a-zA-Z0-9_.-]+`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContainerName(String);

impl ContainerName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A random name: an adjective and the surname of a scientist or engineer.
    pub fn random() -> Self {
        let [first, second, ..] = random_bytes::<4>().map(usize::from);
        Self(format!("{}_{}", ADJECTIVES[first % ADJECTIVES.len()], SURNAMES[second % SURNAMES.len()]))
    }

    /// A random name with a digit, for when names without one are taken.
    pub fn random_with_digit() -> Self {
        let [digit] = random_bytes::<1>();
        Self(format!("{}{}", Self::random().0, digit % 10))
    }
}

impl FromStr for ContainerName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let rest = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
        // A file name has at most 255 bytes.
        let good = (2..=255).contains(&text.len())
            && text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.bytes().all(rest);
        if good { Ok(Self(text.into())) } else { Err(Error(text.into())) }
    }
}

impl fmt::Display for ContainerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether `text` is a valid name of a container or volume.
pub fn is_name(text: &str) -> bool {
    text.parse::<ContainerName>().is_ok()
}

/// Whether `text` is a valid name of a network, which may be a single letter.
pub fn is_network_name(text: &str) -> bool {
    is_name(text) || (text.len() == 1 && text.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

/// Whether `text` is a valid id. It becomes part of a path, and config.json may come from anyone.
pub(crate) fn is_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// A random id as docker has them: 64 hexadecimal digits, of which the first twelve are not all decimal, since the short id may be a
/// host name, and a host name must not look like a number.
pub fn random_id() -> String {
    loop {
        let id: String = random_bytes::<32>().iter().map(|byte| format!("{byte:02x}")).collect();
        if id[..12].bytes().any(|byte| !byte.is_ascii_digit()) {
            return id;
        }
    }
}

/// Random bytes from the kernel.
pub(crate) fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    let mut filled = 0;
    while filled < N {
        filled += rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty())
            .or_else(|errno| if errno == rustix::io::Errno::INTR { Ok(0) } else { Err(errno) })
            .expect("getrandom(2) works on every kernel that has overlayfs");
    }
    bytes
}

const ADJECTIVES: &[&str] = &[
    "able", "agile", "alert", "amber", "ample", "astute", "bold", "brave", "bright", "brisk", "calm", "candid",
    "clear", "clever", "cosmic", "crisp", "curious", "daring", "deft", "eager", "earnest", "elated", "exact", "fair",
    "famous", "fluent", "fond", "frank", "gentle", "gifted", "glad", "golden", "grand", "happy", "hardy", "honest",
    "humble", "ideal", "jolly", "jovial", "keen", "kind", "lively", "loyal", "lucid", "mellow", "merry", "mighty",
    "modest", "neat", "nimble", "noble", "patient", "placid", "polite", "prompt", "proud", "quick", "quiet", "rapid",
    "ready", "robust", "serene", "sharp", "silent", "sincere", "sleek", "smart", "snug", "sober", "solid", "spry",
    "stable", "steady", "sturdy", "sunny", "swift", "tidy", "trusty", "upbeat", "valiant", "vivid", "warm", "wise",
    "witty", "zesty",
];

const SURNAMES: &[&str] = &[
    "abel",
    "ampere",
    "archimedes",
    "babbage",
    "backus",
    "bardeen",
    "bell",
    "bohr",
    "boole",
    "bose",
    "brahe",
    "cantor",
    "carson",
    "cerf",
    "church",
    "curie",
    "darwin",
    "davinci",
    "dijkstra",
    "dirac",
    "edison",
    "einstein",
    "engelbart",
    "erdos",
    "euclid",
    "euler",
    "faraday",
    "fermat",
    "fermi",
    "feynman",
    "fibonacci",
    "franklin",
    "galileo",
    "galois",
    "gauss",
    "goedel",
    "goodall",
    "hamilton",
    "hawking",
    "heisenberg",
    "hertz",
    "hilbert",
    "hodgkin",
    "hoover",
    "hopper",
    "hypatia",
    "jackson",
    "joliot",
    "kalam",
    "kepler",
    "kernighan",
    "khayyam",
    "knuth",
    "kowalevski",
    "lamarr",
    "lamport",
    "laplace",
    "leavitt",
    "leibniz",
    "liskov",
    "lovelace",
    "maxwell",
    "mccarthy",
    "mcclintock",
    "meitner",
    "mendel",
    "mendeleev",
    "mirzakhani",
    "montalcini",
    "moser",
    "napier",
    "newton",
    "nobel",
    "noether",
    "pascal",
    "pasteur",
    "payne",
    "perlman",
    "planck",
    "poincare",
    "ptolemy",
    "raman",
    "ramanujan",
    "riemann",
    "ritchie",
    "rubin",
    "shannon",
    "shockley",
    "sinoussi",
    "swanson",
    "tesla",
    "thompson",
    "torvalds",
    "turing",
    "volta",
    "wiles",
    "wilson",
    "wozniak",
    "wright",
    "yonath",
    "zuse",
];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_that_docker_refuses_are_refused() {
        for name in ["", "a", "-a", ".a", "_a", "a b", "a/b", "..", "a:b", "é1", &"a".repeat(256)] {
            assert!(name.parse::<ContainerName>().is_err(), "{name}");
        }
        for name in ["flask_web", "py", "1a", "A.b-c_d", "eager_wilson"] {
            assert_eq!(name.parse::<ContainerName>().unwrap().as_str(), name);
        }
    }

    #[test]
    fn random_names_and_ids_fit_the_grammar() {
        for _ in 0..100 {
            assert!(ContainerName::random().as_str().parse::<ContainerName>().is_ok());
            assert!(ContainerName::random_with_digit().as_str().ends_with(|c: char| c.is_ascii_digit()));
            let id = random_id();
            assert!(is_id(&id) && !is_id(&id[1..]) && !is_id(&format!("/{}", &id[1..])));
        }
    }

    proptest! {
        #[test]
        fn a_name_is_never_a_path(text in "\\PC{0,40}") {
            if let Ok(name) = text.parse::<ContainerName>() {
                prop_assert_eq!(std::path::Path::new(name.as_str()).components().count(), 1);
                prop_assert!(name.as_str() != ".." && !name.as_str().contains('/'));
            }
        }
    }
}
