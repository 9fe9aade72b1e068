//! Resolving addresses.

use oci_spec::image::Descriptor;

use super::platform::Platform;
use super::{Error, Image, Layout, index, is_index};
use crate::address::{Address, RefName, name};

impl Layout {
    /// The image of a descriptor for this machine; if an index has none for this platform, the first that can be read.
    ///
    /// # Errors
    /// If no image can be read.
    pub fn some_image(&self, descriptor: &Descriptor) -> Result<Image, Error> {
        if !is_index(descriptor) {
            return self.image_of(descriptor);
        }
        let manifests = self.manifests(descriptor)?;
        let chosen = Platform::host().choose(&manifests).into_iter().chain(&manifests);
        let mut failure =
            Error::Malformed { what: format!("index {}", descriptor.digest()), reason: "it has no image".into() };
        for manifest in chosen {
            match self.image_of(manifest) {
                Ok(image) => return Ok(image),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    /// The descriptor of an address, in `index.json` or an index in it. A digest, if given, takes precedence.
    ///
    /// A ref is first compared exactly, then as a docker name ([`name::equal`]). If it is hexadecimal, with or without `sha256:`
    /// before it, it may also be the beginning of an ID: the digest of a manifest or a config.
    ///
    /// # Errors
    /// [`Error::NoSuchImage`], [`Error::Ambiguous`].
    pub fn resolve(&self, address: &Address) -> Result<Descriptor, Error> {
        let index = self.index()?;
        let entries = index.descriptors()?;
        let none = || Error::NoSuchImage { address: address.clone() };
        if let Some(digest) = address.digest() {
            return self.reachable(&entries, digest).ok_or_else(none);
        }
        let found: Vec<&Descriptor> = match address.reference() {
            None => entries.iter().collect(),
            Some(reference) => match Self::by_ref(&entries, reference) {
                found if !found.is_empty() => found,
                _ => self.by_identity(&entries, reference.as_str()),
            },
        };
        let mut distinct = found.clone();
        distinct.sort_by_key(|descriptor| descriptor.digest().to_string());
        distinct.dedup_by_key(|descriptor| descriptor.digest());
        match distinct[..] {
            [] => Err(none()),
            [_] => Ok(found[0].clone()),
            _ => {
                let name = |descriptor: &&Descriptor| {
                    let reference = index::ref_name(descriptor).and_then(|text| text.parse::<RefName>().ok());
                    Address::new(address.layout(), reference, Some(descriptor.digest().clone()))
                        .map_or_else(|_| descriptor.digest().to_string(), |address| address.to_string())
                };
                Err(Error::Ambiguous { address: address.clone(), candidates: found.iter().map(name).collect() })
            }
        }
    }

    fn by_ref<'a>(entries: &'a [Descriptor], reference: &RefName) -> Vec<&'a Descriptor> {
        let matching = |test: &dyn Fn(&str) -> bool| -> Vec<&'a Descriptor> {
            entries.iter().filter(|descriptor| index::ref_name(descriptor).is_some_and(test)).collect()
        };
        match matching(&|text| text == reference.as_str()) {
            exact if !exact.is_empty() => exact,
            _ => matching(&|text| name::equal(text, reference.as_str())),
        }
    }

    fn by_identity<'a>(&self, entries: &'a [Descriptor], text: &str) -> Vec<&'a Descriptor> {
        let hex = text.strip_prefix("sha256:").unwrap_or(text);
        if hex.len() < 4 || hex.len() > 64 || !hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            return Vec::new();
        }
        let mut found = Vec::new();
        for descriptor in entries {
            let mut identities = vec![descriptor.digest().clone()];
            // An unreadable image has no ID; `verify` reports what is wrong with it.
            identities.extend(self.manifests(descriptor).unwrap_or_default().iter().filter_map(|manifest| {
                self.image_of(manifest).ok().map(|image| image.manifest().config().digest().clone())
            }));
            if identities.iter().any(|digest| digest.digest().starts_with(hex)) {
                found.push(descriptor);
            }
        }
        found
    }
}
