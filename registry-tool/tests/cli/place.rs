//! Which places are asked for an image, and how they are reached.

use crate::server::{Image, Reply, Server, noise};
use crate::world::{Ran, World, honest, is_layer, mirror, moody};

#[test]
fn mirrors_are_tried_in_order_and_the_name_stays_dockers() {
    let (world, image) = (World::new(), Image::new(&[noise(50, 1)]));
    let empty = Server::new(|_| Reply::new(404, "{}"));
    let wrong = moody(&image, usize::MAX, is_layer(&image), |request, _| Reply::blob(request, &noise(50, 2)));
    let good = honest(&image);
    mirror(&world, &[&empty, &wrong, &good]);
    let ran = world.run(&["pull", "python:3.8", "images"]);
    assert_eq!(ran.good().out(), format!("images:python:3.8@{}\n", image.digest()));
    assert!(ran.err().ends_with("Status: Downloaded newer image for python:3.8\ndocker.io/library/python:3.8\n"));
    assert!(!empty.seen().is_empty() && !wrong.seen().is_empty());
    assert!(world.has_image("images:docker.io/library/python:3.8"));
    world.assert_sound("images");
}

#[test]
fn a_mirror_of_registries_conf_serves_the_name_that_it_stands_for() {
    let (world, image) = (World::new(), Image::new(&[noise(50, 1)]));
    let server = honest(&image);
    let conf = format!(
        "[[registry]]\nprefix = \"corp.invalid/team\"\nlocation = \"corp.invalid/team\"\n[[registry.mirror]]\nlocation = \
         \"{}/cache\"\n[aliases]\n\"app\" = \"corp.invalid/team/app\"\n",
        server.address()
    );
    world.write("registries.conf", &conf);
    let ran = world.run(&["pull", "app:3.8", "images"]);
    assert_eq!(ran.good().out(), format!("images:app:3.8@{}\n", image.digest()));
    assert!(ran.err().ends_with("\ncorp.invalid/team/app:3.8\n"), "{}", ran.err());
    assert!(!server.seen_at("GET", "/v2/cache/app/manifests/3.8").is_empty());
}

#[test]
fn plain_http_beyond_the_loopback_network_wants_configuration() {
    let (world, image) = (World::new(), Image::new(&[noise(50, 1)]));
    let server = honest(&image);
    // Linux takes 0.0.0.0 for this machine, and it is no loopback address.
    let name = format!("0.0.0.0:{}/a:3.8", server.port());
    world.run(&["pull", &name, "images"]).fails(&["broke off the TLS handshake", "insecure-registries"]);
    world.write("daemon.json", &format!("{{\"insecure-registries\": [\"0.0.0.0:{}\"]}}", server.port()));
    world.run(&["pull", &name, "images"]).good();
}

#[test]
fn a_proxy_is_used_but_never_for_the_loopback_network() {
    let (world, image) = (World::new(), Image::new(&[noise(50, 1)]));
    let shown = image.clone();
    // A proxy is asked for whole URLs.
    let proxy = Server::new(move |request| {
        let mut inner = request.clone();
        inner.path = request.path.strip_prefix("http://registry.invalid").unwrap_or_default().to_owned();
        shown.answer(&inner)
    });
    world.write("daemon.json", r#"{"registry-mirrors": ["http://registry.invalid"]}"#);
    let through = |arguments: &[&str]| {
        let mut command = world.command(arguments);
        command.env("http_proxy", format!("http://{}", proxy.address()));
        Ran(command.output().unwrap())
    };
    through(&["pull", "-q", "python:3.8", "images"]).good();
    let before = proxy.seen().len();
    let local = honest(&image);
    through(&["pull", "-q", &format!("{}/a:3.8", local.address()), "other"]).good();
    through(&["pull", "-q", &format!("localhost:{}/a:3.8", local.port()), "third"]).good();
    assert_eq!(proxy.seen().len(), before);
}

#[test]
fn broken_configuration_is_named() {
    let world = World::new();
    world.write("daemon.json", "{");
    world.run(&["pull", "python", "images"]).fails(&["daemon.json: EOF"]);
    world.write("daemon.json", "");
    world.write("registries.conf", "[[registry]]\nlocation = 5\n");
    world.run(&["pull", "python", "images"]).fails(&["registries.conf: line 2"]);
    world.write("registries.conf", "[[registry]]\nlocation = \"bad.example\"\nblocked = true\n");
    world.run(&["pull", "bad.example/a", "images"]).fails(&["bad.example is blocked"]);
    world.write("registries.conf", "");
    world.write("user/.docker/config.json", "{");
    let server = honest(&Image::new(&[noise(10, 1)]));
    world.run(&["pull", &format!("{}/a:3.8", server.address()), "images"]).fails(&["config.json: not JSON"]);
    world.write("note", "x");
    world.run(&["pull", "python", "."]).fails(&["registry-tool: .: not an image layout"]);
}
