//! The image in the making: its config, its history and its layers.
//!
//! The config is kept as JSON, so that fields of a base image which this tool does not know survive. The names are
//! docker's, which the image-spec's config.md adopted.

use std::collections::BTreeMap;

use image_tool::address::digest;
use image_tool::layout::platform::Platform;
use image_tool::layout::{self, Image, Layout, Writer};
use oci_spec::image::{Descriptor, MediaType};
use serde_json::{Map, Value, json};

use super::layer::Layer;

/// The member of a config that holds the steps by key.
pub const STEPS: &str = "build-tool.cache";

/// An image that is not written yet.
#[derive(Debug, Clone)]
pub struct Draft {
    /// The config document without `config` and `history`: `architecture`, `os` and the like.
    document: Map<String, Value>,
    /// The member `config` of the document: what a container is given.
    config: Map<String, Value>,
    history: Vec<Value>,
    /// The layers, the lowest first.
    pub layers: Vec<Layer>,
}

impl Draft {
    /// An image without layers.
    pub fn scratch(platform: &Platform) -> Self {
        let mut document = Map::new();
        document.insert("architecture".into(), platform.architecture().into());
        document.insert("os".into(), platform.os().into());
        if let Some(variant) = platform.variant() {
            document.insert("variant".into(), variant.into());
        }
        let config = Map::from_iter([("WorkingDir".to_owned(), "/".into())]);
        Self { document, config, history: Vec::new(), layers: Vec::new() }
    }

    /// Continues from an image.
    pub fn of_image(layout: &Layout, image: &Image) -> Result<Self, layout::Error> {
        let malformed = |reason: String| layout::Error::Malformed {
            what: format!("config {}", image.manifest().config().digest()),
            reason,
        };
        let document: Value =
            serde_json::from_slice(image.config_bytes()).map_err(|error| malformed(error.to_string()))?;
        let Value::Object(mut document) = document else { return Err(malformed("it is not an object".into())) };
        let mut layers = Vec::new();
        for (descriptor, diff_id) in image.layers() {
            let diff_id = digest::parse(diff_id).map_err(|error| malformed(error.to_string()))?;
            layers.push(Layer { layout: layout.clone(), descriptor: descriptor.clone(), diff_id, built: false });
        }
        let config = match document.remove("config") {
            Some(Value::Object(config)) => config,
            None | Some(Value::Null) => Map::new(),
            Some(_) => return Err(malformed("its config is not an object".into())),
        };
        let history = match document.remove("history") {
            Some(Value::Array(history)) => history,
            _ => Vec::new(),
        };
        // These describe how the base image was made, and would be wrong for this one.
        for key in ["rootfs", "container", "container_config", "docker_version", "created", "id", "parent", "author"] {
            document.remove(key);
        }
        // And these hold the steps of its build.
        for key in [STEPS, "moby.buildkit.cache.v0"] {
            document.remove(key);
        }
        Ok(Self { document, config, history, layers })
    }

    /// The environment, as `NAME=VALUE` pairs.
    pub fn env(&self) -> Vec<String> {
        self.strings("Env")
    }

    /// The value of a variable.
    pub fn variable(&self, name: &str) -> Option<String> {
        self.env()
            .iter()
            .find_map(|pair| pair.split_once('=').filter(|(key, _)| *key == name).map(|(_, value)| value.to_owned()))
    }

    /// Sets a variable. One that exists keeps its place.
    pub fn set_variable(&mut self, name: &str, value: &str) {
        let mut env = self.env();
        bundle_tool::option::environment::overlay(&mut env, [format!("{name}={value}")]);
        self.config.insert("Env".into(), env.into());
    }

    fn strings(&self, key: &str) -> Vec<String> {
        let values = self.config.get(key).and_then(Value::as_array);
        values.into_iter().flatten().filter_map(|value| value.as_str().map(str::to_owned)).collect()
    }

    fn text(&self, key: &str) -> &str {
        self.config.get(key).and_then(Value::as_str).unwrap_or_default()
    }

    /// The absolute path of the working directory.
    pub fn workdir(&self) -> String {
        match self.text("WorkingDir") {
            "" => "/".to_owned(),
            path => path.to_owned(),
        }
    }

    /// The user, `USER[:GROUP]`; empty for root.
    pub fn user(&self) -> &str {
        self.text("User")
    }

    /// The shell that commands in shell form run in, and its arguments.
    pub fn shell(&self) -> Vec<String> {
        match self.strings("Shell") {
            shell if shell.is_empty() => vec!["/bin/sh".into(), "-c".into()],
            shell => shell,
        }
    }

    /// Whether a SHELL is set.
    pub fn has_shell(&self) -> bool {
        !self.strings("Shell").is_empty()
    }

    /// Whether a CMD is set.
    pub fn has_command(&self) -> bool {
        self.config.get("Cmd").is_some_and(|command| !command.is_null())
    }

    /// Takes the ONBUILD triggers, which are for the first build upon this image.
    pub fn take_triggers(&mut self) -> Vec<String> {
        let triggers = self.strings("OnBuild");
        self.config.remove("OnBuild");
        triggers
    }

    /// Sets a field of the config.
    pub fn set(&mut self, key: &str, value: impl Into<Value>) {
        self.config.insert(key.into(), value.into());
    }

    /// Removes a field of the config.
    pub fn unset(&mut self, key: &str) {
        self.config.remove(key);
    }

    /// Sets a member of a field that is an object: a label, a port, a volume.
    pub fn set_member(&mut self, key: &str, member: &str, value: impl Into<Value>) {
        if !self.config.get(key).is_some_and(Value::is_object) {
            self.config.insert(key.into(), json!({}));
        }
        self.config[key][member] = value.into();
    }

    /// Appends a string to a field that is a list.
    pub fn push(&mut self, key: &str, value: &str) {
        let mut values = self.strings(key);
        values.push(value.to_owned());
        self.config.insert(key.into(), values.into());
    }

    /// Sets the image's author.
    pub fn set_author(&mut self, author: &str) {
        self.document.insert("author".into(), author.into());
    }

    /// The image's platform: os, architecture, and variant if it has one.
    pub fn platform(&self) -> (String, String, Option<String>) {
        let text = |key: &str| self.document.get(key).and_then(Value::as_str).map(str::to_owned);
        (text("os").unwrap_or_default(), text("architecture").unwrap_or_default(), text("variant"))
    }

    /// Makes the image one for another platform, whatever its base is for.
    pub fn set_platform(&mut self, platform: &Platform) {
        let (os, architecture, _) = self.platform();
        let same = os == platform.os() && architecture == platform.architecture();
        self.document.insert("os".into(), platform.os().into());
        self.document.insert("architecture".into(), platform.architecture().into());
        match platform.variant() {
            Some(variant) => drop(self.document.insert("variant".into(), variant.into())),
            None if !same => drop(self.document.remove("variant")),
            None => {}
        }
    }

    /// Puts the steps into the image that it was made by.
    pub fn set_steps(&mut self, steps: Value) {
        self.document.insert(STEPS.to_owned(), steps);
    }

    /// When the image was made: the time of its latest step; `None` if no step has one.
    pub fn created(&self) -> Option<String> {
        let times = self.history.iter().filter_map(|entry| entry.get("created")?.as_str());
        let parsed = times.filter_map(|text| Some((text.parse::<jiff::Timestamp>().ok()?, text)));
        parsed.max_by_key(|(time, _)| *time).map(|(_, text)| text.to_owned())
    }

    /// Appends a step to the history, and the layer that it made.
    ///
    /// A step without a layer has the time of the one below it, so that equal input gives an equal image. What comes before all layers has
    /// that of the first, and none as long as there is no layer.
    pub fn record(&mut self, created_by: &str, created: Option<&str>, layer: Option<Layer>) {
        let mut entry = json!({"created_by": created_by, "comment": "build-tool"});
        if let Some(created) = created {
            entry["created"] = created.into();
            let earlier = self.history.iter_mut().filter_map(Value::as_object_mut);
            for entry in earlier {
                entry.entry("created").or_insert_with(|| created.into());
            }
        }
        match layer {
            Some(layer) => self.layers.push(layer),
            None => entry["empty_layer"] = true.into(),
        }
        self.history.push(entry);
    }

    /// Writes the image into a layout: layers, config, manifest. Returns the manifest's descriptor, for the index.
    pub fn write(
        &self,
        writer: &Writer,
        created: Option<&str>,
        annotations: &BTreeMap<String, String>,
    ) -> Result<Descriptor, layout::Error> {
        let mut layers = Vec::new();
        for layer in &self.layers {
            if layer.layout.path() != writer.layout().path() {
                writer.take(&layer.layout, &layer.descriptor)?;
            }
            let mut descriptor = serde_json::to_value(&layer.descriptor).expect("a descriptor is serialisable");
            descriptor["mediaType"] = oci_media_type(&layer.descriptor).to_string().into();
            layers.push(descriptor);
        }
        let diff_ids: Vec<String> = self.layers.iter().map(|layer| layer.diff_id.to_string()).collect();
        let mut document = self.document.clone();
        if let Some(created) = created {
            document.insert("created".into(), created.into());
        }
        document.insert("config".into(), self.config.clone().into());
        document.insert("rootfs".into(), json!({"type": "layers", "diff_ids": diff_ids}));
        document.insert("history".into(), self.history.clone().into());
        let config = serde_json::to_vec(&document).expect("a JSON value is serialisable");
        let config = writer.put(MediaType::ImageConfig, &config)?;
        let mut manifest = json!({
            "schemaVersion": 2,
            "mediaType": MediaType::ImageManifest.to_string(),
            "config": config,
            "layers": layers,
        });
        if !annotations.is_empty() {
            manifest["annotations"] = json!(annotations);
        }
        let manifest = serde_json::to_vec(&manifest).expect("a JSON value is serialisable");
        let mut descriptor = writer.put(MediaType::ImageManifest, &manifest)?;
        let (os, architecture, variant) = self.platform();
        let mut platform = json!({"os": os, "architecture": architecture});
        if let Some(variant) = variant {
            platform["variant"] = variant.into();
        }
        // A base image without os and architecture gives a config without them; then the descriptor has no platform.
        if let Ok(platform) = serde_json::from_value(platform) {
            descriptor.set_platform(Some(platform));
        }
        Ok(descriptor)
    }
}

/// The OCI media type of a layer; docker's and OCI's stand for the same bytes.
fn oci_media_type(layer: &Descriptor) -> MediaType {
    match image_tool::layer::Compression::of(layer.media_type()) {
        // One that may not be distributed stays what it is.
        Ok(compression) if layer.urls().as_ref().is_none_or(Vec::is_empty) => compression.media_type(),
        Ok(_) | Err(_) => layer.media_type().clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_keeps_its_place() {
        let mut draft = Draft::scratch(&"linux/amd64".parse().unwrap());
        for (name, value) in [("A", "1"), ("B", "2"), ("A", "3=4")] {
            draft.set_variable(name, value);
        }
        assert_eq!(draft.env(), ["A=3=4", "B=2"]);
        assert_eq!(draft.variable("A").as_deref(), Some("3=4"));
    }

    #[test]
    fn what_is_written_is_an_image() {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::create(folder.path()).unwrap();
        let writer = layout.writer().unwrap();
        let descriptor =
            writer.put(MediaType::Other("application/vnd.docker.image.rootfs.diff.tar".into()), &[0; 1024]).unwrap();
        let layer = Layer { layout: layout.clone(), descriptor, diff_id: digest::sha256(&[0; 1024]), built: true };
        let mut draft = Draft::scratch(&"linux/arm/v6".parse().unwrap());
        draft.set_member("Labels", "a", "b");
        draft.record("LABEL a=b", None, None);
        let epoch = Some("1970-01-01T00:00:00Z");
        draft.record("RUN x", epoch, Some(layer));
        draft.record("CMD y", epoch, None);
        assert_eq!(
            draft.history[0]["created"], "1970-01-01T00:00:00Z",
            "what is before all layers has the time of the first"
        );
        let none = BTreeMap::new();
        let descriptor = draft.write(&writer, epoch, &none).unwrap();
        let image = layout.image_of(&descriptor).unwrap();
        assert_eq!(image.layers().count(), 1);
        assert_eq!(image.manifest().layers()[0].media_type(), &MediaType::ImageLayer);
        let again = Draft::of_image(&layout, &image).unwrap();
        assert_eq!(again.write(&writer, epoch, &none).unwrap().digest(), descriptor.digest());
        assert_eq!(again.platform(), ("linux".into(), "arm".into(), Some("v6".into())));
        let mut other = again;
        other.set_platform(&"linux/arm/v5".parse().unwrap());
        assert_eq!(other.platform().2.as_deref(), Some("v5"));
        other.set_platform(&"linux/amd64".parse().unwrap());
        assert_eq!(other.platform(), ("linux".into(), "amd64".into(), None));
    }
}
