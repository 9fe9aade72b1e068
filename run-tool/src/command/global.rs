//! The global options, checked: where state is kept, who manages control groups, and how the program was called.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::cgroup::systemd;
use crate::checkpoint::criu::Criu;
use crate::container::{Container, DoesNotExist};
use crate::kernel::{beneath, procfs};

/// The global options, checked.
#[derive(Debug)]
pub(super) struct Global {
    /// The folder that holds the state of all containers.
    pub(super) root: PathBuf,
    /// Whether it is the default folder of an ordinary user.
    private_root: bool,
    /// Whether it is root's default folder, which an ordinary user got for want of another one.
    foreign_root: bool,
    rootless: String,
    /// Whether systemd manages the control groups.
    pub(super) systemd_cgroup: bool,
    criu: Option<PathBuf>,
}

impl Global {
    /// Reads what was given.
    pub(super) fn new(root: Option<&Path>, rootless: &str, systemd_cgroup: bool, criu: Option<&Path>) -> Result<Self> {
        if systemd_cgroup && !systemd::is_running() {
            bail!("systemd cgroup flag passed, but systemd support for managing cgroups is not available");
        }
        let explicit_root = root.is_some();
        let (root, private_root) = match root {
            Some(root) => {
                let root = beneath::clean(&std::env::current_dir().context("getwd")?.join(root));
                if root == Path::new("/") {
                    bail!("Option --root argument should not be set to /");
                }
                (root, false)
            }
            None => default_root(),
        };
        let foreign_root = !explicit_root && !private_root && !rustix::process::geteuid().is_root();
        let (rootless, criu) = (rootless.to_owned(), criu.map(Path::to_owned));
        Ok(Self { root, private_root, foreign_root, rootless, systemd_cgroup, criu })
    }

    /// Creates the root if it is the default one of an ordinary user, as runc does for every command. Completions and manual pages
    /// do without: a shell asks for candidates at each press of the tab key, and a package is built where there is no such folder.
    pub(super) fn make_root(&self) -> Result<()> {
        if self.foreign_root {
            bail!(
                "{}: only root keeps containers there, and $XDG_RUNTIME_DIR is not set (set it to a folder of your own, or use --root)",
                self.root.display()
            );
        }
        if self.private_root {
            std::fs::create_dir_all(&self.root).with_context(|| {
                format!("{}: the path in $XDG_RUNTIME_DIR must be writable by the user", self.root.display())
            })?;
            // The sticky bit keeps it from being pruned (XDG base directory specification).
            rustix::fs::chmod(&self.root, rustix::fs::Mode::from_raw_mode(0o1700))
                .with_context(|| self.root.display().to_string())?;
        }
        Ok(())
    }

    /// Whether errors of permission on control groups are ignored.
    pub(super) fn rootless_cgroups(&self) -> Result<bool> {
        match self.rootless.to_ascii_lowercase().as_str() {
            "" | "auto" => Ok(!rustix::process::geteuid().is_root() || procfs::in_user_namespace()),
            "1" | "t" | "true" => Ok(true),
            "0" | "f" | "false" => Ok(false),
            other => bail!("strconv.ParseBool: parsing {other:?}: invalid syntax"),
        }
    }

    /// The criu to use. A relative path is resolved now: `restore` changes to the bundle before it runs criu.
    pub(super) fn criu(&self) -> Result<Criu> {
        let path = self.criu.as_deref().unwrap_or(Path::new("criu"));
        if path.components().count() == 1 {
            return Ok(Criu(path.to_owned()));
        }
        Ok(Criu(std::env::current_dir().context("getwd")?.join(path)))
    }

    /// Loads a container for one of run-tool's own commands. The error names the container and the command to run next.
    pub(super) fn named(&self, id: &str) -> Result<Container> {
        self.container(id).map_err(|error| {
            if error.is::<DoesNotExist>() {
                return anyhow::anyhow!("{id}: {DoesNotExist} (run-tool list)");
            }
            error.context(id.to_owned())
        })
    }

    /// Finds a container.
    pub(super) fn container(&self, id: &str) -> Result<Container> {
        Container::load(&self.root, id)
    }
}

/// The folder of state without `--root`, and whether it is in the runtime folder of an ordinary user.
pub(super) fn default_root() -> (PathBuf, bool) {
    // podman passes no root. Called as runc, run-tool must find the containers that runc started.
    let folder_name = if name() == "runc" { "runc" } else { "run-tool" };
    let ordinary = !rustix::process::geteuid().is_root()
        || (procfs::in_user_namespace() && std::env::var_os("USER").is_none_or(|user| user != "root"));
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").filter(|folder| !folder.is_empty()).map(PathBuf::from);
    match runtime.or_else(login_folder).filter(|_| ordinary) {
        Some(folder) => (folder.join(folder_name), true),
        None => (Path::new("/run").join(folder_name), false),
    }
}

/// The folder that systemd makes for a user at login, whether or not this process was started from that session (su, cron).
fn login_folder() -> Option<PathBuf> {
    let user = rustix::process::geteuid();
    let folder = PathBuf::from(format!("/run/user/{}", user.as_raw()));
    let stat = rustix::fs::lstat(&folder).ok()?;
    let own = stat.st_uid == user.as_raw() && stat.st_mode & 0o022 == 0;
    (own && rustix::fs::FileType::from_raw_mode(stat.st_mode).is_dir() && !user.is_root()).then_some(folder)
}

/// The file name of `argv[0]`. runc's messages begin with it, and engines show them.
pub(super) fn name() -> String {
    std::env::args_os()
        .next()
        .and_then(|name| Path::new(&name).file_name().map(|name| name.to_string_lossy().into_owned()))
        .unwrap_or_else(|| "run-tool".to_owned())
}
