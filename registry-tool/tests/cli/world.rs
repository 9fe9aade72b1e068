//! A world for one test, the tool run in it, and the registries that it meets.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use image_tool::address::Address;
use image_tool::layout::Layout;

use crate::server::{Image, Reply, Request, Server, Store, digest};

/// A folder that is the whole world of the tool: home, configuration and data.
pub(crate) struct World {
    folder: tempfile::TempDir,
}

impl World {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
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

    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        Ran(self.command(arguments).output().unwrap())
    }

    pub(crate) fn run_with_input(&self, arguments: &[&str], input: &str) -> Ran {
        use std::io::Write as _;
        let mut command = self.command(arguments);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        Ran(child.wait_with_output().unwrap())
    }

    /// Asserts that the layout holds nothing but sound blobs and no leftovers beside `.partial`.
    pub(crate) fn assert_sound(&self, layout: &str) {
        let folder = self.path(layout).join("blobs/sha256");
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            assert_eq!(digest(&std::fs::read(&path).unwrap()), format!("sha256:{name}"), "{}", path.display());
        }
    }

    pub(crate) fn has_image(&self, address: &str) -> bool {
        let address: Address = address.parse().unwrap();
        let layout = Layout::open(&self.path(address.layout())).unwrap();
        layout.resolve(&address).is_ok()
    }
}

pub(crate) struct Ran(pub(crate) Output);

impl Ran {
    pub(crate) fn out(&self) -> String {
        String::from_utf8(self.0.stdout.clone()).unwrap()
    }

    pub(crate) fn err(&self) -> String {
        String::from_utf8(self.0.stderr.clone()).unwrap()
    }

    #[track_caller]
    pub(crate) fn good(&self) -> &Self {
        assert!(self.0.status.success(), "{}\n{}", self.out(), self.err());
        self
    }

    /// As [`Ran::fails`], and the error is all that is said.
    #[track_caller]
    pub(crate) fn fails_in_a_line(&self, parts: &[&str]) {
        assert_eq!(self.fails(parts).err().lines().count(), 1, "{}", self.err());
    }

    /// Asserts status 1, nothing on standard output, and a last line with all of `parts`.
    #[track_caller]
    pub(crate) fn fails(&self, parts: &[&str]) -> &Self {
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

pub(crate) fn honest(image: &Image) -> Server {
    let image = image.clone();
    Server::new(move |request| image.answer(request))
}

/// Answers as `image`, but a request that `is_special` as `special` says, for the first `times`.
pub(crate) fn moody(
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

pub(crate) fn is_layer(image: &Image) -> impl Fn(&Request) -> bool + Send + Sync + use<> {
    let end = format!("/blobs/{}", image.layers[0]);
    move |request| request.method == "GET" && request.path.ends_with(&end)
}

pub(crate) fn mirror(world: &World, servers: &[&Server]) {
    let urls: Vec<String> = servers.iter().map(|server| format!("http://{}", server.address())).collect();
    world.write("daemon.json", &serde_json::json!({ "registry-mirrors": urls }).to_string());
}

/// A registry that keeps what it is sent, but answers as `special` says where that says anything.
pub(crate) fn keeping(special: impl Fn(&Request) -> Option<Reply> + Send + Sync + 'static) -> (Server, Arc<Store>) {
    let store = Arc::new(Store::default());
    let kept = Arc::clone(&store);
    (Server::new(move |request| special(request).unwrap_or_else(|| kept.answer(request))), store)
}

/// A layout `images` with an image under the ref `a`.
pub(crate) fn layout_with(world: &World, image: &Image) {
    let server = honest(image);
    world.run(&["pull", "-q", &format!("{}/a:3.8", server.address()), "images:a"]).good();
}
