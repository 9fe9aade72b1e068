//! What is in layouts beside plain images: artifacts in an image's form, mixed media types, layers with urls.

use image_tool::address::digest;
use oci_spec::image::MediaType;
use serde_json::{Value, json};

use crate::work::{Work, gzip, tar};

const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const DOCKER: &str = "application/vnd.docker.distribution.manifest.v2+json";

fn blob(work: &Work, media_type: &str, bytes: &[u8]) -> Value {
    let writer = work.layout().writer().unwrap();
    serde_json::to_value(writer.put(MediaType::from(media_type), bytes).unwrap()).unwrap()
}

/// Names a document; its descriptor says `told`.
fn publish(work: &Work, name: &str, told: &str, document: &Value) {
    let writer = work.layout().writer().unwrap();
    let descriptor = writer.put(MediaType::from(told), document.to_string().as_bytes()).unwrap();
    writer.publish(&name.parse().unwrap(), descriptor).unwrap();
}

#[test]
fn what_is_no_container_image_is_judged_by_its_digests() {
    let work = Work::new();
    let text = b"a statement";
    let about = |diff_ids: Value| {
        json!({"architecture": "", "os": "", "rootfs": {"type": "layers", "diff_ids": diff_ids}}).to_string()
    };
    let archive = gzip(&tar(&[("a", "a")]));
    let tgz = "application/vnd.oci.image.layer.v1.tar+gzip";
    let one = json!([digest::sha256(text).to_string()]);
    let cases = [
        ("attestation", CONFIG, about(one.clone()), "application/vnd.in-toto+json", &text[..]),
        ("signature", CONFIG, about(one), "application/vnd.dev.cosign.simplesigning.v1+json", text),
        ("fewer-diff-ids", CONFIG, about(json!([])), "text/plain", text),
        ("empty-config", CONFIG, "{}".to_owned(), "text/plain", text),
        ("policy", CONFIG, "{}".to_owned(), tgz, &archive[..]),
        ("chart", "application/vnd.cncf.helm.config.v1+json", "{}".to_owned(), tgz, text),
        ("oras", "application/vnd.oci.empty.v1+json", "{}".to_owned(), tgz, text),
    ];
    for (name, config_type, config, layer_type, layer) in cases {
        let layer = blob(&work, layer_type, layer);
        let config = blob(&work, config_type, config.as_bytes());
        publish(
            &work,
            name,
            MANIFEST,
            &json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer]}),
        );
        assert!(work.run(&format!("verify images:{name}")).ok().starts_with(&format!("images:{name}@")), "{name}");
    }
    publish(&work, "no-config", MANIFEST, &json!({"schemaVersion": 2, "layers": [blob(&work, "text/plain", text)]}));
    work.run("verify images:no-config").ok();

    // What claims to be an image is held to it, and a damaged blob is one whatever it is in.
    let config = blob(&work, CONFIG, about(json!([])).as_bytes());
    publish(
        &work,
        "short",
        MANIFEST,
        &json!({"schemaVersion": 2, "config": config, "layers": [blob(&work, tgz, &archive)]}),
    );
    work.run("verify images:short").fails(1, &["1 layers, but its config has 0 diff IDs"]);
    let both = json!({"schemaVersion": 2, "artifactType": "a/b", "config": config, "layers": [], "manifests": []});
    publish(&work, "both", MANIFEST, &both);
    work.run("verify images:both").fails(1, &["CVE-2021-41190"]);
    let path = work.path("images/blobs/sha256").join(digest::sha256(text).digest());
    std::fs::write(path, b"a Statement").unwrap();
    work.run("verify images:chart").fails(1, &["images:chart: blob sha256:", "got sha256:"]);
}

#[test]
fn oci_and_docker_types_of_one_document_may_be_mixed() {
    let work = Work::new();
    let plain: Value = serde_json::from_str(&work.run("show images:python:3.8").ok()).unwrap();
    for (name, told, own) in [("docker-in-oci", MANIFEST, DOCKER), ("oci-in-docker", DOCKER, MANIFEST)] {
        let mut document = plain.clone();
        document["mediaType"] = own.into();
        publish(&work, name, told, &document);
        work.run(&format!("verify images:{name}")).ok();
        work.run(&format!("unpack images:{name} {name}")).ok();
        // An image made of it says one thing.
        work.run(&format!("config -l a=b images:{name}")).ok();
        let entry = work.run(&format!("list --json images:{name}")).ok();
        assert!(entry.contains(own), "{name}: {entry}");
    }
    let mut index = plain;
    index["mediaType"] = "application/vnd.oci.image.index.v1+json".into();
    publish(&work, "confused", MANIFEST, &index);
    work.run("unpack images:confused confused").fails(1, &["it says that it is"]);
}

#[test]
fn a_layer_that_may_not_be_distributed_is_read_if_it_is_there() {
    let work = Work::new();
    for media_type in [
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
    ] {
        let mut manifest: Value = serde_json::from_str(&work.run("show images:python:3.8").ok()).unwrap();
        manifest["layers"][0]["mediaType"] = media_type.into();
        manifest["layers"][0]["urls"] = json!(["https://example.com/layer"]);
        publish(&work, "foreign", MANIFEST, &manifest);
        work.run("verify images:foreign").ok();
        work.run("unpack images:foreign out").ok();
        std::fs::remove_dir_all(work.path("out")).unwrap();
    }
}

#[test]
fn gc_keeps_what_an_artifact_refers_to() {
    let work = Work::new();
    let told = "application/vnd.oci.artifact.manifest.v1+json";
    let kept = blob(&work, "text/plain", b"kept");
    publish(&work, "artifact", told, &json!({"mediaType": told, "artifactType": "a/b", "blobs": [kept]}));
    work.run("gc --wait images").ok();
    work.run("verify images:artifact").ok();
    assert!(work.path("images/blobs/sha256").join(&kept["digest"].as_str().unwrap()[7..]).exists());
}
