//! Single blobs, manifests and tags: `registry-tool blob`, `manifest` and `tag`.

use std::process::Stdio;

use serde_json::{Value, json};

use super::client::Served;
use crate::server::{Image, MANIFEST, Reply, digest, noise};
use crate::world::{World, honest, is_layer, moody};

#[test]
fn a_blob_goes_there_and_back() {
    let world = World::new();
    let served = Served::start(&world, &["images"]);
    let bytes = noise(300_000, 7);
    std::fs::write(world.path("file"), &bytes).unwrap();
    let repository = format!("{}/a", served.address());
    let name = format!("{repository}@{}", digest(&bytes));
    assert_eq!(world.run(&["blob", "push", &repository, "file"]).good().out(), format!("{name}\n"));
    assert_eq!(world.run(&["blob", "get", &name]).good().0.stdout, bytes);
    world.run(&["blob", "get", "-o", "copy", &name]).good();
    assert_eq!(std::fs::read(world.path("copy")).unwrap(), bytes);
    let head: Value = serde_json::from_str(&world.run(&["blob", "head", &name]).good().out()).unwrap();
    let expected = json!({"mediaType": "application/octet-stream", "digest": digest(&bytes), "size": bytes.len()});
    assert_eq!(head, expected);
    let piped = world.run_with_input(&["blob", "push", &repository, "-"], "hello\n").good().out();
    assert_eq!(piped, format!("{repository}@{}\n", digest(b"hello\n")));
    world.run(&["blob", "push", &repository, "file"]).good();
    world.run(&["blob", "delete", &name]).good();
    world.run(&["blob", "get", &name]).fails_in_a_line(&[&name, "no such blob"]);
    world.run(&["blob", "head", &name]).fails_in_a_line(&["no such blob"]);
    world.run(&["blob", "delete", &name]).fails_in_a_line(&["not found"]);
    assert!(served.log().iter().filter(|line| line.contains("PUT")).count() <= 2, "the third was there");
    for wrong in [repository.as_str(), &format!("{repository}:1"), &format!("{repository}:1@{}", digest(b""))] {
        let ran = world.run(&["blob", "get", wrong]);
        assert_eq!(ran.0.status.code(), Some(2), "{wrong}");
        assert!(ran.err().contains("expected REPOSITORY@DIGEST"), "{}", ran.err());
    }
}

#[test]
fn a_blob_is_read_to_its_end_and_only_the_right_one() {
    let world = World::new();
    let image = Image::new(&[noise(400_000, 1)]);
    let bytes = image.blobs[&image.layers[0]].clone();
    // The connection breaks twice; the second time the registry knows no ranges.
    let cut = moody(&image, 1, is_layer(&image), move |request, _| Reply::blob(request, &bytes).cut(100_000));
    let name = format!("{}/a@{}", cut.address(), image.layers[0]);
    let got = world.run(&["blob", "get", "--retry-delay", "0.01", &name]);
    assert_eq!(digest(&got.good().0.stdout), image.layers[0]);
    let asked = cut.seen_at("GET", &image.layers[0]);
    assert!(asked[1].header("range").is_some_and(|range| range.starts_with("bytes=")), "{asked:?}");
    let bytes = image.blobs[&image.layers[0]].clone();
    let whole = moody(&image, 2, is_layer(&image), move |request, _| {
        let reply = Reply::new(200, bytes.clone());
        if request.header("range").is_none() { reply.cut(100_000) } else { reply }
    });
    let name = format!("{}/a@{}", whole.address(), image.layers[0]);
    let got = world.run(&["blob", "get", "--retry-delay", "0.01", &name]);
    assert_eq!(digest(&got.good().0.stdout), image.layers[0]);
    let liar = moody(&image, usize::MAX, is_layer(&image), |_, _| Reply::new(200, noise(400_000, 2)));
    let name = format!("{}/a@{}", liar.address(), image.layers[0]);
    let ran = world.run(&["blob", "get", "-o", "file", &name]);
    ran.fails(&[&name, "expected"]);
    assert!(!world.path("file").exists());
}

#[test]
fn a_manifest_goes_there_and_back_whatever_it_is() {
    let world = World::new();
    let served = Served::start(&world, &["images"]);
    let image = Image::new(&[noise(50, 1)]);
    for blob in image.blobs.values() {
        served.blob("a", blob);
    }
    let name = format!("{}/a", served.address());
    std::fs::write(world.path("manifest.json"), &image.manifest).unwrap();
    let put = |words: &[&str]| world.run(&[&["manifest", "put"], words].concat());
    let tagged = format!("{name}:1");
    assert_eq!(put(&[&tagged, "manifest.json"]).good().out(), format!("{tagged}@{}\n", image.digest()));
    assert_eq!(put(&[&name, "manifest.json"]).good().out(), format!("{name}@{}\n", image.digest()));
    assert_eq!(served.get("/v2/a/tags/list").json()["tags"], json!(["1"]));
    assert_eq!(world.run(&["manifest", "get", &tagged]).good().0.stdout, image.manifest);
    let head: Value = serde_json::from_str(&world.run(&["manifest", "head", &tagged]).good().out()).unwrap();
    assert_eq!(head, json!({"mediaType": MANIFEST, "digest": image.digest(), "size": image.manifest.len()}));
    put(&[&format!("{name}@{}", digest(b"x")), "manifest.json"]).fails_in_a_line(&["another digest", &image.digest()]);
    let manifest = String::from_utf8(image.manifest.clone()).unwrap();
    let bare = manifest.replace(&format!("\"mediaType\":\"{MANIFEST}\","), "");
    assert!(bare.len() < manifest.len());
    let words = ["manifest", "put", &format!("{name}:2"), "-"];
    world.run_with_input(&words, &bare).fails_in_a_line(&["standard input", "no mediaType"]);
    world.run_with_input(&[&words[..], &["--media-type", MANIFEST]].concat(), &bare).good();
    world.run_with_input(&words, "{\"mediaType\":").fails_in_a_line(&["no mediaType"]);
    let missing = Image::new(&[noise(50, 2)]);
    let text = String::from_utf8(missing.manifest.clone()).unwrap();
    world.run_with_input(&words, &text).fails(&["there is no blob"]);
}

#[test]
fn a_document_that_no_image_is_made_of_is_read_too() {
    let world = World::new();
    let odd = r#"{"mediaType":"application/vnd.example+json","x":1}"#;
    let image = Image::new(&[noise(50, 1)]);
    let is_manifest = |request: &crate::server::Request| request.path.contains("/manifests/");
    let server = moody(&image, usize::MAX, is_manifest, move |_, _| Reply::new(200, odd));
    let name = format!("{}/a:1", server.address());
    assert_eq!(world.run(&["manifest", "get", &name]).good().out(), odd);
    let head: Value = serde_json::from_str(&world.run(&["manifest", "head", &name]).good().out()).unwrap();
    assert_eq!(head["mediaType"], "application/vnd.example+json");
    assert_eq!(head["digest"], digest(odd.as_bytes()));
    let pinned = format!("{}/a@{}", server.address(), digest(b"another"));
    world.run(&["manifest", "get", &pinned]).fails(&["expected"]);
    let liar = moody(&image, usize::MAX, is_manifest, move |_, _| {
        Reply::new(200, odd).header("Docker-Content-Digest", &digest(b"another"))
    });
    world.run(&["manifest", "get", &format!("{}/a:1", liar.address())]).fails(&["its bytes are"]);
}

#[test]
fn an_image_gets_more_tags_without_a_layer_being_read() {
    let world = World::new();
    let image = Image::new(&[noise(50, 1)]);
    let served = Served::start(&world, &["images"]);
    served.push("a", "1.2.3", &image);
    let name = format!("{}/a", served.address());
    let printed = world.run(&["tag", &format!("{name}:1.2.3"), "1.2", "latest"]).good().out();
    let digest = image.digest();
    assert_eq!(printed, format!("{name}:1.2@{digest}\n{name}:latest@{digest}\n"));
    assert_eq!(served.get("/v2/a/tags/list").json()["tags"], json!(["1.2", "1.2.3", "latest"]));
    assert!(!served.log().iter().any(|line| line.contains("GET /v2/a/blobs/")));
    world.run(&["tag", &format!("{name}:none"), "x"]).fails_in_a_line(&["not found"]);
    assert_eq!(world.run(&["tag", &name, "a/b"]).0.status.code(), Some(2));
    assert_eq!(world.run(&["tag", &name]).0.status.code(), Some(2));
    // What reads from a closed pipe ends quietly.
    let server = honest(&image);
    let blob = format!("{}/a@{}", server.address(), image.layers[0]);
    let mut child = world.command(&["blob", "get", &blob]).stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert!(child.wait().unwrap().success());
}
