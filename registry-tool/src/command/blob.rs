//! `registry-tool blob`.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, Subcommand, ValueHint};
use image_tool::program::archive::{input, output};
use image_tool::program::pipe;
use registry_tool::client::{ClientError, Registry};
use registry_tool::question::failure::EndpointError;
use registry_tool::reference::{BlobName, ImageName, RepositoryName};
use registry_tool::transfer::blob;
use serde_json::json;

use super::access::Access;
use super::{Network, block_on};

/// Read, write and delete single blobs of a repository.
#[derive(Args)]
pub(crate) struct Blob {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Get(Get),
    Head(Head),
    Push(Push),
    Delete(Delete),
}

/// Write a blob to a file or standard output while it arrives.
///
/// It is verified: if it is not what its digest says, the exit status is 1, and there is no file.
#[derive(Args)]
#[command(after_long_help = "Examples:
  registry-tool blob get localhost:5000/app@sha256:DIGEST | tar -tz
  registry-tool blob get -o layer.tar.gz localhost:5000/app@sha256:DIGEST")]
struct Get {
    /// Repository and digest.
    #[arg(value_name = "REPOSITORY@DIGEST", value_hint = ValueHint::Other)]
    blob: BlobName,
    /// Write to this file, which appears once it is complete [default: standard output, unless it is a terminal].
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    output: Option<PathBuf>,
    #[command(flatten)]
    access: Access,
    #[command(flatten)]
    network: Network,
}

/// Print the descriptor of a blob as JSON: its digest and size.
#[derive(Args)]
#[command(after_long_help = "Examples:
  registry-tool blob head localhost:5000/app@sha256:DIGEST | jq .size")]
struct Head {
    /// Repository and digest.
    #[arg(value_name = "REPOSITORY@DIGEST", value_hint = ValueHint::Other)]
    blob: BlobName,
    #[command(flatten)]
    access: Access,
    #[command(flatten)]
    network: Network,
}

/// Send a file as a blob and print its name: the repository and the digest.
///
/// What the repository has already is not sent. The registry may delete a blob to which no manifest refers.
#[derive(Args)]
#[command(after_long_help = "Examples:
  registry-tool blob push localhost:5000/app layer.tar.gz
  tar -C app -c . | gzip | registry-tool blob push localhost:5000/app -")]
struct Push {
    /// Name of the repository.
    #[arg(value_hint = ValueHint::Other)]
    repository: RepositoryName,
    /// File, or - to read standard input.
    #[arg(value_hint = ValueHint::FilePath)]
    file: PathBuf,
    #[command(flatten)]
    access: Access,
    #[command(flatten)]
    network: Network,
}

/// Delete a blob of a repository.
///
/// Many registries do not allow this, and delete blobs themselves once no manifest refers to them.
#[derive(Args)]
#[command(after_long_help = "Examples:
  registry-tool blob delete localhost:5000/app@sha256:DIGEST")]
struct Delete {
    /// Repository and digest.
    #[arg(value_name = "REPOSITORY@DIGEST", value_hint = ValueHint::Other)]
    blob: BlobName,
    #[command(flatten)]
    access: Access,
    #[command(flatten)]
    network: Network,
}

impl Blob {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        match self.verb {
            Verb::Get(command) => command.run(),
            Verb::Head(command) => command.run(),
            Verb::Push(command) => command.run(),
            Verb::Delete(command) => command.run(),
        }
    }
}

impl Get {
    fn run(self) -> anyhow::Result<()> {
        let (name, digest) = (self.blob.image(), self.blob.digest());
        let way = self.access.way(&self.network, name)?;
        let typed = || name.typed().to_owned();
        block_on(async {
            // Which place has it is found out before anything is written.
            let registry = way.round().connect("blob", name, size).await?;
            output(self.output.as_deref(), |mut output| {
                tokio::task::block_in_place(|| {
                    tokio::runtime::Handle::current().block_on(blob::read(&registry, digest, &mut output))
                })
                .with_context(typed)
            })
        })
    }
}

/// The size of a blob, if the registry says it.
async fn size(registry: &Registry, name: &ImageName) -> Result<Option<u64>, EndpointError> {
    Ok(registry.blob_size(name.digest().unwrap_or_default()).await?)
}

impl Head {
    fn run(self) -> anyhow::Result<()> {
        let name = self.blob.image();
        let way = self.access.way(&self.network, name)?;
        let size = block_on(async { Ok(way.round().ask("blob", name, size).await?) })?;
        let size = size.with_context(|| format!("{}: the registry does not say how large it is", name.typed()))?;
        let digest = self.blob.digest().to_string();
        let descriptor = json!({ "mediaType": "application/octet-stream", "digest": digest, "size": size });
        pipe::print_line(&descriptor.to_string())
    }
}

impl Push {
    fn run(self) -> anyhow::Result<()> {
        let name = self.repository.image();
        let way = self.access.way(&self.network, name)?;
        let (mut file, shown) = input(&self.file, "name a file")?;
        let (descriptor, file) = blob::spool(&mut file).with_context(|| shown)?;
        block_on(async {
            let typed = || name.typed().to_owned();
            let registry = way.connect(name).await?;
            blob::write(&registry, &descriptor, file).await.with_context(typed)
        })?;
        pipe::print_line(&format!("{}/{}@{}", name.registry(), name.repository(), descriptor.digest()))
    }
}

impl Delete {
    fn run(self) -> anyhow::Result<()> {
        let name = self.blob.image();
        let way = self.access.way(&self.network, name)?;
        block_on(async {
            let typed = || name.typed().to_owned();
            let registry = way.connect(name).await?;
            match registry.delete_blob(self.blob.digest().as_ref()).await {
                Err(ClientError::Status { status, .. }) if status.as_u16() == 405 => {
                    anyhow::bail!("{}: the registry does not delete single blobs", name.typed())
                }
                other => other.with_context(typed),
            }
        })
    }
}
