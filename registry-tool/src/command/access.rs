//! How a registry is reached and as whom, where the command line says so and not the configuration.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, ValueHint};
use registry_tool::client::{Registry, Settings};
use registry_tool::place::credentials::{CredentialStore, Credentials, credential_host};
use registry_tool::place::mirror::Mirrors;
use registry_tool::question::round::Round;
use registry_tool::reference::ImageName;

use super::{Network, mirrors, misuse};

/// The option for the credentials of the only registry.
const CREDENTIALS: &str = "--creds";

/// Options for the commands that talk to one registry.
#[derive(Args)]
#[command(next_help_heading = "Access")]
pub(super) struct Access {
    /// What the option for credentials is called.
    #[arg(skip = CREDENTIALS)]
    name: &'static str,
    /// Log in with these credentials for this time; other users of this machine can see them, so prefer registry-tool login.
    #[arg(long, value_name = "USER:PASSWORD", value_hint = ValueHint::Other)]
    creds: Option<String>,
    /// Read credentials from this file alone.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    authfile: Option<PathBuf>,
    /// Demand https and a valid certificate, or with =false take plain http and any certificate [default: as configured].
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    tls_verify: Option<bool>,
}

/// The same options for the source of a copy.
#[derive(Args)]
#[command(next_help_heading = "Access")]
pub(super) struct SourceAccess {
    /// Log in to the source with these credentials; other users of this machine can see them, so prefer registry-tool login.
    #[arg(long, value_name = "USER:PASSWORD", value_hint = ValueHint::Other)]
    src_creds: Option<String>,
    /// Read credentials for the source from this file alone.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    src_authfile: Option<PathBuf>,
    /// Demand https and a valid certificate of the source, or with =false neither [default: as configured].
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    src_tls_verify: Option<bool>,
}

/// The same options for the target of a copy.
#[derive(Args)]
#[command(next_help_heading = "Access")]
pub(super) struct TargetAccess {
    /// Log in to the target with these credentials; other users of this machine can see them, so prefer registry-tool login.
    #[arg(long, value_name = "USER:PASSWORD", value_hint = ValueHint::Other)]
    dest_creds: Option<String>,
    /// Read credentials for the target from this file alone.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    dest_authfile: Option<PathBuf>,
    /// Demand https and a valid certificate of the target, or with =false neither [default: as configured].
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    dest_tls_verify: Option<bool>,
}

impl Default for Access {
    fn default() -> Self {
        Self { name: CREDENTIALS, creds: None, authfile: None, tls_verify: None }
    }
}

impl From<SourceAccess> for Access {
    fn from(options: SourceAccess) -> Self {
        let (creds, authfile) = (options.src_creds, options.src_authfile);
        Self { name: "--src-creds", creds, authfile, tls_verify: options.src_tls_verify }
    }
}

impl From<TargetAccess> for Access {
    fn from(options: TargetAccess) -> Self {
        let (creds, authfile) = (options.dest_creds, options.dest_authfile);
        Self { name: "--dest-creds", creds, authfile, tls_verify: options.dest_tls_verify }
    }
}

/// The way to a registry: what is configured, and what the command line says.
pub(super) struct Way {
    mirrors: Mirrors,
    settings: Settings,
}

impl Way {
    pub(super) fn round(&self) -> Round<'_> {
        Round { mirrors: &self.mirrors, settings: &self.settings }
    }

    /// Connects to the registry of a name itself. What is written goes there, so no mirror is asked.
    pub(super) async fn connect(&self, name: &ImageName) -> anyhow::Result<Registry> {
        let endpoint = self.mirrors.push_endpoint(name.reference())?;
        Registry::connect(&endpoint, &self.settings).await.with_context(|| name.typed().to_owned())
    }
}

impl Access {
    /// The way to the registry of a name. What was said is for that registry alone, and for no mirror.
    pub(super) fn way(self, network: &Network, name: &ImageName) -> anyhow::Result<Way> {
        let (mut mirrors, mut settings) = (mirrors()?, network.settings());
        let host = mirrors.home(name)?.host().to_owned();
        if let Some(is_demanded) = self.tls_verify {
            mirrors.demand_tls(&host, is_demanded);
        }
        if let Some(path) = self.authfile {
            std::fs::metadata(&path).with_context(|| path.display().to_string())?;
            settings.credentials = CredentialStore::new(path, Vec::new());
        }
        if let Some(text) = self.creds {
            // The text itself is in no message: it may be the password alone.
            let Some((username, password)) = text.split_once(':').filter(|(username, _)| !username.is_empty()) else {
                return Err(misuse(&format!("{}: expected USER:PASSWORD", self.name)));
            };
            let credentials = Credentials::Password { username: username.to_owned(), password: password.to_owned() };
            settings.credentials = settings.credentials.with(credential_host(&host), credentials);
        }
        Ok(Way { mirrors, settings })
    }
}
