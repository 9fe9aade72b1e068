//! The command line: what it prints, its exit status, its errors, and the images that come out.
//!
//! RUN needs root, runc and a static busybox, which `make setup` installs.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod build;
mod cache;
mod check;
mod context;
mod copy;
mod git;
mod grant;
mod instruction;
mod output;
mod run;

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
        for name in [
            "sh", "cat", "echo", "id", "touch", "ls", "rm", "env", "mkdir", "false", "sleep", "ln", "mount", "grep",
            "printf", "true", "stat", "pwd", "rmdir",
        ] {
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
        command.env_remove("OCI_LAYOUT").env_remove("SOURCE_DATE_EPOCH");
        command.env_remove("SSH_AUTH_SOCK").stdin(Stdio::null());
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
        assert_eq!(self.left(), Vec::<String>::new());
    }

    /// The folders of steps, and the mounts in the work's folder.
    fn left(&self) -> Vec<String> {
        let folders = fs::read_dir(self.path("home/builds")).unwrap().flatten();
        let names = folders.map(|entry| entry.file_name().to_string_lossy().into_owned());
        let mut left: Vec<String> = names.filter(|name| name.starts_with(".step")).collect();
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        let here = self.0.path().to_str().unwrap();
        left.extend(mounts.lines().filter(|mount| mount.contains(here)).map(str::to_owned));
        left
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
fn help_and_documents_are_there() {
    let work = Work::new();
    for arguments in [&["--help"][..], &["build", "--help"], &["completions", "bash"], &["--version"]] {
        assert!(!work.run(arguments).ok().stdout.is_empty(), "{arguments:?}");
    }
    for command in
        [&["build"][..], &["check"], &["parse"], &["graph"], &["cache"], &["cache", "ls"], &["cache", "prune"]]
    {
        let help = work.run(&[command, &["--help"]].concat()).ok().stdout;
        let (_, examples) = help.split_once("\nExamples:\n").unwrap_or_else(|| panic!("{command:?}: {help}"));
        assert!(examples.lines().all(|line| line.starts_with("  ") && line.contains("build-tool")), "{examples}");
    }
    work.run(&["man", "pages"]).ok();
    assert!(work.path("pages/build-tool-cache-prune.1").exists());
    assert_eq!(work.run(&["build"]).status, 2);
    assert_eq!(work.run(&["build", "--nosuch", "x"]).status, 2);
}
