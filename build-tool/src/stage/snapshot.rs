//! A read-only view of the root file system of a stage or an image.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use bundle_tool::rootfs::{self, Overlay};
use image_tool::beneath::Root;
use image_tool::error::During as _;

/// Stacks the directories `lower`, the lowest first, and opens the result. `folder` is an empty folder of the caller's.
///
/// The mount belongs to the namespace of a thread that ends here. Only the descriptor keeps it, so nothing has to be
/// unmounted.
pub fn open(lower: Vec<PathBuf>, folder: &Path) -> Result<Root, rootfs::Error> {
    let target = folder.join("rootfs");
    fs::create_dir(&target).during("open", &target)?;
    std::thread::scope(|scope| {
        let work = || {
            rootfs::private_namespace()?;
            if !lower.is_empty() {
                Overlay::new(lower).mount(&target)?;
            }
            Ok(Root::open(&target).map_err(io::Error::other).during("open", &target)?)
        };
        scope.spawn(work).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
