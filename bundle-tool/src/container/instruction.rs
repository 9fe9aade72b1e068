//! The Dockerfile instructions of `commit --change`, which change an image's config.

use std::str::FromStr;

use image_tool::layout::{self, Layout, Writer};
use oci_spec::image::{Descriptor, MediaType};
use serde_json::{Value, json};

/// A parsed instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The field of the config that it changes.
    field: &'static str,
    action: Action,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Action {
    /// Replaces the field.
    Set(Value),
    /// Sets `NAME=VALUE` entries of a list.
    Entries(Vec<(String, String)>),
    /// Sets keys of an object.
    Keys(Vec<(String, Value)>),
}

impl FromStr for Change {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let (name, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        let rest = rest.trim();
        if rest.is_empty() {
            return Err(format!("{text:?} is not an instruction (such as 'CMD [\"python\"]')"));
        }
        let command = || -> Value {
            // A JSON array, or else a command line for the shell.
            match serde_json::from_str::<Vec<String>>(rest) {
                Ok(words) => json!(words),
                Err(_) => json!(["/bin/sh", "-c", rest]),
            }
        };
        let set = |field, value| Ok(Self { field, action: Action::Set(value) });
        match name.to_ascii_uppercase().as_str() {
            "CMD" => set("Cmd", command()),
            "ENTRYPOINT" => set("Entrypoint", command()),
            "USER" => set("User", rest.into()),
            "WORKDIR" => set("WorkingDir", rest.into()),
            "STOPSIGNAL" if crate::option::signal::number(rest).is_some() => set("StopSignal", rest.into()),
            "ENV" => Ok(Self { field: "Env", action: Action::Entries(pairs(rest)?) }),
            "LABEL" => {
                let pairs = pairs(rest)?.into_iter().map(|(name, value)| (name, value.into())).collect();
                Ok(Self { field: "Labels", action: Action::Keys(pairs) })
            }
            "EXPOSE" => {
                let mut ports = Vec::new();
                for word in rest.split_whitespace() {
                    let expose: crate::option::port::Expose = word.parse().map_err(|error| format!("{error}"))?;
                    ports.extend(expose.ports().map(|(port, protocol)| (format!("{port}/{protocol}"), json!({}))));
                }
                Ok(Self { field: "ExposedPorts", action: Action::Keys(ports) })
            }
            "VOLUME" => {
                let paths = serde_json::from_str::<Vec<String>>(rest)
                    .unwrap_or_else(|_| rest.split_whitespace().map(str::to_owned).collect());
                Ok(Self {
                    field: "Volumes",
                    action: Action::Keys(paths.into_iter().map(|path| (path, json!({}))).collect()),
                })
            }
            other => Err(format!(
                "{other} is not supported (CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, STOPSIGNAL, USER, VOLUME and WORKDIR are)"
            )),
        }
    }
}

/// Parses `A=1 B="two words"`, or the old form `A the rest`.
fn pairs(text: &str) -> Result<Vec<(String, String)>, String> {
    if !text.split_whitespace().next().unwrap_or_default().contains('=') {
        let (name, value) =
            text.split_once(char::is_whitespace).ok_or_else(|| format!("{text:?} is not NAME=VALUE"))?;
        return Ok(vec![(name.into(), value.trim().into())]);
    }
    let mut words = vec![String::new()];
    let mut quote = None;
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        let word = words.last_mut().expect("there is one from the start");
        match (quote, char) {
            (_, '\\') => word.extend(chars.next()),
            (Some(open), char) if char == open => quote = None,
            (None, '"' | '\'') => quote = Some(char),
            (None, char) if char.is_whitespace() => words.push(String::new()),
            (_, char) => word.push(char),
        }
    }
    let words = words.into_iter().filter(|word| !word.is_empty());
    words
        .map(|word| match word.split_once('=') {
            Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
            _ => Err(format!("{word:?} is not NAME=VALUE")),
        })
        .collect()
}

impl Change {
    fn apply(&self, config: &mut Value) {
        let field = &mut config[self.field];
        match &self.action {
            Action::Set(value) => *field = value.clone(),
            Action::Entries(pairs) => {
                let mut entries: Vec<String> = serde_json::from_value(field.take()).unwrap_or_default();
                crate::option::environment::overlay(
                    &mut entries,
                    pairs.iter().map(|(name, value)| format!("{name}={value}")),
                );
                *field = json!(entries);
            }
            Action::Keys(pairs) => {
                if !field.is_object() {
                    *field = json!({});
                }
                for (key, value) in pairs {
                    field[key] = value.clone();
                }
            }
        }
    }
}

/// Writes the config and the manifest of an image with these changes.
pub(crate) fn apply(
    layout: &Layout,
    writer: &Writer,
    image: &Descriptor,
    changes: &[Change],
) -> Result<Descriptor, layout::Error> {
    let found = layout.image_of(image)?;
    let malformed = |what: &str, error: serde_json::Error| layout::Error::Malformed {
        what: what.into(),
        reason: error.to_string(),
    };
    let mut config: Value = serde_json::from_slice(found.config_bytes()).map_err(|error| malformed("config", error))?;
    let mut manifest: Value =
        serde_json::from_slice(found.manifest_bytes()).map_err(|error| malformed("manifest", error))?;
    if !config["config"].is_object() {
        config["config"] = json!({});
    }
    for change in changes {
        change.apply(&mut config["config"]);
    }
    let media_type: MediaType = found.manifest().config().media_type().clone();
    let config = writer.put(media_type, config.to_string().as_bytes())?;
    manifest["config"]["digest"] = config.digest().to_string().into();
    manifest["config"]["size"] = config.size().into();
    let mut written = writer.put(image.media_type().clone(), manifest.to_string().as_bytes())?;
    written.set_platform(image.platform().clone());
    Ok(written)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_change_the_config_as_docker_commit_does() {
        let mut config = json!({"Env": ["A=0", "B=1"], "Cmd": ["sh"], "ExposedPorts": null});
        for text in [
            "CMD [\"python\", \"-V\"]",
            "entrypoint run me",
            "ENV A=1 C=\"two words\"",
            "LABEL x=y",
            "EXPOSE 80 53/udp",
            "USER me",
            "WORKDIR /srv",
            "VOLUME /data",
            "ENV OLD the rest",
        ] {
            text.parse::<Change>().unwrap().apply(&mut config);
        }
        let expected = json!({
            "Env": ["A=1", "B=1", "C=two words", "OLD=the rest"], "Cmd": ["python", "-V"], "Entrypoint": ["/bin/sh", "-c", "run me"],
            "Labels": {"x": "y"}, "ExposedPorts": {"80/tcp": {}, "53/udp": {}}, "User": "me", "WorkingDir": "/srv", "Volumes": {"/data": {}},
        });
        assert_eq!(config, expected);
        for text in ["", "CMD", "RUN true", "ENV =x", "EXPOSE http", "STOPSIGNAL bogus"] {
            assert!(text.parse::<Change>().is_err(), "{text}");
        }
    }
}
