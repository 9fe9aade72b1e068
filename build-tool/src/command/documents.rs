//! What `make man` and `make completions` install.

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

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
        for subcommand in command.get_subcommands().filter(|subcommand| !subcommand.is_hide_set()) {
            let name: &'static str = format!("build-tool-{}", subcommand.get_name()).leak();
            clap_mangen::Man::new(subcommand.clone().name(name)).render(&mut page)?;
        }
        super::print_bytes(&page)
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
        clap_complete::generate(self.shell, &mut Arguments::command(), "build-tool", &mut script);
        super::print_bytes(&script)
    }
}
