//! Provenance: what an image was made from, and how (SLSA provenance v1).

use std::sync::PoisonError;

use image_tool::layout::platform::Platform;
use serde_json::{Value, json};

use crate::build::output::Provenance;
use crate::source::context::Origin;
use crate::step::session::Session;

/// The type of the predicate.
pub(super) const TYPE: &str = "https://slsa.dev/provenance/v1";

/// What external parameters mean in this program's provenance.
const BUILD: &str = "urn:build-tool:dockerfile:v1";

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
            json!({"uri": format!("pkg:docker/{name}?platform={}", of.replace('/', "%2F")), "digest": {algorithm: hex}})
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
