//! Who may do what: users with passwords, and perhaps everybody for pulling.
//!
//! Passwords are in a file of Apache's `htpasswd -B`. Where everybody may pull, clients are sent to fetch a token first, because none
//! of them offers a password to a registry that does not ask for one, and docker pulls nothing from one that does.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::header::{AUTHORIZATION, HOST, HeaderName, HeaderValue, WWW_AUTHENTICATE};
use hyper::{HeaderMap, StatusCode};
use image_tool::address::digest;
use oci_distribution::errors::OciErrorCode;
use thiserror::Error;
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::failure::{Failure, blocking};

/// How long a token is good for, and how long a password need not be checked again.
pub(super) const TOKEN: Duration = Duration::from_secs(300);

/// How many passwords that were right are remembered, and how many tokens.
const REMEMBERED: usize = 4096;

/// The token of those who have no password.
pub(super) const ANYBODY: &str = "anybody";

/// Why a file with passwords cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AccessError {
    /// It cannot be read.
    #[error("{}", .path.display())]
    Read {
        /// The path.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A line is none of `htpasswd -B`.
    #[error("{}: line {line} is not USER:HASH with a hash of bcrypt (htpasswd -B makes them)", .path.display())]
    Line {
        /// The path.
        path: PathBuf,
        /// The number of the line.
        line: usize,
    },
}

/// The users of a registry.
pub struct Access {
    path: PathBuf,
    users: Mutex<(Option<SystemTime>, HashMap<String, String>)>,
    /// Whether pulling needs no password.
    pub(super) is_open: bool,
    /// Passwords that were right, hashed with a secret, and since when.
    proved: Mutex<HashMap<String, Instant>>,
    tokens: Mutex<HashMap<String, (String, Instant)>>,
    secret: String,
    /// bcrypt is slow on purpose: strangers must not keep every core busy with it.
    checks: Semaphore,
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Caller {
    Nobody,
    User(String),
}

impl Caller {
    /// The name of a user.
    pub(super) fn name(&self) -> Option<&str> {
        match self {
            Self::Nobody => None,
            Self::User(name) => Some(name),
        }
    }
}

impl Access {
    /// The users of a file. It is read again whenever it has changed.
    ///
    /// # Errors
    /// [`AccessError`].
    pub fn read(path: &Path, is_open: bool) -> Result<Self, AccessError> {
        let users = read(path)?;
        Ok(Self {
            path: path.into(),
            users: Mutex::new((changed(path), users)),
            is_open,
            proved: Mutex::default(),
            tokens: Mutex::default(),
            secret: Uuid::new_v4().to_string(),
            checks: Semaphore::new(2),
        })
    }

    /// Who sends a request.
    ///
    /// # Errors
    /// `UNAUTHORIZED` for a wrong password or token.
    pub(super) async fn caller(&self, headers: &HeaderMap) -> Result<Caller, Failure> {
        let Some(header) = headers.get(AUTHORIZATION) else { return Ok(Caller::Nobody) };
        let refused = || unauthorized("user name, password or token is wrong");
        let (scheme, secret) = header.to_str().ok().and_then(|text| text.split_once(' ')).ok_or_else(refused)?;
        let secret = secret.trim();
        if scheme.eq_ignore_ascii_case("bearer") {
            return self.token_holder(secret).ok_or_else(refused);
        }
        let pair = STANDARD.decode(secret).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let pair = pair.filter(|_| scheme.eq_ignore_ascii_case("basic")).ok_or_else(refused)?;
        let (user, password) = pair.split_once(':').ok_or_else(refused)?;
        if self.is_right(user, password).await? { Ok(Caller::User(user.to_owned())) } else { Err(refused()) }
    }

    fn token_holder(&self, token: &str) -> Option<Caller> {
        if self.is_open && token == ANYBODY {
            return Some(Caller::Nobody);
        }
        let tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.get(token).filter(|(_, until)| *until > Instant::now()).map(|(user, _)| Caller::User(user.clone()))
    }

    /// A token for who asks.
    pub(super) fn token(&self, caller: &Caller) -> String {
        let Caller::User(user) = caller else { return ANYBODY.to_owned() };
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if tokens.len() >= REMEMBERED {
            tokens.retain(|_, (_, until)| *until > now);
        }
        let token = Uuid::new_v4().to_string();
        // Clients count from when they asked, and are given a minute more than they are told.
        tokens.insert(token.clone(), (user.clone(), now + TOKEN + Duration::from_secs(60)));
        token
    }

    async fn is_right(&self, user: &str, password: &str) -> Result<bool, Failure> {
        let hash = self.hash_of(user);
        // Of a user who is not there, as much is calculated as of one who is.
        let known = hash.clone().unwrap_or_else(|| NOBODY.to_owned());
        let mark = digest::sha256(format!("{}\0{user}\0{password}\0{known}", self.secret).as_bytes()).to_string();
        let is_fresh = |since: &Instant| since.elapsed() < TOKEN;
        if self.proved.lock().unwrap_or_else(PoisonError::into_inner).get(&mark).is_some_and(is_fresh) {
            return Ok(true);
        }
        let _turn = self.checks.acquire().await.map_err(|error| Failure::internal(&error))?;
        let password = password.to_owned();
        let is_right = blocking(move || Ok(bcrypt::verify(password, &known).unwrap_or(false))).await?;
        let is_right = is_right && hash.is_some();
        if is_right {
            let mut proved = self.proved.lock().unwrap_or_else(PoisonError::into_inner);
            if proved.len() >= REMEMBERED {
                proved.clear();
            }
            proved.insert(mark, Instant::now());
        }
        Ok(is_right)
    }

    fn hash_of(&self, user: &str) -> Option<String> {
        let mut held = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        let now = changed(&self.path);
        if now != held.0 {
            match read(&self.path) {
                Ok(users) => *held = (now, users),
                // A file that is being written may be half there; what was known holds until it is whole.
                Err(error) => tracing::warn!("{error}"),
            }
        }
        held.1.get(user).cloned()
    }

    /// Says how to become somebody, to who was refused.
    pub(super) fn challenge(&self, failure: Failure, headers: &HeaderMap, is_encrypted: bool) -> Failure {
        let host = headers.get(HOST).and_then(|host| host.to_str().ok()).filter(|host| !host.contains('"'));
        let forwarded = headers.get(HeaderName::from_static("x-forwarded-proto")).and_then(|text| text.to_str().ok());
        let scheme = if is_encrypted || forwarded == Some("https") { "https" } else { "http" };
        let text = match host.filter(|_| self.is_open) {
            Some(host) => format!("Bearer realm=\"{scheme}://{host}/token\",service=\"{host}\""),
            None => "Basic realm=\"registry\"".to_owned(),
        };
        match HeaderValue::from_str(&text) {
            Ok(value) => failure.with(WWW_AUTHENTICATE, value),
            Err(_) => failure,
        }
    }
}

pub(super) fn unauthorized(message: &str) -> Failure {
    Failure::new(StatusCode::UNAUTHORIZED, OciErrorCode::Unauthorized, message)
}

/// A hash of no password.
const NOBODY: &str = "$2y$05$ROW86Cho49InJZ7N2aIMOuHLzoFeojgS70qojnJ30FhXzwoJI4OTC";

fn changed(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok()
}

fn read(path: &Path) -> Result<HashMap<String, String>, AccessError> {
    let text = std::fs::read_to_string(path).map_err(|source| AccessError::Read { path: path.into(), source })?;
    let mut users = HashMap::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let pair = line.split_once(':').filter(|(user, hash)| !user.is_empty() && is_bcrypt(hash));
        let (user, hash) = pair.ok_or_else(|| AccessError::Line { path: path.into(), line: number + 1 })?;
        users.insert(user.to_owned(), hash.to_owned());
    }
    Ok(users)
}

fn is_bcrypt(hash: &str) -> bool {
    hash.len() == 60 && ["$2a$", "$2b$", "$2y$"].iter().any(|kind| hash.starts_with(kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "xag:$2a$05$ROW86Cho49InJZ7N2aIMOuHLzoFeojgS70qojnJ30FhXzwoJI4OTC\n";

    fn access(text: &str, is_open: bool) -> (tempfile::TempDir, Result<Access, AccessError>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("htpasswd");
        std::fs::write(&path, text).unwrap();
        let access = Access::read(&path, is_open);
        (folder, access)
    }

    fn with(text: &str) -> HeaderMap {
        HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_str(text).unwrap())])
    }

    #[test]
    fn only_bcrypt_counts_as_a_hash() {
        assert!(access(&format!("# users\n\n{LINE}"), false).1.is_ok());
        for text in ["xag:secret", "xag", ":x", "xag:$apr1$x$y", "xag:{SHA}x"] {
            let (_folder, access) = access(&format!("{LINE}{text}\n"), false);
            assert!(matches!(access, Err(AccessError::Line { line: 2, .. })), "{text}");
        }
    }

    #[test]
    fn a_user_is_who_has_the_password_or_a_token() {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(users());
    }

    async fn users() {
        let (folder, access) = access(LINE, true);
        let access = access.unwrap();
        let basic = |pair: &str| with(&format!("Basic {}", STANDARD.encode(pair)));
        let xag = Caller::User("xag".into());
        for _ in 0..2 {
            assert_eq!(access.caller(&basic("xag:s3cret")).await.unwrap(), xag);
        }
        assert_eq!(access.caller(&HeaderMap::new()).await.unwrap(), Caller::Nobody);
        assert_eq!(access.caller(&with("Bearer anybody")).await.unwrap(), Caller::Nobody);
        assert_eq!(access.caller(&with(&format!("Bearer {}", access.token(&xag)))).await.unwrap(), xag);
        for pair in ["xag:other", "xag:", "other:s3cret", "xag"] {
            assert!(access.caller(&basic(pair)).await.is_err(), "{pair}");
        }
        for text in ["Basic ?", "Bearer x", "Digest x", "Basic"] {
            assert!(access.caller(&with(text)).await.is_err(), "{text}");
        }
        // Whoever is taken out of the file is out.
        std::fs::remove_file(folder.path().join("htpasswd")).unwrap();
        std::fs::write(folder.path().join("htpasswd"), "").unwrap();
        access.users.lock().unwrap().0 = None;
        assert!(access.caller(&basic("xag:s3cret")).await.is_err());
    }
}
