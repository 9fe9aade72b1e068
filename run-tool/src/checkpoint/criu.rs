//! The program criu: a request is sent to `criu swrk`, its notifications are answered, and its response is returned.
//!
//! The messages are those of criu's `rpc.proto`, from the crate rust-criu. That crate's own driver supports neither runc's
//! configuration file nor runc's handling of notifications, so the conversation is implemented here.

use std::fs;
use std::io::ErrorKind;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use libcontainer::oci_spec::runtime::LinuxNamespaceType;
use protobuf::{Message, MessageField};
use rust_criu::rust_criu_protobuf::rpc::{
    Criu_features, Criu_notify, Criu_opts, Criu_req, Criu_req_type, Criu_resp, Ext_mount_map,
};
use rustix::io::FdFlags;
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use crate::container::Container;
use crate::kernel::error::{self, Fails};
use crate::kernel::syscall::Pid;
use crate::kernel::{log, process, socket};

/// Namespaces that criu treats as external if the container joined them: the key that identifies them in the images, and the first
/// version of criu that supports it.
pub(crate) const EXTERNAL: [(LinuxNamespaceType, &str, i32); 2] =
    [(LinuxNamespaceType::Network, "extRootNetNS", 31100), (LinuxNamespaceType::Pid, "extRootPidNS", 31500)];

/// Builds a request.
pub(crate) fn request(kind: Criu_req_type, options: Option<Criu_opts>) -> Criu_req {
    let mut request = Criu_req::new();
    request.set_type(kind);
    request.opts = MessageField::from_option(options);
    request
}

/// The code that makes a request, and reacts to what criu reports meanwhile.
pub(crate) trait Caller {
    /// Whether criu inherits run-tool's standard streams, for the processes that it restores.
    const LENDS_STREAMS: bool = false;

    /// Called when criu has started, before the request is sent.
    fn begun(&mut self, _criu: Pid, _request: &mut Criu_req) -> Result<()> {
        Ok(())
    }

    /// Called for each notification. A descriptor may come with it.
    fn notified(&mut self, _step: &Criu_notify, _fd: Option<OwnedFd>) -> Result<()> {
        Ok(())
    }
}

/// A caller that ignores notifications.
struct Asking;

impl Caller for Asking {}

/// The program to run: a name to look up in PATH, or a path.
#[derive(Debug)]
pub(crate) struct Criu(pub(crate) PathBuf);

impl Criu {
    /// Runs criu for one request and returns its response.
    pub(crate) fn carry_out<C: Caller>(&self, mut request: Criu_req, caller: &mut C) -> Result<Criu_resp> {
        let (ours, theirs) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
                .fails(|| "socketpair")?;
        rustix::io::fcntl_setfd(&theirs, FdFlags::empty()).fails(|| "fcntl(F_SETFD)")?;
        let mut command = Command::new(&self.0);
        command.arg("swrk").arg(theirs.as_raw_fd().to_string());
        if !C::LENDS_STREAMS {
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        }
        let mut child = match process::spawn(&mut command) {
            Err(error) if error.kind() == ErrorKind::NotFound && self.0.components().count() == 1 => {
                bail!("exec: {:?}: executable file not found in $PATH", self.0)
            }
            result => result.fails(|| format!("fork/exec {}", self.0.display()))?,
        };
        // Only criu may hold this end, so that a crash of criu closes the socket.
        drop(theirs);
        let kind = request.type_();
        log::debug(|| format!("Using CRIU in {kind:?} mode"));
        let response =
            caller.begun(child.id().cast_signed(), &mut request).and_then(|()| converse(&ours, &request, caller));
        // criu ends when the socket is closed.
        drop(ours);
        let status = child.wait().fails(|| "wait for criu")?;
        let response = response?;
        // After a pre-dump criu waits for more requests, and fails when the socket is closed.
        if !status.success() && kind != Criu_req_type::PRE_DUMP {
            bail!("criu failed: {status}");
        }
        Ok(response)
    }

    /// The version as a number (31701 for 3.17.1). Fails for versions before 3.
    pub(crate) fn version(&self) -> Result<i32> {
        let response =
            self.carry_out(request(Criu_req_type::VERSION, None), &mut Asking).context("CRIU version check failed")?;
        let version = &response.version;
        let number = version.major_number() * 10000 + version.minor_number() * 100;
        // A build from git counts as the next minor version.
        let number = if version.has_gitid() { number + 100 } else { number + version.sublevel() };
        if number < 30000 {
            bail!("CRIU version {number} must be 30000 or higher");
        }
        Ok(number)
    }

    /// Fails unless criu supports all features that are set.
    pub(crate) fn require(&self, features: &Criu_features) -> Result<()> {
        let mut asked = request(Criu_req_type::FEATURE_CHECK, None);
        asked.features = MessageField::some(features.clone());
        let response = self.carry_out(asked, &mut Asking).context("CRIU feature check failed")?;
        let mut missing = Vec::new();
        if features.mem_track() && !response.features.mem_track() {
            missing.push("MemTrack");
        }
        if features.lazy_pages() && !response.features.lazy_pages() {
            missing.push("LazyPages");
        }
        if !missing.is_empty() {
            bail!("criu is missing features: [{}]", missing.join(" "));
        }
        Ok(())
    }
}

fn converse(socket: &OwnedFd, request: &Criu_req, caller: &mut impl Caller) -> Result<Criu_resp> {
    let send = |request: &Criu_req| -> Result<()> {
        rustix::io::write(socket, &request.write_to_bytes()?).fails(|| "write to criu")?;
        Ok(())
    };
    send(request)?;
    let mut buffer = vec![0; 10 * 4096];
    loop {
        let (count, fd) = socket::receive_fd(socket.as_fd(), &mut buffer).fails(|| "read from criu")?;
        if count == 0 {
            bail!("unexpected EOF");
        }
        let response = Criu_resp::parse_from_bytes(&buffer[..count]).context("response of criu")?;
        let kind = response.type_();
        if !response.success() {
            bail!("criu failed: type {kind:?} errno {}", response.cr_errno());
        }
        if kind != Criu_req_type::NOTIFY {
            if kind != request.type_() {
                bail!("unable to parse the response {response}");
            }
            return Ok(response);
        }
        log::debug(|| format!("notify: {}", response.notify.script()));
        caller.notified(&response.notify, fd)?;
        let mut answer = Criu_req::new();
        answer.set_type(Criu_req_type::NOTIFY);
        answer.set_notify_success(true);
        send(&answer)?;
    }
}

/// Logs the errors in one of criu's logs, each with the lines before it.
pub(crate) fn quote_errors(path: &Path) {
    const BEFORE: usize = 5;
    let text = match fs::read(path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) => {
            log::warn(&format!("open {}: {}", path.display(), error::reason(&error)));
            return;
        }
    };
    let lines: Vec<&str> = text.lines().collect();
    let mut quoted = 0;
    for (index, _) in lines.iter().enumerate().filter(|(_, line)| line.contains("Error")) {
        if quoted == 0 {
            log::warn(&format!("--- Quoting {:?}", path.display().to_string()));
        } else if index.saturating_sub(BEFORE) > quoted {
            log::warn("...");
        }
        let first = index.saturating_sub(BEFORE).max(quoted);
        for (number, line) in lines.iter().enumerate().take(index + 1).skip(first) {
            log::warn(&format!("{}:{line}", number + 1));
        }
        quoted = index + 1;
    }
    if quoted != 0 {
        log::warn("---");
    }
}

/// Sets the options that are the same for a checkpoint and a restore.
pub(crate) fn configure(options: &mut Criu_opts, container: &Container, log: &str) {
    options.set_log_level(4);
    options.set_log_file(log.to_owned());
    options.set_manage_cgroups(true);
    options.set_notify_scripts(true);
    options.set_orphan_pts_master(true);
    // The annotation names another file; an empty one means no file.
    match container.state.annotations().get("org.criu.config").and_then(|value| value.as_str()) {
        Some("") => {}
        Some(path) => options.set_config_file(path.to_owned()),
        None => options.set_config_file("/etc/criu/runc.conf".to_owned()),
    }
}

/// Marks a mount as external: its mount point in the container, and what criu finds it by.
pub(crate) fn leave(options: &mut Criu_opts, place: &Path, value: &Path) {
    let mut mount = Ext_mount_map::new();
    mount.set_key(place.display().to_string());
    mount.set_val(value.display().to_string());
    options.ext_mnt.push(mount);
}
