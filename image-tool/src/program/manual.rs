//! Manual pages: one for the program and one for each of its commands, from the definitions of the command line itself.
//!
//! What the command line cannot tell (exit statuses, environment variables, files) a program adds as a [`Manual`]. Examples are the
//! part of a command's long help that begins with `Examples:`. All pages have the same sections in the order of man-pages(7).
//!
//! run-tool, which links no sibling, has this file as a module of its own: it knows nothing but clap and clap_mangen.

use std::path::{Path, PathBuf};
use std::{fs, io};

use clap::{Arg, ArgAction, Args, Command, ValueHint};
use clap_mangen::roff::{Inline, Roff, bold, italic, roman};

/// Write the manual pages into a folder.
#[derive(Debug, Args)]
#[command(hide = true)]
pub struct Man {
    /// The folder.
    #[arg(value_hint = ValueHint::DirPath)]
    pub folder: PathBuf,
}

/// What a program's pages say beyond its command line.
#[derive(Debug, Clone, Copy)]
pub struct Manual {
    /// The exit statuses.
    pub statuses: &'static [Entry],
    /// The environment variables that the program reads.
    pub environment: &'static [Entry],
    /// The files that the program reads and writes.
    pub files: &'static [Entry],
    /// Pages of other programs, such as `skopeo(1)`.
    pub related: &'static [&'static str],
}

/// An entry of a list: an exit status, a variable or a file.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    term: &'static str,
    description: &'static str,
    /// The commands on whose pages the entry is, beside the program's own; all of them if `None`.
    commands: Option<&'static [&'static str]>,
}

impl Entry {
    /// An entry that concerns all commands.
    #[must_use]
    pub const fn new(term: &'static str, description: &'static str) -> Self {
        Self { term, description, commands: None }
    }

    /// The entry, for these commands and their subcommands only.
    #[must_use]
    pub const fn only(self, commands: &'static [&'static str]) -> Self {
        Self { commands: Some(commands), ..self }
    }

    /// Whether the entry is on the page of a command. `path` begins with the program.
    fn concerns(&self, path: &[&str]) -> bool {
        let Some(commands) = self.commands else { return true };
        path.get(1).is_none_or(|command| commands.contains(command))
    }
}

impl Manual {
    /// Writes `TOOL.1` and `TOOL-COMMAND.1` for each command and subcommand into `folder`.
    ///
    /// # Errors
    /// If a page cannot be written: its path, and the reason.
    pub fn write(&self, command: &Command, folder: &Path) -> Result<(), (PathBuf, io::Error)> {
        fs::create_dir_all(folder).map_err(|error| (folder.to_owned(), error))?;
        for (name, page) in self.pages(command) {
            let path = folder.join(format!("{name}.1"));
            fs::write(&path, page).map_err(|error| (path, error))?;
        }
        Ok(())
    }

    /// The pages by name, the program's own first.
    #[must_use]
    pub fn pages(&self, command: &Command) -> Vec<(String, String)> {
        let mut command = command.clone().disable_help_subcommand(true);
        command.build();
        let mut pages = Vec::new();
        self.add(&command, &[command.get_name()], &mut pages);
        pages
    }

    fn add(&self, command: &Command, path: &[&str], pages: &mut Vec<(String, String)>) {
        pages.push((path.join("-"), self.page(command, path)));
        for command in subcommands(command) {
            self.add(command, &[path, &[command.get_name()]].concat(), pages);
        }
    }

    fn page(&self, command: &Command, path: &[&str]) -> String {
        let name = path.join("-");
        let version = command.get_version().unwrap_or(env!("CARGO_PKG_VERSION"));
        let mut page = Roff::new();
        section(&mut page, "NAME");
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        page.text([roman(format!("{name} - {}", about.trim_end_matches('.').replace('`', "")))]);
        section(&mut page, "SYNOPSIS");
        synopsis(&mut page, command, path);
        section(&mut page, "DESCRIPTION");
        let long = command.get_long_about().map(ToString::to_string);
        for (index, paragraph) in paragraphs(&long.unwrap_or(about)).into_iter().enumerate() {
            if index > 0 {
                page.control("PP", []);
            }
            page.text(marked(&sentence(paragraph)));
        }
        arguments(&mut page, command, path);
        commands(&mut page, command, path);
        if let Some(examples) = examples(command) {
            section(&mut page, "EXAMPLES");
            page.control("EX", []);
            for line in examples {
                page.text([roman(line)]);
            }
            page.control("EE", []);
        }
        for (heading, entries) in
            [("EXIT STATUS", self.statuses), ("ENVIRONMENT", self.environment), ("FILES", self.files)]
        {
            let entries: Vec<&Entry> = entries.iter().filter(|entry| entry.concerns(path)).collect();
            if !entries.is_empty() {
                section(&mut page, heading);
            }
            for entry in entries {
                page.control("TP", []);
                page.text([bold(entry.term)]);
                page.text(marked(entry.description));
            }
        }
        section(&mut page, "SEE ALSO");
        page.text(self.see_also(path));
        // roff's writer leaves out an empty argument: the date, which would make equal input give unequal pages.
        format!(".TH {} 1 \"\" \"{} {version}\" \"User Commands\"\n{}", name.to_uppercase(), path[0], page.render())
    }

    /// The page above, and those of other programs, in the order of man-pages(7): by section, then by name. The pages below are
    /// in COMMANDS.
    fn see_also(&self, path: &[&str]) -> Vec<Inline> {
        let above = (path.len() > 1).then(|| format!("{}(1)", path[..path.len() - 1].join("-")));
        let mut pages: Vec<String> = self.related.iter().map(|page| (*page).to_owned()).chain(above).collect();
        pages.sort_by_cached_key(|page| {
            page.split_once('(').map(|(name, section)| (section.to_owned(), name.to_owned()))
        });
        let mut line = Vec::new();
        for page in &pages {
            if !line.is_empty() {
                line.push(roman(", "));
            }
            let (name, section) = page.split_at(page.find('(').unwrap_or(page.len()));
            line.extend([bold(name), roman(section)]);
        }
        line
    }
}

fn subcommands(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|command| !command.is_hide_set())
}

fn section(page: &mut Roff, heading: &str) {
    page.control("SH", [heading]);
}

/// The paragraphs of a text, each as one line. Empty lines part them.
fn paragraphs(text: &str) -> Vec<String> {
    text.split("\n\n")
        .map(|paragraph| paragraph.split_whitespace().collect::<Vec<_>>().join(" "))
        .filter(|paragraph| !paragraph.is_empty())
        .collect()
}

/// The text with a full stop, which clap takes from the end of a summary.
fn sentence(text: String) -> String {
    if text.ends_with(['.', '!', '?', ':']) { text } else { text + "." }
}

/// The text with what is to be typed in bold: what is between backticks, and options.
fn marked(text: &str) -> Vec<Inline> {
    let mut line = Vec::new();
    for (index, part) in text.split('`').enumerate() {
        if index % 2 == 1 {
            line.push(bold(part));
            continue;
        }
        let mut plain = String::new();
        for word in part.split_inclusive([' ', '(']) {
            let end = word.find(|c: char| !c.is_ascii_lowercase() && c != '-').unwrap_or(word.len());
            let (option, rest) = word.split_at(end);
            if option.len() > 2 && option.starts_with("--") {
                line.extend([roman(std::mem::take(&mut plain)), bold(option)]);
                plain = rest.to_owned();
            } else {
                plain += word;
            }
        }
        line.push(roman(plain));
    }
    line
}

/// The arguments that a page describes. Global options are on the program's page only.
fn shown<'a>(command: &'a Command, path: &[&str]) -> impl Iterator<Item = &'a Arg> {
    let whole = path.len() == 1;
    command.get_arguments().filter(move |argument| !argument.is_hide_set() && (whole || !argument.is_global_set()))
}

/// Beyond this many options a synopsis only says that there are some.
const FEW: usize = 12;

/// The command with its options and their values, then its operands.
fn synopsis(page: &mut Roff, command: &Command, path: &[&str]) {
    let mut line = vec![bold(path.join(" "))];
    let mut options: Vec<&Arg> =
        shown(command, path).filter(|argument| !argument.is_positional() && argument.get_id() != "help").collect();
    if options.len() > FEW {
        line.extend([roman(" ["), italic("OPTION"), roman("]...")]);
        options.retain(|option| option.is_required_set());
    }
    for option in options {
        line.push(roman(if option.is_required_set() { " " } else { " [" }));
        line.extend(names(option, "|"));
        line.extend(value(option));
        if !option.is_required_set() {
            line.push(roman("]"));
        }
        if matches!(option.get_action(), ArgAction::Append | ArgAction::Count) {
            line.push(roman("..."));
        }
    }
    for operand in command.get_positionals().filter(|argument| !argument.is_hide_set()) {
        line.push(roman(if operand.is_required_set() { " " } else { " [" }));
        // Of several names, the last is that of the values which may follow the first ones.
        let names = value_names(operand);
        match names.rsplit_once(' ').filter(|_| repeats(operand)) {
            Some((first, last)) => line.extend([italic(first), roman(" ["), italic(last), roman("...]")]),
            None if repeats(operand) => line.extend([italic(names), roman("...")]),
            None => line.push(italic(names)),
        }
        if !operand.is_required_set() {
            line.push(roman("]"));
        }
    }
    if command.has_subcommands() {
        line.extend([roman(" "), italic("COMMAND"), roman(" ...")]);
    }
    page.text(line);
}

/// `-o, --output`.
fn names(option: &Arg, between: &str) -> Vec<Inline> {
    let short = option.get_short().map(|short| bold(format!("-{short}")));
    let long = option.get_long().map(|long| bold(format!("--{long}")));
    match (short, long) {
        (Some(short), Some(long)) => vec![short, roman(between), long],
        (short, long) => short.into_iter().chain(long).collect(),
    }
}

fn value_names(argument: &Arg) -> String {
    match argument.get_value_names() {
        Some(names) => names.join(" "),
        None => argument.get_id().as_str().to_uppercase(),
    }
}

fn repeats(argument: &Arg) -> bool {
    argument.get_num_args().is_some_and(|range| range.max_values() > 1)
}

/// The value of an option, in brackets where it can be left out.
fn value(option: &Arg) -> Vec<Inline> {
    let Some(range) = option.get_num_args().filter(|range| range.takes_values()) else { return Vec::new() };
    let name = italic(value_names(option));
    match (range.min_values(), option.is_require_equals_set()) {
        (0, true) => vec![roman("[="), name, roman("]")],
        (0, false) => vec![roman(" ["), name, roman("]")],
        (_, true) => vec![roman("="), name],
        (_, false) => vec![roman(" "), name],
    }
}

/// The operands and the options, the latter by their headings.
fn arguments(page: &mut Roff, command: &Command, path: &[&str]) {
    let operands: Vec<&Arg> = command.get_positionals().filter(|argument| !argument.is_hide_set()).collect();
    if !operands.is_empty() {
        section(page, "OPERANDS");
    }
    for operand in operands {
        page.control("TP", []);
        page.text([italic(value_names(operand))]);
        described(page, operand);
    }
    let mut headings: Vec<Option<&str>> = Vec::new();
    let options: Vec<&Arg> = shown(command, path).filter(|argument| !argument.is_positional()).collect();
    for option in &options {
        if !headings.contains(&option.get_help_heading()) {
            headings.push(option.get_help_heading());
        }
    }
    headings.sort_by_key(Option::is_some);
    if !options.is_empty() {
        section(page, "OPTIONS");
    }
    for heading in headings {
        if let Some(heading) = heading {
            page.control("SS", [heading]);
        }
        for option in options.iter().filter(|option| option.get_help_heading() == heading) {
            page.control("TP", []);
            let mut term = names(option, ", ");
            term.extend(value(option));
            page.text(term);
            described(page, option);
        }
    }
    globals(page, command, path);
}

/// Where the options that every command has are described.
fn globals(page: &mut Roff, command: &Command, path: &[&str]) {
    let globals = command.get_arguments().filter(|argument| argument.is_global_set() && !argument.is_hide_set());
    let globals: Vec<&Arg> = globals.filter(|_| path.len() > 1).collect();
    if globals.is_empty() {
        return;
    }
    let (noun, verb) = if globals.len() == 1 { ("option", "is") } else { ("options", "are") };
    let mut line = vec![roman(format!("The global {noun} "))];
    for (index, option) in globals.into_iter().enumerate() {
        line.push(roman(if index == 0 { "" } else { ", " }));
        line.extend(names(option, "/"));
    }
    line.extend([roman(format!(" {verb} described in ")), bold(path[0]), roman("(1).")]);
    page.control("PP", []);
    page.text(line);
}

/// What an argument means, the values that it can have, and its default.
fn described(page: &mut Roff, argument: &Arg) {
    let help = match argument.get_id().as_str() {
        // clap's own text tells of a summary, which a page has none of.
        "help" => "Print help".to_owned(),
        _ => argument.get_long_help().or(argument.get_help()).map(ToString::to_string).unwrap_or_default(),
    };
    let mut notes = Vec::new();
    for (index, paragraph) in paragraphs(&help).into_iter().enumerate() {
        if index > 0 {
            page.control("IP", []);
        }
        // A default that only the text knows is written as clap writes those that it knows.
        let (text, default) = match paragraph.trim_end_matches('.').split_once(" [default: ") {
            Some((text, default)) => (text.to_owned(), default.strip_suffix(']').map(str::to_owned)),
            None => (paragraph, None),
        };
        page.text(marked(&sentence(text)));
        notes.extend(default.map(|default| format!("Default: {default}.")));
    }
    if argument.get_num_args().is_some_and(|range| range.takes_values()) && !argument.is_hide_possible_values_set() {
        let values: Vec<String> = argument
            .get_possible_values()
            .iter()
            .filter(|value| !value.is_hide_set())
            .map(|value| match value.get_help() {
                Some(help) => format!("`{}` ({help})", value.get_name()),
                None => format!("`{}`", value.get_name()),
            })
            .collect();
        if !values.is_empty() {
            notes.insert(0, format!("Possible values: {}.", values.join(", ")));
        }
    }
    let defaults = argument.get_default_values();
    if !defaults.is_empty() && !argument.is_hide_default_value_set() && argument.get_action().takes_values() {
        let defaults: Vec<_> = defaults.iter().map(|value| value.to_string_lossy()).collect();
        notes.push(format!("Default: {}.", defaults.join(" ")));
    }
    if !notes.is_empty() {
        page.control("IP", []);
        page.text(marked(&notes.join(" ")));
    }
}

fn commands(page: &mut Roff, command: &Command, path: &[&str]) {
    if subcommands(command).next().is_some() {
        section(page, "COMMANDS");
    }
    for command in subcommands(command) {
        page.control("TP", []);
        page.text([bold(format!("{}-{}", path.join("-"), command.get_name())), roman("(1)")]);
        page.text(marked(&sentence(command.get_about().map(ToString::to_string).unwrap_or_default())));
    }
}

/// The lines behind `Examples:` in the text that follows the help.
fn examples(command: &Command) -> Option<Vec<String>> {
    let help = command.get_after_long_help().or(command.get_after_help())?.to_string();
    let (_, examples) = help.split_once("Examples:\n")?;
    Some(examples.lines().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANUAL: Manual = Manual {
        statuses: &[Entry::new("0", "Success.")],
        environment: &[Entry::new("OCI_HOME", "Where things are.")],
        files: &[
            Entry::new("/var/lib/oci", "Things."),
            Entry::new("/etc/cni", "Networks.").only(&["network"]),
            Entry::new("/var/lib/oci/volumes", "Volumes.").only(&["volume"]),
        ],
        related: &["runc(8)", "skopeo(1)"],
    };

    #[test]
    fn every_command_has_a_page_with_all_sections_in_order() {
        let command = Command::new("a-tool")
            .version("1.2.3")
            .about("Do things")
            .arg(Arg::new("verbose").long("verbose").short('v').action(ArgAction::Count).global(true))
            .subcommand(
                Command::new("volume").about("Manage volumes").subcommand(
                    Command::new("rm")
                        .about("Remove `data` volumes")
                        .after_long_help("Examples:\n  a-tool volume rm data")
                        .arg(
                            Arg::new("format")
                                .long("format")
                                .short('f')
                                .value_name("TEMPLATE")
                                .default_value("x")
                                .help("Format as `docker` does (--all too)"),
                        )
                        .arg(Arg::new("limit").long("limit").value_name("N").help("At most N [default: all]"))
                        .arg(Arg::new("name").value_names(["NAME", "OTHER"]).required(true).num_args(1..)),
                ),
            );
        let pages = MANUAL.pages(&command);
        let names: Vec<&str> = pages.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["a-tool", "a-tool-volume", "a-tool-volume-rm"]);
        let page = &pages[2].1;
        let sections: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix(".SH ")).collect();
        let expected = [
            "NAME",
            "SYNOPSIS",
            "DESCRIPTION",
            "OPERANDS",
            "OPTIONS",
            "EXAMPLES",
            "\"EXIT STATUS\"",
            "ENVIRONMENT",
            "FILES",
            "\"SEE ALSO\"",
        ];
        assert_eq!(sections, expected, "{page}");
        assert!(page.contains(r"[\fB\-f\fR|\fB\-\-format\fR \fITEMPLATE\fR]"), "{page}");
        assert!(page.contains("Default: x."), "{page}");
        assert!(page.contains("Default: all.") && !page.contains("[default"), "{page}");
        assert!(page.contains(r"\fINAME\fR [\fIOTHER\fR...]"), "{page}");
        assert!(page.contains(r"Format as \fBdocker\fR does (\fB\-\-all\fR too)."), "{page}");
        assert!(page.contains(r"a\-tool\-volume\-rm \- Remove data volumes"), "{page}");
        assert!(
            page.contains(r"The global option \fB\-v\fR/\fB\-\-verbose\fR is described in \fBa\-tool\fR(1)."),
            "{page}"
        );
        assert!(page.contains("/var/lib/oci/volumes") && !page.contains("/etc/cni"), "{page}");
        assert!(page.contains(r"\fBa\-tool\-volume\fR(1), \fBskopeo\fR(1), \fBrunc\fR(8)"), "{page}");
        assert!(pages[0].1.contains("/etc/cni"), "{}", pages[0].1);
    }
}
