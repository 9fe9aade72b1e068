//! Who may do what, and how it is kept from others' eyes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::client::Served;
use crate::server::{Image, noise};
use crate::tls::certificate;
use crate::world::{World, layout_with};

const USERS: &str = "xag:$2a$05$ROW86Cho49InJZ7N2aIMOuHLzoFeojgS70qojnJ30FhXzwoJI4OTC\n";

fn basic(pair: &str) -> String {
    format!("Basic {}", STANDARD.encode(pair))
}

#[test]
fn only_users_come_in() {
    let (world, image) = (World::new(), Image::new(&[noise(10, 1)]));
    layout_with(&world, &image);
    world.write("users", USERS);
    let served = Served::start(&world, &["--htpasswd", "users", "images"]);
    let refused = served.get("/v2/");
    assert_eq!(refused.refused(401, "UNAUTHORIZED").header("WWW-Authenticate"), "Basic realm=\"registry\"");
    for path in ["/v2/a/manifests/latest", "/", "/metrics", "/v2/_catalog"] {
        served.get(path).refused(401, "UNAUTHORIZED");
    }
    let with = |pair: &str| served.ask("GET", "/v2/a/manifests/latest", &[("Authorization", &basic(pair))], b"").status;
    assert_eq!((with("xag:s3cret"), with("xag:wrong"), with("other:s3cret")), (200, 401, 401));
    assert!(served.log_with("\"GET /v2/a/manifests/latest\" 200").contains(" - xag ["));
    // The file is read again when it changes.
    world.write("users", "# nobody\n");
    assert_eq!(with("xag:s3cret"), 401);
    world.write("bad", "xag:secret\n");
    world.run(&["serve", "--htpasswd", "bad", "images"]).fails_in_a_line(&["bad: line 1", "bcrypt"]);
    world.run(&["serve", "--htpasswd", "none", "images"]).fails_in_a_line(&["none: No such file"]);
}

#[test]
fn everybody_may_pull_and_users_push() {
    let (world, image) = (World::new(), Image::new(&[noise(10, 1)]));
    layout_with(&world, &image);
    world.write("users", USERS);
    let served = Served::start(&world, &["--htpasswd", "users", "--anonymous-pull", "images"]);
    let challenge = served.get("/v2/").is(401).header("WWW-Authenticate").to_owned();
    assert_eq!(challenge, format!("Bearer realm=\"http://{0}/token\",service=\"{0}\"", served.address()));
    served.get("/v2/a/manifests/latest").is(200);
    let token = |headers: &[(&str, &str)]| {
        served.ask("GET", "/token?service=x", headers, b"").is(200).json()["token"].as_str().unwrap().to_owned()
    };
    let (anybody, user) = (token(&[]), token(&[("Authorization", &basic("xag:s3cret"))]));
    served.ask("GET", "/token", &[("Authorization", &basic("xag:x"))], b"").refused(401, "UNAUTHORIZED");
    let base = |token: &str| served.ask("GET", "/v2/", &[("Authorization", &format!("Bearer {token}"))], b"").status;
    assert_eq!((base(&anybody), base(&user), base("x")), (200, 200, 401));
    let begin = |token: &str| {
        served.ask("POST", "/v2/a/blobs/uploads/", &[("Authorization", &format!("Bearer {token}"))], b"").status
    };
    assert_eq!((begin(&anybody), begin(&user)), (401, 202));
    // Our own client finds its way.
    let name = format!("{}/b:1", served.address());
    world.run(&["push", "-q", "images:a", &name]).fails(&[served.address()]);
    world.run_with_input(&["login", "-u", "xag", "--password-stdin", served.address()], "s3cret").good();
    world.run(&["push", "-q", "images:a", &name]).good();
    world.run(&["logout", served.address()]).good();
    world.run(&["pull", "-q", &name, "back"]).good();
}

#[test]
fn what_is_said_is_encrypted() {
    let (world, image) = (World::new(), Image::new(&[noise(300_000, 1)]));
    layout_with(&world, &image);
    let pair = certificate(&world);
    let mut served = Served::start(&world, &["--tls-cert", "cert", "--tls-key", "key", "images"]);
    served.try_ask("GET", "/v2/", &[], b"").expect_err("it is not http");
    served.scheme = "https";
    assert_eq!(served.get(&format!("/v2/a/blobs/{}", image.layers[0])).is(200).body.len(), 300_000);
    world.write(&format!("user/.config/containers/certs.d/{}/ca.crt", served.address()), &pair.0);
    world.run(&["pull", "-q", &format!("{}/a", served.address()), "back"]).good();
    world.run(&["serve", "--tls-cert", "key", "--tls-key", "key", "images"]).fails_in_a_line(&["key: no certificate"]);
    world.run(&["serve", "--tls-cert", "cert", "--tls-key", "cert", "images"]).fails_in_a_line(&["cert: "]);
    assert_eq!(world.run(&["serve", "--tls-cert", "cert"]).0.status.code(), Some(2));
}

#[test]
fn nothing_is_changed_where_nothing_may_be() {
    let (world, image) = (World::new(), Image::new(&[noise(10, 1)]));
    layout_with(&world, &image);
    let served = Served::start(&world, &["--read-only", "images"]);
    served.get("/v2/a/manifests/latest").is(200);
    for (method, path) in [
        ("POST", "/v2/a/blobs/uploads/"),
        ("PUT", "/v2/a/manifests/1"),
        ("DELETE", "/v2/a/manifests/latest"),
        ("DELETE", "/v2/a/blobs/x"),
    ] {
        let refused = served.ask(method, path, &[], b"");
        assert!(refused.refused(405, "UNSUPPORTED").text().contains("read-only"), "{method} {path}");
    }
}
