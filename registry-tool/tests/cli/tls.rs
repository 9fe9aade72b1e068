//! A registry that wants to see a certificate.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};

use crate::server::{Image, Request, noise};
use crate::world::World;

/// A certificate for this machine and its key, for both sides.
pub(crate) fn certificate(world: &World) -> (String, String) {
    let made = Command::new("openssl")
        .args(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout key -out cert -days 9"
                .split(' '),
        )
        .args([
            "-subj",
            "/CN=test",
            "-addext",
            "basicConstraints=critical,CA:FALSE",
            "-addext",
            "subjectAltName=IP:127.0.0.1",
        ])
        .current_dir(world.path("."))
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let read = |name: &str| std::fs::read_to_string(world.path(name)).unwrap();
    (read("cert"), read("key"))
}

/// Serves the image to whoever shows this certificate; returns the port.
fn serve(image: &Image, (certificate, key): &(String, String)) -> u16 {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build().unwrap();
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let (config, image) = (Arc::new(config), image.clone());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (connection, image) = (ServerConnection::new(Arc::clone(&config)).unwrap(), image.clone());
            // Whoever is refused hangs up.
            std::thread::spawn(move || answer(StreamOwned::new(connection, stream), &image));
        }
    });
    port
}

/// Answers one request.
fn answer(stream: StreamOwned<ServerConnection, TcpStream>, image: &Image) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut first = String::new();
    stream.read_line(&mut first)?;
    let mut line = String::new();
    while stream.read_line(&mut line)? > 2 {
        line.clear();
    }
    let mut words = first.split(' ').map(str::to_owned);
    let request = Request {
        method: words.next().unwrap_or_default(),
        path: words.next().unwrap_or_default(),
        query: String::new(),
        headers: std::collections::BTreeMap::new(),
        body: Vec::new(),
        at: std::time::Instant::now(),
    };
    let reply = image.answer(&request);
    let mut head =
        format!("HTTP/1.1 {} X\r\nContent-Length: {}\r\nConnection: close\r\n", reply.status, reply.body.len());
    for (name, value) in &reply.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let stream = stream.get_mut();
    stream.write_all(format!("{head}\r\n").as_bytes())?;
    if request.method != "HEAD" {
        stream.write_all(&reply.body)?;
    }
    stream.conn.send_close_notify();
    stream.flush()
}

#[test]
fn the_client_certificate_of_certs_d_is_shown() {
    let (world, image) = (World::new(), Image::new(&[noise(5000, 1)]));
    let pair = certificate(&world);
    let port = serve(&image, &pair);
    let name = format!("127.0.0.1:{port}/a:3.8");
    let folder = format!("user/.config/containers/certs.d/127.0.0.1:{port}");
    let pull = || world.run(&["pull", "--retry-delay", "0.01", &name, "images"]);
    assert!(!pull().0.status.success(), "without a certificate");
    world.write(&format!("{folder}/client.cert"), &pair.0);
    pull().fails(&["client.cert", "without its key"]);
    world.write(&format!("{folder}/client.key"), &pair.1);
    pull().good();
    world.assert_sound("images");
    world.write(&format!("{folder}/second.cert"), &pair.0);
    world.write(&format!("{folder}/second.key"), &pair.1);
    pull().fails(&["second.cert", "keep one"]);
    for name in ["second.cert", "client.cert", "client.key"] {
        std::fs::remove_file(world.path(&format!("{folder}/{name}"))).unwrap();
    }
    pull().fails(&["second.key", "without its client certificate"]);
}
