//! What clients push.

use image_tool::address::digest::Hasher;
use image_tool::layout::{Error, Prune};

use super::client::{Got, Served, layout};
use crate::server::{INDEX, Image, MANIFEST, digest, noise};
use crate::world::World;

fn begin(served: &Served) -> String {
    let begun = served.ask("POST", "/v2/a/blobs/uploads/", &[], b"").is(202);
    assert_eq!(begun.header("Range"), "0-0");
    begun.header("Location").to_owned()
}

fn chunk(served: &Served, method: &str, path: &str, range: &str, bytes: &[u8]) -> Got {
    served.ask(method, path, &[("Content-Range", range)], bytes)
}

#[test]
fn chunks_come_in_their_order() {
    let (world, bytes) = (World::new(), noise(1000, 1));
    let served = Served::start(&world, &["images"]);
    let upload = begin(&served);
    let early = chunk(&served, "PATCH", &upload, "500-999", &bytes[500..]);
    early.refused(416, "BLOB_UPLOAD_INVALID");
    let first = chunk(&served, "PATCH", &upload, "0-499", &bytes[..500]).is(202);
    assert_eq!((first.header("Range"), first.header("Location")), ("0-499", upload.as_str()));
    let again = chunk(&served, "PATCH", &upload, "0-499", &bytes[..500]);
    assert_eq!(again.refused(416, "BLOB_UPLOAD_INVALID").header("Range"), "0-499");
    chunk(&served, "PATCH", &upload, "500-998", &bytes[500..]).refused(400, "SIZE_INVALID");
    chunk(&served, "PATCH", &upload, "bytes 500-999/1000", &bytes[500..]).refused(400, "BLOB_UPLOAD_INVALID");
    let status = served.get(&upload).is(204);
    assert_eq!((status.header("Range"), status.header("Location")), ("0-499", upload.as_str()));
    let end = format!("{upload}?digest={}", digest(&bytes));
    chunk(&served, "PUT", &end, "0-499", &bytes[..500]).refused(416, "BLOB_UPLOAD_INVALID");
    let made = chunk(&served, "PUT", &end, "500-999", &bytes[500..]).is(201);
    assert_eq!(made.header("Location"), format!("/v2/a/blobs/{}", digest(&bytes)));
    assert_eq!(served.get(made.header("Location")).body, bytes);
    served.get(&upload).refused(404, "BLOB_UPLOAD_UNKNOWN");
}

#[test]
fn an_upload_goes_on_after_the_server_was_killed() {
    let (world, bytes) = (World::new(), noise(100_000, 2));
    let served = Served::start(&world, &["images"]);
    let upload = begin(&served);
    chunk(&served, "PATCH", &upload, "0-49999", &bytes[..50_000]).is(202);
    served.kill();
    let served = Served::start(&world, &["images"]);
    assert_eq!(served.get(&upload).is(204).header("Range"), "0-49999");
    chunk(&served, "PATCH", &upload, "50000-99999", &bytes[50_000..]).is(202);
    served.ask("PUT", &format!("{upload}?digest={}", digest(&bytes)), &[], b"").is(201);
    world.assert_sound("images");
    assert!(!world.path("images/.partial").exists());
}

#[test]
fn an_upload_that_is_not_wanted_any_more_leaves_nothing() {
    let world = World::new();
    let served = Served::start(&world, &["images"]);
    let upload = begin(&served);
    served.ask("PATCH", &upload, &[], b"hello").is(202);
    served.ask("DELETE", &upload, &[], b"").is(204);
    for method in ["GET", "PATCH", "DELETE"] {
        served.ask(method, &upload, &[], b"").refused(404, "BLOB_UPLOAD_UNKNOWN");
    }
    for id in ["x", "00000000-0000-4000-8000-000000000000", "..%2f..%2findex.json"] {
        assert!(matches!(served.get(&format!("/v2/a/blobs/uploads/{id}")).status, 400 | 404), "{id}");
    }
    assert!(!world.path("images/.partial").exists());
    assert!(layout(&world, "images").lock_blobs().is_ok());
}

#[test]
fn what_is_not_what_its_digest_says_is_refused() {
    let world = World::new();
    let served = Served::start(&world, &["images"]);
    let other = digest(b"other");
    served.ask("POST", &format!("/v2/a/blobs/uploads/?digest={other}"), &[], b"hello").refused(400, "DIGEST_INVALID");
    let upload = begin(&served);
    served.ask("PUT", &upload, &[], b"hello").refused(400, "DIGEST_INVALID");
    served.ask("PUT", &format!("{upload}?digest=md5:x"), &[], b"hello").refused(400, "DIGEST_INVALID");
    served.ask("PUT", &format!("{upload}?digest={other}"), &[], b"hello").refused(400, "DIGEST_INVALID");
    served.get(&upload).refused(404, "BLOB_UPLOAD_UNKNOWN");
    served.get(&format!("/v2/a/blobs/{other}")).refused(404, "BLOB_UNKNOWN");
    served.ask("POST", "/v2/a/blobs/uploads/?digest-algorithm=md5", &[], b"").refused(400, "DIGEST_INVALID");
    served.manifest("a", &other, MANIFEST, &Image::new(&[]).manifest).refused(400, "DIGEST_INVALID");
    assert!(!world.path("images/.partial").exists());
}

#[test]
fn a_digest_may_have_another_algorithm() {
    let (world, bytes) = (World::new(), noise(1000, 3));
    let served = Served::start(&world, &["images"]);
    let mut hasher = Hasher::named("sha512").unwrap();
    hasher.update(&bytes);
    let digest = hasher.finish().to_string();
    for query in ["", "?digest-algorithm=sha512"] {
        let begun = served.ask("POST", &format!("/v2/a/blobs/uploads/{query}"), &[], b"").is(202);
        served.ask("PATCH", begun.header("Location"), &[], &bytes).is(202);
        served.ask("PUT", &format!("{}?digest={digest}", begun.header("Location")), &[], b"").is(201);
        assert_eq!(served.get(&format!("/v2/a/blobs/{digest}")).is(200).body, bytes, "{query}");
    }
}

#[test]
fn a_blob_that_is_there_is_mounted() {
    let world = World::new();
    let served = Served::start(&world, &["images"]);
    let there = served.blob("a", b"hello");
    for query in [format!("mount={there}&from=a"), format!("mount={there}")] {
        let made = served.ask("POST", &format!("/v2/b/blobs/uploads/?{query}"), &[], b"").is(201);
        assert_eq!(made.header("Location"), format!("/v2/b/blobs/{there}"));
    }
    let absent = format!("/v2/b/blobs/uploads/?mount={}&from=a", digest(b"x"));
    assert!(served.ask("POST", &absent, &[], b"").is(202).header("Location").contains("/uploads/"));
}

#[test]
fn one_manifest_takes_several_tags() {
    let (world, image) = (World::new(), Image::new(&[noise(10, 1)]));
    let served = Served::start(&world, &["images"]);
    served.push("a", "old", &image);
    let path = format!("/v2/a/manifests/{}?tag=1.2&tag=1&tag=latest&tag=1", image.digest());
    let made = served.ask("PUT", &path, &[("Content-Type", MANIFEST)], &image.manifest).is(201);
    assert_eq!(made.all("OCI-Tag"), ["1.2", "1", "latest"]);
    assert_eq!(served.get("/v2/a/tags/list").json()["tags"], serde_json::json!(["1", "1.2", "latest", "old"]));
    served
        .ask("PUT", &path.replace("latest", "-"), &[("Content-Type", MANIFEST)], &image.manifest)
        .refused(400, "MANIFEST_INVALID");
    let many: String = (0..101).map(|number| format!("&tag={number}")).collect();
    let path = format!("/v2/a/manifests/{}?{}", image.digest(), &many[1..]);
    served.ask("PUT", &path, &[("Content-Type", MANIFEST)], &image.manifest).refused(414, "UNSUPPORTED");
}

#[test]
fn a_manifest_that_is_none_is_refused() {
    let (world, image) = (World::new(), Image::new(&[noise(10, 1)]));
    let served = Served::start(&world, &["images"]);
    let missing = served.manifest("a", "1", MANIFEST, &image.manifest);
    missing.refused(400, "MANIFEST_BLOB_UNKNOWN");
    assert_eq!(missing.json()["errors"].as_array().unwrap().len(), 2, "each blob is named");
    served.push("a", "1", &image);
    for (media_type, bytes) in [
        (MANIFEST, &b"<html>"[..]),
        (MANIFEST, b"[]"),
        (INDEX, &image.manifest),
        ("application/vnd.docker.distribution.manifest.v2+json", &image.manifest),
        ("text/plain", &image.manifest),
        (MANIFEST, br#"{"schemaVersion":2,"config":{},"manifests":[]}"#),
        (MANIFEST, br#"{"schemaVersion":1,"fsLayers":[]}"#),
    ] {
        served.manifest("a", "2", media_type, bytes).refused(400, "MANIFEST_INVALID");
    }
    let large = [image.manifest.clone(), vec![b' '; 4 << 20]].concat();
    let refused = served.try_ask("PUT", "/v2/a/manifests/2", &[("Content-Type", MANIFEST)], &large);
    // A server may hang up on a client that goes on sending.
    assert!(refused.is_err_and(|error| !error.is_builder()) || served.get("/v2/a/manifests/2").status == 404);
    served.manifest("a", "-", MANIFEST, &image.manifest).refused(400, "MANIFEST_INVALID");
    served.manifest("a", "3", &format!("{MANIFEST}; charset=utf-8"), &image.manifest).is(201);
    let absent = serde_json::json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [
        {"mediaType": MANIFEST, "digest": digest(b"absent"), "size": 6},
        {"mediaType": MANIFEST, "digest": image.digest(), "size": image.manifest.len()},
    ]});
    served.manifest("a", "index", INDEX, absent.to_string().as_bytes()).is(201);
    world.assert_sound("images");
}

#[test]
fn a_tag_is_moved_only_if_the_client_knows_what_it_has() {
    let world = World::new();
    let (one, two) = (Image::new(&[noise(10, 1)]), Image::new(&[noise(10, 2)]));
    let served = Served::start(&world, &["images"]);
    served.push("a", "1", &one);
    served.push("a", "2", &two);
    let put = |condition: (&str, &str)| {
        served.ask("PUT", "/v2/a/manifests/1", &[("Content-Type", MANIFEST), condition], &two.manifest).status
    };
    assert_eq!(put(("If-None-Match", "*")), 412);
    assert_eq!(put(("If-Match", "\"other\"")), 412);
    assert_eq!(put(("If-Match", &format!("\"{}\"", one.digest()))), 201);
    // What the tag had is still there for whoever has noted its digest.
    assert_eq!(served.get(&format!("/v2/a/manifests/{}", one.digest())).is(200).body, one.manifest);
}

#[test]
fn garbage_is_not_collected_while_a_client_pushes() {
    let (world, image) = (World::new(), Image::new(&[noise(10, 1)]));
    let served = Served::start(&world, &["images"]);
    let layout = layout(&world, "images");
    let prune = || layout.prune(Prune::default());
    let upload = begin(&served);
    assert!(matches!(prune(), Err(Error::Busy { .. })), "an upload is in progress");
    served.ask("DELETE", &upload, &[], b"").is(204);
    assert!(prune().is_ok());
    for blob in image.blobs.values() {
        served.blob("a", blob);
        assert!(matches!(prune(), Err(Error::Busy { .. })), "a blob waits for its manifest");
    }
    served.manifest("a", "1", MANIFEST, &image.manifest).is(201);
    assert!(prune().unwrap().is_empty());
    // A blob that is garbage is kept from the moment that a client is told of it.
    layout.update_index(|index| Ok(index.remove(&"a:1".parse().unwrap()))).unwrap();
    served.head(&format!("/v2/a/blobs/{}", image.layers[0])).is(200);
    assert!(matches!(prune(), Err(Error::Busy { .. })));
}

#[test]
fn our_own_client_pushes_and_pulls() {
    let (world, image) = (World::new(), Image::new(&[noise(2_500_000, 1), noise(10, 2)]));
    crate::world::layout_with(&world, &image);
    let served = Served::start(&world, &["other"]);
    let name = format!("{}/team/app:1", served.address());
    world.run(&["push", "-q", "--chunk-size", "1", "images:a", &name]).good();
    assert!(world.has_image("other:team/app:1"));
    world.run(&["pull", "-q", &name, "back"]).good();
    world.assert_sound("back");
    assert_eq!(world.run(&["digest", &name]).good().out(), format!("{}\n", image.digest()));
    world.run(&["delete", &name]).good();
    assert!(!world.has_image("other:team/app:1"));
}
