//! What a Dockerfile offers to those who build it: its targets, and the arguments and secrets of one of them.
//! The room owns the documents of `--call`; what a Dockerfile means it learns from `plan`.

mod argument;

use std::collections::BTreeMap;

use serde::Serialize;

use self::argument::Arguments;
use super::expand::Lookup;
use super::instruction::Instruction;
use super::mount::Kind;
use super::plan::{NoTarget, Plan};
use super::{Dockerfile, Error, Span, Step};
use image_tool::show::human::plain;

/// A stage that can be built.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TargetStage {
    /// Its name; empty if it has none.
    pub name: String,
    /// Whether it is built without `--target`.
    pub default: bool,
    /// What the comment above its FROM says.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// The image or stage that it begins with, as written.
    pub base: String,
    /// The platform of its FROM, as written.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub platform: String,
    /// The lines of its FROM.
    pub location: Location,
}

/// Lines of the Dockerfile, in the form of BuildKit's protocol: a range for each of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Location {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ranges: Vec<Range>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
struct Range {
    start: Position,
    end: Position,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
struct Position {
    line: usize,
}

impl Location {
    /// The lines of a span.
    pub fn of(lines: Span) -> Self {
        let range = |line| Range { start: Position { line }, end: Position { line } };
        Self { ranges: (lines.start..=lines.end).map(range).collect() }
    }

    fn first_line(&self) -> usize {
        self.ranges.first().map_or(0, |range| range.start.line)
    }
}

/// The arguments and secrets of a target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Outline {
    /// The target's name; empty if it has none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// What the comment above its FROM says.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// The arguments, in the order of the file.
    pub args: Vec<Variable>,
    /// The secrets, in the order of the file.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<Need>,
    /// The SSH agents, in the order of the file.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ssh: Vec<Need>,
}

/// A build argument.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// The value that it would have.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub value: String,
    /// What the comment above its ARG says.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// The lines of its ARG.
    pub location: Location,
}

/// A secret or an agent that commands ask for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Need {
    /// Its id.
    pub name: String,
    /// Whether the build fails without it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub required: bool,
    /// The lines of the first command that asks for it.
    pub location: Location,
}

/// What is needed so far, by its id: whether it is required, and the lines of the first command that asks for it.
type Needs = BTreeMap<String, (bool, Span)>;

/// Notes that the command of a step asks for something.
fn note(needs: &mut Needs, id: String, required: bool, lines: Span) {
    let need = needs.entry(id).or_insert((false, lines));
    need.0 |= required;
    if lines.start < need.1.start {
        need.1 = lines;
    }
}

/// The needs in the order of the file.
fn in_order(needs: Needs) -> Vec<Need> {
    let mut needs: Vec<_> = needs.into_iter().collect();
    needs.sort_by_key(|(_, (_, lines))| lines.start);
    let need = |(name, (required, lines))| Need { name, required, location: Location::of(lines) };
    needs.into_iter().map(need).collect()
}

/// Why there is no outline.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NoOutline {
    /// The file cannot be planned.
    #[error(transparent)]
    Dockerfile(#[from] Error),
    /// There is no such target.
    #[error(transparent)]
    Target(#[from] NoTarget),
}

/// The stages of a file, in its order.
pub fn targets(file: &Dockerfile) -> Vec<TargetStage> {
    let mut targets: Vec<TargetStage> = Vec::new();
    for step in &file.steps {
        if let Instruction::From(from) = &step.instruction {
            let name = from.name.clone().unwrap_or_default();
            let description = described(step, &name);
            let (base, platform) = (from.base.clone(), from.platform.clone().unwrap_or_default());
            targets.push(TargetStage {
                name,
                default: false,
                description,
                base,
                platform,
                location: Location::of(step.span),
            });
        }
    }
    if let Some(last) = targets.last_mut() {
        last.default = true;
    }
    targets
}

/// The targets as a table.
pub fn table_of_targets(targets: &[TargetStage]) -> String {
    let mut rows = vec![vec!["TARGET".to_owned(), "DESCRIPTION".to_owned()]];
    // A stage without a name cannot be named, but the last one is built without.
    for target in targets.iter().filter(|target| target.default || !target.name.is_empty()) {
        let name = match (target.name.as_str(), target.default) {
            ("", _) => "(default)".to_owned(),
            (name, true) => format!("{name} (default)"),
            (name, false) => name.to_owned(),
        };
        rows.push(vec![name, target.description.clone()]);
    }
    table(&rows, 1)
}

impl Outline {
    /// The outline of a target. `lookup` gives the values of arguments as for a build; `given` only those of
    /// `--build-arg`.
    pub fn of(
        name: &str,
        file: &Dockerfile,
        target: Option<&str>,
        lookup: &Lookup<'_>,
        given: &Lookup<'_>,
    ) -> Result<Self, NoOutline> {
        let mut plan = Plan::new(name, file, lookup)?;
        if let Some(target) = target {
            plan.set_target(target)?;
        }
        let stage = &plan.stages[plan.target];
        let head = file.steps.iter().find(|step| step.span == stage.span);
        let title = stage.name.clone().unwrap_or_default();
        let mut arguments = Arguments::new(file, &plan, lookup, given);
        let args = arguments.of_target();
        let (mut secrets, mut ssh) = (Needs::new(), Needs::new());
        for (lines, mount) in arguments.mounts() {
            match &mount.kind {
                Kind::Secret { id, required, .. } => note(&mut secrets, id.clone(), *required, *lines),
                Kind::Ssh { id, required, .. } => note(&mut ssh, id.clone(), *required, *lines),
                _ => {}
            }
        }
        Ok(Self {
            description: head.map(|step| described(step, &title)).unwrap_or_default(),
            name: title,
            args,
            secrets: in_order(secrets),
            ssh: in_order(ssh),
        })
    }

    /// The outline as tables.
    pub fn text(&self) -> String {
        let mut text = String::new();
        if !self.name.is_empty() || !self.description.is_empty() {
            let name = if self.name.is_empty() { "(default)" } else { &self.name };
            let mut rows = vec![vec!["TARGET:".to_owned(), name.to_owned()]];
            if !self.description.is_empty() {
                rows.push(vec!["DESCRIPTION:".to_owned(), self.description.clone()]);
            }
            text += &(table(&rows, 1) + "\n");
        }
        if !self.args.is_empty() {
            let mut rows = vec![["BUILD ARG", "VALUE", "DESCRIPTION"].map(str::to_owned).to_vec()];
            rows.extend(
                self.args.iter().map(|each| vec![each.name.clone(), each.value.clone(), each.description.clone()]),
            );
            text += &(table(&rows, 3) + "\n");
        }
        for (title, needs) in [("SECRET", &self.secrets), ("SSH", &self.ssh)] {
            if needs.is_empty() {
                continue;
            }
            let mut rows = vec![[title, "REQUIRED"].map(str::to_owned).to_vec()];
            let required = |need: &Need| if need.required { "true".to_owned() } else { String::new() };
            rows.extend(needs.iter().map(|each| vec![each.name.clone(), required(each)]));
            text += &(table(&rows, 3) + "\n");
        }
        text
    }
}

/// What the comment directly above says of a name that it begins with.
fn described(step: &Step, name: &str) -> String {
    let begins = |comment: &&String| !name.is_empty() && comment.split(' ').next() == Some(name);
    let comment = step.comments.iter().rev().find(begins);
    comment.map(|comment| comment[name.len()..].trim().to_owned()).unwrap_or_default()
}

/// Rows with their columns under each other, `space` apart; everything is safe for a terminal.
fn table(rows: &[Vec<String>], space: usize) -> String {
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(|cell| plain(cell)).collect()).collect();
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or_default() + space).collect();
    let line = |row: &Vec<String>| {
        let cells: String = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        cells.trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# VERSION is the one of Python\nARG VERSION=3\n# tools compiles\nFROM a:$VERSION AS tools\nARG DEBUG=no\nRUN --mount=type=secret,id=key,required x\nFROM b AS other\nARG UNSEEN=1\n# main runs it\nFROM tools AS main\nARG VERSION TARGETARCH FREE\n";

    #[test]
    fn targets_have_their_comments() {
        let file = Dockerfile::parse("D", FILE.as_bytes()).unwrap();
        let text = "TARGET         DESCRIPTION\ntools          compiles\nother\nmain (default) runs it\n";
        assert_eq!(table_of_targets(&targets(&file)), text);
        let file = Dockerfile::parse("D", b"FROM a\nFROM b\n").unwrap();
        assert_eq!(table_of_targets(&targets(&file)), "TARGET    DESCRIPTION\n(default)\n");
    }

    #[test]
    fn an_outline_has_what_the_target_needs() {
        let file = Dockerfile::parse("D", FILE.as_bytes()).unwrap();
        let given = |name: &str| (name == "DEBUG").then(|| "yes".to_owned());
        let lookup = |name: &str| given(name).or_else(|| (name == "TARGETARCH").then(|| "x".to_owned()));
        let outline = Outline::of("D", &file, None, &lookup, &given).unwrap();
        let text = "TARGET:      main\nDESCRIPTION: runs it\n\nBUILD ARG   VALUE   DESCRIPTION\nVERSION     3       is the one of Python\nDEBUG       \
                    yes\nFREE\n\nSECRET   REQUIRED\nkey      true\n\n";
        assert_eq!(outline.text(), text);
        // Those that nothing uses do not count, those that others use do, and values are expanded.
        let source = "ARG UNUSED=1\nARG A=1\nARG B=x$A\nFROM a:$B AS one\nENV E=e\nARG C=$E-$B\nARG B\nARG D=$E$B\nFROM one\nARG D=2\n";
        let file = Dockerfile::parse("D", source.as_bytes()).unwrap();
        let given = |name: &str| (name == "A").then(|| "7".to_owned());
        let outline = Outline::of("D", &file, None, &given, &given).unwrap();
        let values: Vec<(&str, &str)> =
            outline.args.iter().map(|each| (each.name.as_str(), each.value.as_str())).collect();
        assert_eq!(values, [("A", "7"), ("B", "x7"), ("C", "e-"), ("D", "2")]);
        let file = Dockerfile::parse("D", FILE.as_bytes()).unwrap();
        let given = |name: &str| (name == "DEBUG").then(|| "yes".to_owned());
        let outline = Outline::of("D", &file, None, &lookup, &given).unwrap();
        assert_eq!(outline.text(), text);
        assert!(Outline::of("D", &file, Some("nosuch"), &lookup, &given).is_err());
        let source = "FROM a\nARG V=1\nRUN --mount=type=ssh x\nRUN --mount=type=ssh,id=k,required --mount=type=secret,id=s$V x\n";
        let file = Dockerfile::parse("D", source.as_bytes()).unwrap();
        let outline = Outline::of("D", &file, None, &lookup, &given).unwrap();
        let text = "BUILD ARG   VALUE   DESCRIPTION\nV           1\n\nSECRET   REQUIRED\ns1\n\nSSH       REQUIRED\ndefault\nk         true\n\n";
        assert_eq!(outline.text(), text);
        let source = "ARG A=1\nARG B=2\nARG B=$B$A\nARG B=3$B\nFROM a:$B\n";
        let file = Dockerfile::parse("D", source.as_bytes()).unwrap();
        let outline = Outline::of("D", &file, None, &|_| None, &|_| None).unwrap();
        assert_eq!(outline.text(), "BUILD ARG   VALUE   DESCRIPTION\nA           1\nB           321\n\n");
    }
}
