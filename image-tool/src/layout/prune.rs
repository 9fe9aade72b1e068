//! Garbage collection: removing blobs that are not reachable from `index.json`.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use super::blob::PARTIAL;
use super::{Error, Layout, reach};
use crate::address::digest;
use crate::beneath::Unfinished;
use crate::error::{During, Io};

/// How garbage is collected.
#[derive(Debug, Clone, Copy, Default)]
pub struct Prune {
    /// Blobs that have changed within this time are kept.
    pub age: Duration,
    /// Whether nothing is removed.
    pub is_dry: bool,
    /// Whether to wait for processes that are writing.
    pub waits: bool,
}

/// A file that garbage collection removed or would remove.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Garbage {
    /// The path, relative to the layout.
    pub path: PathBuf,
    /// The digest, if it is a blob; interrupted downloads and leftovers of killed writers have none.
    pub digest: Option<digest::Digest>,
    /// The size in bytes.
    pub size: u64,
}

impl Layout {
    /// Removes every blob that is not reachable and old enough. The lock that writers share is held exclusively, so blobs that are
    /// not yet in `index.json` are safe. Other programs do not know this lock; only the age protects theirs.
    ///
    /// # Errors
    /// [`Error::Busy`] if another process is writing, unless it is waited for. If a manifest cannot be read, nothing is removed, since what it
    /// refers to is unknown.
    pub fn prune(&self, order: Prune) -> Result<Vec<Garbage>, Error> {
        let Prune { age, is_dry, waits } = order;
        let _lock = if waits { self.await_blobs() } else { self.lock_blobs() }?;
        let reachable = self.reachable_blobs()?;
        let mut garbage = Vec::new();
        for folder in ["blobs/sha256", "blobs/sha512"] {
            self.collect(folder, age, &mut garbage, |name| {
                let algorithm = folder.trim_start_matches("blobs/");
                match digest::parse(&format!("{algorithm}:{name}")) {
                    Ok(digest) => (!reach::holds(&reachable, &digest)).then_some(Some(digest)),
                    // Files that are not blobs are not touched.
                    Err(_) => None,
                }
            })?;
        }
        self.collect("blobs", age, &mut garbage, |name| name.starts_with(".new-").then_some(None))?;
        self.collect(PARTIAL, age, &mut garbage, |_| Some(None))?;
        // Whoever wrote one would hold this lock.
        let _index = self.lock_index()?;
        self.collect("", age, &mut garbage, |name| super::is_temporary(name).then_some(None))?;
        if !is_dry {
            for Garbage { path, .. } in &garbage {
                let path = self.path().join(path);
                fs::remove_file(&path).during("remove", path)?;
            }
            self.drop_partial_folder();
            Unfinished::sweep(super::parent_of(self.path()), super::PREFIX);
        }
        Ok(garbage)
    }

    fn collect(
        &self,
        folder: &str,
        age: Duration,
        garbage: &mut Vec<Garbage>,
        judge: impl Fn(&str) -> Option<Option<digest::Digest>>,
    ) -> Result<(), Error> {
        let path = self.path().join(folder);
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(Io::new("read", path, error).into()),
        };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry.during("read", &path)?;
            let metadata = match fs::symlink_metadata(entry.path()) {
                Ok(metadata) => metadata,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(Io::new("stat", entry.path(), error).into()),
            };
            let name = entry.file_name();
            let Some(digest) = name.to_str().and_then(&judge).filter(|_| !metadata.is_dir()) else { continue };
            let changed = metadata.modified().during("stat", entry.path())?;
            if age.is_zero() || SystemTime::now().duration_since(changed).is_ok_and(|elapsed| elapsed >= age) {
                found.push(Garbage { path: PathBuf::from(folder).join(name), digest, size: metadata.len() });
            }
        }
        found.sort_by(|a, b| a.path.cmp(&b.path));
        garbage.append(&mut found);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use oci_spec::image::MediaType;

    use super::*;

    #[test]
    fn what_no_entry_leads_to_is_removed_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::create(&folder.path().join("images")).unwrap();
        let writer = layout.writer().unwrap();
        let config = writer.put(MediaType::ImageConfig, b"{}").unwrap();
        let layer = writer.put(MediaType::ImageLayer, b"layer").unwrap();
        let manifest = serde_json::json!({"schemaVersion": 2, "config": config, "layers": [layer]}).to_string();
        let manifest = writer.put(MediaType::ImageManifest, manifest.as_bytes()).unwrap();
        let absent = serde_json::json!({"mediaType": MediaType::ImageManifest.to_string(), "size": 3, "digest": digest::sha256(b"???").to_string()});
        let index = serde_json::json!({"schemaVersion": 2, "manifests": [manifest, absent]}).to_string();
        let index = writer.put(MediaType::ImageIndex, index.as_bytes()).unwrap();
        writer.publish(&"x".parse().unwrap(), index).unwrap();
        let dry = Prune { is_dry: true, ..Prune::default() };
        let orphan = writer.put(MediaType::ImageLayer, b"orphan").unwrap();
        assert!(matches!(layout.prune(dry), Err(Error::Busy { .. })), "a writer is at work");
        drop(writer);
        assert!(
            layout.prune(Prune { age: Duration::from_secs(3600), ..Prune::default() }).unwrap().is_empty(),
            "it is young"
        );
        let would = layout.prune(dry).unwrap();
        assert_eq!(would.iter().map(|garbage| garbage.digest.as_ref().unwrap()).collect::<Vec<_>>(), [orphan.digest()]);
        assert!(layout.has(&orphan));
        assert_eq!(layout.prune(Prune::default()).unwrap(), would);
        assert!(!layout.has(&orphan) && layout.has(&layer) && layout.has(&config));
        fs::write(layout.path().join(Layout::blob_path(manifest.digest())), "x").unwrap();
        assert!(layout.prune(Prune::default()).is_err(), "a broken manifest leads nobody knows where");
        assert!(layout.has(&layer));
    }
}
