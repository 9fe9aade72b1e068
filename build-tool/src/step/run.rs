//! RUN as a step: the command and its mounts are keyed, then run, and the upper directory becomes the layer.
//!
//! `prepare` decides what the container is given; how it runs is the room [`crate::run`].

mod prepare;
mod view;

use std::path::{Path, PathBuf};

use image_tool::beneath::Root;
use image_tool::layer::cache::Layer as Unpacked;
use image_tool::layer::{Compression, diff, pack};

use self::prepare::Preparation;
use super::error::Error;
use super::session;
use super::work::{Origin, Work};
use crate::cache::{Key, KeyBuilder};
use crate::copy::{self, Input};
use crate::dockerfile::device::{self, Device};
use crate::dockerfile::heredoc;
use crate::dockerfile::instruction::{CommandLine, Run};
use crate::dockerfile::mount::{self, Kind, Mount};
use crate::progress::Task;
use crate::run::cache_mount;
use crate::run::network::Network;
use crate::run::{self, Job, emulation};
use crate::source::files::{self, Files};
use crate::source::ignore::Ignore;
use crate::stage::layer::Layer;

/// A RUN, its variables expanded.
struct Request {
    /// The program and its arguments.
    arguments: Vec<String>,
    /// The name and the text of a heredoc that begins with `#!`.
    script: Option<(String, String)>,
    mounts: Vec<Mount>,
    devices: Vec<Device>,
    network: Network,
    insecure: bool,
    /// The text for the history.
    text: String,
}

impl Work<'_> {
    /// Carries out RUN. Returns whether the layer came from the cache.
    pub(super) fn run(&mut self, run: &Run, task: &Task<'_>) -> Result<bool, Error> {
        let request = self.run_request(run)?;
        let key = self.run_key(&request, false)?;
        // The same command may be under way for another platform.
        let _turn = self.session.turns.take(&key);
        if self.cached(&key, &request.text)? {
            return Ok(true);
        }
        let by_content = self.run_key(&request, true)?;
        let cached = by_content != key && self.cached(&by_content, &request.text)?;
        if !cached {
            let text = request.text.clone();
            let lower = self.lower()?;
            let folder = match self.folder.take() {
                Some(folder) => folder,
                None => self.session.folder()?,
            };
            let (layer, unpacked) = self.run_layer(request, lower, folder.path(), task)?;
            self.folder = run::clear(folder.path()).then_some(folder);
            self.forget_tree();
            self.finish(by_content.clone(), &text, Some(layer))?;
            self.keep(unpacked);
        }
        if by_content != key {
            // The next build finds it without looking at the files of the stages. What follows is keyed by them.
            self.session.cache.alias(&key, &by_content)?;
        }
        Ok(cached)
    }

    fn run_request(&self, run: &Run) -> Result<Request, Error> {
        let (command, script) = command_of(run)?;
        let arguments = self.command(&command);
        let mut mounts = run.mounts.iter().map(|text| self.mount(text)).collect::<Result<Vec<_>, _>>()?;
        let sockets = mounts.iter_mut().filter(|mount| matches!(mount.kind, Kind::Ssh { .. }));
        for (number, mount) in sockets.enumerate().filter(|(_, mount)| mount.target.is_empty()) {
            mount.target = format!("/run/buildkit/ssh_agent.{number}");
        }
        let devices = run.devices.iter().map(|text| device::parse(text)).collect::<Result<_, _>>();
        let devices = devices.map_err(|error| Error::Device(error.to_string()))?;
        let (insecure, network) = self.session.asks(run);
        self.session.options.granted.check(insecure, self.session.options.sandbox.network, network)?;
        self.session.materials().command(&mounts, network);
        let given = self.variables.arguments();
        let given = if given.is_empty() { String::new() } else { format!("|{} {} ", given.len(), given.join(" ")) };
        let text = format!("RUN {given}{}", arguments.join(" "));
        Ok(Request { arguments, script, mounts, devices, network, insecure, text })
    }

    fn mount(&self, text: &str) -> Result<Mount, Error> {
        let mut mount = mount::parse(text, &|value| self.variables.expand(value))
            .map_err(|error| Error::Mount(error.to_string()))?;
        // A secret and a socket have a place of their own; everything else is mounted at the working directory.
        if mount.target.is_empty() && matches!(mount.kind, Kind::Secret { .. } | Kind::Ssh { .. }) {
            return Ok(mount);
        }
        let given = !mount.target.is_empty();
        let target = self.absolute(&mount.target);
        mount.target = format!("/{}", target.trim_matches('/'));
        match (mount.target.as_str(), given) {
            ("/", true) => Err(Error::Mount("target=/ would hide everything".to_owned())),
            ("/", false) => Err(Error::Mount("missing target= (the working directory is /)".to_owned())),
            _ => Ok(mount),
        }
    }

    /// The name of the cache that a mount is.
    fn cache_name(&self, mount: &Mount) -> Result<String, Error> {
        let Kind::Cache { id, from, source, owner, .. } = &mount.kind else { return Ok(String::new()) };
        let content = from.as_deref().map(|from| self.content(Some(from), source, false)).transpose()?;
        let from = content.as_ref().map(|content| (content.as_str(), source.as_str()));
        Ok(cache_mount::name(id, from, *owner))
    }

    /// The identity of what a mount takes from: that of the files below `source`, or the key of an image. That of a stage is its key
    /// too, or with `by_content` its files', so that a stage that was made again with the same files there is the same.
    fn content(&self, from: Option<&str>, source: &str, by_content: bool) -> Result<String, Error> {
        match self.origin(from)? {
            Origin::Files(tree) => self.content_of(&tree.files, source, false),
            // Reading all files of a stage may take longer than the command.
            Origin::Stage(built) if by_content && !files::inside(source).as_os_str().is_empty() => {
                let folder = self.session.folder()?;
                let (files, _stack) = self.files_of(from.unwrap_or_default(), &built, &folder)?;
                self.content_of(&files, source, true)
            }
            Origin::Stage(built) | Origin::Image(built) => Ok(built.key.hex().to_owned()),
            Origin::Nothing => Ok(String::new()),
        }
    }

    fn content_of(&self, files: &Files, source: &str, keep_owners: bool) -> Result<String, Error> {
        let mut inputs = Vec::new();
        for source in files.sources(source)? {
            let found = files.walk(&source, &Ignore::default())?;
            inputs.push(Input::Files { files, source, found });
        }
        // A command may well copy the times.
        let options = copy::Options { epoch: self.session.options.epoch, keep_owners, ..copy::Options::default() };
        let mut key = Key::builder("files");
        copy::add_to_key(&mut key, &inputs, &options, &self.session.digests, true)?;
        Ok(key.finish().hex().to_owned())
    }

    /// The key of the command; see [`Self::content`].
    fn run_key(&self, request: &Request, by_content: bool) -> Result<Key, Error> {
        let Request { arguments, script, mounts, devices, network, insecure, .. } = request;
        let script = script.as_ref().map_or("", |(_, text)| text);
        let mut key = self.begin_key("run");
        key.list(arguments.iter()).list(self.variables.pairs().iter()).add(self.draft.workdir()).add(self.draft.user());
        key.add([u8::from(*network == Network::None), u8::from(*insecure)]).add(script);
        self.session.options.sandbox.add_to_key(&mut key);
        for mount in mounts {
            self.add_mount(&mut key, mount, by_content)?;
        }
        for device in devices {
            key.add("device").add(&device.name);
        }
        Ok(key.finish())
    }

    /// Adds to the key what may change the result of a mount: its target, and for a bind mount the files.
    fn add_mount(&self, key: &mut KeyBuilder, mount: &Mount, by_content: bool) -> Result<(), Error> {
        key.add("mount").add(&mount.target).add([u8::from(mount.read_only)]);
        match &mount.kind {
            Kind::Bind { from, source } => {
                key.add("from").add(self.content(from.as_deref(), source, by_content)?).add(source);
            }
            Kind::Cache { .. } => {
                key.add("cache").add(self.cache_name(mount)?);
            }
            Kind::Tmpfs { size } => {
                key.add("tmpfs").add(format!("{size:?}"));
            }
            // The value of a secret does not change the layer.
            Kind::Secret { id, env, .. } => {
                key.add("secret").add(id).add(env.as_deref().unwrap_or_default());
            }
            Kind::Ssh { id, .. } => {
                key.add("ssh").add(id);
            }
        }
        Ok(())
    }

    /// Runs the command in a folder, and packs what it changed.
    fn run_layer(
        &self,
        request: Request,
        lower: Vec<PathBuf>,
        folder: &Path,
        task: &Task<'_>,
    ) -> Result<(Layer, Option<Unpacked>), Error> {
        let session = self.session;
        let (os, architecture, _) = self.draft.platform();
        if !emulation::runs(&architecture) {
            return Err(Error::Foreign(format!("{os}/{architecture}")));
        }
        if !rustix::process::geteuid().is_root() {
            return Err(Error::Unprivileged);
        }
        // Dropped before the folder, in which it may have sockets.
        let mut preparation = Preparation::new(self);
        let site = session.site()?;
        if let Some((name, text)) = &request.script {
            preparation.script(folder, name, text)?;
        }
        preparation.mounts(&request.mounts, folder)?;
        let env = self.environment(&request.mounts, preparation.take_variables());
        let job = Job {
            lower,
            arguments: request.arguments,
            env,
            workdir: self.draft.workdir(),
            user: self.draft.user(),
            architecture: &architecture,
            mounts: preparation.take_mounts(),
            network: request.network,
            insecure: request.insecure,
            devices: session.options.granted.devices(&request.devices)?,
            sandbox: &session.options.sandbox,
            site: &site,
            home: &session.home,
            folder,
        };
        run::run(&job, task, &session.interrupt)?;
        let upper = run::upper(folder);
        let options = diff::Options { latest: session.options.epoch, ..diff::Options::default() };
        let root = Root::open(&upper)?;
        let unchanged = root.names("")?.is_empty();
        if unchanged && let Some((descriptor, diff_id)) = session.empty.get() {
            return Ok((session.cache.layer(descriptor.clone(), diff_id.clone()), None));
        }
        let packer = pack::Packer::new(session.cache.writer(), Compression::Gzip)?;
        let (descriptor, diff_id) = diff::upper(&root, packer, &options)?.finish()?;
        if unchanged {
            // Another stage may have been faster, with the same layer.
            let _ = session.empty.set((descriptor.clone(), diff_id.clone()));
        }
        // With the epoch, files are packed with other times than they have on disk, and the directory would not match
        // the diff id.
        let unpacked = match session.options.epoch {
            None => Some(session.layers.adopt(&diff_id, &upper)?),
            Some(_) => None,
        };
        Ok((session.cache.layer(descriptor, diff_id), unpacked))
    }
}

impl Work<'_> {
    /// The variables of a command: the stage's, the socket of an agent, proxies, and secrets.
    fn environment(&self, mounts: &[Mount], secrets: Vec<String>) -> Vec<String> {
        let mut env = self.variables.pairs();
        let socket = mounts.iter().find(|mount| matches!(mount.kind, Kind::Ssh { .. }));
        if let (Some(mount), None) = (socket, self.variables.get("SSH_AUTH_SOCK")) {
            env.push(format!("SSH_AUTH_SOCK={}", mount.target));
        }
        // Proxies say how to reach something, not what, so they are no part of the key.
        env.extend(session::proxies(&self.session.options.arguments));
        env.extend(secrets);
        env
    }
}

/// The command of a RUN; and the name and text of its heredoc if that begins with `#!`.
fn command_of(run: &Run) -> Result<(CommandLine, Option<(String, String)>), Error> {
    let (CommandLine::Shell(text), Some(first)) = (&run.command, run.heredocs.first()) else {
        return Ok((run.command.clone(), None));
    };
    if heredoc::parse(text)?.is_none() {
        // The shell reads these heredocs itself.
        let bodies: String =
            run.heredocs.iter().map(|heredoc| format!("\n{}{}", heredoc.content, heredoc.name)).collect();
        return Ok((CommandLine::Shell(text.clone() + &bodies), None));
    }
    let body = first.body();
    if body.starts_with("#!") {
        Ok((CommandLine::Shell(format!("/dev/pipes/{}", first.name)), Some((first.name.clone(), body))))
    } else {
        Ok((CommandLine::Shell(body), None))
    }
}
