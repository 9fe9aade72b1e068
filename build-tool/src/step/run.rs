//! RUN as a step: the command and its mounts are keyed, then run, and the upper directory becomes the layer.
//!
//! `prepare` decides what the container is given; how it runs is the room [`crate::run`].

mod prepare;

use image_tool::beneath::Root;
use image_tool::layer::{Compression, diff, pack};

use self::prepare::Preparation;
use super::error::Error;
use super::session;
use super::work::Work;
use crate::cache::{Key, KeyBuilder};
use crate::copy::{self, Input};
use crate::dockerfile::heredoc;
use crate::dockerfile::instruction::{CommandLine, Run};
use crate::dockerfile::mount::{self, Kind, Mount};
use crate::progress::Task;
use crate::run::network::Network;
use crate::run::{self, Job, emulation, runtime};
use crate::source::ignore::Ignore;
use crate::stage::layer::Layer;

/// A RUN, its variables expanded.
struct Request {
    /// The program and its arguments.
    arguments: Vec<String>,
    /// The name and the text of a heredoc that begins with `#!`.
    script: Option<(String, String)>,
    mounts: Vec<Mount>,
    network: Network,
    insecure: bool,
    /// The text for the history.
    text: String,
}

impl Work<'_> {
    /// Carries out RUN. Returns whether the layer came from the cache.
    pub(super) fn run(&mut self, run: &Run, task: &Task<'_>) -> Result<bool, Error> {
        let request = self.run_request(run)?;
        let key = self.run_key(&request)?;
        if self.cached(&key, &request.text)? {
            return Ok(true);
        }
        let text = request.text.clone();
        let layer = self.run_layer(request, task)?;
        self.forget_tree();
        self.finish(key, &text, Some(layer))?;
        Ok(false)
    }

    fn run_request(&self, run: &Run) -> Result<Request, Error> {
        let (command, script) = command_of(run)?;
        let arguments = self.command(&command);
        let mounts = run.mounts.iter().map(|text| self.mount(text)).collect::<Result<Vec<_>, _>>()?;
        let network = match run.network.as_deref() {
            Some("none") => Network::None,
            Some("host") => Network::Host,
            _ => self.session.options.network,
        };
        let insecure = run.security.as_deref() == Some("insecure");
        let given = self.variables.arguments();
        let given = if given.is_empty() { String::new() } else { format!("|{} {} ", given.len(), given.join(" ")) };
        let text = format!("RUN {given}{}", arguments.join(" "));
        Ok(Request { arguments, script, mounts, network, insecure, text })
    }

    fn mount(&self, text: &str) -> Result<Mount, Error> {
        let text = self.variables.expand(text)?;
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

    fn run_key(&self, request: &Request) -> Result<Key, Error> {
        let Request { arguments, script, mounts, network, insecure, .. } = request;
        let script = script.as_ref().map_or("", |(_, text)| text);
        let mut key = self.begin_key("run");
        key.list(arguments.iter()).list(self.variables.pairs().iter()).add(self.draft.workdir()).add(self.draft.user());
        key.add([u8::from(*network == Network::None), u8::from(*insecure)]).add(script);
        for mount in mounts {
            self.add_mount(&mut key, mount)?;
        }
        Ok(key.finish())
    }

    /// Adds to the key what may change the result of a mount: its target, and for a bind mount the files.
    fn add_mount(&self, key: &mut KeyBuilder, mount: &Mount) -> Result<(), Error> {
        key.add("mount").add(&mount.target).add([u8::from(mount.read_only)]);
        match &mount.kind {
            Kind::Bind { from: Some(from), source } => {
                let built = self.from(from)?;
                key.add("from").add(built.as_ref().map_or("", |built| built.key.hex())).add(source);
            }
            Kind::Bind { from: None, source } => {
                let files = self.session.context.files();
                for source in files.sources(source)? {
                    let found = files.walk(&source, &Ignore::default())?;
                    let input = [Input::Files { files, source, found }];
                    // A command may well copy the times.
                    let options = copy::Options { epoch: self.session.options.epoch, ..copy::Options::default() };
                    copy::add_to_key(key, &input, &options, &self.session.digests, true)?;
                }
            }
            Kind::Cache { id, sharing, .. } => {
                key.add("cache").add(id.as_deref().unwrap_or(&mount.target)).add(format!("{sharing:?}"));
            }
            Kind::Tmpfs { size } => {
                key.add("tmpfs").add(format!("{size:?}"));
            }
            // The value of a secret does not change the layer.
            Kind::Secret { id, env, .. } => {
                key.add("secret").add(id).add(env.as_deref().unwrap_or_default());
            }
        }
        Ok(())
    }

    /// Runs the command, and packs what it changed.
    fn run_layer(&self, request: Request, task: &Task<'_>) -> Result<Layer, Error> {
        let session = self.session;
        let (os, architecture, _) = self.draft.platform();
        if !emulation::runs(&architecture) {
            return Err(Error::Foreign(format!("{os}/{architecture}")));
        }
        let mut preparation = Preparation::new(self);
        let lower = preparation.unpack(&self.draft.layers)?;
        let folder = session.folder()?;
        if let Some((name, text)) = &request.script {
            preparation.script(folder.path(), name, text)?;
        }
        for mount in request.mounts {
            preparation.mount(mount)?;
        }
        let mut env = self.variables.pairs();
        env.extend(preparation.take_variables());
        // Proxies say how to reach something, not what, so they are no part of the key.
        for (name, value) in session.options.arguments.iter().filter(|(name, _)| session::is_proxy(name)) {
            if self.variables.get(name).is_none() {
                env.push(format!("{name}={value}"));
            }
        }
        let runtime = session.options.runtime.clone().unwrap_or_else(runtime::find);
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
            runtime: &runtime,
            home: &session.home,
            folder: folder.path(),
        };
        run::run(&job, task, &session.interrupt)?;
        let upper = folder.path().join("upper");
        let options = diff::Options { latest: session.options.epoch, ..diff::Options::default() };
        let packer = pack::Packer::new(session.cache.writer(), Compression::Gzip)?;
        let (descriptor, diff_id) = diff::upper(&Root::open(&upper)?, packer, &options)?.finish()?;
        // With the epoch, files are packed with other times than they have on disk, and the directory would not match
        // the diff id.
        if session.options.epoch.is_none() {
            session.layers.adopt(&diff_id, &upper)?;
        }
        Ok(session.cache.layer(descriptor, diff_id))
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
