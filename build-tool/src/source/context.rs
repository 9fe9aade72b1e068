//! The context of a build: the files that COPY may take, and the Dockerfile.
//!
//! A context that is not a folder is brought into a temporary folder first, whole. As in BuildKit, its `.dockerignore` does not count
//! then: it says what is not worth sending, and whoever made the archive or the commit has decided that already.

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use image_tool::address::home::Home;
use image_tool::beneath::{self, Root};
use image_tool::error::{During, Io};
use image_tool::layer;
use rustix::fs::FileType;

use super::access::Access;
use super::archive;
use super::download;
use super::files::{self, Files};
use super::git;
use super::ignore::{self, Ignore};
use super::place::{self, Place};
use crate::cache::folder::Folder;

/// An open context, its Dockerfile read.
#[derive(Debug)]
pub struct Context {
    tree: Tree,
    dockerfile: Vec<u8>,
    dockerfile_name: String,
}

/// The files of a context.
#[derive(Debug)]
pub struct Tree {
    /// The files, without those that `.dockerignore` excludes.
    pub files: Files,
    path: PathBuf,
    time: Time,
    origin: Option<Origin>,
    /// The folder that the files were brought into.
    _temporary: Option<Folder>,
}

/// The commit that the files of a repository are from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The repository without a password, and what was asked for: `https://host/repo.git#ref:folder`; or the URL of a file.
    pub uri: String,
    /// The digest of what was there: of a commit, or the tag that leads to it, or of a file's content.
    pub digest: String,
}

/// What is known of the time of a context.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Time {
    /// Nothing: a folder or a tar on standard input.
    Unknown,
    /// The time of a commit, or the server's `Last-Modified`.
    At(i64),
    /// The time of the newest file of an archive that was unpacked.
    OfNewest,
    /// The time of the newest file in the archive that is the only file.
    OfArchive,
}

/// The name of the only file of a context that is one.
const FILE: &str = "context";

/// A context as it is opened.
struct Brought {
    path: PathBuf,
    temporary: Option<Folder>,
    time: Time,
    origin: Option<Origin>,
    /// The Dockerfile, if the context is one.
    dockerfile: Option<(String, Vec<u8>)>,
}

/// Why a context cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The context or its `.dockerignore` cannot be opened.
    #[error("context {}", .path.display())]
    Open {
        /// The path that was opened.
        path: PathBuf,
        /// The reason.
        source: beneath::Error,
    },
    /// The context has no Dockerfile.
    #[error("{}: no such file in the context {} (-f FILE names another)", .name, .context.display())]
    NoDockerfile {
        /// The name that was looked for.
        name: String,
        /// The context's directory, or `-`.
        context: PathBuf,
    },
    /// The Dockerfile cannot be read.
    #[error(transparent)]
    Dockerfile(#[from] Io),
    /// `.dockerignore` cannot be parsed.
    #[error("{name}")]
    Ignore {
        /// The name of the ignore file.
        name: String,
        /// The line, and what is wrong with it.
        source: ignore::Error,
    },
    /// Both the context and the Dockerfile are `-`.
    #[error("can't use stdin for both build context and dockerfile")]
    Twice,
    /// Standard input is a terminal.
    #[error("standard input is a terminal, not a tar of the context (tar -c . | build-tool build -)")]
    Terminal,
    /// What was read is not a tar, or cannot be unpacked.
    #[error("the context {}", if .name == "-" { "on standard input" } else { .name })]
    Tar {
        /// The context's URL, or `-`.
        name: String,
        /// The reason.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The word for the context is wrong.
    #[error(transparent)]
    Place(#[from] place::Error),
    /// The repository cannot be fetched.
    #[error(transparent)]
    Git(#[from] git::Error),
    /// The URL cannot be fetched.
    #[error(transparent)]
    Download(#[from] download::Error),
    /// The files cannot be listed.
    #[error(transparent)]
    Files(#[from] files::Error),
}

/// The largest Dockerfile that is read.
const LIMIT: u64 = 16 << 20;

impl Context {
    /// Opens the context that `path` means, with no credentials. The Dockerfile is `dockerfile`, or else the one in the
    /// context.
    pub fn open(path: &Path, dockerfile: Option<&Path>, home: &Home) -> Result<Self, Error> {
        Self::open_with(&Place::of_context(path)?, dockerfile, home, &Access::default(), false)
    }

    /// Opens the context at a place; of a repository, `.git` too if it is to be kept.
    pub fn open_with(
        place: &Place,
        dockerfile: Option<&Path>,
        home: &Home,
        access: &Access,
        keep_git_dir: bool,
    ) -> Result<Self, Error> {
        let dockerfile_from_stdin = dockerfile == Some(Path::new("-"));
        if *place == Place::Input && dockerfile_from_stdin {
            return Err(Error::Twice);
        }
        let mut brought = bring(place, access, home, keep_git_dir)?;
        let shown = match place {
            Place::Folder(path) => path.clone(),
            Place::Url(url) => download::shown(url).into(),
            Place::Repository(address) => address.shown().into(),
            _ => PathBuf::from("-"),
        };
        let root = open_root(&brought.path)?;
        let (name, bytes, beside) = if dockerfile_from_stdin {
            let mut bytes = Vec::new();
            io::stdin().lock().take(LIMIT).read_to_end(&mut bytes).during("read", "-")?;
            ("-".to_owned(), bytes, None)
        } else if let Some((name, text)) = brought.dockerfile.take() {
            (name, text, None)
        } else {
            find(&root, &brought.path, &shown, dockerfile, place.is_brought())?
        };
        let ignore = if place.is_brought() { Ignore::default() } else { read_ignore(&root, &brought.path, beside)? };
        let tree = brought.into_tree(root, format!("the context {}", shown.display()), ignore);
        Ok(Self { tree, dockerfile: bytes, dockerfile_name: name })
    }

    /// The files, without those that `.dockerignore` excludes.
    pub fn files(&self) -> &Files {
        &self.tree.files
    }

    /// The files and where they are.
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// The context's directory.
    pub fn path(&self) -> &Path {
        self.tree.path()
    }

    /// The time of the context, in seconds since 1970: that of the commit, of the download, or of the newest file in a downloaded
    /// archive. A folder has none.
    pub fn time(&self) -> Result<Option<i64>, Error> {
        self.tree.time()
    }

    /// The Dockerfile's text.
    pub fn dockerfile(&self) -> &[u8] {
        &self.dockerfile
    }

    /// The Dockerfile's name in errors.
    pub fn dockerfile_name(&self) -> &str {
        &self.dockerfile_name
    }
}

impl Tree {
    /// Opens a context that has a name.
    pub(super) fn of_named(name: &str, place: &Place, access: &Access, home: &Home) -> Result<Self, Error> {
        let brought = match place {
            // As in BuildKit, what is downloaded for a name is a file, archive or not.
            Place::Url(url) => download_file(url, access, home)?,
            _ => bring(place, access, home, false)?,
        };
        let root = open_root(&brought.path)?;
        let ignore = if place.is_brought() { Ignore::default() } else { read_ignore(&root, &brought.path, None)? };
        Ok(brought.into_tree(root, format!("the context {name}"), ignore))
    }

    /// The directory that the files are in.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The commit that the files are from, if they are a repository's.
    pub fn origin(&self) -> Option<&Origin> {
        self.origin.as_ref()
    }

    /// The time of the context, as in [`Context::time`].
    pub fn time(&self) -> Result<Option<i64>, Error> {
        match self.time {
            Time::Unknown => Ok(None),
            Time::At(seconds) => Ok(Some(seconds)),
            Time::OfNewest => {
                let all = Files::new(open_root(&self.path)?, Ignore::default(), "the archive");
                let root = all.sources(".")?.remove(0);
                let found = all.walk(&root, &Ignore::default())?;
                let is_file = |mode| FileType::from_raw_mode(mode) == FileType::RegularFile;
                let times = found.iter().filter(|file| is_file(file.stat.st_mode)).map(|file| file.stat.st_mtime);
                Ok(times.max())
            }
            Time::OfArchive => {
                let path = self.path.join(FILE);
                let file = fs::File::open(&path).during("open", &path)?;
                Ok(archive::newest(&file).during("read", &path)?)
            }
        }
    }
}

impl Brought {
    fn into_tree(self, root: Root, name: String, ignore: Ignore) -> Tree {
        let Self { path, temporary, time, origin, .. } = self;
        Tree { files: Files::new(root, ignore, name), path, time, origin, _temporary: temporary }
    }
}

/// Reads the ignore rules of a folder, unless there are others beside the Dockerfile.
fn read_ignore(root: &Root, path: &Path, beside: Option<(String, Vec<u8>)>) -> Result<Ignore, Error> {
    let (name, text) = match beside {
        Some((name, text)) => (name, text),
        None => {
            let text = match root.read(".dockerignore", LIMIT) {
                Ok(text) => text,
                Err(error) if error.is_not_found() => Vec::new(),
                Err(source) => return Err(Error::Open { path: path.join(".dockerignore"), source }),
            };
            (".dockerignore".to_owned(), text)
        }
    };
    Ignore::parse(&String::from_utf8_lossy(&text)).map_err(|source| Error::Ignore { name, source })
}

fn open_root(path: &Path) -> Result<Root, Error> {
    Root::open(path).map_err(|source| Error::Open { path: path.into(), source })
}

type Found = (String, Vec<u8>, Option<(String, Vec<u8>)>);

/// Finds the Dockerfile and, if it has one of its own, its `.dockerignore`.
fn find(root: &Root, directory: &Path, shown: &Path, given: Option<&Path>, is_brought: bool) -> Result<Found, Error> {
    if let Some(given) = given
        && !is_brought
    {
        // A path of the host, as in docker, wherever it leads.
        let read = |path: &Path| {
            let file = fs::File::open(path)?;
            let mut bytes = Vec::new();
            file.take(LIMIT).read_to_end(&mut bytes)?;
            io::Result::Ok(bytes)
        };
        let (path, bytes) = match read(given) {
            // Like docker, also accepts `-f docker/Dockerfile` relative to the context.
            Err(error) if error.kind() == io::ErrorKind::NotFound && given.is_relative() => {
                let inside = directory.join(given);
                let bytes = read(&inside).or(Err(error)).during("read", given)?;
                (inside, bytes)
            }
            other => (given.to_owned(), other.during("read", given)?),
        };
        let mut beside = path.into_os_string();
        beside.push(".dockerignore");
        let ignore = fs::read(&beside).ok().map(|text| (beside.to_string_lossy().into_owned(), text));
        return Ok((given.display().to_string(), bytes, ignore));
    }
    let names: Vec<PathBuf> = match given {
        Some(given) => vec![given.to_owned()],
        None => ["Dockerfile", "dockerfile"].map(PathBuf::from).to_vec(),
    };
    for name in &names {
        match root.read(name, LIMIT) {
            Ok(bytes) => {
                let own = format!("{}.dockerignore", name.display());
                let ignore = root.read(&own, LIMIT).ok().map(|text| (own, text));
                return Ok((name.display().to_string(), bytes, ignore));
            }
            Err(error) if error.is_not_found() => {}
            Err(error) => {
                let (operation, path, source) = ("read", directory.join(name), io::Error::other(error));
                return Err(Io { operation, path, source }.into());
            }
        }
    }
    Err(Error::NoDockerfile { name: names[0].display().to_string(), context: shown.to_owned() })
}

/// Brings the files of a place here, unless it is a folder.
fn bring(place: &Place, access: &Access, home: &Home, keep_git_dir: bool) -> Result<Brought, Error> {
    let builds = home.builds();
    if place.is_brought() {
        fs::create_dir_all(&builds).during("create", &builds)?;
    }
    match place {
        Place::Folder(path) => {
            Ok(Brought { path: path.clone(), temporary: None, time: Time::Unknown, origin: None, dockerfile: None })
        }
        Place::Repository(address) => {
            let keep_git_dir = address.keep_git_dir.unwrap_or(keep_git_dir);
            let pin = git::resolve(address, access, &builds)?;
            let checkout = pin.checkout(keep_git_dir, access, &builds)?;
            let time = Time::At(checkout.committed);
            let (temporary, path) = checkout.into_parts();
            let origin = Some(Origin { uri: address.to_string(), digest: git::named(&pin.commit) });
            Ok(Brought { path, temporary: Some(temporary), time, origin, dockerfile: None })
        }
        Place::Url(url) => {
            let mut fetched = download::fetch(url, None, access, &builds)?;
            io::Seek::rewind(&mut fetched.file).during("read", url)?;
            let brought = unpack(FILE, &download::shown(url), fetched.file, &builds)?;
            let time = fetched.modified.map_or(Time::OfNewest, Time::At);
            let origin = Some(Origin { uri: download::shown(url), digest: fetched.digest.to_string() });
            Ok(Brought { time, origin, ..brought })
        }
        _ => {
            use std::io::IsTerminal;
            if io::stdin().is_terminal() {
                return Err(Error::Terminal);
            }
            unpack("-", "-", io::stdin(), &builds)
        }
    }
}

/// Downloads a URL as the only file of a context.
fn download_file(url: &str, access: &Access, home: &Home) -> Result<Brought, Error> {
    let builds = home.builds();
    fs::create_dir_all(&builds).during("create", &builds)?;
    let mut fetched = download::fetch(url, None, access, &builds)?;
    let folder = Folder::new(&builds)?;
    let path = folder.path().join(FILE);
    let mut copy = || -> io::Result<()> {
        io::Seek::rewind(&mut fetched.file)?;
        io::copy(&mut fetched.file, &mut fs::File::create(&path)?)?;
        if let Some(seconds) = fetched.modified.and_then(|seconds| u64::try_from(seconds).ok()) {
            let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
            fs::File::options().write(true).open(&path)?.set_modified(time)?;
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))
    };
    copy().during("write", &path)?;
    let time = fetched.modified.map_or(Time::OfArchive, Time::At);
    let origin = Some(Origin { uri: download::shown(url), digest: fetched.digest.to_string() });
    Ok(Brought { path: folder.path().to_owned(), temporary: Some(folder), time, origin, dockerfile: None })
}

/// Unpacks a tar, compressed or not, into a temporary folder. Anything else is a Dockerfile without a context: with a `file` name
/// other than `-`, it is the one file of the context.
fn unpack(file: &str, name: &str, mut stream: impl Read + 'static, builds: &Path) -> Result<Brought, Error> {
    let failed = |source: Box<dyn std::error::Error + Send + Sync>| Error::Tar { name: name.to_owned(), source };
    let folder = Folder::new(builds)?;
    let mut head = archive::head(&mut stream).map_err(|error| failed(error.into()))?;
    let path = folder.path().to_owned();
    if archive::is_text(&head) {
        stream.take(LIMIT).read_to_end(&mut head).map_err(|error| failed(error.into()))?;
        if file != "-" {
            let path = path.join(file);
            fs::write(&path, &head).during("write", &path)?;
        }
        let dockerfile = Some((file.to_owned(), head));
        return Ok(Brought { path, temporary: Some(folder), time: Time::Unknown, origin: None, dockerfile });
    }
    let decoder = archive::decode(head, stream).map_err(|error| failed(error.into()))?;
    let root = Root::open(&path).map_err(|error| failed(error.into()))?;
    let mut applier = layer::apply::Applier::new(root, layer::apply::Options::tree());
    let mut reader = io::BufReader::with_capacity(1 << 17, decoder);
    applier.layer(&mut reader).map_err(|error| failed(error.into()))?;
    applier.finish().map_err(|error| failed(error.into()))?;
    // The writer has more to write, as archives are padded; a closed pipe would make it fail.
    io::copy(&mut reader, &mut io::sink()).map_err(|error| failed(error.into()))?;
    Ok(Brought { path, temporary: Some(folder), time: Time::Unknown, origin: None, dockerfile: None })
}
