//! `registry-tool serve`.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, ValueHint};
use image_tool::address::home::Home;
use image_tool::program::pipe::print_line;
use image_tool::program::say;
use image_tool::program::size::size;
use jiff::Timestamp;
use listenfd::ListenFd;
use registry_tool::client::Settings as Conversation;
use registry_tool::client::retry::Retry;
use registry_tool::reference::RegistryHost;
use registry_tool::serve::tls::Certificate;
use registry_tool::serve::{Access, Guard, Namespace, Rules, Server, Settings, Upstream, Visit};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use super::{block_on, mirrors, seconds};

/// Serve a layout, or a folder of layouts, as a registry.
///
/// A layout is the whole registry: its ref python:3.8 is the tag 3.8 of the repositories python and library/python. In a folder of
/// layouts each layout is a repository, named after its path. Several operands are served under the names of their folders. The
/// address is printed once connections are accepted; requests are logged on standard error.
#[derive(Args)]
#[command(after_long_help = "Examples:
  registry-tool serve
  registry-tool serve --listen :5000 --read-only images
  registry-tool serve --listen :443 --tls-cert cert.pem --tls-key key.pem --htpasswd users --anonymous-pull /srv/images
  registry-tool serve --folder /srv/repositories
  registry-tool serve --mirror docker.io --mirror quay.io /var/cache/images

A unit for systemd, with a socket unit of the same name that has ListenStream=5000:
  [Service]
  ExecStart=/usr/local/bin/registry-tool serve /srv/images")]
pub(crate) struct Serve {
    /// Layouts, or folders of layouts. What is not there or is empty becomes a layout [default: $OCI_LAYOUT, else $OCI_HOME/images].
    #[arg(value_name = "LAYOUT", value_hint = ValueHint::DirPath)]
    layouts: Vec<PathBuf>,
    /// Address and port to listen on; port 0 means any free one.
    ///
    /// May be given more than once. Without it, sockets that systemd passes are used, else 127.0.0.1:5000.
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = address, value_hint = ValueHint::Other)]
    listen: Vec<SocketAddr>,
    /// Speak https, with this certificate and those that vouch for it (PEM).
    ///
    /// It is read again when it changes, and on SIGHUP.
    #[arg(long, value_name = "FILE", requires = "tls_key", value_hint = ValueHint::FilePath)]
    tls_cert: Option<PathBuf>,
    /// The key of the certificate (PEM).
    #[arg(long, value_name = "FILE", requires = "tls_cert", value_hint = ValueHint::FilePath)]
    tls_key: Option<PathBuf>,
    /// Serve only the users of this file, which htpasswd -B makes.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    htpasswd: Option<PathBuf>,
    /// Let everybody pull; only pushing and deleting need a password.
    #[arg(long, requires = "htpasswd")]
    anonymous_pull: bool,
    /// Allow only what this file says.
    ///
    /// Each line has a pattern of repositories (* is any text without a slash, ** any text), users (* for everybody, @users for
    /// everybody with a password), and what they may do (pull, push, delete): team/** alice,bob pull,push. Without --htpasswd
    /// everybody is nobody, and only lines for * count. The file is read again when it changes.
    #[arg(long, value_name = "FILE", conflicts_with = "anonymous_pull", value_hint = ValueHint::FilePath)]
    rules: Option<PathBuf>,
    /// Fetch what the layout lacks from this registry, and keep it; may be repeated.
    ///
    /// Names that do not say a registry (by ?ns= or in front) mean the first. Tags are looked up there; what the layout has is
    /// served when the registry does not answer. It is asked with the login of whoever runs the server. Nothing can be pushed.
    #[arg(long, value_name = "REGISTRY", conflicts_with = "folder", value_hint = ValueHint::Other, help_heading = "Mirror")]
    mirror: Vec<RegistryHost>,
    /// Believe for this many seconds which image a tag of the mirrored registry has.
    #[arg(long, value_name = "SECONDS", default_value_t = 0.0, value_parser = seconds, requires = "mirror", help_heading = "Mirror")]
    mirror_tags_for: f64,
    /// Take each LAYOUT for a folder of layouts, even if it is empty.
    #[arg(long)]
    folder: bool,
    /// Refuse what would change anything.
    #[arg(long)]
    read_only: bool,
    /// Take images that lack blobs.
    ///
    /// Without it, a manifest is refused until all that it names has been pushed.
    #[arg(long)]
    sparse: bool,
    /// Log no requests.
    #[arg(short, long)]
    quiet: bool,
    /// Serve at most this many connections at once; others wait.
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = clap::value_parser!(u16).range(1..), help_heading = "Limits")]
    max_connections: u16,
    /// Take no blob larger than this, such as 500M or 20G [default: no limit].
    #[arg(long, value_name = "SIZE", value_parser = size, help_heading = "Limits")]
    max_blob: Option<u64>,
    /// Give up an upload, or a blob without a manifest, that no client has asked for in this many seconds.
    ///
    /// Until then image-tool gc says that the layout is in use.
    #[arg(long, value_name = "SECONDS", default_value_t = 900.0, value_parser = seconds, help_heading = "Limits")]
    upload_timeout: f64,
    /// Close a connection that is silent for this many seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 60.0, value_parser = seconds, help_heading = "Limits")]
    timeout: f64,
    /// Let requests that are in progress go on for this many seconds after SIGTERM or SIGINT.
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0, value_parser = seconds, help_heading = "Limits")]
    grace: f64,
}

impl Serve {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let layouts = if self.layouts.is_empty() { vec![Home::from_environment().images()] } else { self.layouts };
        let patience = Duration::from_secs_f64(self.upload_timeout);
        let namespace = Namespace::open(&layouts, self.folder, self.read_only, patience)?;
        if !self.mirror.is_empty() && !namespace.is_one_layout() {
            anyhow::bail!("--mirror keeps all it fetches in one layout (registry-tool serve --mirror REGISTRY LAYOUT)");
        }
        let upstream = upstream(self.mirror, self.timeout)?;
        let settings = Settings {
            trust: Duration::from_secs_f64(self.mirror_tags_for),
            is_read_only: self.read_only,
            is_sparse: self.sparse,
            max_blob: self.max_blob,
            max_connections: usize::from(self.max_connections),
            timeout: Duration::from_secs_f64(self.timeout),
            grace: Duration::from_secs_f64(self.grace),
        };
        let is_quiet = self.quiet;
        let watcher = move |visit: &Visit| {
            if !is_quiet {
                say(&line(visit));
            }
        };
        let rules = self.rules.map(|path| Rules::read(&path)).transpose()?;
        // With rules it is they that say what everybody may do.
        let is_open = self.anonymous_pull || rules.is_some();
        let access = self.htpasswd.map(|path| Access::read(&path, is_open)).transpose()?;
        let pair = self.tls_cert.zip(self.tls_key);
        let certificate =
            pair.map(|(certificate, key)| Certificate::read(&certificate, &key)).transpose()?.map(Arc::new);
        let listeners = listen(&self.listen)?;
        open_more_files();
        let guard = Guard { access, rules };
        let server = Server::new(namespace, settings, guard, upstream, certificate.clone(), Arc::new(watcher));
        block_on(async {
            let stop = stop().context("listen for signals")?;
            renew(certificate).context("listen for signals")?;
            let listeners = listeners.into_iter().map(TcpListener::from_std).collect::<io::Result<Vec<_>>>()?;
            for listener in &listeners {
                print_line(&listener.local_addr()?.to_string())?;
            }
            Ok(server.serve(listeners, stop).await?)
        })
    }
}

/// The registries that are mirrored.
fn upstream(hosts: Vec<RegistryHost>, timeout: f64) -> anyhow::Result<Option<Upstream>> {
    if hosts.is_empty() {
        return Ok(None);
    }
    let mut conversation = Conversation::from_environment();
    // A client waits for the answer.
    conversation.retry = Retry { times: 1, first_wait: Duration::from_millis(500) };
    conversation.read_timeout = Duration::from_secs_f64(timeout);
    conversation.connect_timeout = conversation.connect_timeout.min(conversation.read_timeout);
    Ok(Some(Upstream::new(hosts, mirrors()?, conversation)))
}

/// Reads the certificate again at each SIGHUP, which ends nothing.
fn renew(certificate: Option<Arc<Certificate>>) -> io::Result<()> {
    let mut hangup = signal(SignalKind::hangup())?;
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            match certificate.as_ref().map(|certificate| certificate.renew()) {
                Some(Ok(())) => say("the certificate has been read again"),
                Some(Err(error)) => say(&format!("{:#}", anyhow::Error::from(error))),
                None => {}
            }
        }
    });
    Ok(())
}

/// An address and a port; every address of this machine, if it is left out.
fn address(text: &str) -> Result<SocketAddr, String> {
    let full = if text.starts_with(':') { format!("[::]{text}") } else { text.to_owned() };
    full.parse().map_err(|_| "not an address and a port, such as 127.0.0.1:5000 or :5000".to_owned())
}

/// The sockets to accept connections on.
fn listen(addresses: &[SocketAddr]) -> anyhow::Result<Vec<StdListener>> {
    let mut listeners = Vec::new();
    let mut passed = ListenFd::from_env();
    for number in 0..passed.len() {
        let listener = passed.take_tcp_listener(number).context("a socket that was passed is not for TCP")?;
        listeners.extend(listener);
    }
    let usual = [SocketAddr::from(([127, 0, 0, 1], 5000))];
    let addresses = if addresses.is_empty() && listeners.is_empty() { &usual[..] } else { addresses };
    for address in addresses {
        listeners.push(StdListener::bind(address).with_context(|| format!("listen on {address}"))?);
    }
    for listener in &listeners {
        listener.set_nonblocking(true).context("a socket that was passed")?;
    }
    Ok(listeners)
}

/// Lets the program have as many files open as it may: each connection and each upload is one. The usual limit is for programs that
/// call select(2); if it stays, clients wait.
fn open_more_files() {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

/// Is ready at the first signal that asks the program to stop. The second one ends it at once.
fn stop() -> io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        let (terminate_first, interrupt_first) = (Box::pin(terminate.recv()), Box::pin(interrupt.recv()));
        futures_util::future::select(terminate_first, interrupt_first).await;
        tokio::spawn(async move {
            futures_util::future::select(Box::pin(terminate.recv()), Box::pin(interrupt.recv())).await;
            std::process::exit(1);
        });
    })
}

/// A request as a line in the Combined Log Format of web servers, and its duration in seconds.
fn line(visit: &Visit) -> String {
    let quoted = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
    let peer = visit.peer.map_or_else(|| "-".to_owned(), |peer| peer.to_string());
    let user = visit.user.as_deref().map_or_else(|| "-".to_owned(), quoted);
    let time = Timestamp::now().strftime("%d/%b/%Y:%H:%M:%S +0000");
    let agent = visit.agent.as_deref().unwrap_or("-");
    let broken = if visit.is_whole { "" } else { " broken" };
    format!(
        "{peer} - {user} [{time}] \"{} {}\" {} {} \"-\" \"{}\" {:.3}{broken}",
        visit.method,
        quoted(&visit.target),
        visit.status,
        visit.sent,
        quoted(agent),
        visit.took.as_secs_f64()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_log_has_nothing_that_could_be_two() {
        let visit = Visit {
            peer: Some([127, 0, 0, 1].into()),
            user: Some("a\"b".into()),
            method: "GET".into(),
            target: "/v2/".into(),
            agent: Some("x\\\"y".into()),
            kind: "base",
            status: 200,
            sent: 2,
            is_whole: false,
            took: Duration::from_millis(1500),
        };
        let line = line(&visit);
        assert!(line.starts_with("127.0.0.1 - a\\\"b ["), "{line}");
        assert!(line.ends_with("] \"GET /v2/\" 200 2 \"-\" \"x\\\\\\\"y\" 1.500 broken"), "{line}");
    }
}
