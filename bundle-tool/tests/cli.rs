//! The command line: what each subcommand prints, its exit status and its errors.
//!
//! Images are made in code and nothing is run in them: that runtimes run the bundles is shown by the workspace's own tests. What needs
//! root (overlays, networks) is tested with root and is another way without.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use image_tool::address::digest;
use image_tool::layer::entry::{Entry, Kind, Writer};
use image_tool::layout::Layout;
use oci_spec::image::MediaType;
use serde_json::{Value, json};

/// A folder in which bundle-tool runs, with a layout `images` in it.
struct Work(tempfile::TempDir);

/// What a run gave.
#[derive(Debug)]
struct Run {
    status: i32,
    stdout: String,
    stderr: String,
}

impl Run {
    fn ok(&self) -> &str {
        assert_eq!(self.status, 0, "{self:?}");
        self.stdout.trim_end()
    }

    /// Fails with `status` and one line that holds `words`.
    fn fails(&self, status: i32, words: &[&str]) {
        assert_eq!((self.status, self.stderr.lines().count()), (status, 1), "{self:?}");
        assert!(self.stderr.starts_with("bundle-tool: ") && self.stdout.is_empty(), "{self:?}");
        for word in words {
            assert!(self.stderr.contains(word), "{word:?} is not in {self:?}");
        }
    }
}

fn tar(entries: &[(&str, &str, u32)]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    for (name, content, mode) in entries {
        let kind = if name.ends_with('/') { Kind::Directory } else { Kind::File };
        let entry = Entry::new(name.trim_end_matches('/'), kind, *mode);
        writer.file(&entry, content.as_bytes()).unwrap();
    }
    writer.finish().unwrap()
}

impl Work {
    fn new() -> Self {
        let work = Self(tempfile::tempdir().unwrap());
        let base = tar(&[
            ("bin/", "", 0o755),
            ("bin/sh", "#!", 0o755),
            ("etc/", "", 0o755),
            ("etc/passwd", "root:x:0:0::/root:\nwww:x:33:34::/srv:\n", 0o644),
            ("etc/group", "root:x:0:\nvideo:x:44:www\n", 0o644),
            ("data/", "", 0o700),
            ("data/seed", "from the image\n", 0o640),
        ]);
        let top = tar(&[("etc/motd", "hello\n", 0o644)]);
        work.image("python:3.8", &[&base, &top], json!({"Cmd": ["python3"], "Env": ["PATH=/bin", "LANG=C"], "ExposedPorts": {"8888/tcp": {}}, "Labels": {"from": "image", "org.oci-tools.rm": "true"}}));
        work.image("user", &[&base], json!({"Entrypoint": ["/entry"], "Cmd": ["x"], "User": "www", "WorkingDir": "/srv/app", "StopSignal": "SIGQUIT", "Volumes": {"/data": {}}}));
        work.image("nothing", &[&base], json!({}));
        work
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn image(&self, name: &str, layers: &[&[u8]], config: Value) {
        let writer = Layout::create(&self.path("images")).unwrap().writer().unwrap();
        let blobs: Vec<_> = layers.iter().map(|layer| writer.put(MediaType::ImageLayer, layer).unwrap()).collect();
        let diff_ids: Vec<String> = layers.iter().map(|layer| digest::sha256(layer).to_string()).collect();
        let architecture = image_tool::layout::platform::Platform::host().architecture().to_owned();
        let config = json!({"architecture": architecture, "os": "linux", "config": config, "rootfs": {"type": "layers", "diff_ids": diff_ids}});
        let config = writer.put(MediaType::ImageConfig, config.to_string().as_bytes()).unwrap();
        let manifest = json!({"schemaVersion": 2, "mediaType": MediaType::ImageManifest.to_string(), "config": config, "layers": blobs});
        let manifest = writer.put(MediaType::ImageManifest, manifest.to_string().as_bytes()).unwrap();
        writer.publish(&name.parse().unwrap(), manifest).unwrap();
    }

    fn run(&self, words: &str) -> Run {
        self.run_with(words, b"")
    }

    fn run_with(&self, words: &str, input: &[u8]) -> Run {
        let words: Vec<&str> = words.split_whitespace().collect();
        self.words(&words, input)
    }

    fn words(&self, words: &[&str], input: &[u8]) -> Run {
        let mut child = Command::new(env!("CARGO_BIN_EXE_bundle-tool"))
            .args(words)
            .current_dir(self.0.path())
            .env("OCI_HOME", self.path("oci"))
            .env("GIVEN", "by the caller")
            .env_remove("OCI_LAYOUT")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A run that ends early does not read all of it.
        let _ = child.stdin.take().unwrap().write_all(input);
        let output = child.wait_with_output().unwrap();
        Run {
            status: output.status.code().unwrap(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// The config.json that options give.
    fn spec(&self, options: &str) -> Value {
        serde_json::from_str(self.run(&format!("spec --network none {options}")).ok()).unwrap()
    }

    /// Nothing is left: no bundle, no mount.
    fn is_clean(&self) {
        let left: Vec<_> =
            fs::read_dir(self.path("oci/bundles")).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        assert!(left.is_empty(), "{left:?}");
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        assert!(!mounts.contains(self.0.path().to_str().unwrap()), "{mounts}");
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        // A test that failed halfway must not leave mounts, which would keep the folder.
        for entry in fs::read_dir(self.path("oci/bundles")).into_iter().flatten().flatten() {
            let _ = bundle_tool::rootfs::unmount(&entry.path().join("rootfs"), true);
        }
    }
}

fn root() -> bool {
    rustix::process::geteuid().is_root()
}

fn strings(value: &Value) -> Vec<&str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

fn mount<'a>(config: &'a Value, target: &str) -> &'a Value {
    config["mounts"].as_array().unwrap().iter().find(|mount| mount["destination"] == target).unwrap_or(&Value::Null)
}

#[test]
fn create_prints_the_path_of_a_whole_bundle() {
    let work = Work::new();
    for how in ["", "--copy"] {
        let path =
            work.run(&format!("create {how} --network none --name web images:python:3.8 echo hi")).ok().to_owned();
        assert_eq!(Path::new(&path), work.path("oci/bundles/web"));
        let bundle = Path::new(&path);
        assert_eq!(fs::read_to_string(bundle.join("rootfs/etc/motd")).unwrap(), "hello\n");
        assert_eq!(fs::metadata(bundle).unwrap().permissions().mode() & 0o777, 0o700);
        let config: Value = serde_json::from_slice(&fs::read(bundle.join("config.json")).unwrap()).unwrap();
        assert_eq!(config["process"]["args"], json!(["echo", "hi"]));
        assert_eq!(config["annotations"]["org.oci-tools.image"], "python:3.8");
        assert!(config["annotations"].get("org.oci-tools.rm").is_none(), "an image does not decide about its bundle");
        for target in ["proc", "dev", "sys", "etc/hosts", "etc/resolv.conf"] {
            assert!(bundle.join("rootfs").join(target).exists(), "{target}");
        }
        work.run("delete web").ok();
        work.is_clean();
    }
}

#[test]
fn a_bundle_is_put_where_it_is_asked_for_and_printed_as_it_was_given() {
    let work = Work::new();
    assert_eq!(work.run_with("create --network none --bundle py --name snake -", b"images:python:3.8\n").ok(), "py");
    assert!(work.path("py/config.json").exists());
    for operand in ["snake", "py", work.path("py").to_str().unwrap()] {
        let found = work.run(&format!("find {operand}")).ok().to_owned();
        assert_eq!(work.0.path().join(found), work.path("py"), "{operand}");
    }
    let id = work.run("find --id snake").ok().to_owned();
    assert_eq!(id.len(), 64);
    assert_eq!(work.run(&format!("find --name {}", &id[..12])).ok(), "snake");
    work.run("create --network none --bundle py images:nothing true").fails(1, &["py: there is something already"]);
    work.run_with("delete -", b"py\n").ok();
    assert!(!work.path("py").exists());
    work.is_clean();
    work.run("delete py").fails(1, &["py: no such bundle"]);
    work.run("delete --force py").ok();
}

#[test]
fn what_is_wrong_is_told_in_one_line_and_nothing_is_left() {
    let work = Work::new();
    let cases: &[(&str, i32, &[&str])] = &[
        ("images:absent", 1, &["images:absent: no such image (registry-tool pull absent images)"]),
        ("nowhere:python:3.8", 1, &["nowhere:python:3.8: no such image"]),
        ("images:nothing", 1, &["images:nothing: no command"]),
        ("-u nosuch images:python:3.8", 1, &["user nosuch: no user nosuch"]),
        ("--group-add nosuch images:python:3.8", 1, &["no group nosuch"]),
        ("-v relative: images:python:3.8", 1, &["--volume: \"relative:\""]),
        ("-v /a:/x -v /b:/x images:python:3.8", 1, &["two mounts at /x"]),
        (
            "--mount type=bind,src=/nowhere/at/all,dst=/x images:python:3.8",
            1,
            &["/nowhere/at/all: no such file or folder"],
        ),
        ("-w relative images:python:3.8", 125, &["--workdir: \"relative\""]),
        ("-v /anonymous -w /etc/passwd/x images:python:3.8", 1, &["working folder /etc/passwd/x"]),
        ("--env-file nosuch images:python:3.8", 1, &["--env-file: read nosuch"]),
        ("-e =x images:python:3.8", 1, &["\"=x\" has no name"]),
        ("-m 1m images:python:3.8", 125, &["--memory: the minimum is 6m"]),
        ("--cpus 100000 images:python:3.8", 125, &["--cpus: this host has"]),
        ("--kernel-memory 64m images:python:3.8", 125, &["--kernel-memory: "]),
        ("--sysctl kernel.panic=1 images:python:3.8", 125, &["--sysctl: kernel.panic"]),
        ("--device /etc/passwd images:python:3.8", 125, &["--device: /etc/passwd: not a device"]),
        ("--gpus all images:python:3.8", 125, &["--gpus: nvidia.com/gpu=all: no CDI description"]),
        ("--storage-opt size=1g images:python:3.8", 125, &["--storage-opt: size=1g"]),
        ("--volume-driver nfs images:python:3.8", 125, &["--volume-driver: nfs"]),
        ("--userns remap images:python:3.8", 125, &["--userns: \"remap\""]),
        ("--isolation hyperv images:python:3.8", 125, &["--isolation: hyperv"]),
        ("--link-local-ip 169.254.1.1 images:python:3.8", 125, &["--link-local-ip: "]),
        ("--log-driver fluentd images:python:3.8", 125, &["--log-driver: \"fluentd\""]),
        ("--restart sometimes images:python:3.8", 125, &["--restart: \"sometimes\""]),
        ("--restart always --rm images:python:3.8", 125, &["--restart: does not go with --rm"]),
        ("--stop-signal BOGUS images:python:3.8", 125, &["--stop-signal: \"BOGUS\""]),
        ("--security-opt seccomp=/nowhere images:python:3.8", 1, &["read /nowhere"]),
        ("--security-opt label=type:x images:python:3.8", 125, &["--security-opt: label=type:x"]),
        ("--pid container:nosuch images:python:3.8", 1, &["--pid: nosuch: no such bundle"]),
        ("--ip 10.0.0.5 images:python:3.8", 125, &["--ip: needs a network"]),
        ("--label org.oci-tools.rm=true images:python:3.8", 125, &["--label: org.oci-tools.rm"]),
        ("--add-host me:host-gateway images:python:3.8", 125, &["--add-host: host-gateway"]),
        ("--health-interval 5s images:python:3.8", 125, &["--health-cmd"]),
        ("--nosuch images:python:3.8", 2, &["--nosuch"]),
        ("-m 1x images:python:3.8", 2, &["1x"]),
        ("-p nosuch images:python:3.8", 2, &["nosuch"]),
        ("--cap-add NOSUCH images:python:3.8", 2, &["NOSUCH"]),
        ("--name a/b images:python:3.8", 2, &["a/b"]),
        ("--ulimit bogus=1 images:python:3.8", 2, &["bogus"]),
        ("", 2, &["ADDRESS"]),
    ];
    for (words, status, expected) in cases {
        let words = format!("create --network none {words}");
        work.run(&words).fails(*status, expected);
        work.is_clean();
    }
    work.run_with("create --network none -", b"").fails(1, &["standard input is empty"]);
    work.run("nosuch").fails(2, &["nosuch"]);
    assert_eq!(work.run("volume ls").ok(), "");
    work.is_clean();
}

#[test]
fn a_name_is_given_once() {
    let work = Work::new();
    work.run("create --network none --name taken images:python:3.8").ok();
    work.run("create --network none --name taken images:python:3.8")
        .fails(1, &["taken: name in use", "bundle-tool delete taken"]);
    assert!(work.path("oci/bundles/taken/config.json").exists(), "the first is unharmed");
    let drawn = work.run("create --network none images:python:3.8").ok().to_owned();
    let name = Path::new(&drawn).file_name().unwrap().to_str().unwrap();
    assert!(name.contains('_'), "{name}");
    work.run(&format!("delete taken {name}")).ok();
    work.is_clean();
}

#[test]
fn paths_in_a_configuration_are_absolute_whatever_the_data_folder_is_called() {
    let work = Work::new();
    let run = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bundle-tool"));
        let output = command.args(words).current_dir(work.0.path()).env("OCI_HOME", "oci").output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(
        run(&["create", "--network", "none", "--name", "web", "-v", "data:/x", "images:python:3.8"]),
        "oci/bundles/web\n"
    );
    let config: Value = serde_json::from_str(&run(&["inspect", "web"])).unwrap();
    for target in ["/etc/hosts", "/x"] {
        assert!(mount(&config, target)["source"].as_str().unwrap().starts_with('/'), "{config}");
    }
    run(&["delete", "web"]);
    work.is_clean();
}

#[test]
fn an_image_without_layers_is_a_bundle_too() {
    let work = Work::new();
    work.image("scratch", &[], json!({"Cmd": ["/hello"]}));
    for how in ["", "--copy"] {
        work.run(&format!("create {how} --network none --name bare images:scratch")).ok();
        assert!(work.path("oci/bundles/bare/rootfs/proc").is_dir());
        work.run("mount bare").ok();
        work.run("delete bare").ok();
        work.is_clean();
    }
}

#[test]
fn options_of_the_program_are_dockers() {
    let work = Work::new();
    fs::write(work.path("env"), "# comment\nA=file\nB=file\nGIVEN\nABSENT\n").unwrap();
    let config = work.spec("-it --hostname box -e A=option -e LANG=de --env-file env -u www:44 --group-add 7 images:python:3.8 -c -it --rm");
    assert_eq!(config["process"]["args"], json!(["-c", "-it", "--rm"]), "what follows the address is the command's");
    assert_eq!(
        config["process"]["env"],
        json!([
            "PATH=/bin",
            "HOSTNAME=box",
            "TERM=xterm",
            "LANG=de",
            "A=option",
            "B=file",
            "GIVEN=by the caller",
            "HOME=/srv"
        ])
    );
    assert_eq!(config["process"]["user"], json!({"uid": 33, "gid": 44, "additionalGids": [7]}));
    assert_eq!((&config["process"]["terminal"], &config["hostname"]), (&json!(true), &json!("box")));

    let config = work.spec("images:user");
    assert_eq!(config["process"]["args"], json!(["/entry", "x"]));
    assert_eq!(config["process"]["user"], json!({"uid": 33, "gid": 34, "additionalGids": [44]}));
    assert_eq!(config["process"]["cwd"], "/srv/app");
    assert_eq!(config["annotations"]["org.oci-tools.stop-signal"], "SIGQUIT");
    assert!(mount(&config, "/data")["source"].as_str().unwrap().ends_with("/_data"), "the image's volume");
    let bare = work.words(&["spec", "--network", "none", "--entrypoint", "", "images:user", "ls"], b"");
    assert!(!bare.ok().contains("/entry"));
    work.is_clean();
}

#[test]
fn options_of_confinement_and_limits_reach_the_configuration() {
    let work = Work::new();
    let config = work.spec(
        "--cap-drop ALL --cap-add net_admin --read-only --security-opt no-new-privileges --security-opt seccomp=unconfined \
         --tmpfs /run:size=1m --shm-size 32m --ulimit nofile=10:20 --oom-score-adj -5 --pids-limit 9 -m 64m --memory-swap -1 --cpu-shares 512 \
         --device /dev/null:/dev/hole --sysctl net.core.somaxconn=7 --cgroup-parent /group --name box images:python:3.8",
    );
    assert_eq!(config["process"]["capabilities"]["bounding"], json!(["CAP_NET_ADMIN"]));
    assert_eq!((&config["root"]["readonly"], &config["process"]["noNewPrivileges"]), (&json!(true), &json!(true)));
    assert!(config["linux"].get("seccomp").is_none());
    assert!(strings(&mount(&config, "/run")["options"]).contains(&"size=1048576"));
    assert!(strings(&mount(&config, "/dev/shm")["options"]).contains(&"size=33554432"));
    assert_eq!(config["process"]["rlimits"], json!([{"type": "RLIMIT_NOFILE", "hard": 20, "soft": 10}]));
    assert_eq!(config["process"]["oomScoreAdj"], -5);
    let resources = &config["linux"]["resources"];
    assert_eq!(
        (&resources["pids"]["limit"], &resources["memory"]["limit"], &resources["memory"]["swap"]),
        (&json!(9), &json!(67_108_864), &json!(-1))
    );
    assert_eq!(resources["cpu"]["shares"], 512);
    assert_eq!(config["linux"]["devices"][0]["path"], "/dev/hole");
    assert_eq!(config["linux"]["sysctl"]["net.core.somaxconn"], "7");
    assert_eq!(config["linux"]["cgroupsPath"], "/group/box");

    let kinds = |config: &Value| -> Vec<String> {
        config["linux"]["namespaces"]
            .as_array()
            .unwrap()
            .iter()
            .map(|space| space["type"].as_str().unwrap().to_owned())
            .collect()
    };
    let config = work.spec("--pid host --ipc host --uts host images:python:3.8");
    assert!(!kinds(&config).iter().any(|kind| ["pid", "ipc", "uts"].contains(&kind.as_str())), "{config}");
    assert_eq!(mount(&config, "/dev/shm")["source"], "/dev/shm");
    let config: Value =
        serde_json::from_str(work.run("spec --network host --privileged images:python:3.8").ok()).unwrap();
    assert!(!kinds(&config).contains(&"network".to_owned()));
    assert!(
        config["linux"].get("maskedPaths").is_none()
            && config["linux"]["devices"].as_array().is_some_and(|list| list.len() > 1)
    );
}

#[test]
fn options_of_life_are_annotations() {
    let work = Work::new();
    let config = work.spec(
        "-i -d --rm --stop-signal INT --stop-timeout -1 --restart no --log-driver json-file --log-opt max-size=1m -l a=1 -l b \
         --health-cmd true --health-interval 5s --health-retries 3 images:python:3.8 x",
    );
    let annotations = &config["annotations"];
    for (key, value) in [
        ("a", "1"),
        ("b", ""),
        ("org.oci-tools.rm", "true"),
        ("org.oci-tools.interactive", "true"),
        ("org.oci-tools.detach", "true"),
        ("org.oci-tools.stop-signal", "INT"),
        ("org.oci-tools.stop-timeout", "-1"),
        ("org.oci-tools.log-driver", "json-file"),
        ("org.oci-tools.log-options", "{\"max-size\":\"1m\"}"),
        ("org.oci-tools.ports", "8888/tcp"),
        ("org.oci-tools.command", "[\"x\"]"),
        ("org.oci-tools.healthcheck", "{\"Test\":[\"CMD-SHELL\",\"true\"],\"Interval\":5000000000,\"Retries\":3}"),
    ] {
        assert_eq!(annotations[key], value, "{key}");
    }
    assert!(annotations["org.oci-tools.labels"].as_str().unwrap().contains("\"from\":\"image\""));
    assert_eq!(config["hooks"]["poststop"][0]["args"], json!(["bundle-tool", "hook", "down"]));
}

#[test]
fn volumes_are_filled_from_the_image_once_and_keep_their_data() {
    let work = Work::new();
    let data = work.path("oci/volumes/keep/_data");
    work.run("create --network none --name one -v keep:/data images:python:3.8").ok();
    assert_eq!(fs::read_to_string(data.join("seed")).unwrap(), "from the image\n");
    assert_eq!(fs::metadata(&data).unwrap().mode() & 0o777, 0o700);
    fs::write(data.join("seed"), "changed").unwrap();
    work.run("volume rm keep").fails(1, &["keep: volume in use by one"]);
    work.run("delete one").ok();
    work.run("create --network none --name two -v keep:/data:ro -v /anonymous images:python:3.8").ok();
    assert_eq!(fs::read_to_string(data.join("seed")).unwrap(), "changed");
    let listed = work.run("volume ls").ok().to_owned();
    assert_eq!(listed.lines().count(), 2, "{listed}");
    work.run("create --network none --name three --volumes-from two images:python:3.8").ok();
    let config: Value = serde_json::from_str(work.run("inspect three").ok()).unwrap();
    assert!(strings(&mount(&config, "/data")["options"]).contains(&"ro") && !mount(&config, "/anonymous").is_null());
    work.run("delete two --volumes").ok();
    work.run("delete three").ok();
    assert_eq!(work.run("volume ls").ok(), "keep", "the one without a name went with its container");
    assert!(work.run("volume inspect keep").ok().contains("\"Driver\":\"local\""));
    assert_eq!(work.run("volume create --label a=1 more").ok(), "more");
    assert_eq!(work.run("volume rm keep more").ok(), "keep\nmore");
    work.run("volume rm keep").fails(1, &["keep: no such volume"]);
    assert_eq!(work.run("volume ls").ok(), "");
    work.is_clean();
}

#[test]
fn a_folder_for_v_is_made_and_the_working_folder_too() {
    let work = Work::new();
    let source = work.path("new/folder");
    work.run(&format!(
        "create --network none --name box -v {}:/mnt/x -w /made/too images:python:3.8",
        source.display()
    ))
    .ok();
    assert!(
        source.is_dir()
            && work.path("oci/bundles/box/rootfs/made/too").is_dir()
            && work.path("oci/bundles/box/rootfs/mnt/x").is_dir()
    );
    work.run("delete box").ok();
    assert!(source.is_dir(), "what is mounted is not removed");
}

#[test]
fn diff_and_commit_hold_what_changed_and_nothing_else() {
    let work = Work::new();
    for how in ["", "--copy"] {
        work.run(&format!("create {how} --network none --name box images:python:3.8 x")).ok();
        let rootfs = work.path("oci/bundles/box/rootfs");
        fs::write(rootfs.join("new"), "content").unwrap();
        fs::remove_file(rootfs.join("etc/motd")).unwrap();
        let tar = work.run("diff box");
        assert_eq!(tar.status, 0, "{tar:?}");
        assert!(
            tar.stdout.contains("new") && tar.stdout.contains("etc/.wh.motd") && !tar.stdout.contains("resolv.conf"),
            "{how}"
        );
        let address = work
            .words(&["commit", "--change", "CMD [\"changed\"]", "--message", "why", "box", "images:mine"], b"")
            .ok()
            .to_owned();
        assert!(address.starts_with("images:mine@sha256:"), "{address}");
        work.run("delete box").ok();
        work.run(&format!("create {how} --network none --name again {address}")).ok();
        let rootfs = work.path("oci/bundles/again/rootfs");
        assert_eq!(fs::read_to_string(rootfs.join("new")).unwrap(), "content");
        assert!(!rootfs.join("etc/motd").exists());
        assert!(work.run("inspect again").ok().contains("\"changed\""));
        work.run("delete again").ok();
        work.is_clean();
    }
}

#[test]
fn a_root_file_system_is_unmounted_and_mounted_again() {
    let work = Work::new();
    work.run("create --network none --name box images:python:3.8").ok();
    let rootfs = work.path("oci/bundles/box/rootfs");
    fs::write(rootfs.join("kept"), "").unwrap();
    if root() {
        work.run("unmount box").ok();
        assert_eq!(fs::read_dir(&rootfs).unwrap().count(), 0);
        work.run("unmount box").ok();
    }
    assert_eq!(Path::new(work.run("mount box").ok()), rootfs);
    assert!(rootfs.join("kept").exists() && rootfs.join("etc/motd").exists());
    work.run("mount box").ok();
    work.run("delete box").ok();
    work.is_clean();
}

#[test]
fn ps_joins_bundles_with_a_runtimes_list() {
    let work = Work::new();
    let path = work
        .run("create --network none --name eager_wilson images:python:3.8 python /docker_test/hello.py")
        .ok()
        .to_owned();
    let state = |status: &str| {
        json!([{"id": "eager_wilson", "pid": 7, "status": status, "bundle": path, "created": "2026-01-01T00:00:00Z", "exitStatus": 137, "exitTime": "2026-01-01T00:00:00Z"}]).to_string()
    };
    let table = work.run_with("ps", state("running").as_bytes()).ok().to_owned();
    let lines: Vec<&str> = table.lines().collect();
    let headings: Vec<&str> = lines[0].split("   ").map(str::trim).filter(|cell| !cell.is_empty()).collect();
    assert_eq!(headings, ["CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES"]);
    let cells: Vec<&str> = lines[1].split("   ").map(str::trim).filter(|cell| !cell.is_empty()).collect();
    assert_eq!(
        (cells[1], cells[2], cells[5], cells[6]),
        ("python:3.8", "\"python /docker_test…\"", "8888/tcp", "eager_wilson")
    );
    assert!(cells[3].ends_with(" ago") && cells[4].starts_with("Up "));
    let id = work.run("find --id eager_wilson").ok().to_owned();
    assert_eq!(work.run_with("ps -q", state("running").as_bytes()).ok(), &id[..12]);
    assert_eq!(work.run_with("ps -q", state("stopped").as_bytes()).ok(), "");
    assert!(work.run_with("ps -a", state("stopped").as_bytes()).ok().contains("Exited (137)"));
    assert!(work.run_with("ps --all", b"null").ok().contains("Created"));
    let format = ["ps", "-a", "--no-trunc", "--format", "{{.Names}} {{.ID}}", "--filter", "label=from=image"];
    assert_eq!(work.words(&format, b"[]").ok(), format!("eager_wilson {id}"));
    assert_eq!(work.run_with("ps -aq --filter name=other", b"[]").ok(), "");
    work.run("ps").fails(1, &["standard input is empty", "run-tool list --format json"]);
    work.run_with("ps", b"{").fails(1, &["not a runtime's list"]);
    work.run("delete eager_wilson").ok();
}

#[test]
fn networks_are_files_that_can_be_edited() {
    let work = Work::new();
    assert!(work.run("network ls").ok().lines().any(|name| name == "bridge"));
    assert!(work.path("oci/networks/bridge.conflist").exists());
    assert_eq!(work.run("network create --subnet 10.99.0.0/24 mine").ok(), "mine");
    let conflist: Value = serde_json::from_str(work.run("network inspect mine").ok()).unwrap();
    assert_eq!(conflist["plugins"][0]["ipam"]["ranges"][0][0]["subnet"], "10.99.0.0/24");
    work.run("network create mine").fails(1, &["mine: there is a network"]);
    work.run("network create host").fails(1, &["host: not a name"]);
    assert_eq!(work.run("network rm mine").ok(), "mine");
    work.run("network inspect mine").fails(1, &["no network mine"]);
    if root() {
        work.run("create --network nosuch images:python:3.8").fails(125, &["--network: no network nosuch"]);
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        work.run(&format!("create -p 127.0.0.1:{port}:80 images:python:3.8"))
            .fails(1, &[&format!("port 127.0.0.1:{port}/tcp is in use")]);
    }
    work.is_clean();
}

#[test]
fn a_unit_runs_the_bundle() {
    let work = Work::new();
    work.run("create --network none --name web --restart always images:python:3.8").ok();
    let unit = work.run("unit --runtime /usr/bin/run-tool web").ok().to_owned();
    assert!(
        unit.contains(&format!(
            "ExecStart=/usr/bin/run-tool run --bundle {} web",
            work.path("oci/bundles/web").display()
        )),
        "{unit}"
    );
    assert!(unit.contains("Restart=always"));
    work.run("delete web").ok();
}

#[test]
fn an_id_file_is_written_once() {
    let work = Work::new();
    work.run("create --network none --name one --cidfile id images:python:3.8").ok();
    assert_eq!(fs::read_to_string(work.path("id")).unwrap(), work.run("find --id one").ok());
    work.run("create --network none --cidfile id images:python:3.8")
        .fails(1, &["--cidfile: id: there is something already"]);
    work.run("delete one").ok();
    work.is_clean();
}

#[test]
fn the_manual_and_completions_are_printed() {
    let work = Work::new();
    assert!(work.run("man").ok().contains("bundle\\-tool"));
    assert!(work.run("completions bash").ok().contains("bundle-tool"));
    assert!(work.run("create --help").ok().contains("--publish"));
}

/// A process in a network namespace of its own, in a container's place.
struct Sleeper(std::process::Child);

impl Sleeper {
    fn new() -> Self {
        let child = Command::new("unshare").args(["--net", "sleep", "60"]).spawn().unwrap();
        let own = fs::read_link("/proc/self/ns/net").unwrap();
        let theirs = format!("/proc/{}/ns/net", child.id());
        while fs::read_link(&theirs).is_ok_and(|namespace| namespace == own) {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        Self(child)
    }

    fn state(&self, bundle: &str) -> Vec<u8> {
        json!({"ociVersion": "1.0.2", "id": "web", "status": "created", "pid": self.0.id(), "bundle": bundle})
            .to_string()
            .into_bytes()
    }

    fn end(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        // It may have been ended by the test.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What the firewall says of a container.
fn rules(id: &str) -> String {
    let output = Command::new("iptables-save").output().unwrap();
    String::from_utf8_lossy(&output.stdout).lines().filter(|line| line.contains(id)).collect()
}

#[test]
fn hooks_bring_a_network_up_and_down_and_a_crash_is_cleaned_up() {
    if !root() {
        return;
    }
    let work = Work::new();
    let bundle = work.run("create --name web -p 127.0.0.1::80 images:python:3.8").ok().to_owned();
    let id = work.run("find --id web").ok().to_owned();
    let record = Path::new("/run/bundle-tool/networks").join(&id);
    let hosts = || fs::read_to_string(Path::new(&bundle).join("hosts")).unwrap();
    let published = work.run("inspect web --format {{.Config.annotations}}").stdout;
    let port = published
        .split("127.0.0.1:")
        .nth(1)
        .and_then(|rest| rest.split("->").next())
        .unwrap_or_else(|| panic!("{published}"))
        .to_owned();

    let mut container = Sleeper::new();
    work.run_with("hook up", &container.state(&bundle)).ok();
    assert!(record.join("netns").exists() && rules(&id).contains(&port));
    assert!(hosts().lines().last().unwrap().ends_with(&id[..12]), "{}", hosts());
    // The port is the container's though no program of the host listens on it.
    work.run(&format!("create -p {port}:80 images:python:3.8")).fails(1, &["leads to container web"]);

    work.run_with("hook down", &container.state(&bundle)).ok();
    work.run_with("hook down", &container.state(&bundle)).ok();
    assert!(!record.exists() && rules(&id).is_empty() && !hosts().contains(&id[..12]));

    // A runtime that was killed calls no hook: its container's port is free all the same, and delete cleans up.
    work.run_with("hook up", &container.state(&bundle)).ok();
    container.end();
    work.run(&format!("create --name next -p {port}:80 images:python:3.8")).ok();
    assert!(record.exists());
    work.run("delete web next").ok();
    assert!(!record.exists() && rules(&id).is_empty());
    work.is_clean();
}
