//! The command line: what it prints, its exit status, its errors, and the images that come out.
//!
//! RUN needs root, runc and a static busybox, which `make setup` installs.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use image_tool::address::Address;
use image_tool::layer::entry::{Entry, Kind, Reader, Writer};
use image_tool::layer::stream::Stream;
use image_tool::layout::platform::Platform;
use image_tool::layout::{Image, Layout};
use serde_json::Value;

/// A folder with a context `context` and a layout `images`, in which build-tool runs.
struct Work(tempfile::TempDir);

/// What a run gave.
#[derive(Debug)]
struct Run {
    status: i32,
    stdout: String,
    stderr: String,
}

/// A file of an image: its entry and its data.
type Files = BTreeMap<String, (Entry, Vec<u8>)>;

impl Work {
    fn new() -> Self {
        let work = Self(tempfile::tempdir().unwrap());
        fs::create_dir(work.path("context")).unwrap();
        work
    }

    /// With the image `base` in the layout: a busybox with a user `app` (1000:1001) and /lib as a link to usr/lib.
    fn with_base() -> Self {
        let work = Self::new();
        work.file("base/rootfs/etc/passwd", "root:x:0:0::/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\n");
        work.file("base/rootfs/etc/group", "root:x:0:\napp:x:1001:\ndisk:x:6:app\n");
        work.file("base/rootfs/usr/lib/here", "");
        work.file("base/rootfs/usr/bin/.keep", "");
        fs::copy("/bin/busybox", work.path("base/rootfs/usr/bin/busybox")).expect("busybox-static is installed");
        for name in
            ["sh", "cat", "echo", "id", "touch", "ls", "rm", "env", "mkdir", "false", "sleep", "ln", "mount", "grep"]
        {
            symlink("busybox", work.path("base/rootfs/usr/bin").join(name)).unwrap();
        }
        for (link, target) in [("bin", "usr/bin"), ("lib", "usr/lib")] {
            symlink(target, work.path("base/rootfs").join(link)).unwrap();
        }
        work.file("base/Dockerfile", "FROM scratch\nCOPY rootfs /\nENV PATH=/bin A=base\n");
        work.run(&["build", "-q", "-t", "images:base", "base"]).ok();
        work
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn file(&self, name: &str, text: &str) {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        fs::write(self.path(name), text).unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_build-tool"));
        command.args(arguments).current_dir(self.0.path()).env("OCI_HOME", self.path("home"));
        command.env_remove("OCI_LAYOUT").env_remove("SOURCE_DATE_EPOCH").stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Run {
        let output = self.command(arguments).output().unwrap();
        Run {
            status: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Build the context with this Dockerfile as `images:built`.
    fn build(&self, dockerfile: &str) -> Run {
        self.build_with(dockerfile, &[])
    }

    fn build_with(&self, dockerfile: &str, more: &[&str]) -> Run {
        self.file("context/Dockerfile", dockerfile);
        let mut arguments = vec!["build", "-t", "images:built", "--runtime", "runc", "--pull", "never"];
        arguments.extend(more);
        arguments.push("context");
        self.run(&arguments)
    }

    fn image(&self) -> (Layout, Image) {
        let layout = Layout::open(&self.path("images")).unwrap();
        let address: Address = "images:built".parse().unwrap();
        let image = layout.image(&address, &Platform::host()).unwrap();
        (layout, image)
    }

    fn config(&self) -> Value {
        serde_json::from_slice(self.image().1.config_bytes()).unwrap()
    }

    /// The files of each layer, every blob and diff id verified.
    fn layers(&self) -> Vec<Files> {
        let (layout, image) = self.image();
        let files = |(descriptor, diff_id): (&_, &str)| {
            let blob = layout.open_blob(descriptor).unwrap();
            let diff_id = image_tool::address::digest::parse(diff_id).unwrap();
            let mut reader = Reader::new(Stream::open(blob, descriptor, Some(&diff_id), 1 << 30).unwrap());
            let mut files = Files::new();
            while let Some(entry) = reader.next_entry().unwrap() {
                let mut data = Vec::new();
                reader.read_to_end(&mut data).unwrap();
                let name = entry.path.to_str().unwrap().trim_end_matches('/').to_owned();
                assert!(files.insert(name, (entry, data)).is_none(), "an entry comes twice");
            }
            reader.into_inner().finish().unwrap();
            files
        };
        image.layers().map(files).collect()
    }

    /// The last layer.
    fn top(&self) -> Files {
        self.layers().pop().unwrap()
    }

    /// Nothing is left of a build but its cache: no folder, and nothing mounted.
    fn is_clean(&self) {
        let left: Vec<_> =
            fs::read_dir(self.path("home/builds")).unwrap().flatten().map(|entry| entry.file_name()).collect();
        assert!(left.iter().all(|name| !name.to_string_lossy().starts_with(".step")), "{left:?}");
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        assert!(!mounts.contains(self.0.path().to_str().unwrap()), "{mounts}");
    }
}

impl Run {
    #[track_caller]
    fn ok(self) -> Self {
        assert_eq!(self.status, 0, "{}", self.stderr);
        self
    }

    /// It failed, and its last line is this one.
    #[track_caller]
    fn fails(&self, line: &str) {
        assert_eq!(self.status, 1, "{}", self.stderr);
        assert_eq!(self.stderr.lines().last().unwrap_or_default(), format!("build-tool: {line}"));
        assert_eq!(self.stdout, "");
    }

    fn shows(&self, text: &str) -> bool {
        self.stderr.lines().any(|line| line.contains(text))
    }
}

fn text(files: &Files, name: &str) -> String {
    String::from_utf8(files.get(name).unwrap_or_else(|| panic!("{name} is not in {:?}", files.keys())).1.clone())
        .unwrap()
}

fn entry<'a>(files: &'a Files, name: &str) -> &'a Entry {
    &files.get(name).unwrap_or_else(|| panic!("{name} is not in {:?}", files.keys())).0
}

#[test]
fn an_image_comes_out_and_its_address_is_printed() {
    let work = Work::with_base();
    work.file("context/cat.py", "print()\n");
    let run = work.build("FROM base\nWORKDIR /files\nCOPY cat.py /cat.py\nENTRYPOINT [\"python\", \"/cat.py\"]\n").ok();
    let digest = work.image().1.descriptor().digest().to_string();
    assert_eq!(run.stdout, format!("images:built@{digest}\n"));
    for line in ["#4 [2/3] WORKDIR /files", "#5 [3/3] COPY cat.py /cat.py", "#5 DONE ", "naming to images:built done"] {
        assert!(run.shows(line), "{line}: {}", run.stderr);
    }
    let layers = work.layers();
    assert_eq!(layers.len(), 3);
    assert_eq!(entry(&layers[1], "files").kind, Kind::Directory);
    assert_eq!(text(&layers[2], "cat.py"), "print()\n");
    let config = work.config();
    assert_eq!(config["config"]["WorkingDir"], "/files");
    assert_eq!(config["config"]["Entrypoint"], serde_json::json!(["python", "/cat.py"]));
    assert_eq!(config["history"].as_array().unwrap().len(), 2 + 3);
    work.is_clean();
}

#[test]
fn the_same_again_is_cached_and_is_the_same_image() {
    let work = Work::with_base();
    work.file("context/a", "1");
    let dockerfile = "FROM base AS one\nRUN echo x >/x\nFROM base\nCOPY a /a\nCOPY --from=one /x /y\nRUN cat /y /a\n";
    let first = work.build(dockerfile).ok();
    let second = work.build(dockerfile).ok();
    assert_eq!(first.stdout, second.stdout);
    assert_eq!(second.stderr.matches("CACHED").count(), 4, "{}", second.stderr);
    work.file("context/a", "2");
    let third = work.build(dockerfile).ok();
    assert_ne!(first.stdout, third.stdout);
    assert_eq!(third.stderr.matches("CACHED").count(), 1, "what does not read the file: {}", third.stderr);
    work.build_with(dockerfile, &["--no-cache"]).ok();
    work.is_clean();
}

#[test]
fn equal_input_gives_equal_bytes_where_the_time_is_given() {
    let works = [Work::with_base(), Work::with_base()];
    let dockerfile = "FROM scratch\nCOPY . /a/b/\nADD x /c/\nWORKDIR /d/e\nLABEL a=b";
    let digests = works.map(|work| {
        work.file("context/x", "x");
        work.file("context/y/z", "z");
        work.file("context/Dockerfile", dockerfile);
        let mut command = work.command(&["build", "-t", "images:built", "context"]);
        let output = command.env("SOURCE_DATE_EPOCH", "1000000000").output().unwrap();
        assert!(output.status.success());
        assert_eq!(work.config()["created"], "2001-09-09T01:46:40Z");
        assert_eq!(entry(&work.layers()[0], "a/b/x").modified.seconds, 1_000_000_000, "a later time is cut");
        String::from_utf8(output.stdout).unwrap()
    });
    assert_eq!(digests[0], digests[1]);
}

#[test]
fn run_leaves_its_change_and_nothing_else() {
    let work = Work::with_base();
    let run = work.build("FROM base\nARG V=1\nENV E=2\nRUN echo $V$E >/v; rm /usr/lib/here; cat /etc/hosts /etc/resolv.conf >/dev/null; ls /proc/self\n").ok();
    assert!(run.shows("environ"));
    let top = work.top();
    assert_eq!(text(&top, "v"), "12\n");
    let names: Vec<&str> = top.keys().map(String::as_str).collect();
    assert_eq!(names, ["usr", "usr/lib", "usr/lib/.wh.here", "v"], "no stub of a mount is there");
    work.is_clean();
}

#[test]
fn run_has_what_buildkit_gives() {
    let work = Work::with_base();
    let run = work
        .build("FROM base\nUSER app\nWORKDIR /w\nRUN [\"sh\", \"-c\", \"id; env; cat /proc/self/status; mount\"]\n")
        .ok();
    for line in [
        "uid=1000(app) gid=1001(app) groups=6(disk)",
        "HOSTNAME=buildkitsandbox",
        "PWD=/w",
        "HOME=/home/app",
        "CapBnd:\t00000000a80425fb",
        "CapEff:\t0000000000000000",
        "Seccomp:\t2",
        "proc on /proc",
    ] {
        assert!(run.shows(line), "{line}: {}", run.stderr);
    }
    assert_eq!((entry(&work.layers()[1], "w").uid, entry(&work.layers()[1], "w").gid), (1000, 1001));
}

#[test]
fn a_failing_run_names_the_command_and_leaves_nothing() {
    let work = Work::with_base();
    let before = fs::read(work.path("images/index.json")).unwrap();
    work.build("FROM base\nRUN echo one\nRUN echo two; exit 42\n")
        .fails("Dockerfile:3: RUN echo two; exit 42: exit status 42");
    let quiet = work.build_with("FROM base\nRUN echo three; false\n", &["-q"]);
    quiet.fails("Dockerfile:2: RUN echo three; false: exit status 1");
    assert!(quiet.shows("three") && !quiet.shows("#1"), "{}", quiet.stderr);
    assert_eq!(fs::read(work.path("images/index.json")).unwrap(), before);
    work.is_clean();
}

#[test]
fn errors_name_the_line_and_the_way_out() {
    let work = Work::with_base();
    work.file("context/present.txt", "");
    work.file("context/.dockerignore", "hidden\n");
    work.file("context/hidden", "");
    symlink("/etc/passwd", work.path("context/out")).unwrap();
    for (dockerfile, line) in [
        ("FROM base\n\nRUM ls\n", "Dockerfile:3: unknown instruction: RUM (did you mean RUN?)"),
        (
            "FROM base\nCOPY presnt.txt /\n",
            "Dockerfile:2: COPY presnt.txt /: presnt.txt: not found in the context context (did you mean present.txt?)",
        ),
        (
            "FROM base\nCOPY hidden /\n",
            "Dockerfile:2: COPY hidden /: hidden: left out of the context context by .dockerignore",
        ),
        ("FROM base\nCOPY out /\n", "Dockerfile:2: COPY out /: out: not found in the context context"),
        (
            "FROM nosuch:1\n",
            "Dockerfile:1: FROM nosuch:1: images:nosuch:1: no such image (registry-tool pull nosuch:1 images)",
        ),
        (
            "FROM base\nCOPY --chown=nobody present.txt /\n",
            "Dockerfile:2: COPY --chown=nobody present.txt /: owner nobody: no user nobody in the image's /etc/passwd",
        ),
        (
            "FROM base\nCOPY present.txt hidden* /x\n",
            "Dockerfile:2: COPY present.txt hidden* /x: several sources: the destination must be a directory and end in /",
        ),
        (
            "FROM base\nCOPY present.txt /etc/passwd/x\n",
            "Dockerfile:2: COPY present.txt /etc/passwd/x: /etc/passwd/x: /etc/passwd is not a directory",
        ),
        (
            "FROM base AS a\nFROM base\nCOPY --from=a /no /\n",
            "Dockerfile:3: COPY --from=a /no /: /no: not found in a (--from)",
        ),
        ("FROM base\nEXPOSE http\n", "Dockerfile:2: EXPOSE http: \"http\" is no port (80, 80/tcp, 8000-8010/udp)"),
        ("FROM base\nRUN [\"nosuch\"]\n", "Dockerfile:2: RUN [\"nosuch\"]: exit status 1"),
        (
            "FROM base\nADD https://h/x.git /x\n",
            "Dockerfile:2: ADD https://h/x.git /x: https://h/x.git: git sources are not fetched (clone it into the context)",
        ),
    ] {
        work.build(dockerfile).fails(line);
    }
    work.build_with("FROM base AS main\n", &["--target", "mian"])
        .fails("--target mian: no such stage (did you mean main?)");
    work.run(&["build", "nowhere"]).fails("context nowhere: open \"nowhere\": No such file or directory (os error 2)");
    fs::create_dir(work.path("empty")).unwrap();
    work.run(&["build", "empty"]).fails("Dockerfile: no such file in the context empty (-f FILE names another)");
    assert_eq!(work.run(&["build", "-t", "a@b@c:", "context"]).status, 2);
    work.is_clean();
}

#[test]
fn copies_land_where_docker_puts_them() {
    let work = Work::with_base();
    work.file("context/f", "f");
    work.file("context/d/x", "x");
    work.file("context/d/sub/y", "y");
    fs::set_permissions(work.path("context/d"), fs::Permissions::from_mode(0o700)).unwrap();
    fs::hard_link(work.path("context/d/x"), work.path("context/d/z")).unwrap();
    for (copy, expected) in [
        ("f /lib/g", "usr usr/lib usr/lib/g"),
        ("f /lib", "usr usr/lib usr/lib/f"),
        ("f /new/", "new new/f"),
        ("f new", "new"),
        ("d /e", "e e/sub e/sub/y e/x e/z"),
        ("d /lib", "usr usr/lib usr/lib/sub usr/lib/sub/y usr/lib/x usr/lib/z"),
        ("f d/x /m/", "m m/f m/x"),
        ("[fg] d/* /m/", "m m/f m/x m/y m/z"),
        ("--parents d/sub/y /p/", "p p/d p/d/sub p/d/sub/y"),
        ("--parents ./d/./sub /p/", "p p/sub p/sub/y"),
        ("--exclude=**/y d /q", "q q/sub q/x q/z"),
        ("../../f /r", "r"),
    ] {
        work.build(&format!("FROM base\nCOPY {copy}\n")).ok();
        let top = work.top();
        let names: Vec<&str> = top.keys().map(String::as_str).collect();
        assert_eq!(names.join(" "), expected, "COPY {copy}");
    }
    work.build("FROM base\nCOPY --chown=app --chmod=640 d /e\nCOPY --chown=app:disk f /lib/\n").ok();
    let layers = work.layers();
    let top = entry(&layers[1], "e/x");
    assert_eq!((top.uid, top.gid, top.mode), (1000, 1001, 0o640));
    assert_eq!(entry(&layers[1], "e/z").kind, Kind::HardLink("e/x".into()));
    assert_eq!(entry(&layers[2], "usr/lib").uid, 0, "a directory that was there keeps its owner");
    assert_eq!((entry(&layers[2], "usr/lib/f").uid, entry(&layers[2], "usr/lib/f").gid), (1000, 6));
}

#[test]
fn add_unpacks_archives_and_fetches_urls() {
    let work = Work::with_base();
    let mut tar = Writer::new(Vec::new());
    tar.entry(&Entry { uid: 7, ..Entry::new("dir/", Kind::Directory, 0o750) }).unwrap();
    tar.file(&Entry::new("dir/file", Kind::File, 0o640), b"data").unwrap();
    tar.entry(&Entry::new("up", Kind::Symlink("../../../etc".into()), 0o777)).unwrap();
    tar.file(&Entry::new("up/inside", Kind::File, 0o600), b"stays inside").unwrap();
    tar.file(&Entry::new("../../escape", Kind::File, 0o600), b"").unwrap();
    let tar = tar.finish().unwrap();
    fs::write(work.path("context/a.tar"), &tar).unwrap();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&tar).unwrap();
    fs::write(work.path("context/a.gz"), gzip.finish().unwrap()).unwrap();
    fs::write(work.path("context/not.tar.gz"), "text").unwrap();
    for archive in ["a.tar", "a.gz"] {
        work.build(&format!("FROM base\nADD {archive} /un/\n")).ok();
        let top = work.top();
        assert_eq!(text(&top, "un/dir/file"), "data");
        assert_eq!((entry(&top, "un/dir").uid, entry(&top, "un/dir").mode), (7, 0o750));
        assert_eq!(text(&top, "etc/inside"), "stays inside");
        assert!(top.contains_key("un/escape"));
    }
    work.build("FROM base\nADD not.tar.gz /un/\nCOPY a.tar /un/\n").ok();
    assert_eq!(work.top().keys().last().unwrap(), "un/a.tar");

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = std::thread::spawn(move || {
        for stream in listener.incoming().take(3) {
            let mut stream = stream.unwrap();
            let mut request = [0; 2048];
            let length = stream.read(&mut request).unwrap();
            let answer = match request[..length].starts_with(b"GET /d/file.txt") {
                true => {
                    "HTTP/1.1 200 OK\r\nLast-Modified: Thu, 01 Jan 2004 00:00:00 GMT\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello"
                }
                false => "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            };
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    let url = format!("http://127.0.0.1:{port}/d/file.txt");
    work.build(&format!("FROM base\nADD {url}?x=1 /web/\n")).ok();
    let top = work.top();
    assert_eq!(text(&top, "web/file.txt"), "hello");
    assert_eq!(
        (entry(&top, "web/file.txt").mode, entry(&top, "web/file.txt").modified.seconds),
        (0o600, 1_072_915_200)
    );
    let wrong = format!("sha256:{}", "0".repeat(64));
    let run = work.build(&format!("FROM base\nADD --checksum={wrong} {url} /web/\n"));
    assert!(run.status == 1 && run.shows(&format!("{url}: expected {wrong}, got sha256:2cf24dba")), "{}", run.stderr);
    let run = work.build(&format!("FROM base\nADD http://127.0.0.1:{port}/none /web/\n"));
    assert!(run.status == 1 && run.shows("/none: http status: 404"), "{}", run.stderr);
    server.join().unwrap();
}

#[test]
fn mounts_are_there_for_one_command_only() {
    let work = Work::with_base();
    work.file("context/src/f", "from the context");
    work.file("token", "s3cret");
    let dockerfile = "FROM base AS tools\nRUN echo tool >/tool\nFROM base\n\
        RUN --mount=type=bind,source=src,target=/src --mount=from=tools,target=/tools --mount=type=cache,target=/cache \
        --mount=type=secret,id=token --mount=type=tmpfs,target=/tmp/m \
        cat /src/f /tools/tool /run/secrets/token && touch /cache/kept /tmp/m/x && ! touch /src/no 2>/dev/null\n\
        RUN --mount=type=cache,target=/cache ls /cache; ls /tmp /run 2>&1; mkdir -p /done\n";
    let run = work.build_with(dockerfile, &["--secret", "id=token,src=token"]).ok();
    for line in ["from the contexttool", "s3cret", "kept"] {
        assert!(run.shows(line), "{line}: {}", run.stderr);
    }
    let layers = work.layers();
    let names: Vec<&str> = layers[1].keys().chain(layers[2].keys()).map(String::as_str).collect();
    assert_eq!(names, ["done"]);
    work.build("FROM base\nRUN --mount=type=secret,id=none,required x\n")
        .fails("Dockerfile:2: RUN --mount=type=secret,id=none,required x: --mount: secret none is required (--secret id=none,src=FILE)");
    work.is_clean();
}

#[test]
fn arguments_reach_what_they_should() {
    let work = Work::with_base();
    let dockerfile = "ARG BASE=nosuch\nARG GLOBAL=g\nFROM $BASE\nARG GLOBAL\nARG GIVEN=default TARGETARCH\nARG UNSET\n\
        ENV ALL=\"$GLOBAL $GIVEN $UNSET ${UNSET:-empty} $A\"\nENV A=later B=${A}\nLABEL arch=$TARGETARCH\n";
    work.build_with(dockerfile, &["--build-arg", "BASE=base", "--build-arg", "GIVEN=given", "--label", "l=1"]).ok();
    let config = work.config();
    let env = config["config"]["Env"].as_array().unwrap();
    assert!(
        env.contains(&"ALL=g given  empty base".into())
            && env.contains(&"A=later".into())
            && env.contains(&"B=base".into()),
        "{env:?}"
    );
    assert_eq!(config["config"]["Labels"]["arch"], Platform::host().architecture());
    assert_eq!(config["config"]["Labels"]["l"], "1");
    let run = work.build_with("FROM base\n", &["--build-arg", "NONE=1"]).ok();
    assert!(run.shows("WARNING: --build-arg NONE: no ARG of that name"));
}

#[test]
fn only_needed_stages_are_built_and_the_target_is_obeyed() {
    let work = Work::with_base();
    let dockerfile =
        "FROM base AS one\nRUN echo one >/one\nFROM base AS broken\nRUN exit 1\nFROM one AS two\nRUN echo two >/two\n";
    work.build(dockerfile).ok();
    assert_eq!(work.layers().len(), 3);
    work.build_with(dockerfile, &["--target", "ONE"]).ok();
    assert_eq!(work.layers().len(), 2);
    assert_eq!(work.build_with(dockerfile, &["--target", "1"]).status, 1);
}

#[test]
fn a_linked_copy_is_kept_when_the_base_changes_but_what_follows_is_not() {
    let work = Work::with_base();
    work.file("context/f", "f");
    let dockerfile = |base: &str| format!("FROM {base}\nCOPY --link f /lib/f\nRUN cat /marker /lib/f\n");
    for (base, text) in [("one", "1"), ("two", "2")] {
        work.file("context/Dockerfile", &format!("FROM base\nRUN echo {text} >/marker\n"));
        work.run(&["build", "-q", "--runtime", "runc", "-t", &format!("images:{base}"), "context"]).ok();
    }
    work.build(&dockerfile("one")).ok();
    let second = work.build(&dockerfile("two")).ok();
    assert_eq!(second.stderr.matches("CACHED").count(), 1, "{}", second.stderr);
    assert!(second.shows(" 2"), "{}", second.stderr);
    assert_eq!(
        work.layers()[2].keys().map(String::as_str).collect::<Vec<_>>(),
        ["lib", "lib/f"],
        "no link is followed"
    );
}

#[test]
fn triggers_wait_for_the_next_build() {
    let work = Work::with_base();
    work.file("context/app", "app");
    work.file("context/Dockerfile", "FROM base\nONBUILD COPY app /app\nONBUILD ENV ON=build\n");
    work.run(&["build", "-q", "-t", "images:parent", "context"]).ok();
    work.build("FROM parent\nCMD x\n").ok();
    assert_eq!(text(&work.top(), "app"), "app");
    let config = work.config();
    assert!(config["config"]["Env"].as_array().unwrap().contains(&"ON=build".into()));
    assert!(config["config"].get("OnBuild").is_none());
}

#[test]
fn the_context_and_the_dockerfile_come_from_standard_input_too() {
    let work = Work::with_base();
    let feed = |arguments: &[&str], bytes: &[u8]| {
        let mut child = work.command(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(bytes).unwrap();
        assert!(child.wait_with_output().unwrap().status.success(), "{arguments:?}");
    };
    let mut tar = Writer::new(Vec::new());
    tar.file(&Entry::new("./sub/Dockerfile.x", Kind::File, 0o644), b"FROM scratch\nCOPY f /f\n").unwrap();
    tar.file(&Entry::new("./f", Kind::File, 0o644), b"from a tar").unwrap();
    let tar = tar.finish().unwrap();
    feed(&["build", "-t", "images:built", "-f", "sub/Dockerfile.x", "-"], &tar);
    assert_eq!(text(&work.top(), "f"), "from a tar");
    work.file("context/f", "from a folder");
    feed(&["build", "-t", "images:built", "-"], b"FROM base\nLABEL from=stdin\n");
    assert_eq!(work.config()["config"]["Labels"]["from"], "stdin");
    feed(&["build", "-t", "images:built", "-f", "-", "context"], b"FROM scratch\nCOPY f /g\n");
    assert_eq!(text(&work.top(), "g"), "from a folder");
    work.is_clean();
}

#[test]
fn names_go_to_several_layouts_or_to_none() {
    let work = Work::with_base();
    work.file("context/Dockerfile", "FROM base\nCMD x\n");
    let run = work.run(&["build", "-t", "images:a:1", "-t", "images:b", "-t", "other:c", "context"]).ok();
    assert_eq!(run.stdout.lines().count(), 1);
    for name in ["images:a:1", "images:b", "other:c"] {
        let address: Address = name.parse().unwrap();
        let layout = Layout::open(&work.path(address.layout())).unwrap();
        layout.image(&address, &Platform::host()).unwrap();
    }
    work.file("context/Dockerfile", "FROM scratch\nCMD x\n");
    let run = work.run(&["build", "context"]).ok();
    assert!(run.stdout.starts_with("@sha256:"), "{}", run.stdout);
    assert!(work.path("home/images/index.json").exists());
}

#[test]
fn an_interrupt_ends_command_and_build() {
    let work = Work::with_base();
    work.file("context/Dockerfile", "FROM base\nRUN echo begun; sleep 1000.5\n");
    let mut child = work
        .command(&["build", "--runtime", "runc", "-t", "images:built", "context"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stderr = std::io::BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("begun") {
        line.clear();
        assert_ne!(std::io::BufRead::read_line(&mut stderr, &mut line).unwrap(), 0, "the build ended");
    }
    let pid = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let mut rest = String::new();
    stderr.read_to_string(&mut rest).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(128 + 15), "{rest}");
    assert!(rest.ends_with("build-tool: interrupted by signal 15\n"), "{rest}");
    let sleeping = fs::read_dir("/proc").unwrap().flatten().any(|entry| {
        fs::read(entry.path().join("cmdline")).is_ok_and(|line| line.windows(6).any(|part| part == b"1000.5"))
    });
    assert!(!sleeping, "the command goes on");
    work.is_clean();
}

#[test]
fn hostile_contexts_stay_inside() {
    let work = Work::with_base();
    work.file("outside/secret", "secret");
    let context = work.path("context");
    symlink("../outside", context.join("dir")).unwrap();
    symlink("../outside/secret", context.join("link")).unwrap();
    symlink(work.path("outside/secret"), context.join("absolute")).unwrap();
    for source in ["dir/secret", "link", "absolute", "dir", "dir/*"] {
        assert_eq!(work.build(&format!("FROM base\nCOPY {source} /x/\n")).status, 1, "{source}");
    }
    work.build("FROM base\nCOPY . /x/\n").ok();
    assert_eq!(entry(&work.top(), "x/link").kind, Kind::Symlink("../outside/secret".into()), "a link stays a link");
    work.file("context/.wh.passwd", "");
    let run = work.build("FROM base\nCOPY .wh.passwd /etc/\n");
    assert!(run.status == 1 && run.shows("its name would read as a deletion"), "{}", run.stderr);
    // An image whose links lead up: what is copied through them stays in the image.
    fs::create_dir(work.path("evil")).unwrap();
    symlink("../../../../../..", work.path("evil/up")).unwrap();
    work.file("evil/Dockerfile", "FROM scratch\nCOPY up /\n");
    work.file("evil/.dockerignore", "");
    work.file("context/f", "f");
    let run = work.build("FROM base\nRUN ln -s ../../../../../../ /up\nCOPY f /up/tmp/x/f\n").ok();
    assert!(run.status == 0 && !Path::new("/tmp/x/f").exists());
    assert!(work.top().contains_key("tmp/x/f"));
}

#[test]
fn help_and_documents_are_there() {
    let work = Work::new();
    for arguments in [&["--help"][..], &["build", "--help"], &["man"], &["completions", "bash"], &["--version"]] {
        assert!(!work.run(arguments).ok().stdout.is_empty(), "{arguments:?}");
    }
    assert_eq!(work.run(&["build"]).status, 2);
    assert_eq!(work.run(&["build", "--nosuch", "x"]).status, 2);
}

#[test]
fn a_dockerfile_is_checked_parsed_and_drawn() {
    let work = Work::new();
    work.file("context/Dockerfile", "FROM scratch as a\nCMD x\n");
    let run = work.run(&["check", "context"]);
    assert_eq!((run.status, run.stderr.as_str()), (1, "build-tool: Dockerfile: 2 findings\n"));
    assert!(
        run.stdout
            .starts_with("Dockerfile:1: FromAsCasing: FROM and as are not in the same case\n    FROM scratch as a\n")
    );
    let tree: Value = serde_json::from_str(&work.run(&["parse", "context"]).ok().stdout).unwrap();
    assert_eq!(tree["steps"][1]["instruction"], "CMD");
    assert_eq!(tree["steps"][1]["value"]["shell"], "x");
    assert_eq!(tree["steps"][1]["lines"], serde_json::json!({"start": 2, "end": 2}));
    assert!(work.run(&["graph", "context"]).ok().stdout.starts_with("digraph"));
    assert!(work.run(&["graph", "--svg", "context"]).ok().stdout.starts_with("<svg"));
    work.file("context/Dockerfile", "FROM scratch\nCMD [\"x\"]\n");
    assert_eq!(work.run(&["check", "context"]).ok().stdout, "");
}

#[test]
fn the_cache_is_listed_and_emptied() {
    let work = Work::with_base();
    work.build("FROM base\nRUN echo x >/x\nRUN --mount=type=cache,target=/c touch /c/y\n").ok();
    let listed = work.run(&["cache", "ls"]).ok().stdout;
    assert!(listed.contains("RUN /bin/sh -c echo x >/x") && listed.contains("COPY rootfs /"), "{listed}");
    work.run(&["cache", "prune", "--keep-hours", "1"]).ok();
    assert_eq!(work.run(&["cache", "ls"]).ok().stdout, listed);
    assert!(work.run(&["cache", "prune", "--mounts"]).ok().shows("removed"));
    assert_eq!(work.run(&["cache", "ls"]).ok().stdout, "");
    assert_eq!(fs::read_dir(work.path("home/builds/mounts")).unwrap().count(), 0);
    assert_eq!(work.layers().len(), 3, "the image is whole");
    work.build("FROM base\nRUN echo x >/x\n").ok();
}
