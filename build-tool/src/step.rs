//! One stage, step by step: variables are expanded, keys looked up, and what is not in the cache is done.
//!
//! This room may import every other one but [`crate::build`], whose scheduler passes in a function for what a stage
//! takes from. Each instruction that makes a layer has a file of its name; the rooms [`crate::copy`] and [`crate::run`]
//! do the work.

mod config;
mod context;
mod copy;
mod error;
mod expose;
pub mod materials;
mod run;
pub mod session;
mod title;
mod variables;
mod work;
mod workdir;

use std::sync::PoisonError;

use image_tool::layout::platform::Platform;

use crate::dockerfile::instruction::Instruction;
use crate::dockerfile::plan::Plan;
use crate::dockerfile::{Dockerfile, Step};

pub use context::files;
pub use error::{Error, Failure};
use session::Session;
use title::Titles;
pub use title::shorten;
use work::Work;
pub use work::{Built, Sources};

/// Makes the stage of that number; `target` is the image's platform, and `sources` returns what the stage takes from.
pub fn stage(
    session: &Session<'_>,
    target: &Platform,
    plan: &Plan,
    number: usize,
    sources: &Sources<'_>,
) -> Result<Built, Failure> {
    let stage = &plan.stages[number];
    let failure = |source| Failure { lines: stage.span, text: shorten(&stage.text), source };
    let mut work = Work::begin(session, target, plan, number, sources).map_err(failure)?;
    let mut titles = Titles::of(plan, number, Some(work.platform()).filter(|_| session.options.platforms.len() > 1));
    let mut triggers = Vec::new();
    for trigger in work.draft.take_triggers() {
        let name = format!("ONBUILD of {}", title::base(stage));
        let steps = Dockerfile::parse_trigger(&name, &trigger, plan.escape).map_err(|error| failure(error.into()))?;
        triggers.extend(steps);
    }
    titles.add(&triggers);
    if let Some(title) = titles.from(stage) {
        session.progress.start(title).done();
    }
    for step in triggers {
        if let Instruction::Arg(arguments) = &step.instruction {
            let names = arguments.iter().map(|argument| argument.name.clone());
            session.triggered.lock().unwrap_or_else(PoisonError::into_inner).extend(names);
        }
        carry_out(&step, true, &mut work, &mut titles).map_err(|source| Failure {
            lines: stage.span,
            text: format!("{}: ONBUILD {}", shorten(&stage.text), shorten(&step.text)),
            source,
        })?;
    }
    for step in &stage.steps {
        let failure = |source| Failure { lines: step.span, text: shorten(&step.text), source };
        carry_out(step, false, &mut work, &mut titles).map_err(failure)?;
    }
    Ok(work.built())
}

/// Carries out one instruction.
fn carry_out(step: &Step, is_trigger: bool, work: &mut Work<'_>, titles: &mut Titles) -> Result<(), Error> {
    work.wait_for_stages(&step.instruction);
    if work.session.interrupt.is_set() {
        return Err(Error::Interrupted);
    }
    if !step.instruction.makes_layer() {
        return work.set(&step.instruction);
    }
    let task = work.session.progress.start(titles.next(step, is_trigger));
    let result = match &step.instruction {
        Instruction::Add(copy) => work.copy(copy, true, &task),
        Instruction::Copy(copy) => work.copy(copy, false, &task),
        Instruction::Run(run) => work.run(run, &task),
        Instruction::Workdir(path) => work.workdir(path),
        other => work.set(other).map(|()| false),
    };
    match result {
        Ok(true) => task.cached(),
        Ok(false) => task.done(),
        Err(error) => {
            task.failed(&chain(&error));
            return Err(error);
        }
    }
    Ok(())
}

/// Joins an error and its causes into one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text += &format!(": {cause}");
        source = cause.source();
    }
    text
}
