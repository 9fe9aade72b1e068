use anyhow::{Result, bail};
use clap::Args;
use image_tool::address::name;
use image_tool::address::{Address, RefName};
use image_tool::layout::{self, Index, Layout};

use super::operand::named;
use super::print::say;

/// Remove names, and with its last name an image.
///
/// A name is removed alone, as long as the image has others. An image's identity, or the first digits of it, removes the
/// image if it has one name, or with --force however many it has. The blobs stay until gc.
#[derive(Args)]
pub(crate) struct Rm {
    /// Names or identities of images.
    #[arg(required = true, value_name = "ADDRESS")]
    addresses: Vec<Address>,
    /// Remove an image by its identity with all its names; do not mind that one is not there.
    #[arg(short, long)]
    force: bool,
}

impl Rm {
    pub(crate) fn run(self) -> Result<()> {
        let mut failure = None;
        for address in &self.addresses {
            let removed = self.remove(address).map_err(|error| named(error, address));
            if let Err(error) = removed {
                let absent = matches!(
                    error.downcast_ref(),
                    Some(layout::Error::NoSuchImage { .. } | layout::Error::NoLayout { .. })
                );
                if self.force && absent {
                    continue;
                }
                if let Some(earlier) = failure.replace(error) {
                    say(&format!("image-tool: {earlier:#}"));
                }
            }
        }
        failure.map_or(Ok(()), Err)
    }

    fn remove(&self, address: &Address) -> Result<()> {
        let layout = Layout::of(address)?;
        // Looked up under the lock: what is removed is what was found.
        let lock = layout.lock_index()?;
        let mut index = layout.index()?;
        let descriptor = layout.resolve(address)?;
        let names = names_of(&index, descriptor.digest())?;
        let named = address.reference().filter(|wanted| names.iter().any(|known| name::equal(known, wanted.as_str())));
        match named {
            Some(reference) if address.digest().is_none() => untag(&mut index, reference),
            _ => {
                if names.len() > 1 && !self.force {
                    bail!("{} names mean this image, name one or use --force: {}", names.len(), names.join(" "));
                }
                for name in index.remove_image(descriptor.digest()) {
                    say(&format!("Untagged: {}", shown(&name)));
                }
            }
        }
        layout.replace_index(&lock, &index)?;
        if names_of(&index, descriptor.digest())?.is_empty()
            && !index.descriptors()?.iter().any(|entry| entry.digest() == descriptor.digest())
        {
            say(&format!("Deleted: {}", descriptor.digest()));
        }
        Ok(())
    }
}

fn untag(index: &mut Index, reference: &RefName) {
    if index.remove(reference) {
        say(&format!("Untagged: {}", shown(reference.as_str())));
    }
}

fn shown(reference: &str) -> String {
    let (repository, tag) = name::familiar(reference);
    format!("{repository}:{tag}")
}

fn names_of(index: &Index, digest: &image_tool::address::digest::Digest) -> Result<Vec<String>> {
    let entries = index.entries()?.into_iter().filter(|(_, descriptor)| descriptor.digest() == digest);
    Ok(entries.filter_map(|(name, _)| name).collect())
}
