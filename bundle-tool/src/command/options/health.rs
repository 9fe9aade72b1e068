//! The health check, which the runtime runs.

use bundle_tool::config::image::Healthcheck;
use bundle_tool::option::boolean;
use clap::{ArgAction, ValueHint};
use image_tool::edit::span::Span;

use super::refuse;

#[derive(clap::Args)]
#[command(next_help_heading = "Health")]
pub(super) struct Health {
    /// Command to run to check health.
    #[arg(long, value_name = "COMMAND", allow_hyphen_values = true, value_hint = ValueHint::CommandString)]
    pub(super) health_cmd: Option<String>,
    /// Time between two checks, such as 30s or 1m [default: the image's, or 30s].
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    pub(super) health_interval: Option<Span>,
    /// Maximum time to allow one check to run [default: the image's, or 30s].
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    pub(super) health_timeout: Option<Span>,
    /// Time for the container to initialize before failures are counted [default: the image's, or 0s].
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    pub(super) health_start_period: Option<Span>,
    /// Consecutive failures needed to report unhealthy [default: the image's, or 3].
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub(super) health_retries: Option<u64>,
    /// Disable any health check of the image.
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", hide_default_value = true, hide_possible_values = true, value_name = "BOOL", value_parser = boolean::parse, action = ArgAction::Set)]
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
                return refuse("--no-healthcheck", "cannot be combined with other health options");
            }
            return Ok(Some(Healthcheck { test: vec!["NONE".into()], ..Healthcheck::default() }));
        }
        if !given {
            return Ok(None);
        }
        // Docker's table of what is too short.
        const LEAST: u64 = 1_000_000;
        let times = [
            ("--health-interval", self.health_interval),
            ("--health-timeout", self.health_timeout),
            ("--health-start-period", self.health_start_period),
        ];
        let short = |span: &Option<Span>| span.is_some_and(|span| (1..LEAST).contains(&span.nanoseconds()));
        if let Some((option, _)) = times.iter().find(|(_, span)| short(span)) {
            return refuse(option, "cannot be less than 1ms");
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
