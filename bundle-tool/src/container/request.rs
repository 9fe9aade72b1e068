//! A request for a container: an image and docker's options, parsed.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use image_tool::address::Address;
use image_tool::layer::limit::Limits;
use image_tool::layout::platform::Platform;

use super::joined::Joins;
use super::userns::Ids;
use crate::bundle::name::ContainerName;
use crate::config::Options;
use crate::config::image::Healthcheck;
use crate::network::files::{Dns, ExtraHost};
use crate::network::{Endpoint, Mode};
use crate::option::port::{Expose, Publish};
use crate::volume::Attachment;

/// What a container is made from: an image and docker's options.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "each field is named for its option, which docker's manual explains")]
pub struct Request {
    pub address: Address,
    pub platform: Option<Platform>,
    pub name: Option<ContainerName>,
    /// The path of the bundle; `bundles/NAME` if absent.
    pub bundle: Option<PathBuf>,
    /// Whether the id is the container's for the runtime too, and the name of its folder: then it can be renamed.
    pub by_id: bool,
    /// Whether to make a plain tree even if an overlay can be mounted.
    pub copy: bool,
    /// The most that the container may write beside volumes, in bytes; absent for no limit.
    pub size: Option<u64>,
    /// The ids of a user namespace of the container's own; absent for those of the host.
    pub ids: Option<Ids>,
    /// The limits of the image's layers.
    pub limits: Limits,
    pub options: Options,
    pub user: Option<String>,
    pub groups: Vec<String>,
    pub attachments: Vec<Attachment>,
    pub labels: BTreeMap<String, String>,
    pub network: Connection,
    /// The containers whose namespaces are joined.
    pub joins: Joins,
    pub extra_hosts: Vec<ExtraHost>,
    pub dns: Dns,
    pub healthcheck: Option<Healthcheck>,
    pub rm: bool,
    pub interactive: bool,
    pub stop_signal: Option<String>,
    pub stop_timeout: Option<i64>,
    /// Annotations for the runtime, such as the restart policy and the log driver.
    pub annotations: BTreeMap<String, String>,
    pub cidfile: Option<PathBuf>,
    /// Whether other containers may share /dev/shm, which is then a folder of the bundle.
    pub shareable: bool,
    /// The path of the init of `--init` on this host; absent without `--init`.
    pub init: Option<PathBuf>,
}

impl Request {
    /// The option that needs an overlay, if there is one.
    pub(super) fn needs_overlay(&self) -> Option<&'static str> {
        match (self.ids.is_some(), self.size.is_some()) {
            (true, _) => Some("--userns"),
            (_, true) => Some("--storage-opt size"),
            _ => None,
        }
    }
}

/// How the container is connected to a network.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "each field is named for its option, which docker's manual explains")]
pub struct Connection {
    pub mode: Mode,
    /// The bundle of the container whose network, hosts and resolv.conf are shared; absent for none.
    pub shared: Option<PathBuf>,
    pub publish: Vec<Publish>,
    pub publish_all: bool,
    pub expose: Vec<Expose>,
    pub ip: Option<IpAddr>,
    pub ip6: Option<IpAddr>,
    pub link_local: Vec<IpAddr>,
    pub mac: Option<String>,
    pub aliases: Vec<String>,
    pub links: Vec<(String, String)>,
    /// The networks beside the first.
    pub others: Vec<Endpoint>,
}
