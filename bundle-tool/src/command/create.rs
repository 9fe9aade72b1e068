use anyhow::Context as _;
use bundle_tool::container;
use image_tool::address::home::Home;
use image_tool::program::pipe;

use super::note;
use super::options::Options;

/// Make a bundle from an image, with docker run's options, and print its path.
///
/// The root file system is an overlay on the image's layers, which are unpacked once for all bundles, else a plain copy of the image.
/// Any OCI runtime runs the bundle; the container's id is its name.
#[derive(clap::Args)]
#[command(disable_help_flag = true, override_usage = "bundle-tool create [OPTIONS] ADDRESS [COMMAND [ARGUMENT]...]")]
pub(crate) struct Create {
    #[command(flatten)]
    options: Options,
}

impl Create {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let home = Home::from_environment();
        let (request, notes) = self.options.request(&home)?;
        // The library's errors name the image where the image is at fault, not the option.
        let made = container::create(&home, &request).map_err(|error| about(error, &request.address))?;
        notes.iter().chain(&made.notes).for_each(|text| note(text));
        let path = made.bundle.to_str().context("the bundle's path is not UTF-8")?;
        Ok(pipe::print_line(path)?)
    }
}

/// Names the image in an error that is about it and does not do so itself.
pub(super) fn about(error: container::Error, address: &image_tool::address::Address) -> anyhow::Error {
    use container::Error;
    let named = matches!(
        &error,
        Error::Layout(
            image_tool::layout::Error::NoSuchImage { .. }
                | image_tool::layout::Error::Ambiguous { .. }
                | image_tool::layout::Error::NoPlatform { .. }
                | image_tool::layout::Error::NoLayout { .. }
        ) | Error::Refused(_)
            | Error::Bundle(_)
            | Error::Network(_)
            | Error::Volume(_)
            | Error::IdFile(_)
    ) || matches!(&error, Error::Config(bundle_tool::config::Error::Refused(_)));
    if named { error.into() } else { anyhow::Error::new(error).context(address.to_string()) }
}
