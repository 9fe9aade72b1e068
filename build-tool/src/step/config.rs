//! Instructions that change no file: they set fields of the config and add themselves to the history.

use bundle_tool::option::signal;
use serde_json::{Value, json};

use super::error::Error;
use super::expose;
use super::work::Work;
use crate::dockerfile::instruction::{Argument, CommandLine, Healthcheck, Instruction, Pairs};

impl Work<'_> {
    /// Carries out an instruction that changes no file.
    pub(super) fn set(&mut self, instruction: &Instruction) -> Result<(), Error> {
        match instruction {
            Instruction::Arg(arguments) => self.argument(arguments)?,
            Instruction::Env(pairs) => {
                let pairs = self.pairs(pairs)?;
                for (name, value) in &pairs {
                    self.draft.set_variable(name, value);
                    self.variables.set(name, value);
                }
                self.note(&format!("ENV {}", joined(&pairs)));
            }
            Instruction::Label(pairs) => {
                let pairs = self.pairs(pairs)?;
                for (name, value) in &pairs {
                    self.draft.set_member("Labels", name, value.as_str());
                }
                self.note(&format!("LABEL {}", joined(&pairs)));
            }
            Instruction::Cmd(command) => {
                let words = self.command(command);
                self.note(&format!("CMD {}", quoted(&words)));
                self.draft.set("Cmd", words);
                self.command_set = true;
            }
            Instruction::Entrypoint(command) => {
                let words = self.command(command);
                self.note(&format!("ENTRYPOINT {}", quoted(&words)));
                self.draft.set("Entrypoint", words);
                // A CMD of the base image belongs to the base's entrypoint.
                if !self.command_set {
                    self.draft.unset("Cmd");
                }
            }
            Instruction::Expose(ports) => self.expose(ports)?,
            Instruction::From(_) => unreachable!("FROM begins a stage and no trigger may hold it"),
            Instruction::Add(_) | Instruction::Copy(_) | Instruction::Run(_) | Instruction::Workdir(_) => {
                unreachable!("these change files and have been carried out")
            }
            Instruction::Healthcheck(check) => {
                let health = health(check);
                self.note(&format!("HEALTHCHECK {health}"));
                self.draft.set("Healthcheck", health);
            }
            Instruction::Maintainer(name) => {
                self.draft.set_author(name);
                self.note(&format!("MAINTAINER {name}"));
            }
            Instruction::OnBuild(trigger) => {
                self.draft.push("OnBuild", trigger);
                self.note(&format!("ONBUILD {trigger}"));
            }
            Instruction::Shell(shell) => {
                self.note(&format!("SHELL {}", quoted(shell)));
                self.draft.set("Shell", shell.clone());
            }
            Instruction::StopSignal(signal) => self.stop_signal(signal)?,
            Instruction::User(user) => self.set_text("User", "USER", user)?,
            Instruction::Volume(volumes) => {
                let volumes =
                    volumes.iter().map(|volume| self.variables.expand(volume)).collect::<Result<Vec<_>, _>>()?;
                if volumes.iter().any(String::is_empty) {
                    return Err(Error::EmptyVolume);
                }
                self.set_members("Volumes", "VOLUME", &volumes);
            }
        }
        Ok(())
    }

    fn stop_signal(&mut self, text: &str) -> Result<(), Error> {
        let name = self.variables.expand(text)?;
        if signal::number(&name).is_none() {
            return Err(Error::Signal(name));
        }
        self.set_text("StopSignal", "STOPSIGNAL", text)
    }

    fn expose(&mut self, ports: &[String]) -> Result<(), Error> {
        let mut found = Vec::new();
        for port in ports {
            for word in self.variables.words(port)? {
                found.extend(expose::ports(&word).ok_or(Error::Port(word))?);
            }
        }
        // Their order says nothing.
        found.sort();
        self.set_members("ExposedPorts", "EXPOSE", &found);
        Ok(())
    }

    /// Adds empty members to a field that is a set: ports, volumes.
    fn set_members(&mut self, field: &str, keyword: &str, members: &[String]) {
        for member in members {
            self.draft.set_member(field, member, json!({}));
        }
        self.note(&format!("{keyword} [{}]", members.join(" ")));
    }

    /// Sets a field that is a text with variables.
    fn set_text(&mut self, field: &str, keyword: &str, text: &str) -> Result<(), Error> {
        let text = self.variables.expand(text)?;
        self.note(&format!("{keyword} {text}"));
        self.draft.set(field, text);
        Ok(())
    }

    fn pairs(&self, pairs: &Pairs) -> Result<Vec<(String, String)>, Error> {
        pairs.iter().map(|pair| Ok((self.variables.expand(&pair.name)?, self.variables.expand(&pair.value)?))).collect()
    }

    fn argument(&mut self, arguments: &[Argument]) -> Result<(), Error> {
        let mut texts = Vec::new();
        for Argument { name, default } in arguments {
            let name = self.variables.expand(name)?;
            let given = self.session.options.arguments.get(&name).cloned();
            let value = match (given, default) {
                (Some(given), _) => Some(given),
                (None, Some(default)) => Some(self.variables.expand(default)?),
                (None, None) => self.inherited(&name),
            };
            if let Some(value) = &value {
                self.variables.set_argument(&name, value);
            }
            texts.push(value.map_or_else(|| name.clone(), |value| format!("{name}={value}")));
        }
        self.note(&format!("ARG {}", texts.join(" ")));
        Ok(())
    }
}

fn health(check: &Healthcheck) -> Value {
    let test: Vec<String> = match &check.command {
        None => vec!["NONE".into()],
        Some(CommandLine::Exec(words)) => ["CMD".to_owned()].into_iter().chain(words.iter().cloned()).collect(),
        Some(CommandLine::Shell(text)) => vec!["CMD-SHELL".into(), text.clone()],
    };
    let mut health = json!({"Test": test});
    let times = [
        ("Interval", check.interval),
        ("Timeout", check.timeout),
        ("StartPeriod", check.start_period),
        ("StartInterval", check.start_interval),
        ("Retries", check.retries.into()),
    ];
    for (name, value) in times.into_iter().filter(|(_, value)| *value != 0) {
        health[name] = value.into();
    }
    health
}

fn joined(pairs: &[(String, String)]) -> String {
    pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
}

/// A list in the form of docker's history: `["a" "b"]`.
fn quoted(words: &[String]) -> String {
    format!("[{}]", words.iter().map(|word| format!("{word:?}")).collect::<Vec<_>>().join(" "))
}
