//! convert.

use oci_spec::image::MediaType;
use serde_json::Value;

use crate::work::{Work, address, tar};

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

#[test]
fn a_level_is_kept_to_and_all_platforms_are_converted() {
    let work = Work::new();
    let text = "all work and no play ".repeat(20_000);
    work.image("text", &[&tar(&[("a", &text)])], MediaType::ImageLayerGzip);
    let size = |level: u8| -> u64 {
        work.run(&format!("convert --compress gzip --level {level} --ref at:{level} images:text")).ok();
        let manifest: Value = serde_json::from_str(&work.run(&format!("show images:at:{level}")).ok()).unwrap();
        manifest["layers"][0]["size"].as_u64().unwrap()
    };
    assert!(size(9) < size(1));
    work.run("convert --compress gzip --level 10 images:text").fails(1, &["gzip has no level 10 (it has 0 to 9)"]);
    work.run("convert --compress none --level 1 images:text").fails(1, &["plain tar has no level 1"]);
    work.run("config --set-platform linux/s390x --ref other images:busybox").ok();
    work.run("index create images:multi images:python:3.8 images:other").ok();
    work.run("convert --all-platforms images:multi").ok();
    let index: Value = serde_json::from_str(&work.run("show images:multi").ok()).unwrap();
    assert_eq!(index["manifests"][1]["platform"]["architecture"], "s390x");
    for platform in ["amd64", "s390x"] {
        let shown = work.run(&format!("show --platform {platform} images:multi")).ok();
        assert!(shown.contains("v1.tar+zstd"), "{shown}");
    }
    work.run("verify images").ok();
}
