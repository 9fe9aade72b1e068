//! `registry-tool login` and `logout`, and what a registry is told of the login.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::server::{Image, Reply, Server, noise};
use crate::world::{World, honest, mirror};

#[test]
fn tokens_have_their_scope_and_are_renewed() {
    let (world, image) = (World::new(), Image::new(&[noise(5000, 1)]));
    let issued = AtomicUsize::new(0);
    let shown = image.clone();
    let server = Server::new(move |request| {
        let host = request.header("host").unwrap_or_default();
        if request.path == "/token" {
            // The first token is one that the registry has forgotten already.
            let number = issued.fetch_add(1, Ordering::SeqCst);
            return Reply::new(200, format!(r#"{{"token":"token-{number}","expires_in":300}}"#));
        }
        let good = request.header("authorization") == Some("Bearer token-1");
        if good || request.path.ends_with("/none") {
            return shown.answer(request);
        }
        let challenge = format!("Bearer realm=\"http://{host}/token\",service=\"reg\"");
        Reply::new(401, "{}").header("WWW-Authenticate", &challenge)
    });
    world.write(
        "user/.docker/config.json",
        &serde_json::json!({ "auths": { server.address(): { "auth": "eGFnOnMzY3JldA==" } } }).to_string(),
    );
    let ran = world.run(&["-vv", "pull", &format!("{}/team/a:3.8", server.address()), "images"]);
    ran.good();
    let tokens = server.seen_at("GET", "/token");
    assert_eq!(tokens.len(), 2);
    for token in &tokens {
        assert!(token.query.contains("scope=repository%3Ateam%2Fa%3Apull"), "{}", token.query);
        assert!(token.query.contains("service=reg"), "{}", token.query);
        assert_eq!(token.header("authorization"), Some("Basic eGFnOnMzY3JldA=="));
    }
    for secret in ["s3cret", "eGFnOnMzY3JldA", "token-0", "token-1"] {
        assert!(!ran.err().contains(secret), "{secret} is shown: {}", ran.err());
    }
}

#[test]
fn an_identity_token_is_changed_into_a_token() {
    let (world, image) = (World::new(), Image::new(&[noise(50, 1)]));
    let shown = image.clone();
    let server = Server::new(move |request| {
        let host = request.header("host").unwrap_or_default();
        match (request.path.as_str(), request.header("authorization")) {
            ("/token", _) if request.method == "POST" => {
                let form = String::from_utf8(request.body.clone()).unwrap();
                assert!(form.contains("grant_type=refresh_token") && form.contains("refresh_token=id-token"), "{form}");
                Reply::new(200, r#"{"access_token":"good"}"#)
            }
            (_, Some("Bearer good")) => shown.answer(request),
            _ => Reply::new(401, "{}").header("WWW-Authenticate", &format!("Bearer realm=\"http://{host}/token\"")),
        }
    });
    world.write(
        "user/.docker/config.json",
        &serde_json::json!({ "auths": { server.address(): { "identitytoken": "id-token" } } }).to_string(),
    );
    world.run(&["pull", "-q", &format!("{}/a:3.8", server.address()), "images"]).good();
}

#[test]
fn credentials_do_not_follow_a_redirect_to_another_host() {
    let (world, image) = (World::new(), Image::new(&[noise(5000, 1)]));
    let storage = honest(&image);
    let target = storage.address();
    let shown = image.clone();
    let server = Server::new(move |request| {
        if request.header("authorization").is_none() {
            return Reply::new(401, "{}").header("WWW-Authenticate", "Basic realm=\"x\"");
        }
        match request.path.split_once("/blobs/") {
            Some((_, name)) => Reply::new(307, "").header("Location", &format!("http://{target}/x/{name}?signature=s")),
            None => shown.answer(request),
        }
    });
    world.write(
        "user/.docker/config.json",
        &serde_json::json!({ "auths": { server.address(): { "auth": "eGFnOnMzY3JldA==" } } }).to_string(),
    );
    world.run(&["pull", "-q", &format!("{}/a:3.8", server.address()), "images"]).good();
    assert!(!storage.seen().is_empty());
    assert!(storage.seen().iter().all(|request| request.header("authorization").is_none()));
}

#[test]
fn docker_hubs_password_is_not_shown_to_a_mirror() {
    let (world, image) = (World::new(), Image::new(&[noise(50, 1)]));
    let shown = image.clone();
    let server = Server::new(move |request| match request.path.as_str() {
        "/v2/" => Reply::new(401, "{}").header("WWW-Authenticate", "Basic realm=\"x\""),
        _ => shown.answer(request),
    });
    mirror(&world, &[&server]);
    world.write(
        "user/.docker/config.json",
        r#"{"auths": {"https://index.docker.io/v1/": {"auth": "eGFnOnMzY3JldA=="}}}"#,
    );
    world.run(&["pull", "-q", "python:3.8", "images"]).good();
    assert!(server.seen().iter().all(|request| request.header("authorization").is_none()));
}

#[test]
fn login_keeps_what_the_registry_took_and_logout_forgets_it() {
    use std::os::unix::fs::PermissionsExt as _;
    let (world, image) = (World::new(), Image::new(&[noise(50, 1)]));
    let shown = image.clone();
    let server = Server::new(move |request| match request.header("authorization") {
        // xag:s3cret
        Some("Basic eGFnOnMzY3JldA==") => shown.answer(request),
        _ => Reply::new(401, "{}").header("WWW-Authenticate", "Basic realm=\"x\""),
    });
    let host = server.address();
    let ran = world.run_with_input(&["-vv", "login", &host, "--username", "xag", "--password-stdin"], "s3cret\n");
    assert!(ran.good().err().ends_with("Login Succeeded\n"), "{}", ran.err());
    assert_eq!(ran.out(), "");
    assert!(!ran.err().contains("s3cret"));
    let config = world.path("user/.docker/config.json");
    assert_eq!(std::fs::metadata(&config).unwrap().permissions().mode() & 0o777, 0o600);
    world.run(&["pull", "-q", &format!("{host}/a:3.8"), "images"]).good();
    assert_eq!(world.run(&["logout", &host]).good().err(), format!("Removing login credentials for {host}\n"));
    world.run(&["pull", "-q", &format!("{host}/a:3.8"), "other"]).fails(&["registry-tool login"]);
    assert_eq!(world.run(&["logout", &host]).good().err(), format!("Not logged in to {host}\n"));
    world.run_with_input(&["login", &host, "-u", "xag", "--password-stdin"], "").fails(&["standard input is empty"]);
    world.run(&["login", &host]).fails(&["--password-stdin"]);
}

#[test]
fn a_credential_helper_is_asked_and_told() {
    use std::os::unix::fs::PermissionsExt as _;
    let world = World::new();
    world.write(
        "bin/docker-credential-test",
        "#!/bin/sh\nfile=$HOME/secret\ncase $1 in\nstore) cat >$file ;;\nget) [ -e $file ] && cat $file || { echo credentials not \
         found in native keychain; exit 1; } ;;\nerase) rm -f $file ;;\nesac\n",
    );
    std::fs::set_permissions(world.path("bin/docker-credential-test"), std::fs::Permissions::from_mode(0o755)).unwrap();
    world.write("user/.docker/config.json", r#"{"credsStore": "test"}"#);
    let server = Server::new(|request| match request.header("authorization") {
        Some("Basic eGFnOnMzY3JldA==") => Reply::new(200, r#"{"repositories":["a","b"]}"#),
        _ => Reply::new(401, "{}").header("WWW-Authenticate", "Basic realm=\"x\""),
    });
    let host = server.address();
    let ran = world.run_with_input(&["login", &host, "-u", "xag", "--password-stdin"], "s3cret");
    assert_eq!(ran.good().err(), "Login Succeeded\n", "nothing is stored unencrypted");
    let config = std::fs::read_to_string(world.path("user/.docker/config.json")).unwrap();
    assert!(!config.contains("eGFn"), "{config}");
    assert_eq!(world.run(&["catalog", &host]).good().out(), "a\nb\n");
    world.run(&["logout", &host]).good();
    world.run(&["catalog", &host]).fails(&["registry-tool login"]);
    world.write("user/.docker/config.json", r#"{"credsStore": "absent"}"#);
    world.run(&["catalog", &host]).fails(&["docker-credential-absent"]);
}
