//! What clients delete.

use super::client::{Served, layout};
use crate::server::{INDEX, Image, MANIFEST, digest, noise};
use crate::world::World;

#[test]
fn a_tag_goes_and_its_manifest_stays() {
    let (world, image) = (World::new(), Image::new(&[noise(10, 1)]));
    let served = Served::start(&world, &["images"]);
    served.push("a", "1", &image);
    served.push("a", "2", &image);
    served.push("b", "1", &image);
    let by_digest = format!("/v2/a/manifests/{}", image.digest());
    served.ask("DELETE", "/v2/a/manifests/1", &[], b"").is(202);
    served.ask("DELETE", "/v2/a/manifests/1", &[], b"").refused(404, "MANIFEST_UNKNOWN");
    served.get("/v2/a/manifests/1").is(404);
    served.get("/v2/a/manifests/2").is(200);
    served.ask("DELETE", "/v2/a/manifests/2", &[], b"").is(202);
    served.push("a", "3", &image);
    served.ask("DELETE", &by_digest, &[], b"").is(202);
    served.get("/v2/a/manifests/3").is(404);
    served.get(&by_digest).is(404);
    served.get("/v2/b/manifests/1").is(200);
    served.ask("DELETE", "/v2/nowhere/manifests/1", &[], b"").refused(404, "NAME_UNKNOWN");
}

#[test]
fn a_manifest_without_a_tag_is_found_by_its_digest() {
    let (world, image) = (World::new(), Image::new(&[noise(10, 1)]));
    let served = Served::start(&world, &["images"]);
    served.push("a", &image.digest(), &image);
    let path = format!("/v2/a/manifests/{}", image.digest());
    served.get(&path).is(200);
    served.push("a", "1", &image);
    served.ask("DELETE", "/v2/a/manifests/1", &[], b"").is(202);
    served.get(&path).is(200);
    served.ask("DELETE", &path, &[], b"").is(202);
    served.get(&path).is(404);
}

#[test]
fn the_manifests_of_an_index_outlive_it() {
    let (world, image) = (World::new(), Image::new(&[noise(10, 1)]));
    let served = Served::start(&world, &["images"]);
    served.push("a", &image.digest(), &image);
    let index = serde_json::json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [
        {"mediaType": MANIFEST, "digest": image.digest(), "size": image.manifest.len()},
    ]});
    let index = index.to_string().into_bytes();
    served.manifest("a", "1", INDEX, &index).is(201);
    let entries = layout(&world, "images").index().unwrap().entries().unwrap();
    assert_eq!(entries.len(), 1, "an image that belongs to an index has no entry of its own");
    let path = format!("/v2/a/manifests/{}", image.digest());
    served.get(&path).is(200);
    served.ask("DELETE", &path, &[], b"").refused(405, "UNSUPPORTED");
    served.ask("DELETE", &format!("/v2/a/manifests/{}", digest(&index)), &[], b"").is(202);
    served.get(&path).is(200);
    served.ask("DELETE", &path, &[], b"").is(202);
    served.get(&path).is(404);
}

#[test]
fn a_blob_goes_unless_an_image_uses_it() {
    let (world, image) = (World::new(), Image::new(&[noise(10, 1)]));
    let served = Served::start(&world, &["images"]);
    served.push("a", "1", &image);
    let used = format!("/v2/a/blobs/{}", image.layers[0]);
    served.ask("DELETE", &used, &[], b"").refused(405, "UNSUPPORTED");
    let loose = format!("/v2/a/blobs/{}", served.blob("a", b"hello"));
    let file = world.path("images/blobs/sha256").join(&digest(b"hello")[7..]);
    served.ask("DELETE", &loose, &[], b"").is(202);
    assert!(!file.exists());
    served.head(&loose).is(404);
    served.ask("DELETE", &loose, &[], b"").refused(404, "BLOB_UNKNOWN");
    // While somebody writes to the layout it is only hidden, and shown again when it is pushed once more.
    served.blob("a", b"hello");
    let writer = layout(&world, "images").writer().unwrap();
    served.ask("DELETE", &loose, &[], b"").is(202);
    served.head(&loose).is(404);
    assert!(file.exists());
    served.blob("a", b"hello");
    served.head(&loose).is(200);
    drop(writer);
}
