use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, ValueHint};
use image_tool::layout::{Error, Layout, Prune};
use image_tool::program::{pipe, say};
use image_tool::show::human;

use super::TOOL;
use super::operand::LayoutOperand;

/// Remove blobs that no image uses.
///
/// Prints the digests of the removed blobs. While another of the five tools is writing to the layout, nothing is removed: gc fails, or
/// with --wait waits. Other programs do not take its lock; if one may be writing to the layout, use --older-than.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  image-tool gc
  image-tool gc --dry-run images
  image-tool gc --wait images
  image-tool gc --older-than 12h images")]
pub(crate) struct Gc {
    /// Layout [default: $OCI_LAYOUT, else $OCI_HOME/images].
    #[arg(default_value = "", hide_default_value = true)]
    layout: LayoutOperand,
    /// Print what would be removed, without removing it.
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Wait while another tool is writing to the layout, instead of failing.
    #[arg(long)]
    wait: bool,
    /// Keep blobs that are younger than this, such as 90s, 30m, 12h or 7d.
    #[arg(long, value_name = "AGE", value_parser = age, default_value = "0s", hide_default_value = true, value_hint = ValueHint::Other)]
    older_than: Duration,
}

fn age(text: &str) -> Result<Duration, String> {
    let unit = text.chars().last().and_then(|unit| match unit {
        's' => Some(1),
        'm' => Some(60),
        'h' => Some(3600),
        'd' => Some(24 * 3600),
        _ => None,
    });
    let number = unit.and_then(|unit| text[..text.len() - 1].parse::<u64>().ok()?.checked_mul(unit));
    number.map(Duration::from_secs).ok_or_else(|| "not a valid age (90s, 30m, 12h or 7d)".into())
}

impl Gc {
    pub(crate) fn run(self) -> Result<()> {
        let Some(layout) = self.layout.open()? else { return Ok(()) };
        let order = Prune { age: self.older_than, is_dry: self.dry_run, waits: false };
        let prune = match layout.prune(order) {
            Err(Error::Busy { path }) if self.wait => {
                TOOL.say(&format!("{}: waiting for a process that is writing", path.display()));
                layout.prune(Prune { waits: true, ..order })
            }
            other => other,
        };
        let garbage = prune.with_context(|| format!("{}: nothing removed", Layout::path(&layout).display()))?;
        let mut total = 0;
        for piece in &garbage {
            total += piece.size;
            match &piece.digest {
                Some(digest) => pipe::print_line(digest.as_ref())?,
                None => pipe::print_line(&piece.path.display().to_string())?,
            }
        }
        let what = if self.dry_run { "Reclaimable space" } else { "Total reclaimed space" };
        say(&format!("{what}: {}", human::size(total)));
        Ok(())
    }
}
