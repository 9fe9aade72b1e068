use anyhow::Result;
use clap::{Args, ValueHint};
use image_tool::address::home::Home;
use image_tool::layer::cache::Cache;
use image_tool::layout::Layout;
use image_tool::layout::platform::Platform;
use image_tool::program::pipe;
use image_tool::show::summary::Summary;
use image_tool::show::tree::page::page;
use image_tool::show::tree::{Node, Tree as Survey};
use image_tool::{layout, show::human, show::table};

use super::operand::{Operand, named};
use image_tool::program::limits::Limits;

/// Show what each layer adds, what later layers replace or delete, and where the bytes are.
///
/// STORED is what a layer takes in $OCI_HOME/layers for the containers of all images that have it: its plain tar, or its files.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  image-tool tree :python:3.8
  image-tool tree --html :python:3.8 >python.html
  image-tool tree --json :python:3.8 | jq \".waste[0]\"")]
pub(crate) struct Tree {
    /// Image, or - to read its address from standard input.
    address: Operand,
    /// Print everything as JSON.
    #[arg(long, conflicts_with = "html")]
    json: bool,
    /// Print an HTML page with a map of the files.
    #[arg(long)]
    html: bool,
    /// Levels of directories to show.
    #[arg(short, long, value_name = "N", default_value_t = 2, value_hint = ValueHint::Other)]
    depth: usize,
    /// Use the image for this platform [default: this machine's].
    #[arg(long, value_name = "OS/ARCH[/VARIANT]", value_hint = ValueHint::Other)]
    platform: Option<Platform>,
    #[command(flatten)]
    limits: Limits,
}

impl Tree {
    pub(crate) fn run(self) -> Result<()> {
        let address = self.address.address()?;
        let read = || -> Result<(Survey, layout::Image)> {
            let layout = Layout::of(&address)?;
            let image = match &self.platform {
                Some(platform) => layout.image(&address, platform)?,
                None => Summary::image(&layout, &layout.resolve(&address)?)?,
            };
            let cache = Cache::of(&Home::from_environment());
            Ok((Survey::of(&layout, &image, &cache, self.limits.of(&image)?)?, image))
        };
        let (tree, image) = read().map_err(|error| named(error, &address))?;
        if self.html {
            return pipe::print(page(&address.to_string(), &tree));
        }
        if self.json {
            return pipe::print(human::json(&serde_json::to_string(&tree)?) + "\n");
        }
        pipe::print(text(&address.with_digest(image.descriptor().digest()).to_string(), &tree, self.depth))
    }
}

fn text(address: &str, tree: &Survey, depth: usize) -> String {
    let percent = (tree.wasted() * 1000).checked_div(tree.size()).unwrap_or(0);
    let mut text = format!(
        "{address}\n{} in {} layers, {} ({}.{}%) wasted\n\n",
        human::size(tree.size()),
        tree.layers.len(),
        human::size(tree.wasted()),
        percent / 10,
        percent % 10
    );
    let mut rows = vec![["LAYER", "SIZE", "WASTED", "ENTRIES", "STORED", "CREATED BY"].map(str::to_owned).to_vec()];
    for layer in &tree.layers {
        let created_by = layer.created_by.replace(['\t', '\n'], " ");
        rows.push(vec![
            layer.digest.get(7..19).unwrap_or(&layer.digest).to_owned(),
            human::size(layer.size),
            human::size(layer.wasted),
            layer.entries.to_string(),
            layer.stored.map_or_else(String::new, |stored| format!("{} {}", human::size(stored.size), stored.form)),
            created_by.chars().take(60).collect(),
        ]);
    }
    text += &table::of(&rows);
    if !tree.waste.is_empty() {
        rows = vec![["WASTED", "IN LAYER", "GONE IN", "PATH"].map(str::to_owned).to_vec()];
        for waste in tree.waste.iter().take(20) {
            rows.push(vec![
                human::size(waste.size),
                (waste.layer + 1).to_string(),
                (waste.by + 1).to_string(),
                format!("/{}", waste.path.to_string_lossy()),
            ]);
        }
        text += &format!("\n{}", table::of(&rows));
    }
    rows = vec![["SIZE", "LAYER", "PATH"].map(str::to_owned).to_vec()];
    folders(&mut rows, &tree.root, "", depth);
    text + "\n" + &table::of(&rows)
}

/// The folders up to a depth, the largest first, except those with less than a hundredth of their parent.
fn folders(rows: &mut Vec<Vec<String>>, node: &Node, path: &str, depth: usize) {
    let name = if path.is_empty() { "/".to_owned() } else { path.to_owned() };
    rows.push(vec![human::size(node.size), (node.layer + 1).to_string(), name]);
    if depth == 0 {
        return;
    }
    let mut children: Vec<_> =
        node.children.iter().filter(|(_, child)| child.size > 0 && child.size >= node.size / 100).collect();
    children.sort_by(|a, b| b.1.size.cmp(&a.1.size).then_with(|| a.0.cmp(b.0)));
    for (name, child) in children {
        folders(rows, child, &format!("{path}/{name}"), depth - 1);
    }
}
