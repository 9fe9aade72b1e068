//! Platforms: choosing a manifest of an index (image-spec image-index.md).
//!
//! Platforms are compared after normalisation, as containerd does: `x86_64`, `X86-64` and `amd64` are one architecture. What is
//! written into documents is always Go's name.

use std::fmt;
use std::str::FromStr;

use oci_spec::image::Descriptor;

/// A platform, such as `linux/amd64` or `linux/arm/v7`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Platform {
    os: String,
    architecture: String,
    variant: Option<String>,
}

/// The text is not `os/architecture[/variant]`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a valid platform (os/architecture[/variant], such as linux/arm64)")]
pub struct Malformed(String);

/// Go's names of operating systems: a platform of one of these words alone is for the architecture of this machine.
const SYSTEMS: [&str; 14] = [
    "aix",
    "android",
    "darwin",
    "dragonfly",
    "freebsd",
    "illumos",
    "ios",
    "js",
    "linux",
    "netbsd",
    "openbsd",
    "plan9",
    "solaris",
    "windows",
];

impl Platform {
    /// The platform of this program.
    #[must_use]
    pub fn host() -> Self {
        let (architecture, variant) = match std::env::consts::ARCH {
            "x86" => ("386", None),
            "arm" => ("arm", Some("v7")),
            "powerpc64" => ("ppc64le", None),
            "loongarch64" => ("loong64", None),
            other => (other, None),
        };
        Self::normal("linux", architecture, variant)
    }

    /// A platform by Go's names, whatever its spelling.
    fn normal(os: &str, architecture: &str, variant: Option<&str>) -> Self {
        let os = match os.to_ascii_lowercase().as_str() {
            "macos" => "darwin".to_owned(),
            os => os.to_owned(),
        };
        let variant = variant.map(str::to_ascii_lowercase).filter(|variant| !variant.is_empty());
        // Some write `7` for `v7`.
        let variant =
            variant.map(|text| if text.bytes().all(|byte| byte.is_ascii_digit()) { format!("v{text}") } else { text });
        let (architecture, variant) = match (architecture.to_ascii_lowercase().as_str(), variant.as_deref()) {
            ("i386", _) => ("386".to_owned(), None),
            ("x86_64" | "x86-64" | "amd64", variant) => ("amd64".to_owned(), variant.filter(|text| *text != "v1")),
            ("aarch64" | "arm64", variant) => ("arm64".to_owned(), variant.filter(|text| *text != "v8")),
            ("armhf", _) => ("arm".to_owned(), Some("v7")),
            ("armel", _) => ("arm".to_owned(), Some("v6")),
            ("arm", variant) => ("arm".to_owned(), variant.or(Some("v7"))),
            (other, variant) => (other.to_owned(), variant),
        };
        Self { os, architecture, variant: variant.map(str::to_owned) }
    }

    /// The platform that a descriptor is for, if it says so.
    fn of(descriptor: &Descriptor) -> Option<Self> {
        let platform = descriptor.platform().as_ref()?;
        let (os, architecture) = (platform.os().to_string(), platform.architecture().to_string());
        Some(Self::normal(&os, &architecture, platform.variant().as_deref()))
    }

    /// The operating system, by Go's name, such as `linux`.
    #[must_use]
    pub fn os(&self) -> &str {
        &self.os
    }

    /// The architecture, by Go's name, such as `amd64`.
    #[must_use]
    pub fn architecture(&self) -> &str {
        &self.architecture
    }

    /// The variant of the architecture, such as `v7`, if any.
    #[must_use]
    pub fn variant(&self) -> Option<&str> {
        self.variant.as_deref()
    }

    /// How well an offered platform fits this one, in any spelling: 0 is exact, and `None` does not fit.
    #[must_use]
    pub fn rank(&self, os: &str, architecture: &str, variant: Option<&str>) -> Option<u8> {
        self.rank_of(&Self::normal(os, architecture, variant))
    }

    fn rank_of(&self, offered: &Self) -> Option<u8> {
        if offered.os != self.os || offered.architecture != self.architecture {
            return None;
        }
        // amd64 has levels and arm has versions: earlier ones run here, later ones do not.
        let level = |variant: Option<&str>| -> u8 {
            let default = match self.architecture.as_str() {
                "arm64" => 8,
                "arm" => 7,
                _ => 1,
            };
            variant
                .and_then(|text| text.strip_prefix('v'))
                .and_then(|text| text.split('.').next())
                .and_then(|text| text.parse().ok())
                .unwrap_or(default)
        };
        level(self.variant()).checked_sub(level(offered.variant()))
    }

    /// The best descriptor for this platform; of equal ones, the first.
    pub fn choose<'a>(&self, manifests: impl IntoIterator<Item = &'a Descriptor>) -> Option<&'a Descriptor> {
        manifests
            .into_iter()
            .filter_map(|descriptor| Some((self.rank_of(&Self::of(descriptor)?)?, descriptor)))
            .min_by_key(|(rank, _)| *rank)
            .map(|(_, descriptor)| descriptor)
    }
}

/// The platforms that manifests are for, each once, for an error that names them. `unknown/unknown` is none: that is how
/// attestations are marked.
#[must_use]
pub fn offered<'a>(manifests: impl IntoIterator<Item = &'a Descriptor>) -> Vec<String> {
    let mut offered: Vec<String> = Vec::new();
    for platform in manifests.into_iter().filter_map(Platform::of).filter(|platform| platform.os != "unknown") {
        let text = platform.to_string();
        if !offered.contains(&text) {
            offered.push(text);
        }
    }
    offered
}

impl fmt::Display for Platform {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(formatter, "/{variant}"),
            None => Ok(()),
        }
    }
}

impl FromStr for Platform {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let malformed = || Malformed(text.chars().take(80).collect());
        let parts: Vec<&str> = text.split('/').collect();
        let word = |part: &&str| {
            !part.is_empty() && part.chars().all(|char| char.is_ascii_alphanumeric() || "._-".contains(char))
        };
        if !parts.iter().all(word) {
            return Err(malformed());
        }
        match parts[..] {
            [os] if SYSTEMS.contains(&os.to_ascii_lowercase().as_str()) || os.eq_ignore_ascii_case("macos") => {
                let host = Self::host();
                Ok(Self::normal(os, &host.architecture, host.variant.as_deref()))
            }
            [architecture] => Ok(Self::normal("linux", architecture, None)),
            [os, architecture] => Ok(Self::normal(os, architecture, None)),
            [os, architecture, variant] => Ok(Self::normal(os, architecture, Some(variant))),
            _ => Err(malformed()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_variant_that_can_run_is_chosen() {
        let offers: Vec<Descriptor> = serde_json::from_value(serde_json::json!(
            [("amd64", None), ("arm", Some("v6")), ("arm", Some("v7")), ("arm64", Some("v8")), ("unknown", None)].map(
                |(architecture, variant)| serde_json::json!({
                    "mediaType": "application/vnd.oci.image.manifest.v1+json",
                    "digest": crate::address::digest::sha256(format!("{architecture}{variant:?}").as_bytes()).to_string(),
                    "size": 1,
                    "platform": {"os": "linux", "architecture": architecture, "variant": variant},
                })
            )
        ))
        .unwrap();
        for (wanted, index) in [
            ("linux/amd64", Some(0)),
            ("linux/arm/v6", Some(1)),
            ("linux/arm/v7", Some(2)),
            ("linux/arm", Some(2)),
            ("arm64", Some(3)),
            ("aarch64", Some(3)),
            ("linux/s390x", None),
            ("linux/arm/v5", None),
            ("LINUX/AMD64", Some(0)),
            ("linux/x86_64", Some(0)),
            ("linux/amd64/v1", Some(0)),
            ("linux/arm/6", Some(1)),
            ("armhf", Some(2)),
            ("armel", Some(1)),
            ("Linux/AArch64/8", Some(3)),
            ("darwin/arm64", None),
        ] {
            let platform: Platform = wanted.parse().unwrap();
            assert_eq!(platform.choose(&offers), index.map(|index: usize| &offers[index]), "{wanted}");
        }
    }

    #[test]
    fn a_platform_is_two_or_three_words() {
        for text in ["", "/", "linux/", "a/b/c/d", "linux/amd 64"] {
            assert!(text.parse::<Platform>().is_err(), "{text:?}");
        }
        for (text, expected) in [
            ("linux/arm/v7", "linux/arm/v7"),
            ("ARM", "linux/arm/v7"),
            ("linux/X86-64/v1", "linux/amd64"),
            ("linux/amd64/v2", "linux/amd64/v2"),
            ("i386", "linux/386"),
            ("aarch64", "linux/arm64"),
            ("macos/arm64/v8", "darwin/arm64"),
        ] {
            let platform = text.parse::<Platform>().map(|platform| platform.to_string());
            assert_eq!(platform.unwrap(), expected, "{text}");
        }
        assert_eq!("linux".parse::<Platform>().unwrap(), Platform::host());
    }

    #[test]
    fn an_offer_in_another_spelling_is_one() {
        let offers: Vec<Descriptor> = serde_json::from_value(serde_json::json!(
            [("Linux", "x86_64", ""), ("linux", "aarch64", "8"), ("unknown", "unknown", "")].map(
                |(os, architecture, variant)| serde_json::json!({
                    "mediaType": "application/vnd.oci.image.manifest.v1+json",
                    "digest": crate::address::digest::sha256(architecture.as_bytes()).to_string(),
                    "size": 1,
                    "platform": {"os": os, "architecture": architecture, "variant": variant},
                })
            )
        ))
        .unwrap();
        for (wanted, index) in [("linux/amd64", 0), ("arm64", 1)] {
            assert_eq!(wanted.parse::<Platform>().unwrap().choose(&offers), Some(&offers[index]));
        }
        assert_eq!(offered(&offers), ["linux/amd64", "linux/arm64"]);
    }
}
