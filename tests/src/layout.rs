//! Layouts written by hand, valid and invalid, so that no tool under test produces its own input.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// The digest of `bytes`, as `sha256:HEX`.
pub fn digest(bytes: &[u8]) -> String {
    use std::fmt::Write;
    Sha256::digest(bytes).iter().fold("sha256:".to_owned(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A layout under construction. It writes exactly what it is told, and validates nothing.
pub struct Builder {
    folder: PathBuf,
    layers: Vec<Value>,
    diff_ids: Vec<String>,
    manifests: Vec<Value>,
}

impl Builder {
    /// Creates an empty layout in `folder`.
    pub fn new(folder: &Path) -> Self {
        fs::create_dir_all(folder.join("blobs/sha256")).unwrap();
        fs::write(folder.join("oci-layout"), "{\"imageLayoutVersion\":\"1.0.0\"}").unwrap();
        Self { folder: folder.into(), layers: Vec::new(), diff_ids: Vec::new(), manifests: Vec::new() }
    }

    /// Writes a blob and returns its descriptor.
    pub fn blob(&self, media_type: &str, bytes: &[u8]) -> Value {
        let digest = digest(bytes);
        fs::write(self.blob_path(&digest), bytes).unwrap();
        json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() })
    }

    /// The path of the blob with this digest.
    pub fn blob_path(&self, digest: &str) -> PathBuf {
        self.folder.join("blobs/sha256").join(digest.strip_prefix("sha256:").unwrap())
    }

    /// Adds a plain tar as the next layer.
    pub fn layer(&mut self, tar: &[u8]) -> &mut Self {
        self.layers.push(self.blob("application/vnd.oci.image.layer.v1.tar", tar));
        self.diff_ids.push(digest(tar));
        self
    }

    /// Changes the last layer's descriptor or diff id before they are written.
    pub fn change(&mut self, change: impl FnOnce(&mut Value, &mut String)) -> &mut Self {
        change(self.layers.last_mut().unwrap(), self.diff_ids.last_mut().unwrap());
        self
    }

    /// Writes an image of the layers so far under `name`, and starts the next one.
    pub fn image(&mut self, name: &str, config: Value) -> &mut Self {
        let config = json!({
            "architecture": "amd64", "os": "linux", "config": config,
            "rootfs": { "type": "layers", "diff_ids": std::mem::take(&mut self.diff_ids) },
        });
        let config = self.blob("application/vnd.oci.image.config.v1+json", config.to_string().as_bytes());
        let manifest = json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": config,
            "layers": std::mem::take(&mut self.layers),
        });
        self.entry(name, self.blob("application/vnd.oci.image.manifest.v1+json", manifest.to_string().as_bytes()))
    }

    /// Adds a descriptor to index.json under `name`.
    pub fn entry(&mut self, name: &str, mut descriptor: Value) -> &mut Self {
        descriptor["annotations"] = json!({ "org.opencontainers.image.ref.name": name });
        self.manifests.push(descriptor);
        let index = json!({ "schemaVersion": 2, "manifests": self.manifests });
        fs::write(self.folder.join("index.json"), index.to_string()).unwrap();
        self
    }
}

/// A layer's tar archive under construction.
pub struct Tar(tar::Builder<Vec<u8>>);

impl Default for Tar {
    fn default() -> Self {
        Self::new()
    }
}

impl Tar {
    /// An empty archive.
    pub fn new() -> Self {
        Self(tar::Builder::new(Vec::new()))
    }

    /// Adds an entry whose name and link target are stored byte for byte, even if they are invalid.
    pub fn entry(
        &mut self,
        kind: tar::EntryType,
        name: &str,
        target: &str,
        mode: u32,
        owner: u64,
        content: &[u8],
    ) -> &mut Self {
        let mut header = tar::Header::new_gnu();
        let fields = header.as_old_mut();
        fields.name[..name.len().min(100)].copy_from_slice(&name.as_bytes()[..name.len().min(100)]);
        fields.linkname[..target.len()].copy_from_slice(target.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(owner);
        header.set_gid(owner);
        header.set_mtime(1_600_000_000);
        header.set_size(content.len() as u64);
        if kind.is_character_special() || kind.is_block_special() {
            header.set_device_major(1).unwrap();
            header.set_device_minor(3).unwrap();
        }
        header.set_cksum();
        self.0.append(&header, content).unwrap();
        self
    }

    /// Gives the next entry extended attributes.
    pub fn attributes(&mut self, attributes: &[(&str, &[u8])]) -> &mut Self {
        let keys: Vec<_> = attributes.iter().map(|(name, value)| (format!("SCHILY.xattr.{name}"), *value)).collect();
        self.0.append_pax_extensions(keys.iter().map(|(name, value)| (name.as_str(), *value))).unwrap();
        self
    }

    /// Gives the next entry a PAX path, for a name longer than the header's 100 bytes.
    pub fn long_name(&mut self, name: &str) -> &mut Self {
        self.0.append_pax_extensions([("path", name.as_bytes())]).unwrap();
        self
    }

    /// Adds a directory owned by root.
    pub fn folder(&mut self, name: &str) -> &mut Self {
        self.entry(tar::EntryType::Directory, name, "", 0o755, 0, b"")
    }

    /// Adds a file owned by root.
    pub fn file(&mut self, name: &str, content: &str) -> &mut Self {
        self.entry(tar::EntryType::Regular, name, "", 0o644, 0, content.as_bytes())
    }

    /// Adds a symbolic link.
    pub fn symlink(&mut self, name: &str, target: &str) -> &mut Self {
        self.entry(tar::EntryType::Symlink, name, target, 0o777, 0, b"")
    }

    /// Adds a hard link.
    pub fn link(&mut self, name: &str, target: &str) -> &mut Self {
        self.entry(tar::EntryType::Link, name, target, 0o644, 0, b"")
    }

    /// Takes the finished archive and starts an empty one.
    pub fn bytes(&mut self) -> Vec<u8> {
        std::mem::replace(&mut self.0, tar::Builder::new(Vec::new())).into_inner().unwrap()
    }
}

/// Writes the image `odd` to a layout in `folder`: every kind of file that a root filesystem can hold, and every change that a layer
/// can make.
pub fn odd(folder: &Path) {
    use tar::EntryType::{Block, Char, Directory, Fifo, Regular};
    let long = format!("names/{}/{}", "d".repeat(90), "f".repeat(200));
    let mut tar = Tar::new();
    tar.folder("./").folder("bin/").folder("etc/").folder("names/").folder(&format!("names/{}/", "d".repeat(90)));
    tar.entry(Regular, "bin/setuid", "", 0o4755, 0, b"setuid").entry(Regular, "bin/setgid", "", 0o2755, 33, b"setgid");
    tar.entry(Directory, "tmp/", "", 0o1777, 0, b"").entry(Directory, "private/", "", 0o700, 1000, b"");
    tar.entry(Regular, "private/owned", "", 0o600, 1_000_000, b"owned");
    tar.entry(Fifo, "fifo", "", 0o640, 5, b"")
        .entry(Char, "null", "", 0o666, 0, b"")
        .entry(Block, "block", "", 0o660, 6, b"");
    tar.file("first", "linked").link("second", "first").link("etc/third", "first");
    tar.symlink("absolute", "/etc/passwd").symlink("dangling", "nowhere").symlink("up", "../../../etc");
    tar.file("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n").file("empty", "");
    tar.long_name(&long).file("ignored", "long");
    tar.long_name("names/日本語 and spaces\nand a line").file("ignored", "unicode");
    tar.attributes(&[
        ("user.colour", b"blue\0green"),
        ("security.capability", b"\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0"),
    ]);
    tar.entry(Regular, "bin/ping", "", 0o755, 0, b"ping");
    tar.folder("opaque/").file("opaque/below", "gone").folder("opaque/inside/").file("opaque/inside/deep", "gone");
    tar.folder("becomes-file/").file("becomes-file/inside", "gone").file("becomes-folder", "gone");
    tar.file("removed", "gone").folder("removed-folder/").file("removed-folder/inside", "gone");
    tar.file("changed", "old")
        .folder("linked-folder/")
        .file("linked-folder/kept", "kept")
        .symlink("to-folder", "linked-folder");
    let lower = tar.bytes();
    tar.folder("./").folder("opaque/").file("opaque/.wh..wh..opq", "").file("opaque/above", "new");
    tar.file("becomes-file", "file").folder("becomes-folder/").file("becomes-folder/inside", "new");
    tar.file(".wh.removed", "").file(".wh.removed-folder", "").entry(Regular, "changed", "", 0o600, 7, b"new");
    tar.file("etc/third", "no longer linked").symlink("names/up", "../first");
    let middle = tar.bytes();
    // A name deleted by the layer below comes back; a directory's own entry changes only its mode and owner.
    tar.file("removed", "back").entry(Directory, "etc/", "", 0o711, 3, b"").file("opaque/later", "later");
    let upper = tar.bytes();
    Builder::new(folder).layer(&lower).layer(&middle).layer(&upper).image("odd", json!({ "Cmd": ["/bin/ping"] }));
}
