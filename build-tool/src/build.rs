//! A build from beginning to end: read the Dockerfile, plan, make the stages that are needed, write the image.
//!
//! A layout sees nothing of a build but the finished image: layers come in as links from the step cache, then config,
//! manifest and index, in that order. This room may import every other one but the command line.

mod carry;
mod epoch;
mod error;
mod export;
pub mod lint;
pub mod output;
mod schedule;

use std::panic::resume_unwind;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;

use image_tool::address::home::Home;
use image_tool::layer;
use image_tool::layout::platform::Platform;
use image_tool::program::caller::caller;
use image_tool::show::human::plain;

use crate::cache::turn::Turns;
use crate::cache::{Cache, folder};
use crate::dockerfile::excerpt::excerpt;
use crate::dockerfile::instruction::Instruction;
use crate::dockerfile::plan::Plan;
use crate::dockerfile::{Dockerfile, Warning};
use crate::progress::{Progress, Show};
use crate::run::agent::Agents;
use crate::run::interrupt::Interrupt;
use crate::run::runtime;
use crate::run::watch::Watch;
use crate::source::access::Access;
use crate::source::context::Context;
use crate::source::digests::Digests;
use crate::source::named::Named;
use crate::step;
use crate::step::session::{self, Session};

pub use crate::step::session::{Options, SecretSource, predefined};
pub use error::Error;
use export::Finished;
pub use export::Outcome;
use output::Delivery;

/// Builds an image and delivers it.
pub fn build(options: &Options, delivery: &Delivery) -> Result<Outcome, Error> {
    let interrupt = Interrupt::listen().map_err(Error::Signals)?;
    attempt(options, delivery, interrupt.clone()).map_err(|error| match interrupt.signal() {
        Some(signal) => Error::Interrupted(signal),
        None => error,
    })
}

fn attempt(options: &Options, delivery: &Delivery, interrupt: Interrupt) -> Result<Outcome, Error> {
    let progress = Progress::new(options.show);
    let home = Home::from_environment();
    // It is a layout, which is made in an empty folder; what is downloaded goes there too.
    let cache = Cache::open(&home, !options.no_cache)?;
    let mut access = options.access()?;
    access.transfers = interrupt.transfers();
    let watch = OnceLock::new();
    if options.context.is_brought() {
        watch.get_or_init(|| session::watch(&home.builds()));
    }
    let context = options.open_context(&access, &home)?;
    let contexts = Named::new(&options.contexts);
    let task = progress.start(format!("[internal] load build definition from {}", context.dockerfile_name()));
    task.note(&format!("transferring dockerfile: {}B done", context.dockerfile().len()));
    task.done();
    let sources = epoch::Sources { context: &context, contexts: &contexts, access: &access, home: &home };
    let ready = match ready(options, &sources) {
        Ok(ready) => ready,
        Err(error) => {
            show_violations(&progress, &context, options, &error);
            show_lines(&progress, &context, &error);
            return Err(error);
        }
    };
    let session = session(&ready, Opened { home, cache, context, contexts, access, interrupt, watch }, progress)?;
    for place in &delivery.cache_from {
        carry::import(&session, place);
    }
    let delivered = make(&session, &ready.plans).and_then(|made| {
        let outcome = export::write(&session, &made, delivery)?;
        for order in &delivery.cache_to {
            carry::export(&session, &made, order)?;
        }
        Ok(outcome)
    });
    if options.show != Show::Quiet {
        show_warnings(&session.progress, &session.context, &ready.warnings, options.debug);
    }
    if let Err(error) = &delivered {
        show_lines(&session.progress, &session.context, error);
    }
    delivered
}

/// A Dockerfile that was read and checked, and what was planned.
struct Ready {
    /// The options with the time in them.
    options: Options,
    warnings: Vec<Warning>,
    /// The name of the target stage.
    stage: String,
    /// The platforms, each with its plan.
    plans: Vec<(Platform, Plan)>,
}

/// What a build takes from.
struct Opened {
    home: Home,
    cache: Cache,
    context: Context,
    contexts: Named,
    access: Access,
    interrupt: Interrupt,
    watch: OnceLock<Option<Watch>>,
}

fn ready(options: &Options, sources: &epoch::Sources<'_>) -> Result<Ready, Error> {
    let context = sources.context;
    let name = context.dockerfile_name();
    let file = Dockerfile::parse(name, context.dockerfile())?;
    let mut platforms = options.platforms.clone();
    if platforms.is_empty() {
        platforms.push(Platform::host());
    }
    let (mut settled, mut plans) = (options.clone(), Vec::new());
    for platform in platforms {
        let mut plan = plan(&settled, name, &file, &platform)?;
        let stage = target_of(options, &file);
        let predefined = |name: &str| options.predefined(&platform, &stage, name);
        settled = epoch::settle(&settled, &mut plan, sources, &predefined)?;
        plans.push((platform, plan));
    }
    let layout = options.tags.first().map_or("", |tag| tag.layout());
    let given = options.arguments.get(lint::ARGUMENT).map(String::as_str);
    let needed = plans[0].1.needed();
    let linted = lint::lint(context, &file, &plans[0].0, layout, given, Some(&needed))?;
    if let Some(error) = linted.fatal(name) {
        return Err(error);
    }
    Ok(Ready { options: settled, warnings: linted.warnings, stage: target_of(options, &file), plans })
}

/// The name of the target stage, `default` if it has none.
fn target_of(options: &Options, file: &Dockerfile) -> String {
    options.target.clone().unwrap_or_else(|| last_stage(file))
}

/// The name of the last stage, `default` if it has none.
pub fn last_stage(file: &Dockerfile) -> String {
    let last = file.steps.iter().rev().find_map(|step| match &step.instruction {
        Instruction::From(from) => Some(from.name.clone()),
        _ => None,
    });
    last.flatten().unwrap_or_else(|| "default".to_owned())
}

/// Plans the stages of a Dockerfile for a platform.
fn plan(options: &Options, name: &str, file: &Dockerfile, platform: &Platform) -> Result<Plan, Error> {
    let stage = target_of(options, file);
    let mut plan = Plan::new(name, file, &|name| options.argument(platform, &stage, name))?;
    plan.set_names(&options.contexts.iter().map(|(name, place)| (name.clone(), place.stage())).collect())?;
    if let Some(target) = &options.target {
        plan.set_target(target)?;
    }
    Ok(plan)
}

fn session(ready: &Ready, opened: Opened, progress: Progress) -> Result<Session<'_>, Error> {
    let Opened { home, cache, context, contexts, access, interrupt, watch } = opened;
    let options = &ready.options;
    let agents = Agents::find(&options.ssh, std::env::var_os("SSH_AUTH_SOCK").map(Into::into))?;
    let builds = home.builds();
    let layers = layer::cache::Cache::of(&home).within(options.limits);
    // What a killed build left mounted.
    layer::stack::sweep(&layers);
    Ok(Session {
        options,
        stage: ready.stage.clone(),
        triggered: Mutex::default(),
        materials: Mutex::default(),
        contexts,
        access,
        now: options.timestamp(),
        cache,
        turns: Turns::default(),
        pulls: Mutex::default(),
        layers,
        home,
        context,
        digests: Digests::open(&builds),
        progress,
        interrupt,
        agents,
        added: OnceLock::new(),
        watch,
        empty: OnceLock::new(),
        site: Mutex::default(),
    })
}

/// Makes the target for all platforms at the same time.
fn make(session: &Session<'_>, plans: &[(Platform, Plan)]) -> Result<Vec<Finished>, Error> {
    for (_, plan) in plans {
        check_entitlements(session, plan)?;
    }
    folder::sweep(&session.home.builds(), runtime::end_orphan);
    let made = |(platform, plan): &(Platform, Plan)| -> Result<Finished, Error> {
        let built = schedule::make(session, platform, plan)?;
        Ok(Finished { platform: platform.clone(), built })
    };
    let results: Vec<Result<Finished, Error>> = match plans {
        [only] => vec![made(only)],
        _ => thread::scope(|scope| {
            let running: Vec<_> = plans.iter().map(|plan| scope.spawn(|| made(plan))).collect();
            let end = |made: thread::ScopedJoinHandle<'_, _>| made.join().unwrap_or_else(|panic| resume_unwind(panic));
            running.into_iter().map(end).collect()
        }),
    };
    if let Some((platform, plan)) = plans.first() {
        warn_of_unused_arguments(session, platform, plan);
    }
    session.digests.save();
    let (finished, mut errors): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
    // One that was ended because of another's error is not what went wrong.
    errors.sort_by_key(|result| matches!(result, Err(Error::Interrupted(0))));
    errors.into_iter().next().into_iter().chain(finished).collect()
}

/// Shows the lines of the Dockerfile that an error is about.
fn show_lines(progress: &Progress, context: &Context, error: &Error) {
    if let Some(lines) = error.lines() {
        progress.block(&excerpt(context.dockerfile_name(), context.dockerfile(), lines));
    }
}

/// Shows what the lint finds in a Dockerfile that cannot be built: it may well be why.
fn show_violations(progress: &Progress, context: &Context, options: &Options, error: &Error) {
    let fatal = matches!(error, Error::Lint { .. });
    if fatal || options.show != Show::Quiet {
        let warnings = lint::report(options, context).map(|report| report.warnings).unwrap_or_default();
        show_warnings(progress, context, &warnings, fatal || options.debug);
    }
}

/// Counts the findings of the lint, and shows their lines, or says where they are.
fn show_warnings(progress: &Progress, context: &Context, warnings: &[Warning], with_lines: bool) {
    if warnings.is_empty() {
        return;
    }
    let (count, s) = (warnings.len(), if warnings.len() == 1 { "" } else { "s" });
    let more = match caller() {
        _ if with_lines => "",
        Some(_) => " (docker build --check shows the lines)",
        None => " (build-tool check shows the lines, and so does --debug)",
    };
    let mut text = format!("\n {count} warning{s} found{more}:\n");
    for warning in warnings {
        let Warning { lines, rule, message } = warning;
        progress.finding(|| lint::vertex_warning(context, warning));
        text += &plain(&format!(" - {rule}: {message} (line {})", lines.start));
        text.push('\n');
        if with_lines {
            text += &excerpt(context.dockerfile_name(), context.dockerfile(), *lines);
        }
    }
    progress.block(&text);
}

/// Refuses a Dockerfile that asks for what is not granted before any of it is done. The triggers of base images are
/// checked when they are reached.
fn check_entitlements(session: &Session<'_>, plan: &Plan) -> Result<(), Error> {
    let needed = plan.needed().into_iter().map(|stage| &plan.stages[stage]);
    for step in needed.flat_map(|stage| &stage.steps) {
        let Instruction::Run(run) = &step.instruction else { continue };
        let (insecure, network) = session.asks(run);
        let granted = &session.options.granted;
        granted.check(insecure, session.options.sandbox.network, network).map_err(|source| Error::Step {
            file: session.context.dockerfile_name().to_owned(),
            lines: step.span,
            text: step::shorten(&step.text),
            source: Box::new(source.into()),
        })?;
    }
    Ok(())
}

fn warn_of_unused_arguments(session: &Session<'_>, platform: &Platform, plan: &Plan) {
    let Session { options, stage, .. } = session;
    let declares = |instruction: &Instruction, name: &str| matches!(instruction, Instruction::Arg(arguments) if arguments.iter().any(|argument| argument.name == name));
    let declared = |name: &str| {
        plan.globals.iter().any(|(global, _)| global == name)
            || plan.stages.iter().flat_map(|stage| &stage.steps).any(|step| declares(&step.instruction, name))
    };
    let triggered = session.triggered.lock().unwrap_or_else(PoisonError::into_inner);
    let predefined = |name: &str| {
        session::is_proxy(name)
            || options.predefined(platform, stage, name).is_some()
            || ["SOURCE_DATE_EPOCH", lint::ARGUMENT, session::KEEP_GIT_DIR, session::HOSTNAME].contains(&name)
    };
    for name in
        options.arguments.keys().filter(|name| !declared(name) && !triggered.contains(*name) && !predefined(name))
    {
        session.progress.warn(&format!("--build-arg {name}: no ARG of that name"));
    }
}
