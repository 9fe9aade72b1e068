//! Creating images: from other images, from layers, from root file systems.
//!
//! Documents are changed as JSON, so that unknown fields are preserved. The room may know `address`, `layer` and
//! `layout`.

pub mod append;
pub mod convert;
pub mod index;
pub mod instruction;
pub mod rebase;
pub mod signal;
pub mod span;

use std::io::Read;

use oci_spec::image::{Descriptor, MediaType};
use serde_json::{Value, json};

use self::append::{Error, History, Layer, time};
use self::index::Note;
use crate::layer::Compression;
use crate::layout::platform::Platform;
use crate::layout::{Image, Writer};

/// Changes of an image's config, by the field names of the image-spec.
#[derive(Debug, Clone, Default)]
pub struct Change {
    /// Environment variables to set, `KEY=VALUE`.
    pub env: Vec<String>,
    /// Names of environment variables to remove.
    pub unset_env: Vec<String>,
    /// The command; an empty one is removed.
    pub cmd: Option<Vec<String>>,
    /// The entrypoint; an empty one is removed.
    pub entrypoint: Option<Vec<String>>,
    /// The user, as `NAME[:GROUP]` or by number.
    pub user: Option<String>,
    /// The working directory, an absolute path.
    pub workdir: Option<String>,
    /// Labels to set; the value may be empty.
    pub labels: Vec<(String, String)>,
    /// Names of labels to remove.
    pub unset_labels: Vec<String>,
    /// Ports to add, such as `8080/tcp`.
    pub expose: Vec<String>,
    /// Paths of volumes to add.
    pub volumes: Vec<String>,
    /// The signal that stops the container, such as `SIGTERM`.
    pub stop_signal: Option<String>,
    /// docker's health check, as its config has it.
    pub healthcheck: Option<Value>,
    /// Instructions to add for images that are built on this one.
    pub on_build: Vec<String>,
    /// The author of the image.
    pub author: Option<String>,
    /// The platform of the image.
    pub platform: Option<Platform>,
    /// Ports to remove, such as `8080/tcp`.
    pub unset_expose: Vec<String>,
    /// Paths of volumes to remove.
    pub unset_volumes: Vec<String>,
    /// Fields to empty before anything is set.
    pub clear: Vec<Field>,
    /// When the image was created, in seconds since 1970.
    pub created: Option<i64>,
}

/// A field of a config that holds several things.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// Environment variables.
    Env,
    /// Labels.
    Labels,
    /// Ports.
    ExposedPorts,
    /// Volumes.
    Volumes,
}

impl Field {
    /// Its name in the config (image-spec config.md).
    fn name(self) -> &'static str {
        match self {
            Self::Env => "Env",
            Self::Labels => "Labels",
            Self::ExposedPorts => "ExposedPorts",
            Self::Volumes => "Volumes",
        }
    }
}

impl Change {
    /// Applies the changes to a config.
    pub fn apply(&self, config: &mut Value) {
        let section = &mut config["config"];
        if !section.is_object() {
            *section = json!({});
        }
        for field in &self.clear {
            section.as_object_mut().and_then(|section| section.remove(field.name()));
        }
        let mut env: Vec<String> = strings(&section["Env"]);
        let key = |variable: &str| variable.split('=').next().unwrap_or_default().to_owned();
        env.retain(|variable| !self.unset_env.contains(&key(variable)));
        for variable in &self.env {
            match env.iter_mut().find(|known| key(known) == key(variable)) {
                Some(known) => known.clone_from(variable),
                None => env.push(variable.clone()),
            }
        }
        if !(self.env.is_empty() && self.unset_env.is_empty()) {
            section["Env"] = env.into();
        }
        for (field, words) in [("Cmd", &self.cmd), ("Entrypoint", &self.entrypoint)] {
            match words {
                Some(words) if words.is_empty() => drop(section.as_object_mut().map(|section| section.remove(field))),
                Some(words) => section[field] = words.clone().into(),
                None => {}
            }
        }
        for (field, text) in [("User", &self.user), ("WorkingDir", &self.workdir), ("StopSignal", &self.stop_signal)] {
            if let Some(text) = text {
                section[field] = text.as_str().into();
            }
        }
        if let Some(check) = &self.healthcheck {
            section["Healthcheck"] = check.clone();
        }
        if !self.on_build.is_empty() {
            section["OnBuild"] = [strings(&section["OnBuild"]), self.on_build.clone()].concat().into();
        }
        for (name, value) in &self.labels {
            section["Labels"][name] = value.as_str().into();
        }
        if let Some(labels) = section.get_mut("Labels").and_then(Value::as_object_mut) {
            labels.retain(|name, _| !self.unset_labels.contains(name));
        }
        for (field, names, unset) in
            [("ExposedPorts", &self.expose, &self.unset_expose), ("Volumes", &self.volumes, &self.unset_volumes)]
        {
            for name in names {
                section[field][name] = json!({});
            }
            if let Some(known) = section.get_mut(field).and_then(Value::as_object_mut) {
                known.retain(|name, _| !unset.contains(name));
            }
        }
        if let Some(created) = self.created {
            config["created"] = time(created).into();
        }
        if let Some(author) = &self.author {
            config["author"] = author.as_str().into();
        }
        if let Some(platform) = &self.platform {
            config["os"] = platform.os().into();
            config["architecture"] = platform.architecture().into();
            match (platform.variant(), config.as_object_mut()) {
                (Some(variant), _) => config["variant"] = variant.into(),
                (None, Some(config)) => drop(config.remove("variant")),
                (None, None) => {}
            }
        }
    }
}

fn strings(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(|value| value.as_str().map(str::to_owned)).collect()
}

/// Writes an image with a changed config, annotations on its manifest, and the same layers. With `history`, a step is added to the
/// history.
///
/// # Errors
/// [`Error`].
pub fn configure(
    image: &Image,
    writer: &Writer,
    (change, note): (&Change, &Note),
    history: Option<&History>,
) -> Result<Descriptor, Error> {
    append::rewrite(image, writer, |config, manifest| {
        index::note_annotations(manifest, note);
        if let Some(history) = history {
            let mut entry = json!({
                "created": time(history.created), "created_by": history.created_by, "empty_layer": true,
            });
            for (key, value) in [("comment", &history.comment), ("author", &history.author)] {
                if let Some(value) = value {
                    entry[key] = value.as_str().into();
                }
            }
            match config["history"].as_array_mut() {
                Some(known) => known.push(entry),
                None if image.manifest().layers().is_empty() => config["history"] = json!([entry]),
                None => {}
            }
            config["created"] = time(history.created).into();
        }
        change.apply(config);
        Ok(())
    })
}

/// Writes an image with `layer` in place of all layers of `image`.
///
/// # Errors
/// [`Error`].
pub fn squash(image: &Image, writer: &Writer, layer: &Layer, history: &History) -> Result<Descriptor, Error> {
    append::rewrite(image, writer, |config, manifest| {
        config["rootfs"]["diff_ids"] = json!([layer.diff_id.to_string()]);
        config["history"] = json!([{"created": time(history.created), "created_by": history.created_by}]);
        config["created"] = time(history.created).into();
        manifest["layers"] = json!([append::flavoured(&layer.descriptor, image)?]);
        Ok(())
    })
}

/// Creates an image from the tar archive of a root file system.
///
/// # Errors
/// [`Error`].
pub fn import<R: Read>(
    tar: R,
    writer: &Writer,
    compression: Compression,
    change: &Change,
    history: impl FnOnce(&Layer) -> History,
) -> Result<Descriptor, Error> {
    let layer = append::layer(tar, writer, compression)?;
    let history = history(&layer);
    let host = Platform::host();
    let mut config = json!({
        "created": time(history.created),
        "architecture": host.architecture(),
        "os": host.os(),
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": [layer.diff_id.to_string()]},
        "history": [{"created": time(history.created), "created_by": history.created_by}],
    });
    if let Some(comment) = &history.comment {
        config["history"][0]["comment"] = comment.as_str().into();
    }
    if let Some(variant) = host.variant() {
        config["variant"] = variant.into();
    }
    change.apply(&mut config);
    let config = writer.put(MediaType::ImageConfig, config.to_string().as_bytes())?;
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MediaType::ImageManifest.to_string(),
        "config": config,
        "layers": [layer.descriptor],
    });
    Ok(writer.put(MediaType::ImageManifest, manifest.to_string().as_bytes())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_touches_what_it_names_and_nothing_else() {
        let mut config = json!({"os": "linux", "variant": "v7", "config": {
            "Env": ["A=1", "B=2"], "Cmd": ["sh"], "Labels": {"x": "1", "y": "2"}, "Healthcheck": {"Test": ["NONE"]}}});
        let change = Change {
            env: vec!["B=3".into(), "C=4".into()],
            unset_env: vec!["A".into()],
            cmd: Some(Vec::new()),
            entrypoint: Some(vec!["/bin/x".into()]),
            labels: vec![("z".into(), "3".into())],
            unset_labels: vec!["x".into()],
            expose: vec!["80/tcp".into()],
            platform: Some("linux/amd64".parse().unwrap()),
            ..Change::default()
        };
        change.apply(&mut config);
        let expected = json!({"os": "linux", "architecture": "amd64", "config": {
            "Env": ["B=3", "C=4"], "Entrypoint": ["/bin/x"], "Labels": {"y": "2", "z": "3"}, "ExposedPorts": {"80/tcp": {}},
            "Healthcheck": {"Test": ["NONE"]}}});
        assert_eq!(config, expected);
        let mut same = expected.clone();
        Change::default().apply(&mut same);
        assert_eq!(same, expected);
    }
}
