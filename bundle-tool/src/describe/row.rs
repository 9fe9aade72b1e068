//! The rows of docker ps.

use image_tool::address::home::Home;
use image_tool::show::format::List;
use image_tool::show::template::{Struct, Value, quote};
use image_tool::show::{human, table};
use jiff::Timestamp;

use super::mount::attached;
use super::size::Size;
use crate::bundle::annotation;
use crate::container::status::Container;
use crate::describe::image::Names;

/// docker's list.
pub const LIST: List<'static> = List {
    headings: &[
        ("ID", "CONTAINER ID"),
        ("Names", "NAMES"),
        ("Image", "IMAGE"),
        ("Command", "COMMAND"),
        ("CreatedAt", "CREATED AT"),
        ("RunningFor", "CREATED"),
        ("Ports", "PORTS"),
        ("State", "STATE"),
        ("Status", "STATUS"),
        ("Size", "SIZE"),
        ("Labels", "LABELS"),
        ("Mounts", "MOUNTS"),
        ("LocalVolumes", "LOCAL VOLUMES"),
        ("Networks", "NETWORKS"),
        ("Platform", "PLATFORM"),
        ("HealthStatus", "HEALTH STATUS"),
        ("Bundle", "BUNDLE"),
    ],
    narrowest: table::NARROW,
};

/// A container as a row, with text of an image, a bundle or a runtime as it is.
#[must_use]
pub fn row(
    container: &Container,
    (home, images): (&Home, &Names),
    now: Timestamp,
    truncates: bool,
    size: Option<Size>,
) -> Value {
    let short = |text: &str, length: usize| if truncates { ellipsis(text, length) } else { text.to_owned() };
    let id = container.id();
    let labels = container.labels();
    let shown: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let created = container.created();
    let mounts = attached(container, home);
    let names: Vec<String> = mounts.iter().map(|mount| short(mount.label(), 15)).collect();
    let volumes = mounts.iter().filter(|mount| mount.kind == "volume").count();
    let health = Some(container.health()).filter(|health| *health != "none").unwrap_or_default().to_owned();
    // The order of JSON is that of docker's fields, sorted.
    Struct::new("*formatter.ContainerContext")
        .with("Command", quote(&short(&command(&container.command()), 20)))
        .with(
            "CreatedAt",
            created.map(|time| time.strftime("%Y-%m-%d %H:%M:%S +0000 UTC").to_string()).unwrap_or_default(),
        )
        .with("ID", if truncates { id.get(..12).unwrap_or(&id) } else { &id })
        .with("Image", images.of(container, truncates))
        .with("Labels", shown.join(","))
        .with("LocalVolumes", volumes.to_string())
        .with("Mounts", names.join(","))
        .with("Names", container.name())
        .with("Networks", networks(container).join(","))
        // Ports lead nowhere while the container does not run.
        .with("Ports", if container.is_up() { container.annotation(annotation::PORTS).unwrap_or_default() } else { "" })
        .with("RunningFor", created.map(|time| human::ago(time, now)).unwrap_or_default())
        .with("Size", size.map_or_else(|| "0B".into(), sizes))
        .with("State", container.state())
        .with("Status", status(container, now))
        // docker 20.10 lacks these.
        .hidden("HealthStatus", health)
        .hidden("Platform", "linux")
        .hidden("Bundle", container.bundle().map(|path| path.display().to_string()).unwrap_or_default())
        .hidden(
            "Label",
            Value::Method(std::rc::Rc::new(move |key: &str| labels.get(key).cloned().unwrap_or_default().into())),
        )
        .into()
}

/// docker's words for the time that a container has been in its state.
#[must_use]
pub fn status(container: &Container, now: Timestamp) -> String {
    let Some(state) = container.runtime() else { return "Created".into() };
    let since = |text: &str| text.parse::<Timestamp>().map(|time| human::duration(now.as_second() - time.as_second()));
    let ended = state.exit_time.as_deref().and_then(|text| since(text).ok());
    let ended = ended.map(|time| format!(" {time} ago")).unwrap_or_default();
    let status = state.exit_status.map(|status| format!(" ({status})")).unwrap_or_default();
    match container.state() {
        "running" => {
            let health = match container.health() {
                "none" => String::new(),
                "starting" => " (health: starting)".into(),
                health => format!(" ({health})"),
            };
            format!("Up {}{health}", since(&state.created).unwrap_or_default())
        }
        "paused" => format!("Up {} (Paused)", since(&state.created).unwrap_or_default()),
        "restarting" => format!("Restarting{status}{ended}"),
        "exited" => format!("Exited{status}{ended}"),
        _ => "Created".into(),
    }
}

/// The network of a container, by docker's name for it; absent if it shares that of another.
#[must_use]
pub fn network(container: &Container) -> Option<String> {
    match container.plan() {
        // It may have been disconnected from all.
        Some(plan) => Some(plan.network).filter(|name| !name.is_empty()),
        None => {
            let mode = container.annotation(annotation::NETWORK_MODE).unwrap_or("none");
            (!mode.starts_with("container:")).then(|| mode.to_owned())
        }
    }
}

/// All networks of a container.
fn networks(container: &Container) -> Vec<String> {
    let others = container.plan().into_iter().flat_map(|plan| plan.others).map(|plan| plan.network);
    network(container).into_iter().chain(others).collect()
}

/// The command line as docker lists it: an argument with a blank is in single quotes.
fn command(words: &[String]) -> String {
    let Some((program, arguments)) = words.split_first() else { return String::new() };
    let shown = arguments.iter().map(|word| if word.contains(' ') { format!("'{word}'") } else { word.clone() });
    std::iter::once(program.clone()).chain(shown).collect::<Vec<_>>().join(" ")
}

/// docker's text for the sizes of a container.
fn sizes(size: Size) -> String {
    let own = human::size(size.own);
    if size.all == 0 { own } else { format!("{own} (virtual {})", human::size(size.all)) }
}

/// Truncates text to `length` characters, the last of which is then an ellipsis.
#[must_use]
pub fn ellipsis(text: &str, length: usize) -> String {
    if text.chars().count() <= length {
        return text.to_owned();
    }
    text.chars().take(length.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests;
