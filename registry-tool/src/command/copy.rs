//! `registry-tool copy`.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum, ValueHint};
use image_tool::layer::Compression;
use image_tool::layer::pack::{self, Packing};
use image_tool::layout::platform::Platform;
use image_tool::program::pipe::print_line;
use image_tool::show::human;
use oci_spec::image::Descriptor;
use registry_tool::place::policy::Policy;
use registry_tool::question::format::Format;
use registry_tool::question::query::Choice;
use registry_tool::question::round::Round;
use registry_tool::reference::{ImageName, is_tag};
use registry_tool::transfer::copy::{Order, copy, rehearse};
use registry_tool::transfer::recompress::recompress;

use super::access::{Access, SourceAccess, TargetAccess};
use super::progress::{Display, Pace, Transfer};
use super::{Network, block_on, choice};

/// Copy an image from one registry or repository to another.
///
/// Layers are streamed from one registry to the other and verified on the way; nothing is written to disk, unless they are compressed
/// anew. Layers that the target already has, or can mount from another of its repositories, are not sent. An index is copied with all its
/// images.
#[derive(Args)]
#[command(after_long_help = "Examples:
  registry-tool copy alpine:3.20 localhost:5000/alpine:3.20
  registry-tool copy --additional-tag 3 --additional-tag latest alpine:3.20 localhost:5000/alpine:3.20
  registry-tool copy --platform linux/amd64 --platform linux/arm64 alpine localhost:5000/alpine:two
  registry-tool copy --dest-compress-format zstd alpine localhost:5000/alpine:small
  registry-tool copy --dest-compress-format zstd:chunked alpine localhost:5000/alpine:lazy
  registry-tool copy --dry-run --format v2s2 alpine localhost:5000/alpine")]
pub(crate) struct Copy {
    /// Name of the image.
    #[arg(value_hint = ValueHint::Other)]
    source: ImageName,
    /// Name of the copy.
    #[arg(value_hint = ValueHint::Other)]
    target: ImageName,
    /// Give the copy this tag too; may be repeated.
    #[arg(long = "additional-tag", value_name = "TAG", value_hint = ValueHint::Other, value_parser = tag)]
    additional_tags: Vec<String>,
    /// Copy what refers to the image too, such as SBOMs and signatures, and what refers to that.
    #[arg(long)]
    referrers: bool,
    /// Copy only the image for this platform; several make an index of these [default: all].
    #[arg(long = "platform", value_name = "OS/ARCH[/VARIANT]", value_hint = ValueHint::Other)]
    platforms: Vec<Platform>,
    /// Rewrite the manifests in this format; the digest of the image is another then.
    #[arg(long, value_enum, conflicts_with = "referrers")]
    format: Option<Dialect>,
    /// Compress the layers anew; the digest of the image is another then.
    ///
    /// The image is kept in $TMPDIR meanwhile, else in /tmp. Layers that are compressed so already stay as they are. estargz and
    /// zstd:chunked are for lazy pullers; their manifests are OCI's, and estargz adds two files to each layer.
    #[arg(long, value_name = "FORMAT", value_enum, conflicts_with_all = ["referrers", "dry_run"])]
    dest_compress_format: Option<Compress>,
    /// Compress at this level: gzip and estargz from 0 to 9, zstd and zstd:chunked from 0 to 22 [default: 6 or 3].
    #[arg(long, value_name = "N", requires = "dest_compress_format", value_hint = ValueHint::Other)]
    dest_compress_level: Option<u8>,
    /// Write the digest of the copy to this file.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    digestfile: Option<PathBuf>,
    /// Print the image and what it would become, two names with a tab between, without sending anything.
    #[arg(short = 'n', long, conflicts_with = "digestfile")]
    dry_run: bool,
    /// Print only the new name.
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    pace: Pace,
    #[command(flatten)]
    from: SourceAccess,
    #[command(flatten)]
    to: TargetAccess,
    #[command(flatten)]
    network: Network,
}

/// How manifests are written.
#[derive(Clone, Copy, ValueEnum)]
pub(super) enum Dialect {
    /// OCI's image manifests and indexes.
    Oci,
    /// docker's schema 2.
    V2s2,
}

impl From<Dialect> for Format {
    fn from(dialect: Dialect) -> Self {
        match dialect {
            Dialect::Oci => Self::Oci,
            Dialect::V2s2 => Self::V2s2,
        }
    }
}

/// How layers are compressed.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Compress {
    Gzip,
    Zstd,
    /// Gzip whose files lazy pullers read one by one (containerd with stargz-snapshotter).
    Estargz,
    /// Zstd whose files lazy pullers read one by one (podman, CRI-O).
    #[value(name = "zstd:chunked")]
    ZstdChunked,
}

impl From<Compress> for pack::Format {
    fn from(compress: Compress) -> Self {
        match compress {
            Compress::Gzip => Compression::Gzip.into(),
            Compress::Zstd => Compression::Zstd.into(),
            Compress::Estargz => Self::Estargz,
            Compress::ZstdChunked => Self::ZstdChunked,
        }
    }
}

pub(super) fn tag(text: &str) -> Result<String, String> {
    if is_tag(text) { Ok(text.to_owned()) } else { Err("not a valid tag".to_owned()) }
}

/// What a copy ended in.
struct Copied {
    digest: String,
    size: u64,
}

impl Copy {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let display = self.pace.display(self.quiet, Transfer::Copy);
        let from = Access::from(self.from).way(&self.network, &self.source)?;
        let to = Access::from(self.to).way(&self.network, &self.target)?;
        // An image that is not in an index is copied as it is.
        let choice = match choice(self.platforms, Choice::All) {
            Choice::One { platform, .. } => Choice::One { platform, is_asked: false },
            other => other,
        };
        let order = Order {
            source: &self.source,
            target: &self.target,
            more_tags: &self.additional_tags,
            has_referrers: self.referrers,
            choice,
            format: self.format.map(Format::from),
            policy: Policy::read()?,
            jobs: self.pace.jobs(),
            watcher: display.watcher(),
        };
        let rounds = (from.round(), to.round());
        if self.dry_run {
            return show_rehearsal(&order, rounds, &display);
        }
        let copied = match self.dest_compress_format {
            Some(compress) => {
                let packing = Packing::new(compress, self.dest_compress_level)?;
                if packing.is_seekable() && order.format == Some(Format::V2s2) {
                    bail!(
                        "--format v2s2: docker's schema 2 has no annotations, in which {} is described",
                        packing.format()
                    );
                }
                recompressed(&order, packing, rounds)?
            }
            None => copied(&block_on(async { Ok(copy(&order, rounds.0, rounds.1).await?) })?),
        };
        if let Some(path) = &self.digestfile {
            std::fs::write(path, &copied.digest).with_context(|| path.display().to_string())?;
        }
        let tag = self.target.tag().unwrap_or("latest");
        display.say(&format!("{tag}: digest: {} size: {}", copied.digest, copied.size));
        print_line(&self.target.pinned(&copied.digest))
    }
}

fn copied(image: &Descriptor) -> Copied {
    Copied { digest: image.digest().to_string(), size: image.size() }
}

fn recompressed(order: &Order<'_>, packing: Packing, rounds: (Round<'_>, Round<'_>)) -> anyhow::Result<Copied> {
    let folder = std::env::temp_dir();
    let folder: &Path = folder.as_ref();
    let pushed = block_on(async { Ok(recompress(order, packing, folder, rounds).await?) })?;
    Ok(Copied { digest: pushed.digest.to_string(), size: pushed.size })
}

fn show_rehearsal(order: &Order<'_>, (from, to): (Round<'_>, Round<'_>), display: &Display) -> anyhow::Result<()> {
    let rehearsal = block_on(async { Ok(rehearse(order, from, to).await?) })?;
    let size = rehearsal.missing.iter().map(Descriptor::size).sum();
    let (missing, blobs) = (rehearsal.missing.len(), rehearsal.blobs);
    display.say(&format!("the target lacks {missing} of {blobs} blobs, {}", human::size(size)));
    let target = order.target.pinned(rehearsal.image.digest().as_ref());
    print_line(&format!("{}\t{target}", order.source.typed()))
}
