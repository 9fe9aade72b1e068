use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use image_tool::layout::Layout;
use image_tool::show::human;

use super::operand::LayoutOperand;
use super::print::{print_line, say};

/// Remove blobs that no image has, and print what was removed.
///
/// Waits for nobody: while another of these tools writes into the layout it fails and removes nothing. Programs that are not
/// of these tools do not take part in that lock; where they write, use --older-than.
#[derive(Args)]
pub(crate) struct Gc {
    /// The layout; the default one if omitted.
    #[arg(default_value = "", hide_default_value = true)]
    layout: LayoutOperand,
    /// Print what would be removed, and remove nothing.
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Leave alone what changed since: 90s, 30m, 12h or 7d.
    #[arg(long, value_name = "AGE", value_parser = age, default_value = "0s", hide_default_value = true)]
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
    number.map(Duration::from_secs).ok_or_else(|| "not an age (90s, 30m, 12h or 7d)".into())
}

impl Gc {
    pub(crate) fn run(self) -> Result<()> {
        let Some(layout) = self.layout.open()? else { return Ok(()) };
        let prune = layout.prune(self.older_than, self.dry_run);
        let garbage = prune.with_context(|| format!("{}: nothing removed", Layout::path(&layout).display()))?;
        let mut total = 0;
        for piece in &garbage {
            total += piece.size;
            match &piece.digest {
                Some(digest) => print_line(digest.as_ref())?,
                None => print_line(&piece.path.display().to_string())?,
            }
        }
        let what = if self.dry_run { "Reclaimable space" } else { "Total reclaimed space" };
        say(&format!("{what}: {}", human::size(total)));
        Ok(())
    }
}
