//! `registry-tool pull`: what it says, what it prints, where the image goes.

use crate::server::{INDEX, Image, MANIFEST, Reply, Server, digest, noise};
use crate::world::{World, honest, keeping, layout_with, mirror};

#[test]
fn pull_says_what_docker_says_and_prints_the_address() {
    let (world, image) = (World::new(), Image::new(&[noise(5000, 1)]));
    let server = honest(&image);
    mirror(&world, &[&server]);
    let ran = world.run(&["pull", "python:3.8", "images"]);
    let short = &image.layers[0][7..19];
    let said = format!(
        "3.8: Pulling from library/python\n{short}: Pull complete\nDigest: {0}\nStatus: Downloaded newer image for \
         python:3.8\ndocker.io/library/python:3.8\n",
        image.digest()
    );
    assert_eq!(ran.good().err(), said);
    assert_eq!(ran.out(), format!("images:python:3.8@{}\n", image.digest()));
    world.assert_sound("images");
    let again = world.run(&["pull", "python:3.8", "images"]);
    let said = format!(
        "3.8: Pulling from library/python\nDigest: {}\nStatus: Image is up to date for \
         python:3.8\ndocker.io/library/python:3.8\n",
        image.digest()
    );
    assert_eq!(again.good().err(), said);
    assert_eq!(again.out(), ran.out());
    assert_eq!(server.seen_at("GET", &image.layers[0]).len(), 1, "what is there is not fetched again");
}

#[test]
fn pull_without_an_address_goes_to_the_default_layout() {
    let (world, image) = (World::new(), Image::new(&[noise(100, 1)]));
    let server = honest(&image);
    let name = format!("{}/python", server.address());
    let ran = world.run(&["pull", &name]);
    assert_eq!(ran.good().out(), format!(":{name}@{}\n", image.digest()));
    assert!(ran.err().starts_with("Using default tag: latest\nlatest: Pulling from python\n"), "{}", ran.err());
    let ran = world.run(&["pull", "--quiet", &name, "images:mine"]);
    assert_eq!((ran.good().out(), ran.err()), (format!("images:mine@{}\n", image.digest()), String::new()));
    let pinned = format!("{name}@{}", image.digest());
    let ran = world.run(&["pull", "-q", &pinned, "pinned"]);
    assert_eq!(ran.good().out(), format!("pinned@{}\n", image.digest()));
}

#[test]
fn a_registry_may_be_an_ipv6_address() {
    let world = World::new();
    world.run(&["pull", "[::1]:1/a:1", "images"]).fails(&["[::1]:1/a:1", "Connection refused"]);
    world.run(&["pull", "[::1]:1/a:1"]).fails(&["[::1]:1/a:1", "Connection refused"]);
    world.run(&["pull", "[::1]:1/a:1", "images:a"]).fails(&["[::1]:1", "Connection refused"]);
}

#[test]
fn a_layer_that_is_there_already_exists() {
    let shared = noise(3000, 7);
    let world = World::new();
    let (one, two) = (Image::new(std::slice::from_ref(&shared)), Image::new(&[shared, noise(200, 8)]));
    let (first, second) = (honest(&one), honest(&two));
    world.run(&["pull", &format!("{}/a:3.8", first.address()), "images"]).good();
    let ran = world.run(&["pull", &format!("{}/b:3.8", second.address()), "images"]);
    assert!(ran.good().err().contains(&format!("{}: Already exists\n", &two.layers[0][7..19])), "{}", ran.err());
    assert!(ran.err().contains(&format!("{}: Pull complete\n", &two.layers[1][7..19])), "{}", ran.err());
}

#[test]
fn an_index_gives_the_image_for_the_platform() {
    let world = World::new();
    let images = [Image::of("amd64", &[noise(60, 1)]), Image::of("s390x", &[noise(60, 2)])];
    let entry = |image: &Image, architecture: &str| {
        serde_json::json!({
            "mediaType": MANIFEST, "digest": image.digest(), "size": image.manifest.len(),
            "platform": {"os": "linux", "architecture": architecture},
        })
    };
    let index = serde_json::json!({
        "schemaVersion": 2, "mediaType": INDEX,
        "manifests": [entry(&images[0], "amd64"), entry(&images[1], "s390x")],
    });
    let index = index.to_string().into_bytes();
    let (shown, top) = (images.clone(), index.clone());
    let server = Server::new(move |request| {
        if request.path.ends_with("/manifests/3.8") || request.path.ends_with(&digest(&top)) {
            return Reply::new(200, top.clone()).header("Content-Type", INDEX);
        }
        let first = shown[0].answer(request);
        if first.status == 404 { shown[1].answer(request) } else { first }
    });
    let name = format!("{}/a:3.8", server.address());
    let ran = world.run(&["pull", "--platform", "linux/s390x", &name, "one"]);
    assert_eq!(ran.good().out(), format!("one:{name}@{}\n", images[1].digest()));
    assert!(ran.err().contains(&format!("Digest: {}\n", digest(&index))), "docker shows the index's digest");
    assert!(server.seen_at("GET", &images[0].layers[0]).is_empty(), "the other platform is not fetched");
    let ran = world.run(&["pull", "-q", "--all-platforms", &name, "all"]);
    assert_eq!(ran.good().out(), format!("all:{name}@{}\n", digest(&index)));
    world.assert_sound("all");
    world
        .run(&["pull", "--platform", "linux/riscv64", &name, "one"])
        .fails(&["no image for linux/riscv64", "it has linux/amd64, linux/s390x"]);
    assert_eq!(world.run(&["digest", &name]).good().out(), format!("{}\n", digest(&index)));
    let single = honest(&images[1]);
    let name = format!("{}/a:3.8", single.address());
    world.run(&["pull", "-q", &name, "one"]).good();
    world
        .run(&["pull", "--platform", "linux/arm64", &name, "two"])
        .fails(&["no image for linux/arm64", "it has linux/s390x"]);
}

#[test]
fn an_image_that_is_not_there_names_where_it_was_looked_for() {
    let world = World::new();
    let (one, two) = (Server::new(|_| Reply::new(404, "{}")), Server::new(|_| Reply::new(404, "{}")));
    let conf = format!(
        "[[registry]]\nlocation = \"{}\"\nprefix = \"corp.invalid\"\n[[registry.mirror]]\nlocation = \"{}\"\n",
        two.address(),
        one.address()
    );
    world.write("registries.conf", &conf);
    let ran = world.run(&["pull", "corp.invalid/a:1", "images"]);
    let tried = format!("corp.invalid/a:1: no such image (tried {}, {})", one.address(), two.address());
    ran.fails_in_a_line(&[&tried]);
    assert!(!world.path("images").exists(), "nothing is made for an image that is not there");
    world.run(&["tags", "corp.invalid/a"]).fails(&["corp.invalid/a: no such repository (tried"]);
}

#[test]
fn an_unreachable_registry_is_named() {
    let (world, image) = (World::new(), Image::new(&[noise(50, 1)]));
    let server = honest(&image);
    world.run(&["pull", "-q", &format!("{}/a:3.8", server.address()), ":a"]).good();
    let port = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let host = format!("127.0.0.1:{port}");
    for arguments in [
        vec!["pull".into(), format!("{host}/a"), "images".into()],
        vec!["push".into(), ":a".into(), format!("{host}/a")],
        vec!["catalog".into(), host.clone()],
        vec!["search".into(), format!("{host}/x")],
        vec!["tags".into(), format!("{host}/x")],
    ] {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        world.run(&arguments).fails_in_a_line(&[&host, "Connection refused"]);
    }
    world.run(&["pull", "no.such.host.invalid/a:1", "images"]).fails(&["no.such.host.invalid"]);
}

#[test]
fn an_empty_layer_comes_and_goes_like_any_other() {
    let (world, image) = (World::new(), Image::new(&[Vec::new(), noise(5, 1)]));
    layout_with(&world, &image);
    world.assert_sound("images");
    let (server, store) = keeping(|_| None);
    world.run(&["push", "-q", "images:a", &format!("{}/app:1", server.address())]).good();
    assert_eq!(*store.blobs.lock().unwrap(), image.blobs);
}

#[test]
fn a_refused_pull_says_how_to_log_in() {
    let world = World::new();
    let server = Server::new(|_| {
        Reply::new(401, r#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}"#)
            .header("WWW-Authenticate", "Basic realm=\"x\"")
    });
    let host = server.address();
    let login = format!("(registry-tool login {host}");
    let image = Image::new(&[noise(50, 1)]);
    layout_with(&world, &image);
    world.run(&["push", "images:a", &format!("{host}/a")]).fails_in_a_line(&[&login]);
    let pull = world.run(&["pull", &format!("{host}/a"), "images"]);
    pull.fails_in_a_line(&[&login, "or there is no such repository"]);
    let refused = world.run_with_input(&["login", "-u", "xag", "--password-stdin", &host], "s3cret\n");
    refused.fails(&["authentication required (wrong username or password)"]);
    assert!(!refused.err().contains("s3cret"));
    assert!(!world.path("user/.docker/config.json").exists());
}

#[test]
fn a_policy_that_wants_signatures_is_obeyed() {
    let (world, image) = (World::new(), Image::new(&[noise(50, 1)]));
    let server = honest(&image);
    let name = format!("{}/a:3.8", server.address());
    world.write(
        "user/.config/containers/policy.json",
        r#"{"default": [{"type": "signedBy", "keyType": "X509Certificates"}], "transports": {"docker": {"docker.io": [{"type": "reject"}]}}}"#,
    );
    world.run(&["pull", &name, "images"]).fails(&["signedBy", "--disable-content-trust"]);
    world.run(&["pull", "--disable-content-trust", "python", "images"]).fails(&["rejected by"]);
    world.run(&["pull", "--disable-content-trust", &name, "images"]).good();
    world.run(&["pull", "--disable-content-trust=false", &name, "images"]).fails(&["cannot be verified"]);
}

#[test]
fn progress_for_scripts_is_json_lines() {
    let (world, image) = (World::new(), Image::new(&[noise(200_000, 1)]));
    let server = honest(&image);
    let ran = world.run(&["pull", "--progress", "json", &format!("{}/a:3.8", server.address()), "images"]);
    let lines: Vec<serde_json::Value> =
        ran.good().err().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let id = &image.layers[0][7..19];
    assert!(lines.iter().any(|line| line["id"] == id && line["progressDetail"]["total"] == 200_000), "{lines:?}");
    assert!(lines.iter().any(|line| line["id"] == id && line["status"] == "Pull complete"), "{lines:?}");
    assert!(lines.iter().any(|line| line["status"].as_str().unwrap().starts_with("Status: Downloaded")), "{lines:?}");
}
