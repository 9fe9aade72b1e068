//! config.json: an image's config and docker's options as an OCI runtime configuration.
//!
//! It is a pure function of its input and of the host's abilities (capabilities, devices, control groups), and can be tested as one. What
//! needs the root file system (users, volumes, the working directory) has been done before.
//!
//! `ociVersion` is 1.0.2, which all runtimes accept (crun refuses versions that it does not know), unless something newer is used: then it
//! is the version that has it, so that a runtime without it refuses the bundle instead of ignoring a part of it.
//!
//! This room also reads the image's config (`image`) and CDI descriptions (`cdi`). It knows `option`, `security` and `rootfs`, but no
//! bundle.

pub mod cdi;
pub mod image;
mod linux;
mod mounts;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{Capabilities, Hooks, LinuxCapabilities, LinuxSeccomp, Mount, Process, Root, Spec, User};

use self::cdi::Edits;
use self::image::Runtime;
use crate::option::Refused;
use crate::option::device::{Device, Rule};
use crate::option::environment;
use crate::option::limit::Limits;
use crate::option::path;
use crate::rootfs::user::Identity;
use crate::security::capability::{self, Capability};
use crate::security::seccomp;
use crate::security::{Confinement, Seccomp, SecurityOption};

pub use mounts::mount;

/// Why a configuration cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An option cannot be honoured.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// Neither the image nor the options name a program.
    #[error("No command specified, and none in the image (give one after its name)")]
    NoCommand,
    /// An operation that the kernel refused.
    #[error(transparent)]
    Io(#[from] image_tool::error::Io),
    /// The seccomp profile is not valid.
    #[error("{path}")]
    Profile {
        /// The path of the profile.
        path: PathBuf,
        /// What is wrong with the profile.
        source: seccomp::Error,
    },
}

/// A namespace of the container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Namespace {
    /// A new one of the container's own.
    #[default]
    Private,
    /// That of the host.
    Host,
    /// That of another container, at this path.
    Path(PathBuf),
}

/// The IPC namespace and the /dev/shm that belongs to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ipc {
    /// A namespace of the container's own.
    Private {
        /// Whether /dev/shm is mounted.
        shm: bool,
    },
    /// A namespace whose /dev/shm is on the host: that of the host, of another container, or one that others may share.
    Shared {
        /// The IPC namespace.
        namespace: Namespace,
        /// The folder that is mounted at /dev/shm.
        shm: PathBuf,
    },
}

/// The options of docker that config.json alone is made from; others (networks, volumes, the name) are elsewhere.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "each field is named for its option, which docker's manual explains")]
pub struct Options {
    pub entrypoint: Option<String>,
    pub command: Vec<String>,
    pub env: Vec<String>,
    /// The variables of links, which those of the image and of options replace.
    pub links: Vec<String>,
    pub workdir: Option<String>,
    pub hostname: Option<String>,
    pub domainname: Option<String>,
    pub tty: bool,
    pub readonly: bool,
    pub init: bool,
    pub limits: Limits,
    pub shm_size: u64,
    pub privileged: bool,
    pub cap_add: Vec<Capability>,
    pub cap_drop: Vec<Capability>,
    pub security: Vec<SecurityOption>,
    pub devices: Vec<Device>,
    pub device_rules: Vec<Rule>,
    pub cdi: Edits,
    pub sysctls: BTreeMap<String, String>,
    pub cgroup_parent: Option<String>,
    pub network: Namespace,
    pub pid: Namespace,
    pub uts: Namespace,
    pub ipc: Ipc,
    pub cgroup: Option<Namespace>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            entrypoint: None,
            command: Vec::new(),
            env: Vec::new(),
            links: Vec::new(),
            workdir: None,
            hostname: None,
            domainname: None,
            tty: false,
            readonly: false,
            init: false,
            limits: Limits::default(),
            shm_size: 64 << 20,
            privileged: false,
            cap_add: Vec::new(),
            cap_drop: Vec::new(),
            security: Vec::new(),
            devices: Vec::new(),
            device_rules: Vec::new(),
            cdi: Edits::default(),
            sysctls: BTreeMap::new(),
            cgroup_parent: None,
            network: Namespace::Private,
            pid: Namespace::Private,
            uts: Namespace::Private,
            ipc: Ipc::Private { shm: true },
            cgroup: None,
        }
    }
}

/// A range of ids: the first inside the user namespace, the first outside, and their number.
pub type IdRange = (u32, u32, u32);

/// The ranges of users and those of groups.
pub type IdMaps = (Vec<IdRange>, Vec<IdRange>);

/// Everything that config.json is made from.
#[derive(Clone, Debug)]
pub struct Container<'a> {
    /// The container's ID, the name of its control group below a parent. Names may be taken again, and by another $OCI_HOME.
    pub id: &'a str,
    /// The options of docker.
    pub options: &'a Options,
    /// The config of the image.
    pub image: &'a Runtime,
    /// The architecture of the image, by Go's name.
    pub architecture: &'a str,
    /// The user, as resolved in the root file system.
    pub identity: &'a Identity,
    /// The path of the root file system, relative to the bundle.
    pub rootfs: &'a Path,
    /// Mounts in addition to the default ones. One with the same target replaces the default.
    pub mounts: Vec<Mount>,
    /// The programs that the runtime calls.
    pub hooks: Option<Hooks>,
    /// The annotations of the bundle.
    pub annotations: BTreeMap<String, String>,
    /// The ids of a user namespace; absent for root.
    pub id_ranges: Option<IdMaps>,
}

/// The path of the init of `--init` in the container.
pub const INIT: &str = "/sbin/docker-init";

/// Makes the configuration.
pub fn build(container: Container<'_>) -> Result<Spec, Error> {
    let options = container.options;
    let confinement = Confinement::new(options.privileged, &options.security)?;
    let capabilities =
        capability::resolve(options.privileged, &options.cap_add, &options.cap_drop, &capability::held());
    let mut linux = linux::linux(&container, &confinement)?;
    linux.set_seccomp(filter(&confinement.seccomp, &capabilities, container.architecture)?);
    let process = process(&container, &confinement, &capabilities)?;

    let mut root = Root::default();
    root.set_path(container.rootfs.to_owned());
    root.set_readonly(options.readonly.then_some(true));

    let mut spec = Spec::default();
    spec.set_process(Some(process));
    spec.set_root(Some(root));
    spec.set_hostname(options.hostname.clone().filter(|_| options.uts == Namespace::Private));
    // `domainname` is of version 1.1; root has the same by a kernel parameter.
    let domainname = options.domainname.clone().filter(|_| options.uts == Namespace::Private);
    spec.set_domainname(domainname.filter(|_| linux::is_rootless(&container)));
    spec.set_mounts(Some(mounts::mounts(&container, &confinement)));
    spec.set_linux(Some(linux));
    spec.set_hooks(options.cdi.add_hooks(container.hooks)?);
    spec.set_annotations(Some(container.annotations.into_iter().collect()));
    spec.set_version(version(&spec).into());
    Ok(spec)
}

/// The least version of the runtime specification that has all that is used.
fn version(spec: &Spec) -> &'static str {
    // runtime-spec 1.1.0, config.md: "Linux mount options" and "Domainname".
    let recursive = |option: &String| ["rro", "rrw"].contains(&option.as_str());
    let mounts = spec.mounts().iter().flatten();
    let newer = mounts.flat_map(|mount| mount.options().iter().flatten()).any(recursive);
    if newer || spec.domainname().is_some() { "1.1.0" } else { "1.0.2" }
}

/// The configuration as JSON, the same for the same input, although `oci_spec` keeps sets and maps in no order.
pub fn to_json(spec: &Spec) -> Vec<u8> {
    let mut value = serde_json::to_value(spec).expect("a Spec is JSON");
    if let Some(sets) = value.pointer_mut("/process/capabilities").and_then(|sets| sets.as_object_mut()) {
        for set in sets.values_mut().filter_map(|set| set.as_array_mut()) {
            set.sort_by(|a, b| a.as_str().cmp(&b.as_str()));
        }
    }
    json(&mut value)
}

/// A document as config.json holds it, with sorted keys.
pub(crate) fn json(value: &mut serde_json::Value) -> Vec<u8> {
    sort(value);
    let mut bytes = serde_json::to_vec_pretty(value).expect("a JSON value is JSON");
    bytes.push(b'\n');
    bytes
}

/// Sorts the keys of all objects, whichever order serde_json was built to keep.
fn sort(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Object(map) => {
            let mut entries: Vec<_> = std::mem::take(map).into_iter().collect();
            entries.sort_by(|(a, _), (b, _)| a.cmp(b));
            for (key, mut value) in entries {
                sort(&mut value);
                map.insert(key, value);
            }
        }
        serde_json::Value::Array(list) => list.iter_mut().for_each(sort),
        _ => {}
    }
}

/// The program and its arguments, without `--init`.
pub fn arguments(options: &Options, image: &Runtime) -> Result<Vec<String>, Error> {
    let mut arguments = match options.entrypoint.as_deref() {
        // An empty entrypoint removes that of the image.
        Some("") => Vec::new(),
        Some(program) => vec![program.to_owned()],
        None => image.entrypoint.clone(),
    };
    if !options.command.is_empty() {
        arguments.extend(options.command.iter().cloned());
    } else if options.entrypoint.is_none() {
        arguments.extend(image.cmd.iter().cloned());
    }
    if arguments.is_empty() { Err(Error::NoCommand) } else { Ok(arguments) }
}

/// The working directory: `/` by default; a relative one is below that of the image. It is cleaned as text, as docker does.
pub fn workdir(options: &Options, image: &Runtime) -> PathBuf {
    path::clean(Path::new(&image.working_dir).join(options.workdir.as_deref().unwrap_or_default()))
}

fn process(
    container: &Container<'_>,
    confinement: &Confinement,
    capabilities: &BTreeSet<&'static str>,
) -> Result<Process, Error> {
    let options = container.options;
    let mut arguments = arguments(options, container.image)?;
    if options.init {
        arguments.splice(0..0, [INIT.to_owned(), "--".to_owned()]);
    }
    let mut user = User::default();
    user.set_uid(container.identity.uid);
    user.set_gid(container.identity.gid);
    let groups: BTreeSet<u32> = container.identity.groups.iter().chain(&options.cdi.gids).copied().collect();
    user.set_additional_gids(Some(groups.into_iter().collect()).filter(|groups: &Vec<u32>| !groups.is_empty()));

    let mut process = Process::default();
    process.set_terminal(options.tty.then_some(true));
    process.set_user(user);
    process.set_args(Some(arguments));
    process.set_env(Some(variables(container)));
    process.set_cwd(workdir(options, container.image));
    process.set_capabilities(Some(sets(capabilities, container.identity.uid)));
    process.set_rlimits(Some(options.limits.rlimits()?).filter(|list| !list.is_empty()));
    process.set_no_new_privileges(Some(confinement.no_new_privileges));
    process.set_apparmor_profile(confinement.apparmor.clone());
    process.set_oom_score_adj(options.limits.oom_score_adj);
    Ok(process)
}

/// The environment in docker's order: defaults, the image's, the options'. HOME comes from /etc/passwd unless it is set.
fn variables(container: &Container<'_>) -> Vec<String> {
    let options = container.options;
    let mut variables = vec![environment::DEFAULT_PATH.to_owned()];
    variables.extend(options.hostname.as_ref().map(|hostname| format!("HOSTNAME={hostname}")));
    if options.tty {
        variables.push("TERM=xterm".to_owned());
    }
    environment::overlay(&mut variables, options.links.iter().cloned());
    environment::overlay(&mut variables, container.image.env.iter().filter(|entry| entry.contains('=')).cloned());
    environment::overlay(&mut variables, options.env.iter().cloned());
    environment::overlay(&mut variables, options.cdi.env.iter().cloned());
    if environment::value(&variables, "HOME").is_none_or(str::is_empty) {
        environment::overlay(&mut variables, [format!("HOME={}", container.identity.home)]);
    }
    variables
}

fn sets(capabilities: &BTreeSet<&'static str>, uid: u32) -> LinuxCapabilities {
    let all: Capabilities = capabilities.iter().filter_map(|name| name.strip_prefix("CAP_")?.parse().ok()).collect();
    // As in docker, a user other than root only has the bounding set, which set-user-ID programs can gain from.
    let held = if uid == 0 { all.clone() } else { Capabilities::new() };
    let mut sets = LinuxCapabilities::default();
    sets.set_bounding(Some(all));
    sets.set_effective(Some(held.clone()));
    sets.set_permitted(Some(held));
    sets.set_inheritable(None);
    sets.set_ambient(None);
    sets
}

fn filter(
    seccomp: &Seccomp,
    capabilities: &BTreeSet<&'static str>,
    architecture: &str,
) -> Result<Option<LinuxSeccomp>, Error> {
    // A kernel without CONFIG_SECCOMP_FILTER lists no actions; docker sets no filter there either.
    if !Path::new("/proc/sys/kernel/seccomp/actions_avail").exists() {
        return match seccomp {
            Seccomp::File(_) => Err(Refused::new("--security-opt", "seccomp: this kernel has no filters").into()),
            _ => Ok(None),
        };
    }
    let circumstances = seccomp::Circumstances { capabilities, architecture, kernel: seccomp::kernel() };
    match seccomp {
        Seccomp::Unconfined => Ok(None),
        Seccomp::Builtin => Ok(Some(seccomp::default_filter(&circumstances))),
        Seccomp::File(path) => {
            let json = fs::read(path).map_err(|error| {
                Refused::new("--security-opt", format!("opening seccomp profile ({}) failed: {error}", path.display()))
            })?;
            let filter = seccomp::filter_from_json(&json, &circumstances);
            filter.map(Some).map_err(|source| Error::Profile { path: path.clone(), source })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn image() -> Runtime {
        Runtime {
            entrypoint: vec!["/entry".into()],
            cmd: vec!["default".into()],
            env: vec!["PATH=/opt/bin".into(), "LANG=C".into(), "GONE=image".into()],
            working_dir: "/srv".into(),
            ..Runtime::default()
        }
    }

    fn json_of(options: &Options, mounts: Vec<Mount>) -> Value {
        let identity = Identity { uid: 0, gid: 0, groups: vec![], home: "/root".into() };
        let image = image();
        let container = Container {
            id: "test",
            options,
            image: &image,
            architecture: "amd64",
            identity: &identity,
            rootfs: Path::new("rootfs"),
            mounts,
            hooks: None,
            annotations: BTreeMap::from([("b".to_owned(), "2".to_owned()), ("a".to_owned(), "1".to_owned())]),
            id_ranges: None,
        };
        serde_json::from_slice(&to_json(&build(container).unwrap())).unwrap()
    }

    #[test]
    fn entrypoint_and_command_combine_as_in_docker() {
        let cases: [(Option<&str>, &[&str], &[&str]); 6] = [
            (None, &[], &["/entry", "default"]),
            (None, &["mine"], &["/entry", "mine"]),
            (Some("/other"), &[], &["/other"]),
            (Some("/other"), &["mine"], &["/other", "mine"]),
            (Some(""), &["mine"], &["mine"]),
            (Some(""), &[], &[]),
        ];
        for (entrypoint, command, expected) in cases {
            let command = command.iter().map(|word| (*word).to_owned()).collect();
            let options = Options { entrypoint: entrypoint.map(str::to_owned), command, ..Options::default() };
            assert_eq!(arguments(&options, &image()).unwrap_or_default(), expected);
        }
    }

    #[test]
    fn the_environment_has_dockers_order() {
        let options = Options {
            hostname: Some("h".into()),
            tty: true,
            env: vec!["LANG=de".into(), "A=1".into(), "GONE".into()],
            ..Options::default()
        };
        let config = json_of(&options, vec![]);
        assert_eq!(
            config["process"]["env"],
            json!(["PATH=/opt/bin", "HOSTNAME=h", "TERM=xterm", "LANG=de", "A=1", "HOME=/root"])
        );
        assert_eq!(config["process"]["cwd"], "/srv");
        assert_eq!(config["hostname"], "h");
    }

    #[test]
    fn a_relative_workdir_is_beneath_the_images() {
        let options = Options { workdir: Some("sub".into()), ..Options::default() };
        assert_eq!(workdir(&options, &image()), Path::new("/srv/sub"));
        assert_eq!(workdir(&Options::default(), &Runtime::default()), Path::new("/"));
        for (given, expected) in [("", "/srv"), ("/opt/../data", "/data"), ("/a//b/", "/a/b"), ("/../x", "/x")] {
            let options = Options { workdir: Some(given.into()), ..Options::default() };
            assert_eq!(workdir(&options, &image()), Path::new(expected), "{given}");
        }
    }

    #[test]
    fn a_plain_container_is_confined_as_dockers() {
        let config = json_of(&Options::default(), vec![]);
        assert_eq!(config["ociVersion"], "1.0.2");
        let destinations: Vec<&str> =
            config["mounts"].as_array().unwrap().iter().map(|mount| mount["destination"].as_str().unwrap()).collect();
        assert_eq!(destinations, ["/proc", "/dev", "/sys", "/dev/pts", "/dev/mqueue", "/dev/shm", "/sys/fs/cgroup"]);
        assert!(config["linux"]["maskedPaths"].as_array().unwrap().contains(&json!("/proc/kcore")));
        assert_eq!(config["linux"]["seccomp"]["defaultAction"], "SCMP_ACT_ERRNO");
        assert_eq!(config["process"]["capabilities"]["bounding"].as_array().unwrap().len(), 14);
        assert_eq!(config["linux"]["resources"]["devices"][0], json!({"allow": false, "access": "rwm"}));
        assert_eq!(config["annotations"], json!({"a": "1", "b": "2"}));
        assert_eq!(
            to_json(&serde_json::from_value(config.clone()).unwrap()),
            to_json(&serde_json::from_value(config).unwrap())
        );
    }

    #[test]
    fn the_version_is_that_of_what_is_used() {
        let readonly = |option: &str| vec![mount("/x", "bind", "/y", &["rbind", "ro", option])];
        assert_eq!(json_of(&Options::default(), readonly("rprivate"))["ociVersion"], "1.0.2");
        assert_eq!(json_of(&Options::default(), readonly("rro"))["ociVersion"], "1.1.0");
        let config = json_of(&Options { domainname: Some("d.example".into()), ..Options::default() }, vec![]);
        if crate::rootfs::is_root_of_host() {
            assert_eq!(config["ociVersion"], "1.0.2");
            assert_eq!(config["linux"]["sysctl"]["kernel.domainname"], "d.example");
            assert!(config.get("domainname").is_none());
        } else {
            assert_eq!((&config["ociVersion"], &config["domainname"]), (&json!("1.1.0"), &json!("d.example")));
        }
    }

    #[test]
    fn a_privileged_one_is_not() {
        let config = json_of(&Options { privileged: true, ..Options::default() }, vec![]);
        assert!(config["linux"].get("seccomp").is_none() && config["linux"].get("maskedPaths").is_none());
        let sys =
            config["mounts"].as_array().unwrap().iter().find(|mount| mount["destination"] == "/sys").unwrap().clone();
        assert!(sys["options"].as_array().unwrap().contains(&json!("rw")));
        assert_eq!(config["linux"]["resources"]["devices"], json!([{"allow": true, "type": "a", "access": "rwm"}]));
    }

    #[test]
    fn a_given_mount_replaces_the_default_one_and_inner_mounts_come_last() {
        let given = vec![
            mount("/data/inner", "bind", "/b", &["rbind"]),
            mount("/data", "bind", "/a", &["rbind"]),
            mount("/dev/shm", "bind", "/s", &["rbind"]),
        ];
        let config = json_of(&Options::default(), given);
        let mounts = config["mounts"].as_array().unwrap();
        let place = |path: &str| mounts.iter().position(|mount| mount["destination"] == path).unwrap();
        assert!(place("/data") < place("/data/inner"));
        assert_eq!(mounts.iter().filter(|mount| mount["destination"] == "/dev/shm").count(), 1);
        assert_eq!(mounts[place("/dev/shm")]["source"], "/s");
    }

    #[test]
    fn sysctls_of_the_host_are_refused() {
        let with = |name: &str, network: Namespace| {
            let sysctls = BTreeMap::from([(name.to_owned(), "1".to_owned())]);
            sysctls_of(&Options { sysctls, network, ..Options::default() })
        };
        fn sysctls_of(options: &Options) -> Result<BTreeMap<String, String>, Error> {
            super::linux::sysctls(options, false)
        }
        assert!(with("net.core.somaxconn", Namespace::Private).is_ok());
        assert!(with("kernel.shmmax", Namespace::Private).is_ok());
        assert_eq!(
            with("net.core.somaxconn", Namespace::Host).unwrap_err().to_string(),
            "--sysctl: net.core.somaxconn: the container's network is not its own"
        );
        assert!(with("kernel.panic", Namespace::Private).is_err());
    }
}
