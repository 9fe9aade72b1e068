//! A registry that does as a test wants: it answers each request by a function, and may cut its answers off.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
    pub(crate) at: Instant,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// The first byte that a `Range` asks for.
    pub(crate) fn range_start(&self) -> usize {
        let range = self.header("range").and_then(|range| range.strip_prefix("bytes="));
        range.and_then(|range| range.split('-').next()).and_then(|start| start.parse().ok()).unwrap_or(0)
    }
}

/// An answer.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// Close the connection after so many bytes of the body.
    pub(crate) cut: Option<usize>,
    /// Say nothing more after so many bytes of the body, and leave the connection open.
    pub(crate) stall: Option<usize>,
}

impl Reply {
    pub(crate) fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: Vec::new(), body: body.into(), cut: None, stall: None }
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    pub(crate) fn cut(mut self, after: usize) -> Self {
        self.cut = Some(after);
        self
    }

    pub(crate) fn stall(mut self, after: usize) -> Self {
        self.stall = Some(after);
        self
    }

    /// A whole blob, or the part that the request asks for.
    pub(crate) fn blob(request: &Request, bytes: &[u8]) -> Self {
        let start = request.range_start();
        if request.header("range").is_none() {
            return Self::new(200, bytes);
        }
        if start >= bytes.len() {
            return Self::new(416, "");
        }
        let range = format!("bytes {start}-{}/{}", bytes.len() - 1, bytes.len());
        Self::new(206, &bytes[start..]).header("Content-Range", &range)
    }
}

/// The server; its threads end with the test program.
pub(crate) struct Server {
    port: u16,
    seen: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    pub(crate) fn new(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (record, answer) = (Arc::clone(&seen), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (record, answer) = (Arc::clone(&record), Arc::clone(&answer));
                // Whoever hangs up early loses only its own answer.
                std::thread::spawn(move || serve(stream, &record, answer.as_ref()));
            }
        });
        Self { port, seen }
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn seen(&self) -> Vec<Request> {
        self.seen.lock().unwrap().clone()
    }

    /// The requests for a path that ends so.
    pub(crate) fn seen_at(&self, method: &str, end: &str) -> Vec<Request> {
        self.seen().into_iter().filter(|request| request.method == method && request.path.ends_with(end)).collect()
    }
}

fn serve(stream: TcpStream, record: &Mutex<Vec<Request>>, answer: &dyn Fn(&Request) -> Reply) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut writer = stream;
    loop {
        let request = read(&mut reader)?;
        record.lock().unwrap().push(request.clone());
        let reply = answer(&request);
        let mut head = format!("HTTP/1.1 {} X\r\nContent-Length: {}\r\n", reply.status, reply.body.len());
        for (name, value) in &reply.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        writer.write_all(format!("{head}\r\n").as_bytes()).ok()?;
        if request.method == "HEAD" {
            continue;
        }
        match (reply.cut, reply.stall) {
            (Some(after), _) => {
                writer.write_all(&reply.body[..after]).ok()?;
                return None;
            }
            (_, Some(after)) => {
                writer.write_all(&reply.body[..after]).ok()?;
                std::thread::sleep(std::time::Duration::from_secs(3600));
            }
            _ => writer.write_all(&reply.body).ok()?,
        }
    }
}

fn read(reader: &mut BufReader<TcpStream>) -> Option<Request> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|count| *count > 0)?;
    let mut words = line.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':')?;
        headers.insert(name.to_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Request { method, path: path.into(), query: query.into(), headers, body, at: Instant::now() })
}

/// An image made of layers that are not looked into.
#[derive(Clone)]
pub(crate) struct Image {
    pub(crate) manifest: Vec<u8>,
    pub(crate) blobs: BTreeMap<String, Vec<u8>>,
    pub(crate) layers: Vec<String>,
}

pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";

pub(crate) fn digest(bytes: &[u8]) -> String {
    image_tool::address::digest::sha256(bytes).to_string()
}

impl Image {
    pub(crate) fn new(layers: &[Vec<u8>]) -> Self {
        Self::of("amd64", layers)
    }

    pub(crate) fn of(architecture: &str, layers: &[Vec<u8>]) -> Self {
        let names: Vec<String> = layers.iter().map(|layer| digest(layer)).collect();
        let config = serde_json::json!({
            "os": "linux", "architecture": architecture, "config": {"Env": ["A=1"]},
            "rootfs": {"type": "layers", "diff_ids": names},
        });
        let config = config.to_string().into_bytes();
        let descriptors: Vec<_> = layers
            .iter()
            .map(|layer| {
                serde_json::json!({
                    "mediaType": "application/vnd.oci.image.layer.v1.tar",
                    "digest": digest(layer), "size": layer.len(),
                })
            })
            .collect();
        let manifest = serde_json::json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "layers": descriptors,
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": digest(&config), "size": config.len(),
            },
        });
        let blobs = layers.iter().cloned().chain([config]).map(|blob| (digest(&blob), blob)).collect();
        Self { manifest: manifest.to_string().into_bytes(), blobs, layers: names }
    }

    pub(crate) fn digest(&self) -> String {
        digest(&self.manifest)
    }

    /// What an honest registry answers that has this image as `repository:tag`.
    pub(crate) fn answer(&self, request: &Request) -> Reply {
        let name = request.path.rsplit('/').next().unwrap_or_default();
        if request.path == "/v2/" {
            Reply::new(200, "{}")
        } else if request.path.contains("/manifests/") && (name == "3.8" || name == "latest" || name == self.digest()) {
            Reply::new(200, self.manifest.clone())
                .header("Content-Type", MANIFEST)
                .header("Docker-Content-Digest", &self.digest())
        } else if let Some(blob) = self.blobs.get(name) {
            Reply::blob(request, blob)
        } else {
            Reply::new(404, r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#)
        }
    }
}

/// Bytes that differ everywhere and are the same in each run.
pub(crate) fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.push((state >> 32) as u8);
    }
    bytes
}

/// A registry that keeps what it is sent: one repository like another.
#[derive(Default)]
pub(crate) struct Store {
    /// Blobs by digest.
    pub(crate) blobs: Mutex<BTreeMap<String, Vec<u8>>>,
    /// Manifests by `repository/reference`.
    pub(crate) manifests: Mutex<BTreeMap<String, (String, Vec<u8>)>>,
    upload: Mutex<BTreeMap<String, Vec<u8>>>,
    /// How many uploads were begun: the name of the next one, which none before it had.
    begun: AtomicUsize,
}

impl Store {
    pub(crate) fn answer(&self, request: &Request) -> Reply {
        let name = request.path.rsplit('/').next().unwrap_or_default().to_owned();
        let parameter = |key: &str| {
            let found = request.query.split('&').find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='));
            found.map(|value| value.replace("%3A", ":").replace("%2F", "/"))
        };
        match request.method.as_str() {
            "GET" if request.path == "/v2/" => Reply::new(200, "{}"),
            "GET" if request.path.contains("/uploads/") => match self.upload.lock().unwrap().get(&name) {
                Some(bytes) => Reply::new(204, "")
                    .header("Location", &request.path)
                    .header("Range", &format!("0-{}", bytes.len().saturating_sub(1))),
                None => Reply::new(404, ""),
            },
            "GET" | "HEAD" if request.path.contains("/blobs/") => match self.blobs.lock().unwrap().get(&name) {
                Some(blob) => Reply::blob(request, blob),
                None => Reply::new(404, ""),
            },
            "GET" | "HEAD" => {
                let key = request.path.trim_start_matches("/v2/").replace("/manifests", "");
                match self.manifests.lock().unwrap().get(&key) {
                    Some((media_type, bytes)) => Reply::new(200, bytes.clone())
                        .header("Content-Type", media_type)
                        .header("Docker-Content-Digest", &digest(bytes)),
                    None => Reply::new(404, ""),
                }
            }
            "POST" => {
                let number = self.begun.fetch_add(1, Ordering::Relaxed).to_string();
                self.upload.lock().unwrap().insert(number.clone(), Vec::new());
                Reply::new(202, "").header("Location", &format!("{}{number}", request.path))
            }
            "PATCH" => {
                let mut uploads = self.upload.lock().unwrap();
                let bytes = uploads.get_mut(&name).unwrap();
                let start = request.header("content-range").and_then(|range| range.split('-').next()?.parse().ok());
                if start != Some(bytes.len()) {
                    return Reply::new(416, "").header("Location", &request.path);
                }
                bytes.extend(&request.body);
                Reply::new(202, "").header("Location", &request.path).header("Range", &format!("0-{}", bytes.len() - 1))
            }
            "PUT" if request.path.contains("/uploads/") => {
                let Some(mut bytes) = self.upload.lock().unwrap().remove(&name) else { return Reply::new(404, "") };
                bytes.extend(&request.body);
                let wanted = parameter("digest").unwrap();
                if digest(&bytes) != wanted {
                    return Reply::new(400, r#"{"errors":[{"code":"DIGEST_INVALID","message":"digest invalid"}]}"#);
                }
                self.blobs.lock().unwrap().insert(wanted, bytes);
                Reply::new(201, "").header("Location", "/v2/somewhere")
            }
            "PUT" => {
                let key = request.path.trim_start_matches("/v2/").replace("/manifests", "");
                let value = (request.header("content-type").unwrap().to_owned(), request.body.clone());
                self.manifests.lock().unwrap().insert(key, value);
                Reply::new(201, "").header("Docker-Content-Digest", &digest(&request.body))
            }
            "DELETE" => Reply::new(202, ""),
            _ => Reply::new(405, ""),
        }
    }
}
