//! File operations beneath a directory descriptor, for untrusted trees.
//!
//! Paths are resolved by the kernel (`openat2` with `RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS`, since Linux 5.6): the
//! root directory is `/` for every link on the way, and `..` stops at it. So nobody can swap a component between a
//! check and its use, as with joined strings. Operations that change something never follow the last component. Links
//! to directories are followed inside the root, because images need it (`/lib` → `usr/lib`).
//!
//! What large files are read into is here too (`page`). The room knows only `error`. It knows nothing of layers, whiteouts or ID maps.

mod change;
mod error;
mod name;
pub mod page;
mod path;
mod remove;
mod root;
mod time;
mod unfinished;

pub use self::error::{Error, Result};
pub(crate) use self::name::{create, names, set_xattr, xattrs};
pub(crate) use self::path::self_fd;
pub use self::path::{clean, open_in_root};
pub(crate) use self::remove::remove;
pub use self::root::Root;
pub use self::time::Time;
pub use self::unfinished::Unfinished;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
    use std::path::Path;

    use rustix::fs::{FileType, Mode};

    use super::*;

    fn root() -> (tempfile::TempDir, Root) {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::open(folder.path()).unwrap();
        (folder, root)
    }

    #[test]
    fn a_path_is_cleaned_or_refused() {
        for (path, expected) in [("/a//b/./c/", "a/b/c"), ("./", ""), ("/", ""), ("a", "a"), ("...", "...")] {
            assert_eq!(clean(Path::new(path)).unwrap(), Path::new(expected), "{path}");
        }
        for path in ["..", "a/..", "/../a", "a/../../b"] {
            assert!(matches!(clean(Path::new(path)), Err(Error::DotDot { .. })), "{path}");
        }
    }

    #[test]
    fn links_end_inside_the_root_wherever_they_point() {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("secret"), "host").unwrap();
        for target in [outside.path().to_path_buf(), "../../../../../../..".into(), "/proc/self/root".into()] {
            let (folder, root) = root();
            symlink(&target, folder.path().join("link")).unwrap();
            let made = root.create_directories("link/x", 0o755);
            if made.is_ok() {
                root.write("link/x/secret", b"image", 0o644).unwrap();
                assert_eq!(root.read("link/x/secret", 10).unwrap(), b"image", "{target:?}");
            }
            assert_eq!(fs::read(outside.path().join("secret")).unwrap(), b"host");
            assert!(!outside.path().join("x").exists(), "{target:?}");
        }
    }

    #[test]
    fn links_of_a_stranger_are_resolved_as_the_table_says() {
        let rows = include_str!("beneath/hostile.tsv").lines().filter(|line| !line.starts_with('#'));
        for row in rows {
            let (folder, root) = root();
            let outside = tempfile::tempdir().unwrap();
            let place = |text: &str| text.replace('@', outside.path().to_str().unwrap());
            let [links, path, made] = row.split('\t').collect::<Vec<_>>().try_into().unwrap();
            for link in links.split(' ') {
                let (name, target) = link.split_once('=').unwrap();
                fs::create_dir_all(folder.path().join(name).parent().unwrap()).unwrap();
                symlink(place(target), folder.path().join(name)).unwrap();
            }
            let result = root.create_directories(path, 0o755);
            if made == "-" {
                assert!(result.is_err(), "{row}");
            } else {
                assert!(result.is_ok(), "{row}: {result:?}");
                let inside = folder.path().join(place(made).trim_start_matches('/'));
                assert!(inside.symlink_metadata().is_ok_and(|metadata| metadata.is_dir()), "{row}");
            }
            assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0, "{row}");
            assert!(!Path::new("/etc/made").exists() && !Path::new("/made").exists(), "{row}");
        }
    }

    #[test]
    fn a_dangling_link_gets_the_directory_it_wants() {
        let (folder, root) = root();
        symlink("/run", folder.path().join("b")).unwrap();
        fs::create_dir(folder.path().join("var")).unwrap();
        symlink("../run", folder.path().join("var/run")).unwrap();
        root.create_directories("var/run/lock", 0o755).unwrap();
        assert!(folder.path().join("run/lock").is_dir());
        symlink("loop2", folder.path().join("loop1")).unwrap();
        symlink("loop1", folder.path().join("loop2")).unwrap();
        assert!(root.create_directories("loop1/x", 0o755).is_err());
    }

    #[test]
    fn what_changes_a_name_does_not_follow_it() {
        let (folder, root) = root();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("file"), "old").unwrap();
        fs::set_permissions(at("file"), fs::Permissions::from_mode(0o600)).unwrap();
        symlink("file", at("link")).unwrap();
        root.set_modified("link", Time { seconds: 5, nanoseconds: 7 }).unwrap();
        assert_eq!(
            (at("link").symlink_metadata().unwrap().mtime(), at("link").symlink_metadata().unwrap().mtime_nsec()),
            (5, 7)
        );
        assert_ne!(at("file").metadata().unwrap().mtime(), 5);
        root.write("link", b"new", 0o644).unwrap();
        assert_eq!(fs::read(at("file")).unwrap(), b"old");
        assert!(at("link").symlink_metadata().unwrap().is_file());
        root.set_mode("link", 0o4755).unwrap();
        assert_eq!(root.lstat("link").unwrap().unwrap().st_mode & 0o7777, 0o4755);
        symlink("file", at("again")).unwrap();
        root.remove("again").unwrap();
        assert!(at("file").exists());
        root.remove("not/there").unwrap();
        root.hard_link("file", "other").unwrap();
        assert_eq!(at("file").metadata().unwrap().nlink(), 2);
    }

    #[test]
    fn a_fifo_is_refused_instead_of_waited_for() {
        let (_folder, root) = root();
        rustix::fs::mknodat(&root, "fifo", FileType::Fifo, Mode::RWXU, 0).unwrap();
        assert!(matches!(root.read("fifo", 10), Err(Error::NotRegular { .. })));
        root.write("file", b"0123456789", 0o644).unwrap();
        assert!(root.read("file", 10).is_ok());
        assert!(matches!(root.read("file", 9), Err(Error::TooLarge { .. })));
    }
}
