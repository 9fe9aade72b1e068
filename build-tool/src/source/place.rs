//! Where a context is: the words of the command line, `build CONTEXT` and `--build-context NAME=PLACE`.

use std::path::{Path, PathBuf};

use image_tool::address::{self, Address};

use super::download;
use super::git;

/// What the place of an image in a layout begins with.
pub const LAYOUT: &str = "oci-layout://";

/// Where a context is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A folder.
    Folder(PathBuf),
    /// Standard input: a tar, or a Dockerfile alone.
    Input,
    /// A git repository.
    Repository(Box<git::Address>),
    /// A tar, or a Dockerfile alone, to be downloaded.
    Url(String),
    /// An image in a layout, for a context with a name.
    Layout(Address),
    /// An image by its name, for a context with a name.
    Image(String),
    /// A stage of the Dockerfile, for a context with a name.
    Stage(String),
}

/// Why a text is no place.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The address of a repository is wrong.
    #[error(transparent)]
    Repository(#[from] git::BadAddress),
    /// The address of an image is wrong.
    #[error("oci-layout://{text}")]
    Layout {
        /// The address as written.
        text: String,
        /// What is wrong with it.
        source: address::Error,
    },
    /// Nothing follows the `=`, or the prefix.
    #[error("{0:?} is no context (a folder, a URL, docker-image://NAME, oci-layout://LAYOUT, target:STAGE)")]
    Nothing(String),
}

impl Place {
    /// The place of the context.
    pub fn of_context(path: &Path) -> Result<Self, Error> {
        if path == Path::new("-") {
            return Ok(Self::Input);
        }
        match path.to_str() {
            Some(text) => Ok(Self::remote(text)?.unwrap_or_else(|| Self::Folder(path.to_owned()))),
            None => Ok(Self::Folder(path.to_owned())),
        }
    }

    /// The place of a context with a name.
    pub fn of_named(text: &str) -> Result<Self, Error> {
        let nothing = || Error::Nothing(text.to_owned());
        let prefixed = |prefix: &str| text.strip_prefix(prefix).map(str::to_owned);
        let place = if let Some(name) = prefixed("docker-image://") {
            Self::Image(name)
        } else if let Some(name) = prefixed("target:") {
            Self::Stage(name)
        } else if let Some(written) = prefixed(LAYOUT) {
            if written.is_empty() {
                return Err(nothing());
            }
            // Docker's tools end a layout in `:tag`, which is a ref, as in an address.
            Self::Layout(written.parse().map_err(|source| Error::Layout { text: written, source })?)
        } else {
            Self::remote(text)?.unwrap_or_else(|| Self::Folder(text.into()))
        };
        match &place {
            Self::Image(name) | Self::Stage(name) if name.is_empty() => Err(nothing()),
            Self::Folder(path) if path.as_os_str().is_empty() => Err(nothing()),
            _ => Ok(place),
        }
    }

    fn remote(text: &str) -> Result<Option<Self>, git::BadAddress> {
        Ok(match git::Address::parse(text)? {
            Some(address) => Some(Self::Repository(Box::new(address))),
            None => download::is_url(text).then(|| Self::Url(text.to_owned())),
        })
    }

    /// Whether the place holds files, and not an image or a stage.
    pub fn is_tree(&self) -> bool {
        !matches!(self, Self::Layout(_) | Self::Image(_) | Self::Stage(_))
    }

    /// The stage, if it is one.
    pub fn stage(&self) -> Option<String> {
        if let Self::Stage(stage) = self { Some(stage.clone()) } else { None }
    }

    /// What others are told of the context of that name: no password, and no path of this machine.
    pub fn told(&self, name: &str) -> String {
        match self {
            Self::Folder(_) | Self::Input => format!("local:{name}"),
            Self::Repository(address) => address.to_string(),
            Self::Url(url) => download::shown(url),
            Self::Layout(_) => format!("{LAYOUT}{name}"),
            Self::Image(image) => format!("docker-image://{image}"),
            Self::Stage(stage) => format!("target:{stage}"),
        }
    }

    /// Whether it is reached by ssh, for which the caller's agent is needed.
    pub fn is_ssh(&self) -> bool {
        matches!(self, Self::Repository(address) if address.is_ssh())
    }

    /// Whether its files are brought here first, so that nothing outside of them can be meant.
    pub fn is_brought(&self) -> bool {
        !matches!(self, Self::Folder(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_told_apart() {
        let kind = |place: Place| match place {
            Place::Folder(path) => format!("folder {}", path.display()),
            Place::Input => "input".to_owned(),
            Place::Repository(address) => format!("repository {} {}", address.remote, address.reference),
            Place::Url(url) => format!("url {url}"),
            Place::Layout(address) => format!("layout {address}"),
            Place::Image(name) => format!("image {name}"),
            Place::Stage(name) => format!("stage {name}"),
        };
        for (text, expected) in [
            ("app", "folder app"),
            ("-", "input"),
            ("https://h/a.git#v1", "repository https://h/a.git v1"),
            ("git@h:a", "repository git@h:a "),
            ("github.com/a/b", "repository https://github.com/a/b "),
            ("http://h/a.tar.gz", "url http://h/a.tar.gz"),
        ] {
            assert_eq!(kind(Place::of_context(Path::new(text)).unwrap()), expected);
        }
        for (text, expected) in [
            ("../other", "folder ../other"),
            ("docker-image://alpine:3", "image alpine:3"),
            ("oci-layout://dir/images:a:1", "layout dir/images:a:1"),
            ("target:dev", "stage dev"),
            ("target", "folder target"),
            ("ssh://h/x#y:z", "repository ssh://h/x y"),
        ] {
            assert_eq!(kind(Place::of_named(text).unwrap()), expected);
        }
        for text in ["", "docker-image://", "oci-layout://", "target:", "https://h/a.git#-x"] {
            assert!(Place::of_named(text).is_err(), "{text}");
        }
    }
}
