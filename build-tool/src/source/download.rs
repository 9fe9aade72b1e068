//! ADD of URLs: http and https, streamed into an unnamed file and hashed on the way.

use std::cell::OnceCell;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::time::Duration;

use image_tool::address::digest::{self, Digest, Hasher};
use percent_encoding::percent_decode_str;
use ureq::config::RedirectAuthHeaders;

use super::access::Access;
use super::validator::Validator;

/// A file that was downloaded.
#[derive(Debug)]
pub struct Download {
    /// The content, in an unnamed file.
    pub file: File,
    /// The content's digest, by the algorithm of `--checksum`, else SHA-256.
    pub digest: Digest,
    /// The server's `Last-Modified`, in seconds since 1970.
    pub modified: Option<i64>,
    /// The server's `ETag`.
    tag: Option<String>,
}

/// What a server answered.
enum Answer {
    /// The content is the one with the tag that was given.
    Unchanged,
    /// The content.
    Content(Download),
}

/// Why a URL cannot be added.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The request failed.
    #[error("{url}")]
    Http {
        /// The URL, without user and password.
        url: String,
        /// The status or the failure.
        source: Box<ureq::Error>,
    },
    /// The transfer broke off, or the file could not be written.
    #[error("{url}")]
    Transfer {
        /// The URL, without user and password.
        url: String,
        /// The reason.
        source: io::Error,
    },
    /// The server said that the content is the one of an earlier build, and then sent another one.
    #[error("{url}: changed while it was added (build again)")]
    Changed {
        /// The URL, without user and password.
        url: String,
    },
    /// The content does not match `--checksum`.
    #[error("{url}: expected {expected}, got {actual}")]
    Checksum {
        /// The URL, without user and password.
        url: String,
        /// The digest of `--checksum`.
        expected: Digest,
        /// The digest of the content.
        actual: Digest,
    },
    /// The value of `--checksum` is not a valid digest.
    #[error("--checksum")]
    BadChecksum(#[source] digest::Error),
}

/// Whether a source of ADD is a URL that this tool fetches.
pub fn is_url(source: &str) -> bool {
    ["http://", "https://"].iter().any(|scheme| {
        let head = source.get(..scheme.len()).filter(|_| source.len() > scheme.len());
        head.is_some_and(|head| head.eq_ignore_ascii_case(scheme))
    })
}

/// A URL that is fetched only if its content is needed.
#[derive(Debug)]
pub struct Remote<'a> {
    url: &'a str,
    checksum: Option<Digest>,
    access: &'a Access,
    folder: &'a Path,
    fetched: OnceCell<Download>,
    /// The digest of the content that the server still has, by its word.
    unchanged: OnceCell<Digest>,
}

impl<'a> Remote<'a> {
    /// A URL whose content has that digest, by `--checksum`; it is put into an unnamed file in `folder`.
    pub fn new(url: &'a str, checksum: Option<&str>, access: &'a Access, folder: &'a Path) -> Result<Self, Error> {
        let checksum = checksum.map(digest::parse).transpose().map_err(Error::BadChecksum)?;
        Ok(Self { url, checksum, access, folder, fetched: OnceCell::new(), unchanged: OnceCell::new() })
    }

    /// The URL without user and password.
    pub fn shown(&self) -> String {
        shown(self.url)
    }

    /// The name of the file: the last component of the URL's path, and BuildKit's word if it has none.
    pub fn name(&self) -> String {
        match name(self.url) {
            name if name.is_empty() => "__unnamed__".to_owned(),
            name => name,
        }
    }

    /// The digest of the content. It is fetched for that only if there is no checksum, and the server does not say that it is what an
    /// earlier build got.
    pub fn digest(&self) -> Result<Digest, Error> {
        let known = self.checksum.as_ref().or_else(|| self.unchanged.get());
        if let Some(digest) = known.or_else(|| self.fetched.get().map(|fetched| &fetched.digest)) {
            return Ok(digest.clone());
        }
        let Some((digest, tag)) = self.validator().known() else { return Ok(self.get()?.digest.clone()) };
        match ask(self.url, None, self.access, self.folder, Some(&tag))? {
            Answer::Unchanged => Ok(self.unchanged.get_or_init(|| digest).clone()),
            Answer::Content(fetched) => Ok(self.keep(fetched).digest.clone()),
        }
    }

    /// The content, fetched now if it was not before.
    pub fn get(&self) -> Result<&Download, Error> {
        if let Some(fetched) = self.fetched.get() {
            return Ok(fetched);
        }
        let expected = self.checksum.as_ref().or_else(|| self.unchanged.get());
        let fetched = fetch(self.url, expected, self.access, self.folder).map_err(|error| match error {
            Error::Checksum { url, .. } if self.checksum.is_none() => Error::Changed { url },
            other => other,
        })?;
        Ok(self.keep(fetched))
    }

    fn keep(&self, fetched: Download) -> &Download {
        if let (Some(tag), None) = (&fetched.tag, &self.checksum) {
            self.validator().keep(&fetched.digest, tag);
        }
        self.fetched.get_or_init(|| fetched)
    }

    fn validator(&self) -> Validator {
        Validator::of(self.folder, self.url, self.access.http(host(self.url)).as_deref())
    }
}

/// Fetches `url` into an unnamed file in `folder`.
pub fn fetch(url: &str, expected: Option<&Digest>, access: &Access, folder: &Path) -> Result<Download, Error> {
    match ask(url, expected, access, folder, None)? {
        Answer::Content(download) => Ok(download),
        Answer::Unchanged => {
            let source = io::Error::other("the server answered 304 to a request without a condition");
            Err(Error::Transfer { url: shown(url), source })
        }
    }
}

/// Asks for `url`, for the content only if that has another tag.
fn ask(
    url: &str,
    expected: Option<&Digest>,
    access: &Access,
    folder: &Path,
    tag: Option<&str>,
) -> Result<Answer, Error> {
    let shown = shown(url);
    // A process chooses its provider of cryptography once; if it was chosen before, that one is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let tls = ureq::tls::TlsConfig::builder().root_certs(ureq::tls::RootCerts::PlatformVerifier).build();
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .tls_config(tls)
        .timeout_connect(Some(Duration::from_secs(30)))
        .timeout_recv_response(Some(Duration::from_secs(60)))
        .user_agent(concat!("build-tool/", env!("CARGO_PKG_VERSION")))
        // Credentials do not follow a redirection to another host.
        .redirect_auth_headers(RedirectAuthHeaders::SameHost)
        .build()
        .into();
    let mut request = agent.get(url);
    if let Some(value) = access.http(host(url)) {
        request = request.header("Authorization", value);
    }
    if let Some(tag) = tag {
        request = request.header("If-None-Match", tag);
    }
    let response = request.call().map_err(|error| Error::Http { url: shown.clone(), source: Box::new(error) })?;
    if response.status() == 304 {
        return Ok(Answer::Unchanged);
    }
    let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
    let (modified, tag) = (header("last-modified").and_then(seconds), header("etag").map(str::to_owned));
    let transfer = |source| Error::Transfer { url: shown.clone(), source };
    let mut file = tempfile::tempfile_in(folder).map_err(transfer)?;
    let mut hasher = expected.map_or_else(|| Ok(Hasher::sha256()), Hasher::of).map_err(Error::BadChecksum)?;
    let mut body = response.into_body().into_reader();
    let mut buffer = vec![0; 1 << 16];
    loop {
        if access.transfers.is_ended() {
            return Err(transfer(io::Error::other("interrupted")));
        }
        match body.read(&mut buffer).map_err(transfer)? {
            0 => break,
            count => {
                hasher.update(&buffer[..count]);
                file.write_all(&buffer[..count]).map_err(transfer)?;
            }
        }
    }
    let digest = hasher.finish();
    if let Some(expected) = expected.filter(|expected| **expected != digest) {
        return Err(Error::Checksum { url: shown, expected: expected.clone(), actual: digest });
    }
    Ok(Answer::Content(Download { file, digest, modified, tag }))
}

/// The last component of the URL's path, decoded; empty if it has none.
fn name(url: &str) -> String {
    let (_, path) = split(url);
    let path = percent_decode_str(path.split(['?', '#']).next().unwrap_or_default()).decode_utf8_lossy();
    match path.trim_end_matches('/').rsplit('/').next().unwrap_or_default() {
        "." | ".." => String::new(),
        name => name.to_owned(),
    }
}

/// The authority of a URL, and what follows it.
fn split(url: &str) -> (&str, &str) {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()))
}

/// The host of a URL, without user and port.
fn host(url: &str) -> &str {
    let host = split(url).0.rsplit('@').next().unwrap_or_default();
    match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => host.split(':').next().unwrap_or_default(),
    }
}

/// The URL without user and password, as errors show it.
pub fn shown(url: &str) -> String {
    match url.split_once("://") {
        Some((scheme, _)) => {
            let (authority, rest) = split(url);
            format!("{scheme}://{}{rest}", authority.rsplit('@').next().unwrap_or_default())
        }
        None => url.to_owned(),
    }
}

/// Parses an HTTP date in one of its three forms (RFC 9110, section 5.6.7), to seconds since 1970.
fn seconds(text: &str) -> Option<i64> {
    if let Ok(time) = jiff::fmt::rfc2822::parse(text) {
        return Some(time.timestamp().as_second());
    }
    // Some servers write the zone's other name.
    let old = ["%A, %d-%b-%y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S UTC", "%a %b %e %H:%M:%S %Y"];
    let time = old.iter().find_map(|form| jiff::civil::DateTime::strptime(form, text).ok())?;
    Some(time.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_second())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_files_and_hide_passwords() {
        for (url, expected) in [
            ("http://h/a/b.tar?x=/y", "b.tar"),
            ("http://h", ""),
            ("http://h/", ""),
            ("https://h/a", "a"),
            ("https://h/a/", "a"),
            ("https://h/a%20b?c", "a b"),
            ("https://h/a%2F..%2f..", ""),
            ("https://h?x=/y", ""),
        ] {
            assert_eq!(name(url), expected, "{url}");
        }
        assert_eq!(shown("http://me:secret@h/x@y"), "http://h/x@y");
        assert_eq!(
            (host("http://me:secret@h:8/x@y"), host("http://[::1]:8/x"), host("http://h?@x")),
            ("h", "::1", "h")
        );
        assert!(is_url("HTTPS://h/x") && !is_url("http") && !is_url("http://") && !is_url("a/b"));
        assert!(!is_url("test-äöü.txt") && !is_url("http:/ä"), "a character may go across the length of a scheme");
        for date in [
            "Thu, 01 Jan 1970 00:00:10 GMT",
            "Thursday, 01-Jan-70 00:00:10 GMT",
            "Thursday, 01-Jan-70 00:00:10 UTC",
            "Thu Jan  1 00:00:10 1970",
        ] {
            assert_eq!(seconds(date), Some(10), "{date}");
        }
        assert_eq!(seconds("yesterday"), None);
    }
}
