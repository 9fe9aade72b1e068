//! `registry-tool sign`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{ArgGroup, Args, ValueHint};
use image_tool::program::pipe::print_line;
use registry_tool::question::round::Round;
use registry_tool::reference::ImageName;
use registry_tool::transfer::{aside, sign};
use registry_tool::trust::gpg::Signer;
use registry_tool::trust::key::PrivateKey;

use super::{Network, block_on, mirrors};

/// Sign an image at a registry, as cosign does, or with GnuPG as skopeo and podman do.
///
/// With --key the signature is kept beside the image, under the tag sha256-DIGEST.sig. Nothing is told to a transparency log (cosign
/// verify needs --insecure-ignore-tlog). With --sign-by gpg makes the signature, and it becomes a file in the folder that registries.d
/// names for the image (lookaside-staging, else lookaside; /var/lib/containers/sigstore if nothing is configured), from where a web server
/// may give it to others. Signatures that are there stay. Give the image by its digest to be sure which one is signed.
#[derive(Args)]
#[command(group = ArgGroup::new("signer").required(true), after_long_help = "Examples:
  openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out key.pem
  openssl pkey -in key.pem -pubout -out key.pub
  registry-tool sign --key key.pem localhost:5000/app@sha256:DIGEST
  COSIGN_PASSWORD=secret registry-tool sign --key cosign.key -a env=prod localhost:5000/app:1
  registry-tool sign --sign-by 0123456789ABCDEF0123456789ABCDEF01234567 localhost:5000/app:1")]
pub(crate) struct Sign {
    /// Name of the image.
    #[arg(value_hint = ValueHint::Other)]
    reference: ImageName,
    /// Private key, ECDSA on P-256: PKCS#8, or cosign's with the password in $COSIGN_PASSWORD.
    #[arg(long, value_name = "FILE", group = "signer", value_hint = ValueHint::FilePath)]
    key: Option<PathBuf>,
    /// Certificate of the key (PEM), which is attached to the signature.
    #[arg(long, value_name = "FILE", requires = "key", value_hint = ValueHint::FilePath)]
    certificate: Option<PathBuf>,
    /// Certificates that lead from it to its root (PEM).
    #[arg(long, value_name = "FILE", requires = "certificate", value_hint = ValueHint::FilePath)]
    certificate_chain: Option<PathBuf>,
    /// Sign this too; may be repeated.
    #[arg(
        short, long = "annotation", value_name = "KEY=VALUE", value_parser = pair, requires = "key", value_hint = ValueHint::Other
    )]
    annotations: Vec<(String, String)>,
    /// Key of GnuPG, by its fingerprint.
    #[arg(long, value_name = "FINGERPRINT", group = "signer", value_hint = ValueHint::Other)]
    sign_by: Option<String>,
    /// File with the passphrase of GnuPG's key; otherwise gpg's agent asks for it.
    #[arg(long, value_name = "FILE", requires = "sign_by", value_hint = ValueHint::FilePath)]
    sign_passphrase_file: Option<PathBuf>,
    /// Name that is signed with GnuPG's key instead of the image's, for images that are about to be copied there.
    #[arg(long, value_name = "REFERENCE", requires = "sign_by", value_hint = ValueHint::Other)]
    sign_identity: Option<ImageName>,
    /// Write the signature of GnuPG's key to this file, not where registries.d says.
    #[arg(short, long, value_name = "FILE", requires = "sign_by", conflicts_with = "recursive", value_hint = ValueHint::FilePath)]
    output: Option<PathBuf>,
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

/// A file as bytes.
pub(super) fn bytes(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| path.display().to_string())
}

impl Sign {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let digest = match (&self.key, &self.sign_by) {
            (Some(key), _) => self.sign_beside(key)?,
            (None, Some(fingerprint)) => self.sign_aside(fingerprint)?,
            (None, None) => unreachable!("one of the group is required"),
        };
        print_line(&self.reference.pinned(&digest))
    }

    fn sign_beside(&self, key: &Path) -> anyhow::Result<String> {
        let password = || std::env::var("COSIGN_PASSWORD").unwrap_or_default();
        let key = PrivateKey::parse(&read(key)?, password).with_context(|| key.display().to_string())?;
        let certificate = self.certificate.as_deref().map(read).transpose()?;
        let chain = self.certificate_chain.as_deref().map(read).transpose()?.unwrap_or_default();
        let annotations: BTreeMap<_, _> =
            self.annotations.iter().map(|(key, value)| (key.clone(), value.clone().into())).collect();
        let order = sign::Order {
            name: &self.reference,
            key: &key,
            certificate: certificate.as_deref().map(|certificate| (certificate, chain.as_str())),
            annotations,
            is_recursive: self.recursive,
        };
        let (mirrors, settings) = (mirrors()?, self.network.settings());
        block_on(async { Ok(sign::sign(&order, Round { mirrors: &mirrors, settings: &settings }).await?) })
    }

    fn sign_aside(&self, fingerprint: &str) -> anyhow::Result<String> {
        let order = aside::Order {
            name: &self.reference,
            identity: self.sign_identity.as_ref(),
            signer: Signer { key: fingerprint, passphrase: self.sign_passphrase_file.as_deref() },
            is_recursive: self.recursive,
            output: self.output.as_deref(),
        };
        let (mirrors, settings) = (mirrors()?, self.network.settings());
        block_on(async { Ok(aside::sign(&order, Round { mirrors: &mirrors, settings: &settings }).await?) })
    }
}
