//! tree.

use oci_spec::image::MediaType;
use serde_json::Value;

use crate::work::{Work, tar};

#[test]
fn tree_tells_what_is_wasted() {
    let work = Work::new();
    let base = tar(&[
        ("keep", "12345"),
        ("dir/", ""),
        ("dir/old", "123"),
        ("replaced", "1234567"),
        ("was-dir/", ""),
        ("was-dir/x", "1"),
    ]);
    let top = tar(&[
        ("dir/.wh..wh..opq", ""),
        ("dir/new", "12"),
        ("replaced", "1"),
        ("was-dir", "now a file"),
        (".wh.nothing", ""),
    ]);
    work.image("waste", &[&base, &top], MediaType::ImageLayerGzip);
    let tree: Value = serde_json::from_str(&work.run("tree --json images:waste").ok()).unwrap();
    let sizes = |field: &str| [0, 1].map(|layer: usize| tree["layers"][layer][field].as_u64().unwrap());
    assert_eq!((sizes("size"), sizes("wasted")), ([16, 13], [11, 0]), "{tree}");
    let waste: Vec<&str> =
        tree["waste"].as_array().unwrap().iter().map(|waste| waste["path"].as_str().unwrap()).collect();
    assert_eq!(waste, ["replaced", "dir/old", "was-dir/x"]);
    assert_eq!(tree["root"]["size"], 18);
    assert_eq!(tree["root"]["children"]["dir"]["children"].as_object().unwrap().len(), 1);
    let text = work.run("tree images:waste").ok();
    assert!(text.contains("29B in 2 layers, 11B (37.9%) wasted") && text.contains("/dir"), "{text}");
    let page = work.run("tree --html images:waste").ok();
    assert!(
        page.starts_with("<!DOCTYPE html>") && page.contains("<title>/keep 5B</title>") && !page.contains("<script"),
        "{page}"
    );
    work.run("tree images:nope").fails(1, &["no such image"]);
}
