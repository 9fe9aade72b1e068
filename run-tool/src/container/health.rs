//! The results of a container's health checks, a file in its folder.

use std::fs;
use std::path::Path;

use serde_json::Value;

/// The file in a container's folder with the results of its checks, as docker's `State.Health` object.
pub(crate) const FILE: &str = "health.json";

/// Forgets the results of an earlier start.
pub(crate) fn forget(folder: &Path) {
    // Mostly there are none.
    let _ = fs::remove_file(folder.join(FILE));
}

/// The results, as docker's `State.Health` object; absent before the first.
pub(crate) fn results(folder: &Path) -> Option<Value> {
    serde_json::from_slice(&fs::read(folder.join(FILE)).ok()?).ok()
}

/// `starting`, `healthy` or `unhealthy`, from the results.
pub(crate) fn status(results: Option<&Value>) -> String {
    results.and_then(|results| results.get("Status")?.as_str()).unwrap_or("starting").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_is_starting_until_its_first_result() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(status(results(folder.path()).as_ref()), "starting");
        fs::write(folder.path().join(FILE), r#"{"Status":"unhealthy","FailingStreak":3,"Log":[]}"#).unwrap();
        assert_eq!(status(results(folder.path()).as_ref()), "unhealthy");
        forget(folder.path());
        forget(folder.path());
        assert_eq!(status(results(folder.path()).as_ref()), "starting");
    }
}
