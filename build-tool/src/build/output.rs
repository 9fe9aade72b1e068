//! What a build is to deliver: where its result goes, and what is written into it beside the image.

use std::path::PathBuf;

use image_tool::archive::Format;
use image_tool::layer::pack::Packing;
use image_tool::layout::platform::Platform;

/// What a build is to deliver.
#[derive(Debug, Clone, Default)]
pub struct Delivery {
    /// Where the result goes. If empty, nothing is kept but the step cache.
    pub outputs: Vec<Order>,
    /// Where steps are taken from before the build.
    pub cache_from: Vec<CachePlace>,
    /// Where steps are stored after it.
    pub cache_to: Vec<CacheExport>,
}

/// A place where the result goes, and what it is like there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// The place.
    pub output: Output,
    /// What an image is like.
    pub form: Form,
}

/// What an image is like, beside what the Dockerfile says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Form {
    /// Annotations of its documents.
    pub annotations: Vec<Annotation>,
    /// Whether and how it says how it was made.
    pub provenance: Option<Provenance>,
    /// Whether it says which packages are in it.
    pub sbom: bool,
    /// Whether it holds the steps that it was made by, for the next build.
    pub steps: bool,
    /// How its layers are packed, if not as they are in the cache.
    pub layers: Option<Layers>,
}

/// How the layers of an image are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layers {
    /// The compression.
    pub packing: Packing,
    /// Whether those of the base image are packed so too; else they stay as they are.
    pub all: bool,
}

/// Where steps are kept outside of this machine's cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CachePlace {
    /// A repository, by the image's name.
    Registry(String),
    /// A folder.
    Folder(PathBuf),
}

/// What is stored there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheExport {
    /// The place.
    pub place: CachePlace,
    /// Whether all steps are stored, or only those whose layers are in the image.
    pub all: bool,
    /// Whether the build succeeds even if nothing can be stored.
    pub optional: bool,
}

/// Where the result of a build goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Into layouts, under the names of the image.
    Image,
    /// Into layouts, and from there to the registries in the names.
    Push,
    /// An archive of the image.
    Archive {
        /// Docker's format or OCI's.
        format: Format,
        /// The file.
        to: Target,
    },
    /// A new layout in a folder, under the image's names.
    Layout(PathBuf),
    /// The files of the image as a tar archive.
    Tar {
        /// The file.
        to: Target,
        /// How they are laid out.
        arrangement: Arrangement,
    },
    /// The files of the image, into a folder.
    Files {
        /// The folder.
        to: PathBuf,
        /// How they are laid out.
        arrangement: Arrangement,
        /// Whether what else is in the folder is removed.
        delete: bool,
    },
}

/// How files are laid out that come from an image, or from several.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Arrangement {
    /// Whether the files of each platform have a folder of their own; by default if there are several.
    pub split: Option<bool>,
    /// What the names of the attestations' files begin with.
    pub prefix: String,
}

/// A file, or standard output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Standard output, unless it is a terminal.
    Stdout,
    /// A file, which appears once it is complete.
    File(PathBuf),
}

impl Output {
    /// Whether it goes to standard output.
    pub fn is_stdout(&self) -> bool {
        matches!(self, Self::Archive { to: Target::Stdout, .. } | Self::Tar { to: Target::Stdout, .. })
    }

    /// Whether it is an image, with a digest.
    pub fn is_image(&self) -> bool {
        !matches!(self, Self::Tar { .. } | Self::Files { .. })
    }
}

/// An annotation and its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Annotation {
    /// The document that it is in.
    pub level: Level,
    /// The platform whose image has it; `None` means all.
    pub platform: Option<Platform>,
    /// The key.
    pub name: String,
    /// The value.
    pub value: String,
}

/// The documents that have annotations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// The manifest of an image.
    Manifest,
    /// The index of images.
    Index,
    /// The descriptor of a manifest.
    ManifestDescriptor,
    /// The descriptor of the index, in the layout's `index.json`.
    IndexDescriptor,
}

/// What the image says about how it was made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Provenance {
    /// Whether that includes build arguments, labels, the ids of secrets and the Dockerfile.
    pub everything: bool,
    /// What the builder is called, a URL.
    pub builder: Option<String>,
    /// Whether its maker says that the build gives the same again.
    pub reproducible: bool,
}
