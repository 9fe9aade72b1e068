//! A registry that fetches from another one what it lacks.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::json;

use super::client::{Served, layout};
use crate::server::{Image, MANIFEST, Reply, Server, digest, noise};
use crate::world::{World, layout_with};

/// A registry whose image may be replaced, and which may be away.
struct Other {
    server: Server,
    image: Arc<Mutex<Image>>,
    is_away: Arc<AtomicBool>,
}

impl Other {
    fn with(image: &Image) -> Self {
        let (image, is_away) = (Arc::new(Mutex::new(image.clone())), Arc::new(AtomicBool::new(false)));
        let (shown, away) = (Arc::clone(&image), Arc::clone(&is_away));
        let server = Server::new(move |request| {
            if away.load(Ordering::SeqCst) {
                return Reply::new(503, "");
            }
            shown.lock().unwrap_or_else(PoisonError::into_inner).answer(request)
        });
        Self { server, image, is_away }
    }

    fn go(&self) {
        self.is_away.store(true, Ordering::SeqCst);
    }

    fn replace(&self, image: &Image) {
        *self.image.lock().unwrap() = image.clone();
    }
}

fn mirror(world: &World, other: &Server, more: &[&str]) -> Served {
    let address = other.address();
    Served::start(world, &[&["--mirror", &address, "cache"], more].concat())
}

#[test]
fn what_is_not_here_is_fetched_kept_and_served_when_the_other_is_away() {
    let (world, image) = (World::new(), Image::new(&[noise(700_000, 1), noise(20, 2)]));
    let other = Other::with(&image);
    let served = mirror(&world, &other.server, &[]);
    let name = format!("{}/team/app:3.8", served.address());
    world.run(&["pull", "-q", &name, "one"]).good();
    assert_eq!(other.server.seen_at("GET", &format!("/blobs/{}", image.layers[0])).len(), 1);
    world.run(&["pull", "-q", &name, "two"]).good();
    assert_eq!(other.server.seen_at("GET", &format!("/blobs/{}", image.layers[0])).len(), 1, "it is kept");
    world.assert_sound("cache");
    assert!(world.has_image(&format!("cache:{}/team/app:3.8", other.server.address())));
    assert!(!world.path("cache/.partial").exists());
    other.go();
    world.run(&["pull", "-q", &name, "three"]).good();
    served.log_with("mirror");
    // Of what is not here, the client learns that it is not the client's fault.
    served.get("/v2/team/other/manifests/1").refused(502, "UNKNOWN");
    served.get(&format!("/v2/team/app/blobs/{}", digest(b"none"))).refused(502, "UNKNOWN");
    // After the server was started anew, too.
    served.kill();
    let served = mirror(&world, &other.server, &[]);
    world.run(&["pull", "-q", &format!("{}/team/app:3.8", served.address()), "four"]).good();
    world.run(&["push", "-q", "four", &format!("{}/team/app:2", served.address())]).fails(&["mirror"]);
}

#[test]
fn a_tag_is_looked_up_each_time_unless_its_answer_is_believed() {
    let (world, first, second) = (World::new(), Image::new(&[noise(9, 1)]), Image::new(&[noise(9, 2)]));
    let other = Other::with(&first);
    let served = mirror(&world, &other.server, &[]);
    let get = |served: &Served| {
        let got = served.get("/v2/a/manifests/latest").is(200);
        for layer in [&first, &second]
            .into_iter()
            .filter(|image| image.manifest == got.body)
            .flat_map(|image| image.blobs.keys())
        {
            served.get(&format!("/v2/a/blobs/{layer}")).is(200);
        }
        got.header("Docker-Content-Digest").to_owned()
    };
    assert_eq!(get(&served), digest(&first.manifest));
    let heads = || other.server.seen_at("HEAD", "/manifests/latest").len();
    let gets = || other.server.seen_at("GET", "/manifests/latest").len();
    assert_eq!((get(&served), gets()), (digest(&first.manifest), 1), "nothing is fetched twice");
    other.replace(&second);
    assert_eq!(get(&served), digest(&second.manifest));
    let refs = layout(&world, "cache").index().unwrap().entries().unwrap();
    assert_eq!(refs.len(), 1, "{refs:?}");
    let believing =
        Served::start(&world, &["--mirror", &other.server.address(), "--mirror-tags-for", "60", "believing"]);
    assert_eq!(get(&believing), digest(&second.manifest));
    let before = heads();
    other.replace(&first);
    assert_eq!((get(&believing), heads()), (digest(&second.manifest), before));
    assert_eq!(world.run(&["serve", "--mirror-tags-for", "60", "cache"]).0.status.code(), Some(2));
}

#[test]
fn an_index_is_kept_with_the_images_that_were_pulled() {
    let (world, image, lost) = (World::new(), Image::new(&[noise(50, 1)]), Image::new(&[noise(50, 3)]));
    let entry = |image: &Image, architecture: &str| {
        json!({ "mediaType": MANIFEST, "digest": digest(&image.manifest), "size": image.manifest.len(),
            "platform": { "os": "linux", "architecture": architecture } })
    };
    let kind = "application/vnd.oci.image.index.v1+json";
    let index =
        json!({ "schemaVersion": 2, "mediaType": kind, "manifests": [entry(&image, "amd64"), entry(&lost, "arm64")] });
    let index = index.to_string().into_bytes();
    let (shown, list, gone) = (image.clone(), index.clone(), Arc::new(AtomicBool::new(false)));
    let away = Arc::clone(&gone);
    let other = Server::new(move |request| match request.path.rsplit('/').next() {
        _ if away.load(Ordering::SeqCst) => Reply::new(500, ""),
        Some("3.8") => Reply::new(200, list.clone()).header("Content-Type", kind),
        _ => shown.answer(request),
    });
    let served = mirror(&world, &other, &[]);
    served.get("/v2/a/manifests/3.8").is(200);
    assert!(layout(&world, "cache").index().unwrap().entries().unwrap().is_empty(), "none of its images is here");
    let name = format!("{}/a:3.8", served.address());
    world.run(&["pull", "-q", "--platform", "linux/amd64", &name, "one"]).good();
    world.assert_sound("cache");
    let entries = layout(&world, "cache").index().unwrap().entries().unwrap();
    assert_eq!(entries.len(), 1, "{entries:?}");
    assert_eq!(entries[0].1.digest().to_string(), digest(&index));
    gone.store(true, Ordering::SeqCst);
    world.run(&["pull", "-q", "--platform", "linux/amd64", &name, "two"]).good();
    world.run(&["pull", "-q", "--platform", "linux/arm64", &name, "two"]).fails(&["502"]);
}

#[test]
fn clients_of_a_slow_blob_share_one_download_and_get_it_as_it_comes() {
    let (world, image) = (World::new(), Image::new(&[noise(3_000_000, 1)]));
    let (shown, layer) = (image.clone(), image.layers[0].clone());
    let other = Server::new(move |request| {
        if request.method == "GET" && request.path.ends_with(&layer) && request.range_start() == 0 {
            // A part, then silence until the client of it gives up; the rest comes with the next request.
            return Reply::blob(request, &shown.blobs[&layer]).stall(1_000_000);
        }
        shown.answer(request)
    });
    let served = Arc::new(mirror(&world, &other, &["--timeout", "2"]));
    let path = format!("/v2/a/blobs/{}", image.layers[0]);
    served.get("/v2/a/manifests/latest").is(200);
    let clients: Vec<_> = (0..3)
        .map(|_| {
            let address = served.address().to_owned();
            let path = path.clone();
            std::thread::spawn(move || first_byte_and_all(&address, &path))
        })
        .collect();
    for client in clients {
        let (first, all, body) = client.join().unwrap();
        assert_eq!(digest(&body), image.layers[0]);
        assert!(first < Duration::from_millis(1500) && all > first, "{first:?} {all:?}");
    }
    let seen = other.seen_at("GET", &path[path.rfind('/').unwrap()..]);
    assert_eq!(seen.iter().filter(|request| request.range_start() == 0).count(), 1, "{seen:?}");
    // A part of what is here by now.
    let part = served.ask("GET", &path, &[("Range", "bytes=5-9")], b"").is(206);
    assert_eq!(part.body, image.blobs[&image.layers[0]][5..10]);
}

/// When the first byte of a body came, when the last one, and all of them.
fn first_byte_and_all(address: &str, path: &str) -> (Duration, Duration, Vec<u8>) {
    use std::io::{Read as _, Write as _};
    let since = Instant::now();
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let (mut bytes, mut piece, mut first) = (Vec::new(), vec![0; 65536], None);
    loop {
        match stream.read(&mut piece).unwrap() {
            0 => break,
            count => bytes.extend_from_slice(&piece[..count]),
        }
        let head = bytes.windows(4).position(|window| window == b"\r\n\r\n");
        if head.is_some_and(|head| bytes.len() > head + 4) {
            first.get_or_insert_with(|| since.elapsed());
        }
    }
    let head = bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    (first.unwrap(), since.elapsed(), bytes.split_off(head + 4))
}

#[test]
fn what_is_not_what_its_digest_says_is_never_served_whole_or_kept() {
    let (world, image) = (World::new(), Image::new(&[noise(400_000, 1)]));
    let (shown, layer) = (image.clone(), image.layers[0].clone());
    let count = Arc::new(AtomicUsize::new(0));
    let asked = Arc::clone(&count);
    let other = Server::new(move |request| {
        if request.path.ends_with(&layer) && request.method == "GET" {
            asked.fetch_add(1, Ordering::SeqCst);
            return Reply::blob(request, &noise(400_000, 7));
        }
        if request.path.ends_with("/manifests/forged") || request.path.contains("/manifests/sha256:00") {
            let mut forged = shown.manifest.clone();
            forged.push(b' ');
            let claimed = digest(b"something else");
            return Reply::new(200, forged).header("Content-Type", MANIFEST).header("Docker-Content-Digest", &claimed);
        }
        shown.answer(request)
    });
    let served = mirror(&world, &other, &[]);
    served.get("/v2/a/manifests/latest").is(200);
    let path = format!("/v2/a/blobs/{}", image.layers[0]);
    match served.try_ask("GET", &path, &[], b"") {
        Err(_) => {}
        Ok(got) => assert_eq!(got.status, 502, "{}", got.body.len()),
    }
    assert_eq!(count.load(Ordering::SeqCst), 2, "a damaged one is fetched once more");
    assert!(!world.path(&format!("cache/blobs/{}", image.layers[0].replace(':', "/"))).exists());
    served.get("/v2/a/manifests/forged").refused(502, "UNKNOWN");
    served.get(&format!("/v2/a/manifests/sha256:{}", "0".repeat(64))).refused(502, "UNKNOWN");
    assert!(layout(&world, "cache").index().unwrap().entries().unwrap().is_empty());
}

#[test]
fn only_the_registries_that_are_named_are_mirrored() {
    let (world, image) = (World::new(), Image::new(&[noise(9, 1)]));
    let (first, second) = (Other::with(&image), Other::with(&Image::new(&[noise(9, 2)])));
    let addresses = [first.server.address(), second.server.address()];
    let served = Served::start(&world, &["--mirror", &addresses[0], "--mirror", &addresses[1], "cache"]);
    let from = |ns: &str| served.get(&format!("/v2/a/manifests/latest?ns={ns}"));
    let one = from(&addresses[0]).is(200);
    assert_eq!(one.body, image.manifest);
    assert_eq!(one.header("OCI-Namespace"), addresses[0]);
    assert_eq!(served.get("/v2/a/manifests/latest").is(200).body, image.manifest, "the first is meant");
    assert_ne!(from(&addresses[1]).is(200).body, image.manifest);
    let third = Other::with(&image);
    from(&third.server.address()).refused(404, "NAME_UNKNOWN");
    assert!(third.server.seen().is_empty());
    std::fs::create_dir_all(world.path("folder/x")).unwrap();
    world.run(&["serve", "--mirror", "docker.io", "folder"]).fails_in_a_line(&["one layout"]);
}

#[test]
fn tags_are_those_of_both() {
    let (world, image) = (World::new(), Image::new(&[noise(9, 1)]));
    layout_with(&world, &image);
    let shown = image.clone();
    let other = Server::new(move |request| match request.path.as_str() {
        "/v2/b/tags/list" => Reply::new(200, r#"{"name":"b","tags":["1","2"]}"#),
        "/v2/c/tags/list" => Reply::new(404, ""),
        _ => shown.answer(request),
    });
    let served = mirror(&world, &other, &[]);
    assert_eq!(served.get("/v2/b/tags/list").is(200).json()["tags"], json!(["1", "2"]));
    served.get("/v2/c/tags/list").is(404);
}
