//! Provenance: what an image was made from, and how (SLSA provenance v1).

use std::sync::PoisonError;

use image_tool::layout::platform::Platform;
use serde_json::{Value, json};

use crate::build::output::Provenance;
use crate::source::context::Origin;
use crate::source::place::LAYOUT;
use crate::step::session::Session;

/// The type of the predicate.
pub(super) const TYPE: &str = "https://slsa.dev/provenance/v1";

/// What external parameters mean in this program's provenance.
const BUILD: &str = "urn:build-tool:dockerfile:v1";

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
pub(super) fn predicate(session: &Session<'_>, platform: &Platform, mode: Provenance) -> Value {
    let options = session.options;
    let mut request = json!({
        "dockerfile": session.context.dockerfile_name(),
        "target": options.target,
        "platform": platform.to_string(),
        "labels": options.labels,
        "secrets": options.secrets.keys().collect::<Vec<_>>(),
    });
    let bases = session.bases.lock().unwrap_or_else(PoisonError::into_inner);
    let (target, host) = (platform.to_string(), Platform::host().to_string());
    let fitting = bases.iter().filter(|((_, of), _)| *of == target || *of == host);
    let mut dependencies: Vec<Value> = fitting
        .map(|((name, of), digest)| {
            let (algorithm, hex) = digest.split_once(':').unwrap_or(("sha256", digest));
            json!({"uri": package_url(name, of), "digest": {algorithm: hex}})
        })
        .collect();
    if let Some(Origin { uri, commit }) = session.context.tree().origin() {
        let algorithm = if commit.len() == 64 { "sha256" } else { "sha1" };
        let source = json!({"uri": uri, "digest": {algorithm: commit}});
        request["configSource"] = source.clone();
        request["configSource"]["path"] = session.context.dockerfile_name().into();
        dependencies.push(source);
    }
    let mut metadata = json!({"startedOn": session.now, "finishedOn": options.timestamp()});
    if mode == Provenance::Max {
        // Arguments may hold what is not for everyone, so they are said only where everything is asked for.
        request["args"] = json!(options.arguments);
        metadata["dockerfile"] = String::from_utf8_lossy(session.context.dockerfile()).into();
    }
    json!({
        "buildDefinition": {
            "buildType": BUILD,
            "externalParameters": request,
            "internalParameters": {"builderPlatform": Platform::host().to_string()},
            "resolvedDependencies": dependencies,
        },
        "runDetails": {
            "builder": {"id": format!("urn:build-tool:{}", env!("CARGO_PKG_VERSION"))},
            "metadata": metadata,
        },
    })
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
