//! Provenance: what an image was made from, and how (SLSA provenance v1).
//!
//! The form is BuildKit's (docs/attestations/slsa-definitions.md), so that what reads BuildKit's reads this. It lacks what only BuildKit
//! has, the steps as LLB, and an ID of the invocation: with `SOURCE_DATE_EPOCH`, equal input gives equal bytes.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use bundle_tool::option::boolean;
use image_tool::layout::platform::Platform;
use serde_json::{Map, Value, json};

use crate::build::output::Provenance;
use crate::source::context::{Origin, Tree};
use crate::source::git::WorkTree;
use crate::source::place::{LAYOUT, Place};
use crate::step::materials::Materials;
use crate::step::session::Session;

/// The type of the predicate.
pub(super) const TYPE: &str = "https://slsa.dev/provenance/v1";

/// What external parameters mean.
const BUILD: &str = "https://github.com/moby/buildkit/blob/master/docs/attestations/slsa-definitions.md";

/// BuildKit's name for what reads a Dockerfile.
const FRONTEND: &str = "dockerfile.v0";

/// The package URL of an image for a platform, in BuildKit's form. Of a layout only the name of its folder is told.
fn package_url(name: &str, platform: &str) -> String {
    let platform = platform.replace('/', "%2F");
    if let Some(address) = name.strip_prefix(LAYOUT) {
        let folder = address.split(':').next().unwrap_or_default().trim_end_matches('/');
        return format!("pkg:oci/{}?platform={platform}", folder.rsplit('/').next().unwrap_or_default());
    }
    let (named, digest) = name.split_once('@').map_or((name, None), |(named, digest)| (named, Some(digest)));
    let (repository, tag) = match named.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository, Some(tag)),
        _ => (named, digest.is_none().then_some("latest")),
    };
    let tag = tag.map(|tag| format!("@{tag}")).unwrap_or_default();
    let digest = digest.map(|digest| format!("digest={digest}&")).unwrap_or_default();
    format!("pkg:docker/{repository}{tag}?{digest}platform={platform}")
}

/// The predicate for one platform.
pub(super) fn predicate(session: &Session<'_>, platform: &Platform, wanted: &Provenance) -> Value {
    let Provenance { everything, builder, reproducible } = wanted;
    let materials = session.materials();
    let locals = locals(session);
    let (args, said) = arguments(session, *everything);
    let mut request = json!({"frontend": FRONTEND, "args": args, "locals": locals});
    let mut notes = Map::new();
    notes.extend(versions(session).map(|versions| ("vcs".to_owned(), versions)));
    if *everything {
        let asked = |ids: &BTreeMap<String, bool>| -> Vec<Value> {
            let each = |(id, optional): (&String, &bool)| match optional {
                true => json!({"id": id, "optional": true}),
                false => json!({"id": id}),
            };
            ids.iter().map(each).collect()
        };
        request["secrets"] = asked(&materials.secrets).into();
        request["ssh"] = asked(&materials.agents).into();
        notes.insert("source".to_owned(), dockerfile(session));
    }
    // As in BuildKit, what is empty is left out.
    let request = request.as_object_mut().expect("it is an object");
    request.retain(|_, value| value.as_array().is_none_or(|list| !list.is_empty()));
    request.retain(|_, value| value.as_object().is_none_or(|map| !map.is_empty()));
    let dockerfile = session.context.dockerfile_name();
    let mut config = session.context.tree().origin().map_or(json!({}), source);
    config["path"] = dockerfile.into();
    let complete = locals.is_empty();
    let mut metadata = json!({
        "startedOn": session.now,
        "finishedOn": session.options.timestamp(),
        "buildkit_metadata": notes,
        "buildkit_completeness": {"request": said, "resolvedDependencies": complete},
    });
    for (name, holds) in [("hermetic", complete && !materials.network), ("reproducible", *reproducible)] {
        if holds {
            metadata[format!("buildkit_{name}")] = true.into();
        }
    }
    let own = concat!("urn:build-tool:", env!("CARGO_PKG_VERSION"));
    json!({
        "buildDefinition": {
            "buildType": BUILD,
            "externalParameters": {"configSource": config, "request": request},
            "internalParameters": {"builderPlatform": Platform::host().to_string()},
            "resolvedDependencies": dependencies(session, platform, &materials),
        },
        "runDetails": {"builder": {"id": builder.as_deref().unwrap_or(own)}, "metadata": metadata},
    })
}

/// The work tree of git that the context is in, as docker buildx tells it and where the variables are set that it knows.
fn versions(session: &Session<'_>) -> Option<Value> {
    let set = |name: &str| std::env::var(name).ok().and_then(|value| boolean::parse(&value).ok());
    let Place::Folder(folder) = &session.options.context else { return None };
    if set("BUILDX_GIT_INFO") == Some(false) {
        return None;
    }
    let tree = WorkTree::of(folder, set("BUILDX_GIT_CHECK_DIRTY") == Some(true))?;
    let mut told = Map::new();
    let mut tell = |name: &str, value: Option<String>| told.extend(value.map(|value| (name.to_owned(), value.into())));
    tell("revision", tree.revision);
    tell("source", tree.source);
    let local = |folder: &Path| {
        let full = fs::canonicalize(if folder.as_os_str().is_empty() { Path::new(".") } else { folder }).ok()?;
        let inside = full.strip_prefix(&tree.root).ok()?;
        Some(if inside.as_os_str().is_empty() { ".".to_owned() } else { inside.display().to_string() })
    };
    tell("localdir:context", local(folder));
    let dockerfile = session.options.dockerfile.as_deref().filter(|path| *path != Path::new("-"));
    tell("localdir:dockerfile", local(dockerfile.and_then(Path::parent).unwrap_or(folder)));
    Some(told.into())
}

/// What was asked for, by the names that BuildKit's frontend has for it; and whether that is all. Arguments and labels may hold what is
/// not for everyone, so they are said only with `everything`.
fn arguments(session: &Session<'_>, everything: bool) -> (BTreeMap<String, String>, bool) {
    let options = session.options;
    let mut args = BTreeMap::new();
    let mut add = |name: String, value: String| drop(args.insert(name, value));
    let pairs = |kind: &'static str, pairs: &BTreeMap<String, String>| -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| (format!("{kind}:{name}"), value.clone())).collect()
    };
    let private = [pairs("build-arg", &options.arguments), pairs("label", &options.labels)].concat();
    let said = everything || private.is_empty();
    if everything {
        for (name, value) in private {
            add(name, value);
        }
    }
    if let Some(target) = &options.target {
        add("target".to_owned(), target.clone());
    }
    if options.no_cache || !options.no_cache_stages.is_empty() {
        add("no-cache".to_owned(), options.no_cache_stages.join(","));
    }
    for (name, place) in &options.contexts {
        add(format!("context:{name}"), place.told(name));
    }
    (args, said)
}

/// The folders that were taken from, of which nobody else knows the content, by name.
fn locals(session: &Session<'_>) -> Vec<Value> {
    let own = session.context.tree();
    let mut names = Vec::new();
    if own.origin().is_none() {
        names.extend(["context", "dockerfile"]);
    }
    names.extend(session.contexts.opened().filter(|(_, tree)| tree.origin().is_none()).map(|(name, _)| name));
    names.sort_unstable();
    names.into_iter().map(|name| json!({"name": name})).collect()
}

/// What the image was made from.
fn dependencies(session: &Session<'_>, platform: &Platform, materials: &Materials) -> Vec<Value> {
    let (target, host) = (platform.to_string(), Platform::host().to_string());
    let fitting = materials.images.iter().filter(|((_, of), _)| *of == target || *of == host);
    let images = fitting.map(|((name, of), digest)| dependency(&package_url(name, of), digest));
    let trees = session.contexts.opened().map(|(_, tree)| tree).chain([session.context.tree()]);
    let mut fetched = materials.fetched.clone();
    fetched.extend(trees.filter_map(Tree::origin).map(|origin| (origin.uri.clone(), origin.digest.clone())));
    images.chain(fetched.iter().map(|(uri, digest)| dependency(uri, digest))).collect()
}

fn source(Origin { uri, digest }: &Origin) -> Value {
    dependency(uri, digest)
}

fn dependency(uri: &str, digest: &str) -> Value {
    let (algorithm, hex) = digest.split_once(':').unwrap_or(("sha256", digest));
    json!({"uri": uri, "digest": {algorithm: hex}})
}

/// The Dockerfile itself.
fn dockerfile(session: &Session<'_>) -> Value {
    use base64::Engine as _;
    let data = base64::engine::general_purpose::STANDARD.encode(session.context.dockerfile());
    json!({"infos": [{"filename": session.context.dockerfile_name(), "language": "Dockerfile", "data": data}]})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_have_package_urls() {
        for (name, expected) in [
            ("busybox", "pkg:docker/busybox@latest?platform=linux%2Famd64"),
            ("h:5000/a/b:1", "pkg:docker/h:5000/a/b@1?platform=linux%2Famd64"),
            ("h:5000/a", "pkg:docker/h:5000/a@latest?platform=linux%2Famd64"),
            ("a:1@sha256:ab", "pkg:docker/a@1?digest=sha256:ab&platform=linux%2Famd64"),
            ("oci-layout:///home/me/images:a:1", "pkg:oci/images?platform=linux%2Famd64"),
        ] {
            assert_eq!(package_url(name, "linux/amd64"), expected, "{name}");
        }
    }
}
