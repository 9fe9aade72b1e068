//! A folder with images in it, in which bundle-tool is run.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use image_tool::address::digest;
use image_tool::layer::entry::{Entry, Kind, Writer};
use image_tool::layout::Layout;
use oci_spec::image::MediaType;
use serde_json::{Value, json};

/// A folder in which bundle-tool runs, with a layout `images` in it.
pub(crate) struct Work(pub(crate) tempfile::TempDir);

/// What a run gave.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) status: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Run {
    pub(crate) fn ok(&self) -> &str {
        assert_eq!(self.status, 0, "{self:?}");
        self.stdout.trim_end()
    }

    /// Fails with `status` and one line that holds `words`.
    pub(crate) fn fails(&self, status: i32, words: &[&str]) {
        assert_eq!((self.status, self.stderr.lines().count()), (status, 1), "{self:?}");
        assert!(self.stderr.starts_with("bundle-tool: ") && self.stdout.is_empty(), "{self:?}");
        for word in words {
            assert!(self.stderr.contains(word), "{word:?} is not in {self:?}");
        }
    }
}

pub(crate) fn tar(entries: &[(&str, &str, u32)]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    for (name, content, mode) in entries {
        let kind = if name.ends_with('/') { Kind::Directory } else { Kind::File };
        let entry = Entry::new(name.trim_end_matches('/'), kind, *mode);
        writer.file(&entry, content.as_bytes()).unwrap();
    }
    writer.finish().unwrap()
}

impl Work {
    pub(crate) fn new() -> Self {
        let work = Self(tempfile::tempdir().unwrap());
        let base = work.base();
        let top = tar(&[("etc/motd", "hello\n", 0o644)]);
        work.image("python:3.8", &[&base, &top], json!({"Cmd": ["python3"], "Env": ["PATH=/bin", "LANG=C"], "ExposedPorts": {"8888/tcp": {}}, "Labels": {"from": "image", "org.oci-tools.rm": "true"}}));
        work.image("user", &[&base], json!({"Entrypoint": ["/entry"], "Cmd": ["x"], "User": "www", "WorkingDir": "/srv/app", "StopSignal": "SIGQUIT", "Volumes": {"/data": {}}}));
        work.image("nothing", &[&base], json!({}));
        work
    }

    /// The layer that all images have.
    pub(crate) fn base(&self) -> Vec<u8> {
        tar(&[
            ("bin/", "", 0o755),
            ("bin/sh", "#!", 0o755),
            ("etc/", "", 0o755),
            ("etc/passwd", "root:x:0:0::/root:\nwww:x:33:34::/srv:\n", 0o644),
            ("etc/group", "root:x:0:\nvideo:x:44:www\n", 0o644),
            ("data/", "", 0o700),
            ("data/seed", "from the image\n", 0o640),
        ])
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn image(&self, name: &str, layers: &[&[u8]], config: Value) {
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

    pub(crate) fn run(&self, words: &str) -> Run {
        self.run_with(words, b"")
    }

    pub(crate) fn run_with(&self, words: &str, input: &[u8]) -> Run {
        let words: Vec<&str> = words.split_whitespace().collect();
        self.words(&words, input)
    }

    pub(crate) fn words(&self, words: &[&str], input: &[u8]) -> Run {
        let mut child = Command::new(env!("CARGO_BIN_EXE_bundle-tool"))
            .args(words)
            .current_dir(self.0.path())
            .env("OCI_HOME", self.path("oci"))
            .env("GIVEN", "by the caller")
            .env_remove("OCI_LAYOUT")
            .env_remove("LANG")
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
    pub(crate) fn spec(&self, options: &str) -> Value {
        serde_json::from_str(self.run(&format!("spec --network none {options}")).ok()).unwrap()
    }

    /// Nothing is left: no bundle, no mount.
    pub(crate) fn is_clean(&self) {
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

pub(crate) fn root() -> bool {
    rustix::process::geteuid().is_root()
}

pub(crate) fn strings(value: &Value) -> Vec<&str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

pub(crate) fn mount<'a>(config: &'a Value, target: &str) -> &'a Value {
    config["mounts"].as_array().unwrap().iter().find(|mount| mount["destination"] == target).unwrap_or(&Value::Null)
}
