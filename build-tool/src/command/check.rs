use std::io::Write;
use std::path::PathBuf;

use anyhow::{Result, bail};
use build_tool::dockerfile::Dockerfile;
use build_tool::dockerfile::check;
use build_tool::source::context::Context;
use build_tool::stage::base::{self, Pull};
use build_tool::stage::draft::Draft;
use clap::Args;
use image_tool::address::home::Home;
use image_tool::layout::platform::Platform;

/// Check a Dockerfile by BuildKit's rules.
///
/// Each finding is a line, FILE:LINE: RULE: what is wrong, with the source line below it. A comment at the file's head,
/// # check=skip=RULE,…, leaves rules out. The exit status is 1 if there are findings.
#[derive(Args)]
pub(crate) struct Check {
    /// The context: a directory.
    #[arg(default_value = ".")]
    context: PathBuf,
    /// Read this Dockerfile, not the context's; - is standard input.
    #[arg(short, long = "file", value_name = "FILE")]
    file: Option<PathBuf>,
}

impl Check {
    pub(crate) fn run(self) -> Result<()> {
        let context = Context::open(&self.context, self.file.as_deref(), &Home::from_environment())?;
        let (name, source) = (context.dockerfile_name(), context.dockerfile());
        let file = Dockerfile::parse(name, source)?;
        // What a base image sets is known if it is here; for a lint nothing is fetched.
        let environment = |base: &str| {
            let (layout, image) = base::find("", base, &Platform::host(), Pull::Never, true).ok()?;
            Some(Draft::of_image(&layout, &image).ok()?.env())
        };
        let found = check::check(&file, &|source| context.files().leaves_out(source), &environment);
        let text = String::from_utf8_lossy(source);
        let lines: Vec<&str> = text.lines().collect();
        let mut out = Vec::new();
        for warning in &found {
            writeln!(out, "{name}:{}: {}: {}", warning.line, warning.rule, warning.message)?;
            writeln!(out, "    {}", lines.get(warning.line - 1).unwrap_or(&"").trim_end())?;
        }
        super::print_bytes(&out)?;
        match found.len() {
            0 => Ok(()),
            1 => bail!("{name}: 1 finding"),
            count => bail!("{name}: {count} findings"),
        }
    }
}
