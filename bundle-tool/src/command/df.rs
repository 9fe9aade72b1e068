use std::io;

use bundle_tool::describe::disk::{self, Disk};
use bundle_tool::describe::{row, volume};
use image_tool::address::home::Home;
use image_tool::program::pipe;
use image_tool::show::format::{Format, List};
use image_tool::show::human;
use image_tool::show::template::Value;
use jiff::Timestamp;

use super::joined;

/// Show what images, containers, volumes, stored layers and the build cache take on disk.
///
/// Stored layers are those in $OCI_HOME/layers, which all containers and builds share; what no container and no image needs is
/// reclaimable (bundle-tool gc). With --verbose, FORM is tar for a plain archive, erofs for the names and attributes of an image that
/// refers to such archives, and folder for an unpacked layer; USERS are the containers and images that have it.
///
/// Reads a runtime's list of containers from standard input, unless that is a terminal.
#[derive(clap::Args)]
#[command(after_long_help = "Examples:
  run-tool list --format json | bundle-tool df
  run-tool list --format json | bundle-tool df --verbose")]
pub(crate) struct Df {
    /// Format each kind with a Go template, or as `json`.
    ///
    /// The fields are .Type, .TotalCount, .Active, .Size and .Reclaimable. A template that begins with `table` aligns them in columns.
    #[arg(long, value_name = "TEMPLATE", conflicts_with = "verbose")]
    format: Option<Format>,
    /// Show each image, container, volume and stored layer.
    #[arg(short, long)]
    verbose: bool,
    /// Print only how many bytes images, containers, volumes and the build cache take together.
    #[arg(long, conflicts_with_all = ["verbose", "format"])]
    bytes: bool,
    /// Print how much less that is than this number of bytes, in the words of docker's prune commands.
    #[arg(long, value_name = "BYTES", conflicts_with_all = ["verbose", "format", "bytes"])]
    reclaimed: Option<u64>,
}

impl Df {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let home = Home::from_environment();
        let disk = Disk::measure(&home, joined::containers_or_bundles(&home, "df")?);
        if self.bytes {
            return pipe::print_line(&disk.total().to_string());
        }
        if let Some(before) = self.reclaimed {
            let less = before.saturating_sub(disk.total());
            return pipe::print_line(&format!("Total reclaimed space: {}", human::exact_size(less)));
        }
        if !self.verbose {
            let format = self.format.filter(|format| !format.is_plain_table());
            let format =
                format.unwrap_or_else(|| Format::columns(&["Type", "TotalCount", "Active", "Size", "Reclaimable"]));
            return pipe::print_exactly(format.lines(&disk.rows(), disk::LIST, &io::stdout())?);
        }
        let now = Timestamp::now();
        let table =
            |rows: &[Value], list: List<'_>, fields: &[&str]| Format::columns(fields).lines(rows, list, &io::stdout());
        let images =
            ["Repository", "Tag", "ID", "CreatedSince", "VirtualSize", "SharedSize", "UniqueSize", "Containers"];
        let containers = ["ID", "Image", "Command", "LocalVolumes", "Size", "RunningFor", "Status", "Names"];
        pipe::print_exactly(format!(
            "Images space usage:\n\n{}\nContainers space usage:\n\n{}\nLocal Volumes space usage:\n\n{}\nStored layers space usage:\n\n{}\nBuild cache usage: {}\n\n",
            table(&disk.image_rows(now), disk::IMAGES, &images)?,
            table(&disk.container_rows(&home, now), row::LIST, &containers)?,
            table(&disk.volume_rows(), volume::LIST, &["Name", "Links", "Size"])?,
            table(&disk.stored_rows(), disk::LAYERS, &["ID", "Form", "Size", "Users"])?,
            human::exact_size(disk.cache()),
        ))
    }
}
