//! Attestations: what an image says of itself, in a manifest beside it in the index.
//!
//! The form is BuildKit's (docs/attestations/attestation-storage.md): in-toto statements as layers of a manifest for the
//! platform unknown/unknown, whose annotations name the image. `provenance` and `sbom` make the predicates.

mod provenance;
mod sbom;

use image_tool::layout::Writer;
use oci_spec::image::{Descriptor, MediaType};
use serde_json::{Value, json};

use super::Finished;
use super::error::Error;
use crate::build::output::Delivery;
use crate::step::session::Session;

/// The media type of an in-toto statement.
const STATEMENT: &str = "application/vnd.in-toto+json";

/// Writes the attestations of an image, whose descriptor is `subject`. Returns none if none are asked for.
pub(super) fn write(
    session: &Session<'_>,
    finished: &Finished,
    delivery: &Delivery,
    writer: &Writer,
    subject: &Descriptor,
) -> Result<Option<Descriptor>, Error> {
    let mut predicates: Vec<(&str, Value)> = Vec::new();
    if delivery.sbom {
        predicates.push((sbom::TYPE, sbom::predicate(session, finished)?));
    }
    if let Some(mode) = delivery.provenance {
        predicates.push((provenance::TYPE, provenance::predicate(session, &finished.platform, mode)));
    }
    if predicates.is_empty() {
        return Ok(None);
    }
    let digest = subject.digest();
    let names = session.options.tags.iter().filter_map(|tag| tag.reference());
    let mut subjects: Vec<Value> = names.map(|name| statement_subject(name.as_str(), subject)).collect();
    if subjects.is_empty() {
        subjects.push(statement_subject("_", subject));
    }
    let (mut layers, mut diff_ids) = (Vec::new(), Vec::new());
    for (kind, predicate) in predicates {
        let statement = json!({
            "_type": "https://in-toto.io/Statement/v1",
            "subject": subjects,
            "predicateType": kind,
            "predicate": predicate,
        });
        let blob = writer.put(MediaType::Other(STATEMENT.to_owned()), statement.to_string().as_bytes())?;
        diff_ids.push(blob.digest().to_string());
        let mut layer = json!(blob);
        layer["annotations"] = json!({"in-toto.io/predicate-type": kind});
        layers.push(layer);
    }
    let config = json!({
        "architecture": "unknown",
        "os": "unknown",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    let config = writer.put(MediaType::ImageConfig, config.to_string().as_bytes())?;
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MediaType::ImageManifest.to_string(),
        "config": config,
        "layers": layers,
    });
    let manifest = writer.put(MediaType::ImageManifest, manifest.to_string().as_bytes())?;
    let mut descriptor = json!(manifest);
    descriptor["platform"] = json!({"architecture": "unknown", "os": "unknown"});
    descriptor["annotations"] = json!({
        "vnd.docker.reference.digest": digest.to_string(),
        "vnd.docker.reference.type": "attestation-manifest",
    });
    Ok(Some(serde_json::from_value(descriptor).expect("it is a descriptor with a platform and annotations")))
}

fn statement_subject(name: &str, subject: &Descriptor) -> Value {
    let algorithm: &str = subject.digest().algorithm().as_ref();
    json!({"name": name, "digest": {algorithm: subject.digest().digest()}})
}
