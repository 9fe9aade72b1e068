//! From an address to a commit, and from a commit to files.
//!
//! A commit is known before anything is fetched: `ls-remote` asks for it, or the address names it. So a step whose layer is
//! in the cache fetches nothing. Files come out as BuildKit makes them, with modes 644 and 755, and with the time of the
//! commit, so that they do not depend on the clock.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use image_tool::beneath::{Root, Time};
use image_tool::error::{During, Io};
use walkdir::WalkDir;

use super::address::{Address, is_commit};
use super::command::{Error, Git};
use crate::cache::folder::Folder;
use crate::source::access::Access;

/// A commit of a repository.
#[derive(Debug, Clone)]
pub struct Pin {
    /// The address.
    pub address: Address,
    /// The hash of the commit, or of a tag that leads to it.
    pub commit: String,
    /// The full name of the branch or tag that leads there, if there is one.
    reference: Option<String>,
}

/// The files of a commit, in a temporary folder.
#[derive(Debug)]
pub struct Checkout {
    folder: Folder,
    path: PathBuf,
    /// The time of the commit, in seconds since 1970.
    pub committed: i64,
}

impl Checkout {
    /// The folder of the files.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Gives up the temporary folder and the path in it.
    pub fn into_parts(self) -> (Folder, PathBuf) {
        (self.folder, self.path)
    }
}

/// Finds the commit that an address means; a temporary folder is made in `builds`.
pub fn resolve(address: &Address, access: &Access, builds: &Path) -> Result<Pin, Error> {
    let remote = || address.shown();
    let pin = |commit: &str, reference: Option<&str>| Pin {
        address: address.clone(),
        commit: commit.to_ascii_lowercase(),
        reference: reference.map(str::to_owned),
    };
    let checksum = address.checksum.as_deref().map(str::to_ascii_lowercase);
    let expected = |commits: &[&str]| match &checksum {
        Some(checksum) if !commits.iter().any(|commit| commit.starts_with(checksum.as_str())) => Err(Error::Checksum {
            remote: remote(),
            expected: checksum.clone(),
            actual: commits.iter().rfind(|commit| !commit.is_empty()).copied().unwrap_or_default().to_owned(),
        }),
        _ => Ok(()),
    };
    if is_commit(&address.reference) {
        expected(&[&address.reference.to_ascii_lowercase()])?;
        return Ok(pin(&address.reference, None));
    }
    if address.by_commit {
        let Some(commit) = checksum.as_deref().filter(|checksum| is_commit(checksum)) else {
            return Err(Error::NoCommit { remote: remote() });
        };
        return Ok(pin(commit, None));
    }
    let folder = Folder::new(builds)?;
    let git = Git::new(address, access, folder.path());
    let reference = if address.reference.is_empty() { "HEAD" } else { &address.reference };
    let peeled = format!("{reference}^{{}}");
    let list = git.run(&["ls-remote", "--quiet", "--", &address.remote, reference, &peeled])?;
    let lines: Vec<(&str, &str)> = list.lines().filter_map(|line| line.split_once('\t')).collect();
    let commit_of = |name: &str| lines.iter().find(|(_, found)| *found == name).map(|(commit, _)| *commit);
    let bare = |prefix: &str| format!("{prefix}{}", reference.strip_prefix(prefix).unwrap_or(reference));
    // As git-checkout does, branches come before tags of the same name.
    let names = [bare("refs/"), bare("refs/heads/"), bare("refs/tags/"), "HEAD".to_owned()];
    let names = if reference == "HEAD" { &names[3..] } else { &names[..3] };
    let Some((name, commit)) = names.iter().find_map(|name| Some((name, commit_of(name)?))) else {
        return Err(Error::NoReference { remote: remote(), reference: reference.to_owned() });
    };
    // The commit that an annotated tag stands for.
    let target = commit_of(&format!("{name}^{{}}")).unwrap_or(commit);
    if !is_commit(target) {
        return Err(Error::NoReference { remote: remote(), reference: reference.to_owned() });
    }
    expected(&[commit, target])?;
    Ok(pin(target, Some(name)))
}

impl Pin {
    /// Fetches the commit and checks it out in a temporary folder in `builds`, with `.git` if that is wanted.
    pub fn checkout(&self, keep_git_dir: bool, access: &Access, builds: &Path) -> Result<Checkout, Error> {
        let Self { address, commit, .. } = self;
        let folder = Folder::new(builds)?;
        let tree = folder.path().join("tree");
        fs::create_dir(&tree).during("create", &tree)?;
        let git = Git::new(address, access, &tree);
        let format = if commit.len() == 64 { "--object-format=sha256" } else { "--object-format=sha1" };
        git.run(&["init", "--quiet", "--template=", format])?;
        self.fetch(&git)?;
        let wanted = format!("{commit}^{{commit}}");
        let found = git.run(&["rev-parse", "--verify", "--quiet", "--end-of-options", &wanted])?;
        let found = found.trim();
        git.run(&["update-ref", "--no-deref", "HEAD", found])?;
        git.run(&["read-tree", "--reset", "-u", "HEAD"])?;
        let committed = git.run(&["log", "-1", "--format=%ct", "HEAD"])?.trim().parse().unwrap_or(0);
        if address.submodules && tree.join(".gitmodules").is_file() {
            let update = ["submodule", "--quiet", "update", "--init", "--recursive"];
            // A server of plain files cannot give a part of the history.
            let all = |_| git.run(&update);
            git.run(&[&update[..], &["--depth=1"]].concat()).or_else(all)?;
        }
        let keep_git_dir = keep_git_dir && address.folder.is_empty();
        if keep_git_dir {
            self.tidy(&git, &tree.join(".git"))?;
        }
        settle(&tree, keep_git_dir, (!address.checkout_time).then_some(committed))?;
        let path = tree.join(&address.folder);
        // The folder must be one of the repository: no link may lead to it.
        let inside = || -> image_tool::beneath::Result<bool> {
            let root = Root::open(&tree)?;
            let mut parts = Path::new(&address.folder).ancestors().filter(|path| !path.as_os_str().is_empty());
            Ok(parts.all(|path| root.lstat(path).ok().flatten().is_some_and(|stat| is_directory(&stat))))
        };
        if !inside()? {
            let (remote, folder) = (address.shown(), address.folder.clone());
            return Err(Error::NoFolder { remote, folder, commit: commit.clone() });
        }
        Ok(Checkout { folder, path, committed })
    }

    /// Fetches the commit, by the name that leads to it, else by its hash, else with everything.
    fn fetch(&self, git: &Git<'_>) -> Result<(), Error> {
        let remote = &self.address.remote;
        let is_there = || {
            let wanted = format!("{}^{{commit}}", self.commit);
            git.run(&["cat-file", "-e", &wanted]).is_ok()
        };
        let fetch = |depth: bool, specs: &[&str]| {
            let mut arguments = vec!["fetch", "--quiet", "--no-tags", "--update-head-ok"];
            arguments.extend(depth.then_some("--depth=1"));
            arguments.extend(["--", remote]);
            arguments.extend(specs);
            git.run(&arguments)
        };
        // A server of plain files knows no shallow clones, so the second try is without.
        let either = |specs: &[&str]| fetch(true, specs).or_else(|_| fetch(false, specs));
        if let Some(name) = &self.reference {
            let spec = if name == "HEAD" { name.clone() } else { format!("+{name}:{name}") };
            either(&[&spec])?;
            if is_there() {
                return Ok(());
            }
        }
        // The branch has moved on, or there never was a name. Not every server hands out commits by their hash.
        let by_hash = either(&[&self.commit]);
        if is_there() {
            return Ok(());
        }
        fetch(false, &["+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*"])?;
        if is_there() { Ok(()) } else { by_hash.map(drop) }
    }

    /// Leaves in `.git` what a clone has, without the traces of when and where it was made.
    fn tidy(&self, git: &Git<'_>, directory: &Path) -> Result<(), Error> {
        git.run(&["config", "remote.origin.url", &self.address.shown()])?;
        git.run(&["config", "remote.origin.fetch", "+refs/heads/*:refs/remotes/origin/*"])?;
        for name in ["FETCH_HEAD", "ORIG_HEAD", "index"] {
            match fs::remove_file(directory.join(name)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Io { operation: "remove", path: directory.join(name), source: error }.into());
                }
                _ => {}
            }
        }
        // What is missing is as good as removed.
        let _ = fs::remove_dir_all(directory.join("logs"));
        // An index that is read from the commit holds no times and no inodes.
        git.run(&["read-tree", "HEAD"]).map(drop)
    }
}

fn is_directory(stat: &rustix::fs::Stat) -> bool {
    rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::Directory
}

/// Gives all files the modes 644 and 755 and the time of the commit. Removes `.git`, or only that of submodules.
fn settle(tree: &Path, keep_git_dir: bool, time: Option<i64>) -> Result<(), Error> {
    if !keep_git_dir {
        let path = tree.join(".git");
        fs::remove_dir_all(&path).during("remove", &path)?;
    }
    let root = Root::open(tree)?;
    for entry in WalkDir::new(tree).contents_first(true) {
        let entry = entry.map_err(|error| Io::new("read", tree, error))?;
        let (kind, below) = (entry.file_type(), entry.path().strip_prefix(tree).unwrap_or(entry.path()));
        // In a submodule it is a file that says where the repository is. No repository holds one: git refuses that.
        if kind.is_file() && entry.file_name() == ".git" {
            root.remove(below)?;
            continue;
        }
        if !kind.is_symlink() {
            let metadata = entry.metadata().map_err(|error| Io::new("stat", entry.path(), error))?;
            let runs = kind.is_dir() || metadata.permissions().mode() & 0o100 != 0;
            root.set_mode(below, if runs { 0o755 } else { 0o644 })?;
        }
        if let Some(seconds) = time {
            root.set_modified(below, Time { seconds, nanoseconds: 0 })?;
        }
    }
    Ok(())
}
