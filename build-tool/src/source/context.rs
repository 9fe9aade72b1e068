//! The context of a build: the files that COPY may take, and the Dockerfile.

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

/// An open context, its Dockerfile read.
#[derive(Debug)]
pub struct Context {
    files: Files,
    path: PathBuf,
    dockerfile: Vec<u8>,
    dockerfile_name: String,
    /// The folder that a tar from standard input was unpacked into.
    _temporary: Option<Folder>,
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
    #[error("standard input cannot be both the context and the Dockerfile")]
    Twice,
    /// Standard input is a terminal.
    #[error("standard input is a terminal, not a tar of the context (tar -c . | build-tool build -)")]
    Terminal,
    /// Standard input is not a tar.
    #[error("the context on standard input")]
    Tar(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// The largest Dockerfile that is read.
const LIMIT: u64 = 16 << 20;

impl Context {
    /// Opens the directory `path`, or for `-` reads a tar from standard input. The Dockerfile is `dockerfile`, or else
    /// the one in the context.
    pub fn open(path: &Path, dockerfile: Option<&Path>, home: &Home) -> Result<Self, Error> {
        let from_stdin = path == Path::new("-");
        let dockerfile_from_stdin = dockerfile == Some(Path::new("-"));
        if from_stdin && dockerfile_from_stdin {
            return Err(Error::Twice);
        }
        let (temporary, text) = if from_stdin {
            let (folder, text) = from_standard_input(home)?;
            (Some(folder), text)
        } else {
            (None, None)
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

    /// The files, without those that `.dockerignore` excludes.
    pub fn files(&self) -> &Files {
        &self.files
    }

    /// The context's directory.
    pub fn path(&self) -> &Path {
        &self.path
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

type Found = (String, Vec<u8>, Option<(String, Vec<u8>)>);

/// Finds the Dockerfile and, if it has one of its own, its `.dockerignore`.
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
    let context = if from_stdin { PathBuf::from("-") } else { directory.to_owned() };
    Err(Error::NoDockerfile { name: names[0].display().to_string(), context })
}

/// Unpacks a tar, compressed or not, from standard input; or reads a Dockerfile without a context.
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
    // The writer has more to write, as archives are padded; a closed pipe would make it fail.
    io::copy(&mut reader, &mut io::sink()).map_err(failed)?;
    Ok((folder, None))
}
