//! RUN as a step: the command and its mounts are put together and keyed, then run, then the upper directory becomes the layer.

use std::fs;
use std::path::{Path, PathBuf};

use image_tool::beneath::Root;
use image_tool::layer::{Compression, diff, pack};

use super::{Error, Work, io_error};
use crate::build::SecretSource;
use crate::cache::KeyBuilder;
use crate::copy;
use crate::dockerfile::heredoc;
use crate::dockerfile::instruction::{CommandLine, Run};
use crate::dockerfile::mount::{self, Kind, Mount};
use crate::progress::Task;
use crate::run::network::Network;
use crate::run::{self, Job, Prepared, Source};
use crate::stage::base;

/// What holds locks and directories while a command runs.
#[derive(Default)]
struct Held {
    layers: Vec<image_tool::layer::cache::Layer>,
    files: Vec<fs::File>,
    folders: Vec<crate::cache::folder::Folder>,
}

impl Work<'_> {
    /// RUN. Whether the layer came out of the cache.
    pub(super) fn run(&mut self, run: &Run, task: &Task<'_>) -> Result<bool, Error> {
        let build = self.build;
        let (arguments, script) = self.command_of(run)?;
        let mounts = run.mounts.iter().map(|text| self.mount(text)).collect::<Result<Vec<_>, _>>()?;
        let network = match run.network.as_deref() {
            Some("none") => Network::None,
            Some("host") => Network::Host,
            _ => build.options.network,
        };
        let insecure = run.security.as_deref() == Some("insecure");
        let env: Vec<String> = self.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let texts = self.argument_texts();
        let mut shown = String::from("RUN ");
        if !texts.is_empty() {
            shown += &format!("|{} {} ", texts.len(), texts.join(" "));
        }
        shown += &arguments.join(" ");

        let mut key = self.begin_key("run");
        key.list(arguments.iter()).list(env.iter()).add(self.draft.workdir()).add(self.draft.user());
        key.add([u8::from(network == Network::None), insecure.into()]).add(script.as_deref().unwrap_or_default());
        for mount in &mounts {
            self.add_mount(&mut key, mount)?;
        }
        let key = key.finish();
        if self.cached(&key, &shown)? {
            return Ok(true);
        }

        let mut held = Held::default();
        let unpacked = build.unpack(&self.draft.layers)?;
        let lower = unpacked.iter().map(|layer| layer.path().to_owned()).collect();
        held.layers.extend(unpacked);
        let folder = build.folder().map_err(io_error("create a folder in", build.cache.path()))?;
        let mut prepared = Vec::new();
        if let Some(script) = &script {
            let scripts = folder.path().join("script");
            let name = &run.heredocs[0].name;
            fs::create_dir(&scripts).map_err(io_error("create", &scripts))?;
            fs::write(scripts.join(name), script).map_err(io_error("write", &scripts))?;
            for path in [&scripts, &scripts.join(name)] {
                let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
                fs::set_permissions(path, mode).map_err(io_error("chmod", path))?;
            }
            let source = Source::Bind { root: scripts, path: PathBuf::new() };
            prepared.push(Prepared { target: "/dev/pipes".to_owned(), read_only: true, source });
        }
        let mut env = env;
        for mount in mounts {
            self.prepare(mount, &mut prepared, &mut env, &mut held)?;
        }
        // Proxies are for this command and for no key: they say how to reach things, not what.
        for (name, value) in build.options.arguments.iter().filter(|(name, _)| super::is_proxy(name)) {
            if self.variable(name).is_none() {
                env.push(format!("{name}={value}"));
            }
        }
        let runtime = build.options.runtime.clone().unwrap_or_else(base::runtime);
        let (_, architecture, _) = self.draft.platform();
        let job = Job {
            lower,
            arguments,
            env,
            workdir: self.draft.workdir(),
            user: self.draft.user(),
            architecture: &architecture,
            mounts: prepared,
            network,
            insecure,
            runtime: &runtime,
            home: &build.home,
            folder: folder.path(),
        };
        run::run(&job, task, &build.interrupt)?;
        let upper = folder.path().join("upper");
        let options = diff::Options { latest: build.options.epoch, ..diff::Options::default() };
        let packer = pack::Packer::new(build.cache.writer(), Compression::Gzip)?;
        let (descriptor, diff_id) = diff::upper(&Root::open(&upper)?, packer, &options)?.finish()?;
        // Packed with other times than it has, it would not be the layer that its name says.
        if build.options.epoch.is_none() {
            held.layers.push(build.layers.adopt(&diff_id, &upper)?);
        }
        let layer = build.cache.layer(descriptor, diff_id);
        self.forget_tree();
        self.finish(key, &shown, Some(layer))?;
        Ok(false)
    }

    /// The program and its arguments, and for a heredoc that begins with `#!` the script.
    fn command_of(&self, run: &Run) -> Result<(Vec<String>, Option<String>), Error> {
        let (CommandLine::Shell(text), Some(first)) = (&run.command, run.heredocs.first()) else {
            return Ok((self.command(&run.command), None));
        };
        if heredoc::parse(text)?.is_none() {
            // The shell knows heredocs by itself.
            let bodies: String =
                run.heredocs.iter().map(|heredoc| format!("\n{}{}", heredoc.content, heredoc.name)).collect();
            return Ok((self.command(&CommandLine::Shell(text.clone() + &bodies)), None));
        }
        let body = first.body();
        match body.starts_with("#!") {
            true => Ok((self.command(&CommandLine::Shell(format!("/dev/pipes/{}", first.name))), Some(body))),
            false => Ok((self.command(&CommandLine::Shell(body)), None)),
        }
    }

    fn mount(&self, text: &str) -> Result<Mount, Error> {
        let text = self.expand(text)?;
        let mut mount = mount::parse(&text).map_err(|error| Error::Mount(error.to_string()))?;
        if !mount.target.is_empty() {
            mount.target = self.absolute(&mount.target);
            if mount.target.len() > 1 {
                mount.target = mount.target.trim_end_matches('/').to_owned();
            }
            if mount.target == "/" {
                return Err(Error::Mount("target=/ would hide everything".to_owned()));
            }
        }
        Ok(mount)
    }

    /// What of a mount decides about the result: where it is, and for a bind what is in it.
    fn add_mount(&self, key: &mut KeyBuilder, mount: &Mount) -> Result<(), Error> {
        key.add("mount").add(&mount.target).add([u8::from(mount.read_only)]);
        match &mount.kind {
            Kind::Bind { from: Some(from), source } => {
                let base = self.build.plan.from(from, self.number);
                let image = self.build.source(&base, &self.platform)?;
                let built = image.built()?.map_or("", |built| built.key.hex());
                key.add("from").add(built).add(source);
            }
            Kind::Bind { from: None, source } => {
                let files = self.build.context.files();
                for source in files.sources(source)? {
                    let found = files.walk(&source, &crate::source::ignore::Ignore::default())?;
                    let input = [copy::Input::Files { files, source, found }];
                    copy::add_to_key(key, &input, &copy::Options::default(), &self.build.digests, true)?;
                }
            }
            Kind::Cache { id, sharing, .. } => {
                key.add("cache").add(id.as_deref().unwrap_or(&mount.target)).add(format!("{sharing:?}"));
            }
            Kind::Tmpfs { size } => {
                key.add("tmpfs").add(format!("{size:?}"));
            }
            // Another password does not make another layer.
            Kind::Secret { id, env, .. } => {
                key.add("secret").add(id).add(env.as_deref().unwrap_or_default());
            }
        }
        Ok(())
    }

    /// Find the source of a mount.
    fn prepare(
        &mut self,
        mount: Mount,
        prepared: &mut Vec<Prepared>,
        env: &mut Vec<String>,
        held: &mut Held,
    ) -> Result<(), Error> {
        let Mount { kind, target, read_only } = mount;
        let build = self.build;
        let source = match kind {
            Kind::Bind { from: None, source } => {
                let files = build.context.files();
                let found = files.sources(&source)?;
                let path = found.first().map(|source| source.path.clone()).unwrap_or_default();
                Source::Bind { root: self.context_root(held)?, path }
            }
            Kind::Bind { from: Some(from), source } => {
                Source::Layers { lower: self.lower(&from, held)?, path: crate::source::files::inside(&source) }
            }
            Kind::Cache { id, sharing, from, source, owner } => {
                let id = id.unwrap_or_else(|| target.clone());
                let seed = match from {
                    Some(from) => Some((self.lower(&from, held)?, source)),
                    None => None,
                };
                let (path, lock) = crate::run::cache_mount::directory(&build.cache, &id, sharing, owner, seed)?;
                held.files.push(lock);
                Source::Cache(path)
            }
            Kind::Tmpfs { size } => Source::Tmpfs(size),
            Kind::Secret { id, required, env: variable, owner } => {
                let Some(bytes) = self.secret(&id)? else {
                    return match required {
                        true => Err(Error::Mount(format!("secret {id} is required (--secret id={id},src=FILE)"))),
                        false => Ok(()),
                    };
                };
                if let Some(name) = &variable {
                    env.push(format!("{name}={}", String::from_utf8_lossy(&bytes)));
                    if target.is_empty() {
                        return Ok(());
                    }
                }
                let target = if target.is_empty() { format!("/run/secrets/{id}") } else { target };
                let (owner, mode) = ((owner.uid.unwrap_or(0), owner.gid.unwrap_or(0)), owner.mode.unwrap_or(0o400));
                prepared.push(Prepared { target, read_only: true, source: Source::Secret { bytes, owner, mode } });
                return Ok(());
            }
        };
        prepared.push(Prepared { target, read_only, source });
        Ok(())
    }

    fn secret(&self, id: &str) -> Result<Option<Vec<u8>>, Error> {
        Ok(match self.build.options.secrets.get(id) {
            None => None,
            Some(SecretSource::File(path)) => Some(fs::read(path).map_err(io_error("read the secret", path))?),
            Some(SecretSource::Variable(name)) => std::env::var_os(name).map(std::os::unix::ffi::OsStringExt::into_vec),
        })
    }

    /// The directories of a stage or an image.
    fn lower(&self, from: &str, held: &mut Held) -> Result<Vec<PathBuf>, Error> {
        let base = self.build.plan.from(from, self.number);
        let image = self.build.source(&base, &self.platform)?;
        let Some(built) = image.built()? else { return Ok(Vec::new()) };
        let unpacked = self.build.unpack(&built.draft.layers)?;
        let lower = unpacked.iter().map(|layer| layer.path().to_owned()).collect();
        held.layers.extend(unpacked);
        Ok(lower)
    }

    /// A directory with the context's files: the context itself, or without what `.dockerignore` leaves out a copy of it.
    fn context_root(&self, held: &mut Held) -> Result<PathBuf, Error> {
        let build = self.build;
        if build.context.files().ignores_nothing() {
            return build.context.path().canonicalize().map_err(io_error("open", build.context.path()));
        }
        let folder = build.folder().map_err(io_error("create a folder in", build.cache.path()))?;
        let path: &Path = folder.path();
        let root = Root::open(path)?;
        let files = build.context.files();
        for source in files.sources(".")? {
            for found in files.walk(&source, &crate::source::ignore::Ignore::default())? {
                files.copy_to(&found, &root)?;
            }
        }
        let path = path.to_owned();
        held.folders.push(folder);
        Ok(path)
    }
}
