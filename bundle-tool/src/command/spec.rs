use bundle_tool::container;
use image_tool::address::home::Home;

use super::options::Options;
use super::print_bytes;

/// Print the config.json that `create` would write.
///
/// Takes the same options. Nothing is made but unpacked layers, and the paths in it are those that the bundle would have.
#[derive(clap::Args)]
#[command(disable_help_flag = true, override_usage = "bundle-tool spec [OPTIONS] ADDRESS [COMMAND [ARGUMENT]...]")]
pub(crate) struct Spec {
    #[command(flatten)]
    options: Options,
}

impl Spec {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let home = Home::from_environment();
        let (request, _) = self.options.request(&home)?;
        let json = container::spec(&home, &request).map_err(|error| super::create::about(error, &request.address))?;
        print_bytes(&json)
    }
}
