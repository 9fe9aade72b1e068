//! A stand-in for Docker Hub's search, `GET /v1/search`.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::json;

/// The results of `docker search python` in the documentation: name, description, stars, official, automated.
pub const FOUND: [(&str, &str, u32, bool, bool); 6] = [
    (
        "python",
        "Python is an interpreted, interactive, object-oriented, open-source programming language.",
        5757,
        true,
        false,
    ),
    ("django", "Django is a free web application framework, written in Python.", 1039, true, false),
    ("pypy", "PyPy is a fast, compliant alternative implementation of the Python language.", 260, true, false),
    (
        "joyzoursky/python-chromedriver",
        "Python with Chromedriver, for running automated tests on Selenium",
        57,
        false,
        true,
    ),
    ("nikolaik/python-nodejs", "Python with Node.js", 57, false, true),
    (
        "arm32v7/python",
        "Python is an interpreted, interactive, object-oriented, open-source programming language.",
        53,
        false,
        false,
    ),
];

/// A server of `GET /v1/search`; it runs until the test program exits.
pub struct Hub {
    port: u16,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Default for Hub {
    fn default() -> Self {
        Self::new()
    }
}

impl Hub {
    /// Starts a server on a free port.
    pub fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let record = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A client that hangs up early loses only its own answer.
                let _ = answer(stream, &record);
            }
        });
        Self { port, asked }
    }

    /// `127.0.0.1:PORT`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The request targets received so far.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

fn answer(mut stream: TcpStream, asked: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let request = lines.next().unwrap_or_else(|| Ok(String::new()))?;
    while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
    let target = request.split(' ').nth(1).unwrap_or_default().to_owned();
    asked.lock().unwrap().push(target.clone());
    let (status, body) = if let Some(query) = target.strip_prefix("/v1/search?") {
        let limit = query.split('&').find_map(|pair| pair.strip_prefix("n=")?.parse().ok()).unwrap_or(25);
        let results: Vec<_> = FOUND
            .iter()
            .take(limit)
            .map(|(name, description, stars, official, automated)| {
                json!({
                    "name": name, "description": description, "star_count": stars,
                    "is_official": official, "is_automated": automated,
                })
            })
            .collect();
        let body = json!({ "num_results": results.len(), "query": "python", "results": results });
        ("200 OK", body.to_string())
    } else {
        ("404 Not Found", "{}".to_owned())
    };
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}
