//! Addresses: `LAYOUT[:REF][@DIGEST]`, the name of an image on disk in every tool.
//!
//! An address is read from the right: the digest is split off first, because it contains a `:`; the rest is split at
//! the first `:`, because a ref may contain more. Without a layout, the default one is meant ([`home`]). If there is a
//! ref and a digest, the digest takes precedence and the ref is only a label. Printing and parsing are inverse.
//!
//! The room holds the other names too: [`digest`], the names of docker ([`name`]), and the data folder ([`home`]). It may know no
//! other room.

pub mod digest;
pub mod home;
pub mod name;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use self::digest::Digest;

/// Why a text is not a valid address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The text is empty.
    #[error("empty address (LAYOUT[:REF][@DIGEST])")]
    Empty,
    /// The path of the layout contains a `:` or a control character.
    #[error("the path of a layout cannot contain ':' or a control character")]
    Layout,
    /// The ref does not follow the grammar of the image-spec.
    #[error("{text:?} is not a valid ref (letters and digits, with one of - . _ : @ + / between them)")]
    Reference {
        /// The text, possibly truncated.
        text: String,
    },
    /// The ref ends like a digest and could not be told apart from one.
    #[error("{text:?} looks like a digest (choose another ref)")]
    LooksLikeDigest {
        /// The text, possibly truncated.
        text: String,
    },
    /// What follows `@sha256:` or `@sha512:` is not a valid digest.
    #[error(transparent)]
    Digest(#[from] digest::Error),
}

/// The name of an image in a layout: `org.opencontainers.image.ref.name` by the grammar of image-spec annotations.md.
///
/// Runs of separators such as `a__b` and tags such as `a:1.` are accepted, because the names of docker have them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RefName(String);

impl RefName {
    /// The ref as text.
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
        if text.len() > 512 || !(text.split('/').all(word) || name::check(text).is_ok()) {
            return Err(Error::Reference { text: text.chars().take(80).collect() });
        }
        if split_digest(text).is_some() {
            return Err(Error::LooksLikeDigest { text: text.to_owned() });
        }
        Ok(Self(text.to_owned()))
    }
}

/// An image in a layout; without ref and digest, the only image of the layout.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Address {
    layout: String,
    reference: Option<RefName>,
    digest: Option<Digest>,
}

impl Address {
    /// Makes an address from its parts. An empty `layout` means the default one.
    ///
    /// # Errors
    /// [`Error::Empty`] if all parts are missing, [`Error::Layout`] if the path contains `:` or a control character.
    pub fn new(layout: &str, reference: Option<RefName>, digest: Option<Digest>) -> Result<Self, Error> {
        if layout.is_empty() && reference.is_none() && digest.is_none() {
            return Err(Error::Empty);
        }
        if layout.chars().any(|char| char == ':' || char.is_control()) {
            return Err(Error::Layout);
        }
        Ok(Self { layout: layout.to_owned(), reference, digest })
    }

    /// The layout as written; empty for the default one.
    #[must_use]
    pub fn layout(&self) -> &str {
        &self.layout
    }

    /// The path of the layout, with the default one filled in.
    #[must_use]
    pub fn layout_path(&self) -> PathBuf {
        if self.layout.is_empty() { home::Home::from_environment().images() } else { PathBuf::from(&self.layout) }
    }

    /// The ref, if the address has one.
    #[must_use]
    pub fn reference(&self) -> Option<&RefName> {
        self.reference.as_ref()
    }

    /// The digest, if the address has one.
    #[must_use]
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// The same image, pinned by its digest: the form that tools print.
    #[must_use]
    pub fn with_digest(&self, digest: &Digest) -> Self {
        Self { digest: Some(digest.clone()), ..self.clone() }
    }

    /// The same layout, with another ref and no digest.
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

/// Splits off `@sha256:…`. Any other `@` belongs to the path or the ref.
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
