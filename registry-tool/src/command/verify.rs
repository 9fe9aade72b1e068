//! `registry-tool verify`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::{ArgGroup, Args, ValueHint};
use image_tool::program::pipe::print_line;
use registry_tool::client::Registry;
use registry_tool::place::lookaside::Lookaside;
use registry_tool::place::policy::Identity;
use registry_tool::question::failure::EndpointError;
use registry_tool::question::lookaside::kept_aside;
use registry_tool::question::query::manifest;
use registry_tool::question::round::Round;
use registry_tool::question::signature::signatures;
use registry_tool::reference::ImageName;
use registry_tool::trust::certificate::Authority;
use registry_tool::trust::key::PublicKey;
use registry_tool::trust::keyring::Keyring;
use registry_tool::trust::payload::Payload;
use registry_tool::trust::signature::Signers;
use serde_json::Value;

use super::sign::{bytes, pair, read};
use super::{Network, block_on, mirrors};

/// Verify that an image at a registry is signed, and print its name with the digest.
///
/// Signatures are those that cosign and registry-tool sign make, of one of the keys, or of a certificate that one of the roots vouches
/// for. The transparency log is not asked, so certificates must be valid now. With --gpg-key they are those that skopeo, podman and
/// registry-tool sign --sign-by make, which lie where registries.d says, and the image's name must be the one that was signed. Exit
/// status 1 says that no signature is good.
#[derive(Args)]
#[command(group = ArgGroup::new("signers").required(true).multiple(true), after_long_help = "Examples:
  registry-tool verify --key cosign.pub localhost:5000/app:1
  registry-tool verify --ca-roots root.pem --certificate-identity ci@example.com localhost:5000/app:1
  registry-tool verify --gpg-key release.asc registry.example.com/app:1
  registry-tool pull \"$(registry-tool verify --key cosign.pub quay.io/team/app:1)\"")]
pub(crate) struct Verify {
    /// Name of the image.
    #[arg(value_hint = ValueHint::Other)]
    reference: ImageName,
    /// Public key, ECDSA on P-256 (PEM); may be repeated.
    #[arg(long = "key", value_name = "FILE", group = "signers", value_hint = ValueHint::FilePath)]
    keys: Vec<PathBuf>,
    /// Root certificates (PEM).
    #[arg(long, value_name = "FILE", group = "signers", requires = "certificate_identity", value_hint = ValueHint::FilePath)]
    ca_roots: Option<PathBuf>,
    /// Certificates between a root and that of the signature (PEM).
    #[arg(long, value_name = "FILE", requires = "ca_roots", value_hint = ValueHint::FilePath)]
    ca_intermediates: Option<PathBuf>,
    /// Mail address, host name or URI that the certificate must be for.
    #[arg(long, value_name = "NAME", requires = "ca_roots", value_hint = ValueHint::Other)]
    certificate_identity: Option<String>,
    /// Key of GnuPG, armored or not; may be repeated. A file may hold several.
    #[arg(
        long = "gpg-key", value_name = "FILE", group = "signers", conflicts_with_all = ["keys", "ca_roots"], value_hint = ValueHint::FilePath
    )]
    gpg_keys: Vec<PathBuf>,
    /// Name that GnuPG's key must have signed instead of the image's.
    #[arg(long, value_name = "REFERENCE", requires = "gpg_keys", value_hint = ValueHint::Other)]
    sign_identity: Option<ImageName>,
    /// File with the signature of GnuPG's key; what registries.d says is not looked for.
    #[arg(long, value_name = "FILE", requires = "gpg_keys", value_hint = ValueHint::FilePath)]
    signature: Option<PathBuf>,
    /// Accept only signatures that also sign this; may be repeated.
    #[arg(short, long = "annotation", value_name = "KEY=VALUE", value_parser = pair, value_hint = ValueHint::Other)]
    annotations: Vec<(String, String)>,
    /// Print what the good signatures say, a JSON document a line, instead of the name.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    network: Network,
}

impl Verify {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let (digest, good) = if self.gpg_keys.is_empty() { self.verify_beside()? } else { self.verify_aside()? };
        if !self.json {
            return print_line(&self.reference.pinned(&digest));
        }
        for payload in good {
            print_line(std::str::from_utf8(&payload.bytes())?)?;
        }
        Ok(())
    }

    fn verify_beside(&self) -> anyhow::Result<(String, Vec<Payload>)> {
        let mut signers = Signers::default();
        for path in &self.keys {
            signers.keys.push(PublicKey::parse(&read(path)?).with_context(|| path.display().to_string())?);
        }
        if let Some(roots) = &self.ca_roots {
            let intermediates = self.ca_intermediates.as_deref().map(read).transpose()?.unwrap_or_default();
            let authority = Authority::new(&read(roots)?, &intermediates, self.certificate_identity.clone());
            signers.authority = Some(authority.with_context(|| roots.display().to_string())?);
        }
        let (mirrors, settings) = (mirrors()?, self.network.settings());
        let question = async |registry: &Registry, name: &ImageName| {
            let digest = manifest(registry, name).await?.descriptor.digest().to_string();
            let (found, _) = signatures(registry, &digest).await?;
            let good = signers.good(&found, &digest, |payload| self.accept(payload));
            let good = good.map_err(|source| EndpointError::Untrusted { host: registry.host().to_owned(), source })?;
            Ok((digest, good))
        };
        let round = Round { mirrors: &mirrors, settings: &settings };
        block_on(async { Ok(round.ask("image", &self.reference, question).await?) })
    }

    fn verify_aside(&self) -> anyhow::Result<(String, Vec<Payload>)> {
        let mut keyring = Keyring::default();
        for path in &self.gpg_keys {
            keyring.add(&bytes(path)?).with_context(|| path.display().to_string())?;
        }
        let lookaside = Lookaside::read()?;
        let given = self.signature.as_deref().map(bytes).transpose()?;
        let (mirrors, settings) = (mirrors()?, self.network.settings());
        let question = async |registry: &Registry, name: &ImageName| {
            let digest = manifest(registry, name).await?.descriptor.digest().to_string();
            let found = match &given {
                Some(signature) => vec![signature.clone()],
                None => kept_aside(&lookaside, name, registry, &digest, &settings).await?,
            };
            let accept = |payload: &Payload| {
                if !Identity::default().fits(&payload.reference, self.sign_identity.as_ref().unwrap_or(name)) {
                    return Err(format!("it is one of the name {:?}", payload.reference));
                }
                self.accept(payload)
            };
            let good = keyring.good(&found, &digest, accept);
            let good = good.map_err(|source| EndpointError::Untrusted { host: registry.host().to_owned(), source })?;
            Ok((digest, good))
        };
        let round = Round { mirrors: &mirrors, settings: &settings };
        block_on(async { Ok(round.ask("image", &self.reference, question).await?) })
    }

    fn accept(&self, payload: &Payload) -> Result<(), String> {
        let wanted: BTreeMap<&str, &str> =
            self.annotations.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        for (key, value) in wanted {
            if payload.annotations.get(key).and_then(Value::as_str) != Some(value) {
                return Err(format!("it does not sign {key}={value}"));
            }
        }
        Ok(())
    }
}
