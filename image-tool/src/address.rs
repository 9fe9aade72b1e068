//! Addresses: `LAYOUT[:REF][@DIGEST]`, how every tool names an image on disk.
//!
//! Read from the right: the digest is taken off first (it holds a `:`), then the rest is split at the first `:`, since a
//! ref may hold more of them. A layout left empty is the default one ([`crate::address::home`]). With a ref and a digest the digest
//! decides and the ref is a label. Printing and parsing are inverse.

pub mod digest;
pub mod home;
pub mod name;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use self::digest::Digest;

/// Why a text is no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Nothing was given.
    #[error("empty address (LAYOUT[:REF][@DIGEST])")]
    Empty,
    /// The layout's path holds a control character.
    #[error("the path of a layout cannot contain ':' or a control character")]
    Layout,
    /// The ref is not one that image-spec allows.
    #[error("{text:?} is not a valid ref (letters and digits, with one of - . _ : @ + / between them)")]
    Reference {
        /// What was given.
        text: String,
    },
    /// The ref ends as a digest does, so it could not be told from one.
    #[error("{text:?} looks like a digest (choose another ref)")]
    LooksLikeDigest {
        /// What was given.
        text: String,
    },
    /// What follows `@sha256:` or `@sha512:` is no digest.
    #[error(transparent)]
    Digest(#[from] digest::Error),
}

/// The name of an image in a layout: `org.opencontainers.image.ref.name` by the grammar of image-spec annotations.md.
///
/// Runs of separators are let through (`a__b`), because docker's names have them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RefName(String);

impl RefName {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for RefName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RefName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl FromStr for RefName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let word = |component: &str| {
            component.starts_with(|first: char| first.is_ascii_alphanumeric())
                && component.ends_with(|last: char| last.is_ascii_alphanumeric())
                && component.chars().all(|char| char.is_ascii_alphanumeric() || "-._:@+".contains(char))
        };
        if text.len() > 512 || !text.split('/').all(word) {
            return Err(Error::Reference { text: text.chars().take(80).collect() });
        }
        if split_digest(text).is_some() {
            return Err(Error::LooksLikeDigest { text: text.to_owned() });
        }
        Ok(Self(text.to_owned()))
    }
}

/// An image in a layout, or, without ref and digest, the layout's only image.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Address {
    layout: String,
    reference: Option<RefName>,
    digest: Option<Digest>,
}

impl Address {
    /// An address from its parts; an empty `layout` is the default one.
    ///
    /// # Errors
    /// [`Error::Empty`] if there is no part at all, [`Error::Layout`] if the path holds `:` or a control character.
    pub fn new(layout: &str, reference: Option<RefName>, digest: Option<Digest>) -> Result<Self, Error> {
        if layout.is_empty() && reference.is_none() && digest.is_none() {
            return Err(Error::Empty);
        }
        if layout.chars().any(|char| char == ':' || char.is_control()) {
            return Err(Error::Layout);
        }
        Ok(Self { layout: layout.to_owned(), reference, digest })
    }

    /// The layout as it was written; empty for the default one.
    #[must_use]
    pub fn layout(&self) -> &str {
        &self.layout
    }

    /// Where the layout is.
    #[must_use]
    pub fn layout_path(&self) -> PathBuf {
        if self.layout.is_empty() { home::Home::from_environment().images() } else { PathBuf::from(&self.layout) }
    }

    /// The ref, if one was written.
    #[must_use]
    pub fn reference(&self) -> Option<&RefName> {
        self.reference.as_ref()
    }

    /// The digest, if one was written.
    #[must_use]
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// The same image, pinned by its digest: what a tool prints.
    #[must_use]
    pub fn with_digest(&self, digest: &Digest) -> Self {
        Self { digest: Some(digest.clone()), ..self.clone() }
    }

    /// The same layout with another ref and no digest.
    #[must_use]
    pub fn with_reference(&self, reference: RefName) -> Self {
        Self { layout: self.layout.clone(), reference: Some(reference), digest: None }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.layout)?;
        if let Some(reference) = &self.reference {
            write!(formatter, ":{reference}")?;
        }
        if let Some(digest) = &self.digest {
            write!(formatter, "@{digest}")?;
        }
        Ok(())
    }
}

impl FromStr for Address {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let (rest, digest) = match split_digest(text) {
            Some((rest, digest)) => (rest, Some(digest::parse(digest)?)),
            None => (text, None),
        };
        let (layout, reference) = match rest.split_once(':') {
            Some((layout, reference)) => (layout, Some(reference.parse()?)),
            None => (rest, None),
        };
        Self::new(layout, reference, digest)
    }
}

/// Splits `@sha256:…` off; what follows another `@` belongs to the path or the ref.
fn split_digest(text: &str) -> Option<(&str, &str)> {
    let (rest, digest) = text.rsplit_once('@')?;
    (digest.starts_with("sha256:") || digest.starts_with("sha512:")).then_some((rest, digest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEX: &str = "2c7a000000000000000000000000000000000000000000000000000000000000";

    #[test]
    fn an_address_splits_at_its_first_colon_and_its_last_at() {
        let address: Address = format!("images:python:3.8@sha256:{HEX}").parse().unwrap();
        assert_eq!(address.layout(), "images");
        assert_eq!(address.reference().unwrap().as_str(), "python:3.8");
        assert_eq!(address.digest().unwrap().digest(), HEX);
        let address: Address = ":localhost:5000/x:1".parse().unwrap();
        assert_eq!((address.layout(), address.reference().unwrap().as_str()), ("", "localhost:5000/x:1"));
        let address: Address = "user@host/images".parse().unwrap();
        assert_eq!((address.layout(), address.reference()), ("user@host/images", None));
    }

    #[test]
    fn what_is_no_address_says_why() {
        for (text, error) in [
            ("", "empty address (LAYOUT[:REF][@DIGEST])"),
            ("images:", "\"\" is not a valid ref (letters and digits, with one of - . _ : @ + / between them)"),
            ("images:a b", "\"a b\" is not a valid ref (letters and digits, with one of - . _ : @ + / between them)"),
            ("images:../x", "\"../x\" is not a valid ref (letters and digits, with one of - . _ : @ + / between them)"),
            ("images@sha256:12", "\"sha256:12\" is not a valid digest (sha256: and 64 hex digits)"),
            ("a\nb:c", "the path of a layout cannot contain ':' or a control character"),
        ] {
            assert_eq!(text.parse::<Address>().unwrap_err().to_string(), error, "{text:?}");
        }
    }

    #[test]
    fn a_ref_that_ends_in_a_digest_is_never_made() {
        let text = format!("python@sha256:{HEX}");
        assert!(matches!(text.parse::<RefName>(), Err(Error::LooksLikeDigest { .. })));
    }

    proptest! {
        #[test]
        fn print_then_parse_is_the_identity(layout in "[a-z./@]{0,12}", name in proptest::option::of("[a-z0-9]{1,5}([-._:@+/][A-Za-z0-9]{1,4}){0,4}"), digest in proptest::option::of("[0-9a-f]{64}")) {
            let name = name.and_then(|name| name.parse().ok());
            let digest = digest.map(|hex| digest::parse(&format!("sha256:{hex}")).unwrap());
            if let Ok(address) = Address::new(&layout, name, digest) {
                prop_assert_eq!(address.to_string().parse::<Address>().unwrap(), address);
            }
        }

        #[test]
        fn parsing_never_panics(text in "\\PC{0,80}") {
            let _ = text.parse::<Address>();
        }
    }
}
