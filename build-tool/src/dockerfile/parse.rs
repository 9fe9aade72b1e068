//! From the words of a logical line to an instruction.

use super::device;
use super::expand::{self, Quoting};
use super::flag::Flags;
use super::heredoc;
use super::instruction::{Argument, CommandLine, Copy, From, Healthcheck, Instruction, KEYWORDS, Pair, Pairs, Run};
use super::lex::{self, Line};
use super::mount;
use super::near::near;
use super::problem::Problem;

/// Parses the instruction of a logical line.
pub(super) fn instruction(line: &Line, escape: char) -> Result<Instruction, Problem> {
    let upper = line.keyword.to_ascii_uppercase();
    let Some(keyword) = KEYWORDS.into_iter().find(|keyword| *keyword == upper) else {
        return Err(Problem::UnknownInstruction { keyword: line.keyword.clone(), near: near(&line.keyword, KEYWORDS) });
    };
    let mut flags = Flags { keyword, given: &line.flags };
    let rest = line.rest.as_str();
    let one = |problem| if rest.is_empty() { Err(Problem::Arguments(keyword, problem)) } else { Ok(rest.to_owned()) };
    let found = match keyword {
        "ADD" => Instruction::Add(copy(line, keyword, &mut flags)?),
        "COPY" => Instruction::Copy(copy(line, keyword, &mut flags)?),
        "ARG" => Instruction::Arg(arguments(rest, escape)?),
        "CMD" => Instruction::Cmd(command(keyword, rest)?),
        "ENTRYPOINT" => Instruction::Entrypoint(command(keyword, rest)?),
        "ENV" => Instruction::Env(pairs(keyword, rest, escape)?),
        "LABEL" => Instruction::Label(pairs(keyword, rest, escape)?),
        "EXPOSE" => {
            one("at least one port")?;
            let mut ports: Vec<String> = rest.split_whitespace().map(str::to_owned).collect();
            ports.sort();
            Instruction::Expose(ports)
        }
        "FROM" => Instruction::From(from(rest, &mut flags)?),
        "HEALTHCHECK" => Instruction::Healthcheck(healthcheck(rest, &mut flags)?),
        "MAINTAINER" => Instruction::Maintainer(one("a name")?),
        "ONBUILD" => Instruction::OnBuild(on_build(line, escape)?),
        "RUN" => run(line, &mut flags)?,
        "SHELL" => match json(keyword, rest)? {
            Some(shell) if !shell.is_empty() => Instruction::Shell(shell),
            _ => return Err(Problem::Arguments(keyword, "the arguments to be in JSON form: [\"/bin/sh\", \"-c\"]")),
        },
        "STOPSIGNAL" => Instruction::StopSignal(one("a signal")?),
        "USER" => Instruction::User(one("a user")?),
        "VOLUME" => {
            let volumes = list(keyword, rest)?;
            if volumes.is_empty() || volumes.iter().any(|volume| volume.trim().is_empty()) {
                return Err(Problem::Arguments(keyword, "at least one path"));
            }
            Instruction::Volume(volumes.iter().map(|volume| volume.trim().to_owned()).collect())
        }
        _ => Instruction::Workdir(one("a path")?),
    };
    flags.finish()?;
    Ok(found)
}

/// A JSON array of strings; `None` for anything that is not an array, which counts as text.
fn json(keyword: &'static str, rest: &str) -> Result<Option<Vec<String>>, Problem> {
    if !rest.starts_with('[') {
        return Ok(None);
    }
    let Ok(values) = serde_json::from_str::<Vec<serde_json::Value>>(rest) else { return Ok(None) };
    values
        .into_iter()
        .map(|value| match value {
            serde_json::Value::String(value) => Ok(value),
            _ => Err(Problem::NotStrings(keyword)),
        })
        .collect::<Result<_, _>>()
        .map(Some)
}

fn list(keyword: &'static str, rest: &str) -> Result<Vec<String>, Problem> {
    Ok(match json(keyword, rest)? {
        Some(list) => list,
        None => {
            rest.split([' ', '\t', '\x0b', '\x0c', '\r']).filter(|word| !word.is_empty()).map(str::to_owned).collect()
        }
    })
}

fn command(keyword: &'static str, rest: &str) -> Result<CommandLine, Problem> {
    Ok(match json(keyword, rest)? {
        Some(arguments) => CommandLine::Exec(arguments),
        None if rest.is_empty() => CommandLine::Exec(Vec::new()),
        None => CommandLine::Shell(rest.to_owned()),
    })
}

/// Splits text at spaces outside quotes; words keep their quotes.
fn quoted_words(rest: &str, escape: char) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    let mut chars = rest.chars().peekable();
    while let Some(c) = chars.next() {
        match quote {
            None if c.is_whitespace() => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                continue;
            }
            None if c == '\'' || c == '"' => quote = Some(c),
            Some(open) if c == open => quote = None,
            _ => {}
        }
        if c == escape && quote != Some('\'') {
            // An escape character at the end escapes nothing and is dropped.
            let Some(escaped) = chars.next() else { break };
            word.push(c);
            word.push(escaped);
            continue;
        }
        word.push(c);
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

fn pairs(keyword: &'static str, rest: &str, escape: char) -> Result<Pairs, Problem> {
    let words = quoted_words(rest, escape);
    let Some(first) = words.first() else { return Err(Problem::Arguments(keyword, "at least one name=value")) };
    if !first.contains('=') {
        return match rest.split_once([' ', '\t', '\x0b', '\x0c', '\r']) {
            Some((name, value)) => {
                Ok(vec![Pair { name: name.to_owned(), value: value.trim_start().to_owned(), legacy: true }])
            }
            None => Err(Problem::NotPair(keyword, rest.to_owned())),
        };
    }
    words
        .into_iter()
        .map(|word| match word.split_once('=') {
            Some(("", _)) => Err(Problem::BlankName(keyword)),
            Some((name, value)) => Ok(Pair { name: name.to_owned(), value: value.to_owned(), legacy: false }),
            None => Err(Problem::NotPair(keyword, word)),
        })
        .collect()
}

fn arguments(rest: &str, escape: char) -> Result<Vec<Argument>, Problem> {
    let words = quoted_words(rest, escape);
    if words.is_empty() {
        return Err(Problem::Arguments("ARG", "at least one name"));
    }
    words
        .into_iter()
        .map(|word| match word.split_once('=') {
            Some(("", _)) => Err(Problem::BlankName("ARG")),
            Some((name, value)) => Ok(Argument { name: name.to_owned(), default: Some(value.to_owned()) }),
            None => Ok(Argument { name: word, default: None }),
        })
        .collect()
}

fn from(rest: &str, flags: &mut Flags<'_>) -> Result<From, Problem> {
    let words: Vec<&str> = rest.split_whitespace().collect();
    let (base, name) = match words.as_slice() {
        [base] => (*base, None),
        [base, r#as, name] if r#as.eq_ignore_ascii_case("as") => {
            let lower = name.to_lowercase();
            let valid = lower.starts_with(|c: char| c.is_ascii_lowercase())
                && lower.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c));
            if valid { (*base, Some(lower)) } else { return Err(Problem::StageName((*name).to_owned())) }
        }
        _ => return Err(Problem::Arguments("FROM", "an image, or an image AS a name")),
    };
    Ok(From { base: base.to_owned(), name, platform: flags.string("platform")? })
}

fn healthcheck(rest: &str, flags: &mut Flags<'_>) -> Result<Healthcheck, Problem> {
    let (kind, rest) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let rest = rest.trim_start();
    let invalid = |reason: String| Problem::Invalid { instruction: "HEALTHCHECK", reason };
    match kind.to_ascii_uppercase().as_str() {
        "NONE" if rest.is_empty() => Ok(Healthcheck::default()),
        "NONE" => Err(invalid("NONE takes no arguments".to_owned())),
        "CMD" => {
            let command = command("HEALTHCHECK", rest)?;
            if command == CommandLine::Exec(Vec::new()) {
                return Err(invalid("missing command after CMD".to_owned()));
            }
            let retries = match flags.string("retries")? {
                Some(value) => {
                    value.parse().map_err(|_| flags.bad("retries", format!("{value:?} is not a valid number")))?
                }
                None => 0,
            };
            Ok(Healthcheck {
                command: Some(command),
                interval: flags.duration("interval")?,
                timeout: flags.duration("timeout")?,
                start_period: flags.duration("start-period")?,
                start_interval: flags.duration("start-interval")?,
                retries,
            })
        }
        "" => Err(Problem::Arguments("HEALTHCHECK", "NONE, or CMD and a command")),
        _ => Err(invalid(format!("unknown type {kind} (expected NONE or CMD)"))),
    }
}

fn on_build(line: &Line, escape: char) -> Result<String, Problem> {
    if line.rest.is_empty() {
        return Err(Problem::Arguments("ONBUILD", "at least one argument"));
    }
    let mut inner = lex::split(&line.rest, escape);
    inner.heredocs.clone_from(&line.heredocs);
    match instruction(&inner, escape)? {
        inner @ (Instruction::OnBuild(_) | Instruction::From(_) | Instruction::Maintainer(_)) => {
            Err(Problem::OnBuild(inner.keyword().to_owned()))
        }
        _ => {
            let bodies: String = line.heredocs.iter().map(|h| format!("\n{}{}", h.content, h.name)).collect();
            Ok(line.rest.clone() + &bodies)
        }
    }
}

fn run(line: &Line, flags: &mut Flags<'_>) -> Result<Instruction, Problem> {
    let command = command("RUN", &line.rest)?;
    if command == CommandLine::Exec(Vec::new()) {
        return Err(Problem::Arguments("RUN", "a command"));
    }
    let mounts = flags.strings("mount")?;
    for text in &mounts {
        mount::check(text).map_err(|reason| flags.bad("mount", reason.to_string()))?;
    }
    let devices = flags.strings("device")?;
    for text in &devices {
        device::parse(text).map_err(|reason| flags.bad("device", reason.to_string()))?;
    }
    let network = flags.string("network")?;
    if let Some(other) = network.as_deref().filter(|network| !["default", "host", "none"].contains(network)) {
        return Err(flags.bad("network", format!("{other:?} is none of default, host and none")));
    }
    let security = flags.string("security")?;
    if let Some(other) = security.as_deref().filter(|security| !["sandbox", "insecure"].contains(security)) {
        return Err(flags.bad("security", format!("{other:?} is neither sandbox nor insecure")));
    }
    let heredocs = line.heredocs.clone();
    Ok(Instruction::Run(Run { command, heredocs, mounts, devices, network, security }))
}

fn copy(line: &Line, keyword: &'static str, flags: &mut Flags<'_>) -> Result<Copy, Problem> {
    let mut words = list(keyword, &line.rest)?;
    let is_json = line.heredocs.is_empty();
    if !is_json {
        // `<< EOF` and `<<"A B"` hold spaces, so a line with heredocs is split by the shell's rules.
        words = expand::words(&line.rest, '\\', Quoting::Raw, &|_| None)?;
    }
    let destination = words.pop().filter(|_| !words.is_empty());
    let Some(destination) = destination else {
        return Err(Problem::Arguments(keyword, "at least one source and a destination"));
    };
    let mut sources = Vec::new();
    let mut heredocs = Vec::new();
    if is_json {
        sources = words;
    } else {
        if heredoc::parse(&destination)?.is_some() {
            return Err(Problem::HeredocDestination(keyword));
        }
        for word in words {
            match heredoc::parse(&word)? {
                Some(head) => heredocs.extend(line.heredocs.iter().find(|heredoc| heredoc.name == head.name).cloned()),
                None => sources.push(word),
            }
        }
    }
    let is_copy = keyword == "COPY";
    let only = |given: bool, flag| if given { flags.string(flag) } else { Ok(None) };
    Ok(Copy {
        sources,
        heredocs,
        destination,
        from: only(is_copy, "from")?,
        chown: flags.string("chown")?,
        chmod: flags.string("chmod")?,
        link: flags.boolean("link")?.unwrap_or(false),
        parents: is_copy && flags.boolean("parents")?.unwrap_or(false),
        exclude: flags.strings("exclude")?,
        checksum: only(!is_copy, "checksum")?,
        keep_git_dir: if is_copy { None } else { flags.boolean("keep-git-dir")? },
        unpack: if is_copy { None } else { flags.boolean("unpack")? },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(source: &str) -> Result<Instruction, Problem> {
        instruction(&lex::lines("x", source.as_bytes()).unwrap().1[0], '\\')
    }

    #[test]
    fn commands_have_two_forms() {
        for (source, expected) in [
            ("CMD [\"a\", \"b c\"]", CommandLine::Exec(vec!["a".into(), "b c".into()])),
            ("CMD a  'b c'", CommandLine::Shell("a  'b c'".into())),
            ("CMD ['a']", CommandLine::Shell("['a']".into())),
            ("CMD []", CommandLine::Exec(vec![])),
            ("cmd [\"a\"] b", CommandLine::Shell("[\"a\"] b".into())),
        ] {
            assert_eq!(one(source), Ok(Instruction::Cmd(expected)), "{source}");
        }
        assert_eq!(one("CMD [\"a\", 1]"), Err(Problem::NotStrings("CMD")));
    }

    #[test]
    fn env_takes_both_forms() {
        let pair = |name: &str, value: &str, legacy| Pair { name: name.into(), value: value.into(), legacy };
        for (source, expected) in [
            (
                "ENV a=1 b=\"x y\" c=x\\ y",
                vec![pair("a", "1", false), pair("b", "\"x y\"", false), pair("c", "x\\ y", false)],
            ),
            ("ENV a b = c", vec![pair("a", "b = c", true)]),
            ("ENV a=", vec![pair("a", "", false)]),
        ] {
            assert_eq!(one(source), Ok(Instruction::Env(expected)), "{source}");
        }
        for source in ["ENV a", "ENV a=1 b", "ENV =1", "ENV"] {
            assert!(one(source).is_err(), "{source}");
        }
    }

    #[test]
    fn copies() {
        let Ok(Instruction::Copy(copy)) = one("COPY --from=b --chown=1:2 --link a b /c/") else { panic!() };
        assert_eq!(copy.sources, ["a", "b"]);
        assert_eq!((copy.destination.as_str(), copy.from.as_deref(), copy.link), ("/c/", Some("b"), true));
        let Ok(Instruction::Add(add)) = one("ADD [\"a b\", \"c\"]") else { panic!() };
        assert_eq!(add.sources, ["a b"]);
        let Ok(Instruction::Copy(copy)) = one("COPY <<EOF x /d/\nhello\nEOF") else { panic!() };
        assert_eq!((copy.sources.as_slice(), copy.heredocs[0].content.as_str()), (&["x".to_owned()][..], "hello\n"));
        for source in
            ["COPY a", "COPY --chown a b", "COPY --link=maybe a b", "COPY --from=a --from=b c d", "COPY x <<E\nE"]
        {
            assert!(one(source).is_err(), "{source}");
        }
    }

    #[test]
    fn froms() {
        let Ok(Instruction::From(from)) = one("FROM --platform=linux/arm64 a:1 AS Build") else { panic!() };
        assert_eq!(from, From { base: "a:1".into(), name: Some("build".into()), platform: Some("linux/arm64".into()) });
        for source in ["FROM", "FROM a b", "FROM a as 1x", "FROM a as b c"] {
            assert!(one(source).is_err(), "{source}");
        }
    }

    #[test]
    fn healthchecks() {
        let Ok(Instruction::Healthcheck(check)) = one("HEALTHCHECK --interval=1m30s --retries=3 CMD curl x") else {
            panic!()
        };
        assert_eq!((check.interval, check.retries), (90_000_000_000, 3));
        assert_eq!(one("HEALTHCHECK NONE"), Ok(Instruction::Healthcheck(Healthcheck::default())));
        for source in [
            "HEALTHCHECK",
            "HEALTHCHECK x",
            "HEALTHCHECK CMD",
            "HEALTHCHECK --interval=1 CMD x",
            "HEALTHCHECK --interval=1us CMD x",
        ] {
            assert!(one(source).is_err(), "{source}");
        }
    }

    #[test]
    fn triggers_are_checked_where_they_are_written() {
        assert_eq!(one("ONBUILD RUN make"), Ok(Instruction::OnBuild("RUN make".into())));
        assert_eq!(one("ONBUILD RUN <<E\nx\nE"), Ok(Instruction::OnBuild("RUN <<E\nx\nE".into())));
        for source in ["ONBUILD", "ONBUILD FROM x", "ONBUILD ONBUILD RUN x", "ONBUILD RUM x"] {
            assert!(one(source).is_err(), "{source}");
        }
    }
}
