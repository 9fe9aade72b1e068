//! Steps in an image, which carries them to another machine: its layers are those of the steps, and a member of its config
//! holds their records. To a registry it is an image like any other. The image that was built can be it as well (`type=inline`).

use std::collections::{BTreeMap, BTreeSet};

use image_tool::address::{Address, RefName};
use image_tool::layout::platform::Platform;
use image_tool::layout::{self, Layout};
use oci_spec::image::{Descriptor, MediaType};
use serde_json::{Map, Value, json};

use super::{Cache, Record};
use crate::stage::draft::STEPS;

/// Why steps cannot be carried.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A layout cannot be read or written.
    #[error(transparent)]
    Layout(#[from] layout::Error),
    /// The step cache cannot be written.
    #[error(transparent)]
    Io(#[from] image_tool::error::Io),
    /// The image does not hold steps.
    #[error("{0}: not a cache that build-tool has written (its config has no build-tool.cache)")]
    Foreign(Address),
}

/// Writes the steps that this build has used under a name of a layout, and returns how many. With `layers`, only steps
/// whose layer is among these digests are written, and those without a layer.
pub fn export(
    cache: &Cache,
    layout: &Layout,
    name: &RefName,
    layers: Option<&BTreeSet<String>>,
) -> Result<usize, Error> {
    let writer = layout.writer()?;
    let mut steps = Map::new();
    let (mut descriptors, mut diff_ids, mut taken) = (Vec::new(), Vec::new(), BTreeSet::new());
    for key in cache.used() {
        let Some(record) = cache.record(&key) else { continue };
        if let Some(layer) = &record.layer {
            let digest = layer.descriptor.digest().to_string();
            if layers.is_some_and(|layers| !layers.contains(&digest)) {
                continue;
            }
            if taken.insert(digest) {
                writer.take(cache.writer().layout(), &layer.descriptor)?;
                descriptors.push(json!(layer.descriptor));
                diff_ids.push(layer.diff_id.clone());
            }
        }
        steps.insert(key, json!(record));
    }
    let (host, count) = (Platform::host(), steps.len());
    let config = json!({
        "architecture": host.architecture(),
        "os": host.os(),
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        STEPS: steps,
    });
    let config = writer.put(MediaType::ImageConfig, config.to_string().as_bytes())?;
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MediaType::ImageManifest.to_string(),
        "config": config,
        "layers": descriptors,
    });
    let manifest = writer.put(MediaType::ImageManifest, manifest.to_string().as_bytes())?;
    writer.publish(name, manifest)?;
    Ok(count)
}

/// The steps that this build has used whose layers are in an image, as that has them, by their digests in the cache; and those without
/// a layer.
pub fn inline(cache: &Cache, layers: &BTreeMap<String, Descriptor>) -> Value {
    let mut steps = Map::new();
    for key in cache.used() {
        let Some(mut record) = cache.record(&key) else { continue };
        if let Some(layer) = &mut record.layer {
            let Some(descriptor) = layers.get(&layer.descriptor.digest().to_string()) else { continue };
            layer.descriptor = descriptor.clone();
        }
        steps.insert(key, json!(record));
    }
    steps.into()
}

/// Takes the steps of such an image into the cache, and returns how many. Those that cannot be read are left out; their
/// layers are verified when they are unpacked.
pub fn import(cache: &Cache, address: &Address) -> Result<usize, Error> {
    let layout = Layout::of(address)?;
    let image = layout.image(address, &Platform::host())?;
    let config: Value = serde_json::from_slice(image.config_bytes()).unwrap_or_default();
    let Some(steps) = config[STEPS].as_object() else { return Err(Error::Foreign(address.clone())) };
    let held: BTreeSet<String> = image.layers().map(|(descriptor, _)| descriptor.digest().to_string()).collect();
    let mut count = 0;
    for (key, step) in steps {
        let Ok(record) = serde_json::from_value::<Record>(step.clone()) else { continue };
        if !super::prune::is_key(key) {
            continue;
        }
        if let Some(layer) = &record.layer {
            if !held.contains(&layer.descriptor.digest().to_string()) {
                continue;
            }
            cache.writer().take(&layout, &layer.descriptor)?;
        }
        cache.keep(key, &record)?;
        count += 1;
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use image_tool::address::digest;

    use super::super::{Key, RecordedLayer};
    use super::*;

    fn cache(folder: &std::path::Path) -> Cache {
        let layout = Layout::create(folder).unwrap();
        let (used, made) = (Arc::default(), Arc::default());
        Cache { writer: layout.writer().unwrap(), path: folder.into(), read: true, used, made }
    }

    #[test]
    fn steps_arrive_with_their_layers() {
        let folder = tempfile::tempdir().unwrap();
        let (here, there) = (cache(&folder.path().join("here")), cache(&folder.path().join("there")));
        let keys = ["kept", "other", "mark"].map(|name| Key::builder(name).finish());
        for (key, text) in keys[..2].iter().zip(["kept layer", "other layer"]) {
            let descriptor = here.writer().put(MediaType::ImageLayer, text.as_bytes()).unwrap();
            let layer = RecordedLayer { descriptor, diff_id: digest::sha256(text.as_bytes()).to_string() };
            let record =
                Record { created: "2020-01-01T00:00:00Z".into(), layer: Some(layer), step: text.into(), first: None };
            here.put(key, &record).unwrap();
        }
        here.put(&keys[2], &Record::mark("2020-01-01T00:00:00Z")).unwrap();
        let layout = Layout::create(&folder.path().join("carrier")).unwrap();
        let address: Address = format!("{}:steps", folder.path().join("carrier").display()).parse().unwrap();
        let name = address.reference().unwrap();
        let wanted = BTreeSet::from([digest::sha256(b"kept layer").to_string()]);
        assert_eq!(export(&here, &layout, name, Some(&wanted)).unwrap(), 2);
        assert_eq!(import(&there, &address).unwrap(), 2);
        assert!(there.get(&keys[0]).unwrap().1.is_some() && there.get(&keys[2]).is_some());
        assert!(there.get(&keys[1]).is_none());
        assert_eq!(export(&here, &layout, name, None).unwrap(), 3);
        assert_eq!(import(&there, &address).unwrap(), 3);
        assert!(there.get(&keys[1]).is_some());
        let other = here.writer().put(MediaType::ImageLayer, b"packed otherwise").unwrap();
        let steps = inline(&here, &BTreeMap::from([(digest::sha256(b"kept layer").to_string(), other.clone())]));
        assert_eq!(steps.as_object().unwrap().len(), 2);
        assert_eq!(steps[keys[0].hex()]["layer"]["descriptor"], json!(other));
    }

    #[test]
    fn another_image_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::create(&folder.path().join("images")).unwrap();
        let writer = layout.writer().unwrap();
        let config = writer
            .put(
                MediaType::ImageConfig,
                br#"{"os":"linux","architecture":"amd64","rootfs":{"type":"layers","diff_ids":[]}}"#,
            )
            .unwrap();
        let manifest = json!({"schemaVersion": 2, "mediaType": MediaType::ImageManifest.to_string(), "config": config, "layers": []});
        let manifest = writer.put(MediaType::ImageManifest, manifest.to_string().as_bytes()).unwrap();
        writer.publish(&"x".parse().unwrap(), manifest).unwrap();
        let address: Address = format!("{}:x", layout.path().display()).parse().unwrap();
        let cache = cache(&folder.path().join("cache"));
        assert!(matches!(import(&cache, &address), Err(Error::Foreign(_))));
    }
}
