use std::io::{self, IsTerminal as _, Read as _};

use anyhow::{Context as _, bail};
use bundle_tool::container::status::{self, Container};
use image_tool::address::home::Home;
use image_tool::program::pipe;
use image_tool::show::human;
use image_tool::show::template::Template;
use jiff::Timestamp;
use serde_json::Value;

use super::candidates;

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
    /// Show only matching containers: name=TEXT, id=DIGITS, status=running|paused|created|exited, label=KEY[=VALUE] or
    /// ancestor=IMAGE; may be repeated.
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = filter, add = candidates::words(candidates::FILTERS))]
    filter: Vec<Filter>,
    /// Show the N most recently created containers, running or not.
    #[arg(short = 'n', long, value_name = "N")]
    last: Option<usize>,
    /// Show the most recently created container, running or not.
    #[arg(short, long)]
    latest: bool,
    /// Format each container with a Go template, or as `json`.
    ///
    /// The fields are .ID, .Names, .Image, .Command, .RunningFor, .Status, .State, .Ports, .CreatedAt, .Labels, .Mounts, .Networks and
    /// .Bundle. A template that begins with `table` aligns them in columns.
    #[arg(long, value_name = "TEMPLATE", add = candidates::words(&["json", "table"]))]
    format: Option<Template>,
}

#[derive(Clone)]
enum Filter {
    Name(String),
    Id(String),
    Status(String),
    Label(String, Option<String>),
    Ancestor(String),
}

fn filter(text: &str) -> Result<Filter, String> {
    match text.split_once('=') {
        Some(("name", name)) => Ok(Filter::Name(name.trim_start_matches('/').into())),
        Some(("id", id)) => Ok(Filter::Id(id.into())),
        Some(("status", status)) if ["running", "paused", "created", "exited"].contains(&status) => {
            Ok(Filter::Status(status.into()))
        }
        Some(("label", label)) => Ok(match label.split_once('=') {
            Some((name, value)) => Filter::Label(name.into(), Some(value.into())),
            None => Filter::Label(label.into(), None),
        }),
        Some(("ancestor", image)) => Ok(Filter::Ancestor(image.into())),
        _ => Err("not a filter (expected name=, id=, status=, label= or ancestor=)".into()),
    }
}

/// A list of ten thousand containers is smaller.
const LIMIT: u64 = 256 << 20;

impl Ps {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        if io::stdin().is_terminal() {
            bail!("standard input is a terminal (run-tool list --format json | bundle-tool ps)");
        }
        let mut json = Vec::new();
        io::stdin().lock().take(LIMIT).read_to_end(&mut json).context("read standard input")?;
        if json.iter().all(u8::is_ascii_whitespace) {
            bail!("standard input is empty (run-tool list --format json | bundle-tool ps)");
        }
        let states =
            status::read_list(&json).context("standard input is not a runtime's list (run-tool list --format json)")?;
        let mut all = status::join(&Home::from_environment().bundles(), states)?;
        let chosen = self.filter.iter().any(|filter| matches!(filter, Filter::Status(_)));
        let last = if self.latest { Some(1) } else { self.last };
        all.retain(|container| (self.all || chosen || last.is_some() || container.is_up()) && self.wants(container));
        all.truncate(last.unwrap_or(usize::MAX));
        let now = Timestamp::now();
        let rows: Vec<Value> = all.iter().map(|container| container.fields(now, !self.no_trunc)).collect();
        match &self.format {
            Some(template) => pipe::print_exactly(template.lines(&rows, heading, align, &io::stdout())?),
            None => pipe::print(self.columns(&rows)),
        }
    }

    fn wants(&self, container: &Container) -> bool {
        // Filters of one kind are alternatives, except for labels.
        let any = |test: &dyn Fn(&Filter) -> Option<bool>| {
            let mut verdicts = self.filter.iter().filter_map(test).peekable();
            verdicts.peek().is_none() || verdicts.any(|verdict| verdict)
        };
        let labels = container.labels();
        any(&|filter| {
            if let Filter::Name(name) = filter { Some(container.name().contains(name.as_str())) } else { None }
        }) && any(&|filter| {
            if let Filter::Id(id) = filter { Some(container.id().starts_with(id.as_str())) } else { None }
        }) && any(&|filter| if let Filter::Status(status) = filter { Some(container.state() == status) } else { None })
            && any(&|filter| if let Filter::Ancestor(image) = filter { Some(container.is_of(image)) } else { None })
            && self.filter.iter().all(|filter| match filter {
                Filter::Label(name, value) => {
                    labels.get(name).is_some_and(|own| value.as_ref().is_none_or(|value| value == own))
                }
                _ => true,
            })
    }

    fn columns(&self, rows: &[Value]) -> String {
        let text = |row: &Value, field: &str| row[field].as_str().unwrap_or_default().to_owned();
        if self.quiet {
            return rows.iter().map(|row| text(row, "ID") + "\n").collect();
        }
        let fields = ["ID", "Image", "Command", "RunningFor", "Status", "Ports", "Names"];
        let mut table = vec![fields.map(heading).to_vec()];
        table.extend(rows.iter().map(|row| fields.map(|field| text(row, field)).to_vec()));
        align(&table)
    }
}

/// docker ps's headings.
fn heading(field: &str) -> String {
    match field {
        "ID" => "CONTAINER ID".into(),
        "RunningFor" => "CREATED".into(),
        "CreatedAt" => "CREATED AT".into(),
        other => other.to_uppercase(),
    }
}

/// Aligns columns as docker ps does: three blanks apart, at least ten wide, the last one as long as it is. No cell can drive a terminal.
fn align(rows: &[Vec<String>]) -> String {
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(|cell| human::plain(cell)).collect()).collect();
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count() + 3).max().unwrap_or(0).max(10)
    };
    let mut text = String::new();
    for row in &rows {
        for (column, cell) in row.iter().enumerate() {
            let last = column + 1 == row.len();
            text += &if last { cell.clone() } else { format!("{cell:0$}", width(column)) };
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_they_need_to_be() {
        let rows = [["CONTAINER ID", "IMAGE", "NAMES"], ["ec4c86b8a163", "python:3.8", "eager"]]
            .map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(align(&rows), "CONTAINER ID   IMAGE        NAMES\nec4c86b8a163   python:3.8   eager\n");
    }
}
