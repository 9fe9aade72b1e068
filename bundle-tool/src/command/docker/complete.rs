//! What a shell is offered for a word of a docker command line: commands, options, and the containers, images, volumes and networks of
//! this host.

use std::ffi::OsString;

use bundle_tool::bundle::Bundle;
use bundle_tool::container;
use bundle_tool::network::cni::Conflist;
use bundle_tool::volume::Store;
use image_tool::address::home::Home;
use image_tool::layout::Layout;
use image_tool::show::human::plain;

use super::name;
use super::table::{Kind, Usage};

/// The candidates for the last of the words after `docker`, a line each: the word, and after a tab what it means.
pub(super) fn lines(words: &[OsString]) -> String {
    let words: Vec<String> = words.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let Some((last, before)) = words.split_last() else { return String::new() };
    let all = candidates(before, last);
    let fitting = all.into_iter().filter(|(word, _)| word.starts_with(last.as_str()) && plain(word) == *word);
    fitting.map(|(word, about)| if about.is_empty() { word + "\n" } else { format!("{word}\t{about}\n") }).collect()
}

fn candidates(before: &[String], last: &str) -> Vec<(String, String)> {
    let main = Usage::find("").expect("docker describes itself");
    let Some(at) = first_operand(&main, before) else {
        return if last.starts_with('-') { options(&main) } else { main.commands() };
    };
    let words: Vec<OsString> = before[at..].iter().map(OsString::from).collect();
    let Ok(called) = name::Name::find(&words) else { return Vec::new() };
    let usage = Usage::find(called.path).expect("every name has a description");
    if usage.is_group() {
        return usage.commands();
    }
    if last.starts_with('-') {
        return options(&usage);
    }
    let rest: Vec<String> = called.rest.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let Some(index) = operands_in(&usage, &rest) else { return Vec::new() };
    let parts = usage.parts();
    let part = parts.get(index).or(parts.last()).cloned().unwrap_or_default();
    things(&part)
}

/// The place of the first word that is no option and no option's value.
fn first_operand(usage: &Usage, words: &[String]) -> Option<usize> {
    let mut skip = false;
    words.iter().position(|word| {
        let is_value = std::mem::replace(&mut skip, takes_value(usage, word));
        !is_value && !word.starts_with('-')
    })
}

/// How many operands there are; `None` if the next word is the value of an option.
fn operands_in(usage: &Usage, words: &[String]) -> Option<usize> {
    let mut skip = false;
    let mut count = 0;
    for word in words {
        let is_value = std::mem::replace(&mut skip, takes_value(usage, word));
        count += usize::from(!is_value && !word.starts_with('-'));
    }
    (!skip).then_some(count)
}

/// Whether the word after an option is its value.
fn takes_value(usage: &Usage, word: &str) -> bool {
    let takes = |kind: Kind| !matches!(kind, Kind::Switch(_) | Kind::Optional);
    let Some(name) = word.strip_prefix('-').filter(|name| !name.contains('=')) else { return false };
    match name.strip_prefix('-') {
        Some(long) => usage.flags.iter().any(|flag| flag.long == long && takes(flag.kind)),
        None => {
            let last = name.chars().next_back();
            usage.flags.iter().any(|flag| last.is_some() && flag.short == last && takes(flag.kind))
        }
    }
}

fn options(usage: &Usage) -> Vec<(String, String)> {
    usage.flags.iter().map(|flag| (format!("--{}", flag.long), String::new())).collect()
}

/// The things on this host that an operand can name.
fn things(part: &str) -> Vec<(String, String)> {
    let home = Home::from_environment();
    let containers = || Bundle::list(&home.bundles()).unwrap_or_default().iter().map(Bundle::name).collect();
    let images = || -> Vec<String> {
        let entries = Layout::open(&home.images()).and_then(|layout| layout.index()).and_then(|index| index.entries());
        entries.unwrap_or_default().into_iter().filter_map(|(name, _)| name).collect()
    };
    let names: Vec<String> = match part.trim_start_matches('[').split(['[', ']', '.', ':']).next().unwrap_or_default() {
        "CONTAINER" => containers(),
        "IMAGE" | "SOURCE_IMAGE" | "REPOSITORY" => images(),
        "NAME|ID" => [containers(), images()].concat(),
        "VOLUME" => {
            let known = Store::new(home.volumes()).list().unwrap_or_default();
            known.into_iter().map(|volume| volume.name).collect()
        }
        "NETWORK" => {
            let known = Conflist::list(&container::network_folders(&home));
            known.into_iter().map(|network| network.name).collect()
        }
        _ => Vec::new(),
    };
    names.into_iter().map(|name| (name, String::new())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offered(text: &str) -> String {
        lines(&text.split(' ').map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn commands_and_options_are_offered() {
        assert!(offered("ru").starts_with("run\tRun a command in a new container\n"));
        assert!(offered("container pru").starts_with("prune\tRemove all stopped containers\n"));
        assert_eq!(offered("-D stop --ti"), "--time\n--timeout\n");
        assert_eq!(offered("run --nam"), "--name\n");
        assert_eq!(offered("stop -t "), "", "a value is not an operand");
        assert_eq!(offered("nosuch x"), "");
    }
}
