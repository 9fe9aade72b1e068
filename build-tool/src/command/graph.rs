use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Result;
use build_tool::build::{last_stage, predefined};
use build_tool::dockerfile::Dockerfile;
use build_tool::dockerfile::graph;
use build_tool::dockerfile::plan::Plan;
use build_tool::source::context::Context;
use clap::{Args, ValueHint};
use image_tool::address::home::Home;
use image_tool::layout::platform::Platform;
use image_tool::program::pipe;

/// Print the graph of a Dockerfile's stages, in Graphviz's language or as SVG.
///
/// A solid arrow leads to a stage from its base, a dashed one from a stage that it copies from or mounts. Stages that the target does
/// not need are grey.
#[derive(Args)]
#[command(after_long_help = "Examples:
  build-tool graph app | dot -Tpng -o stages.png
  build-tool graph --svg --target release app >stages.svg")]
pub(crate) struct Graph {
    /// Directory of the context.
    #[arg(default_value = ".", value_hint = ValueHint::DirPath)]
    context: PathBuf,
    /// Read this Dockerfile instead of the context's, or - for standard input.
    #[arg(short, long = "file", value_name = "FILE", value_hint = ValueHint::FilePath)]
    file: Option<PathBuf>,
    /// Set the value of an ARG; may be repeated.
    #[arg(long = "build-arg", value_name = "NAME=VALUE")]
    build_args: Vec<String>,
    /// Mark what this stage needs, by name or number, instead of the last one.
    #[arg(long, value_name = "STAGE")]
    target: Option<String>,
    /// Print an SVG image.
    #[arg(long)]
    svg: bool,
}

impl Graph {
    pub(crate) fn run(self) -> Result<()> {
        let context = Context::open(&self.context, self.file.as_deref(), &Home::from_environment())?;
        let name = context.dockerfile_name();
        let file = Dockerfile::parse(name, context.dockerfile())?;
        let given: BTreeMap<&str, &str> = self.build_args.iter().filter_map(|text| text.split_once('=')).collect();
        let (host, stage) = (Platform::host(), self.target.clone().unwrap_or_else(|| last_stage(&file)));
        let value = |name: &str| given.get(name).map(|value| (*value).to_owned());
        let mut plan = Plan::new(name, &file, &|name| value(name).or_else(|| predefined(&host, &stage, name)))?;
        if let Some(target) = &self.target {
            plan.set_target(target)?;
        }
        let text = if self.svg { graph::svg(&plan) } else { graph::dot(&plan) };
        pipe::print(text)
    }
}
