//! How much a container takes on disk.

use std::fs;

use image_tool::address::Address;
use image_tool::address::digest;
use image_tool::address::home::Home;
pub use image_tool::layer::size::folder;
use image_tool::layout::Layout;
use image_tool::show::summary::Summary;

use crate::bundle::{self, annotation};
use crate::container::status::Container;

/// The size of a container's own files, and that of all its files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// What it has written, in bytes.
    pub own: u64,
    /// That, and the image.
    pub all: u64,
}

/// The size of a container. A file system that is a copy of its image counts as written.
#[must_use]
pub fn of(container: &Container, home: &Home) -> Size {
    let Some(bundle) = container.bundle() else { return Size::default() };
    let own = folder(&bundle::writable(bundle).join("upper"));
    Size { own, all: own + layers(container, home).or_else(|| image(container)).unwrap_or(0) }
}

/// The size of the files of the layers beneath, if they are unpacked.
fn layers(container: &Container, home: &Home) -> Option<u64> {
    let listed = fs::read_to_string(container.bundle()?.join(bundle::LAYERS)).ok()?;
    let place = |digest: &str| Some(home.layers().join(digest.replace(':', "/"))).filter(|path| path.is_dir());
    listed.lines().map(|digest| place(digest).map(|path| folder(&path))).sum()
}

/// The size of the image's layers.
fn image(container: &Container) -> Option<u64> {
    let digest = digest::parse(container.annotation(annotation::DIGEST)?).ok()?;
    let address = Address::new(container.annotation(annotation::LAYOUT)?, None, Some(digest)).ok()?;
    let layout = Layout::of(&address).ok()?;
    let found = Summary::image(&layout, &layout.resolve(&address).ok()?).ok()?;
    Some(Summary::of(&layout, &found).size)
}
