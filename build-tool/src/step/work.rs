//! A stage in the making: its draft, its variables and its key, and how a step's layer gets into image and cache.

use std::path::PathBuf;
use std::sync::Arc;

use image_tool::layer::cache::Layer as Unpacked;
use image_tool::layer::stack::Stack;
use image_tool::layer::{Compression, pack};
use image_tool::layout::platform::Platform;

use super::error::Error;
use super::session::Session;
use super::variables::Variables;
use crate::cache::folder::Folder;
use crate::cache::{Key, KeyBuilder, Record, RecordedLayer};
use crate::copy::{self, Copier};
use crate::dockerfile::instruction::{CommandLine, Instruction};
use crate::dockerfile::plan::{self, Base, Plan};
use crate::source::context;
use crate::source::files::{self, Files};
use crate::source::ignore::Ignore;
use crate::stage::contents::Contents;
use crate::stage::draft::Draft;
use crate::stage::layer::{self, Layer};
use crate::stage::owner;
use crate::stage::snapshot;
use crate::stage::tree::Tree;

/// The PATH of an image that has none.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A finished stage, or an image that was found.
#[derive(Debug)]
pub struct Built {
    /// The image so far.
    pub draft: Draft,
    /// The key of its root file system.
    pub key: Key,
}

/// What a COPY or a mount takes from.
pub(super) enum Origin<'a> {
    /// A context, which is used where it lies.
    Files(&'a context::Tree),
    /// A stage.
    Stage(Arc<Built>),
    /// An image.
    Image(Arc<Built>),
    /// `scratch`.
    Nothing,
}

/// Returns what a FROM, a COPY or a mount takes from; `None` is scratch.
pub type Sources<'a> = dyn Fn(&Base, &Platform) -> Result<Option<Arc<Built>>, Error> + 'a;

/// A stage in the making.
pub(super) struct Work<'a> {
    pub(super) session: &'a Session<'a>,
    /// The image's platform.
    target: &'a Platform,
    pub(super) plan: &'a Plan,
    pub(super) number: usize,
    sources: &'a Sources<'a>,
    /// The platform of its FROM, or else the image's.
    platform: Platform,
    pub(super) draft: Draft,
    pub(super) key: Key,
    pub(super) variables: Variables,
    /// Whether this stage has set a CMD.
    pub(super) command_set: bool,
    /// The merged contents of the layers, once they are needed.
    tree: Option<Tree>,
    /// The first of the layers, as directories; they stay until the stage is done.
    stack: Option<Stack>,
    /// The folder of the last command, for the next one.
    pub(super) folder: Option<Folder>,
    /// When the latest layer was made, RFC 3339; absent before the first, unless all times are given.
    created: Option<String>,
}

impl<'a> Work<'a> {
    /// Begins the stage of that number.
    pub(super) fn begin(
        session: &'a Session<'a>,
        target: &'a Platform,
        plan: &'a Plan,
        number: usize,
        sources: &'a Sources<'a>,
    ) -> Result<Self, Error> {
        let stage = &plan.stages[number];
        let platform = match &stage.platform {
            Some(text) => text.parse()?,
            None => target.clone(),
        };
        let (mut draft, key) = match sources(&stage.base, &platform)? {
            Some(built) => (built.draft.clone(), built.key.clone()),
            None => (Draft::scratch(&platform), Key::builder("scratch").finish()),
        };
        if draft.variable("PATH").is_none() && platform.os() != "windows" {
            draft.set_variable("PATH", PATH);
        }
        let created = draft.created().or_else(|| session.options.epoch.map(|_| session.now.clone()));
        let variables = Variables::of_image(&draft.env(), plan.escape);
        let (tree, stack, folder, command_set) = (None, None, None, false);
        Ok(Self {
            session,
            target,
            plan,
            number,
            sources,
            platform,
            draft,
            key,
            variables,
            command_set,
            tree,
            stack,
            folder,
            created,
        })
    }

    /// The platform of the stage.
    pub(super) fn platform(&self) -> &Platform {
        &self.platform
    }

    /// Ends the stage.
    pub(super) fn built(self) -> Built {
        Built { draft: self.draft, key: self.key }
    }

    /// What `--from=name` means in this stage, or what is taken from without it.
    pub(super) fn origin(&self, from: Option<&str>) -> Result<Origin<'a>, Error> {
        let session = self.session;
        let Some(name) = from else { return Ok(Origin::Files(session.context.tree())) };
        let base = self.plan.from(name, self.number)?;
        if let Base::Context(name) = &base
            && session.contexts.is_tree(name)
        {
            return Ok(Origin::Files(session.contexts.tree(name, &session.access, &session.home)?));
        }
        // As in BuildKit, an image is the target's, even where the stage has a platform of its own.
        let built = (self.sources)(&base, self.target)?;
        Ok(match (built, base) {
            (None, _) => Origin::Nothing,
            (Some(stage), Base::Stage(_)) => Origin::Stage(stage),
            (Some(image), _) => Origin::Image(image),
        })
    }

    /// The value of an ARG that has no default of its own.
    pub(super) fn inherited(&self, name: &str) -> Option<String> {
        match self.plan.globals.iter().rev().find(|(global, _)| global == name) {
            Some((_, value)) => value.clone(),
            None => self.session.argument(self.target, name),
        }
    }

    /// A path of the image, made absolute by the working directory.
    pub(super) fn absolute(&self, path: &str) -> String {
        let joined = if path.starts_with('/') { path.to_owned() } else { format!("{}/{path}", self.draft.workdir()) };
        let cleaned = format!("/{}", files::inside(&joined).display());
        if (path.ends_with('/') || path.ends_with("/.") || path == "." || path.is_empty()) && cleaned != "/" {
            cleaned + "/"
        } else {
            cleaned
        }
    }

    /// The words of a command; a command in shell form follows the shell.
    pub(super) fn command(&self, command: &CommandLine) -> Vec<String> {
        match command {
            CommandLine::Exec(words) => words.clone(),
            CommandLine::Shell(text) => self.draft.shell().into_iter().chain([text.clone()]).collect(),
        }
    }

    /// The merged contents of the layers so far.
    pub(super) fn tree(&mut self) -> Result<&mut Tree, Error> {
        let tree = match self.tree.take() {
            Some(tree) => tree,
            None => Tree::of(&self.draft.layers, &self.session.home)?,
        };
        Ok(self.tree.insert(tree))
    }

    /// Drops the merged contents, after a layer was added by other means than a copy.
    pub(super) fn forget_tree(&mut self) {
        self.tree = None;
    }

    /// The directories of the layers so far.
    pub(super) fn lower(&mut self) -> Result<Vec<PathBuf>, Error> {
        let (layers, cache) = (&self.draft.layers, &self.session.layers);
        let stack = match self.stack.take() {
            Some(mut stack) => {
                let more = &layers[stack.len()..];
                layer::extend(&mut stack, more, cache)?;
                stack
            }
            None => self.session.stack(layers)?,
        };
        Ok(self.stack.insert(stack).lower())
    }

    /// Keeps the directory of the layer that was just added.
    pub(super) fn keep(&mut self, unpacked: Option<Unpacked>) {
        if let (Some(stack), Some(unpacked)) = (&mut self.stack, unpacked)
            && stack.len() + 1 == self.draft.layers.len()
        {
            stack.push(unpacked);
        }
    }

    /// The ids of an owner, which `--chown` or USER names.
    pub(super) fn owner(&mut self, text: &str) -> Result<(u32, u32), Error> {
        if let Some(ids) = owner::numeric(text)? {
            return Ok(ids);
        }
        self.tree()?;
        let tree = self.tree.as_ref().expect("it was just loaded");
        Ok(owner::look_up(text, tree, &self.draft.layers, &self.session.home)?)
    }

    /// The files of a stage, in a folder that is empty so far. They are there as long as the stack is.
    pub(super) fn files_of(&self, name: &str, built: &Built, folder: &Folder) -> Result<(Files, Stack), Error> {
        let stack = self.session.stack(&built.draft.layers)?;
        let root = snapshot::open(stack.lower(), folder.path())?;
        Ok((Files::new(root, Ignore::default(), format!("{name} (--from)")), stack))
    }

    /// Waits for the stages that an instruction takes from, so that their time is not that of its step. What is wrong with them is
    /// the step's to tell.
    pub(super) fn wait_for_stages(&self, instruction: &Instruction) {
        for from in plan::froms(instruction) {
            if let Ok(stage @ Base::Stage(_)) = self.plan.from(&from, self.number) {
                let _ = (self.sources)(&stage, self.target);
            }
        }
    }

    /// Begins the key of a step upon what is there so far.
    pub(super) fn begin_key(&self, kind: &str) -> KeyBuilder {
        let mut key = Key::builder(kind);
        key.add(self.key.hex());
        // With another epoch, the times in the layer are others.
        key.add(self.session.options.epoch.unwrap_or(i64::MIN).to_le_bytes());
        key
    }

    /// Takes a step from the cache; `false` if it is not there.
    pub(super) fn cached(&mut self, key: &Key, text: &str) -> Result<bool, Error> {
        let stage = self.plan.stages[self.number].name.as_ref();
        let afresh = stage.is_some_and(|stage| self.session.options.no_cache_stages.contains(stage));
        if afresh && !self.session.cache.made(key) {
            return Ok(false);
        }
        let Some((record, layer)) = self.session.cache.get(key) else { return Ok(false) };
        if let (Some(tree), Some(layer)) = (&mut self.tree, &layer) {
            tree.apply(&Contents::of(layer, &self.session.home)?);
        }
        self.key = record.key(key);
        let created = if self.session.options.epoch.is_some() { self.session.now.clone() } else { record.created };
        self.draft.record(text, Some(&created), layer);
        self.created = Some(created);
        Ok(true)
    }

    /// Adds a step that was done to the image and to the cache.
    pub(super) fn finish(&mut self, key: Key, text: &str, layer: Option<Layer>) -> Result<(), Error> {
        let created = self.session.options.timestamp();
        let recorded = layer
            .as_ref()
            .map(|layer| RecordedLayer { descriptor: layer.descriptor.clone(), diff_id: layer.diff_id.to_string() });
        let record = Record { created: created.clone(), layer: recorded, step: text.to_owned(), first: None };
        self.session.cache.put(&key, &record)?;
        self.draft.record(text, Some(&created), layer);
        self.created = Some(created);
        self.key = key;
        Ok(())
    }

    /// Adds a step without a layer to the history.
    pub(super) fn note(&mut self, text: &str) {
        let created = self.created.clone();
        self.draft.record(text, created.as_deref(), None);
    }

    /// Copies into a new layer; with `link`, whatever lies below it.
    pub(super) fn pack_layer(
        &mut self,
        options: &copy::Options,
        inputs: &[copy::Input<'_>],
        link: bool,
    ) -> Result<Layer, Error> {
        let session = self.session;
        let packer = pack::Packer::new(session.cache.writer(), Compression::Gzip)?;
        let mut nothing = Tree::default();
        let tree = if link { &mut nothing } else { self.tree()? };
        let packer = Copier::new(tree, options, &session.digests, packer).copy(inputs)?;
        tree.seal();
        if link {
            // Only together with what lies below are the contents known.
            self.tree = None;
        }
        let (descriptor, diff_id) = packer.finish()?;
        Ok(session.cache.layer(descriptor, diff_id))
    }
}
