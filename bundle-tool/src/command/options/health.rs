//! How a container's health is checked.

use bundle_tool::config::image::Healthcheck;
use bundle_tool::option::quantity::Span;
use clap::ArgAction;

use super::refuse;

#[derive(clap::Args)]
#[command(next_help_heading = "Health")]
pub(super) struct Health {
    /// Check the program's health by this command of the shell.
    #[arg(long, value_name = "COMMAND")]
    pub(super) health_cmd: Option<String>,
    /// Time between two checks.
    #[arg(long, value_name = "DURATION")]
    pub(super) health_interval: Option<Span>,
    /// How long a check may take.
    #[arg(long, value_name = "DURATION")]
    pub(super) health_timeout: Option<Span>,
    /// Time after the start in which failures do not count.
    #[arg(long, value_name = "DURATION")]
    pub(super) health_start_period: Option<Span>,
    /// Failures in a row that make the program unhealthy.
    #[arg(long, value_name = "N")]
    pub(super) health_retries: Option<u64>,
    /// Do not check, whatever the image says.
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", hide_default_value = true, value_name = "BOOL", action = ArgAction::Set)]
    pub(super) no_healthcheck: bool,
}

impl Health {
    pub(super) fn healthcheck(&self) -> anyhow::Result<Option<Healthcheck>> {
        let given = self.health_cmd.is_some()
            || self.health_interval.is_some()
            || self.health_timeout.is_some()
            || self.health_start_period.is_some()
            || self.health_retries.is_some();
        if self.no_healthcheck {
            if given {
                return refuse("--no-healthcheck", "does not go with the other options of health");
            }
            return Ok(Some(Healthcheck { test: vec!["NONE".into()], ..Healthcheck::default() }));
        }
        if !given {
            return Ok(None);
        }
        let nanoseconds = |span: Option<Span>| span.map_or(0, Span::nanoseconds);
        Ok(Some(Healthcheck {
            // Without a command, the image's.
            test: self.health_cmd.iter().flat_map(|command| ["CMD-SHELL".to_owned(), command.clone()]).collect(),
            interval: nanoseconds(self.health_interval),
            timeout: nanoseconds(self.health_timeout),
            start_period: nanoseconds(self.health_start_period),
            retries: self.health_retries.unwrap_or(0),
        }))
    }
}
