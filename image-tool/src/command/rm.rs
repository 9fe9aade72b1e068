use anyhow::{Result, anyhow};
use clap::Args;
use image_tool::address::digest::{self, Digest};
use image_tool::address::name;
use image_tool::address::{Address, RefName};
use image_tool::layout::journal;
use image_tool::layout::{self, Index, Layout};
use image_tool::program::caller::caller;
use image_tool::program::{dockers, pipe, say};
use image_tool::show::summary::Summary;

use super::TOOL;
use super::operand::named;

/// Remove names; an image goes with its last name.
///
/// As long as an image has other names, only the given name is removed. An image ID, or its first digits, removes an image that has
/// a single name, or, with --force, all names. The blobs stay until gc removes them.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  image-tool rm :python:3.8
  image-tool rm --force :0a1b2c3d4e5f
  image-tool rm images:old images:older && image-tool gc images")]
pub(crate) struct Rm {
    /// Names or IDs of images.
    #[arg(required = true, value_name = "ADDRESS")]
    addresses: Vec<Address>,
    /// Remove all names of an image that is given by its ID, and ignore images that do not exist.
    #[arg(short, long)]
    force: bool,
    /// Keep an image without a name when its last one goes.
    #[arg(long)]
    keep: bool,
}

impl Rm {
    pub(crate) fn run(self) -> Result<()> {
        let mut failure = None;
        for address in &self.addresses {
            let removed = self.remove(address).map_err(|error| told(error, address));
            if let Err(error) = removed {
                let absent = matches!(
                    error.downcast_ref(),
                    Some(layout::Error::NoSuchImage { .. } | layout::Error::NoLayout { .. })
                );
                if self.force && absent {
                    // docker tells of it, though it does not fail.
                    if caller().is_some() {
                        TOOL.say(&format!("{:#}", dockers::words(error)));
                    }
                    continue;
                }
                if let Some(earlier) = failure.replace(error) {
                    TOOL.say(&format!("{:#}", dockers::words(earlier)));
                }
            }
        }
        failure.map_or(Ok(()), Err)
    }

    fn remove(&self, address: &Address) -> Result<()> {
        let layout = Layout::of(address)?;
        // Resolve under the lock, so that what is removed is what was found.
        let lock = layout.lock_index()?;
        let mut index = layout.index()?;
        let descriptor = layout.resolve(address)?;
        let names = names_of(&index, descriptor.digest())?;
        let mut untagged = 0;
        let named = address.reference().filter(|wanted| names.iter().any(|known| name::equal(known, wanted.as_str())));
        match named {
            Some(reference) if address.digest().is_none() => untag(&mut index, reference, &mut untagged)?,
            _ => {
                if names.len() > 1 && !self.force {
                    let id = Summary::image(&layout, &descriptor)?.manifest().config().digest().clone();
                    return Err(Several { id, names }.into());
                }
                for name in index.remove_image(descriptor.digest()) {
                    tell(&format!("Untagged: {}", name::short(&name)))?;
                    untagged += 1;
                }
            }
        }
        let is_listed = |index: &Index| -> Result<bool> {
            Ok(index.descriptors()?.iter().any(|entry| entry.digest() == descriptor.digest()))
        };
        if self.keep && !is_listed(&index)? {
            index.add(&descriptor);
        }
        let id = Summary::image(&layout, &descriptor).map(|image| image.manifest().config().digest().clone());
        layout.replace_index(&lock, &index)?;
        (0..untagged).for_each(|_| journal::record_image(&layout, "untag", &descriptor, None));
        if !is_listed(&index)? {
            journal::record_image(&layout, "delete", &descriptor, None);
            // docker's ID is that of the config.
            let digest =
                if caller().is_some() { id.as_ref().unwrap_or(descriptor.digest()) } else { descriptor.digest() };
            tell(&format!("Deleted: {digest}"))?;
        }
        Ok(())
    }
}

/// An image that is to be removed by its ID has more names than one.
#[derive(Debug, thiserror::Error)]
#[error("{} names for this image (choose one or use --force): {}", .names.len(), .names.join(" "))]
struct Several {
    id: Digest,
    names: Vec<String>,
}

fn told(error: anyhow::Error, address: &Address) -> anyhow::Error {
    match (caller(), error.downcast_ref()) {
        (Some(_), Some(Several { id, .. })) => anyhow!(dockers::daemon(&format!(
            "conflict: unable to delete {} (must be forced) - image is referenced in multiple repositories",
            digest::short(id)
        ))),
        _ => named(error, address),
    }
}

fn untag(index: &mut Index, reference: &RefName, count: &mut usize) -> Result<()> {
    if index.remove(reference) {
        *count += 1;
        tell(&format!("Untagged: {}", name::short(reference.as_str())))?;
    }
    Ok(())
}

/// Says what was done, to people; docker's command has it on standard output.
fn tell(line: &str) -> Result<()> {
    if caller().is_some() {
        return pipe::print_line(line);
    }
    say(line);
    Ok(())
}

fn names_of(index: &Index, digest: &Digest) -> Result<Vec<String>> {
    let entries = index.entries()?.into_iter().filter(|(_, descriptor)| descriptor.digest() == digest);
    Ok(entries.filter_map(|(name, _)| name).collect())
}
