//! Attestations: what an image says of itself, in a manifest beside it in the index, or in files among its files.
//!
//! The form is BuildKit's (docs/attestations/attestation-storage.md): in-toto statements as layers of a manifest for the
//! platform unknown/unknown, whose annotations name the image. `provenance` and `sbom` make the predicates.

mod provenance;
mod sbom;

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use image_tool::address::digest::{Digest, Hasher};
use image_tool::beneath::Root;
use image_tool::error::During;
use image_tool::layout::Writer;
use oci_spec::image::{Descriptor, MediaType};
use serde_json::{Value, json};

use super::Finished;
use super::error::Error;
use crate::build::output::Form;
use crate::step::session::Session;

/// The media type of an in-toto statement.
const STATEMENT: &str = "application/vnd.in-toto+json";

/// Writes the attestations of an image, whose descriptor is `subject`. Returns none if none are asked for.
pub(super) fn write(
    session: &Session<'_>,
    finished: &Finished,
    form: &Form,
    writer: &Writer,
    subject: &Descriptor,
) -> Result<Option<Descriptor>, Error> {
    let predicates = predicates(session, finished, form)?;
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
    for Predicate { kind, body, .. } in predicates {
        let statement = statement(&subjects, kind, &body);
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

/// Writes the attestations of an image among its files in `folder`, of which they speak. Their names begin with a prefix, and have a
/// suffix before the extension.
pub(super) fn place(
    session: &Session<'_>,
    finished: &Finished,
    form: &Form,
    folder: &Path,
    (prefix, suffix): (&str, &str),
) -> Result<(), Error> {
    let predicates = predicates(session, finished, form)?;
    if predicates.is_empty() {
        return Ok(());
    }
    let root = Root::open(folder)?;
    let mut subjects = Vec::new();
    for entry in walkdir::WalkDir::new(folder).sort_by_file_name() {
        let entry = entry.map_err(io::Error::from).during("read", folder)?;
        if entry.file_type().is_file() {
            let path = entry.path().strip_prefix(folder).unwrap_or(entry.path());
            let digest = sha256(root.file(path)?).during("read", path)?;
            subjects.push(json!({"name": path.to_string_lossy(), "digest": {"sha256": digest.digest()}}));
        }
    }
    for Predicate { kind, body, file } in predicates {
        let (stem, extension) = file;
        let text = format!("{:#}", statement(&subjects, kind, &body));
        // A file of that name in the image is replaced, as in BuildKit.
        let name = format!("{prefix}{stem}{suffix}.{extension}");
        root.remove(&name)?;
        root.write(&name, text.as_bytes(), 0o600)?;
    }
    Ok(())
}

fn sha256(mut file: File) -> io::Result<Digest> {
    let (mut hasher, mut buffer) = (Hasher::sha256(), vec![0; 1 << 16]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hasher.finish()),
            length => hasher.update(&buffer[..length]),
        }
    }
}

/// What is said of an image.
struct Predicate {
    /// Its type, a URL.
    kind: &'static str,
    body: Value,
    /// BuildKit's name for a file with it: the stem, and the extension.
    file: (&'static str, &'static str),
}

/// What is asked for.
fn predicates(session: &Session<'_>, finished: &Finished, form: &Form) -> Result<Vec<Predicate>, Error> {
    let mut predicates = Vec::new();
    if form.sbom {
        let body = sbom::predicate(session, finished)?;
        predicates.push(Predicate { kind: sbom::TYPE, body, file: ("sbom.spdx", "json") });
    }
    if let Some(wanted) = &form.provenance {
        let body = provenance::predicate(session, &finished.platform, wanted);
        predicates.push(Predicate { kind: provenance::TYPE, body, file: ("provenance", "json") });
    }
    Ok(predicates)
}

fn statement(subjects: &[Value], kind: &str, predicate: &Value) -> Value {
    json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": subjects,
        "predicateType": kind,
        "predicate": predicate,
    })
}

fn statement_subject(name: &str, subject: &Descriptor) -> Value {
    let algorithm: &str = subject.digest().algorithm().as_ref();
    json!({"name": name, "digest": {algorithm: subject.digest().digest()}})
}
