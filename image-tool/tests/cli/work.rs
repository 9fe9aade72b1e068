//! A folder with a layout, in which image-tool runs.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use image_tool::address::digest;
use image_tool::layer::entry::{Entry, Kind, Writer};
use image_tool::layer::pack::Gzip;
use image_tool::layout::Layout;
use oci_spec::image::{Descriptor, MediaType};
use serde_json::json;

/// A temporary folder with a layout `images`.
pub(crate) struct Work(pub(crate) tempfile::TempDir);

/// The result of a run.
pub(crate) struct Run {
    pub(crate) status: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Work {
    /// Two images: `python:3.8` with two layers, and `busybox` with the lower one of them.
    pub(crate) fn new() -> Self {
        let work = Self(tempfile::tempdir().unwrap());
        let base = tar(&[("bin/", ""), ("bin/sh", "#!"), ("etc/", ""), ("etc/motd", "hello\n")]);
        let top = tar(&[("bin/python", "python"), ("etc/.wh.motd", "")]);
        work.image("python:3.8", &[&base, &top], MediaType::ImageLayerGzip);
        work.image("busybox", &[&base], MediaType::ImageLayer);
        work
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn layout(&self) -> Layout {
        Layout::create(&self.path("images")).unwrap()
    }

    pub(crate) fn image(&self, name: &str, layers: &[&[u8]], media_type: MediaType) -> Descriptor {
        let writer = self.layout().writer().unwrap();
        let blobs: Vec<Descriptor> = layers
            .iter()
            .map(|layer| {
                let bytes = if media_type == MediaType::ImageLayerGzip { gzip(layer) } else { layer.to_vec() };
                writer.put(media_type.clone(), &bytes).unwrap()
            })
            .collect();
        let diff_ids: Vec<String> = layers.iter().map(|layer| digest::sha256(layer).to_string()).collect();
        let config = json!({
            "created": "2020-01-02T03:04:05Z", "architecture": "amd64", "os": "linux",
            "config": {"Cmd": ["sh"], "Env": ["PATH=/bin"], "Healthcheck": {"Test": ["NONE"]}},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
            "history": [{"created": "2020-01-02T03:04:05Z", "created_by": "ADD base"}, {"created_by": "CMD sh", "empty_layer": true}],
        });
        let config = writer.put(MediaType::ImageConfig, config.to_string().as_bytes()).unwrap();
        let manifest = json!({"schemaVersion": 2, "mediaType": MediaType::ImageManifest.to_string(), "config": config, "layers": blobs});
        let manifest = writer.put(MediaType::ImageManifest, manifest.to_string().as_bytes()).unwrap();
        writer.publish(&name.parse().unwrap(), manifest.clone()).unwrap();
        manifest
    }

    pub(crate) fn run(&self, words: &str) -> Run {
        self.run_with(words, b"")
    }

    pub(crate) fn run_with(&self, words: &str, input: &[u8]) -> Run {
        let output = self.run_bytes(words, input);
        Run {
            status: output.status.code().unwrap(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    pub(crate) fn run_bytes(&self, words: &str, input: &[u8]) -> Output {
        let mut child = Command::new(env!("CARGO_BIN_EXE_image-tool"))
            .args(words.split_whitespace())
            .current_dir(self.0.path())
            .env("OCI_HOME", self.path("home"))
            .env_remove("OCI_LAYOUT")
            .env_remove("SOURCE_DATE_EPOCH")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_vec();
        // A program that ends early does not read everything.
        let feed = std::thread::spawn(move || drop(stdin.write_all(&input)));
        let output = child.wait_with_output().unwrap();
        feed.join().unwrap();
        output
    }
}

impl Run {
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.status, 0, "{}", self.stderr);
        self.stdout
    }

    /// Expects one line on standard error with all of these words, and nothing on standard output.
    #[track_caller]
    pub(crate) fn fails(self, status: i32, words: &[&str]) {
        assert_eq!((self.status, self.stdout.as_str()), (status, ""), "{}", self.stderr);
        if status == 1 {
            assert_eq!(self.stderr.lines().count(), 1, "{}", self.stderr);
            assert!(self.stderr.starts_with("image-tool: "), "{}", self.stderr);
        }
        for word in words {
            assert!(self.stderr.contains(word), "{word:?} is not in: {}", self.stderr);
        }
    }
}

pub(crate) fn tar(files: &[(&str, &str)]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    for (path, data) in files {
        match path.strip_suffix('/') {
            Some(path) => writer.entry(&Entry::new(path, Kind::Directory, 0o755)).unwrap(),
            None => writer.file(&Entry::new(*path, Kind::File, 0o644), data.as_bytes()).unwrap(),
        }
    }
    writer.finish().unwrap()
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = Gzip::new(Vec::new());
    gzip.write_all(bytes).unwrap();
    gzip.finish().unwrap()
}

/// The current address of a name, with its digest.
pub(crate) fn address(work: &Work, name: &str) -> String {
    let list = work.run("list images").ok();
    list.lines().find(|line| line.starts_with(&format!("images:{name}@"))).unwrap().to_owned()
}

pub(crate) fn blobs(work: &Work) -> usize {
    fs::read_dir(work.path("images/blobs/sha256")).unwrap().count()
}
