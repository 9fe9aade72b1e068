use anyhow::bail;
use bundle_tool::bundle::{Bundle, annotation};
use image_tool::address::Address;
use image_tool::address::home::Home;
use image_tool::layout::Layout;
use image_tool::program::pipe;
use image_tool::show::summary::Summary;

/// Print the containers that were made from an image.
///
/// With --last the command fails if there are any and the image would go with the name: a container whose image is gone cannot be committed.
#[derive(clap::Args)]
#[command(after_long_help = "Examples:
  bundle-tool users :busybox
  bundle-tool users --last :busybox && image-tool rm :busybox")]
pub(crate) struct Users {
    /// Fail if there are any, unless the image has another name.
    #[arg(long)]
    last: bool,
    /// Image.
    #[arg(value_name = "ADDRESS")]
    address: Address,
}

impl Users {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        // Of an image that is not there, there are none.
        let Ok(layout) = Layout::of(&self.address) else { return Ok(()) };
        let Ok(descriptor) = layout.resolve(&self.address) else { return Ok(()) };
        let Ok(image) = Summary::image(&layout, &descriptor) else { return Ok(()) };
        let digests = [descriptor.digest().to_string(), image.descriptor().digest().to_string()];
        let all = Bundle::list(&Home::from_environment().bundles())?;
        let users: Vec<&Bundle> = all
            .iter()
            .filter(|bundle| {
                bundle.annotation(annotation::DIGEST).is_some_and(|own| digests.iter().any(|known| known == own))
            })
            .collect();
        let entries = layout.index()?.entries()?;
        let names =
            entries.iter().filter(|(name, entry)| name.is_some() && entry.digest() == descriptor.digest()).count();
        if let Some(user) = users.first().filter(|_| self.last && names < 2) {
            let short = |text: &str| text.trim_start_matches("sha256:").chars().take(12).collect::<String>();
            let name = self.address.reference().map_or_else(|| self.address.to_string(), ToString::to_string);
            bail!(
                "conflict: unable to remove repository reference \"{name}\" (must force) - container {} is using its referenced image {}",
                short(user.annotation(annotation::ID).unwrap_or_default()),
                short(image.manifest().config().digest().as_ref())
            );
        }
        pipe::print(users.iter().map(|bundle| bundle.name() + "\n").collect::<String>())
    }
}
