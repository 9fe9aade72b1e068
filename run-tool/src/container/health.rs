//! The results of a container's health checks, a file in its folder.

use std::fs;
use std::path::Path;

use serde::Deserialize;

/// The file in a container's folder with the results of its checks, as docker's `State.Health` object.
pub(crate) const FILE: &str = "health.json";

/// Forgets the results of an earlier start.
pub(crate) fn forget(folder: &Path) {
    // Mostly there are none.
    let _ = fs::remove_file(folder.join(FILE));
}

/// `starting`, `healthy` or `unhealthy`.
pub(crate) fn status(folder: &Path) -> String {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Results {
        status: String,
    }
    let text = fs::read(folder.join(FILE)).unwrap_or_default();
    serde_json::from_slice(&text).map_or_else(|_| "starting".to_owned(), |results: Results| results.status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_is_starting_until_its_first_result() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(status(folder.path()), "starting");
        fs::write(folder.path().join(FILE), r#"{"Status":"unhealthy","FailingStreak":3,"Log":[]}"#).unwrap();
        assert_eq!(status(folder.path()), "unhealthy");
        forget(folder.path());
        forget(folder.path());
        assert_eq!(status(folder.path()), "starting");
    }
}
