//! Rules that depend on what came before in the stage: variables, working directories, repeated commands.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use image_tool::address::name;

use super::Outside;
use super::found::Found;
use crate::dockerfile::expand::{self, Quoting};
use crate::dockerfile::instruction::{CommandLine, Copy, Instruction};
use crate::dockerfile::near::near;
use crate::dockerfile::pattern::cleaned;
use crate::dockerfile::problem::Problem;
use crate::dockerfile::{Dockerfile, Step};

/// What a stage has set by its end, for the stages that begin with it.
#[derive(Clone, Default)]
struct State {
    /// The variables, with their values as far as they are known.
    variables: BTreeMap<String, String>,
    /// Whether the base image's variables are known, and among them.
    complete: bool,
    workdir: bool,
    /// Whether there is a shell other than the default one.
    shell: bool,
}

impl State {
    /// The state at the beginning of a stage.
    fn of_base(base: &str, earlier: &BTreeMap<String, State>, outside: &Outside<'_>) -> Self {
        if let Some(state) = earlier.get(&base.to_lowercase()) {
            return state.clone();
        }
        if base == "scratch" {
            // PATH is set in any case.
            return Self { variables: [("PATH".to_owned(), String::new())].into(), complete: true, ..Self::default() };
        }
        let known = (outside.image)(base);
        let (complete, known) = (known.is_some(), known.unwrap_or_default());
        let pairs = known.env.iter().filter_map(|pair| pair.split_once('='));
        let mut variables: BTreeMap<String, String> =
            pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        if complete {
            variables.entry("PATH".to_owned()).or_default();
        }
        Self { variables, complete, workdir: false, shell: known.shell }
    }

    /// Expands a word; `None` if the base image may set a variable in it.
    fn known(&self, text: &str, escape: char) -> Option<String> {
        let missing = RefCell::new(false);
        let lookup = |name: &str| {
            let value = self.variables.get(name).cloned();
            *missing.borrow_mut() |= value.is_none();
            value
        };
        let value = expand::word(text, escape, Quoting::Strip, &lookup).ok()?;
        (self.complete || !missing.take()).then_some(value)
    }

    /// Expands a word; what cannot be expanded is the build's to report.
    fn expand(&self, text: &str, escape: char) -> String {
        expand::word(text, escape, Quoting::Strip, &|name| self.variables.get(name).cloned()).unwrap_or_default()
    }
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
pub(super) fn check(file: &Dockerfile, outside: &Outside<'_>, found: &mut Found<'_>) {
    let escape = file.directives.escape;
    let predefined = |name: &&str| Some(((*name).to_owned(), (outside.predefined)(name)?));
    let values = expand::PREDEFINED.iter().filter_map(predefined).collect();
    let mut globals = Globals { escape, declared: expand::PREDEFINED.map(str::to_owned).into(), values };
    let mut stages: BTreeMap<String, State> = BTreeMap::new();
    let mut current: Option<(Option<String>, State)> = None;
    let mut commands: BTreeMap<&'static str, &Step> = BTreeMap::new();
    let mut stage = 0;
    for step in &file.steps {
        match (&step.instruction, &mut current) {
            (Instruction::From(from), _) => {
                if let Some((name, state)) = current.take() {
                    stages.extend(name.map(|name| (name, state)));
                    stage += 1;
                }
                commands.clear();
                platform(step, from.platform.as_deref().unwrap_or_default(), &globals, found);
                let base = base(step, &from.base, &globals, found);
                current = Some((from.name.clone(), State::of_base(&base, &stages, outside)));
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
            _ if !(outside.needed)(stage) => {}
            (_, Some((_, state))) => {
                if let name @ ("CMD" | "ENTRYPOINT" | "HEALTHCHECK") = step.instruction.keyword()
                    && let Some(earlier) = commands.insert(name, step)
                {
                    let message = format!(
                        "Multiple {name} instructions should not be used in the same stage because only the last one will be used"
                    );
                    found.push(earlier, "MultipleInstructionsDisallowed", message);
                }
                undefined(step, state, escape, found);
                inside(step, state, escape, outside, found);
                set(step, state, &globals);
            }
        }
    }
}

/// The base image's name, expanded with the defaults of global arguments.
fn base(step: &Step, text: &str, globals: &Globals, found: &mut Found<'_>) -> String {
    let (name, used) = used(text, globals);
    undeclared(step, &used, globals, found);
    if !is_reference(&name) && !used.is_empty() && used.is_subset(&globals.declared) {
        let message = format!("Default value for ARG {text} results in empty or invalid base image name");
        found.push(step, "InvalidDefaultArgInFrom", message);
    }
    name
}

/// Whether a name has the form of docker's: `HOST:PORT/PATH:TAG@DIGEST`, as distribution's `reference` reads it.
fn is_reference(name: &str) -> bool {
    let (name, digest) = name.split_once('@').map_or((name, None), |(name, digest)| (name, Some(digest)));
    let (repository, tag) = name::split_tag(name);
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let tag = tag.is_none_or(|tag| {
        tag.len() <= 128 && tag.starts_with(word) && tag.chars().all(|c| word(c) || c == '.' || c == '-')
    });
    let digest = digest.is_none_or(|digest| {
        let (kind, hex) = digest.split_once(':').unwrap_or_default();
        !kind.is_empty() && hex.len() >= 32 && hex.chars().all(|c| c.is_ascii_hexdigit())
    });
    let path = match repository.split_once('/') {
        Some((host, path)) if host.contains(['.', ':']) || host == "localhost" => path,
        _ => repository,
    };
    let lower = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let component = |part: &str| {
        part.starts_with(lower) && part.ends_with(lower) && part.chars().all(|c| lower(c) || "._-".contains(c))
    };
    tag && digest && path.split('/').all(component)
}

/// The arguments in `--platform` are declared, too.
fn platform(step: &Step, text: &str, globals: &Globals, found: &mut Found<'_>) {
    undeclared(step, &used(text, globals).1, globals, found);
}

/// Expands a word of FROM, and lists the arguments in it.
fn used(text: &str, globals: &Globals) -> (String, BTreeSet<String>) {
    let used = RefCell::new(BTreeSet::new());
    let value = expand::word(text, globals.escape, Quoting::Strip, &|name| {
        used.borrow_mut().insert(name.to_owned());
        globals.values.get(name).cloned()
    });
    (value.unwrap_or_default(), used.take())
}

fn undeclared(step: &Step, used: &BTreeSet<String>, globals: &Globals, found: &mut Found<'_>) {
    for missing in used.difference(&globals.declared) {
        let near = hint(missing, &globals.declared, "");
        found.push(step, "UndefinedArgInFrom", format!("FROM argument '{missing}' is not declared{near}"));
    }
}

fn hint<'a>(name: &str, known: impl IntoIterator<Item = &'a String>, sign: &str) -> String {
    let near = near(name, known.into_iter().map(String::as_str));
    near.map(|near| format!(" (did you mean {sign}{near}?)")).unwrap_or_default()
}

/// The words of an instruction that are expanded, and whether quotes are ordinary characters in them.
fn words(instruction: &Instruction) -> Vec<(&str, Quoting)> {
    fn plain<'a>(words: impl IntoIterator<Item = &'a String>) -> Vec<(&'a str, Quoting)> {
        words.into_iter().map(|word| (word.as_str(), Quoting::Strip)).collect()
    }
    match instruction {
        Instruction::Env(pairs) | Instruction::Label(pairs) => {
            plain(pairs.iter().flat_map(|pair| [&pair.name, &pair.value]))
        }
        Instruction::Arg(arguments) => plain(arguments.iter().filter_map(|argument| argument.default.as_ref())),
        Instruction::Add(copy) | Instruction::Copy(copy) => copied(copy),
        Instruction::Workdir(text) | Instruction::User(text) | Instruction::StopSignal(text) => plain([text]),
        Instruction::Volume(words) => plain(words),
        Instruction::Run(run) => plain(&run.mounts),
        _ => Vec::new(),
    }
}

fn copied(copy: &Copy) -> Vec<(&str, Quoting)> {
    let flags = [&copy.chown, &copy.chmod, &copy.checksum].into_iter().flatten();
    let plain = copy.sources.iter().chain([&copy.destination]).chain(flags);
    let bodies = copy.heredocs.iter().filter(|heredoc| heredoc.expand);
    let bodies = bodies.map(|heredoc| (heredoc.content.as_str(), Quoting::Literal));
    plain.map(|word| (word.as_str(), Quoting::Strip)).chain(bodies).collect()
}

/// Variables are set before they are used.
fn undefined(step: &Step, state: &State, escape: char, found: &mut Found<'_>) {
    let missing = RefCell::new(BTreeSet::new());
    for (word, quoting) in words(&step.instruction) {
        let lookup = |name: &str| -> Option<String> {
            // `${v:-w}` and the like say themselves what an unset variable means.
            let provided = ["-", "+", "?", ":"].iter().any(|operator| word.contains(&format!("${{{name}{operator}")));
            if !state.variables.contains_key(name) && !provided {
                missing.borrow_mut().insert(name.to_owned());
            }
            Some(String::new())
        };
        match expand::word(word, escape, quoting, &lookup) {
            // Whether the variable has a value is not known here.
            Ok(_) | Err(Problem::Required { .. }) => {}
            Err(problem) => drop(found.problem.get_or_insert((step.span, problem))),
        }
    }
    for name in missing.take() {
        let near = hint(&name, state.variables.keys(), "$");
        if state.complete || !near.is_empty() {
            found.push(step, "UndefinedVar", format!("Usage of undefined variable '${name}'{near}"));
        }
    }
}

/// Checks one instruction of a stage with the values that its variables have there.
fn inside(step: &Step, state: &State, escape: char, outside: &Outside<'_>, found: &mut Found<'_>) {
    match &step.instruction {
        Instruction::Cmd(CommandLine::Shell(_)) | Instruction::Entrypoint(CommandLine::Shell(_)) if !state.shell => {
            let name = step.instruction.keyword();
            let message =
                format!("JSON arguments recommended for {name} to prevent unintended behavior related to OS signals");
            found.push(step, "JSONArgsRecommended", message);
        }
        Instruction::Workdir(path) if !state.workdir => {
            if let Some(path) = state.known(path, escape).filter(|path| !path.starts_with('/')) {
                let message =
                    format!("Relative workdir {path:?} can have unexpected results if the base image changes");
                found.push(step, "WorkdirRelativePath", message);
            }
        }
        Instruction::Expose(ports) => {
            for port in ports {
                expose(step, &state.expand(port, escape), found);
            }
        }
        Instruction::Copy(copy) | Instruction::Add(copy) if copy.from.is_none() => {
            let verb = if step.instruction.keyword() == "ADD" { "Add" } else { "Copy" };
            let sources = copy.sources.iter().map(|source| state.expand(source, escape));
            let local = sources.filter(|source| !source.contains("://")).map(|source| clean(&source));
            for source in local.filter(|source| (outside.left_out)(source)) {
                let message = format!("Attempting to {verb} file {source:?} that is excluded by .dockerignore");
                found.push(step, "CopyIgnoredFile", message);
            }
        }
        _ => {}
    }
}

/// A path without `.`, `..` and doubled slashes, as Go's `filepath.Clean` gives it.
fn clean(path: &str) -> String {
    let parts = cleaned(path);
    match (path.starts_with('/'), parts.is_empty()) {
        (true, _) => format!("/{}", parts.join("/")),
        (false, true) => ".".to_owned(),
        (false, false) => parts.join("/"),
    }
}

fn expose(step: &Step, port: &str, found: &mut Found<'_>) {
    let (range, protocol) = port.split_once('/').unwrap_or((port, "tcp"));
    if protocol != protocol.to_ascii_lowercase() {
        let message = format!("Defined protocol '{port}' in EXPOSE instruction should be lowercase");
        found.push(step, "ExposeProtoCasing", message);
    }
    if range.contains(':') {
        let what = "EXPOSE instruction should not define an IP address or host-port mapping";
        found.push(step, "ExposeInvalidFormat", format!("{what}, found '{port}'"));
    }
}

/// Notes what an instruction sets for those after it.
fn set(step: &Step, state: &mut State, globals: &Globals) {
    match &step.instruction {
        Instruction::Env(pairs) => {
            let values = pairs.iter().map(|pair| (pair.name.clone(), state.expand(&pair.value, globals.escape)));
            let values: Vec<_> = values.collect();
            state.variables.extend(values);
        }
        Instruction::Arg(arguments) => {
            for argument in arguments {
                let value = match &argument.default {
                    Some(default) => state.expand(default, globals.escape),
                    None => globals.values.get(&argument.name).cloned().unwrap_or_default(),
                };
                state.variables.insert(argument.name.clone(), value);
            }
        }
        Instruction::Workdir(_) => state.workdir = true,
        Instruction::Shell(_) => state.shell = true,
        _ => {}
    }
}
