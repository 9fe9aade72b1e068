//! The layers of an image as lower directories of an overlay: one EROFS image, or a directory for each layer.
//!
//! Layers whose archives are stored are merged into an image ([`super::merge`]), `layers/images/KEY.erofs`, whose name is the digest of
//! their diff IDs in order. It is mounted once, at `layers/images/KEY`, and shared by everybody: every mount has a page cache of its
//! own, so a thousand containers with a mount each would read every file a thousand times. Whoever goes last unmounts it.
//!
//! Layers that are unpacked stay in use: those of an older data folder, and those that build-tool made of an upper directory. They lie
//! above the image, so the layers from the first unpacked one on are taken as directories. Where no image can be mounted, all are.
//!
//! **Who uses a mount** is known to the kernel alone, and survives no crash in a wrong state: the overlays in /proc/self/mountinfo
//! name their lower directories. While a mount is being made, used or removed, flock(2) is held on `KEY.state`.
//!
//! **What is trusted.** The state records size and digest of the image, which is hashed before every mount; so are the archives
//! unless they are known to be unchanged ([`super::cache::Archive`]). A damaged image is made anew from the archives.
//!
//! [`stock`] tells what is stored, and removes what nobody needs.

pub mod stock;

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

use super::cache::{self, Archive, Cache, Claim, Layer, Source, read_state, write_state};
use super::limit::Limits;
use super::{erofs, merge, mount, parallel};
use crate::address::digest::{self, Digest, Hashed};
use crate::beneath::Unfinished;
use crate::error::{During, Io};
use crate::layout::{Image, Layout};

/// Why the layers of an image cannot be had as directories.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A layer is corrupt, or could not be stored.
    #[error(transparent)]
    Cache(#[from] cache::Error),
    /// The layers cannot be merged.
    #[error(transparent)]
    Merge(#[from] merge::Error),
    /// The image cannot be mounted.
    #[error(transparent)]
    Mount(#[from] mount::Error),
    /// A system call on the cache's own files failed.
    #[error(transparent)]
    Io(#[from] Io),
}

impl Error {
    /// Whether unpacked layers may do where an image does not: the fault is not the layers'.
    fn is_refusal(&self) -> bool {
        match self {
            Self::Mount(mount::Error::Io(_) | mount::Error::Busy(_)) | Self::Cache(_) | Self::Io(_) => false,
            Self::Mount(_) => true,
            Self::Merge(merge::Error::Index(error)) => {
                matches!(error, erofs::Error::Unfit { .. } | erofs::Error::TooMany { .. })
            }
            Self::Merge(_) => false,
        }
    }
}

/// The layers of an image, as directories. They stay as long as this value exists, and then as long as an overlay lies on them.
#[derive(Debug)]
pub struct Stack {
    image: Option<Shared>,
    /// How many layers the image holds.
    merged: usize,
    layers: Vec<Layer>,
    note: Option<String>,
}

impl Stack {
    /// The layers of an image; stored and mounted, or unpacked, if necessary.
    ///
    /// # Errors
    /// [`Error`].
    pub fn of_image(cache: &Cache, layout: &Layout, image: &Image) -> Result<Self, Error> {
        let diff_ids = diff_ids(image)?;
        let descriptors = image.manifest().layers();
        Self::new(cache, &diff_ids, diff_ids.len(), &|number| {
            let descriptor = descriptors[number].clone();
            Ok(Source { blob: layout.open_blob(&descriptor)?, descriptor, diff_id: diff_ids[number].clone() })
        })
    }

    /// Layers by their diff IDs, the lowest first, of which not more than `most` are to be in an image. `source` opens the blob of the
    /// layer of a number, if it is needed.
    ///
    /// # Errors
    /// [`Error`].
    pub fn new(cache: &Cache, diff_ids: &[Digest], most: usize, source: &Open<'_>) -> Result<Self, Error> {
        let (mut image, mut note) = (None, None);
        let merged = loop {
            let below = diff_ids.iter().take(most).take_while(|diff_id| !cache.is_unpacked(diff_id)).count();
            if below == 0 {
                break 0;
            }
            match Shared::new(cache, &diff_ids[..below], source) {
                Ok(shared) => {
                    image = Some(shared);
                    break below;
                }
                // By somebody else meanwhile.
                Err(Error::Cache(cache::Error::Unpacked { .. })) => {}
                Err(error) if error.is_refusal() => {
                    note = Some(said(&error));
                    break 0;
                }
                Err(error) => return Err(error),
            }
        };
        let numbers: Vec<usize> = (merged..diff_ids.len()).collect();
        let layers = parallel::map(&numbers, |number| match cache.get(&diff_ids[*number])? {
            Some(layer) => Ok(layer),
            None => cache.layer_of(&diff_ids[*number], || source(*number)?.start_within(cache.limits())),
        })?;
        let stack = Self { image, merged, layers, note };
        tracing::info!("{}", stack.description());
        Ok(stack)
    }

    /// How many layers there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.merged + self.layers.len()
    }

    /// Whether there is no layer.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds an unpacked layer on top.
    pub fn push(&mut self, layer: Layer) {
        self.layers.push(layer);
    }

    /// The directories, the lowest first.
    #[must_use]
    pub fn lower(&self) -> Vec<PathBuf> {
        let image = self.image.iter().map(|image| image.path.clone());
        image.chain(self.layers.iter().map(|layer| layer.path().to_owned())).collect()
    }

    /// The folder of init layers, docker's word for what containers need on an image and all need alike; removed with the image. It need
    /// not be there. `None` if there are more layers than the image: what they need depends on these too.
    #[must_use]
    pub fn init_layers(&self) -> Option<PathBuf> {
        self.image.as_ref().filter(|_| self.layers.is_empty()).map(|image| init_layers(&image.path))
    }

    /// Why the layers are unpacked although they might have been mounted.
    #[must_use]
    pub fn note(&self) -> Option<&str> {
        self.note.as_deref()
    }

    /// Leaves the layers to an overlay that lies on them now: who unmounts it sees whether it was the last.
    ///
    /// Dropping the stack would look for that overlay among all mounts of the machine.
    pub fn leave(self) {
        if let Some(mut image) = self.image {
            image.lock = None;
        }
    }

    fn description(&self) -> String {
        let unpacked = match self.layers.len() {
            1 => "1 unpacked layer".to_owned(),
            count => format!("{count} unpacked layers"),
        };
        match (&self.image, &self.note) {
            (Some(image), _) if self.layers.is_empty() => format!("using the EROFS image {}", image.path.display()),
            (Some(image), _) => format!("using the EROFS image {} below {unpacked}", image.path.display()),
            (None, Some(note)) => format!("using {unpacked} instead of an EROFS image: {note}"),
            (None, None) => format!("using {unpacked}"),
        }
    }
}

fn diff_ids(image: &Image) -> Result<Vec<Digest>, cache::Error> {
    image.layers().map(|(_, diff_id)| digest::parse(diff_id).map_err(cache::Error::DiffId)).collect()
}

/// Whether an image needs only to be mounted, if it is not.
#[must_use]
pub fn is_stored(cache: &Cache, image: &Image) -> bool {
    diff_ids(image).is_ok_and(|diff_ids| Merged::new(cache, &diff_ids).path().exists())
}

/// Stores layers before an image of them is asked for.
#[derive(Debug, Clone)]
pub struct Store {
    cache: Cache,
    is_mounted: bool,
}

impl Store {
    /// For layers that will be mounted or, where that is impossible, unpacked.
    ///
    /// # Errors
    /// [`Error::Mount`] if nobody would use them: a user's containers are copies of their images.
    pub fn new(cache: Cache) -> Result<Self, Error> {
        let folder = cache.folder().join(IMAGES);
        let is_root = rustix::process::geteuid().is_root();
        let is_mounted = match is_root.then(|| cache.make(&folder)).transpose()?.map(|()| mount::probe(&folder)) {
            None => return Err(mount::Error::NotPermitted.into()),
            Some(Ok(())) => true,
            Some(Err(error)) => {
                let error = Error::from(error);
                if !error.is_refusal() {
                    return Err(error);
                }
                tracing::info!("unpacking layers: {}", said(&error));
                false
            }
        };
        Ok(Self { cache, is_mounted })
    }

    /// The limits of what is stored.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.cache.limits()
    }

    /// Stores a layer, unless it is. `start` begins to read its blob.
    ///
    /// # Errors
    /// [`Error::Cache`].
    pub fn put(
        &self,
        diff_id: &Digest,
        start: impl FnOnce() -> Result<cache::Started, cache::Error>,
    ) -> Result<(), Error> {
        if !self.is_mounted {
            self.cache.layer_of(diff_id, start)?;
            return Ok(());
        }
        match self.cache.archive(diff_id, start) {
            Ok(_) | Err(cache::Error::Unpacked { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Opens the blob of the layer of a number.
pub type Open<'a> = dyn Fn(usize) -> Result<Source, cache::Error> + Sync + 'a;

/// An error with its reasons, in one line.
fn said(error: &Error) -> String {
    let mut text = error.to_string();
    let mut next = std::error::Error::source(error);
    while let Some(reason) = next {
        text = format!("{text}: {reason}");
        next = reason.source();
    }
    text
}

/// Unmounts the images that no overlay of this mount namespace lies on and nobody is about to use. What cannot be unmounted
/// is left to the next.
pub fn sweep(cache: &Cache) {
    let folder = cache.folder().join(IMAGES);
    for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
        // Folders that others have not completed are none of ours.
        let is_key = |name: &str| digest::parse(&format!("sha256:{name}")).is_ok();
        if entry.file_name().to_str().is_some_and(is_key) {
            release(cache, &entry.path());
        }
    }
}

/// Unmounts one image, if nobody uses it.
fn release(cache: &Cache, place: &Path) {
    let Ok(lock) = cache.lock_file(&place.with_extension("state"), FlockOperation::NonBlockingLockExclusive) else {
        return;
    };
    if !mount::is_mounted(place) || (!mount::is_under_overlay(place) && mount::unmount(place, false).is_ok()) {
        // In another mount namespace it may be a mount point.
        let _ = fs::remove_dir(place);
    }
    drop(lock);
}

/// Mounts the merged layers of an image at any place, for this caller alone.
///
/// # Errors
/// [`Error`].
pub fn mount_image(cache: &Cache, layout: &Layout, image: &Image, target: &Path) -> Result<(), Error> {
    let sources = Source::of_image(layout, image)?;
    let diff_ids: Vec<Digest> = sources.iter().map(|source| source.diff_id.clone()).collect();
    let merged = Merged::new(cache, &diff_ids);
    let lock = cache.lock_file(&merged.state(), FlockOperation::LockExclusive)?;
    merged.make(cache, &diff_ids, &|number| sources[number].again(), lock)?.attach(target)?;
    Ok(())
}

/// The folder of merged images in the cache.
const IMAGES: &str = "images";
/// How the names of folders begin that are not complete.
const TEMPORARY: &str = ".image-";
/// Beside the diff IDs, what the bytes of an image depend on.
const FORMAT: &str = "erofs 1\n";

/// The folder of init layers of the image that is mounted at `place`.
fn init_layers(place: &Path) -> PathBuf {
    place.with_extension("init")
}

/// What the image of these layers is called by.
fn key(diff_ids: &[Digest]) -> Digest {
    let names: String = diff_ids.iter().map(|diff_id| format!("{diff_id}\n")).collect();
    digest::sha256(format!("{FORMAT}{names}").as_bytes())
}

/// An image that is mounted for all.
#[derive(Debug)]
struct Shared {
    path: PathBuf,
    cache: Cache,
    /// Held shared; given up before the mount is. Without it, the mount is somebody else's.
    lock: Option<File>,
}

impl Shared {
    fn new(cache: &Cache, diff_ids: &[Digest], source: &Open<'_>) -> Result<Self, Error> {
        let merged = Merged::new(cache, diff_ids);
        let state = merged.state();
        let found = |lock| Ok(mount::is_erofs(&merged.place).then_some(lock));
        let lock = loop {
            match cache.claim(&state, found)? {
                Claim::Found(lock) => break lock,
                Claim::Missing(lock) => merged.mount(cache, diff_ids, source, lock)?,
            }
        };
        Ok(Self { path: merged.place, cache: cache.clone(), lock: Some(lock) })
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if self.lock.take().is_some() {
            release(&self.cache, &self.path);
        }
    }
}

/// The files of a merged image.
struct Merged {
    key: Digest,
    /// Where it is mounted for all.
    place: PathBuf,
}

impl Merged {
    /// The image of layers, which need not be there.
    fn new(cache: &Cache, diff_ids: &[Digest]) -> Self {
        Self::of_key(cache, key(diff_ids))
    }

    fn of_key(cache: &Cache, key: Digest) -> Self {
        let place = cache.folder().join(IMAGES).join(key.digest());
        Self { key, place }
    }

    fn state(&self) -> PathBuf {
        self.place.with_extension("state")
    }

    fn path(&self) -> PathBuf {
        self.place.with_extension("erofs")
    }

    /// Mounts the image for all, unless it is. `lock` is that of its state, held exclusively, and given up at the end: flock(2) makes no
    /// exclusive lock a shared one without a moment in which others can unmount the image again.
    fn mount(&self, cache: &Cache, diff_ids: &[Digest], source: &Open<'_>, lock: File) -> Result<(), Error> {
        if mount::is_erofs(&self.place) {
            return Ok(());
        }
        let state = self.state();
        let held = lock.try_clone().during("open", &state)?;
        let mount = self.make(cache, diff_ids, source, lock)?;
        match fs::create_dir(&self.place) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            other => other.during("create", &self.place)?,
        }
        mount.attach(&self.place)?;
        drop(held);
        Ok(())
    }

    /// Mounts the image, which is made before if necessary. `lock` is that of its state, held exclusively.
    fn make(
        &self,
        cache: &Cache,
        diff_ids: &[Digest],
        source: &Open<'_>,
        mut lock: File,
    ) -> Result<mount::Mount, Error> {
        let path = self.path();
        let stored = found(&path, &mut lock).during("read", &path)?;
        if stored.is_none() {
            // Nothing is stored for an image that cannot be mounted.
            mount::probe(self.place.parent().expect("the image is in a folder"))?;
        }
        let numbers: Vec<usize> = (0..diff_ids.len()).collect();
        let archives = parallel::map(&numbers, |number| {
            cache.archive(&diff_ids[*number], || source(*number)?.start_within(cache.limits()))
        })?;
        let file = match stored {
            Some(file) => file,
            None => self.write(&archives, cache.limits(), &mut lock)?,
        };
        let devices: io::Result<Vec<File>> = archives.iter().map(|archive| archive.file().try_clone()).collect();
        Ok(mount::Mount::new(&path, &file, &devices.during("open", &path)?)?)
    }

    /// Writes the image and its state.
    fn write(&self, archives: &[Archive], limits: Limits, lock: &mut File) -> Result<File, Error> {
        let path = self.path();
        let folder = path.parent().expect("the image is in a folder");
        Unfinished::sweep(folder, TEMPORARY);
        let unfinished = Unfinished::create(folder, TEMPORARY, 0o700)?;
        let new = unfinished.path().join("image");
        let file = OpenOptions::new().write(true).create_new(true).mode(0o400).open(&new).during("create", &new)?;
        let parts: Vec<merge::Archive<'_>> = archives
            .iter()
            .map(|archive| merge::Archive { diff_id: archive.diff_id(), file: archive.file(), size: archive.size() })
            .collect();
        let mut uuid = [0; 16];
        for (byte, pair) in uuid.iter_mut().zip(self.key.digest().as_bytes().chunks(2)) {
            let text = str::from_utf8(pair).unwrap_or_default();
            *byte = u8::from_str_radix(text, 16).unwrap_or_default();
        }
        let mut output = Hashed::new(BufWriter::with_capacity(64 * 1024, file));
        merge::index(&parts, uuid, &mut output, &merge::Options { limits, ..merge::Options::default() })?;
        output.flush().during("write", &new)?;
        let (_, digest, size) = output.finish();
        fs::rename(&new, &path).during("rename", &path)?;
        let text = format!("image {size} {digest}\n");
        write_state(lock, &text).during("write", self.state())?;
        Ok(File::open(&path).during("open", &path)?)
    }
}

/// The image, if it is as its state says.
fn found(path: &Path, lock: &mut File) -> io::Result<Option<File>> {
    let state = read_state(lock)?;
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let size = file.metadata()?.len();
    if !state.starts_with(&format!("image {size} ")) {
        return Ok(None);
    }
    let mut hashed = Hashed::new(io::sink());
    // What cannot be read is made anew like what is damaged.
    let is_whole = io::copy(&mut file, &mut hashed).is_ok() && state == format!("image {size} {}\n", hashed.finish().1);
    Ok(is_whole.then_some(file))
}
