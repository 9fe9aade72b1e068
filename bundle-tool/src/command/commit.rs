use anyhow::Context as _;
use bundle_tool::container::change::{self, Commit as Settings};
use bundle_tool::journal;
use clap::ValueHint;
use image_tool::address::Address;
use image_tool::address::home::Home;
use image_tool::edit::Change;
use image_tool::program::pipe;
use jiff::Timestamp;

use super::{About as _, candidates};

/// Make a new image of a container's changes and print its address.
///
/// The container's changes become a new top layer on the image that it was made from. The command, the variables and all else that the
/// container was given in place of the image's own become the new image's, as with docker.
#[derive(clap::Args)]
#[command(after_long_help = "Examples:
  bundle-tool commit web images:web
  bundle-tool commit --change 'CMD [\"python3\", \"app.py\"]' --change 'ENV DEBUG=1' web images:web
  bundle-tool commit --message 'with curl' box images:box | registry-tool push - example.com/box")]
pub(crate) struct Commit {
    /// Author of the change, for the image's history.
    #[arg(short, long, value_name = "NAME")]
    author: Option<String>,
    /// Commit message, for the image's history.
    #[arg(short, long, value_name = "TEXT")]
    message: Option<String>,
    /// Apply a Dockerfile instruction to the image's config (CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL, ONBUILD, STOPSIGNAL, USER,
    /// VOLUME or WORKDIR); may be repeated.
    #[arg(short, long, value_name = "INSTRUCTION", add = candidates::words(candidates::INSTRUCTIONS))]
    change: Vec<Change>,
    /// Container name, ID prefix or bundle path, or - to read one from standard input.
    #[arg(add = candidates::containers())]
    bundle: String,
    /// Name of the new image, LAYOUT[:REF]; the layout is created if it does not exist.
    #[arg(value_hint = ValueHint::AnyPath)]
    address: Address,
}

impl Commit {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let bundle = super::bundle(&self.bundle)?;
        let created = match std::env::var("SOURCE_DATE_EPOCH") {
            Ok(text) => {
                text.parse().with_context(|| format!("SOURCE_DATE_EPOCH: {text:?} is not a number of seconds"))?
            }
            Err(_) => Timestamp::now().as_second(),
        };
        let settings = Settings {
            author: self.author,
            message: self.message,
            created,
            change: self.change.into_iter().reduce(Change::and),
        };
        let address = change::commit(&bundle, &self.address, &settings).about(&self.bundle)?;
        let (home, digest) = (Home::from_environment(), address.digest().map(ToString::to_string).unwrap_or_default());
        let name = address.reference().map(ToString::to_string).unwrap_or_default();
        let more =
            [("comment", settings.message.as_deref().unwrap_or_default()), ("imageID", &digest), ("imageRef", &name)];
        journal::record_bundle(&home, "commit", &bundle, &bundle.name(), &more);
        pipe::print_line(&address.to_string())
    }
}
