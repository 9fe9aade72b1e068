use anyhow::{anyhow, bail};
use bundle_tool::bundle::annotation;
use bundle_tool::container::status::Container;
use image_tool::address::Address;
use image_tool::address::digest;
use image_tool::address::home::Home;
use image_tool::address::name;
use image_tool::layout::{Image, Layout};
use image_tool::program::caller::caller;
use image_tool::program::{dockers, pipe};
use image_tool::show::summary::Summary;
use oci_spec::image::Descriptor;

use super::joined;

/// Print the containers that were made from an image.
///
/// Reads a runtime's list of containers from standard input, to know which of them run; without one, none does.
#[derive(clap::Args)]
#[command(after_long_help = "Examples:
  bundle-tool users :busybox
  run-tool list --format json | bundle-tool users --removing :busybox && image-tool rm :busybox")]
pub(crate) struct Users {
    /// Fail if the image would go with the name while containers need it, and print only those for which it must stay without a name.
    ///
    /// An image that is given by its ID cannot be removed while a container runs, and a container whose image is gone cannot be committed.
    #[arg(long)]
    removing: bool,
    /// With --removing, leave to themselves those containers that do not run.
    #[arg(long, requires = "removing")]
    force: bool,
    /// Image.
    #[arg(value_name = "ADDRESS")]
    address: Address,
}

/// An image that is to be removed, and who uses it.
struct Removal<'a> {
    address: &'a Address,
    id: String,
    /// Its refs.
    names: Vec<String>,
    users: Vec<&'a Container>,
}

impl Users {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        // Of an image that is not there, there are none.
        let Ok(layout) = Layout::of(&self.address) else { return Ok(()) };
        let Ok(descriptor) = layout.resolve(&self.address) else { return Ok(()) };
        let Ok(image) = Summary::image(&layout, &descriptor) else { return Ok(()) };
        let all = joined::containers_or_bundles(&Home::from_environment(), "users")?;
        let mut users: Vec<&Container> = all.iter().filter(|container| is_of(container, &descriptor, &image)).collect();
        if self.removing {
            let entries =
                layout.index()?.entries()?.into_iter().filter(|(_, entry)| entry.digest() == descriptor.digest());
            let names = entries.filter_map(|(name, _)| name).collect();
            let id = digest::short(image.manifest().config().digest()).to_owned();
            let removal = Removal { address: &self.address, id, names, users };
            removal.check(self.force).map_err(|conflict| match caller() {
                Some(_) => anyhow!(dockers::daemon(&conflict.to_string())),
                None => conflict,
            })?;
            users = removal.users;
            users.retain(|user| user.is_up());
        }
        pipe::print(users.iter().map(|user| user.name() + "\n").collect::<String>())
    }
}

fn is_of(container: &Container, descriptor: &Descriptor, image: &Image) -> bool {
    let own = container.annotation(annotation::DIGEST);
    own.is_some_and(|own| own == descriptor.digest().as_ref() || own == image.descriptor().digest().as_ref())
}

impl Removal<'_> {
    /// docker's rules of what cannot be removed, and its words.
    fn check(&self, force: bool) -> anyhow::Result<()> {
        let (running, stopped): (Vec<&Container>, _) = self.users.iter().partition(|user| user.is_up());
        let short = |user: &Container| user.id().chars().take(12).collect::<String>();
        let id = &self.id;
        let named = self.address.reference().filter(|_| self.address.digest().is_none());
        match named.filter(|wanted| self.names.iter().any(|own| name::equal(own, wanted.as_str()))) {
            // By one of its names: with others it stays.
            Some(name) => match self.users.first().filter(|_| !force && self.names.len() == 1) {
                Some(user) => bail!(
                    "conflict: unable to remove repository reference \"{name}\" (must force) - container {} is using its referenced image {id}",
                    short(user)
                ),
                None => Ok(()),
            },
            None => match (running.first(), stopped.first()) {
                (Some(user), _) => bail!(
                    "conflict: unable to delete {id} (cannot be forced) - image is being used by running container {}",
                    short(user)
                ),
                // Several names are a reason of their own, which image-tool tells.
                (None, Some(user)) if !force && self.names.len() < 2 => bail!(
                    "conflict: unable to delete {id} (must be forced) - image is being used by stopped container {}",
                    short(user)
                ),
                _ => Ok(()),
            },
        }
    }
}
