//! The annotations of a bundle's config.json: what the tools and people read back from a container.
//!
//! Labels stand beside them under their own names.

/// The image's ref as it was given.
pub const IMAGE: &str = "org.oci-tools.image";
/// When the bundle was made (RFC 3339).
pub const CREATED: &str = "org.oci-tools.created";
/// Published ports as `docker ps` shows them.
pub const PORTS: &str = "org.oci-tools.ports";
/// The arguments of the program, a JSON array.
pub const COMMAND: &str = "org.oci-tools.command";
/// The container's name, its id for the runtime.
pub const NAME: &str = "org.oci-tools.name";
/// The docker-like id, 64 hexadecimal digits.
pub const ID: &str = "org.oci-tools.id";
/// The signal that asks the program to stop.
pub const STOP_SIGNAL: &str = "org.oci-tools.stop-signal";
/// Seconds until a program that was asked to stop is killed.
pub const STOP_TIMEOUT: &str = "org.oci-tools.stop-timeout";
/// `true`: the bundle goes when the container is deleted.
pub const RM: &str = "org.oci-tools.rm";
/// `true`: standard input is the program's (docker's `-i`).
pub const INTERACTIVE: &str = "org.oci-tools.interactive";
/// The restart policy: `no`, `on-failure[:N]`, `always`, `unless-stopped`.
pub const RESTART: &str = "org.oci-tools.restart";
/// Where the program's output goes.
pub const LOG_DRIVER: &str = "org.oci-tools.log-driver";
/// The log driver's options, a JSON object.
pub const LOG_OPTIONS: &str = "org.oci-tools.log-options";
/// The health check, in the JSON form of docker's image config.
pub const HEALTHCHECK: &str = "org.oci-tools.healthcheck";
/// What the network hook sets up, a JSON object.
pub const NETWORK: &str = "org.oci-tools.network";
/// The volumes in use, a JSON array; those without a name of their own go with the container where `--rm` asks for it.
pub const VOLUMES: &str = "org.oci-tools.volumes";
/// The manifest's digest.
pub const DIGEST: &str = "org.oci-tools.digest";
/// The layout that the image is in.
pub const LAYOUT: &str = "org.oci-tools.layout";

/// What every annotation of these tools starts with; labels that do are refused.
pub const PREFIX: &str = "org.oci-tools.";

/// Labels of image and options together, a JSON object. An image's labels are not annotations of their own: runtimes act on some
/// names (`run.oci.…`, `org.systemd.property.…`), and an image is a stranger's.
pub const LABELS: &str = "org.oci-tools.labels";

/// `shareable`: /dev/shm is the bundle's folder `shm`, for other containers to share (docker's `--ipc`).
pub const IPC: &str = "org.oci-tools.ipc";

/// The size in bytes of a shareable /dev/shm.
pub const SHM_SIZE: &str = "org.oci-tools.shm-size";

/// `true`: to be run in the background.
pub const DETACH: &str = "org.oci-tools.detach";
/// The streams to attach to, comma separated.
pub const ATTACH: &str = "org.oci-tools.attach";
/// The keys that detach.
pub const DETACH_KEYS: &str = "org.oci-tools.detach-keys";
/// `false`: signals are not passed on to the program.
pub const SIGNAL_PROXY: &str = "org.oci-tools.sig-proxy";
/// The runtime that was asked for.
pub const RUNTIME: &str = "org.oci-tools.runtime";
