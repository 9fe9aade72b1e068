use bundle_tool::bundle::{self, Bundle};
use bundle_tool::container::removal;
use image_tool::address::home::Home;
use image_tool::program::pipe;

use super::{About as _, candidates, note};

/// Remove bundles with their mounts, networks and files.
///
/// Changes in a container's writable layer are lost (`commit` keeps them). What a crash left of a bundle is removed as well, so an
/// interrupted `delete` can be repeated.
#[derive(clap::Args)]
#[command(after_long_help = "Examples:
  bundle-tool delete web
  bundle-tool delete --force --volumes web db
  run-tool list --format json | bundle-tool ps -q -f status=exited | bundle-tool delete -")]
pub(crate) struct Delete {
    /// Remove a bundle even if a process is running in it (the process keeps running), and ignore one that does not exist.
    #[arg(short, long)]
    force: bool,
    /// Remove the anonymous volumes of the container as well.
    #[arg(short, long)]
    volumes: bool,
    /// Container names, ID prefixes or bundle paths, or - to read them from standard input, one per line.
    #[arg(required = true, value_name = "BUNDLE", add = candidates::containers())]
    bundles: Vec<String>,
}

impl Delete {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let home = Home::from_environment();
        let mut failed = None;
        for operand in &self.bundles {
            let names: Vec<String> = if operand == "-" {
                pipe::lines(std::io::stdin().lock()).collect::<Result<_, _>>()?
            } else {
                vec![operand.clone()]
            };
            for name in names {
                // The other bundles are removed all the same; each failure is reported.
                if let Err(error) = self.one(&home, &name)
                    && let Some(earlier) = failed.replace(error)
                {
                    note(&format!("{earlier:#}"));
                }
            }
        }
        failed.map_or(Ok(()), Err)
    }

    fn one(&self, home: &Home, name: &str) -> anyhow::Result<()> {
        match Bundle::find(&home.bundles(), name) {
            Ok(found) => removal::remove(home, &found, self.force, self.volumes).about(name),
            Err(error @ bundle::Error::NoSuchBundle(_)) => {
                let left = removal::remove_lost(home, name, self.force).about(name)?;
                if left || self.force { Ok(()) } else { Err(error.into()) }
            }
            Err(error) => Err(error.into()),
        }
    }
}
