//! Platforms: choosing a manifest of an index (image-spec image-index.md).

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

impl Platform {
    /// The platform of this program.
    #[must_use]
    pub fn host() -> Self {
        let (architecture, variant) = match std::env::consts::ARCH {
            "x86_64" => ("amd64", None),
            "x86" => ("386", None),
            "aarch64" => ("arm64", Some("v8")),
            "arm" => ("arm", Some("v7")),
            "powerpc64" => ("ppc64le", None),
            "loongarch64" => ("loong64", None),
            other => (other, None),
        };
        Self { os: "linux".into(), architecture: architecture.into(), variant: variant.map(Into::into) }
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

    /// How well an offered platform fits this one: 0 is exact, and `None` does not fit.
    #[must_use]
    pub fn rank(&self, os: &str, architecture: &str, variant: Option<&str>) -> Option<u8> {
        if os != self.os || architecture != self.architecture {
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
        level(self.variant()).checked_sub(level(variant))
    }

    /// The best descriptor for this platform; of equal ones, the first.
    pub fn choose<'a>(&self, manifests: impl IntoIterator<Item = &'a Descriptor>) -> Option<&'a Descriptor> {
        manifests
            .into_iter()
            .filter_map(|descriptor| {
                let platform = descriptor.platform().as_ref()?;
                let rank = self.rank(
                    &platform.os().to_string(),
                    &platform.architecture().to_string(),
                    platform.variant().as_deref(),
                )?;
                Some((rank, descriptor))
            })
            .min_by_key(|(rank, _)| *rank)
            .map(|(_, descriptor)| descriptor)
    }
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
        let (os, architecture, variant) = match parts[..] {
            [architecture] => ("linux", architecture, None),
            [os, architecture] => (os, architecture, None),
            [os, architecture, variant] => (os, architecture, Some(variant)),
            _ => return Err(malformed()),
        };
        let (architecture, variant) = match architecture {
            "x86_64" | "x86-64" => ("amd64", variant),
            "aarch64" => ("arm64", variant),
            "armhf" => ("arm", variant.or(Some("v7"))),
            "i386" => ("386", variant),
            other => (other, variant),
        };
        Ok(Self { os: os.to_lowercase(), architecture: architecture.into(), variant: variant.map(Into::into) })
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
        assert_eq!("linux/arm/v7".parse::<Platform>().unwrap().to_string(), "linux/arm/v7");
    }
}
