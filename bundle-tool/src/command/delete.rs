use bundle_tool::bundle::{self, Bundle};
use bundle_tool::container::removal;
use image_tool::address::home::Home;
use image_tool::program::pipe;

use super::{About as _, note};

/// Remove bundles: their mounts, networks and files. What was written to a container's own layer is lost.
///
/// A bundle that is gone is no error with --force, and whatever a crash left of it goes: a second delete cleans up after a first one
/// that was cut short.
#[derive(clap::Args)]
pub(crate) struct Delete {
    /// Remove it though a process runs in it (the process stays), and do not mind if it is not there.
    #[arg(short, long)]
    force: bool,
    /// Remove the volumes that were made for this container alone, too.
    #[arg(short, long)]
    volumes: bool,
    /// The bundles: containers' names, paths, first digits of ids, or - to read them from standard input.
    #[arg(required = true, value_name = "BUNDLE")]
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
                // The others go all the same; each failure is told.
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
                let left = bundle::remove_unfinished(&home.bundles(), name)?;
                if left || self.force { Ok(()) } else { Err(error.into()) }
            }
            Err(error) => Err(error.into()),
        }
    }
}
