//! `build-tool build`, and the values of its options. `output` and `cache` read what has fields, `call` answers instead of
//! building, and `report` prints and writes afterwards. Only this room knows docker's words for them.

mod attest;
mod cache;
mod call;
mod output;
mod report;

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::PathBuf;

use anyhow::{Context, Result, anyhow, bail};
use build_tool::build::output::{Delivery, Form, Order, Output};
use build_tool::build::{self, Options, SecretSource};
use build_tool::namespace;
use build_tool::progress::Show;
use build_tool::run::network::Network;
use build_tool::source::place::Place;
use build_tool::stage::base::Pull;
use build_tool::step::session;
use bundle_tool::option::csv;
use clap::builder::PossibleValue;
use clap::{Args, ValueEnum, ValueHint};
use image_tool::address::Address;
use image_tool::layout::platform::Platform;
use image_tool::program::limits::Limits;

use super::words;

mod commands;

use commands::Commands;

/// Build an image and print its address.
///
/// The Dockerfile language is BuildKit's. RUN commands run in an OCI runtime, and registry-tool pulls base images that the layout
/// lacks. A step that ran before, on the same layers and with the same files, comes from the cache in $OCI_HOME/builds. If
/// $SOURCE_DATE_EPOCH is set, nothing in the image is newer than that time, and equal input gives an equal image.
#[derive(Args)]
#[command(after_long_help = "Examples:
  build-tool build -t :cat:1.0 .
  build-tool build -t images:cat -f docker/Dockerfile --build-arg VERSION=2 --target release .
  build-tool build -o out --target files .
  build-tool build --platform linux/amd64,linux/arm64 --push -t images:localhost:5000/cat:1.0 .
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
    /// PLACE is a directory, a git repository, the URL of a file, docker-image://NAME, oci-layout://LAYOUT[:REF], or target:STAGE. The name
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
    /// Where the result goes: type=image|registry|docker|oci|tar|local with dest=PATH, a folder for its files, or - for a tar; may be
    /// repeated.
    ///
    /// With name=NAME an image has that name too, in the layout of the first one. The default is type=image: a layout. With another one nothing is put into a layout, and the paths that were written are printed.
    ///
    /// The layers of an image are compressed with gzip, or those of its steps with compression=zstd or uncompressed and with
    /// force-compression=true all; compression-level is 0 to 9, for zstd 0 to 22. annotation.KEY=VALUE sets an annotation, as
    /// --annotation does.
    ///
    /// The files of several platforms have a folder each, or with platform-split=false one for all. type=local with mode=delete removes what
    /// else is in the folder. With --attest, files hold what the others were made from (attestation-prefix=PREFIX).
    #[arg(short, long = "output", value_name = "OUTPUT", value_hint = ValueHint::AnyPath)]
    outputs: Vec<String>,
    /// Put the image into its layout, as by default; also beside other outputs.
    #[arg(long)]
    load: bool,
    /// Push the image to the registry in its name: type=registry.
    #[arg(long)]
    push: bool,
    /// Set an annotation of the image's manifest, or of manifest:, index:, manifest-descriptor: or index-descriptor:; may be repeated.
    #[arg(long = "annotation", value_name = "[DOCUMENT,…:]KEY=VALUE")]
    annotations: Vec<String>,
    /// Let the image say how it was made or what is in it: type=provenance with mode=min or max, or type=sbom; may be repeated.
    #[arg(long = "attest", value_name = "ATTESTATION")]
    attestations: Vec<String>,
    /// Let the image say how it was made (SLSA provenance): --attest=type=provenance.
    #[arg(long, value_name = "true|false|mode=MODE", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    provenance: Option<String>,
    /// Let the image say which packages of dpkg, apk and pip are in it (SPDX): --attest=type=sbom.
    #[arg(long, value_name = "true|false", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    sbom: Option<String>,
    /// Write the image's ID to this file.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    iidfile: Option<PathBuf>,
    /// Write what is known of the result to this file, as JSON.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    metadata_file: Option<PathBuf>,
    /// Say something about the Dockerfile instead of building: check, outline or targets, each with ,format=json.
    #[arg(long, value_name = "METHOD")]
    call: Option<String>,
    /// Check the Dockerfile instead of building: --call=check.
    #[arg(long, conflicts_with = "call")]
    check: bool,
    /// Take steps from a registry or a folder: type=registry,ref=NAME or type=local,src=FOLDER; may be repeated.
    #[arg(long = "cache-from", value_name = "PLACE")]
    cache_from: Vec<String>,
    /// Store the steps in a registry or a folder: type=registry,ref=NAME or type=local,dest=FOLDER, with mode=max all of them and not
    /// only the image's; or type=inline: in the image itself; may be repeated.
    #[arg(long = "cache-to", value_name = "PLACE")]
    cache_to: Vec<String>,
    /// Run every step, even if the cache holds its result.
    #[arg(long)]
    no_cache: bool,
    /// Run every step of this stage; may be repeated.
    #[arg(long, value_name = "STAGE", value_delimiter = ',')]
    no_cache_filter: Vec<String>,
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
    /// Build for this platform [default: this machine's]; may be repeated, for an index of several.
    #[arg(long = "platform", value_name = "OS/ARCH[/VARIANT]", value_delimiter = ',')]
    platforms: Vec<Platform>,
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
    #[command(flatten)]
    commands: Commands,
    #[command(flatten)]
    limits: Limits,
    /// Provide a secret, a file or an environment variable, to RUN --mount=type=secret; may be repeated.
    #[arg(long = "secret", value_name = "id=NAME[,src=FILE|,env=VARIABLE]")]
    secrets: Vec<String>,
    /// Show no progress, only the output of a command that fails.
    #[arg(short, long)]
    quiet: bool,
    /// Show the findings of the lint with their lines.
    #[arg(short = 'D', long)]
    debug: bool,
    /// How to show progress on standard error [default: $BUILDKIT_PROGRESS, else auto].
    #[arg(long, value_name = "STYLE", value_enum)]
    progress: Option<Style>,
    /// The builder, of which there is one: default.
    #[arg(long, value_name = "NAME", value_parser = ["default"])]
    builder: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Style {
    /// tty on a terminal, else plain.
    Auto,
    /// A picture of the running steps.
    Tty,
    /// Lines, as BuildKit writes them.
    Plain,
    /// BuildKit's events as lines of JSON.
    Rawjson,
    /// Nothing; the same as --quiet.
    Quiet,
}

impl Build {
    pub(crate) fn run(self) -> Result<()> {
        if let Some(call) = self.call.clone().or_else(|| self.check.then(|| "check".to_owned())) {
            return self.answer(&call);
        }
        namespace::enter(std::env::args_os().skip(1)).context("start in a user namespace")?;
        let delivery = self.delivery()?;
        let quiet = self.quiet || self.progress == Some(Style::Quiet);
        let (iidfile, metadata_file) = (self.iidfile.clone(), self.metadata_file.clone());
        if iidfile.is_some() && !delivery.outputs.iter().any(|order| order.output.is_image()) {
            bail!("--iidfile: only an image has an ID (type=image, oci or docker)");
        }
        if let Some(path) = &iidfile {
            // A build that fails leaves no ID, least of all that of an earlier one.
            report::no_id(path)?;
        }
        let outcome = build::build(&self.options()?, &delivery)?;
        if let Some(path) = iidfile {
            report::id(&path, &outcome)?;
        }
        if let Some(path) = metadata_file {
            report::metadata(&path, &outcome)?;
        }
        if delivery.outputs.iter().any(|order| order.output.is_stdout()) {
            return Ok(());
        }
        report::print(&outcome, quiet)
    }

    /// What is to be delivered.
    fn delivery(&self) -> Result<Delivery> {
        let mut orders = self.outputs.iter().map(|text| output::output(text)).collect::<Result<Vec<_>>>()?;
        let has = |orders: &[Order], output: &Output| orders.iter().any(|order| order.output == *output);
        if self.push {
            // An image that is asked for is the one that is pushed.
            orders
                .iter_mut()
                .filter(|order| order.output == Output::Image)
                .for_each(|order| order.output = Output::Push);
            if !has(&orders, &Output::Push) {
                orders.push(Order { output: Output::Push, form: Form::default() });
            }
        }
        if orders.is_empty() || (self.load && !has(&orders, &Output::Push) && !has(&orders, &Output::Image)) {
            orders.push(Order { output: Output::Image, form: Form::default() });
        }
        // Several times the same is once.
        let mut outputs: Vec<Order> = Vec::new();
        for order in orders {
            if !outputs.contains(&order) {
                outputs.push(order);
            }
        }
        if outputs.iter().filter(|order| order.output.is_stdout()).count() > 1 {
            bail!("--output: only one of them can go to standard output (dest=FILE)");
        }
        let cache_from = self.cache_from.iter().map(|text| cache::from(text)).collect::<Result<_>>()?;
        let cache_to = self.cache_to.iter().map(|text| cache::to(text)).collect::<Result<Vec<_>>>()?;
        let form = Form { steps: cache_to.contains(&None), ..self.form()? };
        for order in &mut outputs {
            let own = std::mem::replace(&mut order.form, form.clone());
            order.form.annotations.extend(own.annotations);
            order.form.layers = own.layers;
        }
        Ok(Delivery { outputs, cache_from, cache_to: cache_to.into_iter().flatten().collect() })
    }

    /// What an image is like in each of the outputs.
    fn form(&self) -> Result<Form> {
        let mut form = Form::default();
        for text in &self.annotations {
            form.annotations.extend(output::annotations(text)?);
        }
        for text in &self.attestations {
            attest::attest(text, &mut form)?;
        }
        if let Some(text) = &self.provenance {
            attest::provenance(text, &mut form).with_context(|| format!("--provenance {text}"))?;
        }
        if let Some(text) = &self.sbom {
            attest::sbom(text, &mut form).with_context(|| format!("--sbom {text}"))?;
        }
        Ok(form)
    }

    /// The options of the build itself.
    fn options(self) -> Result<Options> {
        if let Some(tag) = self.tags.iter().find(|tag| tag.digest().is_some()) {
            bail!("--tag {tag}: expected a name, not a digest (LAYOUT:REF)");
        }
        let mut tags = self.tags;
        let layout = tags.first().map_or("", Address::layout).to_owned();
        for text in &self.outputs {
            for name in output::names(text)? {
                tags.push(Address::new(&layout, Some(name), None)?);
            }
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
        let sandbox = self.commands.sandbox(self.network, arguments.get(session::HOSTNAME).cloned())?;
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
        let show = if self.quiet { Show::Quiet } else { show(self.progress)? };
        let mut platforms: Vec<Platform> = Vec::new();
        for platform in self.platforms {
            if !platforms.contains(&platform) {
                platforms.push(platform);
            }
        }
        Ok(Options {
            tags,
            context: Place::of_context(&self.context)?,
            contexts,
            dockerfile: self.file,
            arguments,
            labels,
            secrets,
            target: self.target,
            no_cache: self.no_cache,
            no_cache_stages: self.no_cache_filter.iter().map(|stage| stage.to_lowercase()).collect(),
            pull: self.pull,
            limits: self.limits.get(),
            runtime: self.runtime,
            platforms,
            sandbox,
            granted: self.commands.allow.into_iter().collect(),
            ssh: self.commands.ssh,
            show,
            debug: self.debug,
            epoch: None,
        })
    }
}

/// How progress is shown where an option, the environment, or neither says so.
fn show(style: Option<Style>) -> Result<Show> {
    let style = match (style, std::env::var("BUILDKIT_PROGRESS")) {
        (Some(style), _) => style,
        (None, Ok(text)) if !text.is_empty() => Style::from_str(&text, false)
            .map_err(|_| anyhow!("BUILDKIT_PROGRESS={text}: unknown style (auto, tty, plain, rawjson, quiet)"))?,
        _ => Style::Auto,
    };
    let terminal = std::io::stderr().is_terminal();
    Ok(match style {
        Style::Auto if terminal => Show::Terminal,
        Style::Auto | Style::Plain => Show::Plain,
        Style::Tty if terminal => Show::Terminal,
        Style::Tty => bail!("--progress tty: standard error is not a terminal (--progress plain)"),
        Style::Rawjson => Show::Json,
        Style::Quiet => Show::Quiet,
    })
}

/// Reads `id=NAME,src=FILE` or `id=NAME,env=VARIABLE`. With neither, the secret is the variable of that name, or else the file.
fn secret(text: &str) -> Result<(String, SecretSource)> {
    let (mut id, mut file, mut variable, mut kind) = (None, None, None, None);
    for field in csv::fields(text).with_context(|| format!("--secret {text}"))? {
        match field.split_once('=') {
            Some(("id", value)) => id = Some(value.to_owned()),
            Some(("src" | "source", value)) => file = Some(value.to_owned()),
            Some(("env", value)) => variable = Some(value.to_owned()),
            Some(("type", value @ ("file" | "env"))) => kind = Some(value.to_owned()),
            _ => bail!("--secret {text}: expected id=NAME, src=FILE or env=VARIABLE, not {field:?}"),
        }
    }
    let Some(id) = id.filter(|id| !id.is_empty()) else { bail!("--secret {text}: missing id=NAME") };
    let source = match (kind.as_deref(), file, variable) {
        (_, Some(_), Some(_)) => bail!("--secret {text}: expected src= or env=, not both"),
        // As in docker, the source of a variable may be spelled src=.
        (Some("env"), Some(name), None) | (None | Some("env"), None, Some(name)) => SecretSource::Variable(name),
        (Some(_), None, Some(_)) => bail!("--secret {text}: expected src=, not env=, with type=file"),
        (_, Some(path), None) => SecretSource::File(path.into()),
        (Some("env"), None, None) => SecretSource::Variable(id.clone()),
        (None, None, None) if std::env::var_os(&id).is_some() => SecretSource::Variable(id.clone()),
        (_, None, None) => SecretSource::File(id.clone().into()),
    };
    if let SecretSource::File(path) = &source {
        let found = std::fs::metadata(path).with_context(|| format!("--secret {text}: {}", path.display()))?;
        if found.is_dir() {
            bail!("--secret {text}: {}: is a directory", path.display());
        }
    }
    Ok((id, source))
}
