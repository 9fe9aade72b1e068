//! The life of a container: [`create`] makes a bundle, hooks bring its network up and down, `status` lists it, `exec` describes a further
//! program in it, `copy` carries files in and out, `change` extracts what it wrote, `removal` removes it. This room knows all others.
//!
//! `create` first refuses whatever it can without touching the disk. Then it takes the name, makes the root file system, looks up users,
//! fills volumes, creates mount points, and writes config.json last. If a step fails, dropping the draft undoes those before.

mod attachment;
pub mod change;
pub mod copy;
pub mod exec;
mod files;
pub mod hook;
mod host;
mod init;
mod joined;
mod layers;
pub(crate) mod link;
mod lower;
mod mount_point;
mod networks;
mod preparation;
mod quota;
pub mod removal;
mod request;
mod settings;
pub mod status;
pub mod stored;
pub mod update;
pub mod userns;

use std::fs;
use std::path::PathBuf;

use image_tool::address::home::Home;
use image_tool::beneath;
use image_tool::error::During as _;
use image_tool::layer::cache::{self, Cache};
use image_tool::layer::limit::TooManyLayers;
use image_tool::layer::stack;
use image_tool::layout;

use self::attachment::Fresh;
use self::layers::Tree;
use self::preparation::Preparation;
use crate::bundle::name::ContainerName;
use crate::bundle::{self, Draft, annotation};
use crate::config;
use crate::journal;
use crate::network;
use crate::option::{Refused, environment, port};
use crate::rootfs::{self, user};
use crate::volume;

pub use host::id_ranges;
pub use joined::Joins;
pub use layers::{mount, mount_files, unmount};
pub use networks::{ConnectionError, conflist, create_network, join_network, leave_network, network_folders, rename};
pub use request::{Connection, Request};

/// Why a bundle cannot be made or mounted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each variant is another module's error, passed on")]
pub enum Error {
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error(transparent)]
    Config(#[from] config::Error),
    #[error(transparent)]
    Bundle(#[from] bundle::Error),
    #[error(transparent)]
    Rootfs(#[from] rootfs::Error),
    #[error(transparent)]
    Volume(#[from] volume::Error),
    #[error(transparent)]
    Network(#[from] network::Error),
    /// There is no network that the container is to be on.
    #[error("--network: {0}")]
    NoNetwork(network::Error),
    #[error(transparent)]
    Removal(#[from] removal::Error),
    #[error(transparent)]
    Layout(#[from] layout::Error),
    #[error(transparent)]
    Layers(#[from] cache::Error),
    #[error(transparent)]
    Stack(#[from] stack::Error),
    #[error(transparent)]
    Image(#[from] config::image::Error),
    #[error(transparent)]
    Environment(#[from] environment::Error),
    /// A port that the image exposes is not valid.
    #[error(transparent)]
    Port(#[from] port::Error),
    /// The user cannot be resolved in the image.
    #[error("user {specification}")]
    User { specification: String, source: user::Error },
    /// The working directory cannot be created.
    #[error("working directory {}", .path.display())]
    Workdir { path: PathBuf, source: beneath::Error },
    /// A mount point cannot be created.
    #[error("mount point {}", .path.display())]
    MountPoint { path: PathBuf, source: beneath::Error },
    /// The files of the image prevent an operation.
    #[error("root file system")]
    Beneath(#[from] beneath::Error),
    /// A layer of the bundle is no longer unpacked.
    #[error("layer {digest} is no longer in the cache ({remedy})")]
    NoLayer { digest: String, remedy: String },
    /// The file for the id exists.
    #[error("--cidfile: {}: file exists (remove it if no container needs it)", .0.display())]
    IdFile(PathBuf),
    /// The image has too many layers.
    #[error("image refused")]
    TooManyLayers(#[from] TooManyLayers),
    /// An operation that the kernel refused.
    #[error(transparent)]
    Io(#[from] image_tool::error::Io),
}

/// A container that was made.
#[derive(Clone, Debug)]
pub struct Made {
    /// The path of the bundle, as the user gave it.
    pub bundle: PathBuf,
    /// The container's ID.
    pub id: String,
    /// Notes for the user that are not errors.
    pub notes: Vec<String>,
}

/// Makes a bundle.
pub fn create(home: &Home, request: &Request) -> Result<Made, Error> {
    let made = make(home, request);
    if made.is_err() {
        // The draft was unmounted last, and the image below it not at all.
        stack::sweep(&Cache::of(home));
    }
    made
}

fn make(home: &Home, request: &Request) -> Result<Made, Error> {
    let plan = Preparation::new(home, request)?;
    if let Some(path) = &request.cidfile
        && path.exists()
    {
        return Err(Error::IdFile(path.clone()));
    }
    let by_id = request.by_id.then(|| home.bundles().join(&plan.id));
    let draft = Draft::create(&home.bundles(), request.name.clone(), request.bundle.as_deref().or(by_id.as_deref()))?;
    let mut made = Made { bundle: draft.shown().to_owned(), id: plan.id.clone(), notes: plan.notes.clone() };
    let mut tree = Tree::make(home, draft.path(), plan.subject.image(), request)?;
    if request.shareable {
        layers::mount_shm(draft.path(), request.options.shm_size)?;
    }
    let mut fresh = Fresh::new(home)?;
    let spec = plan.spec(draft.path(), draft.name(), &tree, Some(&mut fresh))?;
    tree.finish(spec.mounts().as_deref().unwrap_or_default(), request.size)?;
    made.notes.extend(tree.note());
    tree.leave();
    let workdir = spec.process().as_ref().map(|process| process.cwd().as_path());
    files::make_workdir(draft.path(), workdir, request.ids.as_ref())?;
    if let Some(ids) = &request.ids {
        ids.open_way(home, draft.path())?;
    }
    if let Some(path) = &request.cidfile {
        files::write_new(path, plan.id.as_bytes())?;
    }
    let held = joined::hold(home, &plan.id, draft.path(), &request.joins);
    if let Err(error) = held.and_then(|()| Ok(draft.commit(&config::to_json(&spec), request.rm)?)) {
        joined::release(&plan.id);
        if let Some(path) = &request.cidfile {
            // There is no container of this id.
            let _ = fs::remove_file(path);
        }
        return Err(error);
    }
    fresh.keep();
    let annotations = spec.annotations().clone().unwrap_or_default();
    let annotation = |key: &str| annotations.get(key).map(String::as_str);
    let name = annotation(annotation::NAME).unwrap_or_default();
    journal::record_container(home, "create", name, annotation, &[]);
    Ok(made)
}

/// The config.json of the bundle that [`create`] would make. Only unpacked layers stay on disk.
pub fn spec(home: &Home, request: &Request) -> Result<Vec<u8>, Error> {
    let plan = Preparation::new(home, request)?;
    let name = request.name.clone().unwrap_or_else(ContainerName::random);
    // A draft in another folder, with the paths that the bundle would have.
    let place = home.bundles().join(".spec");
    let draft = Draft::create(&place, None, None)?;
    let shown = match &request.bundle {
        Some(path) => std::path::absolute(path).during("find", path)?,
        None => home.bundles().join(name.as_str()),
    };
    let tree = Tree::make(home, draft.path(), plan.subject.image(), request)?;
    let spec = plan.spec(&shown, &name, &tree, None);
    drop(draft);
    // Fails if another draft is there.
    let _ = fs::remove_dir(&place);
    Ok(config::to_json(&spec?))
}
