//! Who may do what, and how it is kept from others' eyes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::client::Served;
use crate::server::{Image, noise};
use crate::tls::certificate;
use crate::world::{World, layout_with};

pub(super) const USERS: &str = "xag:$2a$05$ROW86Cho49InJZ7N2aIMOuHLzoFeojgS70qojnJ30FhXzwoJI4OTC\n";

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

#[test]
fn rules_say_who_may_do_what_with_which_repositories() {
    let (world, image) = (World::new(), Image::new(&[noise(10, 1)]));
    layout_with(&world, &image);
    world.write("users", USERS);
    world.write("rules", "library/* * pull\nteam/** xag pull,push\n");
    let served = Served::start(&world, &["--htpasswd", "users", "--rules", "rules", "images"]);
    let user = basic("xag:s3cret");
    let ask = |method: &str, path: &str, user: Option<&str>| {
        let headers: Vec<(&str, &str)> = user.into_iter().map(|user| ("Authorization", user)).collect();
        served.ask(method, path, &headers, b"")
    };
    let some = Some(user.as_str());
    // `a` is library/a.
    for (method, path, user, status) in [
        ("GET", "/v2/a/manifests/latest", None, 200),
        ("GET", "/v2/library/a/tags/list", None, 200),
        ("GET", "/v2/team/x/tags/list", None, 401),
        ("GET", "/v2/team/x/tags/list", some, 404),
        ("GET", "/v2/other/x/tags/list", some, 403),
        ("GET", "/repository/other/x", some, 403),
        ("POST", "/v2/a/blobs/uploads/", None, 401),
        ("POST", "/v2/a/blobs/uploads/", some, 403),
        ("POST", "/v2/team/x/blobs/uploads/", some, 202),
        ("PUT", "/v2/a/manifests/1", some, 403),
        ("DELETE", "/v2/team/x/manifests/1", some, 403),
    ] {
        assert_eq!(ask(method, path, user).status, status, "{method} {path} {user:?}");
    }
    ask("GET", "/v2/other/x/tags/list", some).refused(403, "DENIED");
    assert!(ask("GET", "/v2/a/tags/list", None).is(200).text().contains("latest"));
    // Nothing is mounted from where it may not be read.
    world.write("rules", "team/** xag push\n");
    let mount = format!("/v2/team/x/blobs/uploads/?mount={}&from=other/y", image.layers[0]);
    assert_eq!(ask("GET", "/v2/a/manifests/latest", some).status, 403, "the file was read again");
    assert_eq!(ask("GET", "/v2/_catalog", some).is(200).json()["repositories"], serde_json::json!([]));
    assert!(ask("POST", &mount, some).status < 300);
    world.write("bad", "team xag read\n");
    world.run(&["serve", "--rules", "bad", "images"]).fails_in_a_line(&["bad: line 1", "pull, push and delete"]);
    let both = ["serve", "--htpasswd", "users", "--anonymous-pull", "--rules", "rules", "images"];
    assert_eq!(world.run(&both).0.status.code(), Some(2));
}

#[test]
fn between_layouts_nothing_is_mounted_that_may_not_be_read() {
    let (world, image) = (World::new(), Image::new(&[noise(10, 1)]));
    world.run(&["serve", "--folder", "none"]).fails_in_a_line(&["none: not a folder"]);
    std::fs::create_dir_all(world.path("folder")).unwrap();
    world.write("rules", "open/** * push\nclosed * push\n");
    let served = Served::start(&world, &["--folder", "--rules", "rules", "folder"]);
    served.push("closed", "1", &image);
    world.write("rules", "open/** * push\n");
    let mount = |from: &str| {
        let path = format!("/v2/open/x/blobs/uploads/?mount={}{from}", image.layers[0]);
        served.ask("POST", &path, &[], b"").status
    };
    assert_eq!((mount("&from=closed"), mount("")), (202, 202));
    world.write("rules", "open/** * push\nclosed * pull\n\n");
    assert_eq!(mount("&from=closed"), 201);
}

#[test]
fn a_new_certificate_is_shown_without_a_new_start() {
    let world = World::new();
    certificate(&world);
    let mut served =
        Served::start(&world, &["--tls-cert", "cert", "--tls-key", "key", "--upload-timeout", "1", "images"]);
    served.scheme = "https";
    let shown = |served: &Served| {
        let text = format!("openssl s_client -connect {} </dev/null 2>/dev/null | openssl x509", served.address());
        let output = std::process::Command::new("sh").args(["-c", &text]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let pem = |pair: &(String, String)| pair.0.trim().to_owned();
    let first = shown(&served);
    let second = certificate(&world);
    served.signal("HUP");
    served.log_with("read again");
    assert_ne!(first, shown(&served));
    assert_eq!(shown(&served).trim(), pem(&second));
    served.get("/v2/").is(200);
    // One that is not right is reported, and the former is shown further.
    world.write("cert", "nothing");
    served.signal("HUP");
    served.log_with("cert: no certificate");
    assert_eq!(shown(&served).trim(), pem(&second));
    // Without a signal, it is found within a while.
    let third = certificate(&world);
    let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while shown(&served).trim() != pem(&third) {
        assert!(std::time::Instant::now() < until);
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}
