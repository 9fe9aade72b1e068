//! What `make man` and `make completions` install.

use std::io::Write as _;

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;
use image_tool::pipe::stdout_error;

use super::Arguments;

/// Print the manual page.
#[derive(Args)]
#[command(hide = true)]
pub(crate) struct Man {}

impl Man {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let mut page = Vec::new();
        let command = Arguments::command();
        clap_mangen::Man::new(command.clone()).render(&mut page)?;
        // One page for all, so each subcommand is a section of it and not a page with a title of its own.
        for subcommand in command.get_subcommands().filter(|subcommand| !subcommand.is_hide_set()) {
            let name = subcommand.get_name();
            let named =
                subcommand.clone().name(format!("registry-tool-{name}")).bin_name(format!("registry-tool {name}"));
            let section = clap_mangen::Man::new(named.disable_help_flag(true));
            writeln!(page, ".SH \"REGISTRY-TOOL {}\"", name.to_uppercase())?;
            section.render_synopsis_section(&mut page)?;
            section.render_description_section(&mut page)?;
            section.render_options_section(&mut page)?;
        }
        write_all(&page)
    }
}

/// Print the completions of a shell.
#[derive(Args)]
#[command(hide = true)]
pub(crate) struct Completions {
    /// The shell.
    shell: Shell,
}

impl Completions {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Arguments::command(), "registry-tool", &mut script);
        write_all(&script)
    }
}

/// Writes to standard output what is no single line.
pub(super) fn write_all(bytes: &[u8]) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    Ok(stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(stdout_error)?)
}
