//! What is stored of images' layers, and removing what nobody needs: layers, and the images that were merged of them.
//!
//! Who needs what is for the caller to say, as lists of diff IDs: those of images and of bundles. What is in use is never removed,
//! whether it is on a list or not.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use rustix::fs::FlockOperation;

use super::{Error, IMAGES, Merged, TEMPORARY, init_layers, release};
use crate::address::digest::{self, Digest};
use crate::beneath::Unfinished;
use crate::error::During;
use crate::layer::cache::Cache;
use crate::layer::{mount, size};

/// How something is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A layer, as its plain archive.
    Archive,
    /// A layer, unpacked.
    Folder,
    /// The merged names and attributes of layers, which refers to their archives.
    Image,
}

impl Form {
    /// A word for people and for JSON.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Archive => "tar",
            Self::Folder => "folder",
            Self::Image => "erofs",
        }
    }
}

/// Something that is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// How.
    pub form: Form,
    /// The diff ID of a layer, the key of an image.
    pub digest: Digest,
    /// How many bytes it takes.
    pub size: u64,
    /// On how many lists it is.
    pub users: usize,
}

/// What is needed.
#[derive(Debug, Default)]
pub struct Wanted {
    layers: HashMap<String, usize>,
    images: HashMap<String, usize>,
}

impl Wanted {
    /// Adds the layers of something, the lowest first. The images of the lowest ones may be needed too, with unpacked layers above.
    pub fn add(&mut self, diff_ids: &[Digest]) {
        let each: HashSet<&str> = diff_ids.iter().map(AsRef::as_ref).collect();
        for diff_id in each {
            *self.layers.entry(diff_id.to_owned()).or_default() += 1;
        }
        for count in 1..=diff_ids.len() {
            *self.images.entry(super::key(&diff_ids[..count]).to_string()).or_default() += 1;
        }
    }

    /// On how many of these lists something is.
    #[must_use]
    pub fn users(&self, piece: &Piece) -> usize {
        self.count(piece.form, &piece.digest)
    }

    fn count(&self, form: Form, digest: &Digest) -> usize {
        let all = if form == Form::Image { &self.images } else { &self.layers };
        all.get(digest.as_ref()).copied().unwrap_or_default()
    }
}

/// The size of a layer that is stored, and how it is; `None` if it is not.
#[must_use]
pub fn layer(cache: &Cache, diff_id: &Digest) -> Option<(Form, u64)> {
    let path = cache.path(diff_id);
    let found = fs::symlink_metadata(&path).ok()?;
    if found.is_dir() { Some((Form::Folder, size::folder(&path))) } else { Some((Form::Archive, found.len())) }
}

/// All that is stored, sorted.
///
/// # Errors
/// [`Error`].
pub fn list(cache: &Cache, wanted: &Wanted) -> Result<Vec<Piece>, Error> {
    let piece = |(form, size), digest: Digest| {
        let users = wanted.count(form, &digest);
        Piece { form, digest, size, users }
    };
    let layers = cache.list()?.into_iter();
    let mut all: Vec<Piece> = layers.filter_map(|diff_id| Some(piece(layer(cache, &diff_id)?, diff_id))).collect();
    for key in keys(cache) {
        let found = fs::symlink_metadata(Merged::of_key(cache, key.clone()).path());
        all.extend(found.ok().map(|found| piece((Form::Image, found.len()), key)));
    }
    Ok(all)
}

/// The keys of all images of which there is a file.
fn keys(cache: &Cache) -> Vec<Digest> {
    let entries = fs::read_dir(cache.folder().join(IMAGES)).into_iter().flatten().flatten();
    let stem = |name: &Path| digest::parse(&format!("sha256:{}", name.file_stem()?.to_str()?)).ok();
    let mut keys: Vec<Digest> = entries.filter_map(|entry| stem(Path::new(&entry.file_name()))).collect();
    keys.sort_by(|a, b| a.as_ref().cmp(b.as_ref()));
    keys.dedup();
    keys
}

/// Removes what is on no list and not in use, and what killed processes left. Returns what was removed.
///
/// # Errors
/// [`Error`].
pub fn prune(cache: &Cache, wanted: &Wanted) -> Result<Vec<Piece>, Error> {
    let mut idle = list(cache, wanted)?;
    idle.retain(|piece| piece.users == 0);
    let layers: HashSet<String> =
        cache.prune(|diff_id| wanted.count(Form::Archive, diff_id) > 0)?.iter().map(ToString::to_string).collect();
    let mut images = HashSet::new();
    for key in keys(cache).into_iter().filter(|key| wanted.count(Form::Image, key) == 0) {
        if remove(cache, &Merged::of_key(cache, key.clone()))? {
            images.insert(key.to_string());
        }
    }
    Unfinished::sweep(&cache.folder().join(IMAGES), TEMPORARY);
    idle.retain(|piece| if piece.form == Form::Image { &images } else { &layers }.contains(piece.digest.as_ref()));
    Ok(idle)
}

/// Removes an image, unless it is in use.
fn remove(cache: &Cache, merged: &Merged) -> Result<bool, Error> {
    release(cache, &merged.place);
    let Ok(lock) = cache.lock_file(&merged.state(), FlockOperation::NonBlockingLockExclusive) else {
        return Ok(false);
    };
    if mount::is_mounted(&merged.place) {
        return Ok(false);
    }
    match fs::remove_dir_all(init_layers(&merged.place)) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error).during("remove", &merged.place)?,
        _ => {}
    }
    // The state goes last: whoever waits for its lock notices that it is gone.
    for path in [merged.path(), merged.state()] {
        match fs::remove_file(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            other => other.during("remove", path)?,
        }
    }
    drop(lock);
    Ok(true)
}
