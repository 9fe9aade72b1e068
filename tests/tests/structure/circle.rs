//! The arrows between a crate's modules, and the circles among them.
//!
//! Where module A uses module B, the arrow is drawn between the two children of their lowest common ancestor that hold
//! them. A parent and its own children may use each other: no arrow is drawn there. A name that is handed on (`pub use`)
//! leads both to the module that hands it on and to the one that defines it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write as _;

use crate::source::{Crate, Name, Path};

/// The arrows among the children of one module, and what ties each: file, line and path.
type Floor = BTreeMap<(String, String), Vec<String>>;

/// Each circle of a crate as a text of several lines.
pub(crate) fn circles(of: &Crate) -> Vec<String> {
    let mut circles = Vec::new();
    for (parent, floor) in floors(of) {
        let parent = if parent.is_empty() { "the top floor".to_owned() } else { parent.join("::") };
        for circle in rings(&floor) {
            circles.push(describe(&of.name, &parent, &circle, &floor));
        }
    }
    circles
}

/// The arrows of every module that has children with arrows between them.
fn floors(of: &Crate) -> BTreeMap<Vec<String>, Floor> {
    let mut floors: BTreeMap<Vec<String>, Floor> = BTreeMap::new();
    for (index, module) in of.modules.iter().enumerate() {
        for path in &module.paths {
            for target in Resolver::new(of).targets(index, path) {
                let (from, to) = (&module.path, &of.modules[target].path);
                let shared = from.iter().zip(to).take_while(|(from, to)| from == to).count();
                if shared == from.len() || shared == to.len() {
                    continue;
                }
                let ties = floors
                    .entry(from[..shared].to_vec())
                    .or_default()
                    .entry((from[shared].clone(), to[shared].clone()))
                    .or_default();
                let tie = format!("{}:{}: {}", module.file, path.line, path.segments.join("::"));
                if !ties.contains(&tie) {
                    ties.push(tie);
                }
            }
        }
    }
    floors
}

/// The sets of children that all reach each other.
fn rings(floor: &Floor) -> Vec<BTreeSet<&str>> {
    let reach = |from| {
        let mut seen = BTreeSet::new();
        let mut left = vec![from];
        while let Some(next) = left.pop() {
            left.extend(after(floor, next).filter(|to| seen.insert(*to)));
        }
        seen
    };
    let names: BTreeSet<&str> = floor.keys().map(|(from, _)| from.as_str()).collect();
    let reached: BTreeMap<&str, BTreeSet<&str>> = names.iter().map(|name| (*name, reach(*name))).collect();
    let mut rings: Vec<BTreeSet<&str>> = Vec::new();
    for name in names {
        if reached[name].contains(name) && !rings.iter().any(|ring| ring.contains(name)) {
            let ring = reached[name].iter().filter(|other| reached.get(*other).is_some_and(|back| back.contains(name)));
            rings.push(ring.copied().collect());
        }
    }
    rings
}

fn after<'a>(floor: &'a Floor, from: &str) -> impl Iterator<Item = &'a str> {
    floor.keys().filter(move |(start, _)| start == from).map(|(_, to)| to.as_str())
}

/// The shortest way from a child back to itself.
fn shortest<'a>(floor: &'a Floor, ring: &BTreeSet<&'a str>) -> Vec<&'a str> {
    let around = |start: &'a str| {
        let mut ways = VecDeque::from([vec![start]]);
        let mut seen = BTreeSet::new();
        while let Some(way) = ways.pop_front() {
            for next in after(floor, way[way.len() - 1]) {
                let further = [&way[..], &[next]].concat();
                if next == start {
                    return further;
                }
                if seen.insert(next) {
                    ways.push_back(further);
                }
            }
        }
        unreachable!("every child of a ring reaches itself")
    };
    ring.iter().map(|start| around(start)).min_by_key(Vec::len).unwrap()
}

fn describe(name: &str, parent: &str, ring: &BTreeSet<&str>, floor: &Floor) -> String {
    const SHOWN: usize = 4;
    let shortest = shortest(floor, ring).join(" -> ");
    let mut text = format!("{name}, {parent}: a circle of {}: {shortest}", ring.len());
    for ((from, to), ties) in floor.iter().filter(|((from, to), _)| ring.contains(&**from) && ring.contains(&**to)) {
        write!(text, "\n  {from} -> {to}: {}", ties[..ties.len().min(SHOWN)].join(", ")).unwrap();
        if ties.len() > SHOWN {
            write!(text, ", and {} more", ties.len() - SHOWN).unwrap();
        }
    }
    text
}

/// Follows one path through modules, imports and globs.
struct Resolver<'a> {
    of: &'a Crate,
    targets: BTreeSet<usize>,
    /// The names being followed, since `use tree::tree` may lead to itself.
    open: Vec<(usize, String, usize)>,
}

impl<'a> Resolver<'a> {
    fn new(of: &'a Crate) -> Self {
        Self { of, targets: BTreeSet::new(), open: Vec::new() }
    }

    /// The modules that a path written in `module` leads to; none if it leads out of the crate.
    fn targets(mut self, module: usize, path: &Path) -> BTreeSet<usize> {
        match &path.segments[..] {
            // A lone word in an expression is no module, and what it names by a `use` counts at that `use`.
            [word] if !["crate", "super", "self"].contains(&word.as_str()) => self.through_globs(module, word, &[]),
            segments => self.follow(module, segments),
        };
        self.targets
    }

    fn follow(&mut self, module: usize, segments: &[String]) -> bool {
        let Some((first, rest)) = segments.split_first() else { return false };
        let this = &self.of.modules[module];
        match first.as_str() {
            "crate" => self.descend(self.root(module), rest),
            "self" if rest.first().is_some_and(|next| next == "super") => self.follow(module, rest),
            "self" => self.descend(module, rest),
            "super" => match (this.parent, rest.first().map(String::as_str)) {
                (Some(parent), Some("super")) => self.follow(parent, rest),
                (Some(parent), _) => self.descend(parent, rest),
                (None, _) => false,
            },
            _ if self.look_up(module, first, rest) => true,
            // The library, seen from the program.
            name if name == self.of.name && Some(self.root(module)) == self.of.program => match self.of.library {
                Some(library) => self.descend(library, rest),
                None => false,
            },
            _ => false,
        }
    }

    fn descend(&mut self, module: usize, segments: &[String]) -> bool {
        let Some((first, rest)) = segments.split_first() else {
            return self.reach(module);
        };
        // What is not found was made by a macro.
        self.look_up(module, first, rest) || self.reach(module)
    }

    fn reach(&mut self, module: usize) -> bool {
        self.targets.insert(module);
        true
    }

    /// Whether a module holds a name; if so, all that it stands for is followed.
    fn look_up(&mut self, module: usize, name: &str, rest: &[String]) -> bool {
        let mut found = false;
        for (index, what) in self.of.modules[module].names.get(name).into_iter().flatten().enumerate() {
            let this = (module, name.to_owned(), index);
            if self.open.contains(&this) {
                continue;
            }
            found = true;
            match what {
                Name::Module(child) => self.descend(*child, rest),
                Name::Item => self.reach(module),
                Name::Import(path) => {
                    self.open.push(this);
                    self.follow(module, &[&path.segments[..], rest].concat());
                    self.open.pop();
                    self.reach(module)
                }
            };
        }
        found || self.through_globs(module, name, rest)
    }

    fn through_globs(&mut self, module: usize, name: &str, rest: &[String]) -> bool {
        let of = self.of;
        let mut found = false;
        for (index, glob) in of.modules[module].globs.iter().enumerate() {
            let this = (module, "*".to_owned(), index);
            if self.open.contains(&this) {
                continue;
            }
            self.open.push(this);
            let mut sources = Self { of, targets: BTreeSet::new(), open: self.open.clone() };
            sources.follow(module, &glob.segments);
            for source in sources.targets {
                if source != module {
                    found |= self.look_up(source, name, rest);
                }
            }
            self.open.pop();
        }
        found
    }

    fn root(&self, mut module: usize) -> usize {
        while let Some(parent) = self.of.modules[module].parent {
            module = parent;
        }
        module
    }
}
