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
use jiff::Timestamp;
use serde_json::json;

use super::note;
use super::print_bytes;

/// Manage named volumes: folders of $OCI_HOME/volumes that outlive the containers which use them.
#[derive(Args)]
pub(crate) struct Volume {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make a volume and print its name. One that is there stays as it is.
    Create {
        /// Label it: NAME=VALUE.
        #[arg(long, value_name = "LABEL")]
        label: Vec<String>,
        /// The name; drawn at random if it is left out.
        name: Option<String>,
    },
    /// Print the volumes' names, one a line.
    #[command(alias = "list")]
    Ls {
        /// Print the names alone, which is what happens anyway.
        #[arg(short, long)]
        quiet: bool,
    },
    /// Print what is known of volumes, as JSON lines.
    Inspect {
        /// The volumes.
        #[arg(required = true, value_name = "VOLUME")]
        names: Vec<String>,
    },
    /// Remove volumes with all that is in them, and print their names.
    Rm {
        /// Do not mind if one is not there.
        #[arg(short, long)]
        force: bool,
        /// The volumes.
        #[arg(required = true, value_name = "VOLUME")]
        names: Vec<String>,
    },
    /// Remove the volumes that no bundle uses and that have no name of their own, and print their names.
    Prune {
        /// Those with a name of their own, too.
        #[arg(short, long)]
        all: bool,
    },
}

impl Volume {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let home = Home::from_environment();
        let store = Store::new(home.volumes());
        match self.command {
            Command::Create { label, name } => {
                let labels = environment::labels(label).context("--label")?;
                let name = name.unwrap_or_else(name::random_id);
                let about = About { created: Timestamp::now().to_string(), labels };
                let (made, _) = store.open_or_create(&name, &about)?;
                Ok(pipe::print_line(&made.name)?)
            }
            Command::Ls { quiet: _ } => {
                let names: String = store.list()?.iter().map(|volume| format!("{}\n", volume.name)).collect();
                print_bytes(names.as_bytes())
            }
            Command::Inspect { names } => {
                let mut lines = String::new();
                for name in &names {
                    lines += &format!("{}\n", describe(&store.open(name)?));
                }
                print_bytes(lines.as_bytes())
            }
            Command::Rm { force, names } => each(&names, |name| match remove(&home, &store, name) {
                Err(error) if force && matches!(error.downcast_ref(), Some(volume::Error::NoVolume(_))) => Ok(()),
                other => other,
            }),
            Command::Prune { all } => {
                let mut unused = Vec::new();
                for volume in store.list()? {
                    // As random_id makes them.
                    let nameless = volume.name.len() == 64 && volume.name.bytes().all(|byte| byte.is_ascii_hexdigit());
                    if (all || nameless) && removal::users_of_volume(&home.bundles(), &volume.name)?.is_empty() {
                        unused.push(volume.name);
                    }
                }
                each(&unused, |name| Ok(store.remove(name)?))
            }
        }
    }
}

fn describe(volume: &Named) -> serde_json::Value {
    let labels: &BTreeMap<String, String> = &volume.about.labels;
    json!({"Name": volume.name, "Driver": "local", "Scope": "local", "Mountpoint": absolute(&volume.data), "CreatedAt": volume.about.created, "Labels": labels})
}

fn absolute(path: &Path) -> String {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string()
}

fn remove(home: &Home, store: &Store, name: &str) -> anyhow::Result<()> {
    if let Some(bundle) = removal::users_of_volume(&home.bundles(), name)?.into_iter().next() {
        return Err(volume::Error::InUse { volume: name.into(), bundle }.into());
    }
    Ok(store.remove(name)?)
}

/// Does something to each and prints those that it was done to; the first failure is the answer, others are told.
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
