//! The arguments that a target uses, as BuildKit counts them: those that its stages declare, those in their FROM, and those before the
//! first FROM that these are made of.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use super::{Location, Variable, described};
use crate::dockerfile::expand::{self, Lookup, Quoting};
use crate::dockerfile::instruction::{Argument, Instruction};
use crate::dockerfile::mount::{self, Mount};
use crate::dockerfile::plan::{Base, Plan};
use crate::dockerfile::{Dockerfile, Span, Step};

/// An argument, and those that its value is made of.
#[derive(Debug, Clone)]
struct Declared {
    variable: Variable,
    needs: BTreeSet<String>,
}

/// What a stage uses.
#[derive(Debug, Clone, Default)]
struct Used {
    declared: BTreeMap<String, Declared>,
    names: BTreeSet<String>,
    /// The variables at its end, for the stages that begin with it.
    variables: BTreeMap<String, String>,
    /// The mounts of its commands, and the lines of these.
    mounts: Vec<(Span, Mount)>,
}

/// The arguments of a file.
pub(super) struct Arguments<'a> {
    file: &'a Dockerfile,
    plan: &'a Plan,
    lookup: &'a Lookup<'a>,
    given: &'a Lookup<'a>,
    globals: BTreeMap<String, Declared>,
    stages: BTreeMap<usize, Used>,
}

impl<'a> Arguments<'a> {
    /// `lookup` gives the values of arguments as for a build; `given` only those of `--build-arg`.
    pub(super) fn new(file: &'a Dockerfile, plan: &'a Plan, lookup: &'a Lookup<'a>, given: &'a Lookup<'a>) -> Self {
        let mut globals = BTreeMap::new();
        for step in file.steps.iter().take_while(|step| !matches!(step.instruction, Instruction::From(_))) {
            let Instruction::Arg(arguments) = &step.instruction else { continue };
            for Argument { name, default } in arguments {
                let value =
                    plan.globals.iter().rev().find(|(known, _)| known == name).and_then(|(_, value)| value.clone());
                let mut needs = default.as_deref().map(|default| names(default, plan.escape)).unwrap_or_default();
                if let Some(earlier) = globals.get(name).filter(|_| needs.contains(name)) {
                    let Declared { needs: of_earlier, .. }: &Declared = earlier;
                    needs.extend(of_earlier.clone());
                }
                globals.insert(name.clone(), Declared { variable: variable(step, name, value), needs });
            }
        }
        Self { file, plan, lookup, given, globals, stages: BTreeMap::new() }
    }

    /// Those of the target, in the order of the file.
    pub(super) fn of_target(&mut self) -> Vec<Variable> {
        for number in self.plan.needed() {
            let used = self.stage(number);
            self.stages.insert(number, used);
        }
        let (mut seen, mut found) = (BTreeSet::new(), Vec::new());
        self.collect(self.plan.target, &mut seen, &mut BTreeSet::new(), &mut found);
        found.sort_by_key(|variable| variable.location.first_line());
        found
    }

    /// The mounts of the commands that the target needs, in the order of the file, once [`Self::of_target`] was asked.
    pub(super) fn mounts(&self) -> impl Iterator<Item = &(Span, Mount)> {
        self.stages.values().flat_map(|used| &used.mounts)
    }

    /// Adds what a stage uses, and then what it takes from; of several arguments of a name, the first one counts.
    fn collect(
        &self,
        number: usize,
        seen: &mut BTreeSet<String>,
        done: &mut BTreeSet<usize>,
        found: &mut Vec<Variable>,
    ) {
        let Some(used) = self.stages.get(&number).filter(|_| done.insert(number)) else { return };
        let mut names = BTreeSet::new();
        let mut waiting: Vec<&String> = used.names.iter().collect();
        while let Some(name) = waiting.pop() {
            let Some(declared) = used.declared.get(name) else { continue };
            if names.insert(name.clone()) {
                waiting.extend(&declared.needs);
            }
        }
        for name in names {
            if seen.insert(name.clone()) {
                found.extend(used.declared.get(&name).map(|declared| declared.variable.clone()));
            }
        }
        for source in self.plan.sources(number) {
            if let Base::Stage(stage) = source {
                self.collect(stage, seen, done, found);
            }
        }
    }

    fn stage(&self, number: usize) -> Used {
        let stage = &self.plan.stages[number];
        let mut used = Used { declared: self.globals.clone(), ..Used::default() };
        let head = self.file.steps.iter().find(|step| step.span == stage.span);
        if let Some(Instruction::From(from)) = head.map(|step| &step.instruction) {
            for word in [Some(&from.base), from.platform.as_ref()].into_iter().flatten() {
                used.names.extend(names(word, self.plan.escape));
            }
        }
        if let Base::Stage(base) = stage.base {
            used.variables = self.stages.get(&base).map(|base| base.variables.clone()).unwrap_or_default();
        }
        for step in &stage.steps {
            match &step.instruction {
                Instruction::Env(pairs) => {
                    let values =
                        pairs.iter().map(|pair| (pair.name.clone(), self.expand(&pair.value, &used.variables)));
                    let values: Vec<_> = values.collect();
                    used.variables.extend(values);
                }
                Instruction::Arg(arguments) => {
                    for argument in arguments {
                        self.declare(step, argument, &mut used);
                    }
                }
                Instruction::Run(run) => {
                    let expand = |word: &str| Ok(self.expand(word, &used.variables));
                    let mounts = run.mounts.iter().filter_map(|text| mount::parse(text, &expand).ok());
                    let mounts: Vec<_> = mounts.map(|mount| (step.span, mount)).collect();
                    used.mounts.extend(mounts);
                }
                _ => {}
            }
        }
        used
    }

    /// Notes an ARG of a stage. Without a value of its own, it is the one before the first FROM, or a predefined one.
    fn declare(&self, step: &Step, argument: &Argument, used: &mut Used) {
        let Argument { name, default } = argument;
        let global = self.globals.get(name);
        let value = match ((self.given)(name), default) {
            (Some(value), _) => Some(value),
            (None, Some(default)) => Some(self.expand(default, &used.variables)),
            (None, None) => None,
        };
        let inherited = || global.map(|global| global.variable.value.clone()).or_else(|| (self.lookup)(name));
        // One before the first FROM has the value of `--build-arg` too, and perhaps a description.
        let is_global = default.is_none() && global.is_some();
        if !is_global && (value.is_some() || inherited().is_none()) {
            let declared = Declared { variable: variable(step, name, value.clone()), needs: BTreeSet::new() };
            used.declared.insert(name.clone(), declared);
        }
        used.names.insert(name.clone());
        if let Some(value) = value.or_else(inherited) {
            used.variables.insert(name.clone(), value);
        }
    }

    /// Expands a word; what cannot be expanded is the build's to report.
    fn expand(&self, text: &str, variables: &BTreeMap<String, String>) -> String {
        let lookup = |name: &str| variables.get(name).cloned();
        expand::word(text, self.plan.escape, Quoting::Strip, &lookup).unwrap_or_default()
    }
}

fn variable(step: &Step, name: &str, value: Option<String>) -> Variable {
    Variable {
        name: name.to_owned(),
        value: value.unwrap_or_default(),
        description: described(step, name),
        location: Location::of(step.span),
    }
}

/// The names of the variables in a word.
fn names(text: &str, escape: char) -> BTreeSet<String> {
    let names = RefCell::new(BTreeSet::new());
    // What cannot be expanded is the build's to report.
    let _ = expand::word(text, escape, Quoting::Strip, &|name| {
        names.borrow_mut().insert(name.to_owned());
        Some(String::new())
    });
    names.take()
}
