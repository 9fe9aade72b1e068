use anyhow::bail;
use bundle_tool::bundle::name::ContainerName;
use bundle_tool::{container, journal};
use image_tool::address::home::Home;
use image_tool::program::caller::caller;

use super::{About as _, candidates};

/// Give a container another name.
///
/// The container may run. Its ID for the runtime stays the name that it was created with.
#[derive(clap::Args)]
#[command(after_long_help = "Examples:
  bundle-tool rename web old-web")]
pub(crate) struct Rename {
    /// Container name, ID prefix or bundle path.
    #[arg(add = candidates::containers())]
    bundle: String,
    /// New name.
    name: ContainerName,
}

impl Rename {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let bundle = super::bundle(&self.bundle)?;
        if caller().is_some() && bundle.name() == self.name.as_str() {
            bail!("Error response from daemon: Renaming a container with the same name as its current name");
        }
        let home = Home::from_environment();
        container::rename(&home, &bundle, &self.name).about(&self.bundle)?;
        let old = format!("/{}", bundle.name());
        journal::record_bundle(&home, "rename", &bundle, self.name.as_str(), &[("oldName", &old)]);
        Ok(())
    }
}
