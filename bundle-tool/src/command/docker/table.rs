//! docker's commands as docker describes them: the text that `docker COMMAND --help` prints is the table that its command line is read by.
//!
//! So help and parser cannot disagree. The texts are those of Docker 20.10.24; what later versions and BuildKit have beside it stands under
//! `Newer:`, which help leaves out.

/// The texts, one after another.
const TEXT: &str = include_str!("usage.txt");

/// What an option takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nothing, or a boolean behind `=`; the value says what holds without it.
    Switch(bool),
    /// A value behind `=`, or nothing.
    Optional,
    /// A number.
    Number,
    /// A value; the last one counts.
    One,
    /// Values.
    Many,
}

/// An option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Flag {
    /// Its letter.
    pub(super) short: Option<char>,
    /// Its name, without dashes.
    pub(super) long: &'static str,
    /// What it takes.
    pub(super) kind: Kind,
}

/// A command, as docker describes it.
#[derive(Clone, Debug)]
pub(super) struct Usage {
    /// Its name after `docker`, such as `container prune`; empty for docker itself.
    pub(super) path: &'static str,
    /// Its operands, such as `CONTAINER [CONTAINER...]`.
    pub(super) operands: &'static str,
    /// Its options.
    pub(super) flags: Vec<Flag>,
    /// The whole text.
    text: &'static str,
}

/// The number of operands that a command takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) least: usize,
    pub(super) most: usize,
}

impl Usage {
    /// The command of that name.
    pub(super) fn find(path: &str) -> Option<Self> {
        texts().find(|text| path_of(text) == path).map(Self::read)
    }

    fn read(text: &'static str) -> Self {
        let path = path_of(text);
        let line = text.lines().next().unwrap_or_default();
        let form = line.strip_prefix(HEAD).unwrap_or_default();
        let operands = form.strip_prefix(path).unwrap_or(form).trim_start();
        let operands = operands.strip_prefix("[OPTIONS]").unwrap_or(operands).trim_start();
        let mut flags = Vec::new();
        let mut is_list = false;
        for line in text.lines() {
            match line {
                "Options:" | "Newer:" => is_list = true,
                _ if !line.starts_with(' ') && !line.is_empty() => is_list = false,
                _ if is_list => flags.extend(flag(line)),
                _ => {}
            }
        }
        Self { path, operands, flags, text }
    }

    /// What `--help` prints. `path` is the name by which the command was called, such as `container run` for `run`.
    pub(super) fn help(&self, path: &str) -> String {
        let shown = self.text.split("\n\nNewer:\n").next().unwrap_or_default().trim_end();
        let own = format!("docker {}", self.path);
        format!("\n{}\n", shown.replacen(own.trim_end(), format!("docker {path}").trim_end(), 1))
    }

    /// The usage line and the sentence below it, which docker repeats where operands are missing.
    pub(super) fn summary(&self) -> String {
        self.text.split("\n\n").take(2).collect::<Vec<_>>().join("\n\n")
    }

    /// The commands that it leads to, with what they do.
    pub(super) fn commands(&self) -> Vec<(String, String)> {
        let mut is_list = false;
        let mut found = Vec::new();
        for line in self.text.lines() {
            match line.strip_prefix("  ") {
                Some(row) if is_list => {
                    let (name, about) = row.split_once(' ').unwrap_or((row, ""));
                    found.push((name.to_owned(), about.trim_start().to_owned()));
                }
                Some(_) => {}
                None => is_list = line.ends_with("Commands:"),
            }
        }
        found
    }

    /// Whether it only leads to further commands.
    pub(super) fn is_group(&self) -> bool {
        self.operands == "COMMAND"
    }

    /// Whether its options end at the first operand, since what follows belongs to another program.
    pub(super) fn ends_options(&self) -> bool {
        ["run", "create", "exec", "top", "tag"].contains(&self.path)
    }

    /// The operands one by one: `CONTAINER` and `[CONTAINER...]`.
    pub(super) fn parts(&self) -> Vec<String> {
        let mut parts: Vec<String> = Vec::new();
        let mut depth = 0;
        let mut begins = true;
        for character in self.operands.replace(" | ", "|").chars() {
            match character {
                '[' => depth += 1,
                ']' => depth -= 1,
                _ => {}
            }
            if character == ' ' && depth == 0 {
                begins = true;
            } else {
                if std::mem::take(&mut begins) {
                    parts.push(String::new());
                }
                parts.last_mut().expect("a part has begun").push(character);
            }
        }
        parts
    }

    /// How many operands it takes.
    pub(super) fn count(&self) -> Count {
        let parts = self.parts();
        let optional = |part: &&String| part.starts_with('[');
        let several = parts.iter().any(|part| part.contains("...") || part.contains("OPTIONS"));
        let least = parts.iter().filter(|part| !optional(part)).count();
        Count { least, most: if several { usize::MAX } else { parts.len() } }
    }
}

/// All commands, docker itself last.
pub(super) fn all() -> impl Iterator<Item = Usage> {
    texts().map(Usage::read)
}

const HEAD: &str = "Usage:  docker ";

fn texts() -> impl Iterator<Item = &'static str> {
    let mut rest = TEXT;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = rest[1..].find(HEAD).map_or(rest.len(), |at| at + 1);
        let (text, after) = rest.split_at(end);
        rest = after;
        Some(text)
    })
}

/// The name of the command that a text describes: the words in lower case at the head of its usage.
fn path_of(text: &'static str) -> &'static str {
    let line = text.lines().next().unwrap_or_default();
    let form = line.strip_prefix(HEAD).unwrap_or_default();
    let is_name = |word: &&str| word.bytes().all(|byte| byte.is_ascii_lowercase());
    let words = form.split(' ').take_while(is_name);
    let length = words.map(|word| word.len() + 1).sum::<usize>();
    // `import file|URL|-` and `PATH` are operands.
    form[..length.min(form.len())].trim_end()
}

/// Reads `  -t, --time int   Seconds to wait (default 10)`.
fn flag(line: &'static str) -> Option<Flag> {
    let (head, rest) = line.split_at_checked(6)?;
    let rest = rest.strip_prefix("--")?;
    let short = head.strip_prefix("  -").and_then(|head| head.chars().next());
    let (form, about) = rest.split_once("  ").unwrap_or((rest, ""));
    let (long, word) = form.split_once(' ').unwrap_or((form, ""));
    let kind = match word {
        "" => Kind::Switch(about.contains("(default true)")),
        "optional" => Kind::Optional,
        "int" | "uint16" => Kind::Number,
        "list" | "strings" | "filter" | "map" | "mount" | "ulimit" | "gpu-request" | "network" => Kind::Many,
        _ => Kind::One,
    };
    Some(Flag { short, long, kind })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(path: &str) -> Usage {
        Usage::find(path).unwrap_or_else(|| panic!("{path}"))
    }

    #[test]
    fn a_text_says_what_options_there_are() {
        let stop = find("stop");
        assert_eq!(stop.flags[0], Flag { short: Some('t'), long: "time", kind: Kind::Number });
        let run = find("run");
        let kind = |name: &str| run.flags.iter().find(|flag| flag.long == name).unwrap().kind;
        assert_eq!(kind("detach"), Kind::Switch(false));
        assert_eq!(kind("sig-proxy"), Kind::Switch(true));
        assert_eq!(kind("env"), Kind::Many);
        assert_eq!(kind("name"), Kind::One);
        assert_eq!(kind("pids-limit"), Kind::Number);
        assert!(run.flags.len() > 90, "{}", run.flags.len());
    }

    #[test]
    fn a_text_says_how_many_operands_there_are() {
        for (path, least, most) in [
            ("ps", 0, 0),
            ("rm", 1, usize::MAX),
            ("tag", 2, 2),
            ("run", 1, usize::MAX),
            ("exec", 2, usize::MAX),
            ("top", 1, usize::MAX),
            ("port", 1, 2),
            ("import", 1, 2),
            ("build", 1, 1),
            ("buildx build", 1, 1),
            ("login", 0, 1),
            ("stats", 0, usize::MAX),
            ("cp", 2, 2),
            ("manifest inspect", 1, 2),
            ("builder prune", 0, 0),
            ("network connect", 2, 2),
        ] {
            assert_eq!(find(path).count(), Count { least, most }, "{path}");
        }
    }

    #[test]
    fn help_is_the_text_without_what_is_newer() {
        let help = find("stop").help("container stop");
        assert!(help.starts_with("\nUsage:  docker container stop [OPTIONS] CONTAINER [CONTAINER...]\n"), "{help}");
        assert!(help.ends_with("Seconds to wait for stop before killing it (default 10)\n"), "{help}");
        assert!(find("").help("").starts_with("\nUsage:  docker [OPTIONS] COMMAND\n"));
        assert!(find("container").is_group() && !find("ps").is_group());
    }

    #[test]
    fn names_of_options_are_not_given_twice() {
        for text in texts() {
            let usage = Usage::read(text);
            let mut names: Vec<&str> = usage.flags.iter().map(|flag| flag.long).collect();
            names.sort_unstable();
            let count = names.len();
            names.dedup();
            assert_eq!(names.len(), count, "{}", usage.path);
        }
    }
}
