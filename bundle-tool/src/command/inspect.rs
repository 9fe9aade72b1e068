use std::collections::BTreeMap;
use std::io;

use bundle_tool::bundle::annotation;
use bundle_tool::container::status::Container;
use bundle_tool::describe::container::{self, Subject};
use bundle_tool::describe::network::Network;
use bundle_tool::describe::{Words, volume};
use bundle_tool::volume::Store;
use clap::{Args, Command};
use image_tool::address::home::Home;
use image_tool::program::pipe;
use image_tool::show::document;
use image_tool::show::template::{Template, Value};

use super::{candidates, create, joined, note};

/// Print containers, images, networks and volumes as JSON.
///
/// Reads a runtime's list of containers from standard input, from which the state of a container comes. A name can be that of a
/// container, an image of the default layout, a network or a volume, in this order.
#[derive(clap::Args)]
#[command(after_long_help = "Examples:
  run-tool list --format json | bundle-tool inspect web
  run-tool list --format json | bundle-tool inspect --format '{{.Name}} {{.State.Status}}' web db
  bundle-tool inspect --type image --format '{{json .Config.Env}}' python:3.8")]
pub(crate) struct Inspect {
    /// Format each with a Go template, such as '{{.Name}} {{.State.Status}}', or as `json`.
    #[arg(short, long, value_name = "TEMPLATE")]
    format: Option<String>,
    /// Only look for things of this type: container, image, network or volume.
    #[arg(long, value_name = "TYPE")]
    r#type: Option<String>,
    /// Add the sizes of containers.
    #[arg(short, long)]
    size: bool,
    /// Names or IDs.
    #[arg(required = true, value_name = "NAME", add = candidates::containers())]
    names: Vec<String>,
}

/// The types that can be shown, in the order in which they are looked for.
const TYPES: [&str; 4] = ["container", "image", "network", "volume"];

/// A template that cannot be parsed, for which docker has an exit status of its own.
#[derive(Debug, thiserror::Error)]
#[error("template parsing error")]
pub(crate) struct BadTemplate(#[from] pub(super) image_tool::show::template::Error);

/// What is shown so far, and what went wrong.
#[derive(Default)]
pub(super) struct Shown {
    documents: Vec<Value>,
    text: String,
    wrong: Vec<String>,
}

/// Shows documents as docker does: those that are found, and then what is wrong with the others.
pub(super) fn show(
    format: Option<&str>,
    names: &[String],
    find: impl Fn(&str) -> anyhow::Result<Option<Value>>,
    missing: impl Fn(&str) -> String,
) -> anyhow::Result<()> {
    let format = format.unwrap_or_default();
    let template: Option<Template> = match format {
        "" | "json" => None,
        text => Some(text.parse().map_err(BadTemplate)?),
    };
    let mut shown = Shown::default();
    for name in names {
        match (find(name), &template) {
            (Ok(Some(document)), None) => shown.documents.push(document),
            (Ok(Some(document)), Some(template)) => match template.inspect(&document, &io::stdout()) {
                Ok(line) => shown.text += &(line + "\n"),
                Err(error) => shown.wrong.push(format!("template parsing error: {error}")),
            },
            (Ok(None), _) => shown.wrong.push(missing(name)),
            (Err(error), _) => shown.wrong.push(format!("{error:#}")),
        }
    }
    if template.is_none() {
        pipe::print(document::array(&shown.documents, format == "json"))?;
    } else {
        // docker prints an empty line for nothing.
        pipe::print_exactly(if shown.text.is_empty() { "\n" } else { &shown.text })?;
    }
    let Some(last) = shown.wrong.pop() else { return Ok(()) };
    shown.wrong.iter().for_each(|text| note(text));
    Err(anyhow::anyhow!(last))
}

impl Inspect {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let kind = self.r#type.as_deref().unwrap_or_default();
        if !kind.is_empty() && !TYPES.contains(&kind) {
            anyhow::bail!("{kind:?} is not a valid value for --type (expected {})", TYPES.join(", "));
        }
        let home = Home::from_environment();
        let needs_list = kind != "image" && kind != "volume";
        let containers = if needs_list { joined::containers_or_bundles(&home, "inspect")? } else { Vec::new() };
        let wants = |wanted: &str| kind.is_empty() || kind == wanted;
        let find = |name: &str| -> anyhow::Result<Option<Value>> {
            if wants("container")
                && let Some(found) = joined::find(&containers, name)?
            {
                return Ok(Some(self.container(found, &home)));
            }
            if wants("image")
                && let Some(found) = image(name)?
            {
                return Ok(Some(found));
            }
            if wants("network")
                && let Some(found) = Network::find(&home, name)
            {
                return Ok(Some(found.document(&containers)));
            }
            let found = if wants("volume") { Store::new(home.volumes()).open(name).ok() } else { None };
            Ok(found.as_ref().map(volume::document))
        };
        let noun = if kind.is_empty() { "object" } else { kind };
        show(self.format.as_deref(), &self.names, find, |name| format!("No such {noun}: {name}"))
    }

    fn container(&self, container: &Container, home: &Home) -> Value {
        container::document(&Subject { container, words: words(container), home, sizes: self.size })
    }
}

/// The image of the default layout that docker would mean by a name.
fn image(name: &str) -> anyhow::Result<Option<Value>> {
    use image_tool::layout::Error;
    // An id is found by its digits.
    let name = name.strip_prefix("sha256:").unwrap_or(name);
    let Ok(address) = format!(":{name}").parse() else { return Ok(None) };
    match document::image(&address, None) {
        Ok(found) => Ok(Some(found)),
        Err(Error::NoSuchImage { .. } | Error::NoLayout { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The words of docker's options by which a container was created.
pub(super) fn words(container: &Container) -> Words {
    let arguments: Vec<String> = container.json(annotation::ARGUMENTS).unwrap_or_default();
    let mut words = Words::default();
    // Words of an older version may no longer be valid. Then the defaults are shown.
    for (option, values) in given::<create::Create>(arguments).unwrap_or_default() {
        words.insert(&option, values);
    }
    let updated: BTreeMap<String, String> = container.json(annotation::UPDATED).unwrap_or_default();
    for (option, value) in updated {
        words.insert(&option, vec![value]);
    }
    words
}

/// The options of a command line and their values as they were typed, by docker's names; `None` if it is not valid.
pub(super) fn given<C: Args>(arguments: Vec<String>) -> Option<BTreeMap<String, Vec<String>>> {
    let command = C::augment_args(Command::new("words").no_binary_name(true));
    let ids: Vec<String> = command.get_arguments().map(|argument| argument.get_id().to_string()).collect();
    let matches = command.try_get_matches_from(arguments).ok()?;
    let typed = |id: &String| matches.value_source(id) == Some(clap::parser::ValueSource::CommandLine);
    let values = |id: &String| -> Vec<String> {
        let raw = matches.try_get_raw(id).ok().flatten().into_iter().flatten();
        raw.map(|text| text.to_string_lossy().into_owned()).collect()
    };
    Some(ids.iter().filter(|id| typed(id)).map(|id| (id.replace('_', "-"), values(id))).collect())
}
