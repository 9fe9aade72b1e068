//! `registry-tool sign`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, ValueHint};
use image_tool::program::pipe::print_line;
use registry_tool::question::round::Round;
use registry_tool::reference::ImageName;
use registry_tool::transfer::sign::{Order, sign};
use registry_tool::trust::key::PrivateKey;

use super::{Network, block_on, mirrors};

/// Sign an image at a registry, as cosign does.
///
/// The signature is kept beside the image, under the tag sha256-DIGEST.sig, and others that are there stay. Nothing is told to a
/// transparency log (cosign verify needs --insecure-ignore-tlog). Give the image by its digest to be sure which one is signed.
#[derive(Args)]
#[command(after_long_help = "Examples:
  openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out key.pem
  openssl pkey -in key.pem -pubout -out key.pub
  registry-tool sign --key key.pem localhost:5000/app@sha256:DIGEST
  COSIGN_PASSWORD=secret registry-tool sign --key cosign.key -a env=prod localhost:5000/app:1")]
pub(crate) struct Sign {
    /// Name of the image.
    #[arg(value_hint = ValueHint::Other)]
    reference: ImageName,
    /// Private key, ECDSA on P-256: PKCS#8, or cosign's with the password in $COSIGN_PASSWORD.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    key: PathBuf,
    /// Certificate of the key (PEM), which is attached to the signature.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    certificate: Option<PathBuf>,
    /// Certificates that lead from it to its root (PEM).
    #[arg(long, value_name = "FILE", requires = "certificate", value_hint = ValueHint::FilePath)]
    certificate_chain: Option<PathBuf>,
    /// Sign this too; may be repeated.
    #[arg(short, long = "annotation", value_name = "KEY=VALUE", value_parser = pair, value_hint = ValueHint::Other)]
    annotations: Vec<(String, String)>,
    /// Sign each image of an index too.
    #[arg(short, long)]
    recursive: bool,
    #[command(flatten)]
    network: Network,
}

/// KEY=VALUE.
pub(super) fn pair(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').filter(|(key, _)| !key.is_empty());
    pair.map(|(key, value)| (key.to_owned(), value.to_owned())).ok_or_else(|| "expected KEY=VALUE".to_owned())
}

/// A file as text.
pub(super) fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| path.display().to_string())
}

impl Sign {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let password = || std::env::var("COSIGN_PASSWORD").unwrap_or_default();
        let key = PrivateKey::parse(&read(&self.key)?, password).with_context(|| self.key.display().to_string())?;
        let certificate = self.certificate.as_deref().map(read).transpose()?;
        let chain = self.certificate_chain.as_deref().map(read).transpose()?.unwrap_or_default();
        let annotations: BTreeMap<_, _> =
            self.annotations.into_iter().map(|(key, value)| (key, value.into())).collect();
        let order = Order {
            name: &self.reference,
            key: &key,
            certificate: certificate.as_deref().map(|certificate| (certificate, chain.as_str())),
            annotations,
            is_recursive: self.recursive,
        };
        let (mirrors, settings) = (mirrors()?, self.network.settings());
        let digest = block_on(async { Ok(sign(&order, Round { mirrors: &mirrors, settings: &settings }).await?) })?;
        print_line(&self.reference.pinned(&digest))
    }
}
