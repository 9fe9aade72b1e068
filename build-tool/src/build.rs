//! A build from beginning to end: read, plan, make the stages that are needed, write the image.
//!
//! Stages are made on threads of their own, each once, whoever asks for it first; a stage that takes from another waits for it. The
//! layout sees nothing of a build but its finished image: layers come in as links from the step cache, then config, manifest and
//! index, in that order.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use image_tool::address::Address;
use image_tool::address::home::Home;
use image_tool::layer;
use image_tool::layout::platform::Platform;
use image_tool::layout::{self, Layout};

use crate::base::{self, Pull};
use crate::cache::{Cache, Key};
use crate::context::{self, Context};
use crate::digests::Digests;
use crate::dockerfile::{self, Dockerfile};
use crate::image::Draft;
use crate::interrupt::Interrupt;
use crate::network::Network;
use crate::plan::{Base, NoTarget, Plan};
use crate::progress::{Progress, Show};
use crate::stack::Layer;
use crate::step::{self, Work};

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Options {
    /// The names of the image; without any it goes to the default layout and has only its digest.
    pub tags: Vec<Address>,
    /// The context: a directory, or `-` for a tar on standard input.
    pub context: PathBuf,
    /// The Dockerfile, if it is not the context's; `-` is standard input.
    pub dockerfile: Option<PathBuf>,
    /// `--build-arg`.
    pub arguments: BTreeMap<String, String>,
    /// `--label`.
    pub labels: BTreeMap<String, String>,
    /// `--secret`: id to file.
    pub secrets: BTreeMap<String, SecretSource>,
    /// `--target`.
    pub target: Option<String>,
    /// Take nothing from the step cache.
    pub no_cache: bool,
    /// When base images are pulled.
    pub pull: Pull,
    /// The OCI runtime.
    pub runtime: Option<PathBuf>,
    /// The platform of the image.
    pub platform: Option<Platform>,
    /// The network of RUN.
    pub network: Network,
    /// How much is shown.
    pub show: Show,
    /// `SOURCE_DATE_EPOCH`: the time of the image, and the latest time of anything in its layers.
    pub epoch: Option<i64>,
}

/// Where a secret comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// A file of the host.
    File(PathBuf),
    /// A variable of the caller's environment.
    Variable(String),
}

/// Why there is no image.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The Dockerfile cannot be read.
    #[error("{}", .path.display())]
    Read {
        /// Where it was looked for.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The Dockerfile is wrong.
    #[error(transparent)]
    Dockerfile(#[from] dockerfile::Error),
    /// `--target` names no stage.
    #[error(transparent)]
    Target(#[from] NoTarget),
    /// The context cannot be read.
    #[error(transparent)]
    Context(#[from] context::Error),
    /// A layout, the target or the step cache, cannot be used.
    #[error(transparent)]
    Layout(#[from] layout::Error),
    /// Signals cannot be listened to.
    #[error("listen for signals")]
    Signals(#[source] io::Error),
    /// A step failed.
    #[error("{file}:{line}: {text}")]
    Step {
        /// The Dockerfile.
        file: String,
        /// The line of the instruction.
        line: usize,
        /// The instruction, shortened.
        text: String,
        /// What went wrong.
        source: Box<step::Error>,
    },
    /// A signal ended the build.
    #[error("interrupted by signal {0}")]
    Interrupted(i32),
}

/// What is left of a stage that failed: the error itself is told once, by the build.
#[derive(Debug, Clone, Copy)]
pub struct Failed;

/// A stage that is done, or an image that was found.
#[derive(Debug)]
pub struct Built {
    /// The image.
    pub draft: Draft,
    /// The key of its root filesystem.
    pub key: Key,
}

/// A stage or an image that is made once, whoever asks for it first.
pub type Cell = Arc<OnceLock<Result<Built, Failed>>>;

/// A build under way.
pub struct Build<'a> {
    /// What was asked for.
    pub options: &'a Options,
    /// The stages.
    pub plan: Plan,
    /// What errors call the Dockerfile.
    pub file: String,
    /// The data folder.
    pub home: Home,
    /// The context.
    pub context: Context,
    /// The step cache.
    pub cache: Cache,
    /// Digests of the context's files.
    pub digests: Digests,
    /// The unpacked layers.
    pub layers: layer::cache::Cache,
    /// The one who tells.
    pub progress: Progress,
    /// Signals.
    pub interrupt: Interrupt,
    /// The platform of the image.
    pub platform: Platform,
    /// The time of what is made now, RFC 3339.
    pub now: String,
    stages: Vec<OnceLock<Result<Built, Failed>>>,
    images: Mutex<HashMap<(String, String), Cell>>,
    error: Mutex<Option<Error>>,
}

/// Build the image; its address.
pub fn build(options: &Options) -> Result<Address, Error> {
    let progress = Progress::new(options.show);
    let home = Home::from_environment();
    let context = Context::open(&options.context, options.dockerfile.as_deref(), &home)?;
    let task = progress.start(format!("[internal] load build definition from {}", context.dockerfile_name()));
    let (file, source) = (context.dockerfile_name().to_owned(), context.dockerfile());
    let parsed = Dockerfile::parse(&file, source)?;
    let platform = options.platform.clone().unwrap_or_else(Platform::host);
    let lookup = |name: &str| argument(options, &platform, name);
    let mut plan = Plan::new(&file, &parsed, &lookup)?;
    if let Some(target) = &options.target {
        plan.set_target(target)?;
    }
    let length = source.len();
    task.note(&format!("transferring dockerfile: {length}B done"));
    task.done();
    for warning in &parsed.warnings {
        progress.warn(&format!("{}: {} ({file}:{})", warning.rule, warning.message, warning.line));
    }
    let builds = home.builds();
    let build = Build {
        options,
        file,
        context,
        cache: Cache::open(&home, !options.no_cache)?,
        digests: Digests::open(&builds),
        layers: layer::cache::Cache::of(&home),
        progress,
        interrupt: Interrupt::listen().map_err(Error::Signals)?,
        now: timestamp(options.epoch),
        stages: plan.stages.iter().map(|_| OnceLock::new()).collect(),
        images: Mutex::default(),
        error: Mutex::default(),
        platform,
        plan,
        home,
    };
    build.sweep();
    build.warn_of_unused_arguments();
    let result = build.make();
    build.digests.save();
    result
}

/// The value of `--build-arg`, or of an argument that is there without it.
pub fn argument(options: &Options, platform: &Platform, name: &str) -> Option<String> {
    if let Some(value) = options.arguments.get(name) {
        return Some(value.clone());
    }
    let host = Platform::host();
    let variant = |platform: &Platform| platform.variant().unwrap_or_default().to_owned();
    Some(match name {
        "TARGETPLATFORM" => platform.to_string(),
        "TARGETOS" => platform.os().to_owned(),
        "TARGETARCH" => platform.architecture().to_owned(),
        "TARGETVARIANT" => variant(platform),
        "BUILDPLATFORM" => host.to_string(),
        "BUILDOS" => host.os().to_owned(),
        "BUILDARCH" => host.architecture().to_owned(),
        "BUILDVARIANT" => variant(&host),
        "TARGETSTAGE" => options.target.clone().unwrap_or_else(|| "default".to_owned()),
        "SOURCE_DATE_EPOCH" => options.epoch?.to_string(),
        _ => return None,
    })
}

/// RFC 3339 of the epoch, or of now.
fn timestamp(epoch: Option<i64>) -> String {
    match epoch.and_then(|seconds| jiff::Timestamp::from_second(seconds).ok()) {
        Some(time) => time.to_string(),
        None => jiff::Timestamp::now().to_string(),
    }
}

impl Build<'_> {
    /// The time of a step that is done now.
    pub fn timestamp(&self) -> String {
        timestamp(self.options.epoch)
    }

    fn make(&self) -> Result<Address, Error> {
        let target = self.plan.target;
        let needed = self.plan.needed();
        std::thread::scope(|scope| {
            for stage in needed.into_iter().filter(|stage| *stage != target) {
                // Without a thread the stage is made when somebody asks for it.
                let _ = std::thread::Builder::new().name(format!("stage {stage}")).spawn_scoped(scope, move || {
                    let _ = self.stage(stage);
                });
            }
            let _ = self.stage(target);
        });
        if let Some(error) = self.error.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Err(match self.interrupt.signal() {
                Some(signal) => Error::Interrupted(signal),
                None => error,
            });
        }
        match self.stage(target) {
            Ok(built) => self.write(&built.draft),
            Err(Failed) => Err(Error::Interrupted(self.interrupt.signal().unwrap_or_default())),
        }
    }

    /// The stage of that number, made now if nobody has yet.
    pub fn stage(&self, number: usize) -> Result<&Built, Failed> {
        let made = self.stages[number].get_or_init(|| Work::stage(self, number).map_err(|failure| self.fail(failure)));
        made.as_ref().map_err(|failed| *failed)
    }

    /// Remember the first error, and stop what else is under way.
    fn fail(&self, failure: step::Failure) -> Failed {
        let step::Failure { line, text, source } = failure;
        if !matches!(source, step::Error::Failed) {
            let mut first = self.error.lock().unwrap_or_else(PoisonError::into_inner);
            let file = self.file.clone();
            first.get_or_insert(Error::Step { file, line, text, source: Box::new(source) });
            drop(first);
            self.interrupt.set();
        }
        Failed
    }

    /// An image by its name, found or pulled once.
    pub fn image(&self, name: &str, platform: &Platform) -> Result<Cell, base::Error> {
        let key = (name.to_owned(), platform.to_string());
        let cell = Arc::clone(self.images.lock().unwrap_or_else(PoisonError::into_inner).entry(key).or_default());
        let mut error = None;
        cell.get_or_init(|| {
            self.find(name, platform).map_err(|found| {
                error = Some(found);
                Failed
            })
        });
        match error {
            Some(error) => Err(error),
            None => Ok(cell),
        }
    }

    fn find(&self, name: &str, platform: &Platform) -> Result<Built, base::Error> {
        let layout = self.options.tags.first().map_or("", |tag| tag.layout());
        let task = self.progress.start(format!("[internal] load metadata for {}", full_name(name)));
        let quiet = self.options.show == Show::Quiet;
        let found = base::find(layout, name, platform, self.options.pull, quiet)
            .and_then(|(layout, image)| Ok(Draft::of_image(&layout, &image)?));
        match found {
            Ok(draft) => {
                task.done();
                let mut key = Key::builder("image");
                key.list(draft.layers.iter().map(|layer| layer.diff_id.to_string()));
                Ok(Built { draft, key: key.finish() })
            }
            Err(error) => {
                task.failed(&error.to_string());
                Err(error)
            }
        }
    }

    /// The directories of these layers, unpacked if they are not yet; they stay as long as the values live.
    pub fn unpack(&self, layers: &[Layer]) -> Result<Vec<layer::cache::Layer>, layer::cache::Error> {
        let mut sources = Vec::new();
        for Layer { layout, descriptor, diff_id } in layers {
            // The blob of one that is unpacked is not even opened.
            if let Some(found) = self.layers.get(diff_id)? {
                sources.push(Err(found));
                continue;
            }
            let blob = layout.open_blob(descriptor)?;
            sources.push(Ok(layer::cache::Source { blob, descriptor: descriptor.clone(), diff_id: diff_id.clone() }));
        }
        let mut missing = Vec::new();
        let order: Vec<Option<layer::cache::Layer>> = sources
            .into_iter()
            .map(|source| match source {
                Ok(source) => {
                    missing.push(source);
                    None
                }
                Err(found) => Some(found),
            })
            .collect();
        let mut unpacked = self.layers.layers(&missing)?.into_iter();
        Ok(order.into_iter().filter_map(|found| found.or_else(|| unpacked.next())).collect())
    }

    /// An empty folder of this build's own beside the layer cache.
    pub fn folder(&self) -> io::Result<Folder> {
        Folder::new(&self.home.builds())
    }

    /// Remove what killed builds left.
    fn sweep(&self) {
        let Ok(entries) = fs::read_dir(self.home.builds()) else { return };
        for entry in entries.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with(TEMPORARY)) {
            let Ok(folder) = fs::File::open(entry.path()) else { continue };
            // A folder is younger than its lock for a moment.
            let young = folder
                .metadata()
                .and_then(|data| data.modified())
                .is_ok_and(|time| time.elapsed().is_ok_and(|age| age.as_secs() < 60));
            if !young && rustix::fs::flock(&folder, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_ok() {
                crate::run::end_orphan(&entry.path());
                // What cannot be removed now will be tried again by the next build.
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }

    fn warn_of_unused_arguments(&self) {
        use crate::dockerfile::Instruction;
        let declared = |name: &str| {
            self.plan.globals.iter().any(|(global, _)| global == name)
                || self.plan.stages.iter().flat_map(|stage| &stage.steps).any(|step| {
                    matches!(&step.instruction, Instruction::Arg(arguments) if arguments.iter().any(|argument| argument.name == name))
                })
        };
        let predefined = |name: &str| {
            step::is_proxy(name)
                || argument(&Options { arguments: BTreeMap::new(), ..self.options.clone() }, &self.platform, name)
                    .is_some()
                || name == "SOURCE_DATE_EPOCH"
        };
        for name in self.options.arguments.keys().filter(|name| !declared(name) && !predefined(name)) {
            self.progress.warn(&format!("--build-arg {name}: no ARG of that name"));
        }
    }

    /// Write the image under its names.
    fn write(&self, draft: &Draft) -> Result<Address, Error> {
        let task = self.progress.start("exporting to image");
        let mut draft = draft.clone();
        for (name, value) in &self.options.labels {
            draft.set_member("Labels", name, value.as_str());
        }
        let created = draft.created(&self.now);
        let nameless = [None];
        let named: Vec<Option<&Address>> = self.options.tags.iter().map(Some).collect();
        let names: &[Option<&Address>] = if named.is_empty() { &nameless } else { &named };
        let mut first = None;
        for name in names {
            let path = name.map_or_else(|| self.home.images(), Address::layout_path);
            let writer = Layout::create(&path)?.writer()?;
            let descriptor = draft.write(&writer, &created)?;
            let address = match name {
                Some(name) => {
                    match name.reference() {
                        Some(reference) => writer.publish(reference, descriptor.clone())?,
                        None => writer.layout().update_index(|index| {
                            index.add(&descriptor);
                            Ok(())
                        })?,
                    }
                    name.with_digest(descriptor.digest())
                }
                None => {
                    writer.layout().update_index(|index| {
                        index.add(&descriptor);
                        Ok(())
                    })?;
                    Address::new("", None, Some(descriptor.digest().clone())).expect("it has a digest")
                }
            };
            if first.is_none() {
                task.note(&format!("writing image {} done", descriptor.digest()));
            }
            if let Some(name) = name {
                task.note(&format!("naming to {name} done"));
            }
            first.get_or_insert(address);
        }
        task.done();
        Ok(first.expect("there is at least one name"))
    }

    /// What a COPY or a mount takes from: a stage or an image that is made by now.
    pub fn source(&self, base: &Base, platform: &Platform) -> Result<SourceImage<'_>, step::Error> {
        match base {
            Base::Scratch => Ok(SourceImage::Nothing),
            Base::Stage(number) => self.stage(*number).map(SourceImage::Stage).map_err(|Failed| step::Error::Failed),
            Base::Image(name) => Ok(SourceImage::Image(self.image(name, platform)?)),
        }
    }
}

/// A stage or an image to take from.
pub enum SourceImage<'a> {
    /// Nothing at all.
    Nothing,
    /// A stage of this build.
    Stage(&'a Built),
    /// An image.
    Image(Cell),
}

impl SourceImage<'_> {
    /// What was built, unless it is nothing.
    pub fn built(&self) -> Result<Option<&Built>, step::Error> {
        match self {
            Self::Nothing => Ok(None),
            Self::Stage(built) => Ok(Some(built)),
            Self::Image(cell) => match cell.get() {
                Some(Ok(built)) => Ok(Some(built)),
                _ => Err(step::Error::Failed),
            },
        }
    }
}

/// A temporary folder of a build.
#[derive(Debug)]
pub struct Folder {
    folder: tempfile::TempDir,
    _lock: fs::File,
}

impl Folder {
    /// A new one, locked as long as it is in use: one without a lock is left from a build that was killed.
    pub fn new(builds: &Path) -> io::Result<Self> {
        let folder = tempfile::Builder::new().prefix(TEMPORARY).tempdir_in(builds)?;
        let lock = fs::File::open(folder.path())?;
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockShared)?;
        Ok(Self { folder, _lock: lock })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

const TEMPORARY: &str = ".step-";

/// A name as BuildKit shows it.
fn full_name(name: &str) -> String {
    let (repository, tag) = image_tool::address::name::canonical(name.split('@').next().unwrap_or(name));
    match name.split_once('@') {
        Some((_, digest)) => format!("{repository}@{digest}"),
        None => format!("{repository}:{tag}"),
    }
}
