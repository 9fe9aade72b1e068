use anyhow::Context as _;
use bundle_tool::container::change::{self, Commit as Settings};
use bundle_tool::container::instruction::Change;
use image_tool::address::Address;
use image_tool::program::pipe;
use jiff::Timestamp;

use super::About as _;

/// Make what a container changed the top layer of a new image, and print its address.
#[derive(clap::Args)]
pub(crate) struct Commit {
    /// The author, for the image's history.
    #[arg(short, long, value_name = "NAME")]
    author: Option<String>,
    /// A remark, for the image's history.
    #[arg(short, long, value_name = "TEXT")]
    message: Option<String>,
    /// Change the image's config by an instruction of a Dockerfile: CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, STOPSIGNAL, USER, VOLUME,
    /// WORKDIR.
    #[arg(short, long, value_name = "INSTRUCTION")]
    change: Vec<Change>,
    /// The bundle: a container's name, a path, the first digits of an id, or - to read one from standard input.
    bundle: String,
    /// The new image, as LAYOUT[:REF]; a layout that is not there is made.
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
        let settings = Settings { author: self.author, message: self.message, created, changes: self.change };
        let address = change::commit(&bundle, &self.address, &settings).about(&self.bundle)?;
        Ok(pipe::print_line(&address.to_string())?)
    }
}
