//! One stage, step by step: variables get values, keys are looked up, and what is not in the cache is done.

mod copy_add;
mod error;
mod metadata;
mod run_command;

use std::path::Path;

use image_tool::layer::{Compression, pack};
use image_tool::layout::platform::Platform;

use crate::build::{Build, Built};
use crate::cache::{Key, KeyBuilder, Record, RecordedLayer};
use crate::contents::Contents;
use crate::copy::{self, Copier};
use crate::dockerfile::expand::{self, Quoting};
use crate::dockerfile::instruction::Instruction;
use crate::dockerfile::{Dockerfile, Step};
use crate::files;
use crate::image::Draft;
use crate::owner;
use crate::plan::{Base, Stage};
use crate::stack::{self, Layer};
use crate::tree::Tree;

pub use error::Error;
use error::io_error;

/// A step that failed, and where it stands.
#[derive(Debug)]
pub struct Failure {
    /// The line.
    pub line: usize,
    /// The instruction, shortened.
    pub text: String,
    /// What went wrong.
    pub source: Error,
}

/// Variables that RUN sees without an ARG and that change no key.
const PROXIES: [&str; 10] = [
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "FTP_PROXY",
    "ftp_proxy",
    "NO_PROXY",
    "no_proxy",
    "ALL_PROXY",
    "all_proxy",
];

/// Whether RUN sees this `--build-arg` without an ARG.
pub fn is_proxy(name: &str) -> bool {
    PROXIES.contains(&name)
}

/// A stage in the making.
pub struct Work<'a> {
    pub(crate) build: &'a Build<'a>,
    pub(crate) number: usize,
    pub(crate) platform: Platform,
    pub(crate) draft: Draft,
    pub(crate) key: Key,
    /// What the layers make together, once somebody asked.
    tree: Option<Tree>,
    /// ENV and ARG, the later over the earlier.
    pub(crate) env: Vec<(String, String)>,
    /// The names of ARGs so far, for the history of RUN.
    arguments: Vec<String>,
    /// Whether this stage has had a CMD.
    command_set: bool,
    /// When the last layer was made.
    created: String,
    done: usize,
    total: usize,
    label: String,
}

impl<'a> Work<'a> {
    /// Make the stage of that number.
    pub fn stage(build: &'a Build<'a>, number: usize) -> Result<Built, Failure> {
        let stage = &build.plan.stages[number];
        let failure = |source| Failure { line: stage.span.start, text: shorten(&stage.text), source };
        let mut work = Self::begin(build, number).map_err(failure)?;
        for trigger in work.draft.take_triggers() {
            let name = format!("ONBUILD of {}", base_name(stage));
            let steps =
                Dockerfile::parse_trigger(&name, &trigger, build.plan.escape).map_err(|error| failure(error.into()))?;
            for step in steps {
                work.step(&step).map_err(|source| Failure {
                    line: stage.span.start,
                    text: format!("{}: ONBUILD {}", shorten(&stage.text), shorten(&step.text)),
                    source,
                })?;
            }
        }
        for step in &stage.steps {
            let failure = |source| Failure { line: step.span.start, text: shorten(&step.text), source };
            work.step(step).map_err(failure)?;
        }
        Ok(Built { draft: work.draft, key: work.key })
    }

    fn begin(build: &'a Build<'a>, number: usize) -> Result<Self, Error> {
        let stage = &build.plan.stages[number];
        let platform = match &stage.platform {
            Some(text) => text.parse()?,
            None => build.platform.clone(),
        };
        let source = build.source(&stage.base, &platform)?;
        let several = build.plan.needed().len() > 1;
        let label = match (&stage.name, several) {
            (Some(name), true) => format!("{name} "),
            (None, true) => format!("stage-{number} "),
            (_, false) => String::new(),
        };
        let counts = |step: &&Step| {
            matches!(
                step.instruction,
                Instruction::Add(_) | Instruction::Copy(_) | Instruction::Run(_) | Instruction::Workdir(_)
            )
        };
        let total = 1 + stage.steps.iter().filter(counts).count();
        let (draft, key) = match source.built()? {
            Some(built) => (built.draft.clone(), built.key.clone()),
            None => (Draft::scratch(&platform), Key::builder("scratch").finish()),
        };
        if stage.base != Base::Scratch {
            build.progress.start(format!("[{label}1/{total}] FROM {}", base_name(stage))).done();
        }
        let created = draft.created(&build.now);
        let mut env: Vec<(String, String)> = Vec::new();
        for pair in draft.env() {
            if let Some((name, value)) = pair.split_once('=') {
                metadata::set_variable(&mut env, name, value);
            }
        }
        Ok(Self {
            build,
            number,
            platform,
            draft,
            key,
            tree: None,
            env,
            arguments: Vec::new(),
            command_set: false,
            created,
            done: 1,
            total,
            label,
        })
    }

    /// Expand a word.
    pub(crate) fn expand(&self, text: &str) -> Result<String, Error> {
        Ok(expand::word(text, self.build.plan.escape, Quoting::Strip, &|name| self.variable(name))?)
    }

    pub(crate) fn variable(&self, name: &str) -> Option<String> {
        self.env.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone())
    }

    /// Carry out one instruction.
    fn step(&mut self, step: &Step) -> Result<(), Error> {
        if self.build.interrupt.is_set() {
            return Err(Error::Interrupted);
        }
        match &step.instruction {
            Instruction::Add(_) | Instruction::Copy(_) | Instruction::Run(_) | Instruction::Workdir(_) => {
                self.done += 1;
                let (label, done, total) = (&self.label, self.done.min(self.total), self.total);
                let summary = heredoc_summary(&step.instruction);
                let name = format!("[{label}{done}/{total}] {}{summary}", shorten(&step.text));
                let task = self.build.progress.start(name);
                let result = match &step.instruction {
                    Instruction::Add(copy) => self.copy(copy, true, &task),
                    Instruction::Copy(copy) => self.copy(copy, false, &task),
                    Instruction::Run(run) => self.run(run, &task),
                    Instruction::Workdir(path) => self.workdir(path),
                    _ => unreachable!("the outer match lists the same four"),
                };
                match result {
                    Ok(true) => task.cached(),
                    Ok(false) => task.done(),
                    Err(error) => {
                        task.failed(&chain(&error));
                        return Err(error);
                    }
                }
            }
            other => self.set(other)?,
        }
        Ok(())
    }

    /// What the layers so far make together.
    pub(crate) fn tree(&mut self) -> Result<&mut Tree, Error> {
        let tree = match self.tree.take() {
            Some(tree) => tree,
            None => stack::tree(&self.draft.layers, &self.build.home)?,
        };
        Ok(self.tree.insert(tree))
    }

    /// The ids that a name of `--chown` or USER means in the root filesystem.
    pub(crate) fn owner(&mut self, text: &str) -> Result<(u32, u32), Error> {
        if let Some(ids) = owner::numeric(text)? {
            return Ok(ids);
        }
        self.tree()?;
        let tree = self.tree.as_ref().expect("it was just loaded");
        Ok(owner::look_up(text, tree, &self.draft.layers, &self.build.home)?)
    }

    /// A path of the root filesystem, made absolute by the working directory.
    pub(crate) fn absolute(&self, path: &str) -> String {
        let joined = if path.starts_with('/') { path.to_owned() } else { format!("{}/{path}", self.draft.workdir()) };
        let cleaned = format!("/{}", files::inside(&joined).display());
        match path.ends_with('/') || path.ends_with("/.") || path == "." || path.is_empty() {
            true if cleaned != "/" => cleaned + "/",
            _ => cleaned,
        }
    }

    /// WORKDIR: the directory is made if it is missing.
    fn workdir(&mut self, path: &str) -> Result<bool, Error> {
        let path = self.expand(path)?;
        let path = self.absolute(&path);
        let path = if path.len() > 1 { path.trim_end_matches('/').to_owned() } else { path };
        self.draft.set("WorkingDir", path.as_str());
        let text = format!("WORKDIR {path}");
        if path == "/" {
            self.note(&text);
            return Ok(false);
        }
        let user = self.draft.user().to_owned();
        let mut key = self.begin_key("workdir");
        key.add(&path).add(&user);
        let key = key.finish();
        if self.cached(&key, &text)? {
            return Ok(true);
        }
        let owner = if user.is_empty() { None } else { Some(self.owner(&user)?) };
        let tree = self.tree()?;
        let resolved = tree.resolve(Path::new(&path))?;
        if tree.is_directory(&resolved) {
            self.finish(key, &text, None)?;
            return Ok(false);
        }
        let options = copy::Options {
            destination: format!("{path}/"),
            owner,
            epoch: self.build.options.epoch,
            ..copy::Options::default()
        };
        let layer = self.pack_layer(&options, &[copy::Input::Nothing], false)?;
        self.finish(key, &text, Some(layer))?;
        Ok(false)
    }

    /// The key of a step upon what is there so far.
    pub(crate) fn begin_key(&self, kind: &str) -> KeyBuilder {
        let mut key = Key::builder(kind);
        key.add(self.key.hex());
        // A layer whose times are bound by another epoch is another layer.
        key.add(self.build.options.epoch.unwrap_or(i64::MIN).to_le_bytes());
        key
    }

    /// Take the step out of the cache, if it is there.
    pub(crate) fn cached(&mut self, key: &Key, text: &str) -> Result<bool, Error> {
        let Some((record, layer)) = self.build.cache.get(key) else { return Ok(false) };
        if let (Some(tree), Some(layer)) = (&mut self.tree, &layer) {
            tree.apply(&Contents::of(layer, &self.build.home)?);
        }
        let created = if self.build.options.epoch.is_some() { self.build.now.clone() } else { record.created };
        self.draft.record(text, &created, layer);
        self.created = created;
        self.key = key.clone();
        Ok(true)
    }

    /// Enter a step that was done into image and cache.
    pub(crate) fn finish(&mut self, key: Key, text: &str, layer: Option<Layer>) -> Result<(), Error> {
        let created = self.build.timestamp();
        let recorded = layer
            .as_ref()
            .map(|layer| RecordedLayer { descriptor: layer.descriptor.clone(), diff_id: layer.diff_id.to_string() });
        let record = Record { created: created.clone(), layer: recorded, step: text.to_owned() };
        self.build.cache.put(&key, &record).map_err(io_error("write the step cache", self.build.cache.path()))?;
        self.draft.record(text, &created, layer);
        self.created = created;
        self.key = key;
        Ok(())
    }

    /// Copy into a layer of its own. With `link` it does not look at what lies below it.
    fn pack_layer(&mut self, options: &copy::Options, inputs: &[copy::Input<'_>], link: bool) -> Result<Layer, Error> {
        let packer = pack::Packer::new(self.build.cache.writer(), Compression::Gzip)?;
        let build = self.build;
        let mut nothing = Tree::default();
        let tree = if link { &mut nothing } else { self.tree()? };
        let packer = Copier::new(tree, options, &build.digests, packer).copy(inputs)?;
        tree.seal();
        if link {
            // What it holds is known only beside what lay below.
            self.tree = None;
        }
        let (descriptor, diff_id) = packer.finish()?;
        Ok(self.build.cache.layer(descriptor, diff_id))
    }

    /// The names and values of ARGs so far, as the history of RUN shows them.
    pub(crate) fn argument_texts(&self) -> Vec<String> {
        self.arguments.iter().map(|name| format!("{name}={}", self.variable(name).unwrap_or_default())).collect()
    }

    /// A layer was added by other means than a copy.
    pub(crate) fn forget_tree(&mut self) {
        self.tree = None;
    }
}

fn base_name(stage: &Stage) -> String {
    match &stage.base {
        Base::Scratch => "scratch".to_owned(),
        Base::Stage(_) => stage
            .text
            .split_whitespace()
            .find(|word| !word.starts_with("--") && !word.eq_ignore_ascii_case("from"))
            .unwrap_or_default()
            .to_owned(),
        Base::Image(name) => name.clone(),
    }
}

/// An error and its causes on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text += &format!(": {cause}");
        source = cause.source();
    }
    text
}

/// The first line of a script that stands in a heredoc: ` (apt-get update...)`.
fn heredoc_summary(instruction: &Instruction) -> String {
    let Instruction::Run(run) = instruction else { return String::new() };
    let Some(heredoc) = run.heredocs.first() else { return String::new() };
    let lines: Vec<&str> = heredoc.content.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    match lines.as_slice() {
        [] => String::new(),
        [only] => format!(" ({})", shorten(only)),
        [first, ..] => format!(" ({}...)", shorten(first)),
    }
}

/// The beginning of an instruction's text, enough to know it by.
pub(crate) fn shorten(text: &str) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match text.char_indices().nth(120) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}
