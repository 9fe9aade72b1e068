use anyhow::Context as _;
use bundle_tool::bundle::annotation;
use bundle_tool::container;
use image_tool::address::home::Home;
use image_tool::program::pipe;

use super::note;
use super::options::Options;

/// Create a bundle from an image and print its path.
///
/// Takes the options of `docker run`. The root file system is an overlay on the image's layers, which all bundles share; if an overlay
/// cannot be mounted, it is a copy of the image. Any OCI runtime can run the bundle; the container's name is its ID there.
#[derive(clap::Args)]
#[command(
    disable_help_flag = true,
    override_usage = "bundle-tool create [OPTIONS] ADDRESS [COMMAND [ARGUMENT]...]",
    after_long_help = "Examples:
  bundle-tool create --name web -p 9998:8000 images:python:3.8 python3 -m http.server 8000
  bundle-tool create --bundle box --read-only --tmpfs /tmp --memory 256m images:alpine sh
  registry-tool pull alpine images | bundle-tool create --network none -"
)]
pub(crate) struct Create {
    #[command(flatten)]
    options: Options,
}

impl Create {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let home = Home::from_environment();
        let (mut request, notes) = self.options.request(&home)?;
        request.annotations.insert(annotation::ARGUMENTS.into(), arguments());
        // The library's errors do not name the image.
        let made = container::create(&home, &request).map_err(|error| about(error, &request.address))?;
        notes.iter().chain(&made.notes).for_each(|text| note(text));
        let path = made.bundle.to_str().context("the bundle's path is not UTF-8")?;
        pipe::print_line(path)
    }
}

/// The words after `create`, from which `inspect` reads docker's options again, as a JSON array.
fn arguments() -> String {
    let words = std::env::args_os().skip_while(|word| word != "create").skip(1);
    let words: Vec<String> = words.map(|word| word.to_string_lossy().into_owned()).collect();
    serde_json::to_string(&words).expect("strings are JSON")
}

/// Adds the image to an error that is about it and does not name it.
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
