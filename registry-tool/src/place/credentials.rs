//! Who we are at a registry: docker's config.json, podman's auth.json and credential helpers.
//!
//! Both files have one format, and each key of `auths` is a host or, as podman has it, a host with the beginning of a
//! repository; the longest key that fits wins. A helper (`credHelpers` for one host, `credsStore` for all) is asked
//! before the file's own entries, as docker does ([`helper`]). The room knows nothing beyond its own files.
//!
//! Files, in the order they are asked: `$REGISTRY_AUTH_FILE` alone if it is set; else docker's config.json
//! (`$DOCKER_CONFIG`, ~/.docker), then podman's auth.json (`$XDG_RUNTIME_DIR/containers`, /run/containers/UID,
//! `$XDG_CONFIG_HOME/containers`). docker's comes first, and not last as with podman, because it is where
//! `registry-tool login` writes: a login must not lose against an older one of another program.
//!
//! No type here shows a secret in its `Debug`, and no error carries a file's text.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use image_tool::error::{During as _, Io};
use serde_json::{Map, Value, json};
use thiserror::Error;
use tracing::info;

use super::configuration::{self, variable};

mod entry;
pub mod helper;

pub use entry::{Credentials, credential_host};
use entry::{decode, encode, helper_for, host_of, key_has_repository, longest_entry, server_key};

/// Why credentials cannot be read or stored.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CredentialError {
    /// A file is there but cannot be read, or cannot be written.
    #[error(transparent)]
    Io(#[from] Io),
    /// The file is not what docker and podman write.
    #[error("{}: {reason}", path.display())]
    Format {
        /// The path of the file.
        path: PathBuf,
        /// What is wrong with it; never a value from the file.
        reason: String,
    },
    /// A credential helper failed.
    #[error(transparent)]
    Helper(#[from] helper::HelperError),
    /// There is no login to remove.
    #[error("not logged in to {0}")]
    NotLoggedIn(String),
}

/// The files that hold credentials.
#[derive(Clone, Debug)]
pub struct CredentialStore {
    /// The file that `login` writes, which is also read first.
    primary: PathBuf,
    others: Vec<PathBuf>,
    /// What counts for one registry, whatever the files say.
    given: Option<(String, Credentials)>,
}

impl CredentialStore {
    /// The files of this user and environment.
    #[must_use]
    pub fn from_environment() -> Self {
        if let Some(file) = variable("REGISTRY_AUTH_FILE") {
            return Self::new(file, Vec::new());
        }
        let home = variable("HOME").unwrap_or_else(|| "/".into());
        let docker = variable("DOCKER_CONFIG").unwrap_or_else(|| home.join(".docker"));
        let runtime = variable("XDG_RUNTIME_DIR").map(|folder| folder.join("containers"));
        let by_uid = PathBuf::from(format!("/run/containers/{}", rustix::process::geteuid().as_raw()));
        let config = variable("XDG_CONFIG_HOME").unwrap_or_else(|| home.join(".config")).join("containers");
        let podman = runtime.into_iter().chain([by_uid, config]).map(|folder| folder.join("auth.json"));
        Self::new(docker.join("config.json"), podman.collect())
    }

    /// A store of these files: `primary` is read first and written, `others` are read after it.
    #[must_use]
    pub fn new(primary: PathBuf, others: Vec<PathBuf>) -> Self {
        Self { primary, others, given: None }
    }

    /// The same files, but for one registry these credentials, which are stored nowhere.
    #[must_use]
    pub fn with(self, registry: &str, credentials: Credentials) -> Self {
        Self { given: Some((registry.to_owned(), credentials)), ..self }
    }

    /// The file that `login` writes.
    #[must_use]
    pub fn primary(&self) -> &Path {
        &self.primary
    }

    /// The login for a repository at a registry, if one is stored.
    ///
    /// # Errors
    /// A file that is there must be readable and well-formed; a helper that is configured must work.
    pub fn find(&self, registry: &str, repository: &str) -> Result<Option<Credentials>, CredentialError> {
        if let Some((_, credentials)) = self.given.as_ref().filter(|(host, _)| host == registry) {
            return Ok(Some(credentials.clone()));
        }
        for path in std::iter::once(&self.primary).chain(&self.others) {
            let document = match read(path) {
                Ok(Some(document)) => document,
                Ok(None) => continue,
                // Another user's $HOME or $XDG_RUNTIME_DIR counts as none here; a login would report it.
                Err(CredentialError::Io(error)) if error.kind() == ErrorKind::PermissionDenied => {
                    info!(path = %path.display(), "not readable, so no credentials from there");
                    continue;
                }
                Err(error) => return Err(error),
            };
            if let Some(name) = helper_for(&document, registry) {
                let found = helper::get(name, &server_key(registry))?;
                if found.is_some() {
                    return Ok(found);
                }
            }
            if let Some(entry) = longest_entry(&document, registry, repository)
                && let Some(found) = decode(entry).map_err(|reason| CredentialError::Format {
                    path: path.clone(),
                    reason: format!("entry for {registry}: {reason}"),
                })?
            {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Stores credentials: in the helper that is configured for the registry, else in the primary file, which only its owner
    /// can read and which is replaced in one step. Everything else in the file stays.
    ///
    /// # Errors
    /// [`CredentialError::Io`], [`CredentialError::Helper`].
    pub fn store(&self, registry: &str, credentials: &Credentials) -> Result<Kept, CredentialError> {
        let mut document = read(&self.primary)?.unwrap_or_default();
        let key = server_key(registry);
        let helper = helper_for(&document, registry).map(str::to_owned);
        let entry = match &helper {
            Some(name) => {
                helper::store(name, &key, credentials)?;
                // docker leaves an empty entry to show that there is a login.
                json!({})
            }
            None => encode(credentials),
        };
        let auths = document.entry("auths").or_insert_with(|| json!({}));
        let auths = auths.as_object_mut().ok_or_else(|| self.malformed("auths is not an object"))?;
        auths.insert(key, entry);
        self.write(&document)?;
        Ok(helper.map_or_else(|| Kept::File(self.primary.clone()), Kept::Helper))
    }

    /// Removes the credentials of a registry from the primary file and from its helper.
    ///
    /// # Errors
    /// [`CredentialError::NotLoggedIn`] if there were none.
    pub fn erase(&self, registry: &str) -> Result<(), CredentialError> {
        let mut document = read(&self.primary)?.unwrap_or_default();
        let mut found = false;
        if let Some(name) = helper_for(&document, registry).map(str::to_owned) {
            found = helper::get(&name, &server_key(registry))?.is_some();
            helper::erase(&name, &server_key(registry))?;
        }
        if let Some(auths) = document.get_mut("auths").and_then(Value::as_object_mut) {
            let before = auths.len();
            auths.retain(|key, _| host_of(key) != registry || key_has_repository(key));
            found |= auths.len() != before;
        }
        if !found {
            return Err(CredentialError::NotLoggedIn(registry.to_owned()));
        }
        self.write(&document)
    }

    fn malformed(&self, reason: &str) -> CredentialError {
        CredentialError::Format { path: self.primary.clone(), reason: reason.to_owned() }
    }

    fn write(&self, document: &Map<String, Value>) -> Result<(), CredentialError> {
        use std::io::Write as _;
        // A config.json kept elsewhere behind a symbolic link stays a link.
        let target = std::fs::canonicalize(&self.primary).unwrap_or_else(|_| self.primary.clone());
        let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        use std::os::unix::fs::DirBuilderExt as _;
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).during("create", folder)?;
        let mut text = serde_json::to_vec_pretty(document).expect("a JSON object can be written");
        text.push(b'\n');
        // tempfile creates with mode 0600, so the secret is never readable by others, not even for an instant.
        let mut file = tempfile::NamedTempFile::new_in(folder).during("write", &target)?;
        file.write_all(&text).and_then(|()| file.as_file().sync_all()).during("write", &target)?;
        file.persist(&target).during("write", &target)?;
        Ok(())
    }
}

/// Where credentials were stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// In the file of this path.
    File(PathBuf),
    /// By the helper of this name.
    Helper(String),
}

fn read(path: &Path) -> Result<Option<Map<String, Value>>, CredentialError> {
    let Some(text) = configuration::read(path)? else { return Ok(None) };
    if text.trim_ascii().is_empty() {
        return Ok(None);
    }
    let malformed = |reason: String| CredentialError::Format { path: path.to_owned(), reason };
    match serde_json::from_slice(&text) {
        Ok(Value::Object(document)) => Ok(Some(document)),
        Ok(_) => Err(malformed("not a JSON object".into())),
        // The place in the file is enough, and unlike serde_json's message it can never quote a secret.
        Err(error) => Err(malformed(format!("not JSON (line {}, column {})", error.line(), error.column()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn store(text: &str) -> (tempfile::TempDir, CredentialStore) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        std::fs::write(&path, text).unwrap();
        (folder, CredentialStore::new(path, Vec::new()))
    }

    fn password(username: &str, password: &str) -> Credentials {
        Credentials::Password { username: username.into(), password: password.into() }
    }

    #[test]
    fn the_longest_key_wins_and_docker_hub_has_many_names() {
        let (_folder, store) = store(
            r#"{"auths": {
                "https://index.docker.io/v1/": {"auth": "aHViOnB3"},
                "quay.io": {"auth": "YWxsOnB3"},
                "quay.io/team": {"auth": "dGVhbTpwOnc="},
                "localhost:5000": {"identitytoken": "t"},
                "empty.example": {}
            }}"#,
        );
        for (registry, repository, expected) in [
            ("docker.io", "library/python", Some(password("hub", "pw"))),
            ("quay.io", "other/app", Some(password("all", "pw"))),
            ("quay.io", "team/app", Some(password("team", "p:w"))),
            ("quay.io", "teams/app", Some(password("all", "pw"))),
            ("localhost:5000", "a", Some(Credentials::IdentityToken("t".into()))),
            ("localhost", "a", None),
            ("empty.example", "a", None),
        ] {
            assert_eq!(store.find(registry, repository).unwrap(), expected, "{registry}/{repository}");
        }
    }

    #[test]
    fn a_login_is_for_the_owners_eyes_only_and_keeps_the_rest_of_the_file() {
        let (_folder, store) = store(r#"{"psFormat": "x", "auths": {"a.example": {"auth": "YTpi"}}}"#);
        std::fs::set_permissions(store.primary(), std::fs::Permissions::from_mode(0o644)).unwrap();
        store.store("docker.io", &password("me", "secret")).unwrap();
        assert_eq!(std::fs::metadata(store.primary()).unwrap().permissions().mode() & 0o777, 0o600);
        let document: Value = serde_json::from_slice(&std::fs::read(store.primary()).unwrap()).unwrap();
        assert_eq!(document["psFormat"], "x");
        assert_eq!(document["auths"]["https://index.docker.io/v1/"]["auth"], "bWU6c2VjcmV0");
        assert_eq!(store.find("docker.io", "a/b").unwrap(), Some(password("me", "secret")));
        store.erase("docker.io").unwrap();
        assert_eq!(store.find("docker.io", "a/b").unwrap(), None);
        assert!(store.find("a.example", "x").unwrap().is_some());
        assert!(matches!(store.erase("docker.io"), Err(CredentialError::NotLoggedIn(_))));
    }

    #[test]
    fn a_first_login_makes_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let store = CredentialStore::new(folder.path().join("a/b/config.json"), Vec::new());
        store.store("r.example", &password("u", "p")).unwrap();
        assert!(store.find("r.example", "x").unwrap().is_some());
    }

    #[test]
    fn no_secret_is_shown() {
        let text = format!("{:?} {:?}", password("u", "s3cret"), Credentials::IdentityToken("s3cret".into()));
        assert!(!text.contains("s3cret"), "{text}");
        let (_folder, store) = store(r#"{"auths": {"r.example": {"auth": "czNjcmV0!"}}}"#);
        let error = store.find("r.example", "x").unwrap_err().to_string();
        assert!(error.contains("not base64") && !error.contains("czNjcmV0"), "{error}");
    }

    #[test]
    fn a_broken_file_is_an_error_with_a_place() {
        let (_folder, store) = store("{\n\"auths\": ");
        let error = store.find("r.example", "x").unwrap_err().to_string();
        assert!(error.contains("not JSON (line 2"), "{error}");
    }

    #[test]
    fn later_files_are_asked_where_the_first_knows_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let (first, second) = (folder.path().join("config.json"), folder.path().join("auth.json"));
        std::fs::write(&first, r#"{"auths": {"a.example": {"auth": "YTpi"}}}"#).unwrap();
        std::fs::write(&second, r#"{"auths": {"a.example": {"auth": "eDp5"}, "b.example": {"auth": "eDp5"}}}"#)
            .unwrap();
        let store = CredentialStore::new(first, vec![folder.path().join("none.json"), second]);
        assert_eq!(store.find("a.example", "r").unwrap(), Some(password("a", "b")));
        assert_eq!(store.find("b.example", "r").unwrap(), Some(password("x", "y")));
        let given = store.with("b.example", password("me", "now"));
        assert_eq!(given.find("b.example", "r").unwrap(), Some(password("me", "now")));
        assert_eq!(given.find("a.example", "r").unwrap(), Some(password("a", "b")));
    }
}
