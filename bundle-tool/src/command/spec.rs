use bundle_tool::container;
use image_tool::address::home::Home;
use image_tool::program::limits::Limits;
use image_tool::program::pipe;

use super::options::Options;

/// Print the config.json that `create` would write.
///
/// Takes the options of `create`. The image's layers are unpacked, but no bundle is left behind; the paths are those that it would have.
#[derive(clap::Args)]
#[command(
    disable_help_flag = true,
    override_usage = "bundle-tool spec [OPTIONS] ADDRESS [COMMAND [ARGUMENT]...]",
    after_long_help = "Examples:
  bundle-tool spec --network none images:alpine sh
  bundle-tool spec --cap-drop ALL images:alpine | jq .process.capabilities"
)]
pub(crate) struct Spec {
    #[command(flatten)]
    limits: Limits,
    #[command(flatten)]
    options: Options,
}

impl Spec {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let home = Home::from_environment();
        let (mut request, _) = self.options.request(&home, false)?;
        request.limits = self.limits.get();
        let json = container::spec(&home, &request).map_err(|error| super::create::about(error, &request.address))?;
        pipe::print(json)
    }
}
