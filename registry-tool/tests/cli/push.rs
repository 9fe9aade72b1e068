//! `registry-tool push`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::server::{Image, Reply, Request, Server, Store, noise};
use crate::world::{World, keeping, layout_with};

#[test]
fn push_wants_one_address_on_standard_input() {
    let world = World::new();
    world.run_with_input(&["push", "-", "localhost:1/a"], "").fails(&["standard input is empty"]);
    world.run_with_input(&["push", "-", "localhost:1/a"], "images:a\nimages:b\n").fails(&["more than one line"]);
    world.run(&["push", "images:a", "localhost:1/a"]).fails(&["images:a: no such image"]);
    world.run(&["push", "images", "localhost:1/a"]).fails(&["images: no image layout here"]);
    let usage = world.run(&["push", "images:a", "docker://localhost:1/a"]);
    assert_eq!(usage.0.status.code(), Some(2));
    assert!(usage.err().contains("without the transport prefix"), "{}", usage.err());
}

#[test]
fn push_sends_what_the_registry_lacks_and_prints_the_name() {
    let (world, image) = (World::new(), Image::new(&[noise(5000, 1)]));
    layout_with(&world, &image);
    let (server, store) = keeping(|_| None);
    let name = format!("{}/team/app", server.address());
    let short = &image.layers[0][7..19];
    let ran = world.run_with_input(&["push", "-", &name], "images:a\n");
    assert_eq!(ran.good().out(), format!("{name}:latest@{}\n", image.digest()));
    let said = format!(
        "The push refers to repository [{name}]\nUsing default tag: latest\n{short}: Pushed\nlatest: digest: {} size: {}\n",
        image.digest(),
        image.manifest.len()
    );
    assert_eq!(ran.err(), said);
    assert_eq!(*store.blobs.lock().unwrap(), image.blobs);
    assert_eq!(store.manifests.lock().unwrap()["team/app/latest"].1, image.manifest);
    let again = world.run(&["push", "images:a", &format!("{name}:2")]);
    assert!(again.good().err().contains(&format!("{short}: Layer already exists\n")), "{}", again.err());
}

#[test]
fn push_sends_large_blobs_in_pieces_that_go_on_where_they_broke() {
    let (world, image) = (World::new(), Image::new(&[noise(2_500_000, 1)]));
    layout_with(&world, &image);
    let count = AtomicUsize::new(0);
    // The second piece meets a registry that is out of order for a moment.
    let (server, store) = keeping(move |request| {
        (request.method == "PATCH" && count.fetch_add(1, Ordering::SeqCst) == 1).then(|| Reply::new(503, ""))
    });
    let name = format!("{}/app:1", server.address());
    world.run(&["push", "--chunk-size", "1", "--retry-delay", "0.01", "images:a", &name]).good();
    assert_eq!(*store.blobs.lock().unwrap(), image.blobs);
    let ranges: Vec<String> =
        server.seen().iter().filter_map(|request| request.header("content-range").map(str::to_owned)).collect();
    assert_eq!(ranges, ["0-1048575", "1048576-2097151", "1048576-2097151", "2097152-2499999"]);
}

#[test]
fn push_begins_again_if_the_registry_forgot_the_upload() {
    let (world, image) = (World::new(), Image::new(&[noise(2_500_000, 1)]));
    layout_with(&world, &image);
    let count = AtomicUsize::new(0);
    let (server, store) = keeping(move |request| {
        let forgotten = match request.method.as_str() {
            "PATCH" => count.fetch_add(1, Ordering::SeqCst) == 1,
            "GET" => request.path.contains("/uploads/"),
            _ => false,
        };
        forgotten.then(|| Reply::new(404, ""))
    });
    let name = format!("{}/app:1", server.address());
    world.run(&["push", "--chunk-size", "1", "--retry-delay", "0.01", "images:a", &name]).good();
    assert_eq!(*store.blobs.lock().unwrap(), image.blobs);
    let seen = server.seen();
    let ranges: Vec<&str> = seen.iter().filter_map(|request| request.header("content-range")).collect();
    assert_eq!(ranges, ["0-1048575", "1048576-2097151", "0-1048575", "1048576-2097151", "2097152-2499999"]);
}

#[test]
fn push_does_not_need_the_answer_to_the_end_of_an_upload() {
    let (world, image) = (World::new(), Image::new(&[noise(1_500_000, 1)]));
    layout_with(&world, &image);
    let store = Arc::new(Store::default());
    let kept = Arc::clone(&store);
    let ends =
        |request: &Request| request.method == "PUT" && request.path.contains("/uploads/") && request.body.is_empty();
    let count = AtomicUsize::new(0);
    // The blob is stored, and the answer is lost.
    let server = Server::new(move |request| {
        let reply = kept.answer(request);
        if ends(request) && count.fetch_add(1, Ordering::SeqCst) == 0 { Reply::new(503, "") } else { reply }
    });
    let name = format!("{}/app:1", server.address());
    world.run(&["push", "--chunk-size", "1", "--retry-delay", "0.01", "images:a", &name]).good();
    assert_eq!(*store.blobs.lock().unwrap(), image.blobs);
    assert_eq!(server.seen().iter().filter(|request| ends(request)).count(), 2);
}

#[test]
fn push_mounts_what_the_registry_has_elsewhere() {
    let (world, image) = (World::new(), Image::new(&[noise(5000, 1)]));
    let shown = image.clone();
    let (server, _store) = keeping(move |request| match request.method.as_str() {
        "POST" if request.query.contains("from=base") => Some(Reply::new(201, "").header("Location", "/x")),
        "GET" if request.path.contains("/base/") => Some(shown.answer(request)),
        _ => None,
    });
    // Pulled from there, so its name tells where the blobs are.
    world.run(&["pull", "-q", &format!("{}/base:3.8", server.address()), "images"]).good();
    let (source, name) = (format!("images:{}/base:3.8", server.address()), format!("{}/app:1", server.address()));
    let ran = world.run(&["push", &source, &name]);
    assert!(ran.good().err().contains(": Mounted from base\n"), "{}", ran.err());
    assert!(server.seen().iter().all(|request| request.method != "PATCH" && !request.path.contains("/uploads/0")));
    // A registry that begins an upload instead gets the bytes.
    let (server, store) = keeping(|_| None);
    let name = format!("{}/app:1", server.address());
    let ran = world.run(&["push", "--mount-from", "base", &source, &name]);
    assert!(ran.good().err().contains(": Pushed\n"), "{}", ran.err());
    assert_eq!(*store.blobs.lock().unwrap(), image.blobs);
}

#[test]
fn an_upload_elsewhere_gets_the_bytes_but_not_the_token() {
    let (world, image) = (World::new(), Image::new(&[noise(2_000_000, 1)]));
    layout_with(&world, &image);
    for chunk in ["1", "64"] {
        let (storage, store) = keeping(|_| None);
        let (elsewhere, kept) = (storage.address(), Arc::clone(&store));
        let server = Server::new(move |request| {
            let host = request.header("host").unwrap_or_default();
            if request.path == "/token" {
                return Reply::new(200, r#"{"token":"good"}"#);
            }
            if request.header("authorization") != Some("Bearer good") {
                return Reply::new(401, "{}")
                    .header("WWW-Authenticate", &format!("Bearer realm=\"http://{host}/token\""));
            }
            let reply = kept.answer(request);
            match reply.headers.iter().find(|(name, _)| name == "Location") {
                Some((_, path)) if request.method == "POST" => {
                    Reply::new(202, "").header("Location", &format!("http://{elsewhere}{path}"))
                }
                _ => reply,
            }
        });
        let name = format!("{}/app:1", server.address());
        world.run(&["push", "--chunk-size", chunk, "images:a", &name]).good();
        assert_eq!(*store.blobs.lock().unwrap(), image.blobs);
        assert!(!storage.seen().is_empty());
        assert!(storage.seen().iter().all(|request| request.header("authorization").is_none()), "chunk {chunk}");
        let scopes: Vec<String> = server.seen_at("GET", "/token").into_iter().map(|request| request.query).collect();
        assert!(scopes.iter().any(|query| query.contains("scope=repository%3Aapp%3Apull%2Cpush")), "{scopes:?}");
    }
}

#[test]
fn a_damaged_blob_never_becomes_one_at_the_registry() {
    for (size, chunk) in [(5000, 128), (3_000_000, 128), (3_000_000, 1)] {
        let (world, image) = (World::new(), Image::new(&[noise(size, 1)]));
        layout_with(&world, &image);
        let blob = format!("images/blobs/sha256/{}", &image.layers[0][7..]);
        let mut bytes = std::fs::read(world.path(&blob)).unwrap();
        bytes[size - 17] ^= 1;
        std::fs::write(world.path(&blob), bytes).unwrap();
        let (server, store) = keeping(|_| None);
        let (to, chunk) = (format!("{}/app:1", server.address()), chunk.to_string());
        let pushed = world.run(&["push", "--chunk-size", &chunk, "images:a", &to]);
        pushed.fails(&[&image.layers[0], "got sha256:"]);
        assert!(store.manifests.lock().unwrap().is_empty());
        assert!(!store.blobs.lock().unwrap().contains_key(&image.layers[0]));
        let ended = |request: &Request| request.method == "PUT" && request.query.contains(&image.layers[0][7..]);
        assert!(!server.seen().iter().any(ended), "the last of it was never sent");
    }
}
