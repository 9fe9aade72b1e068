//! `registry-tool login`.

use std::io::{self, BufRead as _, IsTerminal as _, Read as _, Write as _};

use anyhow::{Context as _, bail};
use clap::{Args, ValueHint};
use image_tool::program::caller::caller;
use image_tool::program::dockers::daemon;
use image_tool::program::say;
use registry_tool::client::Registry;
use registry_tool::place::credentials::{Credentials, Kept, credential_host};
use registry_tool::reference::RegistryHost;
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

use super::{Network, block_on, mirrors};

/// In bytes. No password and no token is longer.
const PASSWORD_LIMIT: u64 = 64 << 10;

/// Log in to a registry.
///
/// The credentials are stored once the registry has accepted them: in the credential helper that docker's config.json names, or
/// else in that file itself, which only its owner can read.
#[derive(Args)]
#[command(after_long_help = "Examples:
  registry-tool login
  registry-tool login --username me --password-stdin quay.io <token")]
pub(crate) struct Login {
    /// Host of the registry, such as localhost:5000.
    #[arg(default_value = "docker.io", value_hint = ValueHint::Hostname)]
    registry: RegistryHost,
    /// Name of the account [default: ask on the terminal].
    #[arg(short, long, value_hint = ValueHint::Username)]
    username: Option<String>,
    /// Password or token; other users of this machine can see it, so prefer --password-stdin.
    #[arg(short, long, value_hint = ValueHint::Other, conflicts_with = "password_stdin")]
    password: Option<String>,
    /// Read the password from standard input.
    #[arg(long, requires = "username")]
    password_stdin: bool,
    #[command(flatten)]
    network: Network,
}

impl Login {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let host = self.registry.as_str();
        if self.password.is_some() {
            say("WARNING! Using --password via the CLI is insecure. Use --password-stdin.");
        }
        let username = match self.username {
            Some(username) => username,
            None => prompt("Username: ", false)?,
        };
        let password = match self.password {
            Some(password) => password,
            None if self.password_stdin => password_from_stdin()?,
            None => prompt("Password: ", true)?,
        };
        if username.is_empty() || username.contains(':') {
            bail!("login {host}: a username must not be empty or contain ':'");
        }
        if password.is_empty() {
            bail!("login {host}: the password is empty");
        }
        let credentials = Credentials::Password { username, password };
        let endpoint = mirrors()?.host_endpoint(host)?;
        let mut settings = self.network.settings();
        settings.credentials = settings.credentials.with(credential_host(endpoint.host()), credentials.clone());
        block_on(async {
            let registry = Registry::connect(&endpoint, &settings).await.with_context(|| format!("login {host}"))?;
            registry.check_credentials().await.map_err(|error| refused(host, error))
        })?;
        match settings.credentials.store(host, &credentials)? {
            Kept::File(path) => {
                say(&format!("WARNING! Your password will be stored unencrypted in {}.", path.display()));
                say("Configure a credential helper to remove this warning (credsStore in that file).");
            }
            Kept::Helper(_) => {}
        }
        say("Login Succeeded");
        Ok(())
    }
}

/// The hint of a denied request is to log in, which does not help here.
fn refused(host: &str, error: registry_tool::client::ClientError) -> anyhow::Error {
    use registry_tool::client::ClientError;
    match error {
        ClientError::Denied { host, .. } if caller().is_some() => {
            let said = format!("login attempt to https://{host}/v2/ failed with status: 401 Unauthorized");
            anyhow::anyhow!(daemon(&said))
        }
        ClientError::Denied { reason, .. } => anyhow::anyhow!("login {host}: {reason} (wrong username or password)"),
        other => anyhow::Error::new(other).context(format!("login {host}")),
    }
}

fn password_from_stdin() -> anyhow::Result<String> {
    let mut text = String::new();
    io::stdin().take(PASSWORD_LIMIT).read_to_string(&mut text).context("read the password from standard input")?;
    // docker strips one line end, so that both `echo` and a file with a last line work.
    let text = text.strip_suffix('\n').map_or(text.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
    if text.is_empty() {
        bail!("standard input is empty, so there is no password");
    }
    Ok(text.to_owned())
}

/// Asks on the terminal; a password without echo.
fn prompt(question: &str, is_secret: bool) -> anyhow::Result<String> {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        bail!("no terminal to ask for the login (--username and --password-stdin need none)");
    }
    let mut stderr = io::stderr();
    write!(stderr, "{question}").and_then(|()| stderr.flush()).context("ask on the terminal")?;
    if !is_secret {
        let mut line = String::new();
        stdin.lock().take(PASSWORD_LIMIT).read_line(&mut line).context("read the answer")?;
        return Ok(line.trim_end_matches(['\r', '\n']).to_owned());
    }
    let before = tcgetattr(&stdin).context("read the terminal's settings")?;
    let mut silent = before.clone();
    // Without ISIG an interrupt arrives as a character: the default action would leave the terminal without echo.
    silent.local_modes.remove(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG);
    tcsetattr(&stdin, OptionalActions::Flush, &silent).context("turn the terminal's echo off")?;
    let answer = secret_line(&stdin);
    tcsetattr(&stdin, OptionalActions::Flush, &before).context("turn the terminal's echo on")?;
    say("");
    answer
}

/// Reads a line from a terminal that edits nothing itself.
fn secret_line(terminal: &io::Stdin) -> anyhow::Result<String> {
    const INTERRUPT: u8 = 3;
    const END: u8 = 4;
    const BACKSPACE: u8 = 8;
    const KILL: u8 = 21;
    const DELETE: u8 = 127;
    let mut line = Vec::new();
    let mut byte = [0];
    loop {
        let count = rustix::io::retry_on_intr(|| rustix::io::read(terminal, &mut byte)).context("read the password")?;
        match byte[0] {
            _ if count == 0 => break,
            b'\r' | b'\n' | END => break,
            INTERRUPT => bail!("interrupted"),
            BACKSPACE | DELETE => drop(line.pop()),
            KILL => line.clear(),
            _ if line.len() as u64 >= PASSWORD_LIMIT => bail!("the password is longer than {PASSWORD_LIMIT} bytes"),
            other => line.push(other),
        }
    }
    String::from_utf8(line).context("the password is not UTF-8")
}
