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

/// What a program's pages say beyond its command line. Each entry is a term and its description.
#[derive(Debug, Clone, Copy)]
pub struct Manual {
    /// The exit statuses.
    pub statuses: &'static [(&'static str, &'static str)],
    /// The environment variables that the program reads.
    pub environment: &'static [(&'static str, &'static str)],
    /// The files that the program reads and writes.
    pub files: &'static [(&'static str, &'static str)],
    /// Pages of other programs, without the section.
    pub related: &'static [&'static str],
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
        page.text([roman(format!("{name} - {}", about.trim_end_matches('.')))]);
        section(&mut page, "SYNOPSIS");
        synopsis(&mut page, command, path);
        section(&mut page, "DESCRIPTION");
        paragraphs(
            &mut page,
            &command.get_long_about().or(command.get_about()).map(ToString::to_string).unwrap_or_default(),
        );
        arguments(&mut page, command);
        commands(&mut page, command, path);
        if let Some(examples) = examples(command) {
            section(&mut page, "EXAMPLES");
            page.control("nf", []);
            for line in examples {
                page.text([roman(line)]);
            }
            page.control("fi", []);
        }
        for (heading, entries) in
            [("EXIT STATUS", self.statuses), ("ENVIRONMENT", self.environment), ("FILES", self.files)]
        {
            if !entries.is_empty() {
                section(&mut page, heading);
            }
            for (term, description) in entries {
                page.control("TP", []);
                page.text([bold(*term)]);
                page.text([roman(*description)]);
            }
        }
        section(&mut page, "SEE ALSO");
        page.text(self.see_also(command, path));
        // roff's writer leaves out an empty argument: the date, which would make equal input give unequal pages.
        format!(".TH {} 1 \"\" \"{} {version}\" \"User Commands\"\n{}", name.to_uppercase(), path[0], page.render())
    }

    /// The page above, the pages below, and those of other programs.
    fn see_also(&self, command: &Command, path: &[&str]) -> Vec<Inline> {
        let above = (path.len() > 1).then(|| path[..path.len() - 1].join("-"));
        let below = subcommands(command).map(|command| format!("{}-{}", path.join("-"), command.get_name()));
        let names = above.into_iter().chain(below).chain(self.related.iter().map(|name| (*name).to_owned()));
        let mut line = Vec::new();
        for name in names {
            if !line.is_empty() {
                line.push(roman(", "));
            }
            line.extend([bold(name), roman("(1)")]);
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

/// Text whose paragraphs are parted by empty lines.
fn paragraphs(page: &mut Roff, text: &str) {
    for (index, paragraph) in text.split("\n\n").filter(|paragraph| !paragraph.trim().is_empty()).enumerate() {
        if index > 0 {
            page.control("PP", []);
        }
        page.text([roman(paragraph.split_whitespace().collect::<Vec<_>>().join(" "))]);
    }
}

fn shown(command: &Command) -> impl Iterator<Item = &Arg> {
    command.get_arguments().filter(|argument| !argument.is_hide_set())
}

/// The command with its options and their values, then its operands.
fn synopsis(page: &mut Roff, command: &Command, path: &[&str]) {
    let mut line = vec![bold(path.join(" "))];
    for option in shown(command).filter(|argument| !argument.is_positional() && argument.get_id() != "help") {
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
        line.push(italic(value_names(operand)));
        if repeats(operand) {
            line.push(roman("..."));
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
fn arguments(page: &mut Roff, command: &Command) {
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
    let options: Vec<&Arg> = shown(command).filter(|argument| !argument.is_positional()).collect();
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
}

/// What an argument means, the values that it can have, and its default.
fn described(page: &mut Roff, argument: &Arg) {
    let help = argument.get_long_help().or(argument.get_help()).map(ToString::to_string).unwrap_or_default();
    for (index, paragraph) in help.split("\n\n").filter(|paragraph| !paragraph.trim().is_empty()).enumerate() {
        if index > 0 {
            page.control("IP", []);
        }
        let text = paragraph.split_whitespace().collect::<Vec<_>>().join(" ");
        page.text([roman(if text.ends_with(['.', '!', '?', ':']) { text } else { text + "." })]);
    }
    let mut notes = Vec::new();
    if argument.get_num_args().is_some_and(|range| range.takes_values()) && !argument.is_hide_possible_values_set() {
        let values: Vec<String> = argument
            .get_possible_values()
            .iter()
            .filter(|value| !value.is_hide_set())
            .map(|value| match value.get_help() {
                Some(help) => format!("{} ({help})", value.get_name()),
                None => value.get_name().to_owned(),
            })
            .collect();
        if !values.is_empty() {
            notes.push(format!("Possible values: {}.", values.join(", ")));
        }
    }
    let defaults = argument.get_default_values();
    if !defaults.is_empty() && !argument.is_hide_default_value_set() && argument.get_action().takes_values() {
        let defaults: Vec<_> = defaults.iter().map(|value| value.to_string_lossy()).collect();
        notes.push(format!("Default: {}.", defaults.join(" ")));
    }
    if !notes.is_empty() {
        page.control("IP", []);
        page.text([roman(notes.join(" "))]);
    }
}

fn commands(page: &mut Roff, command: &Command, path: &[&str]) {
    if subcommands(command).next().is_some() {
        section(page, "COMMANDS");
    }
    for command in subcommands(command) {
        page.control("TP", []);
        page.text([bold(format!("{}-{}", path.join("-"), command.get_name())), roman("(1)")]);
        page.text([roman(command.get_about().map(ToString::to_string).unwrap_or_default())]);
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

    #[test]
    fn every_command_has_a_page_with_all_sections_in_order() {
        let manual = Manual {
            statuses: &[("0", "Success.")],
            environment: &[("OCI_HOME", "Where things are.")],
            files: &[("/var/lib/oci", "Things.")],
            related: &["skopeo"],
        };
        let command = Command::new("a-tool").version("1.2.3").about("Do things").subcommand(
            Command::new("volume").about("Manage volumes").subcommand(
                Command::new("rm")
                    .about("Remove volumes")
                    .after_long_help("Examples:\n  a-tool volume rm data")
                    .arg(Arg::new("format").long("format").short('f').value_name("TEMPLATE").default_value("x"))
                    .arg(Arg::new("name").value_name("NAME").required(true).num_args(1..)),
            ),
        );
        let pages = manual.pages(&command);
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
        assert!(page.contains(r"\fBa\-tool\-volume\fR(1), \fBskopeo\fR(1)"), "{page}");
    }
}
