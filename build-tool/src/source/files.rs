//! A tree of files that COPY takes from: a directory that no path leads out of, seen through ignore rules.
//!
//! The context is one, and so is the mounted root file system of a stage. Names are sorted, links in parent directories
//! are followed inside the root, and a link below a copied directory stays a link.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use image_tool::beneath::{self, Root, Time};
use rustix::fs::{AtFlags, FileType, Stat};

use super::ignore::Ignore;
use crate::dockerfile::near;
use crate::dockerfile::pattern::{BadPattern, Pattern};

/// A tree of files to copy from.
#[derive(Debug)]
pub struct Files {
    root: Root,
    ignore: Ignore,
    /// The name in errors: `the context .`, `build (--from)`.
    name: String,
}

/// A source that COPY names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The path as it was named, relative to the root.
    pub named: PathBuf,
    /// The path with links resolved.
    pub path: PathBuf,
    /// Whether the path is a directory.
    pub directory: bool,
}

/// A file, directory or link, found at or below a source.
#[derive(Debug, Clone)]
pub struct File {
    /// The path below the source; empty for the source itself.
    pub below: PathBuf,
    /// The path from the root.
    pub path: PathBuf,
    /// The metadata when it was found.
    pub stat: Stat,
    /// Whether it is only a directory on the way to something that is copied with its parents.
    pub way: bool,
}

/// Why a source cannot be copied.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The source does not exist.
    #[error("{path}: not found in {name}{}", near.as_ref().map(|near| format!(" (did you mean {near}?)")).unwrap_or_default())]
    NotFound {
        /// The path as written.
        path: String,
        /// The tree's name.
        name: String,
        /// A name in the same directory that it resembles, if any.
        near: Option<String>,
    },
    /// The source exists, but `.dockerignore` excludes it.
    #[error("{path}: excluded from {name} by .dockerignore")]
    Ignored {
        /// The path as written.
        path: String,
        /// The tree's name.
        name: String,
    },
    /// The pattern cannot be parsed.
    #[error(transparent)]
    Pattern(#[from] BadPattern),
    /// A file or directory cannot be read.
    #[error("{name}")]
    Read {
        /// The tree's name.
        name: String,
        /// The operation, the path and the reason.
        source: beneath::Error,
    },
    /// The links of the path form a loop.
    #[error("{path}: too many symbolic links in {name}")]
    Loop {
        /// The path as written.
        path: String,
        /// The tree's name.
        name: String,
    },
    /// The tree is nested too deep.
    #[error("{}: directories nested too deep", .0.display())]
    Deep(PathBuf),
}

/// A deeper tree would exceed PATH_MAX.
const DEPTH: usize = 1024;

impl Files {
    /// The tree below `root`; `name` stands for it in errors.
    pub fn new(root: Root, ignore: Ignore, name: impl Into<String>) -> Self {
        Self { root, ignore, name: name.into() }
    }

    /// The root directory.
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// The tree's name in errors.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn failed(&self, source: beneath::Error) -> Error {
        Error::Read { name: self.name.clone(), source }
    }

    fn not_found(&self, written: &str, path: &Path) -> Error {
        let folder = path.parent().unwrap_or(Path::new(""));
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let names = self.root.names(folder).unwrap_or_default();
        let names: Vec<String> = names.iter().map(|name| folder.join(name).to_string_lossy().into_owned()).collect();
        let wanted = folder.join(&*name).to_string_lossy().into_owned();
        let near = near(&wanted, names.iter().map(String::as_str)).map(str::to_owned);
        Error::NotFound { path: written.to_owned(), name: self.name.clone(), near }
    }

    /// The sources that a word means, of which there must be one.
    pub fn sources(&self, written: &str) -> Result<Vec<Source>, Error> {
        let found = self.matching(written)?;
        if found.is_empty() {
            return Err(Error::NotFound { path: written.to_owned(), name: self.name.clone(), near: None });
        }
        Ok(found)
    }

    /// The sources that a word of COPY means: the path itself, which must exist, or what its wildcards match, which may
    /// be nothing.
    pub fn matching(&self, written: &str) -> Result<Vec<Source>, Error> {
        let path = inside(written);
        // A file may have the name `a[1]`: if the literal name exists, it is meant.
        if !is_pattern(written) || self.root.lstat(&path).ok().flatten().is_some() {
            return Ok(vec![self.source(written, &path)?]);
        }
        let mut sources = Vec::new();
        for path in self.expand(&path)? {
            match self.source(&path.to_string_lossy(), &path) {
                Ok(source) => sources.push(source),
                // A dangling link is not what `*` is meant to match, nor is a file that is not in the context.
                Err(Error::Ignored { .. } | Error::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(sources)
    }

    /// The paths that a pattern matches, sorted. Links are followed only before the first wildcard.
    fn expand(&self, path: &Path) -> Result<Vec<PathBuf>, Error> {
        let mut found = vec![PathBuf::new()];
        let mut wild = false;
        for component in path.components() {
            let component = component.as_os_str().to_string_lossy();
            let pattern = Pattern::path(&component)?;
            let mut next = Vec::new();
            for folder in found {
                let is_link = |stat: Stat| FileType::from_raw_mode(stat.st_mode) == FileType::Symlink;
                if wild && self.root.lstat(&folder).ok().flatten().is_some_and(is_link) {
                    continue;
                }
                // A file, or a dangling link, has no names below it.
                for name in self.root.names(&folder).unwrap_or_default() {
                    if pattern.matches(&name.to_string_lossy()) {
                        next.push(folder.join(name));
                    }
                }
            }
            wild |= !pattern.is_literal();
            found = next;
        }
        found.sort();
        Ok(found)
    }

    fn source(&self, written: &str, named: &Path) -> Result<Source, Error> {
        let path = self.resolve(written, named)?;
        let Some(stat) = self.root.lstat(&path).map_err(|error| self.failed(error))? else {
            return Err(self.not_found(written, named));
        };
        let directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        let source = Source { named: named.to_owned(), path, directory };
        if self.hides(&source, &source.path)? || self.hides(&source, named)? {
            return Err(Error::Ignored { path: written.to_owned(), name: self.name.clone() });
        }
        Ok(source)
    }

    /// Whether the ignore rules leave out a source by one of its paths, and all that is below it. The root itself is never left out.
    fn hides(&self, source: &Source, path: &Path) -> Result<bool, Error> {
        if path.as_os_str().is_empty() || !self.ignore.excludes(path) {
            return Ok(false);
        }
        // An exception that could bring back something below may find nothing there.
        let reached = source.directory && self.ignore.reaches_below(path);
        Ok(!reached || self.walk(source, &Ignore::default())?.len() == 1)
    }

    /// Follows the links of `path` inside the root, so that ignore rules see where it really leads.
    fn resolve(&self, written: &str, path: &Path) -> Result<PathBuf, Error> {
        let mut waiting: Vec<PathBuf> = path.components().rev().map(|part| PathBuf::from(part.as_os_str())).collect();
        let mut resolved = PathBuf::new();
        let mut links = 0;
        while let Some(part) = waiting.pop() {
            match part.components().next() {
                Some(Component::Normal(name)) => resolved.push(name),
                Some(Component::ParentDir) => {
                    resolved.pop();
                    continue;
                }
                _ => continue,
            }
            let Some(stat) = self.root.lstat(&resolved).map_err(|error| self.failed(error))? else {
                return Err(self.not_found(written, path));
            };
            if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
                links += 1;
                if links > 40 {
                    return Err(Error::Loop { path: written.to_owned(), name: self.name.clone() });
                }
                let target = self.root.read_link(&resolved).map_err(|error| self.failed(error))?;
                resolved.pop();
                if target.is_absolute() {
                    resolved = PathBuf::new();
                }
                waiting.extend(target.components().rev().map(|part| PathBuf::from(part.as_os_str())));
            }
        }
        Ok(resolved)
    }

    /// Lists a source and everything below it, parents before children and names sorted, without what the ignore rules
    /// or `exclude` leave out. The patterns of `exclude` are relative to the source; a file has only its name.
    pub fn walk(&self, source: &Source, exclude: &Ignore) -> Result<Vec<File>, Error> {
        let Some(stat) = self.root.lstat(&source.path).map_err(|error| self.failed(error))? else {
            return Err(self.not_found(&source.named.to_string_lossy(), &source.path));
        };
        if !source.directory && exclude.excludes(Path::new(source.named.file_name().unwrap_or_default())) {
            return Ok(Vec::new());
        }
        let found = vec![File { below: PathBuf::new(), path: source.path.clone(), stat, way: false }];
        let mut walk = Walk { files: self, include: None, exclude, found };
        if source.directory {
            walk.descend(Path::new(""), &source.path, 0, true)?;
        }
        Ok(walk.found)
    }

    /// Lists what a word of `COPY --parents` means, and the directories on the way there from the pivot `/./`, or else
    /// from the root. The patterns of `exclude` count from the same place.
    pub fn walk_parents(&self, written: &str, exclude: &Ignore) -> Result<Vec<File>, Error> {
        let (pivot, pattern) = written.split_once("/./").unwrap_or(("", written));
        let wanted = inside(pattern);
        let include = Include::new(&wanted)?;
        let mut all = Vec::new();
        let mut found_any = false;
        for base in self.matching(pivot)? {
            let Some(stat) = self.root.lstat(&base.path).map_err(|error| self.failed(error))? else { continue };
            let found = vec![File { below: PathBuf::new(), path: base.path.clone(), stat, way: true }];
            let mut walk = Walk { files: self, include: Some(&include), exclude, found };
            if base.directory {
                walk.descend(Path::new(""), &base.path, 0, wanted.as_os_str().is_empty())?;
            }
            found_any |= walk.found.iter().any(|file| !file.way) || wanted.as_os_str().is_empty();
            all.extend(walk.found);
        }
        // A path without wildcards must exist.
        if !found_any && !is_pattern(written) && exclude.is_empty() {
            let path = inside(pivot).join(&wanted);
            self.source(written, &path)?;
            return Err(self.not_found(written, &path));
        }
        Ok(all)
    }

    /// Opens a file found by [`Self::walk`]; refuses a link that has taken its place.
    pub fn open(&self, path: &Path) -> Result<std::fs::File, Error> {
        use rustix::fs::{Mode, OFlags, ResolveFlags};
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        rustix::fs::openat2(&self.root, path, flags, Mode::empty(), resolve)
            .map(std::fs::File::from)
            .map_err(|errno| self.io("open", path, errno.into()))
    }

    /// Whether the ignore rules leave out everything that a source names, as far as the lint can tell. With exceptions it cannot: a file
    /// may be there that it does not know.
    pub fn leaves_out(&self, written: &str) -> bool {
        let path = inside(written);
        match (self.ignore.has_exceptions(), path.as_os_str().is_empty()) {
            (true, _) => false,
            (false, true) => self.ignore.excludes_everything(),
            (false, false) => self.ignore.excludes(&path),
        }
    }

    /// Whether there are no ignore rules.
    pub fn ignores_nothing(&self) -> bool {
        self.ignore.is_empty()
    }

    /// Copies one entry that was found, without what is below it, to its place below `target`.
    pub fn copy_to(&self, file: &File, target: &Root) -> Result<(), Error> {
        let File { below, path, stat, .. } = file;
        if below.as_os_str().is_empty() {
            return Ok(());
        }
        let failed = |error| self.failed(error);
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => drop(target.create_directories(below, 0o755).map_err(failed)?),
            FileType::Symlink => return target.symlink(self.read_link(path)?, below).map_err(failed),
            FileType::RegularFile => {
                let mut to = target.create(below, 0o600).map_err(failed)?;
                io::copy(&mut self.open(path)?, &mut to).map_err(|error| self.io("copy", path, error))?;
            }
            _ => return Ok(()),
        }
        target.set_owner(below, stat.st_uid, stat.st_gid).map_err(failed)?;
        target.set_mode(below, stat.st_mode & 0o7777).map_err(failed)?;
        target.set_modified(below, Time::modified(stat)).map_err(failed)
    }

    /// The target of a link.
    pub fn read_link(&self, path: &Path) -> Result<PathBuf, Error> {
        self.root.read_link(path).map_err(|error| self.failed(error))
    }

    /// Adds operation and path to an I/O error.
    pub fn io(&self, operation: &'static str, path: &Path, source: io::Error) -> Error {
        self.failed(image_tool::error::Io::new(operation, path, source).into())
    }
}

/// The pattern of a `COPY --parents`, `**` included.
struct Include {
    pattern: Pattern,
    /// The patterns of the components before the first `**`.
    components: Vec<Pattern>,
    /// Whether there is a `**`, which matches at any depth.
    deep: bool,
}

impl Include {
    fn new(path: &Path) -> Result<Self, BadPattern> {
        let text = path.to_string_lossy();
        let parts: Vec<&str> = text.split('/').filter(|part| !part.is_empty()).collect();
        let fixed = parts.iter().take_while(|part| !part.contains("**"));
        let components = fixed.map(|part| Pattern::path(part)).collect::<Result<Vec<_>, _>>()?;
        let deep = components.len() < parts.len();
        Ok(Self { pattern: Pattern::ignore(&text)?, components, deep })
    }

    /// Whether something below the directory `below` may match.
    fn reaches_below(&self, below: &Path) -> bool {
        let mut depth = 0;
        for part in below.components() {
            let Some(pattern) = self.components.get(depth) else { return self.deep };
            if !pattern.matches(&part.as_os_str().to_string_lossy()) {
                return false;
            }
            depth += 1;
        }
        self.deep || depth < self.components.len()
    }
}

/// A walk through the files below a source.
struct Walk<'a> {
    files: &'a Files,
    /// With `--parents`, what is copied.
    include: Option<&'a Include>,
    exclude: &'a Ignore,
    found: Vec<File>,
}

impl Walk<'_> {
    /// Lists the directory `path` of the tree, which is `below` the source. Everything in it is copied if it is
    /// `included`.
    fn descend(&mut self, below: &Path, path: &Path, depth: usize, included: bool) -> Result<(), Error> {
        if depth > DEPTH {
            return Err(Error::Deep(path.to_owned()));
        }
        let files = self.files;
        let fd = files.root.directory(path).map_err(|error| files.failed(error))?;
        let mut names = files.root.names(path).map_err(|error| files.failed(error))?;
        names.sort();
        for name in names {
            let (below, path) = (below.join(&name), path.join(&name));
            let included =
                included || self.include.is_none_or(|include| include.pattern.matches(&below.to_string_lossy()));
            if !included && !self.include.is_some_and(|include| include.reaches_below(&below)) {
                continue;
            }
            let stat = match rustix::fs::statat(&fd, &name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => stat,
                // It was removed after it was listed.
                Err(rustix::io::Errno::NOENT) => continue,
                Err(errno) => return Err(files.io("stat", &path, errno.into())),
            };
            let kind = FileType::from_raw_mode(stat.st_mode);
            let directory = kind == FileType::Directory;
            let excluded = self.excludes(&below, &path);
            if (excluded && !(directory && self.reaches_below(&below, &path))) || !(included || directory) {
                continue;
            }
            let length = self.found.len();
            self.found.push(File { below: below.clone(), path: path.clone(), stat, way: !included });
            if directory {
                self.descend(&below, &path, depth + 1, included)?;
            }
            // An excluded directory is needed only if an exception includes something below it, and one on the way only
            // if it leads somewhere.
            if (excluded || !included) && self.found.len() == length + 1 {
                self.found.pop();
            }
        }
        Ok(())
    }

    fn excludes(&self, below: &Path, path: &Path) -> bool {
        let (ignore, exclude) = (&self.files.ignore, self.exclude);
        (!ignore.is_empty() && ignore.excludes(path)) || (!exclude.is_empty() && exclude.excludes(below))
    }

    fn reaches_below(&self, below: &Path, path: &Path) -> bool {
        self.files.ignore.reaches_below(path) || self.exclude.reaches_below(below)
    }
}

/// Whether a word holds a wildcard, or an escape for one.
fn is_pattern(written: &str) -> bool {
    written.contains(['*', '?', '[', '\\'])
}

/// A path as COPY reads it: relative to the root even if it begins with `/`; `..` stops at the root.
pub fn inside(written: &str) -> PathBuf {
    let mut path = PathBuf::new();
    for part in written.as_bytes().split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => drop(path.pop()),
            part => path.push(OsStr::from_bytes(part)),
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn files(ignore: &str) -> (tempfile::TempDir, Files) {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("context");
        fs::create_dir_all(root.join("src/deep")).unwrap();
        for name in ["a.py", "b.py", "c.txt", ".hidden.py", "src/x.py", "src/deep/y.py", "we[ird]"] {
            fs::write(root.join(name), name).unwrap();
        }
        fs::write(folder.path().join("secret"), "secret").unwrap();
        symlink("../secret", root.join("out")).unwrap();
        symlink(folder.path().join("secret"), root.join("abs")).unwrap();
        symlink("src", root.join("link")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        let files = Files::new(Root::open(root).unwrap(), Ignore::parse(ignore).unwrap(), "the context .");
        (folder, files)
    }

    fn paths(files: &Files, written: &str) -> Vec<String> {
        files.sources(written).unwrap().iter().map(|source| source.path.to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn wildcards_match_sorted_and_dot_files_too() {
        let (_folder, files) = files("");
        assert_eq!(paths(&files, "*.py"), [".hidden.py", "a.py", "b.py"]);
        assert_eq!(paths(&files, "/src/*/*.py"), ["src/deep/y.py"]);
        assert_eq!(paths(&files, "we[ird]"), ["we[ird]"]);
        assert_eq!(paths(&files, "link/x.py"), ["src/x.py"]);
        assert_eq!(paths(&files, "../../a.py"), ["a.py"]);
    }

    #[test]
    fn nothing_leads_out_of_the_context() {
        let (_folder, files) = files("");
        for source in ["out", "abs", "../secret", "loop", "link/../../secret"] {
            assert!(files.sources(source).is_err(), "{source}");
        }
        assert!(files.open(Path::new("out")).is_err());
    }

    #[test]
    fn a_missing_source_names_the_context_and_a_near_miss() {
        let (_folder, files) = files("c.txt");
        let message = |source: &str| files.sources(source).unwrap_err().to_string();
        assert_eq!(message("a.pz"), "a.pz: not found in the context . (did you mean a.py?)");
        assert_eq!(message("*.go"), "*.go: not found in the context .", "where there must be one");
        assert_eq!(message("c.txt"), "c.txt: excluded from the context . by .dockerignore");
    }

    #[test]
    fn wildcards_may_match_nothing_and_enter_no_links() {
        let (_folder, files) = files("*.txt");
        for written in ["*.go", "nowhere/*", "*.txt", "a.py/*", "*/nothing", "l*/x.py"] {
            assert_eq!(files.matching(written).unwrap(), [], "{written}");
        }
        assert_eq!(paths(&files, "link/*.py"), ["src/x.py"], "but before the first wildcard they are followed");
        assert!(files.matching("nowhere").is_err());
    }

    #[test]
    fn the_root_is_never_left_out() {
        for ignore in ["*\n!src", "**\n!src", "/*\n!/src/", "**/*\n!src/**", "*\n!src/*", ".*\n*\n!src/", "*"] {
            let (_folder, files) = files(ignore);
            let source = files.sources(".").unwrap().remove(0);
            let found = files.walk(&source, &Ignore::default()).unwrap();
            let found: Vec<_> = found.iter().map(|file| file.below.to_string_lossy().into_owned()).collect();
            let expected =
                if ignore == "*" { &[""][..] } else { &["", "src", "src/deep", "src/deep/y.py", "src/x.py"] };
            assert_eq!(found, expected, "{ignore:?}");
        }
    }

    #[test]
    fn a_directory_without_any_exception_in_it_is_left_out() {
        for (ignore, found) in [("**\n!src/x.py", true), ("**\n!src/none", false), ("src\n!src/deep/*.py", true)] {
            let (_folder, files) = files(ignore);
            assert_eq!(files.sources("src").is_ok(), found, "{ignore:?}");
            assert_eq!(files.sources("sr*").is_ok(), found, "{ignore:?}");
        }
    }

    #[test]
    fn parents_lead_from_the_pivot_to_what_matches() {
        let (_folder, files) = files("");
        for (written, exclude, expected) in [
            ("./src/**/*.py", "", "+ +src +src/deep src/deep/y.py src/x.py"),
            ("src/deep", "", "+ +src src/deep src/deep/y.py"),
            ("/src/./deep/y.py", "", "+ +deep deep/y.py"),
            ("s*/./*/y.py", "", "+ +deep deep/y.py"),
            ("src/*/y.py", "", "+ +src +src/deep src/deep/y.py"),
            ("**/y.py", "", "+ +src +src/deep src/deep/y.py"),
            ("src", "src/deep", "+ src src/x.py"),
            ("src", "deep", "+ src src/deep src/deep/y.py src/x.py"),
            ("src/./deep", "deep/*.py", "+ deep"),
            ("src/.", "", "+ src src/deep src/deep/y.py src/x.py"),
            ("no*/./x", "", ""),
            ("src/*.go", "", "+"),
        ] {
            let found = files.walk_parents(written, &Ignore::parse(exclude).unwrap()).unwrap();
            let mark = |file: &File| format!("{}{}", if file.way { "+" } else { "" }, file.below.display());
            assert_eq!(found.iter().map(mark).collect::<Vec<_>>().join(" "), expected, "{written} without {exclude:?}");
        }
        for written in ["src/none", "none/x", "src/./none", "out"] {
            assert_eq!(files.walk_parents(written, &Ignore::default()).is_err(), written != "out", "{written}");
        }
    }

    #[test]
    fn a_source_is_left_out_only_where_no_exception_could_bring_it_back() {
        for (rules, source, expected) in [
            ("src\n*.txt", "c.txt", true),
            ("src\n*.txt", "/c.txt", true),
            ("src\n*.txt", "src", true),
            ("src\n*.txt", "src/x.py", true),
            ("src\n*.txt", ".", false),
            ("**/*", ".", true),
            ("src\n!src/deep/y.py", "src", false),
            ("src\n!src/deep/y.py", "src/x.py", false),
        ] {
            let (_folder, files) = files(rules);
            assert_eq!(files.leaves_out(source), expected, "{rules:?} {source}");
        }
    }

    #[test]
    fn walks_skip_what_is_ignored_and_come_back_for_exceptions() {
        let (_folder, files) = files("src\n!src/deep/y.py\n*.txt");
        let source = files.sources(".").unwrap().remove(0);
        let found = files.walk(&source, &Ignore::parse("b.py").unwrap()).unwrap();
        let found: Vec<_> = found.iter().map(|file| file.below.to_string_lossy().into_owned()).collect();
        let expected =
            ["", ".hidden.py", "a.py", "abs", "link", "loop", "out", "src", "src/deep", "src/deep/y.py", "we[ird]"];
        assert_eq!(found, expected);
    }
}
