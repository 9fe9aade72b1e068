use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context, Result, bail};
use build_tool::build::{self, Options, SecretSource};
use build_tool::namespace;
use build_tool::progress::Show;
use build_tool::run::network::Network;
use build_tool::stage::base::Pull;

use clap::{Args, ValueEnum};
use image_tool::address::Address;
use image_tool::layout::platform::Platform;
use image_tool::program::pipe;

/// Build an image and print its address.
///
/// The Dockerfile's language is BuildKit's. RUN commands run in an OCI runtime, base images that the layout lacks are pulled by
/// registry-tool, and steps that were done before, upon the same layers and with the same files, are taken from the cache in
/// $OCI_HOME/builds. With SOURCE_DATE_EPOCH in the environment no time later than that is in the image, so that equal input
/// gives an equal image.
#[derive(Args)]
pub(crate) struct Build {
    /// The context: a directory whose files COPY takes, or - for a tar of it, or a Dockerfile alone, on standard input.
    context: PathBuf,
    /// Name the image LAYOUT:REF, or :REF in the default layout; may be given several times.
    #[arg(short, long = "tag", value_name = "ADDRESS")]
    tags: Vec<Address>,
    /// Read this Dockerfile, not the context's; - is standard input.
    #[arg(short, long = "file", value_name = "FILE")]
    file: Option<PathBuf>,
    /// Give an ARG its value; without =VALUE the environment's.
    #[arg(long = "build-arg", value_name = "NAME[=VALUE]")]
    build_args: Vec<String>,
    /// Add a label to the image.
    #[arg(long = "label", value_name = "NAME=VALUE")]
    labels: Vec<String>,
    /// Build this stage, by name or number, instead of the last one.
    #[arg(long, value_name = "STAGE")]
    target: Option<String>,
    /// Do every step, even if the cache has its result.
    #[arg(long)]
    no_cache: bool,
    /// When to pull base images: missing, always or never. --pull alone is always.
    #[arg(long, value_name = "WHEN", default_value = "missing", default_missing_value = "always", num_args = 0..=1, require_equals = true)]
    pull: Pull,
    /// Run RUN commands in this OCI runtime [default: run-tool, else runc or crun].
    #[arg(long, value_name = "PROGRAM")]
    runtime: Option<PathBuf>,
    /// Build for this platform, os/architecture[/variant] [default: this machine's].
    #[arg(long)]
    platform: Option<Platform>,
    /// The network of RUN commands: host, none or bridge.
    ///
    /// With host a command reaches what this machine reaches, as BuildKit has it where no CNI network is set up: nothing has to be
    /// configured and nothing can be left behind. bridge is bundle-tool's network of that name, docker's default. A RUN
    /// --network=none has none in any case.
    #[arg(long, default_value = "host")]
    network: Network,
    /// Let RUN --mount=type=secret see a file or a variable: id=NAME[,src=FILE][,env=VARIABLE].
    #[arg(long = "secret", value_name = "id=NAME,src=FILE")]
    secrets: Vec<String>,
    /// Show nothing but the output of a command that fails.
    #[arg(short, long)]
    quiet: bool,
    /// How to show progress: auto and plain are lines, quiet is nothing.
    #[arg(long, value_enum, default_value_t = Style::Auto)]
    progress: Style,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Style {
    Auto,
    Plain,
    Quiet,
}

impl Build {
    pub(crate) fn run(self) -> Result<()> {
        namespace::enter(std::env::args_os().skip(1)).context("start in a user namespace")?;
        if let Some(tag) = self.tags.iter().find(|tag| tag.digest().is_some()) {
            bail!("--tag {tag}: an image gets a name, not a digest (LAYOUT:REF)");
        }
        let mut arguments = BTreeMap::new();
        for text in self.build_args {
            match text.split_once('=') {
                Some((name, value)) => drop(arguments.insert(name.to_owned(), value.to_owned())),
                // Without a value it is as if it had not been given, where the environment has none.
                None => drop(std::env::var(&text).ok().and_then(|value| arguments.insert(text, value))),
            }
        }
        let mut labels = BTreeMap::new();
        for text in self.labels {
            let (name, value) = text.split_once('=').unwrap_or((&text, ""));
            labels.insert(name.to_owned(), value.to_owned());
        }
        let secrets = self.secrets.iter().map(|text| secret(text)).collect::<Result<_>>()?;
        let epoch =
            match arguments.get("SOURCE_DATE_EPOCH").cloned().or_else(|| std::env::var("SOURCE_DATE_EPOCH").ok()) {
                Some(text) if !text.is_empty() => Some(
                    i64::from_str(&text)
                        .with_context(|| format!("SOURCE_DATE_EPOCH={text}: not a number of seconds"))?,
                ),
                _ => None,
            };
        let quiet = self.quiet || self.progress == Style::Quiet;
        let options = Options {
            tags: self.tags,
            context: self.context,
            dockerfile: self.file,
            arguments,
            labels,
            secrets,
            target: self.target,
            no_cache: self.no_cache,
            pull: self.pull,
            runtime: self.runtime,
            platform: self.platform,
            network: self.network,
            show: if quiet { Show::Quiet } else { Show::Plain },
            epoch,
        };
        let address = build::build(&options)?;
        pipe::print_line(&address.to_string()).context("standard output")
    }
}

/// Reads `id=NAME,src=FILE` or `id=NAME,env=VARIABLE`; with neither the variable, or else the file, of that name.
fn secret(text: &str) -> Result<(String, SecretSource)> {
    let (mut id, mut source) = (None, None);
    for field in text.split(',') {
        match field.split_once('=') {
            Some(("id", value)) => id = Some(value.to_owned()),
            Some(("src" | "source", value)) => source = Some(SecretSource::File(value.into())),
            Some(("env", value)) => source = Some(SecretSource::Variable(value.to_owned())),
            Some(("type", "file" | "env")) => {}
            _ => bail!("--secret {text}: {field:?} is none of id=NAME, src=FILE and env=VARIABLE"),
        }
    }
    let Some(id) = id else { bail!("--secret {text}: it needs an id=NAME") };
    let source = source.unwrap_or_else(|| match std::env::var_os(&id) {
        Some(_) => SecretSource::Variable(id.clone()),
        None => SecretSource::File(id.clone().into()),
    });
    Ok((id, source))
}
