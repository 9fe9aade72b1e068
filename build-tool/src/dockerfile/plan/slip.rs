//! Slips of the pen: names that would be pulled as images, but are probably stages.

use std::collections::BTreeMap;

use super::{Base, Plan, Stage, froms};
use crate::dockerfile::near::near;

/// Images that nobody means a stage by, however near a stage's name is.
const COMMON: [&str; 12] =
    ["alpine", "busybox", "debian", "fedora", "golang", "node", "nginx", "php", "python", "ruby", "rust", "ubuntu"];

/// Names of images that are probably meant as stages, and a hint at what was meant.
pub(super) fn find(plan: &Plan) -> BTreeMap<String, String> {
    let mut slips = BTreeMap::new();
    let names: Vec<&str> = plan.stages.iter().filter_map(|stage| stage.name.as_deref()).collect();
    for (number, stage) in plan.stages.iter().enumerate() {
        if let Base::Image(name) = &stage.base {
            let own = stage.name.as_deref();
            let hint = match later(plan, name, number) {
                Some(later) => Some(format!("the stage {later} comes later")),
                None => mistyped(name, names.iter().copied().filter(|each| Some(*each) != own)),
            };
            slips.extend(hint.map(|hint| (name.clone(), hint)));
        }
        for from in stage.steps.iter().flat_map(|step| froms(&step.instruction)) {
            slips.extend(mistyped(&from, names.iter().copied()).map(|hint| (from, hint)));
        }
    }
    // What one stage begins with by its right name is an image.
    for stage in &plan.stages {
        if let (Base::Image(image), Some(name)) = (&stage.base, &stage.name)
            && image == name
        {
            slips.remove(image);
        }
    }
    slips
}

/// The later stage of exactly that name, or the number that a FROM cannot take.
fn later(plan: &Plan, name: &str, number: usize) -> Option<String> {
    let is_later = |stage: &&Stage| stage.name.as_deref() == Some(name);
    let later = plan.stages[number + 1..].iter().find(is_later);
    later.filter(|_| is_plain(name)).and_then(|stage| stage.name.clone())
}

/// What a name probably means, if it is not an image's.
fn mistyped<'a>(name: &str, stages: impl Iterator<Item = &'a str>) -> Option<String> {
    if name.parse::<usize>().is_ok() {
        return Some("FROM takes a stage by its name".to_owned());
    }
    // Of very short names, too many are near each other.
    if !is_plain(name) || name.chars().count() < 4 {
        return None;
    }
    let stem = |text: &str| text.trim_end_matches(|c: char| c.is_ascii_digit() || "-_.".contains(c)).to_owned();
    // `node` beside a stage `node2` is no slip.
    near(name, stages.filter(|stage| stem(stage) != stem(name) && *stage != name))
        .map(|near| format!("did you mean the stage {near}?"))
}

/// Whether the name may be a stage's: an image with a tag or in a repository of its own is none.
fn is_plain(name: &str) -> bool {
    !COMMON.contains(&name) && !name.contains(['/', ':', '@'])
}

#[cfg(test)]
mod tests {
    use crate::dockerfile::Dockerfile;
    use crate::dockerfile::plan::Plan;

    #[test]
    fn only_names_that_look_like_stages_are_slips() {
        for (source, expected) in [
            ("FROM x AS build\nFROM y\nCOPY --from=biuld / /", vec![("biuld", "did you mean the stage build?")]),
            ("FROM x AS build\nFROM biuld", vec![("biuld", "did you mean the stage build?")]),
            ("FROM tools\nFROM x AS tools", vec![("tools", "the stage tools comes later")]),
            ("FROM x\nFROM 0", vec![("0", "FROM takes a stage by its name")]),
            ("FROM x AS build\nFROM y\nCOPY --from=biuld:1 / /\nCOPY --from=a/biuld / /", vec![]),
            ("FROM x AS node2\nFROM y\nCOPY --from=node / /", vec![]),
            ("FROM tool AS tool1\nFROM y\nCOPY --from=tool / /", vec![]),
            ("FROM golang AS golang\nFROM y\nCOPY --from=golang / /", vec![]),
            ("FROM tools AS tools\nFROM y AS toolz", vec![]),
        ] {
            let plan = Plan::new("D", &Dockerfile::parse("D", source.as_bytes()).unwrap(), &|_| None).unwrap();
            let found: Vec<(&str, &str)> = plan.slips.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
            assert_eq!(found, expected, "{source}");
        }
    }
}
