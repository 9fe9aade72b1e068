use std::io::{self, IsTerminal as _};

use anyhow::Context as _;
use bundle_tool::bundle::name;
use bundle_tool::container::removal;
use bundle_tool::describe::volume as described;
use bundle_tool::option::{boolean, environment};
use bundle_tool::volume::{self, About, Store};
use clap::{Args, Subcommand};
use image_tool::address::home::Home;
use image_tool::layout::journal;
use image_tool::program::pflag::Unread;
use image_tool::program::pipe;
use image_tool::show::format::Format;
use image_tool::show::template::Value;
use jiff::Timestamp;

use super::filter::{self, Filter, Filters};
use super::{candidates, dockers, each, inspect};

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
        #[arg(short = 'd', long = "driver", value_name = "DRIVER", value_parser = driver, default_value = "local", hide_default_value = true)]
        _driver: String,
        /// The name, as docker before 1.13 wanted it.
        #[arg(long = "name", value_name = "NAME", hide = true, conflicts_with = "name")]
        old_name: Option<String>,
        /// Name of the volume [default: a random name].
        name: Option<String>,
    },
    Ls(List),
    /// Print volumes as JSON, as `docker volume inspect` does.
    #[command(
        after_long_help = "Examples:\n  bundle-tool volume inspect data\n  bundle-tool volume inspect --format '{{.Mountpoint}}' data"
    )]
    Inspect {
        /// Format each volume with a Go template, such as '{{.Mountpoint}}', or as `json`.
        #[arg(short, long, value_name = "TEMPLATE")]
        format: Option<String>,
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
    #[command(
        after_long_help = "Examples:\n  bundle-tool volume prune\n  bundle-tool volume prune --all --filter label=stage=test"
    )]
    Prune {
        /// Remove all unused volumes, not only anonymous ones.
        #[arg(short, long)]
        all: bool,
        /// Remove only matching volumes: label=KEY[=VALUE], label!=KEY[=VALUE] or all=BOOL; may be repeated.
        #[arg(long, value_name = "KEY=VALUE")]
        filter: Vec<Filter>,
    },
}

fn driver(text: &str) -> Result<String, Unread> {
    match text {
        "local" => Ok(text.into()),
        _ => Err(Unread(format!("error looking up volume plugin {text}: plugin {text:?} not found, only local"))),
    }
}

impl Volume {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let home = Home::from_environment();
        let store = Store::new(home.volumes());
        match self.command {
            Command::Create { label, opt, _driver, old_name, name } => {
                let options = environment::labels(opt).context("--opt")?;
                let labels = environment::labels(label).context("--label")?;
                let name = name.or(old_name).unwrap_or_else(name::random_id);
                let about = About { created: Timestamp::now().to_string(), labels, options };
                let is_new = store.open(&name).is_err();
                let (made, _hold) = store.open_or_create(&name, &about)?;
                if is_new {
                    journal::record(&home, "volume", "create", &made.name, &[("driver", "local")]);
                }
                pipe::print_line(&made.name)
            }
            Command::Ls(list) => list.run(&home, &store),
            Command::Inspect { format, names } => {
                let find = |name: &str| Ok(store.open(name).ok().as_ref().map(described::document));
                inspect::show(format.as_deref(), &names, find, |name| format!("No such volume: {name}"))
            }
            Command::Rm { force, names } => each(&names, |name| match remove(&home, &store, name) {
                Err(error) if force && matches!(error.downcast_ref(), Some(volume::Error::NoVolume(_))) => Ok(()),
                other => other.map_err(dockers::words),
            }),
            Command::Prune { all, filter } => {
                let filters = Filters::of(&filter, &["all", "label", "label!"])?;
                let is_all = filters.values("all").last().map(boolean::parse).transpose().context("all")?;
                let all = is_all.unwrap_or(all);
                let mut unused = Vec::new();
                for volume in store.list()? {
                    // Anonymous volumes have a random id for a name.
                    let nameless = volume.name.len() == 64 && volume.name.bytes().all(|byte| byte.is_ascii_hexdigit());
                    let wanted = (all || nameless) && filters.labels(&volume.about.labels);
                    if wanted && removal::users_of_volume(&home.bundles(), &volume.name)?.is_empty() {
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

/// List volumes.
///
/// Prints one name per line, or docker's table on a terminal.
#[derive(Args)]
#[command(
    alias = "list",
    after_long_help = "Examples:\n  bundle-tool volume ls\n  bundle-tool volume ls --filter dangling=true --format '{{.Name}}'"
)]
struct List {
    /// Print the table even if standard output is not a terminal.
    #[arg(long)]
    table: bool,
    /// Print only names.
    #[arg(short, long)]
    quiet: bool,
    /// List only matching volumes: dangling=BOOL, driver=local, label=KEY[=VALUE] or name=TEXT; may be repeated.
    #[arg(short, long, value_name = "KEY=VALUE")]
    filter: Vec<Filter>,
    /// Format each volume with a Go template, or as `json`.
    ///
    /// The fields are .Name, .Driver, .Scope, .Mountpoint, .Labels and .Label "KEY". A template that begins with `table` aligns them in
    /// columns.
    #[arg(long, value_name = "TEMPLATE")]
    format: Option<Format>,
}

impl List {
    fn run(self, home: &Home, store: &Store) -> anyhow::Result<()> {
        let filters = Filters::of(&self.filter, &["dangling", "driver", "label", "name"])?;
        let wrong = |value| filter::refused(&format!("dangling=[{value}]"), "expected a boolean");
        let dangling = |value| boolean::parse(value).map_err(|_| wrong(value));
        let wanted = filters.values("dangling").last().map(dangling).transpose()?;
        let mut found = Vec::new();
        for volume in store.list()? {
            let is_wanted = filters.any("driver", |value| value == "local")
                && filters.any("name", |value| filter::fits(value, &volume.name))
                && filters.labels(&volume.about.labels);
            let is_unused = || removal::users_of_volume(&home.bundles(), &volume.name).map(|users| users.is_empty());
            if is_wanted && wanted.map_or(Ok(true), |wanted| is_unused().map(|unused| unused == wanted))? {
                found.push(volume);
            }
        }
        let format = self.format.filter(|format| !format.is_plain_table());
        if format.is_none() && (self.quiet || (!self.table && !io::stdout().is_terminal())) {
            return pipe::print(found.iter().map(|volume| format!("{}\n", volume.name)).collect::<String>());
        }
        let rows: Vec<Value> = found.iter().map(|volume| described::row(volume, "N/A", "N/A")).collect();
        let format = format.unwrap_or_else(|| Format::columns(&["Driver", "Name"]));
        pipe::print_exactly(format.lines(&rows, described::LIST, &io::stdout())?)
    }
}

fn remove(home: &Home, store: &Store, name: &str) -> anyhow::Result<()> {
    store.remove(name, || Ok::<_, anyhow::Error>(removal::users_of_volume(&home.bundles(), name)?))?;
    journal::record(home, "volume", "destroy", name, &[("driver", "local")]);
    Ok(())
}

fn is_used(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(volume::Error::InUse { .. } | volume::Error::Claimed(_)))
}
