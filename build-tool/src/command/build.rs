use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use build_tool::build::{self, Options, SecretSource};
use build_tool::namespace;
use build_tool::progress::Show;
use build_tool::run::network::Network;
use build_tool::source::place::Place;
use build_tool::stage::base::Pull;
use bundle_tool::option::csv;
use clap::builder::PossibleValue;
use clap::{Args, ValueEnum, ValueHint};
use image_tool::address::Address;
use image_tool::layout::platform::Platform;
use image_tool::program::pipe;

use super::words;

/// Build an image and print its address.
///
/// The Dockerfile language is BuildKit's. RUN commands run in an OCI runtime, and registry-tool pulls base images that the layout
/// lacks. A step that ran before, on the same layers and with the same files, comes from the cache in $OCI_HOME/builds. If
/// $SOURCE_DATE_EPOCH is set, nothing in the image is newer than that time, and equal input gives an equal image.
#[derive(Args)]
#[command(after_long_help = "Examples:
  build-tool build -t :cat:1.0 .
  build-tool build -t images:cat -f docker/Dockerfile --build-arg VERSION=2 --target release .
  tar -C src -c . | SOURCE_DATE_EPOCH=1700000000 build-tool build -q -t :cat - | image-tool verify -")]
pub(crate) struct Build {
    /// Directory of the context, or its URL, or - to read a tar archive of it, or a Dockerfile alone, from standard input.
    ///
    /// A URL is that of a git repository (https://HOST/REPO.git#REF:FOLDER, git@HOST:REPO, ssh://...), or of a tar archive or a
    /// Dockerfile.
    #[arg(value_hint = ValueHint::DirPath)]
    context: PathBuf,
    /// Give a name to a further context, for FROM, COPY --from and RUN --mount=from; may be repeated.
    ///
    /// PLACE is a directory, a URL like that of the context, docker-image://NAME, oci-layout://LAYOUT[:REF], or target:STAGE. The name
    /// counts before that of a stage or an image.
    #[arg(long = "build-context", value_name = "NAME=PLACE")]
    build_contexts: Vec<String>,
    /// Name the image, LAYOUT:REF or :REF in the default layout; may be repeated.
    #[arg(short, long = "tag", value_name = "ADDRESS")]
    tags: Vec<Address>,
    /// Read this Dockerfile instead of the context's, or - for standard input.
    #[arg(short, long = "file", value_name = "FILE", value_hint = ValueHint::FilePath)]
    file: Option<PathBuf>,
    /// Set the value of an ARG; NAME alone takes the caller's value; may be repeated.
    #[arg(long = "build-arg", value_name = "NAME[=VALUE]")]
    build_args: Vec<String>,
    /// Set a label of the image; may be repeated.
    #[arg(long = "label", value_name = "KEY=VALUE")]
    labels: Vec<String>,
    /// Build this stage, by name or number, instead of the last one.
    #[arg(long, value_name = "STAGE")]
    target: Option<String>,
    /// Run every step, even if the cache holds its result.
    #[arg(long)]
    no_cache: bool,
    /// When to pull base images; --pull alone means always.
    #[arg(long, value_name = "WHEN", default_value = "missing", default_missing_value = "always", num_args = 0..=1, require_equals = true,
        value_parser = words::<Pull>([
            PossibleValue::new("missing").alias("false").help("If the layout lacks them"),
            PossibleValue::new("always").alias("true").help("Even if the layout holds them"),
            PossibleValue::new("never").help("Not at all"),
        ]))]
    pull: Pull,
    /// OCI runtime for RUN commands [default: run-tool, else runc, else crun].
    #[arg(long, value_name = "PROGRAM", value_hint = ValueHint::CommandName)]
    runtime: Option<PathBuf>,
    /// Build for this platform [default: this machine's].
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Option<Platform>,
    /// Connect RUN commands to this network.
    ///
    /// With `host`, a command can reach what this machine can reach, as in BuildKit without a CNI network. RUN --network=none has no
    /// network in any case.
    #[arg(long, default_value = "host",
        value_parser = words::<Network>([
            PossibleValue::new("host").alias("default").help("The network of this machine"),
            PossibleValue::new("none").help("A loopback device only"),
            PossibleValue::new("bridge").help("The network bridge of bundle-tool, docker's default"),
        ]))]
    network: Network,
    /// Provide a secret, a file or an environment variable, to RUN --mount=type=secret; may be repeated.
    #[arg(long = "secret", value_name = "id=NAME[,src=FILE|,env=VARIABLE]")]
    secrets: Vec<String>,
    /// Show no progress, only the output of a command that fails.
    #[arg(short, long)]
    quiet: bool,
    /// How to show progress on standard error.
    #[arg(long, value_name = "STYLE", value_enum, default_value_t = Style::Auto)]
    progress: Style,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Style {
    /// The same as plain.
    Auto,
    /// Lines, as BuildKit writes them.
    Plain,
    /// Nothing; the same as --quiet.
    Quiet,
}

impl Build {
    pub(crate) fn run(self) -> Result<()> {
        namespace::enter(std::env::args_os().skip(1)).context("start in a user namespace")?;
        if let Some(tag) = self.tags.iter().find(|tag| tag.digest().is_some()) {
            bail!("--tag {tag}: expected a name, not a digest (LAYOUT:REF)");
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
        // As in docker, the variable of the environment is an argument, and an empty one counts as not set.
        if let Some(epoch) = std::env::var("SOURCE_DATE_EPOCH").ok().filter(|text| !text.is_empty()) {
            arguments.entry("SOURCE_DATE_EPOCH".to_owned()).or_insert(epoch);
        }
        let mut contexts = BTreeMap::new();
        for text in self.build_contexts {
            match text.split_once('=') {
                Some((name, place)) if !name.is_empty() => {
                    let place = Place::of_named(place).with_context(|| format!("--build-context {text}"))?;
                    contexts.insert(name.to_owned(), place);
                }
                _ => bail!("--build-context {text}: expected NAME=PLACE"),
            }
        }
        let quiet = self.quiet || self.progress == Style::Quiet;
        let options = Options {
            tags: self.tags,
            context: Place::of_context(&self.context)?,
            contexts,
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
            epoch: None,
        };
        let address = build::build(&options)?;
        pipe::print_line(&address.to_string())
    }
}

/// Reads `id=NAME,src=FILE` or `id=NAME,env=VARIABLE`. With neither, the secret is the variable of that name, or else the file.
fn secret(text: &str) -> Result<(String, SecretSource)> {
    let (mut id, mut source) = (None, None);
    for field in csv::fields(text).with_context(|| format!("--secret {text}"))? {
        match field.split_once('=') {
            Some(("id", value)) => id = Some(value.to_owned()),
            Some(("src" | "source", value)) => source = Some(SecretSource::File(value.into())),
            Some(("env", value)) => source = Some(SecretSource::Variable(value.to_owned())),
            Some(("type", "file" | "env")) => {}
            _ => bail!("--secret {text}: expected id=NAME, src=FILE or env=VARIABLE, not {field:?}"),
        }
    }
    let Some(id) = id else { bail!("--secret {text}: missing id=NAME") };
    let source = source.unwrap_or_else(|| match std::env::var_os(&id) {
        Some(_) => SecretSource::Variable(id.clone()),
        None => SecretSource::File(id.clone().into()),
    });
    Ok((id, source))
}
