//! Paths in a container, as docker cleans them: as text, without looking at links.

use std::path::{Component, Path, PathBuf};

/// The absolute form of `path` without `.`, `..` and empty parts. `..` at the root stays there; a relative path is beneath the root.
pub fn clean(path: impl AsRef<Path>) -> PathBuf {
    let mut clean = PathBuf::from("/");
    for part in path.as_ref().components() {
        match part {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => {
                clean.pop();
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_never_leaves_the_root() {
        for (path, expected) in [("", "/"), ("/", "/"), ("/a//b/./c/", "/a/b/c"), ("/a/../../b", "/b"), ("a", "/a")] {
            assert_eq!(clean(path), Path::new(expected), "{path}");
        }
    }
}
