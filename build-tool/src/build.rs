//! A build from beginning to end: read the Dockerfile, plan, make the stages that are needed, write the image.
//!
//! A layout sees nothing of a build but the finished image: layers come in as links from the step cache, then config,
//! manifest and index, in that order. This room may import every other one but the command line.

mod epoch;
mod error;
mod export;
mod schedule;

use image_tool::address::Address;
use image_tool::address::home::Home;
use image_tool::layer;
use image_tool::layout::platform::Platform;

use crate::cache::{Cache, folder};
use crate::dockerfile::Dockerfile;
use crate::dockerfile::instruction::Instruction;
use crate::dockerfile::plan::Plan;
use crate::progress::Progress;
use crate::run::interrupt::Interrupt;
use crate::run::runtime;
use crate::source::context::Context;
use crate::source::digests::Digests;
use crate::source::named::Named;
use crate::step::session::{self, Session};

pub use crate::step::session::{Options, SecretSource};
pub use error::Error;

/// Builds an image and returns its address.
pub fn build(options: &Options) -> Result<Address, Error> {
    let progress = Progress::new(options.show);
    let home = Home::from_environment();
    let access = options.access()?;
    let context = options.open_context(&access, &home)?;
    let contexts = Named::new(&options.contexts);
    let platform = options.platform.clone().unwrap_or_else(Platform::host);
    let mut plan = plan(options, &platform, &context, &progress)?;
    let sources = epoch::Sources { context: &context, contexts: &contexts, access: &access, home: &home };
    let options = &epoch::settle(options, &mut plan, &sources)?;
    let builds = home.builds();
    let session = Session {
        options,
        contexts,
        access,
        platform,
        now: options.timestamp(),
        cache: Cache::open(&home, !options.no_cache)?,
        layers: layer::cache::Cache::of(&home),
        home,
        context,
        digests: Digests::open(&builds),
        progress,
        interrupt: Interrupt::listen().map_err(Error::Signals)?,
    };
    folder::sweep(&builds, runtime::end_orphan);
    warn_of_unused_arguments(&session, &plan);
    let made = schedule::make(&session, &plan);
    session.digests.save();
    Ok(export::write(&session, &made?.draft)?)
}

/// Reads the Dockerfile and plans its stages.
fn plan(options: &Options, platform: &Platform, context: &Context, progress: &Progress) -> Result<Plan, Error> {
    let (file, source) = (context.dockerfile_name(), context.dockerfile());
    let task = progress.start(format!("[internal] load build definition from {file}"));
    let parsed = Dockerfile::parse(file, source)?;
    let mut plan = Plan::new(file, &parsed, &|name| options.argument(platform, name))?;
    plan.set_names(&options.contexts.iter().map(|(name, place)| (name.clone(), place.stage())).collect())?;
    if let Some(target) = &options.target {
        plan.set_target(target)?;
    }
    task.note(&format!("transferring dockerfile: {}B done", source.len()));
    task.done();
    for warning in &parsed.warnings {
        progress.warn(&format!("{}: {} ({file}:{})", warning.rule, warning.message, warning.line));
    }
    Ok(plan)
}

fn warn_of_unused_arguments(session: &Session<'_>, plan: &Plan) {
    let Session { options, platform, .. } = session;
    let declares = |instruction: &Instruction, name: &str| matches!(instruction, Instruction::Arg(arguments) if arguments.iter().any(|argument| argument.name == name));
    let declared = |name: &str| {
        plan.globals.iter().any(|(global, _)| global == name)
            || plan.stages.iter().flat_map(|stage| &stage.steps).any(|step| declares(&step.instruction, name))
    };
    let predefined = |name: &str| {
        session::is_proxy(name)
            || options.predefined(platform, name).is_some()
            || name == "SOURCE_DATE_EPOCH"
            || name == session::KEEP_GIT_DIR
    };
    for name in options.arguments.keys().filter(|name| !declared(name) && !predefined(name)) {
        session.progress.warn(&format!("--build-arg {name}: no ARG of that name"));
    }
}
