//! A running `registry-tool serve`, and a client that says exactly what it is told to.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use image_tool::layout::Layout;
use reqwest::header::HeaderMap;
use reqwest::{Client, Method};
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::server::Image;
use crate::world::World;

/// A server; dropping it kills it.
pub(super) struct Served {
    child: Child,
    address: String,
    pub(super) scheme: &'static str,
    log: Arc<Mutex<Vec<String>>>,
    client: Client,
    runtime: Runtime,
}

/// An answer, whole.
#[derive(Debug)]
pub(super) struct Got {
    pub(super) status: u16,
    headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

impl Got {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(super) fn all(&self, name: &str) -> Vec<&str> {
        self.headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect()
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    /// Asserts a refusal with this status and the spec's code.
    #[track_caller]
    pub(super) fn refused(&self, status: u16, code: &str) -> &Self {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.json()["errors"][0]["code"], code, "{self:?}");
        self
    }

    #[track_caller]
    pub(super) fn is(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self:?} {}", String::from_utf8_lossy(&self.body));
        self
    }
}

impl Served {
    pub(super) fn start(world: &World, arguments: &[&str]) -> Self {
        Self::spawn(world.command(&[&["serve", "--listen", "127.0.0.1:0"], arguments].concat()))
    }

    pub(super) fn spawn(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let Some(Ok(address)) = lines.next() else {
            let mut said = String::new();
            child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
            panic!("serve did not start: {said}");
        };
        let log = Arc::new(Mutex::new(Vec::new()));
        let (stderr, kept) = (BufReader::new(child.stderr.take().unwrap()), Arc::clone(&log));
        std::thread::spawn(move || stderr.lines().for_each(|line| kept.lock().unwrap().push(line.unwrap())));
        // A certificate of the test's own is accepted; what it is worth is not this client's to judge.
        let provider = rustls::crypto::ring::default_provider();
        // Another test may have been faster.
        let _ = provider.install_default();
        let client = Client::builder()
            .tls_danger_accept_invalid_certs(true)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        Self { child, address, scheme: "http", log, client, runtime }
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(super) fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Got {
        self.try_ask(method, path, headers, body).unwrap()
    }

    /// Fails if the connection breaks.
    pub(super) fn try_ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Got, reqwest::Error> {
        let url = format!("{}://{}{path}", self.scheme, self.address);
        let mut request = self.client.request(Method::from_bytes(method.as_bytes()).unwrap(), url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if !matches!(method, "GET" | "HEAD") {
            request = request.body(body.to_vec());
        }
        self.runtime.block_on(async {
            let response = request.send().await?;
            let (status, headers) = (response.status().as_u16(), response.headers().clone());
            let body = response.bytes().await?.to_vec();
            Ok(Got { status, headers, body })
        })
    }

    pub(super) fn get(&self, path: &str) -> Got {
        self.ask("GET", path, &[], b"")
    }

    pub(super) fn head(&self, path: &str) -> Got {
        self.ask("HEAD", path, &[], b"")
    }

    /// Pushes a blob in one request.
    pub(super) fn blob(&self, repository: &str, bytes: &[u8]) -> String {
        let digest = crate::server::digest(bytes);
        let path = format!("/v2/{repository}/blobs/uploads/?digest={digest}");
        let made = self.ask("POST", &path, &[], bytes).is(201);
        assert_eq!(made.header("Docker-Content-Digest"), digest);
        digest
    }

    pub(super) fn manifest(&self, repository: &str, reference: &str, media_type: &str, bytes: &[u8]) -> Got {
        self.ask("PUT", &format!("/v2/{repository}/manifests/{reference}"), &[("Content-Type", media_type)], bytes)
    }

    /// Pushes an image.
    pub(super) fn push(&self, repository: &str, reference: &str, image: &Image) {
        for blob in image.blobs.values() {
            self.blob(repository, blob);
        }
        self.manifest(repository, reference, crate::server::MANIFEST, &image.manifest).is(201);
    }

    /// What has been written to standard error so far. Waits for a line with `part`.
    #[track_caller]
    pub(super) fn log_with(&self, part: &str) -> String {
        let until = Instant::now() + Duration::from_secs(10);
        loop {
            let log = self.log.lock().unwrap().clone();
            if let Some(line) = log.iter().find(|line| line.contains(part)) {
                return line.clone();
            }
            assert!(Instant::now() < until, "{part:?} is not in {log:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub(super) fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    pub(super) fn signal(&self, name: &str) {
        assert!(Command::new("kill").args([format!("-{name}"), self.pid().to_string()]).status().unwrap().success());
    }

    /// Waits until the server has ended; returns its status.
    pub(super) fn wait(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }

    pub(super) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(super) fn layout(world: &World, name: &str) -> Layout {
    Layout::open(&world.path(name)).unwrap()
}
