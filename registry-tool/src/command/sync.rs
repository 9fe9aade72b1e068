//! `registry-tool sync`.

use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, bail};
use clap::{Args, ValueHint};
use image_tool::address::Address;
use image_tool::layer::limit::Limits;
use image_tool::layout::Layout;
use image_tool::layout::platform::Platform;
use image_tool::program::pipe;
use registry_tool::client::Registry;
use registry_tool::place::policy::Policy;
use registry_tool::question::query::{Choice, tags};
use registry_tool::question::round::Round;
use registry_tool::question::selection::{Selection, below, parse};
use registry_tool::reference::ImageName;
use registry_tool::transfer::{copy, pull, push};

use super::progress::{Pace, Transfer};
use super::{Network, TOOL, block_on, mirrors};

/// Copy many images: those that a file lists, or those of a layout.
///
/// The file is YAML as skopeo sync reads it: for each registry `images`, `images-by-tag-regex` and `images-by-semver`, and beside
/// them `images-by-tag-glob`. A repository without tags means all of its tags. Names and digests of the copies are printed, each once
/// its image is there. What the target has already is not transferred.
#[derive(Args)]
#[command(after_long_help = "Examples:
  registry-tool sync images.yml localhost:5000/mirror
  registry-tool sync --to-layout images.yml images
  registry-tool sync --from-layout images localhost:5000/mirror
  registry-tool sync --dry-run images.yml localhost:5000 | cut -f1")]
pub(crate) struct Sync {
    /// File that lists images, or - to read it from standard input.
    #[arg(value_hint = ValueHint::FilePath)]
    source: String,
    /// Registry, or a part of one, such as localhost:5000/mirror.
    #[arg(value_hint = ValueHint::Other)]
    target: String,
    /// Take all named images of a layout: SOURCE is its path.
    #[arg(long, conflicts_with = "to_layout")]
    from_layout: bool,
    /// Store the images in a layout, each under its whole name: TARGET is its path.
    #[arg(long)]
    to_layout: bool,
    /// Keep the whole name of each image below TARGET, with its registry, instead of the last part.
    #[arg(long, conflicts_with = "to_layout")]
    scoped: bool,
    /// Copy only the images for this platform [default: all].
    #[arg(long, value_name = "OS/ARCH[/VARIANT]", value_hint = ValueHint::Other, conflicts_with = "from_layout")]
    platform: Option<Platform>,
    /// Print what would be copied and where to, without doing it: two names a line, with a tab between.
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Go on with the other images if one fails. The exit status is 1 then.
    #[arg(short, long)]
    keep_going: bool,
    /// Print only the new names.
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    pace: Pace,
    #[command(flatten)]
    network: Network,
}

/// One image.
enum Job {
    Copy(ImageName, ImageName),
    Pull(ImageName, Address),
    Push(Address, ImageName),
}

impl Sync {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let (mut mirrors, settings, policy) = (mirrors()?, self.network.settings(), Policy::read()?);
        let selections = if self.from_layout { Vec::new() } else { self.selections()? };
        for host in selections.iter().filter_map(Selection::insecure_host) {
            mirrors.demand_tls(host, false);
        }
        let round = Round { mirrors: &mirrors, settings: &settings };
        let jobs = if self.from_layout { self.named()? } else { self.selected(&selections, round)? };
        let mut failed = 0;
        for job in &jobs {
            let line = if self.dry_run { Ok(job.plan()) } else { self.carry_out(job, &policy, round) };
            match line {
                Ok(line) => pipe::print_line(&line)?,
                Err(error) if self.keep_going && !error.is::<pipe::StdoutClosed>() => {
                    TOOL.say(&format!("{error:#}"));
                    failed += 1;
                }
                Err(error) => return Err(error),
            }
        }
        if failed > 0 {
            bail!("{failed} of {} images failed", jobs.len());
        }
        Ok(())
    }

    /// The named images of a layout.
    fn named(&self) -> anyhow::Result<Vec<Job>> {
        let layout = Layout::open(Path::new(&self.source))?;
        let mut jobs = Vec::new();
        for (reference, _) in layout.index()?.entries()? {
            let Some(reference) = reference else { continue };
            let name: ImageName = reference.parse().with_context(|| format!("{}:{reference}", self.source))?;
            let address = format!("{}:{reference}", self.source).parse()?;
            jobs.push(Job::Push(address, below(&self.target, &name, self.scoped)?));
        }
        Ok(jobs)
    }

    fn selections(&self) -> anyhow::Result<Vec<Selection>> {
        let mut text = String::new();
        if self.source == "-" {
            std::io::stdin().read_to_string(&mut text).context("standard input")?;
        } else {
            text = std::fs::read_to_string(&self.source).with_context(|| self.source.clone())?;
        }
        parse(&text).with_context(|| self.source.clone())
    }

    /// The images that the file means.
    fn selected(&self, selections: &[Selection], round: Round<'_>) -> anyhow::Result<Vec<Job>> {
        let mut jobs = Vec::new();
        for selection in selections {
            for name in self.names(selection, round)? {
                jobs.push(if self.to_layout {
                    let digest = if name.tag().is_none() { name.digest() } else { None };
                    let reference = name.label().map(str::parse).transpose()?;
                    let digest = digest.map(image_tool::address::digest::parse).transpose()?;
                    Job::Pull(name, Address::new(&self.target, reference, digest)?)
                } else {
                    let target = below(&self.target, &name, self.scoped)?;
                    Job::Copy(name, target)
                });
            }
        }
        Ok(jobs)
    }

    fn names(&self, selection: &Selection, round: Round<'_>) -> anyhow::Result<Vec<ImageName>> {
        if !selection.needs_tags() {
            return Ok(selection.names(&[])?);
        }
        let list = async |registry: &Registry, _: &ImageName| Ok(tags(registry).await?);
        let repository = selection.repository()?;
        match block_on(async { Ok(round.ask("repository", &repository, list).await?) }) {
            Ok(tags) => Ok(selection.names(&tags)?),
            // One repository that is away is counted by nobody, but the others are copied.
            Err(error) if self.keep_going => {
                TOOL.say(&format!("{error:#}"));
                Ok(Vec::new())
            }
            Err(error) => Err(error),
        }
    }

    fn carry_out(&self, job: &Job, policy: &Policy, round: Round<'_>) -> anyhow::Result<String> {
        let choice = match &self.platform {
            Some(platform) => Choice::One { platform: platform.clone(), is_asked: false },
            None => Choice::All,
        };
        let jobs = self.pace.jobs();
        let display = |transfer| self.pace.display(self.quiet, transfer);
        match job {
            Job::Copy(source, target) => {
                let watcher = display(Transfer::Copy).watcher();
                let order = copy::Order {
                    source,
                    target,
                    more_tags: &[],
                    has_referrers: false,
                    choice,
                    format: None,
                    policy: policy.clone(),
                    jobs,
                    watcher,
                };
                let copied = block_on(async { Ok(copy::copy(&order, round, round).await?) })?;
                Ok(target.pinned(copied.digest().as_ref()))
            }
            Job::Pull(name, address) => {
                let order = pull::Order {
                    name,
                    target: Some(address),
                    choice,
                    policy: policy.clone(),
                    is_trusted: false,
                    jobs,
                    store: None,
                    limits: Limits::default(),
                    watcher: display(Transfer::Pull).watcher(),
                };
                Ok(block_on(async { Ok(pull::pull(&order, round).await?) })?.address.to_string())
            }
            Job::Push(address, name) => {
                let order = push::Order {
                    address,
                    name,
                    more_tags: &[],
                    format: None,
                    jobs,
                    chunk: 128 << 20,
                    mount_from: Vec::new(),
                    watcher: display(Transfer::Push).watcher(),
                };
                let pushed = block_on(async { Ok(push::push(&order, round).await?) })?;
                Ok(name.pinned(pushed.digest.as_ref()))
            }
        }
    }
}

impl Job {
    /// What is copied, and where to.
    fn plan(&self) -> String {
        match self {
            Self::Copy(source, target) => format!("{}\t{}", source.typed(), target.typed()),
            Self::Pull(source, target) => format!("{}\t{target}", source.typed()),
            Self::Push(source, target) => format!("{source}\t{}", target.typed()),
        }
    }
}
