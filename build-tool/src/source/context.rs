//! The context of a build: the files that COPY may take, and where the Dockerfile is.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use image_tool::address::home::Home;
use image_tool::beneath::{self, Root};
use image_tool::error::{During, Io};
use image_tool::layer;

use super::archive;
use super::files::Files;
use super::ignore::{self, Ignore};
use crate::cache::folder::Folder;

/// A context.
#[derive(Debug)]
pub struct Context {
    files: Files,
    path: PathBuf,
    dockerfile: Vec<u8>,
    dockerfile_name: String,
    /// Where a tar from standard input was unpacked.
    _temporary: Option<Folder>,
}

/// Why there is no context.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It is not there, or no directory.
    #[error("context {}", .path.display())]
    Open {
        /// Where it was looked for.
        path: PathBuf,
        /// Why.
        source: beneath::Error,
    },
    /// It has no Dockerfile.
    #[error("{}: no such file in the context {} (-f FILE names another)", .name, .context.display())]
    NoDockerfile {
        /// The name.
        name: String,
        /// The context.
        context: PathBuf,
    },
    /// The Dockerfile cannot be read.
    #[error(transparent)]
    Dockerfile(#[from] Io),
    /// `.dockerignore` cannot be understood.
    #[error("{name}")]
    Ignore {
        /// Its name.
        name: String,
        /// What is wrong.
        source: ignore::Error,
    },
    /// Standard input was asked for twice.
    #[error("standard input cannot be both the context and the Dockerfile")]
    Twice,
    /// Standard input is a terminal.
    #[error("the context on standard input is a tar (tar -c . | build-tool build -); a terminal has none")]
    Terminal,
    /// Standard input is no tar.
    #[error("the context on standard input")]
    Tar(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// The largest Dockerfile that is read.
const LIMIT: u64 = 16 << 20;

impl Context {
    /// Open the directory `path`, or read a tar from standard input for `-`. The Dockerfile is `dockerfile`, or the one in it.
    pub fn open(path: &Path, dockerfile: Option<&Path>, home: &Home) -> Result<Self, Error> {
        let from_stdin = path == Path::new("-");
        let dockerfile_from_stdin = dockerfile == Some(Path::new("-"));
        if from_stdin && dockerfile_from_stdin {
            return Err(Error::Twice);
        }
        let (temporary, text) = match from_stdin {
            true => {
                let (folder, text) = from_standard_input(home)?;
                (Some(folder), text)
            }
            false => (None, None),
        };
        let directory = temporary.as_ref().map_or(path, |temporary| temporary.path());
        let open = |path: &Path| Root::open(path).map_err(|source| Error::Open { path: path.into(), source });
        let root = open(directory)?;
        let (name, bytes, ignore_beside) = if let Some(text) = text {
            ("-".to_owned(), text, None)
        } else if dockerfile_from_stdin {
            let mut bytes = Vec::new();
            io::stdin().lock().take(LIMIT).read_to_end(&mut bytes).during("read", "-")?;
            ("-".to_owned(), bytes, None)
        } else {
            find(&root, directory, dockerfile, from_stdin)?
        };
        let (ignore_name, text) = match ignore_beside {
            Some((name, text)) => (name, text),
            None => {
                let text = match root.read(".dockerignore", LIMIT) {
                    Ok(text) => text,
                    Err(error) if error.is_not_found() => Vec::new(),
                    Err(source) => return Err(Error::Open { path: directory.join(".dockerignore"), source }),
                };
                (".dockerignore".to_owned(), text)
            }
        };
        let ignore = Ignore::parse(&String::from_utf8_lossy(&text))
            .map_err(|source| Error::Ignore { name: ignore_name, source })?;
        let files = Files::new(root, ignore, format!("the context {}", path.display()));
        Ok(Self { files, path: directory.to_owned(), dockerfile: bytes, dockerfile_name: name, _temporary: temporary })
    }

    /// The files, without what `.dockerignore` leaves out.
    pub fn files(&self) -> &Files {
        &self.files
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The Dockerfile's text.
    pub fn dockerfile(&self) -> &[u8] {
        &self.dockerfile
    }

    /// What errors call the Dockerfile.
    pub fn dockerfile_name(&self) -> &str {
        &self.dockerfile_name
    }
}

type Found = (String, Vec<u8>, Option<(String, Vec<u8>)>);

/// The Dockerfile and, if it has one of its own, its `.dockerignore`.
fn find(root: &Root, directory: &Path, given: Option<&Path>, from_stdin: bool) -> Result<Found, Error> {
    if let Some(given) = given
        && !from_stdin
    {
        // A path of the host, as in docker, wherever it leads.
        let read = |path: &Path| {
            let file = fs::File::open(path)?;
            let mut bytes = Vec::new();
            file.take(LIMIT).read_to_end(&mut bytes)?;
            io::Result::Ok(bytes)
        };
        let (path, bytes) = match read(given) {
            // `-f docker/Dockerfile` of another directory's context is forgiven, as docker does it.
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
    let context = if from_stdin { PathBuf::from("-") } else { directory.to_owned() };
    Err(Error::NoDockerfile { name: names[0].display().to_string(), context })
}

/// Unpack a tar, compressed or not, from standard input; or read a Dockerfile that stands there by itself, with nothing to copy.
fn from_standard_input(home: &Home) -> Result<(Folder, Option<Vec<u8>>), Error> {
    use std::io::IsTerminal;
    if io::stdin().is_terminal() {
        return Err(Error::Terminal);
    }
    let failed = |error: io::Error| Error::Tar(error.into());
    fs::create_dir_all(home.builds()).map_err(failed)?;
    let folder = Folder::new(&home.builds()).map_err(|error| Error::Tar(error.into()))?;
    let mut head = archive::head(&mut io::stdin()).map_err(failed)?;
    if archive::is_text(&head) {
        io::stdin().lock().take(LIMIT).read_to_end(&mut head).map_err(failed)?;
        return Ok((folder, Some(head)));
    }
    let decoder = archive::decode(head, io::stdin()).map_err(failed)?;
    let root = Root::open(folder.path()).map_err(|error| Error::Tar(error.into()))?;
    let mut applier = layer::apply::Applier::new(root, layer::apply::Options::tree());
    let mut reader = io::BufReader::with_capacity(1 << 17, decoder);
    applier.layer(&mut reader).map_err(|error| Error::Tar(error.into()))?;
    applier.finish().map_err(|error| Error::Tar(error.into()))?;
    // Who writes has written more: the archive is padded, and a closed pipe would be his failure.
    io::copy(&mut reader, &mut io::sink()).map_err(failed)?;
    Ok((folder, None))
}
