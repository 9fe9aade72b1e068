//! convert.

use serde_json::Value;

use crate::work::{Work, address};

#[test]
fn a_converted_image_has_the_same_files_and_the_same_id() {
    let work = Work::new();
    let manifest =
        |name: &str| -> Value { serde_json::from_str(&work.run(&format!("show images:{name}")).ok()).unwrap() };
    let before = manifest("python:3.8");
    assert!(work.run("convert --ref zstd images:python:3.8").ok().starts_with("images:zstd@sha256:"));
    let after = manifest("zstd");
    assert_eq!(after["config"], before["config"], "the image's ID");
    for layer in after["layers"].as_array().unwrap() {
        assert_eq!(layer["mediaType"], "application/vnd.oci.image.layer.v1.tar+zstd");
    }
    assert_eq!(
        work.run_bytes("export images:zstd", b"").stdout,
        work.run_bytes("export images:python:3.8", b"").stdout
    );
    work.run("convert --compress gzip --ref gzip images:zstd").ok();
    assert_eq!(manifest("gzip"), before, "there and back");
    let same = address(&work, "zstd");
    assert_eq!(work.run_with("convert -", same.as_bytes()).ok(), same + "\n", "nothing to do");
    work.run("convert --compress none --ref plain images:zstd").ok();
    assert_eq!(manifest("plain")["layers"][0]["mediaType"], "application/vnd.oci.image.layer.v1.tar");
    work.run("verify images").ok();
}
