//! What a container changed, as a layer's tar archive and as a new image.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use image_tool::address::home::Home;
use image_tool::address::{Address, RefName};
use image_tool::beneath::{self, Root};
use image_tool::edit::append::{self, History};
use image_tool::edit::index::Note;
use image_tool::edit::{self, Change};
use image_tool::error::During as _;
use image_tool::layer::apply;
use image_tool::layer::cache::{self, Source};
use image_tool::layer::diff;
use image_tool::layer::entry::{self, Reader};
use image_tool::layer::pack::Packer;
use image_tool::layer::whiteout::{self, Whiteout};
use image_tool::layer::{self, Compression};
use image_tool::layout::platform::Platform;
use image_tool::layout::{self, Image, Layout, journal};
use image_tool::program::caller::caller;
use rustix::fs::FileType;

use super::lower::{self, Lower};
use super::{layers, mount_point, quota, settings, userns};
use crate::bundle::annotation;
use crate::bundle::{self, Bundle};
use crate::option::Refused;

/// Why changes cannot be extracted or committed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each variant but three is another module's error, passed on")]
pub enum Error {
    #[error(transparent)]
    Bundle(#[from] bundle::Error),
    #[error(transparent)]
    Quota(#[from] Refused),
    #[error(transparent)]
    Beneath(#[from] beneath::Error),
    #[error(transparent)]
    Diff(#[from] diff::Error),
    #[error(transparent)]
    Layout(#[from] layout::Error),
    #[error(transparent)]
    Cache(#[from] cache::Error),
    #[error(transparent)]
    Layer(#[from] layer::Error),
    #[error(transparent)]
    Append(#[from] append::Error),
    #[error(transparent)]
    Entry(#[from] entry::Error),
    /// Another tool made the bundle.
    #[error("{}: config.json does not name the bundle's image", .0.display())]
    NoImage(PathBuf),
    /// The annotations do not hold a valid address.
    #[error("image of the bundle")]
    Address(#[source] image_tool::address::Error),
    /// An operation that the kernel refused.
    #[error(transparent)]
    Io(#[from] image_tool::error::Io),
}

/// The image that a bundle was made from.
pub struct Origin {
    layout: Layout,
    image: Image,
}

impl Origin {
    /// Finds the image by its digest in the layout that it came from.
    pub fn of(bundle: &Bundle) -> Result<Self, Error> {
        let missing = || Error::NoImage(bundle.path().to_owned());
        let layout = bundle.annotation(annotation::LAYOUT).ok_or_else(missing)?;
        let digest = bundle.annotation(annotation::DIGEST).ok_or_else(missing)?;
        let digest = image_tool::address::digest::parse(digest).map_err(|error| Error::Address(error.into()))?;
        let name = bundle.annotation(annotation::IMAGE).and_then(|text| text.split('@').next());
        let reference: Option<RefName> = name.and_then(|text| text.parse().ok());
        let address = Address::new(layout, reference, Some(digest)).map_err(Error::Address)?;
        let layout = Layout::of(&address)?;
        let image = layout.image(&address, &Platform::host())?;
        Ok(Self { layout, image })
    }
}

/// The writable layer of an overlay.
fn upper(bundle: &Bundle) -> Result<Root, Error> {
    quota::mount(bundle.path())?;
    Ok(Root::open(bundle.upper())?)
}

/// Writes the changes as a layer's tar archive: the writable layer of an overlay, or how a plain tree differs from its image.
pub fn write<W: Write>(bundle: &Bundle, output: W, options: &diff::Options) -> Result<W, Error> {
    let options = &diff::Options { owners: userns::owners(bundle), ..options.clone() };
    if bundle.layers()?.is_some() {
        return Ok(diff::upper(&upper(bundle)?, output, options)?);
    }
    let origin = Origin::of(bundle)?;
    let folder = tempfile::Builder::new().prefix(".diff-").tempdir_in(bundle.path());
    let folder = folder.during("create a folder in", bundle.path())?;
    let sources = Source::of_image(&origin.layout, &origin.image)?;
    cache::apply_all(&sources, Root::open(folder.path())?, apply::Options::tree())?;
    let mut options = options.clone();
    options.exclude.extend(unchanged(bundle)?);
    Ok(diff::trees(&Root::open(folder.path())?, &Root::open(bundle.rootfs())?, output, &options)?)
}

/// The paths that were changed, with docker's letters: `A` for added, `C` for changed, `D` for deleted. Parents come first.
pub fn names(home: &Home, bundle: &Bundle) -> Result<Vec<(char, PathBuf)>, Error> {
    let mut found = Vec::new();
    if bundle.layers()?.is_some() {
        let below = Lower::of(home, bundle);
        upper_names(&upper(bundle)?, below.as_ref(), Path::new(""), &mut found)?;
        return Ok(found);
    }
    let origin = Origin::of(bundle)?;
    let folder = tempfile::Builder::new().prefix(".diff-").tempdir_in(bundle.path());
    let folder = folder.during("create a folder in", bundle.path())?;
    let sources = Source::of_image(&origin.layout, &origin.image)?;
    cache::apply_all(&sources, Root::open(folder.path())?, apply::Options::tree())?;
    let options = diff::Options { exclude: unchanged(bundle)?, ..diff::Options::default() };
    let lower = Root::open(folder.path())?;
    let archive = diff::trees(&lower, &Root::open(bundle.rootfs())?, Vec::new(), &options)?;
    let mut reader = Reader::new(archive.as_slice());
    while let Some(entry) = reader.next_entry()? {
        let path = beneath::clean(&entry.path)?;
        match path.file_name().and_then(whiteout::parse) {
            Some(Whiteout::Of(name)) => found.push(('D', path.with_file_name(name))),
            _ if path.as_os_str().is_empty() => {}
            _ => found.push((if lower.lstat(&path)?.is_some() { 'C' } else { 'A' }, path)),
        }
    }
    Ok(found)
}

/// The names in the upper directory of an overlay. Where the layers below are not at hand, overlayfs's own mark for what it has copied up
/// from a lower one (`overlay.origin`) tells what was there; it stays on a file that is moved, so it says too much.
fn upper_names(
    upper: &Root,
    below: Option<&Lower>,
    folder: &Path,
    found: &mut Vec<(char, PathBuf)>,
) -> Result<(), Error> {
    for name in upper.names(folder)? {
        let path = folder.join(&name);
        let Some(stat) = upper.lstat(&path)? else { continue };
        if lower::is_whiteout(&stat) {
            found.push(('D', path));
            continue;
        }
        let was = match below {
            Some(below) => below.lstat(&path)?.is_some(),
            None => apply::has_overlay_mark(&upper.xattrs(&path)?, ".origin", None),
        };
        found.push((if was { 'C' } else { 'A' }, path.clone()));
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            upper_names(upper, below, &path, found)?;
            // A directory that was removed and made anew hides what was in it.
            if let Some(below) = below.filter(|_| was)
                && lower::is_opaque(upper, &path)?
            {
                for name in below.names(&path)? {
                    let gone = path.join(name);
                    if upper.lstat(&gone)?.is_none() {
                        found.push(('D', gone));
                    }
                }
            }
        }
    }
    Ok(())
}

/// What was created in a plain tree beside the image's files and is still unchanged.
fn unchanged(bundle: &Bundle) -> Result<BTreeSet<PathBuf>, Error> {
    let file = bundle.path().join(layers::MADE);
    let text = match fs::read_to_string(&file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
        Err(error) => Err(error).during("read", &file)?,
    };
    let rootfs = Root::open(bundle.rootfs())?;
    Ok(text.lines().map(PathBuf::from).filter(|path| mount_point::is_unchanged(&rootfs, path)).collect())
}

/// What a commit records and changes beside the new layer.
#[derive(Clone, Debug, Default)]
pub struct Commit {
    /// The author for the history.
    pub author: Option<String>,
    /// The message for the history.
    pub message: Option<String>,
    /// The time of the image in seconds since 1970.
    pub created: i64,
    /// Changes of the config.
    pub change: Option<Change>,
}

/// What the container was given in place of what its image has; absent for a bundle that another tool made.
fn given(bundle: &Bundle) -> Option<Change> {
    let settings = serde_json::from_str(bundle.annotation(annotation::SETTINGS)?).ok()?;
    let labels = bundle.annotation(annotation::LABELS).and_then(|json| serde_json::from_str(json).ok());
    Some(settings::change(&settings, labels.unwrap_or_default()))
}

/// Adds the changes as a layer to the bundle's image, publishes the new image at `address` and returns its address.
pub fn commit(bundle: &Bundle, address: &Address, commit: &Commit) -> Result<Address, Error> {
    let origin = Origin::of(bundle)?;
    let target = Layout::create(&address.layout_path())?;
    let writer = target.writer()?.keeping_former(caller().is_some());
    // The blobs of the image are linked or copied if the layout lacks them.
    for (descriptor, _) in origin.image.layers() {
        writer.take(&origin.layout, descriptor)?;
    }
    let packer = Packer::new(&writer, Compression::Gzip)?;
    let packer = write(bundle, packer, &diff::Options::default())?;
    let (descriptor, diff_id) = packer.finish()?;
    let layer = append::Layer { descriptor, diff_id, latest: commit.created };
    let words: Vec<String> =
        bundle.annotation(annotation::COMMAND).and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default();
    let history = History {
        created_by: words.join(" "),
        comment: commit.message.clone(),
        author: commit.author.clone(),
        created: commit.created,
    };
    let mut descriptor = append::append(&origin.image, &writer, &layer, &history)?;
    // The author is that of the image too.
    let author = commit.author.clone().map(|author| Change { author: Some(author), ..Change::default() });
    let mut change = commit.change.clone();
    // As in a Dockerfile, the command belongs to the entrypoint before.
    if let Some(Change { entrypoint: Some(entrypoint), cmd: cmd @ None, .. }) = &mut change
        && !entrypoint.is_empty()
    {
        *cmd = Some(Vec::new());
    }
    if let Some(change) = given(bundle).into_iter().chain(author).chain(change).reduce(Change::and) {
        descriptor = edit::configure(&target.image_of(&descriptor)?, &writer, (&change, &Note::default()), None)?;
    }
    let digest = descriptor.digest().clone();
    let new = match address.reference() {
        Some(reference) => {
            writer.publish(reference, descriptor.clone())?;
            journal::record_image(&target, "tag", &descriptor, Some(reference.as_str()));
            address.with_reference(reference.clone())
        }
        None => {
            target.update_index(|index| {
                index.add(&descriptor);
                Ok(())
            })?;
            address.clone()
        }
    };
    Ok(new.with_digest(&digest))
}
