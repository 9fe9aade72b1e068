//! The data folder of the tools: `$OCI_HOME`, or else /var/lib/oci for root, or else `$XDG_DATA_HOME/oci`.

use std::env;
use std::path::{Path, PathBuf};

/// The data folder. Asking for a path creates nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home(PathBuf);

impl Home {
    /// The data folder according to the environment.
    #[must_use]
    pub fn from_environment() -> Self {
        let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        if let Some(path) = set("OCI_HOME") {
            return Self(path);
        }
        if rustix::process::geteuid().is_root() {
            return Self(PathBuf::from("/var/lib/oci"));
        }
        let data = set("XDG_DATA_HOME").unwrap_or_else(|| set("HOME").unwrap_or_default().join(".local/share"));
        Self(data.join("oci"))
    }

    /// The data folder at a path.
    #[must_use]
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// The path of the data folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The default layout: `$OCI_LAYOUT`, or else `images`.
    #[must_use]
    pub fn images(&self) -> PathBuf {
        match env::var_os("OCI_LAYOUT") {
            Some(path) if !path.is_empty() => PathBuf::from(path),
            _ => self.0.join("images"),
        }
    }

    /// Layers by diff ID, as archives or unpacked: `layers/sha256/HEX`.
    #[must_use]
    pub fn layers(&self) -> PathBuf {
        self.0.join("layers")
    }

    /// Bundles by the name of the container.
    #[must_use]
    pub fn bundles(&self) -> PathBuf {
        self.0.join("bundles")
    }

    /// Named volumes: `volumes/NAME/_data`.
    #[must_use]
    pub fn volumes(&self) -> PathBuf {
        self.0.join("volumes")
    }

    /// CNI network configurations by name, and the state of the plugins.
    #[must_use]
    pub fn networks(&self) -> PathBuf {
        self.0.join("networks")
    }

    /// The journal of what happens to containers, volumes and networks: docker's event documents, one JSON line each.
    #[must_use]
    pub fn events(&self) -> PathBuf {
        self.0.join("events.jsonl")
    }

    /// The step cache of build-tool.
    #[must_use]
    pub fn builds(&self) -> PathBuf {
        self.0.join("builds")
    }
}
