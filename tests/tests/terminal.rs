//! Text that an image, a registry, a bundle or a Dockerfile brings never reaches a terminal raw, whichever tool shows it.
//!
//! Each command runs twice, on a terminal and in a pipe. On the terminal nothing may arrive that it would obey; in the pipe nothing on
//! standard error, and nothing in a table or in JSON. Other data is byte for byte what it is, which `image-tool`'s own tests show.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};
use tests::layout::{Builder, Tar};
use tests::{Pty, Workdir};

/// Sets the title, rings, clears the screen, colours (in the form of eight bits too), deletes, reorders, isolates, and breaks the line
/// in four ways.
const EVIL: &str =
    "\u{1b}]0;owned\u{7}\u{1b}[2J\u{1b}[31m\u{9b}31m\u{7f}\u{202e}\u{2066}\u{2028}\u{2029}\u{85}\r\n\u{8}finis";

/// The same for names of files and other places that end at a line break or a slash.
const NAME: &str = "\u{1b}]0;owned\u{7}\u{1b}[2J\u{9b}31m\u{7f}\u{202e}\u{2066}\u{2028}\u{8}finis";

/// What a command's standard output is in a pipe.
#[derive(Clone, Copy, PartialEq)]
enum Piped {
    /// A table or JSON, and so escaped.
    Shown,
    /// Data: what a template or a document has, byte for byte.
    Data,
}
use Piped::{Data, Shown};

/// The first character that a terminal would obey.
fn raw(text: &str) -> Option<char> {
    let obeyed = |c: &char| (c.is_control() && !"\n\t".contains(*c)) || "\u{2028}\u{2029}".contains(*c) || is_bidi(*c);
    text.replace("\r\n", "\n").chars().find(obeyed)
}

fn is_bidi(character: char) -> bool {
    ('\u{202a}'..='\u{202e}').contains(&character) || ('\u{2066}'..='\u{2069}').contains(&character)
}

/// Runs shell text in a pipe and on a terminal, and complains. Both times the hostile text must be in what it says.
fn complaints(work: &Workdir, text: &str, piped: Piped) -> Vec<String> {
    let output = work.sh(text);
    let mut command = work.command("sh");
    command.args(["-c", text]);
    let (seen, _) = Pty::spawn(&command).finish();
    let mut complaints = Vec::new();
    let mut complain = |place: &str, shown: &str| {
        complaints.extend(raw(shown).map(|found| format!("{text}: {found:?} {place}: {shown:?}")));
    };
    complain("on standard error in a pipe", &output.stderr);
    if piped == Shown {
        complain("on standard output in a pipe", &output.stdout);
    }
    complain("on a terminal", &seen);
    // Otherwise the command would prove nothing.
    for shown in [&format!("{output}"), &seen] {
        if !shown.contains("finis") {
            complaints.push(format!("{text}: the text is not shown: {shown:?}"));
        }
    }
    complaints
}

#[track_caller]
fn check<'a>(work: &Workdir, cases: impl IntoIterator<Item = (&'a str, Piped)>) {
    let complaints: Vec<String> = cases.into_iter().flat_map(|(text, piped)| complaints(work, text, piped)).collect();
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

fn workdir() -> Workdir {
    let mut work = Workdir::new();
    work.set("EVIL", EVIL);
    work.set("NAME", NAME);
    // The tools' own colours are not the matter here.
    work.set("NO_COLOR", "1");
    // Nor is build-tool's picture, which moves the cursor; it has a test of its own.
    work.set("BUILDKIT_PROGRESS", "plain");
    work
}

/// A layout `hostile` with images in which every text is hostile: `all`, and others that cannot be used.
fn hostile(work: &Workdir) {
    let mut tar = Tar::new();
    tar.folder("etc/").file("etc/passwd", "root:x:0:0::/:\n").folder(&format!("{NAME}/"));
    tar.file(&format!("{NAME}/file"), &"data".repeat(1000)).symlink(&format!("{NAME}/link"), NAME);
    let lower = tar.bytes();
    let upper = tar.file(&format!("{NAME}/.wh.file"), "").file("big", &"data".repeat(100)).bytes();
    let mut layout = Builder::new(&work.path("hostile"));
    let layers = [&lower, &upper].map(|tar| layout.blob("application/vnd.oci.image.layer.v1.tar", tar));
    let diff_ids = [&lower, &upper].map(|tar| tests::layout::digest(tar));
    let config = json!({
        "architecture": "amd64", "os": "linux", "author": EVIL, "comment": EVIL, "created": "2020-01-01T00:00:00Z",
        "config": {
            "User": EVIL, "Env": [EVIL, format!("A={EVIL}")], "Labels": {EVIL: EVIL, "title": EVIL}, "Cmd": [EVIL],
            "Entrypoint": [EVIL], "WorkingDir": format!("/{EVIL}"), "StopSignal": EVIL, "Volumes": {EVIL: {}},
            "ExposedPorts": {EVIL: {}}, "Healthcheck": {"Test": ["CMD", EVIL]},
        },
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "history": [{"created_by": EVIL, "comment": EVIL, "author": EVIL}, {"created_by": EVIL, "comment": EVIL}],
    });
    let config = layout.blob("application/vnd.oci.image.config.v1+json", config.to_string().as_bytes());
    let manifest = |config: &Value, layers: &[Value]| {
        let media_type = "application/vnd.oci.image.manifest.v1+json";
        json!({"schemaVersion": 2, "mediaType": media_type, "config": config, "layers": layers, "annotations": {EVIL: EVIL}})
    };
    let mut add = |name: &str, media_type: &str, document: Value| {
        let mut descriptor = layout.blob(media_type, document.to_string().as_bytes());
        descriptor["artifactType"] = json!(EVIL);
        layout.entry(name, descriptor);
    };
    let oci = "application/vnd.oci.image.manifest.v1+json";
    add("all", oci, manifest(&config, &layers));
    let mut typed = layers[0].clone();
    typed["mediaType"] = json!(EVIL);
    add("layer-type", oci, manifest(&config, &[typed, layers[1].clone()]));
    add("digest", oci, manifest(&json!({"mediaType": EVIL, "digest": EVIL, "size": 1}), &layers));
    add("type", EVIL, manifest(&config, &layers));
    let platform = json!({"os": EVIL, "architecture": EVIL});
    let mut other = config.clone();
    other["platform"] = platform;
    let index = "application/vnd.oci.image.index.v1+json";
    add("index", index, json!({"schemaVersion": 2, "mediaType": index, "manifests": [other]}));
    add(NAME, oci, manifest(&config, &layers));
}

#[test]
fn image_tool_shows_images() {
    let work = workdir();
    hostile(&work);
    let cases = [
        ("image-tool list --json hostile", Shown),
        ("image-tool inspect hostile:all", Shown),
        ("image-tool inspect -f '{{.Author}}|{{.Config.User}}|{{json .Config}}|{{.Config.Labels}}' hostile:all", Data),
        ("image-tool history hostile:all", Shown),
        ("image-tool history --no-trunc hostile:all", Shown),
        ("image-tool history --no-trunc --format 'table {{.CreatedBy}}\\t{{.Comment}}' hostile:all", Shown),
        ("image-tool history --format '{{.CreatedBy}} {{.Comment}}' hostile:all", Data),
        ("image-tool tree hostile:all", Shown),
        ("image-tool tree --json hostile:all", Shown),
        ("image-tool tree --html hostile:all", Shown),
        ("image-tool show hostile:all", Data),
        ("image-tool show --config hostile:all", Data),
        ("mkdir -p \"$NAME/blobs/sha256\"; cp -r hostile/* \"$NAME\"; image-tool list \"$NAME\"", Shown),
        ("touch \"hostile/blobs/sha256/.tmp-$NAME\"; image-tool gc --dry-run hostile; echo finis", Data),
    ];
    check(&work, cases);
}

#[test]
fn image_tool_names_what_is_wrong() {
    let work = workdir();
    hostile(&work);
    work.write("archive/manifest.json", &json!([{"Config": NAME, "RepoTags": [EVIL], "Layers": [NAME]}]).to_string());
    work.sh("tar cf archive.tar -C archive manifest.json; mkdir -p \"old/$NAME\"; mkfifo \"old/$NAME/fifo\"").ok();
    work.sh("mkdir sockets; python3 -c 'import socket, os; socket.socket(socket.AF_UNIX).bind(\"sockets/\" + os.environ[\"NAME\"])'");
    let cases = [
        "image-tool verify hostile:layer-type; echo finis",
        "image-tool verify hostile:digest; echo finis",
        "image-tool verify hostile; echo finis",
        "image-tool -vv verify hostile; echo finis",
        "image-tool inspect hostile:layer-type hostile:digest; image-tool inspect hostile:type",
        "image-tool unpack hostile:layer-type out",
        "image-tool inspect --platform linux/riscv64 hostile:index",
        "image-tool show --config hostile:index",
        "image-tool load -i archive.tar loaded",
        "image-tool load -i \"$NAME\"",
        "image-tool unpack hostile:all \"/dev/null/$NAME\"",
        "image-tool list \"$NAME/no\"",
        "image-tool inspect \"hostile:$NAME\"",
        "image-tool inspect \"hostile@$NAME\"",
        "printf '%s' \"$NAME\" | image-tool inspect -",
        "image-tool tag hostile:all \"hostile:$NAME\"",
        "image-tool rm \"hostile:$NAME\" hostile:nosuch",
        "image-tool import \"$NAME\" hostile:new",
        "image-tool append hostile:all \"$NAME\"",
        "image-tool diff \"$NAME-no\" \"$NAME-no\"",
        "image-tool \"$EVIL\"",
        "image-tool list \"--$EVIL\"",
        "image-tool list --filter \"$EVIL\"",
        "image-tool list hostile \"$EVIL\"",
        "image-tool config --env \"$EVIL\" --expose \"$EVIL\" hostile:all",
        "image-tool gc --older-than \"$EVIL\"",
    ];
    check(&work, cases.map(|text| (text, Shown)));
}

/// Answers every request to it by a function, until the test program ends. Returns its address.
fn serve(answer: impl Fn(&str, &str) -> Answer + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let answer = std::sync::Arc::new(answer);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answer = std::sync::Arc::clone(&answer);
            // A client that hangs up ends only its own conversation.
            std::thread::spawn(move || {
                let _ = converse(stream, answer.as_ref());
            });
        }
    });
    address
}

/// A status, headers and a body.
type Answer = (u16, Vec<(&'static str, String)>, Vec<u8>);

fn converse(mut stream: TcpStream, answer: &dyn Fn(&str, &str) -> Answer) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let Some(first) = lines.next().transpose()? else { return Ok(()) };
    let mut words = first.split(' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    // The bodies of requests are left unread: the connection ends with the answer.
    while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
    let (status, headers, body) = answer(method, path);
    let mut head = format!("HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {}\r\n", body.len());
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    stream.write_all((head + "\r\n").as_bytes())?;
    if method != "HEAD" {
        stream.write_all(&body)?;
    }
    Ok(())
}

/// A registry whose every answer is hostile. The repository says how: `image` is a whole image, `refuses` refuses, `asks` wants a
/// login, `types` has an unknown manifest, `garbage` is no JSON.
fn registry() -> String {
    let config = json!({
        "os": "linux", "architecture": "amd64", "docker_version": EVIL, "created": EVIL,
        "config": {"Labels": {EVIL: EVIL}, "Env": [EVIL]}, "rootfs": {"type": "layers", "diff_ids": [EVIL]},
    });
    let config = config.to_string().into_bytes();
    let mut blobs = BTreeMap::new();
    let mut descriptor = |media_type: &str, bytes: &[u8]| {
        let digest = tests::layout::digest(bytes);
        blobs.insert(digest.clone(), bytes.to_vec());
        json!({"mediaType": media_type, "digest": digest, "size": bytes.len(), "annotations": {EVIL: EVIL}})
    };
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    let manifest = json!({
        "schemaVersion": 2, "mediaType": media_type, "annotations": {EVIL: EVIL},
        "config": descriptor("application/vnd.oci.image.config.v1+json", &config), "layers": [descriptor(EVIL, b"layer")],
    });
    let manifest = manifest.to_string().into_bytes();
    let errors = json!({"errors": [{"code": EVIL, "message": EVIL, "detail": EVIL}]}).to_string().into_bytes();
    serve(move |_, path| {
        let json =
            |value: Value| (200, vec![("Content-Type", "application/json".to_owned())], value.to_string().into());
        let name = path.rsplit('/').next().unwrap_or_default();
        match path {
            "/v2/" => json(json!({})),
            _ if path.starts_with("/v1/search") => {
                json(json!({"results": [{"name": EVIL, "description": EVIL, "star_count": 1}]}))
            }
            _ if path.starts_with("/v2/_catalog") => json(json!({"repositories": [EVIL, "finis"]})),
            _ if path.contains("/tags/list") => json(json!({"name": EVIL, "tags": [EVIL, "finis"]})),
            _ if path.contains("/refuses/") => (400, vec![], errors.clone()),
            _ if path.contains("/fails/") => (500, vec![("Retry-After", "9999".to_owned())], errors.clone()),
            _ if path.contains("/asks/") => {
                let challenge = "Bearer realm=\"finis://\\\u{7f}\u{9b}31m\",service=\"x\"";
                (
                    401,
                    vec![("WWW-Authenticate", challenge.replace('\u{7f}', "").replace('\u{9b}', "\\x"))],
                    errors.clone(),
                )
            }
            _ if path.contains("/types/") => {
                (200, vec![("Content-Type", NAME.replace(char::is_control, "\u{9b}"))], manifest.clone())
            }
            _ if path.contains("/garbage/") => {
                (200, vec![("Content-Type", media_type.to_owned())], format!("{{\"{EVIL}\": ").into())
            }
            _ if path.contains("/manifests/") => (200, vec![("Content-Type", media_type.to_owned())], manifest.clone()),
            _ if path.contains("/blobs/") => match blobs.get(name) {
                Some(blob) => (200, vec![], blob.clone()),
                None => (404, vec![], errors.clone()),
            },
            _ => (404, vec![], errors.clone()),
        }
    })
}

#[test]
fn registry_tool_shows_what_registries_say() {
    let mut work = workdir();
    let host = registry();
    work.set("HOST", &host);
    let cases = [
        ("registry-tool tags $HOST/image", Data),
        ("registry-tool tags --json $HOST/image", Shown),
        ("registry-tool -vv tags $HOST/image", Data),
        ("registry-tool catalog $HOST", Data),
        ("registry-tool catalog --json $HOST", Shown),
        ("registry-tool inspect $HOST/image", Shown),
        ("registry-tool inspect --raw $HOST/image", Data),
        ("registry-tool inspect --config $HOST/image", Data),
        ("registry-tool search $HOST/o", Shown),
        ("registry-tool search --no-trunc $HOST/o", Shown),
        ("registry-tool search --format '{{.Name}} {{.Description}}' $HOST/o", Data),
        ("registry-tool search --format json $HOST/o", Shown),
    ];
    check(&work, cases);
}

#[test]
fn registry_tool_names_what_is_wrong() {
    let mut work = workdir();
    hostile(&work);
    let host = registry();
    work.set("HOST", &host);
    // A credential helper that complains, for the registry under its other name.
    let helper = work.folder().join("bin/docker-credential-evil");
    fs::write(&helper, "#!/bin/sh\nprintf '%s' \"$NAME\"; exit 1\n").unwrap();
    fs::set_permissions(&helper, fs::Permissions::from_mode(0o755)).unwrap();
    work.write("mirrors.json", &json!({"registry-mirrors": [EVIL]}).to_string());
    work.write("helper.json", &json!({"credsStore": "evil"}).to_string());
    work.write("helper-name.json", &json!({"credsStore": EVIL}).to_string());
    let cases = [
        "registry-tool pull $HOST/refuses:1 out",
        "registry-tool -vv pull --progress plain $HOST/refuses:1 out",
        "registry-tool pull --retry 0 $HOST/fails:1 out",
        "registry-tool pull --progress json --retry 1 --retry-delay 0 $HOST/fails:1 out",
        "registry-tool pull $HOST/asks:1 out",
        "registry-tool login -u me -p secret $HOST/asks; registry-tool digest $HOST/refuses:1; echo finis",
        "registry-tool pull $HOST/garbage:1 out; echo finis",
        "registry-tool inspect $HOST/refuses:1",
        "registry-tool copy $HOST/refuses:1 $HOST/refuses:2",
        "registry-tool push --progress plain hostile:all $HOST/refuses:1; echo finis",
        "registry-tool push hostile:digest $HOST/refuses:1; echo finis",
        "registry-tool delete $HOST/refuses:1; echo finis",
        "registry-tool delete $HOST/refuses@sha256:0000000000000000000000000000000000000000000000000000000000000000",
        "registry-tool pull \"$HOST/$NAME\" out",
        "registry-tool pull $HOST/image \"$NAME\"",
        "registry-tool \"$EVIL\"; registry-tool pull \"--$EVIL\"; registry-tool login --retry \"$EVIL\"",
        "registry-tool search --filter \"$EVIL\" x; registry-tool search --format \"{{.$EVIL}}\" $HOST/o",
        "cp mirrors.json ../daemon.json; registry-tool pull x:1 out; rm ../daemon.json",
        "printf '%s' \"$EVIL\" >../daemon.json; registry-tool pull \"$NAME/x:1\" out; rm ../daemon.json",
        "mkdir -p .docker; cp helper.json .docker/config.json; registry-tool pull $HOST/image out",
        "cp helper-name.json .docker/config.json; registry-tool pull $HOST/image out",
    ];
    check(&work, cases.map(|text| (text, Data)));
}

/// Progress bars move the cursor themselves, so here only what the registry brings is looked for.
#[test]
fn progress_bars_show_no_text_of_a_registry_raw() {
    let mut work = workdir();
    work.set("HOST", &registry());
    let mut command = work.command("sh");
    command.args([
        "-c",
        "registry-tool pull $HOST/image out; registry-tool pull --retry 1 --retry-delay 0 $HOST/fails:1 out",
    ]);
    let (seen, _) = Pty::spawn(&command).finish();
    assert!(seen.contains("finis"), "{seen:?}");
    for part in ["\u{1b}]", "\u{7}", "\u{1b}[2J", "\u{9b}", "\u{7f}", "\u{202e}", "\u{2066}", "\u{2028}"] {
        assert!(!seen.contains(part), "{part:?}: {seen:?}");
    }
}

/// A bundle `foreign` that another tool wrote, in the folder of bundles.
fn foreign(work: &Workdir) {
    let config = json!({
        "ociVersion": EVIL, "hostname": EVIL, "process": {"args": [EVIL], "cwd": EVIL, "env": [EVIL]}, "annotations": {
            "org.oci-tools.name": EVIL, "org.oci-tools.id": EVIL, "org.oci-tools.image": EVIL, "org.oci-tools.ports": EVIL,
            "org.oci-tools.created": EVIL, "org.oci-tools.command": json!([EVIL]).to_string(),
            "org.oci-tools.labels": json!({EVIL: EVIL, "title": EVIL}).to_string(), EVIL: EVIL,
            "org.oci-tools.network": json!({"network": EVIL}).to_string(),
            "org.oci-tools.volumes": json!([{"name": EVIL, "anonymous": false}]).to_string(),
        },
    });
    work.write("../oci/bundles/foreign/config.json", &config.to_string());
}

#[test]
fn bundle_tool_shows_bundles_volumes_and_networks() {
    let work = workdir();
    foreign(&work);
    let list = json!([
        {"id": EVIL, "pid": 7, "status": EVIL, "bundle": EVIL, "created": EVIL, "owner": EVIL},
        {"id": "foreign", "pid": 7, "status": "running", "bundle": work.folder().join("oci/bundles/foreign"), "created": EVIL},
    ]);
    work.write("list.json", &list.to_string());
    let network =
        json!({"cniVersion": "0.4.0", "name": "finis", EVIL: EVIL, "plugins": [{"type": "bridge", EVIL: EVIL}]});
    work.write("../oci/networks/finis.conflist", &network.to_string());
    work.write("../oci/networks/broken.conflist", &json!({"name": NAME, "plugins": []}).to_string());
    work.sh("bundle-tool volume create --label \"a=$EVIL\" finis").ok();
    let cases = [
        ("bundle-tool ps --all <list.json", Shown),
        ("bundle-tool ps --all --no-trunc <list.json", Shown),
        ("bundle-tool ps --all --quiet --no-trunc <list.json", Data),
        ("bundle-tool ps --all --format json <list.json", Shown),
        (
            "bundle-tool ps --all --format '{{.ID}}{{.Names}}{{.State}}{{.Labels}}{{.Command}}{{.Bundle}}{{.Mounts}}' <list.json",
            Data,
        ),
        ("bundle-tool ps --all --format 'table {{.ID}}\\t{{.Labels}}\\t{{.Networks}}' <list.json", Shown),
        ("bundle-tool inspect foreign </dev/null", Shown),
        (
            "bundle-tool inspect --format '{{.Name}}{{.ID}}{{.Config.Image}}{{.Config.Hostname}}{{.Config.Labels}}{{json .Config}}' foreign </dev/null",
            Data,
        ),
        ("bundle-tool find --id foreign", Data),
        ("bundle-tool unit --runtime /bin/true foreign", Shown),
        ("bundle-tool volume ls; bundle-tool volume inspect finis", Shown),
        ("bundle-tool network ls", Data),
        ("bundle-tool network inspect finis </dev/null", Shown),
    ];
    check(&work, cases);
    work.sh("bundle-tool volume rm finis").ok();
}

#[test]
fn bundle_tool_names_what_is_wrong() {
    let work = workdir();
    hostile(&work);
    foreign(&work);
    let mut layout = Builder::new(&work.path("images"));
    let tar = Tar::new().folder("etc/").file("etc/passwd", "root:x:0:0::/:\n").bytes();
    for (name, config) in [
        ("user", json!({"Cmd": ["sh"], "User": EVIL})),
        ("port", json!({"Cmd": ["sh"], "ExposedPorts": {EVIL: {}}})),
        ("volume", json!({"Cmd": ["sh"], "Volumes": {EVIL: {}}})),
        ("workdir", json!({"Cmd": ["sh"], "WorkingDir": format!("/etc/passwd/{EVIL}")})),
    ] {
        layout.layer(&tar).image(name, config);
    }
    work.write("list.json", &json!([{"id": EVIL, "pid": EVIL}]).to_string());
    work.write("state.json", &json!({"id": EVIL, "bundle": EVIL, "pid": 1}).to_string());
    let cases = [
        "bundle-tool create --network none images:user",
        "bundle-tool create --network none images:port",
        "bundle-tool create --network none images:volume",
        "bundle-tool create --network none images:workdir",
        "bundle-tool spec --network none images:user",
        "bundle-tool create --network none hostile:layer-type",
        "bundle-tool create --network none hostile:digest; echo finis",
        "bundle-tool create --network none hostile:index",
        "bundle-tool create --network \"$EVIL\" images:user",
        "bundle-tool create --network none --name \"$EVIL\" images:user",
        "bundle-tool create --network none -v \"/no/$NAME:/x\" -e \"=$EVIL\" images:user",
        "bundle-tool create --network none -p \"$EVIL\" images:user",
        "bundle-tool create --network none --device \"$EVIL\" images:user",
        "bundle-tool create --network none --env-file \"$NAME\" images:user",
        "bundle-tool create --network none \"images:$NAME\"",
        "bundle-tool create \"--$EVIL\" images:user",
        "bundle-tool \"$EVIL\"; bundle-tool ps --filter \"$EVIL\" </dev/null; bundle-tool find \"$NAME\"",
        "bundle-tool mount foreign; bundle-tool find \"$NAME\"",
        "bundle-tool diff foreign | cat; bundle-tool find \"$NAME\"",
        "printf '%s' \"$NAME\" | bundle-tool unmount -",
        "bundle-tool ps --all <list.json; bundle-tool find \"$NAME\"",
        "bundle-tool hook up <state.json; bundle-tool find \"$NAME\"",
        "bundle-tool volume inspect \"$NAME\"; bundle-tool volume create \"$EVIL\"; bundle-tool network inspect \"$NAME\" </dev/null",
        "bundle-tool network create --subnet \"$EVIL\" net; bundle-tool network create --bridge \"$EVIL\" net",
        "bundle-tool commit foreign \"images:$NAME\"; bundle-tool commit --change \"$EVIL\" foreign images:new",
    ];
    check(&work, cases.map(|text| (text, Shown)));
    assert_eq!(work.sh("ls ../oci/bundles").stdout, "foreign\n", "nothing was created");
}

#[test]
fn build_tool_shows_dockerfiles() {
    let work = workdir();
    // A line feed ends an instruction, and what Unicode counts as white space a word; all else may be in it.
    let line = EVIL.replace(char::is_whitespace, "");
    work.write(
        "lint/Dockerfile",
        &format!("FROM scratch AS finis\nARG {line}\nenv A {line}\nCMD x {line}\nLABEL a={line}\n"),
    );
    work.write(
        "graph/Dockerfile",
        &format!("FROM x{line} AS finis\nFROM scratch\nCOPY --from=finis /{line} /\nCOPY --from=y{line} / /\n"),
    );
    work.write("unknown/Dockerfile", &format!("FROM scratch\n{line}\n"));
    work.write("flag/Dockerfile", &format!("FROM scratch\nCOPY --{line} a b\n"));
    work.write("copy/Dockerfile", &format!("FROM scratch\nCOPY {line} /\n"));
    work.write("base/Dockerfile", &format!("FROM finis/{line}\n"));
    work.write("user/Dockerfile", &format!("FROM scratch\nUSER {line}\nLABEL a=\"{line}\"\nRUN [\"{line}\"]\n"));
    work.write("add/Dockerfile", &format!("FROM scratch\nADD http://127.0.0.1:1/{line} /\n"));
    work.write("labels/Dockerfile", &format!("FROM scratch\nLABEL a=\"{line}\"\nCOPY Dockerfile /{line}\n"));
    let cases = [
        ("build-tool check lint", Shown),
        ("build-tool parse lint", Shown),
        ("build-tool graph graph", Shown),
        ("build-tool graph --svg graph", Shown),
        ("build-tool check unknown", Shown),
        ("build-tool check flag", Shown),
        ("build-tool build unknown", Shown),
        ("build-tool build copy", Shown),
        ("build-tool build --pull never base", Shown),
        ("build-tool build --quiet user", Shown),
        ("build-tool build add", Shown),
        ("build-tool build -t images:labels labels", Shown),
        ("build-tool cache ls", Shown),
        ("build-tool cache ls --json", Shown),
        ("build-tool build \"$NAME\"; build-tool build -f \"$NAME\" labels", Shown),
        ("build-tool build --target \"$EVIL\" labels", Shown),
        ("build-tool build --secret \"$EVIL\" labels", Shown),
        ("build-tool build -t \"images:$NAME\" labels", Shown),
        ("build-tool build --runtime \"$NAME\" user", Shown),
        ("build-tool \"$EVIL\"; build-tool build \"--$EVIL\" labels; build-tool build --pull=\"$EVIL\" labels", Shown),
    ];
    check(&work, cases);
}

#[test]
fn a_command_in_a_build_colours_its_lines_and_moves_no_cursor() {
    let work = workdir();
    let dockerfile = "FROM scratch\nCOPY busybox /bin/\nRUN [\"/bin/busybox\", \"printf\", \"\\\\033[31mred\\\\033[m \\\\033[2J\\\\033[3A\\\\033]0;owned\\\\007\\\\n\"]\n";
    work.write("run/Dockerfile", dockerfile);
    work.sh("cp /bin/busybox run").ok();
    let mut command = work.command("sh");
    command.args(["-c", "build-tool build --network none -t images:run run"]);
    let (seen, status) = Pty::spawn(&command).finish();
    assert!(status.success(), "{seen}");
    assert!(seen.contains("\u{1b}[31mred\u{1b}[m"), "{seen:?}");
    for part in ["\u{1b}]", "\u{7}", "\u{1b}[2J", "\u{1b}[3A"] {
        assert!(!seen.contains(part), "{part:?}: {seen:?}");
    }
    // The picture of the running steps has its own cursor, and no colours of theirs.
    let mut command = work.command("sh");
    command.args(["-c", "build-tool build --progress tty --no-cache --network none -t images:run run"]);
    let (seen, status) = Pty::spawn(&command).finish();
    assert!(status.success() && seen.contains("[+] Building"), "{seen}");
    for part in ["\u{1b}]", "\u{7}", "\u{1b}[2J", "\u{1b}[31m"] {
        assert!(!seen.contains(part), "{part:?}: {seen:?}");
    }
    // Whoever reads a pipe gets what the command printed, as from BuildKit.
    let output = work.sh("build-tool build --no-cache --network none -t images:run run");
    assert!(output.stderr.contains("\u{1b}[2J\u{1b}[3A\u{1b}]0;owned\u{7}"), "{output}");
}

/// A bundle `NAME` whose config.json `change` has changed.
fn bundle(work: &Workdir, name: &str, change: impl FnOnce(&mut Value)) {
    let mut config = json!({
        "ociVersion": "1.0.2", "root": {"path": "rootfs"},
        "process": {"args": ["/bin/busybox", "true"], "cwd": "/", "user": {"uid": 0, "gid": 0}},
        "linux": {"namespaces": [{"type": "pid"}, {"type": "mount"}, {"type": "ipc"}, {"type": "uts"}]},
        "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
    });
    change(&mut config);
    work.write(&format!("{name}/config.json"), &config.to_string());
    let home = work.path(name);
    for folder in ["bin", "proc"] {
        fs::create_dir_all(home.join("rootfs").join(folder)).unwrap();
    }
    fs::copy("/bin/busybox", home.join("rootfs/bin/busybox")).unwrap();
}

#[test]
fn run_tool_names_what_is_wrong() {
    let mut work = workdir();
    work.set("ID", &tests::random_word());
    let hook = json!([{"path": format!("/{NAME}"), "args": [EVIL]}]);
    let talker = json!([{"path": "/bin/sh", "args": ["sh", "-c", "printf '%s' \"$EVIL\" >&2; exit 1"], "env": [format!("EVIL={EVIL}"), "PATH=/bin"]}]);
    bundle(&work, "args", |config| config["process"]["args"] = json!([EVIL]));
    bundle(&work, "path", |config| config["process"]["args"] = json!([format!("/{EVIL}")]));
    bundle(&work, "cwd", |config| config["process"]["cwd"] = json!(format!("/bin/busybox/{NAME}")));
    bundle(&work, "hook", |config| config["hooks"] = json!({"createRuntime": hook}));
    bundle(&work, "talker", |config| config["hooks"] = json!({"prestart": talker}));
    bundle(&work, "cgroup", |config| config["linux"]["cgroupsPath"] = json!(format!("../{EVIL}")));
    bundle(&work, "root", |config| config["root"]["path"] = json!(format!("/{NAME}")));
    bundle(&work, "mount", |config| {
        config["mounts"][0] = json!({"destination": "/x", "source": EVIL, "type": "nosuch", "options": [EVIL]});
    });
    bundle(&work, "source", |config| {
        config["mounts"][0] = json!({"destination": format!("/{NAME}"), "source": NAME, "options": ["bind"]})
    });
    bundle(&work, "namespace", |config| config["linux"]["namespaces"][0]["path"] = json!(format!("/{NAME}")));
    bundle(&work, "capability", |config| config["process"]["capabilities"] = json!({"bounding": [EVIL]}));
    bundle(&work, "limit", |config| config["process"]["rlimits"] = json!([{"type": EVIL, "hard": 1, "soft": 1}]));
    bundle(&work, "sysctl", |config| config["linux"]["sysctl"] = json!({EVIL: EVIL}));
    let starts = [
        "args",
        "path",
        "cwd",
        "hook",
        "talker",
        "cgroup",
        "root",
        "mount",
        "source",
        "namespace",
        "capability",
        "limit",
        "sysctl",
    ];
    let root = "run-tool --root $RUN_TOOL_ROOT";
    // Its own log, the lines beside a log in a file, and that file in both formats.
    let cases: Vec<String> = starts
        .iter()
        .flat_map(|name| {
            [
                format!("{root} run --bundle {name} $ID; {root} delete --force $ID"),
                format!("{root} --log log run --bundle {name} $ID; {root} delete --force $ID; cat log; rm log"),
                format!(
                    "{root} --debug --log log --log-format json create --bundle {name} $ID </dev/null; {root} delete --force $ID; cat log; rm log"
                ),
            ]
        })
        .collect();
    check(&work, cases.iter().map(|text| (text.as_str(), Shown)));
    let cases = [
        "state \"$NAME\"; echo finis",
        "--log-format \"$EVIL\" list",
        "\"$EVIL\"",
        "state \"--$EVIL\"",
        "delete a \"$EVIL\"; echo finis",
        "exec --tty=\"$EVIL\" c x",
        "logs --tail \"$EVIL\" \"$NAME\"; echo finis",
        "logs \"--$EVIL\" c",
        "stop --time \"$EVIL\" c",
        "run --bundle \"$NAME\" c",
        "--criu \"$NAME\" checkpoint c; echo finis",
        "--root \"/proc/self/status/$NAME\" list",
        "list --format \"$EVIL\"; echo finis",
        "kill c \"$EVIL\"; echo finis",
    ];
    let cases = cases.map(|text| format!("{root} {text}"));
    check(&work, cases.iter().map(|text| (text.as_str(), Shown)));
}

#[test]
fn run_tool_shows_containers() {
    let mut work = workdir();
    work.set("ID", &tests::random_word());
    bundle(&work, NAME, |config| {
        config["process"]["args"] = json!(["/bin/busybox", "sleep", "1000"]);
        config["annotations"] = json!({EVIL: EVIL, "org.oci-tools.healthcheck": json!({"Test": ["CMD", "/bin/busybox", "echo", EVIL]}).to_string()});
    });
    let root = "run-tool --root $RUN_TOOL_ROOT";
    work.sh(&format!("{root} run --detach --log-driver json-file --bundle \"$NAME\" $ID >/dev/null 2>&1")).ok();
    let cases = [
        "list",
        "list --format json",
        "state $ID",
        "exec $ID /finis",
        "healthcheck $ID; echo finis",
        "healthcheck --show $ID",
    ];
    let cases = cases.map(|text| format!("{root} {text}"));
    check(&work, cases.iter().map(|text| (text.as_str(), Shown)));
    // Its own output has the terminal, as with docker: a full-screen program must be able to drive it.
    let mut command = work.command("sh");
    command.args(["-c", &format!("{root} exec $ID /bin/busybox printf '\\033[2Jfull screen'")]);
    let (seen, _) = Pty::spawn(&command).finish();
    assert!(seen.contains("\u{1b}[2Jfull screen"), "{seen:?}");
    work.sh(&format!("{root} delete --force $ID")).ok();
    // A state that somebody else has written.
    work.write("../run/odd/state.json", &json!({"id": EVIL, "init_process_pid": EVIL}).to_string());
    let cases = ["list", "state odd", "delete odd"].map(|text| format!("{root} {text}; echo finis"));
    check(&work, cases.iter().map(|text| (text.as_str(), Shown)));
    work.sh("rm -r ../run/odd").ok();
}

#[test]
fn docker_repeats_no_word_raw() {
    let work = workdir();
    hostile(&work);
    let cases = [
        "docker \"$EVIL\"",
        "docker '\\033]0;owned\\007finis'",
        "docker rm \"$NAME\"",
        "docker inspect \"$NAME\"",
        "OCI_LAYOUT=hostile docker history all",
        "OCI_LAYOUT=hostile docker inspect all",
        "OCI_LAYOUT=hostile docker create --network none all",
    ];
    check(&work, cases.map(|text| (text, Shown)));
}
