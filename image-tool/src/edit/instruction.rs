//! Dockerfile instructions that change an image's config, as `docker commit --change` and `docker import --change` take them.

use std::str::FromStr;

use serde_json::{Value, json};

use super::span::Span;
use super::{Change, signal};

impl FromStr for Change {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let (name, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        let rest = rest.trim();
        if rest.is_empty() {
            return Err(format!("{text:?} is not an instruction (such as 'CMD [\"python\"]')"));
        }
        // A JSON array, or else a command line for the shell.
        let command =
            || serde_json::from_str(rest).unwrap_or_else(|_| ["/bin/sh", "-c", rest].map(str::to_owned).to_vec());
        let none = Self::default();
        match name.to_ascii_uppercase().as_str() {
            "CMD" => Ok(Self { cmd: Some(command()), ..none }),
            "ENTRYPOINT" => Ok(Self { entrypoint: Some(command()), ..none }),
            "USER" => Ok(Self { user: Some(rest.into()), ..none }),
            "WORKDIR" => Ok(Self { workdir: Some(rest.into()), ..none }),
            "STOPSIGNAL" if signal::number(rest).is_some() => Ok(Self { stop_signal: Some(rest.into()), ..none }),
            "ENV" => {
                let env = pairs(rest)?.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
                Ok(Self { env, ..none })
            }
            "LABEL" => Ok(Self { labels: pairs(rest)?, ..none }),
            "EXPOSE" => {
                let ports: Result<Vec<_>, String> = rest.split_whitespace().map(ports).collect();
                Ok(Self { expose: ports?.concat(), ..none })
            }
            "VOLUME" => {
                let volumes =
                    serde_json::from_str(rest).unwrap_or_else(|_| rest.split_whitespace().map(str::to_owned).collect());
                Ok(Self { volumes, ..none })
            }
            "HEALTHCHECK" => Ok(Self { healthcheck: Some(healthcheck(rest)?), ..none }),
            "ONBUILD" => Ok(Self { on_build: vec![rest.into()], ..none }),
            other => Err(format!(
                "{other} is not supported (CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL, ONBUILD, STOPSIGNAL, USER, VOLUME and WORKDIR are)"
            )),
        }
    }
}

impl Change {
    /// Both changes, of which the later one counts where they disagree.
    #[must_use]
    pub fn and(mut self, later: Self) -> Self {
        self.env.extend(later.env);
        self.unset_env.extend(later.unset_env);
        self.labels.extend(later.labels);
        self.unset_labels.extend(later.unset_labels);
        self.expose.extend(later.expose);
        self.volumes.extend(later.volumes);
        self.on_build.extend(later.on_build);
        self.unset_expose.extend(later.unset_expose);
        self.unset_volumes.extend(later.unset_volumes);
        self.clear.extend(later.clear);
        Self {
            cmd: later.cmd.or(self.cmd),
            entrypoint: later.entrypoint.or(self.entrypoint),
            user: later.user.or(self.user),
            workdir: later.workdir.or(self.workdir),
            stop_signal: later.stop_signal.or(self.stop_signal),
            healthcheck: later.healthcheck.or(self.healthcheck),
            author: later.author.or(self.author),
            platform: later.platform.or(self.platform),
            created: later.created.or(self.created),
            ..self
        }
    }
}

/// Reads `NONE`, or `--interval=30s CMD test -e /ok`.
fn healthcheck(text: &str) -> Result<Value, String> {
    let mut check = json!({});
    let mut rest = text;
    while let Some(after) = rest.strip_prefix("--") {
        let (flag, left) = after.split_once(char::is_whitespace).unwrap_or((after, ""));
        let (name, value) = flag.split_once('=').unwrap_or((flag, ""));
        let field = match name {
            "interval" => "Interval",
            "timeout" => "Timeout",
            "start-period" => "StartPeriod",
            "start-interval" => "StartInterval",
            "retries" => "Retries",
            _ => {
                let known = "--interval, --timeout, --start-period, --start-interval and --retries are";
                return Err(format!("--{name}: not an option of HEALTHCHECK ({known})"));
            }
        };
        let (number, kind) = match name {
            "retries" => (value.parse().ok(), "a number (3)"),
            _ => (value.parse().map(Span::nanoseconds).ok(), "a duration (30s, 1m30s)"),
        };
        check[field] = number.ok_or_else(|| format!("--{name}: {value:?} is not {kind}"))?.into();
        rest = left.trim_start();
    }
    let (kind, command) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let command = command.trim();
    check["Test"] = match kind.to_ascii_uppercase().as_str() {
        "NONE" if command.is_empty() => json!(["NONE"]),
        "CMD" if !command.is_empty() => match serde_json::from_str::<Vec<String>>(command) {
            Ok(words) => [vec!["CMD".to_owned()], words].concat().into(),
            Err(_) => json!(["CMD-SHELL", command]),
        },
        _ => return Err(format!("{text:?} is not a health check (NONE, or CMD and a command)")),
    };
    Ok(check)
}

/// Reads `80`, `8000-8010/tcp` as the ports `80/tcp`, `8000/tcp`, ….
fn ports(text: &str) -> Result<Vec<String>, String> {
    let wrong = || format!("{text:?} is not a port (8080, 53/udp, 8000-8010)");
    let (numbers, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    let (first, last) = numbers.split_once('-').unwrap_or((numbers, numbers));
    let number = |text: &str| text.parse::<u16>().ok().filter(|number| *number > 0).ok_or_else(wrong);
    let (first, last) = (number(first)?, number(last)?);
    if first > last || !["tcp", "udp", "sctp"].contains(&protocol.as_str()) {
        return Err(wrong());
    }
    Ok((first..=last).map(|port| format!("{port}/{protocol}")).collect())
}

/// Parses `A=1 B="two words"`, or the old form `A the rest`.
fn pairs(text: &str) -> Result<Vec<(String, String)>, String> {
    if !text.split_whitespace().next().unwrap_or_default().contains('=') {
        let (name, value) =
            text.split_once(char::is_whitespace).ok_or_else(|| format!("{text:?} is not NAME=VALUE"))?;
        return Ok(vec![(name.into(), value.trim().into())]);
    }
    let mut words = vec![String::new()];
    let mut quote = None;
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        let word = words.last_mut().expect("there is one from the start");
        match (quote, char) {
            (_, '\\') => word.extend(chars.next()),
            (Some(open), char) if char == open => quote = None,
            (None, '"' | '\'') => quote = Some(char),
            (None, char) if char.is_whitespace() => words.push(String::new()),
            (_, char) => word.push(char),
        }
    }
    let words = words.into_iter().filter(|word| !word.is_empty());
    words
        .map(|word| match word.split_once('=') {
            Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
            _ => Err(format!("{word:?} is not NAME=VALUE")),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_change_the_config_as_docker_commit_does() {
        let mut config = json!({"config": {"Env": ["A=0", "B=1"], "Cmd": ["sh"]}});
        let mut all = Change::default();
        for text in [
            "CMD [\"python\", \"-V\"]",
            "entrypoint run me",
            "ENV A=1 C=\"two words\"",
            "LABEL x=y",
            "EXPOSE 80 53/udp",
            "USER me",
            "USER you",
            "WORKDIR /srv",
            "VOLUME /data",
            "ENV OLD the rest",
            "HEALTHCHECK NONE",
            "HEALTHCHECK --interval=1m30s --retries=2 CMD test -e /ok",
            "ONBUILD RUN one",
            "ONBUILD RUN two",
        ] {
            all = all.and(text.parse::<Change>().unwrap());
        }
        all.apply(&mut config);
        let expected = json!({
            "Env": ["A=1", "B=1", "C=two words", "OLD=the rest"], "Cmd": ["python", "-V"], "Entrypoint": ["/bin/sh", "-c", "run me"],
            "Labels": {"x": "y"}, "ExposedPorts": {"80/tcp": {}, "53/udp": {}}, "User": "you", "WorkingDir": "/srv", "Volumes": {"/data": {}},
            "Healthcheck": {"Test": ["CMD-SHELL", "test -e /ok"], "Interval": 90_000_000_000_u64, "Retries": 2},
            "OnBuild": ["RUN one", "RUN two"],
        });
        assert_eq!(config["config"], expected);
        for text in [
            "",
            "CMD",
            "RUN true",
            "ENV =x",
            "EXPOSE http",
            "EXPOSE 9-8",
            "EXPOSE 0",
            "STOPSIGNAL bogus",
            "HEALTHCHECK CMD",
            "HEALTHCHECK NONE x",
        ] {
            assert!(text.parse::<Change>().is_err(), "{text}");
        }
        for (option, said) in [
            ("--interval=9", "--interval: \"9\" is not a duration (30s, 1m30s)"),
            ("--retries", "--retries: \"\" is not a number (3)"),
            ("--every=1s", "--every: not an option of HEALTHCHECK"),
        ] {
            let error = format!("HEALTHCHECK {option} CMD x").parse::<Change>().unwrap_err();
            assert!(error.contains(said), "{error}");
        }
        assert_eq!("EXPOSE 1-3".parse::<Change>().unwrap().expose, ["1/tcp", "2/tcp", "3/tcp"]);
    }
}
