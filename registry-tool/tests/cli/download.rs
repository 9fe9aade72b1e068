//! How a pull gets its bytes from a registry that misbehaves.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use image_tool::layout::Layout;

use crate::server::{Image, MANIFEST, Reply, Request, Server, digest, noise};
use crate::world::{World, honest, is_layer, moody};

#[test]
fn a_cut_download_goes_on_where_it_stopped() {
    let (world, image) = (World::new(), Image::new(&[noise(400_000, 1)]));
    let server = moody(&image, 2, is_layer(&image), |request, image| image.answer(request).cut(100_000));
    let name = format!("{}/a:3.8", server.address());
    world.run(&["pull", "--retry-delay", "0.01", &name, "images"]).good();
    let starts: Vec<usize> = server.seen_at("GET", &image.layers[0]).iter().map(Request::range_start).collect();
    assert_eq!(starts, [0, 100_000, 200_000]);
    world.assert_sound("images");
}

#[test]
fn a_killed_download_goes_on_where_it_stopped() {
    let (world, image) = (World::new(), Image::new(&[noise(300_000, 1)]));
    let server = moody(&image, 1, is_layer(&image), |request, image| image.answer(request).stall(150_000));
    let name = format!("{}/a:3.8", server.address());
    let mut child = world.command(&["pull", "-q", &name, "images"]).spawn().unwrap();
    let partial = || {
        let entries = std::fs::read_dir(world.path("images/.partial")).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.metadata().ok()).map(|metadata| metadata.len()).max().unwrap_or(0)
    };
    while partial() < 150_000 {
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!world.has_image(&format!("images:{name}")));
    world.run(&["pull", &name, "images"]).good();
    let last = server.seen_at("GET", &image.layers[0]).last().unwrap().range_start();
    assert_eq!(last, 150_000);
    world.assert_sound("images");
    assert!(world.has_image(&format!("images:{name}")));
}

#[test]
fn a_registry_without_ranges_is_begun_anew() {
    let (world, image) = (World::new(), Image::new(&[noise(400_000, 1)]));
    let count = AtomicUsize::new(0);
    let (special, shown) = (is_layer(&image), image.clone());
    let server = Server::new(move |request| {
        if !special(request) {
            return shown.answer(request);
        }
        let whole = Reply::new(200, shown.blobs[&shown.layers[0]].clone());
        if count.fetch_add(1, Ordering::SeqCst) == 0 { whole.cut(100_000) } else { whole }
    });
    world.run(&["pull", "--retry-delay", "0.01", &format!("{}/a:3.8", server.address()), "images"]).good();
    world.assert_sound("images");
}

#[test]
fn a_layer_that_is_not_what_was_promised_is_refused() {
    let image = Image::new(&[noise(5000, 1)]);
    let other = noise(5000, 2);
    let longer = noise(6000, 1);
    type Special = Box<dyn Fn(&Request, &Image) -> Reply + Send + Sync>;
    let cases: [(&str, Special, &str); 4] = [
        ("wrong", Box::new(move |request, _| Reply::blob(request, &other)), "got sha256:"),
        ("longer", Box::new(move |request, _| Reply::blob(request, &longer)), "expected 5000 bytes, got 6000"),
        (
            "short",
            Box::new(|request, image| {
                let bytes = &image.blobs[&image.layers[0]][..4000];
                if request.range_start() >= 4000 { Reply::new(206, "") } else { Reply::blob(request, bytes) }
            }),
            "expected 5000 bytes, got 4000",
        ),
        ("missing", Box::new(|_, _| Reply::new(404, "")), "not found"),
    ];
    for (case, special, reason) in cases {
        let world = World::new();
        let server = moody(&image, usize::MAX, is_layer(&image), special);
        let name = format!("{}/a:3.8", server.address());
        let ran = world.run(&["pull", "--retry", "1", "--retry-delay", "0.01", &name, "images"]);
        ran.fails(&[&name, &image.layers[0], reason]);
        world.assert_sound("images");
        assert!(!world.has_image(&format!("images:{name}")), "{case}");
    }
}

#[test]
fn a_broken_partial_file_is_thrown_away() {
    let (world, image) = (World::new(), Image::new(&[noise(5000, 1)]));
    let server = honest(&image);
    let name = format!("{}/a:3.8", server.address());
    Layout::create(&world.path("images")).unwrap();
    let partial = format!("images/.partial/{}", image.layers[0].replace(':', "-"));
    world.write(&partial, "what a power cut left behind");
    world.run(&["pull", &name, "images"]).good();
    world.assert_sound("images");
}

#[test]
fn retry_after_is_kept() {
    for (case, end) in [("manifest", "/manifests/3.8"), ("blob", "")] {
        let (world, image) = (World::new(), Image::new(&[noise(50, 1)]));
        let end = if end.is_empty() { format!("/blobs/{}", image.layers[0]) } else { end.to_owned() };
        let ending = end.clone();
        let server = moody(
            &image,
            2,
            move |request| request.path.ends_with(&ending),
            |_, _| {
                Reply::new(429, r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"slow"}]}"#)
                    .header("Retry-After", "1")
            },
        );
        let name = format!("{}/a:3.8", server.address());
        world.run(&["pull", "--retry-delay", "0.01", &name, "images"]).good();
        let seen: Vec<Request> = server.seen().into_iter().filter(|request| request.path.ends_with(&end)).collect();
        // The second of the two refusals is the last that the wait is kept after; a blob's first is the crate's to see.
        let wait = seen[2].at - seen[1].at;
        assert!(wait >= Duration::from_millis(990), "{case}: {wait:?}");
    }
}

#[test]
fn a_registry_that_stays_busy_is_given_up_with_its_words() {
    let (world, image) = (World::new(), Image::new(&[noise(50, 1)]));
    let server = moody(
        &image,
        usize::MAX,
        |request| request.path.contains("/manifests/"),
        |_, _| {
            Reply::new(429, r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"pull rate limit"}]}"#)
                .header("Retry-After", "3600")
        },
    );
    let ran = world.run(&["pull", &format!("{}/a:3.8", server.address()), "images"]);
    ran.fails(&["too many requests: pull rate limit", "try again in 3600 s"]);
}

#[test]
fn a_connection_that_falls_silent_is_given_up_and_made_again() {
    let (world, image) = (World::new(), Image::new(&[noise(300_000, 1)]));
    let server = moody(&image, 1, is_layer(&image), |request, image| image.answer(request).stall(150_000));
    let name = format!("{}/a:3.8", server.address());
    let ran = world.run(&["pull", "--timeout", "0.3", "--retry-delay", "0.01", &name, "images"]);
    assert!(ran.good().err().contains(": Retrying ("), "{}", ran.err());
    assert_eq!(server.seen_at("GET", &image.layers[0]).last().unwrap().range_start(), 150_000);
    world.assert_sound("images");
}

#[test]
fn a_registry_that_hangs_up_is_asked_again() {
    for path in ["/v2/", "/v2/a/manifests/3.8"] {
        let (world, image) = (World::new(), Image::new(&[noise(50, 1)]));
        let server = moody(&image, 2, move |request| request.path == path, |_, _| Reply::new(200, "{}{}").cut(1));
        world.run(&["pull", "-q", "--retry-delay", "0.01", &format!("{}/a:3.8", server.address()), "images"]).good();
    }
}

#[test]
fn answers_without_end_are_refused() {
    let (world, image) = (World::new(), Image::new(&[noise(50, 1)]));
    let server = moody(
        &image,
        usize::MAX,
        |request| request.path.contains("/manifests/"),
        |_, _| Reply::new(200, vec![b' '; (4 << 20) + 1]).header("Content-Type", MANIFEST),
    );
    world.run(&["pull", &format!("{}/a:3.8", server.address()), "images"]).fails(&["more than 4194304 bytes"]);
}

#[test]
fn a_manifest_that_lies_is_refused() {
    let image = Image::new(&[noise(50, 1)]);
    let both = br#"{"schemaVersion":2,"manifests":[],"config":{},"layers":[]}"#.to_vec();
    for (reply, reason) in [
        (Reply::new(200, "<html>").header("Content-Type", "text/html"), "expected value"),
        (Reply::new(200, both).header("Content-Type", MANIFEST), "CVE-2021-41190"),
        (
            Reply::new(200, image.manifest.clone())
                .header("Content-Type", MANIFEST)
                .header("Docker-Content-Digest", &digest(b"other")),
            "the registry says",
        ),
        (Reply::new(200, r#"{"schemaVersion":1,"fsLayers":[]}"#), "schema 1"),
    ] {
        let world = World::new();
        let server =
            moody(&image, usize::MAX, |request| request.path.contains("/manifests/"), move |_, _| reply.clone());
        let name = format!("{}/a:3.8", server.address());
        world.run(&["pull", &name, "images"]).fails(&[&name, "manifest", reason]);
    }
}
