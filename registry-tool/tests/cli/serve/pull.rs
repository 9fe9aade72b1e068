//! What clients pull.

use super::client::{Served, layout};
use crate::server::{INDEX, Image, MANIFEST, digest, noise};
use crate::world::{World, layout_with};

#[test]
fn a_manifest_is_found_by_tag_and_digest() {
    let (world, image) = (World::new(), Image::new(&[noise(5000, 1)]));
    layout_with(&world, &image);
    let served = Served::start(&world, &["images"]);
    assert_eq!(served.get("/v2/").is(200).header("Docker-Distribution-Api-Version"), "registry/2.0");
    for reference in ["latest", &image.digest()] {
        let path = format!("/v2/a/manifests/{reference}");
        let got = served.get(&path).is(200);
        assert_eq!(got.body, image.manifest);
        let headers = ["Content-Type", "Docker-Content-Digest", "ETag", "X-Content-Type-Options"];
        let tag = format!("\"{}\"", image.digest());
        assert_eq!(headers.map(|name| got.header(name)), [MANIFEST, &image.digest(), &tag, "nosniff"]);
        let head = served.head(&path).is(200);
        assert_eq!(head.header("Content-Length"), image.manifest.len().to_string());
        assert_eq!((head.header("ETag"), head.body.len()), (tag.as_str(), 0));
        for known in [tag.as_str(), "*", &format!("\"x\", W/{tag}")] {
            assert_eq!(served.ask("GET", &path, &[("If-None-Match", known)], b"").is(304).body, b"", "{known}");
        }
        served.ask("GET", &path, &[("If-None-Match", "\"x\"")], b"").is(200);
        for (accept, status) in
            [(MANIFEST, 200), ("*/*", 200), ("text/html, application/json;q=0.5", 200), (INDEX, 404)]
        {
            served.ask("GET", &path, &[("Accept", accept)], b"").is(status);
        }
    }
    served.get("/v2/a/manifests/3.9").refused(404, "MANIFEST_UNKNOWN");
    served.get(&format!("/v2/a/manifests/{}", digest(b"x"))).refused(404, "MANIFEST_UNKNOWN");
    served.get("/v2/b/manifests/latest").refused(404, "NAME_UNKNOWN");
    served.get("/v2/A/manifests/latest").refused(400, "NAME_INVALID");
    served.get("/v2/a/manifests/sha256:abc").refused(400, "DIGEST_INVALID");
    served.get("/v2/a/manifests/sha384:abc").refused(400, "DIGEST_INVALID");
    served.get("/v2/a/blobs/..%2f..%2findex.json").refused(404, "UNSUPPORTED");
    served.get("/v1/").refused(404, "UNSUPPORTED");
    assert_eq!(served.ask("PUT", "/v2/", &[], b"").refused(405, "UNSUPPORTED").header("Allow"), "GET, HEAD");
}

#[test]
fn a_blob_is_sent_whole_or_in_part() {
    let layer = noise(300_000, 2);
    let (world, image) = (World::new(), Image::new(std::slice::from_ref(&layer)));
    layout_with(&world, &image);
    let served = Served::start(&world, &["images"]);
    let path = format!("/v2/a/blobs/{}", image.layers[0]);
    // The second time it is known to be sound.
    for _ in 0..2 {
        let got = served.get(&path).is(200);
        assert!(got.body == layer && got.header("Docker-Content-Digest") == image.layers[0]);
        assert_eq!(got.header("Accept-Ranges"), "bytes");
    }
    let head = served.head(&path).is(200);
    assert_eq!((head.header("Content-Length"), head.body.len()), ("300000", 0));
    for (range, part, bytes) in [
        ("bytes=0-9", "bytes 0-9/300000", &layer[..10]),
        ("bytes=299990-", "bytes 299990-299999/300000", &layer[299_990..]),
        ("bytes=-200000", "bytes 100000-299999/300000", &layer[100_000..]),
    ] {
        let got = served.ask("GET", &path, &[("Range", range)], b"").is(206);
        assert_eq!((got.header("Content-Range"), got.body == bytes), (part, true), "{range}");
    }
    let none = served.ask("GET", &path, &[("Range", "bytes=300000-")], b"").is(416);
    assert_eq!(none.header("Content-Range"), "bytes */300000");
    let with =
        |condition: &str| served.ask("GET", &path, &[("Range", "bytes=0-9"), ("If-Range", condition)], b"").status;
    assert_eq!(with(&format!("\"{}\"", image.layers[0])), 206);
    assert_eq!(with("\"other\""), 200, "a part of something else is of no use");
    served.ask("GET", &path, &[("If-None-Match", &format!("\"{}\"", image.layers[0]))], b"").is(304);
    served.get(&format!("/v2/a/blobs/{}", digest(b"x"))).refused(404, "BLOB_UNKNOWN");
}

#[test]
fn a_damaged_blob_never_arrives_whole() {
    let layer = noise(300_000, 3);
    let (world, image) = (World::new(), Image::new(std::slice::from_ref(&layer)));
    layout_with(&world, &image);
    let served = Served::start(&world, &["images"]);
    let path = format!("/v2/a/blobs/{}", image.layers[0]);
    served.get(&path).is(200);
    let file = world.path("images/blobs/sha256").join(&image.layers[0][7..]);
    let mut damaged = layer;
    damaged[150_000] ^= 1;
    std::fs::write(&file, damaged).unwrap();
    // It was sound before, but the file has changed.
    // Whoever asks while it is verified learns the same.
    std::thread::scope(|scope| {
        let ask = || served.try_ask("GET", &path, &[], b"").expect_err("the connection breaks");
        for asked in [scope.spawn(ask), scope.spawn(ask), scope.spawn(ask)] {
            asked.join().unwrap();
        }
    });
    served.log_with("ERROR blob");
    served.get("/v2/").is(200);
}

#[test]
fn referrers_are_listed_by_kind() {
    let (world, image) = (World::new(), Image::new(&[noise(500, 4)]));
    let served = Served::start(&world, &["images"]);
    served.push("a", "1", &image);
    let config = served.blob("a", b"{}");
    let mut digests = Vec::new();
    for kind in ["a/sbom+json", "a/signature"] {
        let manifest = serde_json::json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": kind, "layers": [],
            "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": config, "size": 2},
            "subject": {"mediaType": MANIFEST, "digest": image.digest(), "size": image.manifest.len()},
            "annotations": {"kind": kind},
        });
        let bytes = manifest.to_string().into_bytes();
        let made = served.manifest("a", &digest(&bytes), MANIFEST, &bytes).is(201);
        assert_eq!(made.header("OCI-Subject"), image.digest());
        digests.push(digest(&bytes));
    }
    let path = format!("/v2/a/referrers/{}", image.digest());
    let all = served.get(&path).is(200);
    assert_eq!((all.header("Content-Type"), all.header("OCI-Filters-Applied")), (INDEX, ""));
    assert_eq!(all.json()["manifests"].as_array().unwrap().len(), 2);
    for query in ["artifactType=a%2Fsbom%2Bjson", "artifactType=a/sbom+json"] {
        let some = served.get(&format!("{path}?{query}")).is(200);
        assert_eq!(some.header("OCI-Filters-Applied"), "artifactType");
        let index = some.json();
        let [only] = &index["manifests"].as_array().unwrap()[..] else { panic!("{index}") };
        assert_eq!(only["digest"], digests[0]);
        assert_eq!(
            (&only["artifactType"], &only["annotations"]["kind"]),
            (&"a/sbom+json".into(), &"a/sbom+json".into())
        );
    }
    let none = served.get(&format!("/v2/nowhere/referrers/{}", digest(b"x"))).is(200);
    assert_eq!(none.json()["manifests"], serde_json::json!([]));
    served.get("/v2/a/referrers/sha256:x").refused(400, "DIGEST_INVALID");
    let layout = layout(&world, "images");
    assert!(layout.lock_blobs().is_ok(), "nothing waits for a manifest any more");
}
