//! Archives of docker 1.10 to 24: `manifest.json` names a config and the files of the layers.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use oci_spec::image::{Descriptor, MediaType};
use serde_json::{Value, json};

use super::Loaded;
use super::store::{Archive, Content, malformed};
use crate::address::RefName;
use crate::address::digest::{Digest, Hasher};
use crate::address::name::short;
use crate::archive::Error;
use crate::layer::{Compression, Decoder};

impl Archive<'_> {
    /// Loads the images of `manifest.json`.
    pub(super) fn docker(&mut self) -> Result<Vec<Loaded>, Error> {
        let manifest = Path::new("manifest.json");
        let items: Vec<Value> = self.json(manifest)?;
        let mut loaded = Vec::new();
        for item in &items {
            let text = |value: &Value| {
                value.as_str().map(PathBuf::from).ok_or_else(|| malformed(manifest, "a path is missing"))
            };
            let config_path = text(&item["Config"])?;
            let layers = item["Layers"].as_array().into_iter().flatten().map(text).collect::<Result<Vec<_>, _>>()?;
            let config: Value = self.json(&config_path)?;
            let diff_ids: Vec<&str> =
                config["rootfs"]["diff_ids"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            if diff_ids.len() != layers.len() {
                let reason = format!("it has {} diff IDs, but the image has {} layers", diff_ids.len(), layers.len());
                return Err(malformed(&config_path, reason));
            }
            let mut descriptors = Vec::with_capacity(layers.len());
            for (path, diff_id) in layers.iter().zip(&diff_ids) {
                descriptors.push(self.layer(path, Some(diff_id))?.0);
            }
            let config = self.commit(&config_path, MediaType::ImageConfig)?;
            let descriptor = self.manifest(&config, &descriptors)?;
            let names: Vec<RefName> = item["RepoTags"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|tag| short(tag.as_str()?).parse().ok())
                .collect();
            if names.is_empty() {
                loaded.push(Loaded { name: None, descriptor: descriptor.clone() });
            }
            loaded.extend(names.into_iter().map(|name| Loaded { name: Some(name), descriptor: descriptor.clone() }));
        }
        Ok(loaded)
    }

    /// Commits the file of a layer as a blob; returns the digest of the archive in it, which must be `expected`.
    pub(super) fn layer(&mut self, path: &Path, expected: Option<&str>) -> Result<(Descriptor, String), Error> {
        let writer = self.writer;
        let (found, stored) = self.file(path)?;
        if stored.compression != Compression::None && stored.diff_id.is_none() {
            let descriptor = Descriptor::new(MediaType::ImageLayer, stored.size, stored.digest.clone());
            let compression = stored.compression;
            let hash = |reader: &mut dyn Read| -> io::Result<Digest> {
                let mut decoder = Decoder::new(reader, compression).map_err(io::Error::other)?;
                let mut hasher = Hasher::sha256();
                let mut buffer = vec![0; 256 * 1024];
                loop {
                    match decoder.read(&mut buffer) {
                        Ok(0) => return Ok(hasher.finish()),
                        Ok(count) => hasher.update(&buffer[..count]),
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                        Err(error) => return Err(error),
                    }
                }
            };
            let digest = match &mut stored.content {
                Content::Memory(bytes) => hash(&mut &bytes[..]),
                Content::Blob(Some(blob)) => blob.read_back(hash),
                Content::Blob(None) => hash(&mut writer.layout().blob(&descriptor)?),
            };
            stored.diff_id = Some(digest.map_err(|error| malformed(&found, error))?);
        }
        let actual = stored.diff_id.as_ref().unwrap_or(&stored.digest).to_string();
        let media_type = stored.compression.media_type();
        match expected {
            Some(expected) if expected != actual => {
                Err(Error::DiffId { path: found, expected: expected.into(), actual })
            }
            _ => Ok((self.commit(path, media_type)?, actual)),
        }
    }

    pub(super) fn manifest(&self, config: &Descriptor, layers: &[Descriptor]) -> Result<Descriptor, Error> {
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MediaType::ImageManifest.to_string(),
            "config": config,
            "layers": layers,
        });
        Ok(self.writer.put(MediaType::ImageManifest, manifest.to_string().as_bytes())?)
    }
}
