//! docker's `Config` of a new container, which `inspect` shows and `commit` gives to an image: what options and image come to together.

use std::collections::BTreeMap;

use image_tool::edit::{Change, Field};
use serde_json::{Map, Value, json};

use super::request::Request;
use crate::config::image::{Healthcheck, Runtime};
use crate::option::environment;
use crate::option::port::Expose;
use crate::volume::Source;

/// The fields of `Config` that neither other annotations nor the words of the command line have. Empty ones are left out.
pub(super) fn settings(
    request: &Request,
    image: &Runtime,
    config: &[u8],
    hostname: Option<&str>,
    healthcheck: Option<&Healthcheck>,
) -> Value {
    let options = &request.options;
    let config: Value = serde_json::from_slice(config).unwrap_or_default();
    let entrypoint = match options.entrypoint.as_deref() {
        Some("") => Vec::new(),
        Some(program) => vec![program.to_owned()],
        None => image.entrypoint.clone(),
    };
    let command = match (options.command.is_empty(), &options.entrypoint) {
        (false, _) => options.command.clone(),
        (true, None) => image.cmd.clone(),
        (true, Some(_)) => Vec::new(),
    };
    let workdir = options.workdir.clone().unwrap_or_else(|| image.working_dir.clone());
    let stop_signal = request.stop_signal.clone().unwrap_or_else(|| image.stop_signal.clone());
    let all = json!({
        "Hostname": hostname.unwrap_or_default(),
        "Domainname": options.domainname.as_deref().unwrap_or_default(),
        "User": request.user.as_deref().unwrap_or(&image.user),
        "ExposedPorts": exposed(request, image),
        "Env": variables(&options.env, &image.env),
        "Cmd": command,
        "Entrypoint": entrypoint,
        "WorkingDir": workdir,
        "Volumes": volumes(request, image),
        "Healthcheck": healthcheck,
        "StopSignal": stop_signal,
        "StopTimeout": request.stop_timeout,
        "OnBuild": config["config"]["OnBuild"],
        "Shell": config["config"]["Shell"],
    });
    let Value::Object(all) = all else { return Value::Null };
    let is_empty = |value: &Value| match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    };
    Value::Object(all.into_iter().filter(|(_, value)| !is_empty(value)).collect())
}

/// What a commit makes of an image's config: it has what the container had. The names of its host are none of an image.
pub(super) fn change(settings: &Value, labels: BTreeMap<String, String>) -> Change {
    let text = |field: &str| settings[field].as_str().map(str::to_owned);
    let list = |field: &str| -> Vec<String> {
        settings[field].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let names = |field: &str| settings[field].as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect();
    Change {
        clear: vec![Field::Env, Field::Labels, Field::ExposedPorts, Field::Volumes],
        env: list("Env"),
        cmd: Some(list("Cmd")),
        entrypoint: Some(list("Entrypoint")),
        user: text("User"),
        workdir: text("WorkingDir"),
        labels: labels.into_iter().collect(),
        expose: names("ExposedPorts"),
        volumes: names("Volumes"),
        stop_signal: text("StopSignal"),
        healthcheck: Some(settings["Healthcheck"].clone()).filter(|check| !check.is_null()),
        ..Change::default()
    }
}

/// The variables of options, then those of the image that options do not set, as docker orders them.
fn variables(own: &[String], image: &[String]) -> Vec<String> {
    let mut all = Vec::new();
    environment::overlay(&mut all, own.iter().cloned());
    let name = |entry: &str| entry.split('=').next().unwrap_or_default().to_owned();
    let rest = image.iter().filter(|entry| environment::value(own, &name(entry)).is_none());
    all.extend(rest.cloned());
    all
}

fn exposed(request: &Request, image: &Runtime) -> Map<String, Value> {
    let connection = &request.network;
    let parsed: Vec<Expose> = image.exposed_ports.keys().filter_map(|port| port.parse().ok()).collect();
    let all = connection.expose.iter().chain(&parsed).flat_map(Expose::ports);
    let all = all.chain(connection.publish.iter().flat_map(|publish| publish.container_ports()));
    all.map(|(port, protocol)| (format!("{port}/{protocol}"), json!({}))).collect()
}

fn volumes(request: &Request, image: &Runtime) -> Map<String, Value> {
    let nameless = request.attachments.iter().filter(|each| matches!(each.source, Source::Volume { name: None, .. }));
    let own = nameless.map(|each| each.target.display().to_string());
    own.chain(image.volumes.keys().cloned()).map(|path| (path, json!({}))).collect()
}
