//! The stages of a Dockerfile: what each begins with, what it takes from, and which of them the target needs.
//!
//! `slip` knows the names that are probably meant as stages. The room uses the rest of the language, but not the lint.

mod slip;

use std::collections::{BTreeMap, BTreeSet};

use image_tool::address::name;

use super::expand::{self, Quoting};
use super::instruction::{Argument, From, Instruction};
use super::lex::Span;
use super::mount;
use super::near::near;
use super::problem::{Error, Problem};
use super::{Dockerfile, Step};

/// A Dockerfile's stages.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The stages in the order of the file.
    pub stages: Vec<Stage>,
    /// The number of the stage that becomes the image.
    pub target: usize,
    /// The ARGs before the first FROM, with their values.
    pub globals: Vec<(String, Option<String>)>,
    /// The file's escape character.
    pub escape: char,
    /// Names of images that are probably meant as stages, and what was meant.
    pub slips: BTreeMap<String, String>,
    /// What names stand for that `--build-context` gives: a context, or a stage.
    named: BTreeMap<String, Base>,
}

/// One stage.
#[derive(Debug, Clone)]
pub struct Stage {
    /// The name after `AS`, in lower case.
    pub name: Option<String>,
    /// What the stage begins with.
    pub base: Base,
    /// The value of `--platform`, expanded.
    pub platform: Option<String>,
    /// The instructions after FROM.
    pub steps: Vec<Step>,
    /// Whether a context of the stage's name has taken its place.
    replaced: bool,
    /// The lines of its FROM.
    pub span: Span,
    /// The text of its FROM.
    pub text: String,
}

/// What a stage, a COPY or a mount takes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Base {
    /// `scratch`, which is empty.
    Scratch,
    /// An earlier stage, by its number.
    Stage(usize),
    /// An image by its name.
    Image(String),
    /// A context that the caller has given a name.
    Context(String),
}

/// Why a name of `--build-context` cannot stand for a stage.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadName {
    /// There is no such stage.
    #[error("--build-context {name}=target:{stage}: no such stage")]
    NoStage {
        /// The name.
        name: String,
        /// The stage that it is to stand for.
        stage: String,
    },
    /// Then a stage would need itself.
    #[error("--build-context: with these names, the stage {0} needs itself")]
    Circle(String),
}

/// `--target` names no stage.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("--target {name}: no such stage{}", hint(.near.as_deref(), .stages))]
pub struct NoTarget {
    /// The name as given.
    pub name: String,
    /// The stage that it resembles, if any.
    pub near: Option<String>,
    /// The names of all stages that have one.
    pub stages: Vec<String>,
}

fn hint(near: Option<&str>, stages: &[String]) -> String {
    match near {
        Some(near) => format!(" (did you mean {near}?)"),
        None if stages.is_empty() => " (no stage has a name; the first is 0)".to_owned(),
        None => format!(" (there are {})", stages.join(", ")),
    }
}

impl Plan {
    /// Plans a file. `lookup` returns the value of a `--build-arg` or a predefined argument; `name` is the file's name
    /// in errors.
    pub fn new(name: &str, file: &Dockerfile, lookup: &expand::Lookup<'_>) -> Result<Self, Error> {
        let (stages, globals, escape) = (Vec::new(), Vec::new(), file.directives.escape);
        let mut plan = Self { stages, target: 0, globals, escape, slips: BTreeMap::new(), named: BTreeMap::new() };
        for step in &file.steps {
            plan.add(step, lookup).map_err(|problem| Error {
                file: name.to_owned(),
                line: step.span.start,
                problem,
            })?;
        }
        if plan.stages.is_empty() {
            return Err(Error { file: name.to_owned(), line: 0, problem: Problem::Empty });
        }
        plan.target = plan.stages.len() - 1;
        for number in 0..plan.stages.len() {
            plan.check_sources(number).map_err(|(line, problem)| Error { file: name.to_owned(), line, problem })?;
        }
        plan.slips = slip::find(&plan);
        Ok(plan)
    }

    /// Checks what the steps of a stage take from, by name or number.
    fn check_sources(&self, number: usize) -> Result<(), (usize, Problem)> {
        for step in &self.stages[number].steps {
            for from in froms(&step.instruction) {
                self.from(&from, number).map_err(|problem| (step.span.start, problem))?;
            }
        }
        Ok(())
    }

    fn add(&mut self, step: &Step, lookup: &expand::Lookup<'_>) -> Result<(), Problem> {
        match (&step.instruction, self.stages.last_mut()) {
            (Instruction::From(from), _) => {
                let stage = self.begin(step, from, lookup)?;
                self.stages.push(stage);
            }
            (Instruction::Arg(arguments), None) => {
                for Argument { name, default } in arguments {
                    let value = match (lookup(name), default) {
                        (None, Some(default)) => Some(self.expand(default, lookup)?),
                        (given, _) => given,
                    };
                    self.globals.push((name.clone(), value));
                }
            }
            (other, None) => return Err(Problem::BeforeFrom(other.keyword())),
            (_, Some(stage)) => stage.steps.push(step.clone()),
        }
        Ok(())
    }

    /// The stage that a FROM begins.
    fn begin(&self, step: &Step, from: &From, lookup: &expand::Lookup<'_>) -> Result<Stage, Problem> {
        let base = self.expand(&from.base, lookup)?;
        if base.is_empty() {
            let reason = format!(
                "{} is empty (declare its ARGs before the first FROM, with values there or by --build-arg)",
                from.base
            );
            return Err(Problem::Invalid { instruction: "FROM", reason });
        }
        let platform = from.platform.as_deref().map(|text| self.expand(text, lookup)).transpose()?;
        if let (Some(""), Some(written)) = (platform.as_deref(), &from.platform) {
            let reason = format!(
                "--platform={written} is empty (declare its ARGs before the first FROM, with values there or by --build-arg)"
            );
            return Err(Problem::Invalid { instruction: "FROM", reason });
        }
        let lower = base.to_lowercase();
        Ok(Stage {
            name: from.name.clone(),
            base: match self.stages.iter().rposition(|stage| stage.name.as_deref() == Some(&lower)) {
                Some(stage) => Base::Stage(stage),
                None if base == "scratch" => Base::Scratch,
                None => Base::Image(base),
            },
            platform,
            steps: Vec::new(),
            replaced: false,
            span: step.span,
            text: step.text.clone(),
        })
    }

    /// Expands a word outside the stages, where only arguments have values that are predefined or declared: a `--build-arg` of another
    /// name is for the stage that declares it.
    fn expand(&self, text: &str, lookup: &expand::Lookup<'_>) -> Result<String, Problem> {
        expand::word(text, self.escape, Quoting::Strip, &|name| {
            let global = self.globals.iter().rev().find(|(key, _)| key == name);
            match global {
                Some((_, value)) => value.clone(),
                None if expand::PREDEFINED.contains(&name) => lookup(name),
                None => None,
            }
        })
    }

    /// Makes the stage of that name or number the target.
    pub fn set_target(&mut self, name: &str) -> Result<(), NoTarget> {
        let lower = name.to_lowercase();
        let by_name = self.stages.iter().rposition(|stage| stage.name.as_deref() == Some(&lower));
        let by_number = || name.parse().ok().filter(|number| *number < self.stages.len());
        match by_name.or_else(by_number) {
            Some(stage) => self.target = stage,
            None => {
                let stages: Vec<String> = self.stages.iter().filter_map(|stage| stage.name.clone()).collect();
                let near = near(name, stages.iter().map(String::as_str)).map(str::to_owned);
                return Err(NoTarget { name: name.to_owned(), near, stages });
            }
        }
        Ok(())
    }

    /// Gives names to contexts, or with `Some` to stages. Such a name counts before that of a stage or an image.
    pub fn set_names(&mut self, names: &BTreeMap<String, Option<String>>) -> Result<(), BadName> {
        for (name, stage) in names {
            let base = match stage {
                None => Base::Context(name.clone()),
                Some(stage) => {
                    let lower = stage.to_lowercase();
                    let by_name = self.stages.iter().rposition(|stage| stage.name.as_deref() == Some(&lower));
                    let by_number = || stage.parse().ok().filter(|number| *number < self.stages.len());
                    let missing = || BadName::NoStage { name: name.clone(), stage: stage.clone() };
                    Base::Stage(by_name.or_else(by_number).ok_or_else(missing)?)
                }
            };
            self.named.insert(full_name(name), base);
        }
        for number in 0..self.stages.len() {
            let own = self.stages[number].name.as_deref().and_then(|name| self.named(name));
            let base = match &self.stages[number].base {
                Base::Image(name) => self.named(name),
                _ => None,
            };
            if let Some(own) = own {
                // A context takes the place of the stage: its instructions are not carried out.
                self.stages[number].base = own;
                self.stages[number].steps.clear();
                self.stages[number].replaced = true;
            } else if let Some(base) = base {
                self.stages[number].base = base;
            }
        }
        match (0..self.stages.len()).find(|stage| self.needs_itself(*stage)) {
            Some(stage) => {
                let name = self.stages[stage].name.clone();
                Err(BadName::Circle(name.unwrap_or_else(|| stage.to_string())))
            }
            None => Ok(()),
        }
    }

    /// What a name stands for that the caller has given.
    fn named(&self, name: &str) -> Option<Base> {
        // These two are words of the language.
        let reserved = ["scratch", "context"].iter().any(|word| name.eq_ignore_ascii_case(word));
        if reserved { None } else { self.named.get(&full_name(name)).cloned() }
    }

    fn needs_itself(&self, stage: usize) -> bool {
        let below = |stage: usize| {
            self.sources(stage)
                .into_iter()
                .filter_map(|base| if let Base::Stage(stage) = base { Some(stage) } else { None })
        };
        let mut seen = BTreeSet::new();
        let mut waiting: Vec<usize> = below(stage).collect();
        while let Some(next) = waiting.pop() {
            if next == stage {
                return true;
            }
            if seen.insert(next) {
                waiting.extend(below(next));
            }
        }
        false
    }

    /// What `--from=name` means in the stage `current`: an earlier stage by name or number, a name of the caller's, or else
    /// an image. A stage that cannot be taken from is never an image.
    pub fn from(&self, name: &str, current: usize) -> Result<Base, Problem> {
        if name.contains('$') {
            return Err(Problem::VariableInFrom(name.to_owned()));
        }
        let lower = name.to_lowercase();
        let is_named = |stage: &Stage| stage.name.as_deref() == Some(&lower);
        if let Some(stage) = self.stages[..current].iter().rposition(is_named) {
            return Ok(self.taken(stage));
        }
        if let Some(base) = self.named(name) {
            return Ok(base);
        }
        let number = self.stages.iter().position(is_named).or_else(|| name.parse().ok());
        match number {
            Some(number) if number >= self.stages.len() => {
                Err(Problem::StageIndex { index: name.to_owned(), stages: self.stages.len() })
            }
            Some(number) if number == current => Err(Problem::Circular { name: name.to_owned() }),
            Some(number) if number > current => Err(Problem::LaterStage { name: name.to_owned() }),
            Some(number) => Ok(self.taken(number)),
            None if name == "scratch" => Ok(Base::Scratch),
            None => Ok(Base::Image(name.to_owned())),
        }
    }

    /// An earlier stage, or the context that has taken its place. A stage that begins with a context is one even without
    /// instructions: the context may be an image with triggers.
    fn taken(&self, stage: usize) -> Base {
        match &self.stages[stage].base {
            context @ Base::Context(_) if self.stages[stage].replaced => context.clone(),
            _ => Base::Stage(stage),
        }
    }

    /// What the stage takes from, its base first.
    pub fn sources(&self, stage: usize) -> Vec<Base> {
        let mut sources = vec![self.stages[stage].base.clone()];
        for from in self.stages[stage].steps.iter().flat_map(|step| froms(&step.instruction)) {
            // Names that cannot be were refused when the file was planned.
            sources.extend(self.from(&from, stage).ok());
        }
        sources
    }

    /// The stages that the target needs, the target included, in order.
    pub fn needed(&self) -> BTreeSet<usize> {
        let mut needed = BTreeSet::new();
        let mut waiting = vec![self.target];
        while let Some(stage) = waiting.pop() {
            if needed.insert(stage) {
                waiting.extend(self.sources(stage).into_iter().filter_map(|base| match base {
                    Base::Stage(stage) => Some(stage),
                    _ => None,
                }));
            }
        }
        needed
    }
}

/// The values of `from` in an instruction: of `COPY --from` and of RUN's mounts.
pub fn froms(instruction: &Instruction) -> Vec<String> {
    match instruction {
        Instruction::Copy(copy) => copy.from.iter().cloned().collect(),
        // A mount may hold variables that have no value yet; its `from` holds none.
        Instruction::Run(run) => run.mounts.iter().filter_map(|text| mount::from(text)).collect(),
        _ => Vec::new(),
    }
}

/// A name as docker fills it in, which is how names of contexts are compared.
pub fn full_name(text: &str) -> String {
    let (repository, tag) = name::canonical(text);
    format!("{repository}:{tag}").to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(source: &str) -> Result<Plan, String> {
        let file = Dockerfile::parse("D", source.as_bytes()).unwrap();
        let lookup = |name: &str| match name {
            "GIVEN" => Some("given".to_owned()),
            "BUILDPLATFORM" => Some("host".to_owned()),
            _ => None,
        };
        Plan::new("D", &file, &lookup).map_err(|error| error.to_string())
    }

    #[test]
    fn only_needed_stages_are_built() {
        let mut plan = plan(
            "FROM a AS base\nFROM base AS unused\nRUN x\nFROM b AS tools\nFROM base AS main\nCOPY --from=tools /x /x\nRUN --mount=from=2,target=/y z\nFROM scratch\nCOPY --from=main / /\n",
        )
        .unwrap();
        assert_eq!(plan.needed(), BTreeSet::from([0, 2, 3, 4]));
        plan.set_target("UNUSED").unwrap();
        assert_eq!(plan.needed(), BTreeSet::from([0, 1]));
        let error = plan.set_target("mian").unwrap_err().to_string();
        assert_eq!(error, "--target mian: no such stage (did you mean main?)");
    }

    #[test]
    fn froms_expand_global_arguments() {
        let plan = plan("ARG V=3\nARG GIVEN=no\nARG W=$V-$GIVEN\nFROM python:$W AS x\nFROM x\nFROM 0").unwrap();
        assert_eq!(plan.stages[0].base, Base::Image("python:3-given".into()));
        assert_eq!(plan.stages[1].base, Base::Stage(0));
        assert_eq!(plan.stages[2].base, Base::Image("0".into()));
    }

    #[test]
    fn what_is_not_declared_before_the_first_from_has_no_value_there() {
        let plan = plan("FROM ${GIVEN:-a}\nARG GIVEN\nFROM --platform=$BUILDPLATFORM b").unwrap();
        assert_eq!(plan.stages[0].base, Base::Image("a".into()));
        assert_eq!(plan.stages[1].platform.as_deref(), Some("host"));
    }

    #[test]
    fn wrong_files_say_so() {
        for (source, expected) in [
            ("RUN x\nFROM y", "D:1: RUN before the first FROM"),
            (
                "ARG X\nFROM $X",
                "D:2: FROM: $X is empty (declare its ARGs before the first FROM, with values there or by --build-arg)",
            ),
            ("ARG X", "D: no instructions"),
            ("FROM x AS a\nCOPY --from=A /x /", "D:2: from=A: circular dependency: a stage cannot take from itself"),
            (
                "FROM x\nRUN --mount=from=0,target=/x y",
                "D:2: from=0: circular dependency: a stage cannot take from itself",
            ),
            ("FROM x\nCOPY --from=3 /x /", "D:2: from=3: invalid stage index (there is one stage, 0)"),
            ("FROM x\nFROM y\nCOPY --from=2 /x /", "D:3: from=2: invalid stage index (there are 2 stages, from 0)"),
            (
                "FROM x\n\nRUN --mount=from=b,target=/x y\nFROM y AS b",
                "D:3: from=b: this stage comes later (move its FROM before this one)",
            ),
            (
                "FROM x\nCOPY --from=1 /x /\nFROM y",
                "D:2: from=1: this stage comes later (move its FROM before this one)",
            ),
            (
                "FROM x\nCOPY --from=$B /x /",
                "D:2: from=$B: variables are not expanded here (give the variable to a FROM … AS NAME, and take from NAME)",
            ),
        ] {
            assert_eq!(plan(source).unwrap_err(), expected, "{source}");
        }
    }

    #[test]
    fn a_name_of_the_caller_counts_before_stages_and_images() {
        let source = "FROM alpine AS base\nRUN x\nFROM base AS main\nCOPY --from=docker.io/library/tools:latest /x /x\nCOPY --from=base /y /y\nFROM scratch\n";
        let names = |pairs: &[(&str, Option<&str>)]| {
            pairs.iter().map(|(name, stage)| ((*name).to_owned(), stage.map(str::to_owned))).collect()
        };
        let mut plan = plan(source).unwrap();
        plan.set_names(&names(&[("alpine", None), ("Tools", None), ("scratch", None)])).unwrap();
        assert_eq!(plan.stages[0].base, Base::Context("alpine".into()));
        assert_eq!(plan.stages[2].base, Base::Scratch, "a word of the language");
        assert_eq!(plan.sources(1), [Base::Stage(0), Base::Context("Tools".into()), Base::Stage(0)]);
        plan.set_names(&names(&[("base", None)])).unwrap();
        assert!(plan.stages[0].steps.is_empty());
        assert_eq!(plan.sources(1)[2], Base::Context("base".into()));
        plan.set_names(&names(&[("tools", Some("2"))])).unwrap();
        assert_eq!(plan.sources(1)[1], Base::Stage(2));
        let error = plan.set_names(&names(&[("tools", Some("main"))])).unwrap_err().to_string();
        assert_eq!(error, "--build-context: with these names, the stage main needs itself");
        let error = plan.set_names(&names(&[("x", Some("none"))])).unwrap_err().to_string();
        assert_eq!(error, "--build-context x=target:none: no such stage");
    }
}
