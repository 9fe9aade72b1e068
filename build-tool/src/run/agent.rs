//! SSH agents for `RUN --mount=type=ssh`: the caller's own, or one started for the private keys that `build --ssh` names.
//!
//! A command never gets the agent's own socket. It gets one that is forwarded, and of the agent's protocol (the Internet
//! draft `draft-ietf-sshm-ssh-agent`) only the requests to list keys and to sign pass: a command may use keys while it
//! runs, but can neither remove nor add them, nor lock the agent. This also lets any user of the container in, whereas
//! ssh-agent(1) answers its own user alone.

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use image_tool::error::{During, Io};
use rustix::process::{Pid, Signal};

use crate::cache::folder::Folder;
use crate::dockerfile::mount::Owner;

/// Why an agent cannot be reached or started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No path is given, and the environment names no agent.
    #[error("--ssh {0}: SSH_AUTH_SOCK names no agent (start ssh-agent, or give a socket or keys: --ssh {0}=PATH)")]
    NoAgent(String),
    /// Two options give an agent of the same name.
    #[error("--ssh {0}: given twice")]
    Twice(String),
    /// There is a socket among several paths.
    #[error("--ssh {0}: expected one socket, or keys only")]
    Mixed(String),
    /// A private key cannot be used.
    #[error("--ssh: {}: {reason}", .path.display())]
    Key {
        /// The key's file.
        path: PathBuf,
        /// What ssh-add says.
        reason: String,
    },
    /// A program of OpenSSH cannot be started.
    #[error("start {program}, which keys need (apt install openssh-client)")]
    Program {
        /// The program's name.
        program: &'static str,
        /// The kernel's reason.
        source: io::Error,
    },
    /// The kernel refused an operation.
    #[error(transparent)]
    Io(#[from] Io),
}

/// What `--ssh` names.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Source {
    /// The socket of an agent.
    Socket(PathBuf),
    /// Files of private keys.
    Keys(Vec<PathBuf>),
}

/// The agents of a build.
#[derive(Debug, Default)]
pub struct Agents {
    sources: BTreeMap<String, Source>,
    started: Mutex<BTreeMap<String, KeyAgent>>,
}

impl Agents {
    /// Finds the agents of the values of `--ssh`: `default`, or `ID[=PATH[,PATH…]]`, where one path is a socket or
    /// several are private keys. `environment` is the value of `SSH_AUTH_SOCK`.
    pub fn find(values: &[String], environment: Option<PathBuf>) -> Result<Self, Error> {
        let mut agents = Self::default();
        for value in values {
            let (id, paths) = value.split_once('=').unwrap_or((value, ""));
            let id = if id.is_empty() { "default" } else { id };
            let mut paths: Vec<PathBuf> = paths.split(',').filter(|path| !path.is_empty()).map(PathBuf::from).collect();
            if paths.is_empty() {
                let path = environment.clone().filter(|path| !path.as_os_str().is_empty());
                paths.push(path.ok_or_else(|| Error::NoAgent(id.to_owned()))?);
            }
            let source = Source::of(id, paths)?;
            if agents.sources.insert(id.to_owned(), source).is_some() {
                return Err(Error::Twice(id.to_owned()));
            }
        }
        Ok(agents)
    }

    /// The socket of the agent of that name, which is started in `builds` if it is one for keys; `None` if `--ssh` gives
    /// none.
    pub fn socket(&self, id: &str, builds: &Path) -> Result<Option<PathBuf>, Error> {
        match self.sources.get(id) {
            None => Ok(None),
            Some(Source::Socket(path)) => Ok(Some(path.clone())),
            Some(Source::Keys(paths)) => {
                let mut started = self.started.lock().unwrap_or_else(PoisonError::into_inner);
                if !started.contains_key(id) {
                    started.insert(id.to_owned(), KeyAgent::start(paths, builds)?);
                }
                Ok(started.get(id).map(KeyAgent::socket))
            }
        }
    }
}

impl Source {
    fn of(id: &str, paths: Vec<PathBuf>) -> Result<Self, Error> {
        let mut sockets = 0;
        for path in &paths {
            sockets += usize::from(fs::metadata(path).during("open", path)?.file_type().is_socket());
        }
        match (sockets, <[PathBuf; 1]>::try_from(paths)) {
            (0, Ok(paths)) => Ok(Self::Keys(paths.into())),
            (0, Err(paths)) => Ok(Self::Keys(paths)),
            (1, Ok([path])) => Ok(Self::Socket(path)),
            _ => Err(Error::Mixed(id.to_owned())),
        }
    }
}

/// The largest key that is read.
const KEY_LIMIT: u64 = 100 << 10;

/// An ssh-agent(1) with keys.
///
/// It is started as the agent of cat(1), which reads a pipe of this process: an agent ends when its program does, and so
/// it does not outlive a build that is killed. (It notices within ten seconds.)
#[derive(Debug)]
struct KeyAgent {
    folder: Folder,
    child: Child,
    agent: Option<Pid>,
}

/// The agent's socket in its folder.
const SOCKET: &str = "agent";

impl KeyAgent {
    fn start(paths: &[PathBuf], builds: &Path) -> Result<Self, Error> {
        let folder = Folder::new(builds)?;
        let failed = |source| Error::Program { program: "ssh-agent", source };
        // A relative path, since that of a socket may have 107 bytes at most.
        let mut command = Command::new("ssh-agent");
        command.args(["-a", SOCKET, "sh", "-c", "echo $SSH_AGENT_PID; exec cat"]).current_dir(folder.path());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let child = command.spawn().map_err(failed)?;
        let mut agent = Self { folder, child, agent: None };
        let mut line = String::new();
        if let Some(output) = agent.child.stdout.take() {
            // The program starts once the agent listens.
            BufReader::new(output).read_line(&mut line).map_err(failed)?;
        }
        agent.agent = line.trim().parse().ok().and_then(Pid::from_raw);
        for path in paths {
            agent.add(path)?;
        }
        Ok(agent)
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join(SOCKET)
    }

    /// Adds a key. It is given to ssh-add on standard input, since the mode of a mounted or checked-out file may be one
    /// that ssh-add refuses.
    fn add(&self, path: &Path) -> Result<(), Error> {
        let mut key = Vec::new();
        File::open(path).and_then(|file| file.take(KEY_LIMIT).read_to_end(&mut key)).during("read", path)?;
        let failed = |source| Error::Program { program: "ssh-add", source };
        let mut command = Command::new("ssh-add");
        command.args(["-q", "-"]).current_dir(self.folder.path());
        // A key with a passphrase is for the caller's own agent; nobody is asked here.
        command.env("SSH_AUTH_SOCK", SOCKET).env("SSH_ASKPASS_REQUIRE", "never").env_remove("DISPLAY");
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(failed)?;
        if let Some(mut input) = child.stdin.take() {
            // What it does not read it does not need; its status says so.
            let _ = input.write_all(&key);
        }
        let output = child.wait_with_output().map_err(failed)?;
        if output.status.success() {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&output.stderr);
        if text.contains("passphrase") {
            let reason = "it has a passphrase (add it to an agent of yours, and use --ssh default)".to_owned();
            return Err(Error::Key { path: path.to_owned(), reason });
        }
        let reason = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("no reason given");
        Err(Error::Key { path: path.to_owned(), reason: format!("ssh-add refuses it: {}", reason.trim()) })
    }
}

impl Drop for KeyAgent {
    fn drop(&mut self) {
        if let Some(agent) = self.agent {
            // It may have ended by itself.
            let _ = rustix::process::kill_process(agent, Signal::TERM);
        }
        drop(self.child.stdin.take());
        // There is nobody to tell, and nothing to do about it.
        let _ = self.child.wait();
    }
}

/// The largest message of the protocol; OpenSSH's own limit.
const MESSAGE_LIMIT: u32 = 256 << 10;
/// `SSH_AGENT_FAILURE`.
const FAILURE: u8 = 5;
/// `SSH_AGENTC_REQUEST_IDENTITIES`.
const REQUEST_IDENTITIES: u8 = 11;
/// `SSH_AGENTC_SIGN_REQUEST`.
const SIGN_REQUEST: u8 = 13;
/// The number of connections that one command may have at a time.
const CONNECTIONS: usize = 64;

/// A forwarded socket. It listens for as long as the value lives.
#[derive(Debug)]
pub struct Forward {
    path: PathBuf,
    folder: File,
    name: String,
    done: Arc<AtomicBool>,
}

impl Forward {
    /// Listens at `name` in `folder`, and forwards to the agent at `agent`.
    pub fn start(folder: &Path, name: &str, agent: PathBuf, owner: Owner) -> Result<Self, Io> {
        let path = folder.join(name);
        let open = File::open(folder).during("open", folder)?;
        let forward = Self { path, folder: open, name: name.to_owned(), done: Arc::default() };
        let path = &forward.path;
        let listener = UnixListener::bind(forward.address()).during("listen at", path)?;
        chown(path, Some(owner.uid.unwrap_or(0)), Some(owner.gid.unwrap_or(0))).during("chown", path)?;
        fs::set_permissions(path, Permissions::from_mode(owner.mode.unwrap_or(0o600))).during("chmod", path)?;
        let done = Arc::clone(&forward.done);
        std::thread::Builder::new()
            .name("ssh".to_owned())
            .spawn(move || accept(&listener, &agent, &done))
            .during("listen at", path)?;
        Ok(forward)
    }

    /// The socket's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A short path, since that of a socket may have 107 bytes at most.
    fn address(&self) -> PathBuf {
        format!("/proc/self/fd/{}/{}", self.folder.as_raw_fd(), self.name).into()
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        self.done.store(true, Ordering::SeqCst);
        // This wakes the thread. If it cannot be reached, it is gone already.
        let _ = UnixStream::connect(self.address());
    }
}

fn accept(listener: &UnixListener, agent: &Path, done: &AtomicBool) {
    let open = Arc::new(AtomicUsize::new(0));
    while let Ok((client, _)) = listener.accept() {
        if done.load(Ordering::SeqCst) {
            return;
        }
        if open.fetch_add(1, Ordering::SeqCst) >= CONNECTIONS {
            open.fetch_sub(1, Ordering::SeqCst);
            continue;
        }
        let (agent, counted) = (agent.to_owned(), Arc::clone(&open));
        let started = std::thread::Builder::new().spawn(move || {
            if let Err(error) = serve(client, &agent) {
                tracing::info!("forward to the agent {}: {error}", agent.display());
            }
            counted.fetch_sub(1, Ordering::SeqCst);
        });
        if started.is_err() {
            open.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

/// Answers the requests of one connection.
fn serve(mut client: UnixStream, agent: &Path) -> io::Result<()> {
    let mut agent = UnixStream::connect(agent)?;
    while let Some(request) = receive(&mut client)? {
        let answer = match request.first() {
            Some(&(REQUEST_IDENTITIES | SIGN_REQUEST)) => {
                send(&mut agent, &request)?;
                let Some(answer) = receive(&mut agent)? else { return Ok(()) };
                answer
            }
            _ => vec![FAILURE],
        };
        send(&mut client, &answer)?;
    }
    Ok(())
}

/// Reads a message; `None` at the end.
fn receive(stream: &mut UnixStream) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    match stream.read_exact(&mut length) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let length = u32::from_be_bytes(length);
    if length > MESSAGE_LIMIT {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "message too long"));
    }
    let mut message = vec![0; length as usize];
    stream.read_exact(&mut message)?;
    Ok(Some(message))
}

fn send(stream: &mut UnixStream, message: &[u8]) -> io::Result<()> {
    let length = u32::try_from(message.len()).map_err(|_| io::ErrorKind::InvalidData)?;
    let mut framed = length.to_be_bytes().to_vec();
    framed.extend_from_slice(message);
    stream.write_all(&framed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(values: &[&str], environment: Option<&Path>) -> Result<Agents, String> {
        let values: Vec<String> = values.iter().map(|value| (*value).to_owned()).collect();
        Agents::find(&values, environment.map(Path::to_owned)).map_err(|error| error.to_string())
    }

    #[test]
    fn an_agent_is_a_socket_or_keys() {
        let folder = tempfile::tempdir().unwrap();
        let (socket, key) = (folder.path().join("s"), folder.path().join("k"));
        let _listener = UnixListener::bind(&socket).unwrap();
        fs::write(&key, "").unwrap();
        let (s, k) = (socket.display(), key.display());
        let agents = find(&["default", &format!("git={k},{k}"), &format!("other={s}")], Some(&socket)).unwrap();
        let kinds: Vec<bool> = agents.sources.values().map(|source| matches!(source, Source::Socket(_))).collect();
        assert_eq!(kinds, [true, false, true]);
        assert_eq!(agents.socket("none", folder.path()).unwrap(), None);
        assert_eq!(agents.socket("other", folder.path()).unwrap().as_deref(), Some(socket.as_path()));
        for (values, expected) in [
            (vec!["default".to_owned()], "--ssh default: SSH_AUTH_SOCK names no agent"),
            (vec![format!("a={s}"), format!("a={k}")], "--ssh a: given twice"),
            (vec![format!("a={s},{k}")], "--ssh a: expected one socket, or keys only"),
            (vec!["a=/nonexistent".to_owned()], "open /nonexistent"),
        ] {
            let values: Vec<&str> = values.iter().map(String::as_str).collect();
            let message = find(&values, None).unwrap_err();
            assert!(message.starts_with(expected), "{message}");
        }
    }

    #[test]
    fn only_listing_and_signing_pass() {
        let folder = tempfile::tempdir().unwrap();
        let agent = folder.path().join("agent");
        let listener = UnixListener::bind(&agent).unwrap();
        // An agent that answers with what it was asked.
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            while let Ok(Some(message)) = receive(&mut stream) {
                send(&mut stream, &message).unwrap();
            }
        });
        let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let owner = Owner { uid: Some(uid), gid: Some(gid), mode: Some(0o622) };
        let forward = Forward::start(folder.path(), "ssh", agent, owner).unwrap();
        assert_eq!(fs::metadata(forward.path()).unwrap().permissions().mode() & 0o777, 0o622);
        let mut client = UnixStream::connect(forward.path()).unwrap();
        let mut ask = |message: &[u8]| {
            send(&mut client, message).unwrap();
            receive(&mut client).unwrap()
        };
        assert_eq!(ask(&[REQUEST_IDENTITIES]), Some(vec![REQUEST_IDENTITIES]));
        assert_eq!(ask(&[SIGN_REQUEST, 1, 2]), Some(vec![SIGN_REQUEST, 1, 2]));
        // To add a key, to remove one or all, to lock, an extension, and nothing at all.
        for request in [&[17, 1][..], &[18], &[19], &[22], &[27], &[]] {
            assert_eq!(ask(request), Some(vec![FAILURE]), "{request:?}");
        }
        client.write_all(&u32::MAX.to_be_bytes()).unwrap();
        assert_eq!(client.read(&mut [0]).unwrap(), 0, "a message that is too long ends the connection");
    }
}
