//! Limits, the end, and what is told of it all.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use super::client::{Served, layout};
use crate::server::{Image, MANIFEST, digest, noise};
use crate::world::{World, layout_with};

/// Opens a connection, and says something.
fn say(served: &Served, text: &str) -> TcpStream {
    let mut stream = TcpStream::connect(served.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(text.as_bytes()).unwrap();
    stream
}

fn hear(mut stream: TcpStream) -> String {
    let mut text = Vec::new();
    // A connection that was reset has said what it had to say.
    let _ = stream.read_to_end(&mut text);
    String::from_utf8_lossy(&text).into_owned()
}

#[test]
fn a_blob_has_a_largest_size() {
    let world = World::new();
    let served = Served::start(&world, &["--max-blob", "1k", "images"]);
    served.blob("a", &noise(1024, 1));
    let begun = served.ask("POST", "/v2/a/blobs/uploads/", &[], b"").is(202);
    let upload = begun.header("Location");
    served.ask("PATCH", upload, &[], &noise(1000, 1)).is(202);
    served.ask("PATCH", upload, &[], &noise(25, 1)).refused(413, "SIZE_INVALID");
}

#[test]
fn an_image_may_lack_blobs_if_that_is_allowed() {
    let (world, image) = (World::new(), Image::new(&[noise(10, 1)]));
    let served = Served::start(&world, &["--sparse", "images"]);
    served.manifest("a", "1", MANIFEST, &image.manifest).is(201);
    assert_eq!(served.get("/v2/a/manifests/1").is(200).body, image.manifest);
}

#[test]
fn a_silent_client_is_left() {
    let world = World::new();
    let served = Served::start(&world, &["--timeout", "0.3", "images"]);
    let since = Instant::now();
    assert_eq!(hear(say(&served, "GET /v2/ HTTP/1.1\r\n")), "", "half a head");
    let text = "POST /v2/a/blobs/uploads/?digest=sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa HTTP/1.1\r\n\
                Host: x\r\nContent-Length: 10\r\n\r\nhalf";
    assert!(hear(say(&served, text)).starts_with("HTTP/1.1 408 "), "half a body");
    assert!(since.elapsed() < Duration::from_secs(8));
    served.get("/v2/").is(200);
}

#[test]
fn connections_wait_for_their_turn() {
    let world = World::new();
    let served = Served::start(&world, &["--max-connections", "1", "images"]);
    let first = say(&served, "GET /v2/ HTTP/1.1\r\n");
    let mut second = say(&served, "GET /v2/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    second.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    assert!(second.read(&mut [0; 1]).is_err(), "nothing is said while the first is there");
    drop(first);
    second.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    assert!(hear(second).starts_with("HTTP/1.1 200 "));
}

#[test]
fn a_head_has_a_largest_size() {
    let world = World::new();
    let served = Served::start(&world, &["images"]);
    let long = format!("GET /v2/ HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "x".repeat(1_000_000));
    // Whoever sends on after it was refused may see no more of the answer than a broken connection.
    let heard = hear(say(&served, &long));
    assert!(heard.is_empty() || heard.starts_with("HTTP/1.1 431 "), "{heard}");
    served.get("/v2/").is(200);
}

#[test]
fn what_nobody_comes_back_to_is_given_up() {
    let world = World::new();
    let served = Served::start(&world, &["--upload-timeout", "1", "images"]);
    let begun = served.ask("POST", "/v2/a/blobs/uploads/", &[], b"").is(202);
    served.blob("a", b"hello");
    served.get(begun.header("Location")).is(204);
    let layout = layout(&world, "images");
    let until = Instant::now() + Duration::from_secs(20);
    while layout.lock_blobs().is_err() {
        assert!(Instant::now() < until);
        std::thread::sleep(Duration::from_millis(50));
    }
    served.get(begun.header("Location")).refused(404, "BLOB_UPLOAD_UNKNOWN");
    assert!(layout.uploads().unwrap().is_empty());
}

#[test]
fn a_request_in_progress_may_end_when_the_server_stops() {
    let (world, bytes) = (World::new(), noise(100, 1));
    for (name, grace, is_done) in [("TERM", "10", true), ("INT", "10", true), ("TERM", "0.2", false)] {
        let mut served = Served::start(&world, &["--grace", grace, "images"]);
        let path = format!("/v2/a/blobs/uploads/?digest={}", digest(&bytes));
        let mut stream = say(&served, &format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n"));
        stream.write_all(&bytes[..50]).unwrap();
        // It has begun once its file is there.
        while layout(&world, "images").uploads().unwrap().is_empty() {
            std::thread::sleep(Duration::from_millis(10));
        }
        served.signal(name);
        if is_done {
            std::thread::sleep(Duration::from_millis(100));
            assert!(TcpStream::connect(served.address()).is_err(), "nothing new is begun");
            stream.write_all(&bytes[50..]).unwrap();
            assert!(hear(stream).starts_with("HTTP/1.1 201 "));
        } else {
            served.log_with("still in progress after 0.2 s");
        }
        assert_eq!(served.wait(), Some(0), "{name} {grace}");
    }
}

#[test]
fn sockets_may_come_from_systemd() {
    let world = World::new();
    let program = "import os, socket, sys\ns = socket.socket(); s.bind(('127.0.0.1', 0)); s.listen()\n\
                   os.dup2(s.fileno(), 3) if s.fileno() != 3 else None\nos.set_inheritable(3, True)\n\
                   os.environ.update(LISTEN_FDS='1', LISTEN_PID=str(os.getpid()))\nos.execv(sys.argv[1], sys.argv[1:])";
    let ours = world.command(&["serve", "images"]);
    let mut command = Command::new("python3");
    command.args(["-c", program]).arg(ours.get_program()).args(ours.get_args());
    command.current_dir(world.path(".")).env_clear().env("OCI_HOME", world.path("oci"));
    command.env("PATH", std::env::var("PATH").unwrap());
    let served = Served::spawn(command);
    served.get("/v2/").is(200);
    world.run(&["serve", "--listen", served.address(), "images"]).fails_in_a_line(&["listen on", served.address()]);
    let wrong = world.run(&["serve", "--listen", "nowhere", "images"]);
    assert_eq!(wrong.0.status.code(), Some(2));
}

#[test]
fn requests_are_logged_and_counted() {
    let (world, image) = (World::new(), Image::new(&[noise(5000, 1)]));
    layout_with(&world, &image);
    let served = Served::start(&world, &["images"]);
    let blob = format!("/v2/a/blobs/{}", image.layers[0]);
    served.ask("GET", &blob, &[("User-Agent", "x \u{9b}31m \"y\"")], b"").is(200);
    let line = served.log_with(&format!("\"GET {blob}\" 200 5000 \"-\" "));
    assert!(line.starts_with("127.0.0.1 - - [") && !line.contains('\u{9b}'), "{line}");
    let got = served.get("/metrics").is(200);
    assert!(got.header("Content-Type").starts_with("text/plain; version=0.0.4"));
    let text = got.text();
    for part in [
        "registry_requests_total{kind=\"blob\",method=\"GET\",status=\"200\"} 1\n",
        "registry_sent_bytes_total{kind=\"blob\",method=\"GET\",status=\"200\"} 5000\n",
        "registry_uploads 0\n",
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    drop(served);
    let served = Served::start(&world, &["--quiet", "images"]);
    served.get("/v2/").is(200);
    served.get("/v2/").is(200);
    assert_eq!(served.log(), Vec::<String>::new());
}
