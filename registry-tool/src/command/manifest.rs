//! `registry-tool manifest`.

use std::io::Read as _;
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand, ValueHint};
use image_tool::address::digest::{self, Hasher};
use image_tool::layout::MANIFEST_LIMIT;
use image_tool::program::archive::input;
use image_tool::program::pipe;
use image_tool::show::human;
use oci_spec::image::{Descriptor, MediaType};
use registry_tool::client::{Document, Registry};
use registry_tool::question::failure::EndpointError;
use registry_tool::question::query::document;
use registry_tool::reference::ImageName;

use super::access::Access;
use super::{Network, block_on};

/// Read and write manifests and indexes at a registry, byte for byte.
///
/// Whatever document the registry keeps as a manifest, that of an artifact too. To delete one, delete its digest with registry-tool delete.
#[derive(Args)]
pub(crate) struct Manifest {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Get(Get),
    Head(Head),
    Put(Put),
}

/// Print a manifest or an index.
#[derive(Args)]
#[command(after_long_help = "Examples:
  registry-tool manifest get localhost:5000/app:1 | jq .layers")]
struct Get {
    /// Name of the image or artifact.
    #[arg(value_hint = ValueHint::Other)]
    reference: ImageName,
    #[command(flatten)]
    access: Access,
    #[command(flatten)]
    network: Network,
}

/// Print the descriptor of a manifest or an index as JSON: its media type, digest and size.
#[derive(Args)]
#[command(after_long_help = "Examples:
  registry-tool manifest head localhost:5000/app:1 | jq -r .mediaType")]
struct Head {
    /// Name of the image or artifact.
    #[arg(value_hint = ValueHint::Other)]
    reference: ImageName,
    #[command(flatten)]
    access: Access,
    #[command(flatten)]
    network: Network,
}

/// Store a manifest or an index, and print its name with its digest.
///
/// What it refers to has to be at the registry already. Without a tag it is stored under its digest alone.
#[derive(Args)]
#[command(after_long_help = "Examples:
  registry-tool manifest put localhost:5000/app:1 manifest.json
  registry-tool manifest get quay.io/team/app:1 | registry-tool manifest put localhost:5000/app:1 -")]
struct Put {
    /// Name at the registry, with a tag or a digest.
    #[arg(value_hint = ValueHint::Other)]
    reference: ImageName,
    /// File with the document, or - to read it from standard input.
    #[arg(value_hint = ValueHint::FilePath)]
    file: PathBuf,
    /// Media type of the document [default: its own mediaType].
    #[arg(long, value_name = "TYPE", value_hint = ValueHint::Other)]
    media_type: Option<String>,
    #[command(flatten)]
    access: Access,
    #[command(flatten)]
    network: Network,
}

impl Manifest {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        match self.verb {
            Verb::Get(command) => command.run(),
            Verb::Head(command) => command.run(),
            Verb::Put(command) => command.run(),
        }
    }
}

impl Get {
    fn run(self) -> anyhow::Result<()> {
        let way = self.access.way(&self.network, &self.reference)?;
        let question = async |registry: &Registry, name: &ImageName| Ok(document(registry, name).await?.1.bytes);
        pipe::print(block_on(async { Ok(way.round().ask("image", &self.reference, question).await?) })?)
    }
}

impl Head {
    fn run(self) -> anyhow::Result<()> {
        let way = self.access.way(&self.network, &self.reference)?;
        let descriptor = block_on(async { Ok(way.round().ask("image", &self.reference, head).await?) })?;
        pipe::print(human::json(&serde_json::to_string(&descriptor)?) + "\n")
    }
}

/// The descriptor of what a name means: from the answer's head, or from the document where that does not tell all.
async fn head(registry: &Registry, name: &ImageName) -> Result<Descriptor, EndpointError> {
    let head = registry.manifest_head(name.asked()).await?;
    let digest = head.digest.and_then(|text| digest::parse(&text).ok());
    if let (Some(media_type), Some(digest), Some(size)) = (head.media_type, digest, head.size) {
        return Ok(Descriptor::new(MediaType::from(media_type.as_str()), size, digest));
    }
    let (digest, found) = document(registry, name).await?;
    Ok(Descriptor::new(MediaType::from(found.own_media_type()?.as_str()), found.bytes.len() as u64, digest))
}

impl Put {
    fn run(self) -> anyhow::Result<()> {
        let name = &self.reference;
        let (file, shown) = input(&self.file, "name a file")?;
        let mut bytes = Vec::new();
        file.take(MANIFEST_LIMIT + 1).read_to_end(&mut bytes).with_context(|| shown.clone())?;
        if bytes.len() as u64 > MANIFEST_LIMIT {
            bail!("{shown}: more than {MANIFEST_LIMIT} bytes, which no registry takes for a manifest");
        }
        let document = Document { media_type: self.media_type, digest: None, bytes: bytes.into() };
        let media_type = document.own_media_type().with_context(|| shown.clone())?;
        let digest = digest_for(name, &document)?;
        let reference = name.tag().filter(|_| !name.has_default_tag() || name.typed().ends_with(":latest"));
        let reference = reference.unwrap_or(&digest).to_owned();
        let way = self.access.way(&self.network, name)?;
        block_on(async {
            let typed = || name.typed().to_owned();
            let registry = way.connect(name).await?;
            registry.put_manifest(&reference, &media_type, document.bytes.clone()).await.with_context(typed)
        })?;
        let repository = format!("{}/{}", name.registry(), name.repository());
        let tag = if reference == digest { String::new() } else { format!(":{reference}") };
        pipe::print_line(&format!("{repository}{tag}@{digest}"))
    }
}

/// The digest of a document by the algorithm of the name's digest, which it must have if the name has one.
fn digest_for(name: &ImageName, document: &Document) -> anyhow::Result<String> {
    let wanted = name.digest().map(digest::parse).transpose()?;
    let mut hasher = match &wanted {
        Some(digest) => Hasher::of(digest)?,
        None => Hasher::sha256(),
    };
    hasher.update(&document.bytes);
    let actual = hasher.finish();
    if wanted.is_some_and(|wanted| wanted != actual) {
        bail!("{}: the document has another digest, {actual}", name.typed());
    }
    Ok(actual.to_string())
}
