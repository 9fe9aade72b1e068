use std::io;

use anyhow::bail;
use bundle_tool::bundle::annotation;
use bundle_tool::container::status::Container;
use bundle_tool::describe::image::Names;
use bundle_tool::describe::mount::attached;
use bundle_tool::describe::{row, size};
use bundle_tool::network::identity::identity;
use bundle_tool::option::port::Expose;
use image_tool::address::home::Home;
use image_tool::layout::Layout;
use image_tool::layout::platform::Platform;
use image_tool::program::pipe;
use image_tool::show::format::Format;
use image_tool::show::template::Value;
use jiff::Timestamp;
use oci_spec::image::History;

use super::filter::{self, Filter, Filters};
use super::{candidates, joined};

/// List containers as `docker ps` does.
///
/// Reads a runtime's list of containers from standard input and joins it with the bundles on disk. A bundle that the runtime does not
/// know is listed as created; a container whose bundle is not below $OCI_HOME is listed as well.
#[derive(clap::Args)]
#[command(after_long_help = "Examples:
  run-tool list --format json | bundle-tool ps
  run-tool list --format json | bundle-tool ps --all --filter label=app=shop
  run-tool list --format json | bundle-tool ps --format 'table {{.Names}}\\t{{.Status}}'")]
pub(crate) struct Ps {
    /// Show all containers, not only running ones.
    #[arg(short, long)]
    all: bool,
    /// Print only IDs.
    #[arg(short, long)]
    quiet: bool,
    /// Print IDs and commands in full.
    #[arg(long)]
    no_trunc: bool,
    /// Show sizes: what each container has written, and that with its image.
    #[arg(short, long)]
    size: bool,
    /// Show only matching containers; may be repeated.
    ///
    /// The keys are ancestor (an image), before and since (a container), exited (a status), expose and publish (a port or a range),
    /// health, id, label (KEY or KEY=VALUE), label! (as in label!=KEY: without it), name, network, status, until (created before a time) and
    /// volume.
    #[arg(short, long, value_name = "KEY=VALUE", add = candidates::words(candidates::FILTERS))]
    filter: Vec<Filter>,
    /// Show the N most recently created containers, running or not; all of them if N is negative.
    #[arg(short = 'n', long, value_name = "N", allow_negative_numbers = true)]
    last: Option<i64>,
    /// Show the most recently created container, running or not.
    #[arg(short, long)]
    latest: bool,
    /// Format each container with a Go template, or as `json` or `raw`.
    ///
    /// The fields are .ID, .Names, .Image, .Command, .RunningFor, .Status, .State, .Ports, .CreatedAt, .Size, .Labels, .Label "KEY",
    /// .Mounts, .LocalVolumes, .Networks, .HealthStatus, .Platform and .Bundle. A template that begins with `table` aligns them in
    /// columns.
    #[arg(long, value_name = "TEMPLATE", add = candidates::words(&["json", "raw", "table"]))]
    format: Option<Format>,
}

/// docker's keys of filters.
const KEYS: [&str; 17] = [
    "ancestor",
    "before",
    "exited",
    "expose",
    "health",
    "id",
    "is-task",
    "isolation",
    "label",
    "label!",
    "name",
    "network",
    "publish",
    "since",
    "status",
    "until",
    "volume",
];

/// docker's states.
const STATES: [&str; 7] = ["paused", "restarting", "removing", "running", "dead", "created", "exited"];

/// docker's format `raw`.
const RAW: &str = "container_id: {{.ID}}
image: {{.Image}}
command: {{.Command}}
created_at: {{.CreatedAt}}
state: {{- pad .State 1 0}}
status: {{- pad .Status 1 0}}
names: {{.Names}}
labels: {{- pad .Labels 1 0}}
ports: {{- pad .Ports 1 0}}
";

impl Ps {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let filters = Filters::of(&self.filter, &KEYS)?;
        check(filters)?;
        let home = Home::from_environment();
        let mut all = joined::containers(&home, "ps")?;
        let limit = match (self.latest, self.last) {
            (true, _) => Some(1),
            (false, last) => last.filter(|last| *last != 0).map(|last| usize::try_from(last).unwrap_or(usize::MAX)),
        };
        let is_all = self.all || limit.is_some() || filters.values("status").next().is_some();
        between(&mut all, filters)?;
        let until = filters.until()?;
        let is_older =
            |container: &Container| until.is_none_or(|until| container.created().is_some_and(|own| own < until));
        let ancestors: Vec<Ancestor<'_>> =
            filters.values("ancestor").map(|value| Ancestor::find(&home, value)).collect();
        all.retain(|container| {
            (is_all || container.is_up())
                && is_older(container)
                && wants(container, &home, filters)
                && (ancestors.is_empty() || ancestors.iter().any(|ancestor| ancestor.is_of(container)))
        });
        all.truncate(limit.unwrap_or(usize::MAX));
        let format = self.chosen();
        let sizes = self.size || format.names(".Size") || format.names("json");
        let now = Timestamp::now();
        let images = Names::read(&home);
        let row = |container: &Container| {
            row::row(container, (&home, &images), now, !self.no_trunc, sizes.then(|| size::of(container, &home)))
        };
        let rows: Vec<Value> = all.iter().map(row).collect();
        pipe::print_exactly(format.lines(&rows, row::LIST, &io::stdout())?)
    }

    fn chosen(&self) -> Format {
        let parsed = |text: &str| text.parse().unwrap_or_else(|never: std::convert::Infallible| match never {});
        match &self.format {
            Some(format) if format.is("raw") && self.quiet => parsed("container_id: {{.ID}}"),
            Some(format) if format.is("raw") => {
                let size = if self.size { "size: {{.Size}}\n" } else { "" };
                parsed(&format!("{RAW}{size}"))
            }
            Some(format) if !format.is_plain_table() => format.clone(),
            _ if self.quiet => parsed("{{.ID}}"),
            _ => {
                let mut fields = vec!["ID", "Image", "Command", "RunningFor", "Status", "Ports", "Names"];
                fields.extend(self.size.then_some("Size"));
                Format::columns(&fields)
            }
        }
    }
}

/// An image of which containers are looked for, and of those that are built on it.
struct Ancestor<'a> {
    name: &'a str,
    layout: Option<Layout>,
    /// How it was made; empty if there is no such image any more.
    history: Vec<History>,
}

impl<'a> Ancestor<'a> {
    fn find(home: &Home, name: &'a str) -> Self {
        let layout = Layout::open(&home.images()).ok();
        let history = layout.as_ref().map(|layout| history(layout, &format!(":{name}"))).unwrap_or_default();
        Self { name, layout, history }
    }

    /// Whether a container is of the image, or of one whose history begins with that of the image.
    fn is_of(&self, container: &Container) -> bool {
        let descends = |layout: &Layout| {
            let digest = container.annotation(annotation::DIGEST).unwrap_or_default();
            !self.history.is_empty()
                && history(layout, &format!("{}@{digest}", layout.path().display())).starts_with(&self.history)
        };
        container.is_of(self.name) || self.layout.as_ref().is_some_and(descends)
    }
}

/// The history of the image at an address of a layout.
fn history(layout: &Layout, address: &str) -> Vec<History> {
    let image = || layout.image(&address.parse().ok()?, &Platform::host()).ok();
    image().and_then(|image| image.config().history().clone()).unwrap_or_default()
}

/// Refuses values that docker refuses.
fn check(filters: Filters<'_>) -> anyhow::Result<()> {
    let health = ["starting", "healthy", "unhealthy", "none"];
    for (key, known) in [("status", STATES.as_slice()), ("health", health.as_slice()), ("is-task", &["true", "false"])]
    {
        if let Some(value) = filters.values(key).find(|value| !known.contains(value)) {
            return Err(filter::refused(&format!("{key}={value}"), &format!("expected {}", known.join(", "))));
        }
    }
    if let Some(value) = filters.values("exited").find(|value| value.parse::<i64>().is_err()) {
        return Err(filter::refused(&format!("exited={value}"), "not a number"));
    }
    for key in ["expose", "publish"] {
        if let Some(value) = filters.values(key).find(|value| value.parse::<Expose>().is_err()) {
            return Err(filter::refused(&format!("{key}={value}"), "not a port or a range of ports"));
        }
    }
    Ok(())
}

/// Leaves those that were created before and since the containers that filters name.
fn between(all: &mut Vec<Container>, filters: Filters<'_>) -> anyhow::Result<()> {
    for key in ["before", "since"] {
        let Some(word) = filters.values(key).last() else { continue };
        let Some(found) = joined::find(all, word)? else {
            bail!("no such container: {word} (docker ps -a lists them)")
        };
        let id = found.id();
        // The newest is the first.
        let at = all.iter().position(|container| container.id() == id).unwrap_or_default();
        if key == "before" {
            all.drain(..=at);
        } else {
            all.truncate(at);
        }
    }
    Ok(())
}

fn wants(container: &Container, home: &Home, filters: Filters<'_>) -> bool {
    let name = container.name();
    let exit = container.runtime().and_then(|state| state.exit_status);
    let has_volume = |value: &str| {
        let mounts = attached(container, home);
        mounts.iter().any(|mount| mount.label() == value || mount.destination == value)
    };
    let is_on = |value: &str| {
        row::network(container).is_some_and(|own| own == value || identity("network", &own).starts_with(value))
    };
    let has_port = |value: &str, published: bool| {
        let Some(plan) = container.plan().filter(|_| container.is_up()) else { return false };
        let Ok(wanted) = value.parse::<Expose>() else { return false };
        let mappings = plan.mappings().unwrap_or_default();
        wanted.ports().any(|(port, protocol)| {
            let is_mapped = mappings
                .iter()
                .any(|own| own.protocol == protocol && port == if published { own.host } else { own.container });
            is_mapped || (!published && plan.exposed.contains(&format!("{port}/{protocol}")))
        })
    };
    filters.any("name", |value| filter::fits(value, &name) || filter::fits(value, &format!("/{name}")))
        && filters.any("id", |value| filter::fits(&format!("^{}", value.trim_start_matches('^')), &container.id()))
        && filters.any("status", |value| container.state() == value)
        && filters.any("health", |value| container.health() == value)
        && filters.any("exited", |value| {
            container.state() == "exited"
                && value.parse().is_ok_and(|wanted: i64| exit.is_some_and(|own| i64::from(own) == wanted))
        })
        && filters.any("volume", has_volume)
        && filters.any("network", is_on)
        && filters.any("publish", |value| has_port(value, true))
        && filters.any("expose", |value| has_port(value, false))
        && filters.any("is-task", |value| value == "false")
        && filters.any("isolation", |value| value == "default")
        && filters.labels(&container.labels())
}
