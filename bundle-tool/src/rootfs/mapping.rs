//! Layers with other owners, as a user namespace sees them: nothing is copied and no owner is changed.
//!
//! The kernel maps the ids of a mount, not those of an overlay as a whole (Linux 5.19). So each layer is covered by a mount of itself whose ids
//! are mapped, in a mount namespace that only the overlay sees, and that goes with the thread which makes it.

use std::fs;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use image_tool::error::During as _;
use rustix::fs::CWD;
use rustix::mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree};

use super::{Error, refused};

/// A user namespace, whose ids are those of layers.
#[derive(Clone, Debug)]
pub struct Mapping {
    namespace: Arc<OwnedFd>,
}

impl Mapping {
    /// Makes a user namespace with these maps, in the form of /proc/PID/uid_map.
    pub fn new(users: &str, groups: &str) -> Result<Self, Error> {
        let mut holder = Command::new("unshare");
        holder.args(["--user", "cat"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut holder = holder.spawn().during("run", "unshare")?;
        let made = open(&mut holder, users, groups);
        // It ends with its input, also when this process is killed.
        drop(holder.stdin.take());
        let _ = holder.wait();
        Ok(Self { namespace: Arc::new(made.during("create", "a user namespace")?) })
    }

    /// Covers a layer with a mount of itself whose ids are mapped, in the mount namespace of this thread.
    pub(super) fn cover(&self, layer: &Path) -> Result<(), Error> {
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let tree = open_tree(CWD, layer, flags).map_err(|errno| refused("open", layer, errno))?;
        composefs_ioctls::mount::mount_setattr_idmap(&tree, &*self.namespace).during("map the ids of", layer)?;
        move_mount(&tree, "", CWD, layer, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
            .map_err(|errno| refused("mount", layer, errno))
    }
}

/// Opens the user namespace of a process once it is in one, with these maps.
fn open(holder: &mut Child, users: &str, groups: &str) -> io::Result<OwnedFd> {
    let (Some(input), Some(output)) = (&mut holder.stdin, holder.stdout.take()) else {
        return Err(io::ErrorKind::BrokenPipe.into());
    };
    // What it echoes it has read in its namespace.
    input.write_all(b"\n")?;
    if BufReader::new(output).read_line(&mut String::new())? == 0 {
        return Err(io::Error::other("unshare(1) failed"));
    }
    let process = Path::new("/proc").join(holder.id().to_string());
    fs::write(process.join("uid_map"), users)?;
    fs::write(process.join("gid_map"), groups)?;
    Ok(fs::File::open(process.join("ns/user"))?.into())
}
