//! Archives of docker before 1.10: a folder for each layer with `json`, `VERSION` and `layer.tar`, and `repositories`
//! for the names. They have no image config; it is made from the `json` files of the layers, as docker does.

use std::collections::BTreeMap;
use std::path::Path;

use oci_spec::image::MediaType;
use serde_json::{Map, Value, json};

use super::Loaded;
use super::store::{Archive, malformed};
use crate::address::name::short;
use crate::archive::Error;

impl Archive<'_> {
    /// Loads the images of `repositories`, which names the folder of the topmost layer, which names its parent.
    pub(super) fn legacy(&mut self) -> Result<Vec<Loaded>, Error> {
        let repositories: BTreeMap<String, BTreeMap<String, String>> = self.json(Path::new("repositories"))?;
        let mut loaded = Vec::new();
        for (repository, tags) in repositories {
            for (tag, top) in tags {
                let mut ancestors = Vec::new();
                let mut layers = Vec::new();
                let mut next = Some(top);
                while let Some(id) = next {
                    if ancestors.len() > 1024 {
                        return Err(malformed(Path::new(&id), "more than 1024 layers, or a circle of parents"));
                    }
                    let document: Map<String, Value> = self.json(&Path::new(&id).join("json"))?;
                    let (descriptor, diff_id) = self.layer(&Path::new(&id).join("layer.tar"), None)?;
                    next = parent(&document).map(str::to_owned);
                    if document.get("throwaway").and_then(Value::as_bool) != Some(true) {
                        layers.push(descriptor);
                    }
                    ancestors.push(Ancestor { document, diff_id });
                }
                layers.reverse();
                let config = config(&ancestors).to_string();
                let config = self.writer.put(MediaType::ImageConfig, config.as_bytes())?;
                let descriptor = self.manifest(&config, &layers)?;
                loaded.push(Loaded { name: short(&format!("{repository}:{tag}")).parse().ok(), descriptor });
            }
        }
        Ok(loaded)
    }
}

/// A layer of such an image.
struct Ancestor {
    /// The content of its `json`.
    document: Map<String, Value>,
    /// The digest of its uncompressed `layer.tar`.
    diff_id: String,
}

/// The ID of the parent in the `json` of a layer.
fn parent(document: &Map<String, Value>) -> Option<&str> {
    document.get("parent").and_then(Value::as_str).filter(|parent| !parent.is_empty())
}

/// The image config for a chain of layers, the topmost first, as docker makes it.
fn config(ancestors: &[Ancestor]) -> Value {
    let mut config = ancestors.first().map(|top| top.document.clone()).unwrap_or_default();
    for key in ["id", "parent", "layer_id", "parent_id", "throwaway", "Size", "size", "layer_digest", "checksum"] {
        config.remove(key);
    }
    let mut history = Vec::new();
    let mut diff_ids = Vec::new();
    for ancestor in ancestors.iter().rev() {
        let document = &ancestor.document;
        let mut entry = Map::new();
        for key in ["created", "author", "comment"] {
            if let Some(value) = document.get(key).filter(|value| value.as_str() != Some("")) {
                entry.insert(key.into(), value.clone());
            }
        }
        let command = document.get("container_config").and_then(|config| config.get("Cmd")).and_then(Value::as_array);
        if let Some(command) = command {
            let words: Vec<&str> = command.iter().filter_map(Value::as_str).collect();
            entry.insert("created_by".into(), words.join(" ").into());
        }
        if document.get("throwaway").and_then(Value::as_bool) == Some(true) {
            entry.insert("empty_layer".into(), true.into());
        } else {
            diff_ids.push(ancestor.diff_id.clone());
        }
        history.push(Value::Object(entry));
    }
    config.insert("history".into(), history.into());
    config.insert("rootfs".into(), json!({"type": "layers", "diff_ids": diff_ids}));
    for (key, value) in [("architecture", "amd64"), ("os", "linux")] {
        config.entry(key).or_insert_with(|| value.into());
    }
    Value::Object(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_of_layers_becomes_a_config() {
        let layer = |document: Value, diff_id: &str| match document {
            Value::Object(document) => Ancestor { document, diff_id: diff_id.into() },
            _ => unreachable!(),
        };
        let top = layer(
            json!({"id": "b", "parent": "a", "created": "2015-01-02T00:00:00Z", "config": {"Cmd": ["sh"]}, "throwaway": true,
                "container_config": {"Cmd": ["/bin/sh", "-c", "#(nop) CMD sh"]}}),
            "sha256:empty",
        );
        let base = layer(json!({"id": "a", "created": "2015-01-01T00:00:00Z", "Size": 5}), "sha256:base");
        assert_eq!(parent(&top.document), Some("a"));
        let config = config(&[top, base]);
        assert_eq!(config["rootfs"]["diff_ids"], json!(["sha256:base"]));
        assert_eq!(config["history"][0], json!({"created": "2015-01-01T00:00:00Z"}));
        assert_eq!(config["history"][1]["empty_layer"], true);
        assert_eq!(config["history"][1]["created_by"], "/bin/sh -c #(nop) CMD sh");
        assert_eq!(
            (config["config"]["Cmd"][0].as_str(), config.get("id"), config.get("parent")),
            (Some("sh"), None, None)
        );
    }
}
