use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Result;
use build_tool::dockerfile::Dockerfile;
use build_tool::dockerfile::graph;
use build_tool::dockerfile::plan::Plan;
use build_tool::source::context::Context;
use clap::Args;
use image_tool::address::home::Home;

/// Print the graph of a Dockerfile's stages, in the language of Graphviz.
///
/// Solid arrows lead from what a stage begins with, dashed ones from what it copies or mounts. Stages that the target does not
/// need are grey.
#[derive(Args)]
pub(crate) struct Graph {
    /// The context: a directory.
    #[arg(default_value = ".")]
    context: PathBuf,
    /// Read this Dockerfile, not the context's; - is standard input.
    #[arg(short, long = "file", value_name = "FILE")]
    file: Option<PathBuf>,
    /// Give an ARG its value.
    #[arg(long = "build-arg", value_name = "NAME=VALUE")]
    build_args: Vec<String>,
    /// The stage that is wanted.
    #[arg(long, value_name = "STAGE")]
    target: Option<String>,
    /// Print a picture, not its description.
    #[arg(long)]
    svg: bool,
}

impl Graph {
    pub(crate) fn run(self) -> Result<()> {
        let context = Context::open(&self.context, self.file.as_deref(), &Home::from_environment())?;
        let name = context.dockerfile_name();
        let file = Dockerfile::parse(name, context.dockerfile())?;
        let given: BTreeMap<&str, &str> = self.build_args.iter().filter_map(|text| text.split_once('=')).collect();
        let mut plan = Plan::new(name, &file, &|name| given.get(name).map(|value| (*value).to_owned()))?;
        if let Some(target) = &self.target {
            plan.set_target(target)?;
        }
        let text = if self.svg { graph::svg(&plan) } else { graph::dot(&plan) };
        super::print_bytes(text.as_bytes())
    }
}
