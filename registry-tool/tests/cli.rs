//! The command line: output, status and error text of each subcommand, against a registry that misbehaves on demand.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has to panic")]

mod server;

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use image_tool::address::Address;
use image_tool::layout::Layout;
use server::{INDEX, Image, Reply, Request, Server, Store, digest, noise};

/// A folder that is the whole world of the tool: home, configuration and data.
struct World {
    folder: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_registry-tool"));
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .env_clear()
            .env("PATH", format!("{}:{}", self.path("bin").display(), std::env::var("PATH").unwrap()))
            .env("HOME", self.path("user"))
            .env("XDG_RUNTIME_DIR", self.path("run"))
            .env("OCI_HOME", self.path("oci"))
            .env("CONTAINERS_REGISTRIES_CONF", self.path("registries.conf"))
            .env("DOCKER_DAEMON_CONFIG", self.path("daemon.json"))
            .stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        Ran(self.command(arguments).output().unwrap())
    }

    fn run_with_input(&self, arguments: &[&str], input: &str) -> Ran {
        use std::io::Write as _;
        let mut command = self.command(arguments);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        Ran(child.wait_with_output().unwrap())
    }

    /// Asserts that the layout holds nothing but sound blobs and no leftovers beside `.partial`.
    fn assert_sound(&self, layout: &str) {
        let folder = self.path(layout).join("blobs/sha256");
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            assert_eq!(digest(&std::fs::read(&path).unwrap()), format!("sha256:{name}"), "{}", path.display());
        }
    }

    fn has_image(&self, address: &str) -> bool {
        let address: Address = address.parse().unwrap();
        let layout = Layout::open(&self.path(address.layout())).unwrap();
        layout.resolve(&address).is_ok()
    }
}

struct Ran(Output);

impl Ran {
    fn out(&self) -> String {
        String::from_utf8(self.0.stdout.clone()).unwrap()
    }

    fn err(&self) -> String {
        String::from_utf8(self.0.stderr.clone()).unwrap()
    }

    #[track_caller]
    fn good(&self) -> &Self {
        assert!(self.0.status.success(), "{}\n{}", self.out(), self.err());
        self
    }

    /// As [`Ran::fails`], and the error is all that is said.
    #[track_caller]
    fn fails_in_a_line(&self, parts: &[&str]) {
        assert_eq!(self.fails(parts).err().lines().count(), 1, "{}", self.err());
    }

    /// Asserts status 1, nothing on standard output, and a last line with all of `parts`.
    #[track_caller]
    fn fails(&self, parts: &[&str]) -> &Self {
        assert_eq!(self.0.status.code(), Some(1), "{}\n{}", self.out(), self.err());
        assert_eq!(self.out(), "");
        let err = self.err();
        let line = err.lines().last().unwrap_or_default();
        assert!(line.starts_with("registry-tool: "), "{err}");
        for part in parts {
            assert!(line.contains(part), "{part:?} is not in: {err}");
        }
        self
    }
}

fn honest(image: &Image) -> Server {
    let image = image.clone();
    Server::new(move |request| image.answer(request))
}

/// Answers as `image`, but a request that `is_special` as `special` says, for the first `times`.
fn moody(
    image: &Image,
    times: usize,
    is_special: impl Fn(&Request) -> bool + Send + Sync + 'static,
    special: impl Fn(&Request, &Image) -> Reply + Send + Sync + 'static,
) -> Server {
    let (image, count) = (image.clone(), AtomicUsize::new(0));
    Server::new(move |request| {
        if is_special(request) && count.fetch_add(1, Ordering::SeqCst) < times {
            special(request, &image)
        } else {
            image.answer(request)
        }
    })
}

fn is_layer(image: &Image) -> impl Fn(&Request) -> bool + Send + Sync + use<> {
    let end = format!("/blobs/{}", image.layers[0]);
    move |request| request.method == "GET" && request.path.ends_with(&end)
}

fn mirror(world: &World, servers: &[&Server]) {
    let urls: Vec<String> = servers.iter().map(|server| format!("http://{}", server.address())).collect();
    world.write("daemon.json", &serde_json::json!({ "registry-mirrors": urls }).to_string());
}

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
fn a_name_that_is_no_ref_wants_one() {
    let world = World::new();
    world.run(&["pull", "[::1]:1/a:1", "images"]).fails(&["[::1]:1/a:1", "LAYOUT:REF"]);
    world.run(&["pull", "[::1]:1/a:1"]).fails(&["[::1]:1/a:1", ":REF"]);
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
fn an_index_gives_the_image_for_the_platform() {
    let world = World::new();
    let images = [Image::of("amd64", &[noise(60, 1)]), Image::of("s390x", &[noise(60, 2)])];
    let entry = |image: &Image, architecture: &str| {
        serde_json::json!({
            "mediaType": server::MANIFEST, "digest": image.digest(), "size": image.manifest.len(),
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
fn an_empty_layer_comes_and_goes_like_any_other() {
    let (world, image) = (World::new(), Image::new(&[Vec::new(), noise(5, 1)]));
    layout_with(&world, &image);
    world.assert_sound("images");
    let (server, store) = keeping(|_| None);
    world.run(&["push", "-q", "images:a", &format!("{}/app:1", server.address())]).good();
    assert_eq!(*store.blobs.lock().unwrap(), image.blobs);
}

#[test]
fn answers_without_end_are_refused() {
    let (world, image) = (World::new(), Image::new(&[noise(50, 1)]));
    let server = moody(
        &image,
        usize::MAX,
        |request| request.path.contains("/manifests/"),
        |_, _| Reply::new(200, vec![b' '; (4 << 20) + 1]).header("Content-Type", server::MANIFEST),
    );
    world.run(&["pull", &format!("{}/a:3.8", server.address()), "images"]).fails(&["more than 4194304 bytes"]);
}

#[test]
fn a_manifest_that_lies_is_refused() {
    let image = Image::new(&[noise(50, 1)]);
    let both = br#"{"schemaVersion":2,"manifests":[],"config":{},"layers":[]}"#.to_vec();
    for (reply, reason) in [
        (Reply::new(200, "<html>").header("Content-Type", "text/html"), "expected value"),
        (Reply::new(200, both).header("Content-Type", server::MANIFEST), "CVE-2021-41190"),
        (
            Reply::new(200, image.manifest.clone())
                .header("Content-Type", server::MANIFEST)
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

#[test]
fn lists_are_followed_over_their_pages() {
    let world = World::new();
    let server = Server::new(|request| match (request.path.as_str(), request.query.as_str()) {
        ("/v2/a/tags/list", "n=1000") => Reply::new(200, r#"{"name":"a","tags":["1","2"]}"#)
            .header("Link", "</v2/a/tags/list?n=1000&last=2>; rel=\"next\""),
        ("/v2/a/tags/list", _) => Reply::new(200, "{\"name\":\"a\",\"tags\":[\"3\",\"bad\\u001b[2J\"]}"),
        ("/v2/b/tags/list", _) => Reply::new(200, r#"{"name":"b","tags":null}"#),
        ("/v2/", _) => Reply::new(200, ""),
        ("/v2/c/tags/list", _) => {
            Reply::new(200, r#"{"tags":["1"]}"#).header("Link", "<http://127.0.0.1:1/x>; rel=\"next\"")
        }
        _ => Reply::new(404, ""),
    });
    let host = server.address();
    assert_eq!(world.run(&["tags", &format!("{host}/a")]).good().out(), "1\n2\n3\n");
    assert_eq!(world.run(&["tags", &format!("{host}/b")]).good().out(), "");
    world.run(&["tags", &format!("{host}/c")]).fails(&["leads to another host"]);
    let json = world.run(&["tags", "--json", &format!("{host}/b")]);
    assert_eq!(json.good().out(), "{\"name\":\"b\",\"tags\":[]}\n");
}

#[test]
fn search_shows_dockers_table_or_looks_through_the_catalog() {
    let world = World::new();
    let hub = Server::new(|request| match request.path.as_str() {
        "/v1/search" => Reply::new(
            200,
            r#"{"num_results":2,"results":[
                {"name":"pypy","description":"Fast","star_count":260,"is_official":true},
                {"name":"python","description":"A language","star_count":5757,"is_official":true},
                {"name":"xag/python","description":"Mine\nown","star_count":3,"is_automated":true}]}"#,
        ),
        _ => Reply::new(404, ""),
    });
    mirror(&world, &[&hub]);
    let table = "\
NAME                DESCRIPTION         STARS               OFFICIAL            AUTOMATED
python              A language          5757                [OK]
pypy                Fast                260                 [OK]
xag/python          Mine own            3                                       [OK]
";
    assert_eq!(world.run(&["search", "python"]).good().out(), table);
    assert!(hub.seen_at("GET", "/v1/search")[0].query.contains("q=python&n=25"));
    let names = |arguments: &[&str]| {
        let mut all = vec!["search", "python", "--format", "{{.Name}}"];
        all.extend(arguments);
        world.run(&all).good().out()
    };
    assert_eq!(names(&["--filter", "is-official=true"]), "python\npypy\n");
    assert_eq!(names(&["--filter", "stars=300"]), "python\n");
    assert_eq!(names(&["--limit", "1"]), "pypy\n");
    let list = Server::new(|request| match request.path.as_str() {
        "/v2/_catalog" => Reply::new(200, r#"{"repositories":["library/centos","library/python","xag/pythons"]}"#),
        "/v2/" => Reply::new(200, ""),
        _ => Reply::new(404, ""),
    });
    let host = list.address();
    let found = world.run(&["search", &format!("{host}/python"), "--format", "{{.Name}}"]);
    assert_eq!(found.good().out(), format!("{host}/library/python\n{host}/xag/pythons\n"));
    world.run(&["search", "--limit", "1", &format!("{host}/python")]).good();
}

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

/// A registry that keeps what it is sent, but answers as `special` says where that says anything.
fn keeping(special: impl Fn(&Request) -> Option<Reply> + Send + Sync + 'static) -> (Server, Arc<Store>) {
    let store = Arc::new(Store::default());
    let kept = Arc::clone(&store);
    (Server::new(move |request| special(request).unwrap_or_else(|| kept.answer(request))), store)
}

/// A layout `images` with an image under the ref `a`.
fn layout_with(world: &World, image: &Image) {
    let server = honest(image);
    world.run(&["pull", "-q", &format!("{}/a:3.8", server.address()), "images:a"]).good();
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
fn a_damaged_blob_never_leaves_the_machine() {
    let (world, image) = (World::new(), Image::new(&[noise(5000, 1)]));
    layout_with(&world, &image);
    let blob = format!("images/blobs/sha256/{}", &image.layers[0][7..]);
    let mut bytes = std::fs::read(world.path(&blob)).unwrap();
    bytes[17] ^= 1;
    std::fs::write(world.path(&blob), bytes).unwrap();
    let (server, store) = keeping(|_| None);
    world.run(&["push", "images:a", &format!("{}/app:1", server.address())]).fails(&[&image.layers[0], "got sha256:"]);
    assert!(store.manifests.lock().unwrap().is_empty());
    assert!(!store.blobs.lock().unwrap().contains_key(&image.layers[0]));
}

#[test]
fn copy_streams_from_registry_to_registry() {
    let (world, image) = (World::new(), Image::new(&[noise(500_000, 1)]));
    let source = honest(&image);
    let (target, store) = keeping(|_| None);
    let (from, to) = (format!("{}/a:3.8", source.address()), format!("{}/b:1", target.address()));
    let ran = world.run(&["copy", &from, &to]);
    assert_eq!(ran.good().out(), format!("{to}@{}\n", image.digest()));
    assert_eq!(*store.blobs.lock().unwrap(), image.blobs);
    assert!(!world.path("oci").exists(), "nothing touches the disk");
    let liar = moody(&image, usize::MAX, is_layer(&image), |request, _| Reply::blob(request, &noise(500_000, 2)));
    let (target, store) = keeping(|_| None);
    let (from, to) = (format!("{}/a:3.8", liar.address()), format!("{}/b:1", target.address()));
    world.run(&["copy", "--retry", "0", &from, &to]).fails(&[&from, &image.layers[0]]);
    assert!(store.manifests.lock().unwrap().is_empty());
    world.run(&["copy", &format!("{}/a:9", source.address()), &to]).fails(&["no such image"]);
}

#[test]
fn delete_takes_a_tag_or_an_image() {
    let (world, image) = (World::new(), Image::new(&[noise(50, 1)]));
    let shown = image.clone();
    let server = Server::new(move |request| match (request.method.as_str(), request.path.ends_with("/3.8")) {
        ("DELETE", true) => Reply::new(405, r#"{"errors":[{"code":"UNSUPPORTED"}]}"#),
        ("DELETE", false) => Reply::new(202, ""),
        _ => shown.answer(request),
    });
    let name = format!("{}/a", server.address());
    world.run(&["delete", &format!("{name}:3.8")]).fails(&["cannot delete a tag alone", &image.digest()]);
    world.run(&["delete", &format!("{name}@{}", image.digest())]).good();
    world.run(&["delete", &format!("{name}:9")]).fails(&["not found"]);
    world.run(&["delete", &name]).fails(&["name the tag or digest"]);
}

#[test]
fn inspect_shows_what_skopeo_shows() {
    let (world, image) = (World::new(), Image::new(&[noise(50, 1)]));
    let server = honest(&image);
    let name = format!("{}/a:3.8", server.address());
    let shown = world.run(&["inspect", "--no-tags", &name]);
    let document: serde_json::Value = serde_json::from_str(&shown.good().out()).unwrap();
    assert_eq!(document["Digest"], image.digest());
    assert_eq!(document["Architecture"], "amd64");
    assert_eq!(document["Layers"][0], image.layers[0]);
    assert_eq!(document["Env"][0], "A=1");
    assert_eq!(world.run(&["inspect", "--raw", &name]).good().0.stdout, image.manifest);
    let config = world.run(&["inspect", "--config", &name]).good().0.stdout.clone();
    assert_eq!(image.blobs[&digest(&config)], config);
}

#[test]
fn a_policy_that_wants_signatures_is_obeyed() {
    let (world, image) = (World::new(), Image::new(&[noise(50, 1)]));
    let server = honest(&image);
    let name = format!("{}/a:3.8", server.address());
    world.write(
        "user/.config/containers/policy.json",
        r#"{"default": [{"type": "signedBy"}], "transports": {"docker": {"docker.io": [{"type": "reject"}]}}}"#,
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

#[test]
fn man_and_completions_are_printed() {
    let world = World::new();
    let page = world.run(&["man"]).good().out();
    assert!(page.contains(".TH") && page.contains("REGISTRY-TOOL PULL"), "{page}");
    assert!(world.run(&["completions", "bash"]).good().out().contains("registry-tool"));
}
