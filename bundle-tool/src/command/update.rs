use bundle_tool::bundle::annotation;
use bundle_tool::container::update;
use bundle_tool::journal;
use bundle_tool::option::limit::Host;
use image_tool::address::home::Home;
use image_tool::program::pipe;

use super::options::{self, Resources};
use super::{About as _, candidates, inspect, typed, warn};

/// Change the limits and the restart policy of a container.
///
/// The bundle is changed. If the container runs, its new limits are printed for `run-tool update --resources -`.
#[derive(clap::Args)]
#[command(
    args_override_self = true,
    after_long_help = "Examples:
  bundle-tool update --restart always web
  bundle-tool update --memory 128m web | run-tool update --resources - web"
)]
pub(crate) struct Update {
    #[command(flatten)]
    resources: Resources,
    /// Restart policy to apply when the container exits: no, on-failure[:N], always or unless-stopped.
    #[arg(long, value_name = "POLICY", add = candidates::words(&["no", "on-failure", "always", "unless-stopped"]))]
    restart: Option<String>,
    /// Container name, ID prefix or bundle path.
    #[arg(add = candidates::containers())]
    bundle: String,
}

impl Update {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let bundle = super::bundle(&self.bundle)?;
        let policy = self.restart.as_deref().map(options::restart_policy).transpose()?;
        if policy.as_ref().is_some_and(Option::is_some) && bundle.annotation(annotation::RM) == Some("true") {
            anyhow::bail!("{}: a container with --rm is not restarted", self.bundle);
        }
        let typed = inspect::given::<Self>(typed("update")).unwrap_or_default().into_iter();
        // A restart policy has an annotation of its own.
        let options = typed.filter(|(option, _)| !["bundle", "restart"].contains(&option.as_str()));
        let options = options.filter_map(|(option, mut values)| Some((option, values.pop()?))).collect();
        let mut limits = self.resources.limits();
        limits.discard(&Host::detect()).into_iter().for_each(warn);
        let limits = update::update(&bundle, &limits, options, policy).about(&self.bundle)?;
        journal::record_bundle(&Home::from_environment(), "update", &bundle, &bundle.name(), &[]);
        match limits.filter(|_| bundle.occupant().is_some()) {
            Some(limits) => pipe::print_line(&limits.to_string()),
            None => Ok(()),
        }
    }
}
