//! The keys of annotations in a bundle's config.json, by which tools and people know a container.
//!
//! Labels that the options set are annotations as well, under their own names.

/// The image's ref as the user gave it, or its digest.
pub const IMAGE: &str = "org.oci-tools.image";
/// When the bundle was created (RFC 3339).
pub const CREATED: &str = "org.oci-tools.created";
/// Published ports as `docker ps` shows them.
pub const PORTS: &str = "org.oci-tools.ports";
/// The program and its arguments, as a JSON array.
pub const COMMAND: &str = "org.oci-tools.command";
/// The container's name, which is its id for the runtime unless that has one of its own.
pub const NAME: &str = "org.oci-tools.name";
/// The id for the runtime, if it is not the name: the id of docker's containers, which can be renamed, and the first name of others.
pub const RUNTIME_ID: &str = "org.oci-tools.runtime-id";
/// The value of `--userns`, if the container has ids of its own; config.json has their maps.
pub const USERNS: &str = "org.oci-tools.userns";
/// The container's id as docker has one: 64 hexadecimal digits.
pub const ID: &str = "org.oci-tools.id";
/// The signal that stops the container, by name or number.
pub const STOP_SIGNAL: &str = "org.oci-tools.stop-signal";
/// The seconds between that signal and SIGKILL; -1 for no limit.
pub const STOP_TIMEOUT: &str = "org.oci-tools.stop-timeout";
/// `true`: the bundle is removed when the container is deleted.
pub const RM: &str = "org.oci-tools.rm";
/// `true`: the program reads standard input (docker's `-i`).
pub const INTERACTIVE: &str = "org.oci-tools.interactive";
/// The restart policy: `no`, `on-failure[:N]`, `always`, `unless-stopped`.
pub const RESTART: &str = "org.oci-tools.restart";
/// The log driver: `none`, `json-file`, `local`, `journald`.
pub const LOG_DRIVER: &str = "org.oci-tools.log-driver";
/// The options of the log driver, as a JSON object.
pub const LOG_OPTIONS: &str = "org.oci-tools.log-options";
/// The health check, in the JSON form of docker's image config.
pub const HEALTHCHECK: &str = "org.oci-tools.healthcheck";
/// The path of the journal in which what happens to the container is recorded, for `bundle-tool events`.
pub const EVENTS: &str = "org.oci-tools.events";
/// docker's network mode: `none`, `host`, `container:ID` or the name of a network.
pub const NETWORK_MODE: &str = "org.oci-tools.network-mode";
/// What the network hook sets up: a [`crate::network::Plan`] in JSON.
pub const NETWORK: &str = "org.oci-tools.network";
/// The containers whose namespaces are joined: their ids, by the name of the namespace in /proc/PID/ns, as a JSON object.
pub const JOINS: &str = "org.oci-tools.joins";
/// The volumes in use, a JSON array of [`super::Used`].
pub const VOLUMES: &str = "org.oci-tools.volumes";
/// The digest of the image's manifest.
pub const DIGEST: &str = "org.oci-tools.digest";
/// The id of the image: the digest of its config.
pub const IMAGE_ID: &str = "org.oci-tools.image-id";
/// The words of the command line that the container was created by, as a JSON array: docker's options are read from them again for
/// `inspect`.
pub const ARGUMENTS: &str = "org.oci-tools.arguments";
/// The options of docker update that were given since, by name, as a JSON object.
pub const UPDATED: &str = "org.oci-tools.updated";
/// What the container has of its image's config and the environment: docker's `Config` with the fields that options do not say, in JSON.
pub const SETTINGS: &str = "org.oci-tools.settings";
/// The absolute path of the layout that holds the image.
pub const LAYOUT: &str = "org.oci-tools.layout";

/// The prefix of every annotation of these tools, which labels must not have.
pub const PREFIX: &str = "org.oci-tools.";

/// The labels of image and options together, as a JSON object. An image's labels do not become annotations of their own: runtimes act
/// on some names (`run.oci.…`, `org.systemd.property.…`), and an image is not trusted.
pub const LABELS: &str = "org.oci-tools.labels";

/// `shareable`: /dev/shm is the bundle's folder `shm`, which other containers may share (docker's `--ipc`).
pub const IPC: &str = "org.oci-tools.ipc";

/// The size in bytes of a shareable /dev/shm.
pub const SHM_SIZE: &str = "org.oci-tools.shm-size";

/// `true`: run in the background.
pub const DETACH: &str = "org.oci-tools.detach";
/// The streams to attach to, separated by commas.
pub const ATTACH: &str = "org.oci-tools.attach";
/// The key sequence that detaches from the container.
pub const DETACH_KEYS: &str = "org.oci-tools.detach-keys";
/// `false`: signals are not forwarded to the program.
pub const SIGNAL_PROXY: &str = "org.oci-tools.sig-proxy";
/// The runtime to use for the container.
pub const RUNTIME: &str = "org.oci-tools.runtime";
