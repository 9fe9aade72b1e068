use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context as _;
use bundle_tool::bundle::name;
use bundle_tool::container::removal;
use bundle_tool::option::environment;
use bundle_tool::volume::{self, About, Store, Volume as Named};
use clap::{Args, Subcommand};
use image_tool::address::home::Home;
use image_tool::program::pipe;
use image_tool::show::human;
use jiff::Timestamp;
use serde_json::json;

use super::{candidates, note};

/// Manage volumes.
///
/// A volume is a directory in $OCI_HOME/volumes that outlives the containers that use it.
#[derive(Args)]
#[command(after_long_help = "Examples:
  bundle-tool volume create data
  bundle-tool create --volume data:/var/lib/app images:app
  bundle-tool volume prune")]
pub(crate) struct Volume {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Create a volume and print its name.
    ///
    /// An existing volume stays as it is.
    #[command(
        after_long_help = "Examples:\n  bundle-tool volume create data\n  bundle-tool volume create --label app=shop data"
    )]
    Create {
        /// Set a label of the volume; may be repeated.
        #[arg(long, value_name = "KEY=VALUE")]
        label: Vec<String>,
        /// Set an option of the local driver: type, device and o are those of mount(8); may be repeated.
        #[arg(short, long, value_name = "KEY=VALUE")]
        opt: Vec<String>,
        /// Driver of the volume; only local is supported.
        #[arg(short = 'd', long = "driver", value_name = "DRIVER", value_parser = ["local"], default_value = "local", hide_default_value = true)]
        _driver: String,
        /// Name of the volume [default: a random name].
        name: Option<String>,
    },
    /// List the names of volumes.
    #[command(
        alias = "list",
        after_long_help = "Examples:\n  bundle-tool volume ls\n  bundle-tool volume ls | xargs bundle-tool volume inspect"
    )]
    Ls {
        /// Print only names, which is the default.
        #[arg(short, long)]
        quiet: bool,
    },
    /// Print volumes as JSON lines.
    #[command(
        after_long_help = "Examples:\n  bundle-tool volume inspect data\n  bundle-tool volume inspect data | jq -r .Mountpoint"
    )]
    Inspect {
        /// Volumes to print.
        #[arg(required = true, value_name = "VOLUME", add = candidates::volumes())]
        names: Vec<String>,
    },
    /// Remove volumes with their contents and print their names.
    #[command(after_long_help = "Examples:\n  bundle-tool volume rm data\n  bundle-tool volume rm --force data cache")]
    Rm {
        /// Ignore volumes that do not exist.
        #[arg(short, long)]
        force: bool,
        /// Volumes to remove.
        #[arg(required = true, value_name = "VOLUME", add = candidates::volumes())]
        names: Vec<String>,
    },
    /// Remove unused anonymous volumes and print their names.
    #[command(after_long_help = "Examples:\n  bundle-tool volume prune\n  bundle-tool volume prune --all")]
    Prune {
        /// Remove all unused volumes, not only anonymous ones.
        #[arg(short, long)]
        all: bool,
    },
}

impl Volume {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let home = Home::from_environment();
        let store = Store::new(home.volumes());
        match self.command {
            Command::Create { label, opt, _driver, name } => {
                let options = environment::labels(opt).context("--opt")?;
                let labels = environment::labels(label).context("--label")?;
                let name = name.unwrap_or_else(name::random_id);
                let about = About { created: Timestamp::now().to_string(), labels, options };
                let (made, _hold) = store.open_or_create(&name, &about)?;
                pipe::print_line(&made.name)
            }
            Command::Ls { quiet: _ } => {
                let names: String = store.list()?.iter().map(|volume| format!("{}\n", volume.name)).collect();
                pipe::print(names)
            }
            Command::Inspect { names } => {
                let mut lines = String::new();
                for name in &names {
                    lines += &human::json(&describe(&store.open(name)?).to_string());
                    lines.push('\n');
                }
                pipe::print(lines)
            }
            Command::Rm { force, names } => each(&names, |name| match remove(&home, &store, name) {
                Err(error) if force && matches!(error.downcast_ref(), Some(volume::Error::NoVolume(_))) => Ok(()),
                other => other,
            }),
            Command::Prune { all } => {
                let mut unused = Vec::new();
                for volume in store.list()? {
                    // Anonymous volumes have a random id for a name.
                    let nameless = volume.name.len() == 64 && volume.name.bytes().all(|byte| byte.is_ascii_hexdigit());
                    if (all || nameless) && removal::users_of_volume(&home.bundles(), &volume.name)?.is_empty() {
                        unused.push(volume.name);
                    }
                }
                let mut removed = Vec::new();
                for name in unused {
                    match remove(&home, &store, &name) {
                        Ok(()) => removed.push(name),
                        // A container has got it since.
                        Err(error) if is_used(&error) => {}
                        Err(error) => return Err(error),
                    }
                }
                each(&removed, |_| Ok(()))
            }
        }
    }
}

fn describe(volume: &Named) -> serde_json::Value {
    let labels: &BTreeMap<String, String> = &volume.about.labels;
    json!({"Name": volume.name, "Driver": "local", "Scope": "local", "Mountpoint": absolute(&volume.data), "CreatedAt": volume.about.created, "Labels": labels, "Options": volume.about.options})
}

fn absolute(path: &Path) -> String {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string()
}

fn remove(home: &Home, store: &Store, name: &str) -> anyhow::Result<()> {
    store.remove(name, || Ok(removal::users_of_volume(&home.bundles(), name)?))
}

fn is_used(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(volume::Error::InUse { .. } | volume::Error::Claimed(_)))
}

/// Acts on each and prints those for which that succeeded. Earlier failures are reported on the way, the last is returned.
fn each(names: &[String], act: impl Fn(&str) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let mut failed: Option<anyhow::Error> = None;
    for name in names {
        match act(name) {
            Ok(()) => pipe::print_line(name)?,
            Err(error) => {
                if let Some(earlier) = failed.replace(error) {
                    note(&format!("{earlier:#}"));
                }
            }
        }
    }
    failed.map_or(Ok(()), Err)
}
