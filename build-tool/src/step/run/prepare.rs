//! What a command needs while it runs: the sources of its mounts, and the locks and folders that keep them.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use image_tool::error::During;
use image_tool::layer::stack::Stack;

use super::view;
use crate::cache::folder::Folder;
use crate::dockerfile::mount::{Kind, Mount, Owner};
use crate::run;
use crate::run::agent::Forward;
use crate::run::cache_mount::{CacheMount, Seed};
use crate::run::mount::{Prepared, Source};
use crate::source::context::Tree;
use crate::source::files;
use crate::stage::layer::Layer;
use crate::step::error::Error;
use crate::step::session::SECRET_LIMIT;
use crate::step::work::{Origin, Work};

/// The mounts and variables so far. Layers, caches, sockets and folders are held until the value is dropped.
pub(super) struct Preparation<'w> {
    work: &'w Work<'w>,
    mounts: Vec<Prepared>,
    variables: Vec<String>,
    stacks: Vec<Stack>,
    /// By name.
    caches: BTreeMap<String, CacheMount>,
    sockets: Vec<Forward>,
    folders: Vec<Folder>,
}

impl<'w> Preparation<'w> {
    pub(super) fn new(work: &'w Work<'w>) -> Self {
        let (mounts, variables, stacks, folders) = Default::default();
        let (caches, sockets) = Default::default();
        Self { work, mounts, variables, stacks, caches, sockets, folders }
    }

    /// Takes the mounts, their sources found.
    pub(super) fn take_mounts(&mut self) -> Vec<Prepared> {
        std::mem::take(&mut self.mounts)
    }

    /// Takes the secrets that are variables, as `NAME=VALUE`.
    pub(super) fn take_variables(&mut self) -> Vec<String> {
        std::mem::take(&mut self.variables)
    }

    /// The directories of layers.
    fn directories(&mut self, layers: &[Layer]) -> Result<Vec<PathBuf>, Error> {
        let stack = self.work.session.stack(layers)?;
        let paths = stack.lower();
        self.stacks.push(stack);
        Ok(paths)
    }

    /// The directories of what a mount takes from, the lowest first, to be stacked with others.
    fn lower(&mut self, origin: &Origin<'_>) -> Result<Vec<PathBuf>, Error> {
        match origin {
            Origin::Files(tree) => self.folder(tree, true),
            Origin::Stage(built) | Origin::Image(built) => self.directories(&built.draft.layers),
            Origin::Nothing => Ok(Vec::new()),
        }
    }

    /// The directories of a tree of files.
    fn folder(&mut self, tree: &Tree, stacked: bool) -> Result<Vec<PathBuf>, Error> {
        let folder = self.work.session.folder()?;
        let directories = view::directories(tree, folder.path(), stacked)?;
        self.folders.push(folder);
        Ok(directories)
    }

    /// The source of a bind mount. A context is bound where it lies, if it can be.
    fn bind(&mut self, from: Option<&str>, source: &str, read_only: bool) -> Result<Source, Error> {
        let origin = self.work.origin(from)?;
        let Origin::Files(tree) = origin else {
            return Ok(Source::Layers { lower: self.lower(&origin)?, path: files::inside(source) });
        };
        let found = tree.files.sources(source)?;
        let path = found.first().map(|source| source.path.clone()).unwrap_or_default();
        Ok(match <[PathBuf; 1]>::try_from(self.folder(tree, !read_only)?) {
            Ok([root]) => Source::Bind { root, path },
            Err(lower) => Source::Layers { lower, path },
        })
    }

    /// Mounts a script, written into `folder`, for the shell to start.
    pub(super) fn script(&mut self, folder: &Path, name: &str, text: &str) -> Result<(), Error> {
        let root = folder.join("script");
        let path = root.join(name);
        fs::create_dir(&root).during("create", &root)?;
        fs::write(&path, text).during("write", &path)?;
        for path in [&root, &path] {
            fs::set_permissions(path, Permissions::from_mode(0o755)).during("chmod", path)?;
        }
        let source = Source::Bind { root, path: PathBuf::new() };
        self.mounts.push(Prepared { target: "/dev/pipes".to_owned(), read_only: true, source });
        Ok(())
    }

    /// Finds the sources of the mounts. `folder` is the command's own.
    pub(super) fn mounts(&mut self, mounts: &[Mount], folder: &Path) -> Result<(), Error> {
        self.lock_caches(mounts)?;
        for mount in mounts {
            self.mount(mount, folder)?;
        }
        Ok(())
    }

    /// Locks the caches in the order of their names, so that no two commands ever wait for each other. Several mounts of
    /// one cache share it.
    fn lock_caches(&mut self, mounts: &[Mount]) -> Result<(), Error> {
        let session = self.work.session;
        let mut wanted = BTreeMap::new();
        for mount in mounts {
            if let Kind::Cache { sharing, .. } = &mount.kind {
                wanted.entry(self.work.cache_name(mount)?).or_insert(*sharing);
            }
        }
        for (name, sharing) in wanted {
            let cache = CacheMount::lock(&session.cache, &name, sharing, &session.interrupt)?;
            self.caches.insert(name, cache);
        }
        Ok(())
    }

    /// The directory of a cache, filled if it is new.
    fn cache(&mut self, mount: &Mount) -> Result<Option<PathBuf>, Error> {
        let Kind::Cache { from, source, owner, .. } = &mount.kind else { return Ok(None) };
        let name = self.work.cache_name(mount)?;
        if self.caches.get(&name).is_some_and(CacheMount::is_new) {
            let seed = match from {
                Some(from) => {
                    let lower = self.lower(&self.work.origin(Some(from))?)?;
                    Some(Seed { lower, path: source.clone() })
                }
                None => None,
            };
            self.caches.get(&name).map_or(Ok(()), |cache| cache.fill(*owner, seed))?;
        }
        Ok(self.caches.get(&name).map(CacheMount::data))
    }

    fn mount(&mut self, mount: &Mount, folder: &Path) -> Result<(), Error> {
        let Mount { kind, target, read_only } = mount;
        let source = match kind {
            Kind::Bind { from, source } => self.bind(from.as_deref(), source, *read_only)?,
            Kind::Cache { .. } => Source::Cache(self.cache(mount)?.unwrap_or_default()),
            Kind::Tmpfs { size } => Source::Tmpfs(*size),
            Kind::Secret { id, required, env, owner } => {
                return match self.secret(id)? {
                    Some(bytes) => {
                        self.give_secret(id, bytes, target, env.as_deref(), *owner);
                        Ok(())
                    }
                    None if *required => {
                        Err(Error::Mount(format!("secret {id} is required (--secret id={id},src=FILE)")))
                    }
                    None => Ok(()),
                };
            }
            Kind::Ssh { id, required, owner } => {
                let agent = self.work.session.agents.socket(id, &self.work.session.home.builds());
                return match agent.map_err(run::Error::from)? {
                    Some(agent) => self.give_socket(agent, target, *owner, folder),
                    None if *required => Err(Error::Mount(format!("SSH agent {id} is required (--ssh {id})"))),
                    None => Ok(()),
                };
            }
        };
        self.mounts.push(Prepared { target: target.clone(), read_only: *read_only, source });
        Ok(())
    }

    /// Adds a socket that is forwarded to an agent.
    fn give_socket(&mut self, agent: PathBuf, target: &str, owner: Owner, folder: &Path) -> Result<(), Error> {
        let name = format!("ssh-{}", self.sockets.len());
        let forward = Forward::start(folder, &name, agent, owner)?;
        let source = Source::Socket(forward.path().to_owned());
        self.mounts.push(Prepared { target: target.to_owned(), read_only: false, source });
        self.sockets.push(forward);
        Ok(())
    }

    fn secret(&self, id: &str) -> Result<Option<Vec<u8>>, Error> {
        let Some(source) = self.work.session.options.secrets.get(id) else { return Ok(None) };
        let secret = source.read()?;
        if secret.as_ref().is_some_and(|bytes| bytes.len() as u64 > SECRET_LIMIT) {
            return Err(Error::Mount(format!("secret {id} is larger than 500 KiB")));
        }
        Ok(secret)
    }

    /// Adds a secret as a variable, as a file, or as both.
    fn give_secret(&mut self, id: &str, bytes: Vec<u8>, target: &str, variable: Option<&str>, owner: Owner) {
        if let Some(name) = variable {
            self.variables.push(format!("{name}={}", String::from_utf8_lossy(&bytes)));
            if target.is_empty() {
                return;
            }
        }
        let name = id.rsplit('/').next().unwrap_or(id);
        let target = if target.is_empty() { format!("/run/secrets/{name}") } else { target.to_owned() };
        let (owner, mode) = ((owner.uid.unwrap_or(0), owner.gid.unwrap_or(0)), owner.mode.unwrap_or(0o400));
        self.mounts.push(Prepared { target, read_only: true, source: Source::Secret { bytes, owner, mode } });
    }
}
