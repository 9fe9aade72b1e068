use bundle_tool::container::stored;
use image_tool::address::home::Home;
use image_tool::layer::cache::Cache;
use image_tool::layer::stack::stock::{self, Wanted};
use image_tool::program::pipe;
use image_tool::show::human;

use super::{About as _, note};

/// Remove stored layers that no container and no image needs.
///
/// $OCI_HOME/layers holds the layers of images as containers and builds use them: plain tars and the EROFS images that refer to them, or
/// unpacked files. All of it can be made again from the images' blobs. What is kept is what the bundles need, what the images in the
/// default layout need, and what is in use. Prints the digests of what was removed.
#[derive(clap::Args)]
#[command(after_long_help = "Examples:
  bundle-tool gc
  bundle-tool gc --dry-run
  image-tool gc && bundle-tool gc")]
pub(crate) struct Gc {
    /// Print what would be removed, without removing it.
    #[arg(short = 'n', long)]
    dry_run: bool,
}

impl Gc {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let home = Home::from_environment();
        let cache = Cache::of(&home);
        let mut wanted = Wanted::default();
        stored::by_bundles(&home, &mut wanted).about("nothing removed")?;
        stored::by_images(&home, &mut wanted).about("nothing removed")?;
        let idle = if self.dry_run {
            let mut all = stock::list(&cache, &wanted)?;
            all.retain(|piece| piece.users == 0);
            all
        } else {
            stock::prune(&cache, &wanted)?
        };
        for piece in &idle {
            pipe::print_line(piece.digest.as_ref())?;
        }
        let what = if self.dry_run { "Reclaimable space" } else { "Total reclaimed space" };
        note(&format!("{what}: {}", human::size(idle.iter().map(|piece| piece.size).sum())));
        Ok(())
    }
}
