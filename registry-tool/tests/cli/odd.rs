//! Registries that answer in ways that are legal, or common, and odd.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use image_tool::layer::pack::Gzip;

use crate::server::{Image, Reply, Server, noise};
use crate::world::{World, honest, is_layer, keeping, layout_with, moody};

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = Gzip::new(Vec::new());
    gzip.write_all(bytes).unwrap();
    gzip.finish().unwrap()
}

#[test]
fn a_location_may_have_every_form_and_need_not_be_there_at_the_end() {
    let (world, image) = (World::new(), Image::new(&[noise(5000, 1)]));
    layout_with(&world, &image);
    for form in [
        "{}",
        "./{}",
        "../uploads/{}",
        "//HOST/v2/app/blobs/uploads/{}",
        "/v2/app/blobs/uploads/{}?s=a%2Fb",
        "http://HOST/v2/app/blobs/uploads/{}",
    ] {
        let store = Arc::new(crate::server::Store::default());
        let kept = Arc::clone(&store);
        let server = Server::new(move |request| {
            let mut reply = kept.answer(request);
            let host = request.header("host").unwrap_or_default();
            if request.method == "POST" {
                let number = reply.headers[0].1.rsplit('/').next().unwrap().to_owned();
                reply.headers[0].1 = form.replace("{}", &number).replace("HOST", host);
            } else if request.method == "PUT" {
                reply.headers.retain(|(name, _)| name != "Location");
            }
            reply
        });
        world.run(&["push", "images:a", &format!("{}/app:1", server.address())]).good();
        assert_eq!(*store.blobs.lock().unwrap(), image.blobs, "{form}");
        if form.contains('?') {
            let ends = server
                .seen()
                .into_iter()
                .filter(|request| request.method == "PUT" && request.path.contains("/uploads/"));
            for end in ends {
                assert!(end.query.starts_with("s=a%2Fb&digest="), "{}", end.query);
            }
        }
    }
}

#[test]
fn an_upload_that_is_sent_elsewhere_goes_there() {
    let (world, image) = (World::new(), Image::new(&[noise(5000, 1)]));
    layout_with(&world, &image);
    // The POST leads to another host, whose answer is relative to that host; the PUT leads on there.
    let moved = AtomicUsize::new(0);
    let (target, stored) = keeping(move |request| match request.method.as_str() {
        "PUT" if request.path.contains("/uploads/") && moved.fetch_add(1, Ordering::SeqCst) == 0 => {
            Some(Reply::new(307, "").header("Location", &format!("{}?{}", request.path, request.query)))
        }
        _ => None,
    });
    let second = target.address();
    let (server, documents) = keeping(move |request| match request.method.as_str() {
        "POST" => Some(Reply::new(307, "").header("Location", &format!("http://{second}{}", request.path))),
        _ => None,
    });
    world.run(&["push", "images:a", &format!("{}/app:1", server.address())]).good();
    assert_eq!(*stored.blobs.lock().unwrap(), image.blobs);
    assert_eq!(documents.manifests.lock().unwrap().len(), 1);
}

#[test]
fn an_upload_that_is_refused_for_a_moment_is_sent_again_to_the_same_place() {
    let (world, image) = (World::new(), Image::new(&[noise(5000, 1)]));
    layout_with(&world, &image);
    let count = AtomicUsize::new(0);
    let (server, store) = keeping(move |request| {
        let is_end = request.method == "PUT" && request.path.ends_with("/uploads/0");
        (is_end && count.fetch_add(1, Ordering::SeqCst) < 2).then(|| Reply::new(503, ""))
    });
    let name = format!("{}/app:1", server.address());
    world.run(&["push", "--jobs", "1", "--retry-delay", "0.01", "images:a", &name]).good();
    assert_eq!(*store.blobs.lock().unwrap(), image.blobs);
    assert_eq!(server.seen_at("PUT", "/uploads/0").len(), 3, "two refusals before it is taken");
    assert_eq!(server.seen_at("PUT", "/uploads/1").len(), 1);
    assert_eq!(server.seen_at("POST", "/blobs/uploads/").len(), 2, "one for each blob");
}

#[test]
fn what_was_damaged_on_its_way_is_fetched_once_more() {
    let (world, image) = (World::new(), Image::new(&[noise(50_000, 1)]));
    for times in [1, usize::MAX] {
        for part in ["layer", "manifest"] {
            let special = is_layer(&image);
            let server = moody(
                &image,
                times,
                move |request| {
                    if part == "layer" { special(request) } else { request.path.ends_with("/manifests/3.8") }
                },
                |request, image| {
                    let mut reply = image.answer(request);
                    let last = reply.body.len() - 2;
                    reply.body[last] ^= 1;
                    reply
                },
            );
            let layout = format!("{part}{times}");
            let ran = world.run(&["pull", &format!("{}/a:3.8", server.address()), &layout]);
            if times == 1 {
                ran.good();
                world.assert_sound(&layout);
            } else {
                ran.fails(&["sha256:"]);
            }
        }
    }
}

#[test]
fn an_encoding_that_nobody_asked_for_is_undone() {
    let layers = [gzip(&noise(40_000, 1)), noise(30_000, 2), vec![7; 200_000]];
    let (world, image) = (World::new(), Image::new(&layers));
    // Everything compressed; or only said to be, as by storage that keeps the header of what was uploaded.
    for is_said_only in [false, true] {
        let shown = image.clone();
        let server = Server::new(move |request| {
            let mut reply = shown.answer(request);
            if reply.status < 300 && request.method == "GET" && request.path != "/v2/" {
                if !is_said_only {
                    reply.body = gzip(&reply.body);
                }
                reply = reply.header("Content-Encoding", "gzip");
            }
            reply
        });
        let layout = format!("encoded-{is_said_only}");
        world.run(&["pull", &format!("{}/a:3.8", server.address()), &layout]).good();
        world.assert_sound(&layout);
    }
    let shown = image.clone();
    let server = Server::new(move |request| {
        let reply = shown.answer(request);
        if request.path.contains("/blobs/") {
            Reply::new(200, "what").header("Content-Encoding", "gzip")
        } else {
            reply
        }
    });
    world.run(&["pull", "--retry-delay", "0.01", &format!("{}/a:3.8", server.address()), "none"]).fails(&["sha256:"]);
}

#[test]
fn a_token_server_may_write_null_where_there_is_nothing() {
    let (world, image) = (World::new(), Image::new(&[noise(50, 1)]));
    for token in [
        r#"{"token":"good","access_token":null,"expires_in":null,"issued_at":null}"#,
        r#"{"token":null,"access_token":"good","expires_in":300.0}"#,
        r#"{"token":"","access_token":"good"}"#,
    ] {
        let shown = image.clone();
        let server = Server::new(move |request| {
            let host = request.header("host").unwrap_or_default();
            if request.path == "/token" {
                return Reply::new(200, token);
            }
            if request.header("authorization") == Some("Bearer good") {
                return shown.answer(request);
            }
            Reply::new(401, "{}").header("WWW-Authenticate", &format!("Bearer realm=\"http://{host}/token\""))
        });
        world.run(&["pull", &format!("{}/a:3.8", server.address()), "images"]).good();
    }
}

#[test]
fn no_escapes_are_logged_into_a_pipe() {
    let (world, image) = (World::new(), Image::new(&[noise(50, 1)]));
    let server = honest(&image);
    for arguments in [["tags", "127.0.0.1:1/x"], ["digest", &format!("{}/a:3.8", server.address())]] {
        let ran = world.run(&[&arguments[..], &["-vv", "--retry-delay", "0"]].concat());
        assert!(!ran.err().is_empty() && !ran.err().contains('\u{1b}'), "{}", ran.err());
    }
}
