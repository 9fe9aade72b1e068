//! The scheduler: when each stage is made, and what a stage takes from.
//!
//! Each stage is made once, on a thread of its own or by the first who asks for it. A stage that takes from another one
//! waits for it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;

use image_tool::address::{Address, name};
use image_tool::layout::platform::Platform;
use image_tool::layout::{Image, Layout};

use super::error::Error;
use crate::cache::Key;
use crate::dockerfile::plan::{Base, Plan};
use crate::progress::Show;
use crate::source::place::{LAYOUT, Place};
use crate::stage::base::{self, Query};
use crate::stage::draft::Draft;
use crate::step::session::Session;
use crate::step::{self, Built, Failure};

/// What a stage that failed leaves behind; the error itself is returned once, by [`make`].
#[derive(Debug, Clone, Copy)]
struct Failed;

/// A stage or an image, made by whoever asks for it first.
type Cell = OnceLock<Result<Arc<Built>, Failed>>;

struct Scheduler<'a> {
    session: &'a Session<'a>,
    /// The image's platform.
    platform: &'a Platform,
    plan: &'a Plan,
    stages: Vec<Cell>,
    /// By name and platform.
    images: Mutex<HashMap<(String, String), Arc<Cell>>>,
    /// The first error of any stage.
    error: Mutex<Option<Error>>,
}

/// Makes the stages that the target needs, and returns the target.
pub(super) fn make(session: &Session<'_>, platform: &Platform, plan: &Plan) -> Result<Arc<Built>, Error> {
    let stages = plan.stages.iter().map(|_| Cell::new()).collect();
    let scheduler = &Scheduler { session, platform, plan, stages, images: Mutex::default(), error: Mutex::default() };
    let target = plan.target;
    let made = thread::scope(|scope| {
        for stage in plan.needed().into_iter().filter(|stage| *stage != target) {
            // If no thread can be started, the stage is made when another one asks for it.
            let _ = thread::Builder::new().name(format!("stage {stage}")).spawn_scoped(scope, move || {
                let _ = scheduler.stage(stage);
            });
        }
        scheduler.stage(target)
    });
    let error = scheduler.error.lock().unwrap_or_else(PoisonError::into_inner).take();
    match (error, session.interrupt.signal()) {
        (None, signal) => made.map_err(|Failed| Error::Interrupted(signal.unwrap_or_default())),
        (Some(_), Some(signal)) => Err(Error::Interrupted(signal)),
        (Some(error), None) => Err(error),
    }
}

impl Scheduler<'_> {
    /// Returns the stage of that number, made now if nobody has made it yet.
    fn stage(&self, number: usize) -> Result<Arc<Built>, Failed> {
        let made = self.stages[number].get_or_init(|| {
            let sources = |base: &Base, platform: &Platform| self.source(base, platform);
            let made = step::stage(self.session, self.platform, self.plan, number, &sources);
            made.map(Arc::new).map_err(|failure| self.fail(failure))
        });
        made.clone()
    }

    /// Returns the stage or image that a stage takes from, made by now; `None` is scratch.
    fn source(&self, base: &Base, platform: &Platform) -> Result<Option<Arc<Built>>, step::Error> {
        match base {
            Base::Scratch => Ok(None),
            Base::Stage(number) => self.stage(*number).map(Some).map_err(|Failed| step::Error::Failed),
            Base::Image(name) => self.image(name, platform).map(Some),
            Base::Context(name) => self.context(name, platform),
        }
    }

    /// Keeps the first error, and stops everything else that is under way.
    fn fail(&self, failure: Failure) -> Failed {
        let Failure { lines, text, source } = failure;
        // What was interrupted is not what went wrong: that is a signal, or the failure of another stage or platform.
        if !source.is_interrupt() && !matches!(source, step::Error::Failed) {
            let file = self.session.context.dockerfile_name().to_owned();
            let mut first = self.error.lock().unwrap_or_else(PoisonError::into_inner);
            first.get_or_insert(Error::Step { file, lines, text, source: Box::new(source) });
            drop(first);
            self.session.interrupt.set();
        }
        Failed
    }

    /// Returns what a context with a name holds: an image, or files as the only layer.
    fn context(&self, name: &str, platform: &Platform) -> Result<Option<Arc<Built>>, step::Error> {
        match self.session.contexts.place(name) {
            Some(Place::Image(image)) if image == "scratch" => Ok(None),
            Some(Place::Image(image)) => self.image(image, platform).map(Some),
            Some(Place::Layout(address)) => {
                let found = || self.in_layout(address, platform);
                self.once(format!("{LAYOUT}{address}"), platform, found).map(Some)
            }
            _ => self.once(format!("context {name}"), platform, || step::files(self.session, name, platform)).map(Some),
        }
    }

    /// Finds an image in a layout, where nothing is pulled.
    fn in_layout(&self, address: &Address, platform: &Platform) -> Result<Built, step::Error> {
        let task = self.session.progress.start(format!("[internal] load metadata for {LAYOUT}{address}"));
        let draft = || -> Result<Draft, base::Error> {
            let layout = Layout::of(address)?;
            let image = layout.image(address, platform)?;
            base::fits(&address.to_string(), &image, platform)?;
            self.took(format!("{LAYOUT}{address}"), platform, &image);
            Ok(Draft::of_image(&layout, &image)?)
        };
        match draft() {
            Ok(draft) => {
                task.done();
                Ok(image_of(draft))
            }
            Err(error) => {
                task.failed(&error.to_string());
                Err(error.into())
            }
        }
    }

    /// Notes an image that the build is made from.
    fn took(&self, name: String, platform: &Platform, image: &Image) {
        let digest = image.descriptor().digest().to_string();
        self.session.materials().images.insert((name, platform.to_string()), digest);
    }

    /// Finds or pulls an image by its name, once for each platform.
    fn image(&self, name: &str, platform: &Platform) -> Result<Arc<Built>, step::Error> {
        self.once(name.to_owned(), platform, || Ok(self.find(name, platform)?))
    }

    /// Makes what `name` stands for, once for each platform.
    fn once(
        &self,
        name: String,
        platform: &Platform,
        make: impl FnOnce() -> Result<Built, step::Error>,
    ) -> Result<Arc<Built>, step::Error> {
        let key = (name, platform.to_string());
        let cell = Arc::clone(self.images.lock().unwrap_or_else(PoisonError::into_inner).entry(key).or_default());
        let mut error = None;
        let found = cell.get_or_init(|| {
            make().map(Arc::new).map_err(|found| {
                error = Some(found);
                Failed
            })
        });
        match error {
            Some(error) => Err(error),
            None => found.clone().map_err(|Failed| step::Error::Failed),
        }
    }

    fn find(&self, name: &str, platform: &Platform) -> Result<Built, base::Error> {
        let options = self.session.options;
        let layout = options.tags.first().map_or("", |tag| tag.layout());
        let task = self.session.progress.start(format!("[internal] load metadata for {}", full_name(name)));
        let report: &dyn Fn(&str) = &|line| task.note(line);
        let slip = self.plan.slips.get(name).map(String::as_str);
        let report = (options.show != Show::Quiet).then_some(report);
        let turn = Arc::clone(
            self.session.pulls.lock().unwrap_or_else(PoisonError::into_inner).entry(name.to_owned()).or_default(),
        );
        let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
        let query = Query { layout, name, platform, pull: options.pull, limits: options.limits, slip, report };
        let found = base::find(&query).and_then(|(layout, image)| {
            self.took(name.to_owned(), platform, &image);
            Ok(Draft::of_image(&layout, &image)?)
        });
        match found {
            Ok(draft) => {
                task.done();
                Ok(image_of(draft))
            }
            Err(error) => {
                task.failed(&error.to_string());
                Err(error)
            }
        }
    }
}

/// An image as a stage that is finished.
fn image_of(draft: Draft) -> Built {
    let mut key = Key::builder("image");
    key.list(draft.layers.iter().map(|layer| layer.diff_id.to_string()));
    Built { draft, key: key.finish() }
}

/// An image's name as BuildKit shows it.
fn full_name(name: &str) -> String {
    let (repository, tag) = name::canonical(name.split('@').next().unwrap_or(name));
    match name.split_once('@') {
        Some((_, digest)) => format!("{repository}@{digest}"),
        None => format!("{repository}:{tag}"),
    }
}
