use std::io;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use image_tool::address::home::Home;
use image_tool::layout::journal::{Event, Reader};
use image_tool::program::caller::caller;
use image_tool::program::{dockers, pipe};
use image_tool::show::template::{self, Struct, Template, Value};
use image_tool::show::{human, moment};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::Rejected;
use super::filter::{Filter, Filters};

/// Print what happens to containers, images, volumes and networks.
///
/// Events come from the journal events.jsonl in $OCI_HOME, in which each program records what it does; no program has to run for that.
/// Without --until, waits for more.
#[derive(clap::Args)]
#[command(after_long_help = "Examples:
  bundle-tool events --since 1h --until 0s
  bundle-tool events --filter container=web --filter event=die --format '{{json .}}'")]
pub(crate) struct Events {
    /// Show only matching events; may be repeated.
    ///
    /// The keys are container, event, image, label (KEY or KEY=VALUE), network, scope, type and volume.
    #[arg(short, long, value_name = "KEY=VALUE")]
    filter: Vec<Filter>,
    /// Format each event with a Go template, or as `json`.
    #[arg(long, value_name = "TEMPLATE")]
    format: Option<String>,
    /// Begin with events of this time: a date, seconds since 1970, or how long ago, such as 10m [default: now, or with --until the first].
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// End at this time.
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
}

/// docker's keys of filters. Those of swarm and plugins fit no event.
const KEYS: [&str; 13] = [
    "config",
    "container",
    "daemon",
    "event",
    "image",
    "label",
    "network",
    "node",
    "plugin",
    "scope",
    "secret",
    "type",
    "volume",
];

impl Events {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let filters = Filters::of(&self.filter, &KEYS)?;
        let template = template(self.format.as_deref().unwrap_or_default())?;
        let now = Timestamp::now();
        let time = |text: &Option<String>| text.as_deref().map(|text| moment::parse(text, now)).transpose();
        let (since, until) = (time(&self.since).context("--since")?, time(&self.until).context("--until")?);
        if let (Some(since), Some(until)) = (since, until)
            && until < since
        {
            let text = format!("`since` time ({since}) cannot be after `until` time ({until})");
            bail!(if caller().is_some() { dockers::daemon(&text) } else { text });
        }
        // With an end alone it is what has happened until then that is asked for.
        let default = if until.is_some() { Timestamp::MIN } else { now };
        let since = since.unwrap_or(default).as_nanosecond();
        let until = until.map(Timestamp::as_nanosecond);
        let mut reader = Reader::open(&Home::from_environment())?;
        loop {
            while let Some(event) = reader.event() {
                let time = i128::from(event.time_nano);
                if time >= since && until.is_none_or(|until| time <= until) && wants(&event, filters) {
                    pipe::print_exactly(line(&event, template.as_ref())? + "\n")?;
                }
            }
            let left = until.map(|until| until - Timestamp::now().as_nanosecond());
            let left = match left {
                Some(..=0) => return Ok(()),
                left => left.map(|left| Duration::from_nanos(u64::try_from(left).unwrap_or(u64::MAX))),
            };
            reader.wait(left).context("wait for events")?;
        }
    }
}

/// Reads a format. Before anything happens, it is tried on an event about nothing.
fn template(format: &str) -> anyhow::Result<Option<Template>> {
    let text = match format {
        "" => return Ok(None),
        "json" => "{{json .}}",
        text => text,
    };
    let wrong = |error: template::Error| Rejected::new(anyhow!("Error parsing format: {error}"), 64);
    let parsed: Template = text.parse().map_err(wrong)?;
    parsed.fill_in(&value(&Event::default()), &io::stdout()).map_err(wrong)?;
    Ok(Some(parsed))
}

fn line(event: &Event, template: Option<&Template>) -> anyhow::Result<String> {
    if let Some(template) = template {
        return template.fill_in(&value(event), &io::stdout()).context("template parsing error");
    }
    let time = Timestamp::from_nanosecond(event.time_nano.into()).unwrap_or(Timestamp::UNIX_EPOCH);
    let time = time.to_zoned(TimeZone::system()).strftime("%Y-%m-%dT%H:%M:%S%.9f%:z").to_string();
    let attributes: Vec<String> = event.actor.attributes.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let attributes = if attributes.is_empty() { String::new() } else { format!(" ({})", attributes.join(", ")) };
    let text =
        format!("{} {} {} {}{attributes}", time.replace("+00:00", "Z"), event.kind, event.action, event.actor.id);
    Ok(human::plain(&text))
}

/// docker's `events.Message`.
fn value(event: &Event) -> Value {
    let actor = Struct::new("events.Actor")
        .with("ID", &event.actor.id)
        .with("Attributes", Value::map(event.actor.attributes.clone()));
    Struct::new("*events.Message")
        .unless_empty("status", event.status.as_str())
        .hidden("Status", event.status.as_str())
        .unless_empty("id", event.id.as_str())
        .hidden("ID", event.id.as_str())
        .unless_empty("from", event.from.as_str())
        .hidden("From", event.from.as_str())
        .with("Type", event.kind.as_str())
        .with("Action", event.action.as_str())
        .with("Actor", actor)
        .with("scope", event.scope.as_str())
        .hidden("Scope", event.scope.as_str())
        .with("time", event.time)
        .hidden("Time", event.time)
        .with("timeNano", event.time_nano)
        .hidden("TimeNano", event.time_nano)
        .into()
}

fn wants(event: &Event, filters: Filters<'_>) -> bool {
    let attribute = |key: &str| event.actor.attributes.get(key).map(String::as_str).unwrap_or_default();
    let is_actor = |kind: &str, value: &str| {
        event.kind == kind
            // As docker has it, by the begin of either.
            && (event.actor.id.starts_with(value) || attribute("name").starts_with(value))
    };
    let is_image = |value: &str| {
        let image = if event.kind == "image" { attribute("name") } else { attribute("image") };
        image == value || image.rsplit_once(':').is_some_and(|(repository, _)| repository == value)
    };
    filters.any("event", |value| event.action == value || event.action.split(':').next() == Some(value))
        && filters.any("type", |value| event.kind == value)
        && filters.any("scope", |value| event.scope == value)
        && filters.any("container", |value| is_actor("container", value))
        && filters.any("volume", |value| is_actor("volume", value))
        && filters.any("network", |value| is_actor("network", value))
        && filters.any("image", is_image)
        && filters.labels(&event.actor.attributes)
        && ["config", "daemon", "node", "plugin", "secret"].iter().all(|key| filters.any(key, |_| false))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_dockers_and_filters_choose() {
        let mut event =
            Event { kind: "container".into(), action: "die".into(), time_nano: 1_500_000_000, ..Event::default() };
        event.actor.id = "0123456789".into();
        event.actor.attributes =
            [("name", "web"), ("image", "bb:1"), ("a", "b")].map(|(key, value)| (key.into(), value.into())).into();
        let shown = line(&event, None).unwrap();
        assert!(shown.ends_with(" container die 0123456789 (a=b, image=bb:1, name=web)"), "{shown}");
        for (filter, expected) in [
            ("container=web", true),
            ("container=0123", true),
            ("container=we", true),
            ("container=eb", false),
            ("container=", true),
            ("container=db", false),
            ("event=die", true),
            ("type=volume", false),
            ("image=bb", true),
            ("label=a=b", true),
            ("label=c", false),
        ] {
            let filters: Vec<Filter> = vec![filter.parse().unwrap()];
            assert_eq!(wants(&event, Filters::of(&filters, &KEYS).unwrap()), expected, "{filter}");
        }
    }
}
