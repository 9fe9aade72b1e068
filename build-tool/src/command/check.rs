use std::io::Write;
use std::path::PathBuf;

use anyhow::{Result, bail};
use build_tool::build::lint;
use build_tool::dockerfile::Dockerfile;
use build_tool::source::context::Context;
use clap::{Args, ValueHint};
use image_tool::address::home::Home;
use image_tool::layout::platform::Platform;
use image_tool::program::pipe;
use image_tool::show::human::plain;

/// Check a Dockerfile against BuildKit's rules.
///
/// Each finding is a line, FILE:LINE: RULE: MESSAGE, with the source line below it. The comment `# check=skip=RULE,…` at the head of
/// the file skips rules. The exit status is 1 if there are findings.
#[derive(Args)]
#[command(after_long_help = "Examples:
  build-tool check
  build-tool check -f docker/Dockerfile app
  build-tool check -f - <Dockerfile")]
pub(crate) struct Check {
    /// Directory of the context.
    #[arg(default_value = ".", value_hint = ValueHint::DirPath)]
    context: PathBuf,
    /// Read this Dockerfile instead of the context's, or - for standard input.
    #[arg(short, long = "file", value_name = "FILE", value_hint = ValueHint::FilePath)]
    file: Option<PathBuf>,
}

impl Check {
    pub(crate) fn run(self) -> Result<()> {
        let context = Context::open(&self.context, self.file.as_deref(), &Home::from_environment())?;
        let (name, source) = (context.dockerfile_name(), context.dockerfile());
        let file = Dockerfile::parse(name, source)?;
        let found = lint::lint(&context, &file, &Platform::host(), "", None, None)?.warnings;
        let text = String::from_utf8_lossy(source);
        let lines: Vec<&str> = text.lines().collect();
        let mut out = Vec::new();
        for warning in &found {
            let finding = format!("{name}:{}: {}: {}", warning.lines.start, warning.rule, warning.message);
            let line = lines.get(warning.lines.start - 1).unwrap_or(&"").trim_end().replace('\t', "    ");
            writeln!(out, "{}\n    {}", plain(&finding), plain(&line))?;
        }
        pipe::print(out)?;
        match found.len() {
            0 => Ok(()),
            1 => bail!("{name}: 1 finding"),
            count => bail!("{name}: {count} findings"),
        }
    }
}
