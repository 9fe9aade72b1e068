//! Rules that depend on what came before in the stage: variables, working directories, repeated commands.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use super::found::Found;
use crate::dockerfile::expand::{self, Quoting};
use crate::dockerfile::instruction::{Copy, Instruction};
use crate::dockerfile::near::near;
use crate::dockerfile::problem::Problem;
use crate::dockerfile::{Dockerfile, Step};

/// Arguments that have a value without being set in the file.
const PREDEFINED: [&str; 9] = [
    "TARGETPLATFORM",
    "TARGETOS",
    "TARGETARCH",
    "TARGETVARIANT",
    "BUILDPLATFORM",
    "BUILDOS",
    "BUILDARCH",
    "BUILDVARIANT",
    "TARGETSTAGE",
];

/// What a stage has set by its end, for the stages that begin with it.
#[derive(Clone, Default)]
struct State {
    variables: BTreeSet<String>,
    /// Whether the base image's variables are known, and among them.
    complete: bool,
    workdir: bool,
}

/// The arguments before the first FROM.
struct Globals {
    escape: char,
    declared: BTreeSet<String>,
    /// The defaults.
    values: BTreeMap<String, String>,
}

impl Globals {
    fn expand(&self, text: &str) -> Result<String, Problem> {
        expand::word(text, self.escape, Quoting::Strip, &|name| self.values.get(name).cloned())
    }
}

/// Checks the stages in order.
pub(super) fn check(file: &Dockerfile, environment: &dyn Fn(&str) -> Option<Vec<String>>, found: &mut Found) {
    let escape = file.directives.escape;
    let mut globals = Globals { escape, declared: PREDEFINED.map(str::to_owned).into(), values: BTreeMap::new() };
    let mut stages: BTreeMap<String, State> = BTreeMap::new();
    let mut current: Option<(Option<String>, State)> = None;
    let mut commands: BTreeMap<&'static str, &Step> = BTreeMap::new();
    for step in &file.steps {
        match (&step.instruction, &mut current) {
            (Instruction::From(from), _) => {
                if let Some((Some(name), state)) = current.take() {
                    stages.insert(name, state);
                }
                commands.clear();
                let base = base(step, &from.base, &globals, found);
                let state = match stages.get(&base.to_lowercase()) {
                    Some(state) => state.clone(),
                    None if base == "scratch" => State { complete: true, ..State::default() },
                    None => {
                        let known = environment(&base);
                        let complete = known.is_some();
                        let names =
                            known.into_iter().flatten().filter_map(|pair| Some(pair.split_once('=')?.0.to_owned()));
                        State { variables: names.collect(), complete, workdir: false }
                    }
                };
                current = Some((from.name.clone(), state));
            }
            (Instruction::Arg(arguments), None) => {
                for argument in arguments {
                    // A word that cannot be expanded is the build's to report.
                    let value = globals.expand(argument.default.as_deref().unwrap_or_default()).unwrap_or_default();
                    globals.declared.insert(argument.name.clone());
                    globals.values.insert(argument.name.clone(), value);
                }
            }
            (_, None) => {}
            (_, Some((_, state))) => {
                if let name @ ("CMD" | "ENTRYPOINT" | "HEALTHCHECK") = step.instruction.keyword()
                    && let Some(earlier) = commands.insert(name, step)
                {
                    let message = format!(
                        "Multiple {name} instructions should not be used in the same stage because only the last one will be used"
                    );
                    found.push(earlier, "MultipleInstructionsDisallowed", message);
                }
                inside(step, state, escape, found);
            }
        }
    }
}

/// The base image's name, expanded with the defaults of global arguments.
fn base(step: &Step, text: &str, globals: &Globals, found: &mut Found) -> String {
    let used = RefCell::new(BTreeSet::new());
    let name = expand::word(text, globals.escape, Quoting::Strip, &|name| {
        used.borrow_mut().insert(name.to_owned());
        globals.values.get(name).cloned()
    });
    let (name, used) = (name.unwrap_or_default(), used.take());
    for missing in used.difference(&globals.declared) {
        let near = hint(missing, &globals.declared);
        found.push(step, "UndefinedArgInFrom", format!("FROM argument '{missing}' is not declared{near}"));
    }
    let invalid = name.is_empty() || name.ends_with([':', '/', '@']) || name.starts_with([':', '/']);
    if invalid && !used.is_empty() && used.is_subset(&globals.declared) {
        let message = format!("Default value for {text} results in empty or invalid base image name");
        found.push(step, "InvalidDefaultArgInFrom", message);
    }
    name
}

fn hint<'a>(name: &str, known: impl IntoIterator<Item = &'a String>) -> String {
    near(name, known.into_iter().map(String::as_str)).map(|near| format!(" (did you mean {near}?)")).unwrap_or_default()
}

/// Checks one instruction of a stage.
fn inside(step: &Step, state: &mut State, escape: char, found: &mut Found) {
    let copy = |copy: &Copy| -> Vec<String> {
        let flags = [&copy.chown, &copy.chmod].into_iter().flatten();
        copy.sources.iter().chain([&copy.destination]).chain(flags).cloned().collect()
    };
    let words: Vec<String> = match &step.instruction {
        Instruction::Env(pairs) | Instruction::Label(pairs) => {
            pairs.iter().flat_map(|pair| [pair.name.clone(), pair.value.clone()]).collect()
        }
        Instruction::Arg(arguments) => arguments.iter().filter_map(|argument| argument.default.clone()).collect(),
        Instruction::Add(each) | Instruction::Copy(each) => copy(each),
        Instruction::Workdir(text) | Instruction::User(text) | Instruction::StopSignal(text) => vec![text.clone()],
        Instruction::Expose(words) | Instruction::Volume(words) => words.clone(),
        _ => Vec::new(),
    };
    let missing = RefCell::new(BTreeSet::new());
    for word in &words {
        let lookup = |name: &str| -> Option<String> {
            // `${v:-w}` and the like say themselves what an unset variable means.
            let provided = ["-", "+", "?", ":"].iter().any(|operator| word.contains(&format!("${{{name}{operator}")));
            if !state.variables.contains(name) && !provided {
                missing.borrow_mut().insert(name.to_owned());
            }
            Some(String::new())
        };
        // A word that cannot be expanded is the build's to report.
        let _ = expand::word(word, escape, Quoting::Strip, &lookup);
    }
    for name in missing.take() {
        let near = hint(&name, &state.variables);
        if state.complete || !near.is_empty() {
            found.push(step, "UndefinedVar", format!("Usage of undefined variable '${name}'{near}"));
        }
    }
    match &step.instruction {
        Instruction::Env(pairs) => state.variables.extend(pairs.iter().map(|pair| pair.name.clone())),
        Instruction::Arg(arguments) => state.variables.extend(arguments.iter().map(|argument| argument.name.clone())),
        Instruction::Workdir(path) => {
            if !state.workdir && !path.starts_with(['/', '$']) {
                let message =
                    format!("Relative workdir {path:?} can have unexpected results if the base image changes");
                found.push(step, "WorkdirRelativePath", message);
            }
            state.workdir = true;
        }
        _ => {}
    }
}
