//! What servers called a content when it was downloaded: `ETag`, by which they say that it is the same still (RFC 9110, section 8.8.3).
//!
//! `builds/urls` holds a file for each URL, with the digest of the content and its tag. Whoever has other credentials has another file.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use image_tool::address::digest::{self, Digest, Hasher};

/// A tag that is longer is not kept.
const LIMIT: usize = 1024;

/// The place where the tag of a URL is kept.
#[derive(Debug)]
pub(super) struct Validator {
    path: PathBuf,
}

impl Validator {
    /// The place for a URL that is asked for with these credentials.
    pub(super) fn of(builds: &Path, url: &str, credentials: Option<&str>) -> Self {
        let mut hasher = Hasher::sha256();
        for part in [url, credentials.unwrap_or_default()] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        Self { path: builds.join("urls").join(hasher.finish().digest()) }
    }

    /// The digest of the content, and its tag, if both are known.
    pub(super) fn known(&self) -> Option<(Digest, String)> {
        let text = fs::read_to_string(&self.path).ok()?;
        let (digest, tag) = text.strip_suffix('\n')?.split_once(' ')?;
        Some((digest::parse(digest).ok()?, checked(tag)?.to_owned()))
    }

    /// Keeps both. That is for the next build only, so that it fails does no harm.
    pub(super) fn keep(&self, digest: &Digest, tag: &str) {
        let Some(tag) = checked(tag) else { return };
        let folder = self.path.parent().expect("it is in a folder");
        let keep = || {
            fs::create_dir_all(folder)?;
            let mut file = tempfile::NamedTempFile::new_in(folder)?;
            writeln!(file, "{digest} {tag}")?;
            file.persist(&self.path).map_err(|error| error.error)
        };
        // Without it, the content is downloaded again.
        let _ = keep();
    }
}

/// A tag that can be sent back: printable ASCII, not too long.
fn checked(tag: &str) -> Option<&str> {
    let fine = !tag.is_empty() && tag.len() <= LIMIT && tag.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    fine.then_some(tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_for_its_url_and_its_credentials() {
        let folder = tempfile::tempdir().unwrap();
        let digest = digest::sha256(b"x");
        let validator = |url: &str, credentials| Validator::of(folder.path(), url, credentials);
        assert_eq!(validator("http://h/x", None).known(), None);
        validator("http://h/x", None).keep(&digest, "W/\"a b\"");
        assert_eq!(validator("http://h/x", None).known(), Some((digest.clone(), "W/\"a b\"".to_owned())));
        assert_eq!(validator("http://h/x", Some("Bearer t")).known(), None);
        assert_eq!(validator("http://h/y", None).known(), None);
        for wrong in ["", "a\r\nX: y", "ä"] {
            validator("http://h/y", None).keep(&digest, wrong);
            assert_eq!(validator("http://h/y", None).known(), None, "{wrong:?}");
        }
        fs::write(
            folder
                .path()
                .join("urls")
                .join(fs::read_dir(folder.path().join("urls")).unwrap().next().unwrap().unwrap().file_name()),
            "x",
        )
        .unwrap();
        assert_eq!(validator("http://h/x", None).known(), None, "it is damaged");
    }
}
