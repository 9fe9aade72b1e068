//! What a container has of files and devices.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use bundle_tool::bundle::Bundle;
use bundle_tool::config;
use bundle_tool::config::cdi::{self, Edits};
use bundle_tool::option::device::{Device, Rule};
use bundle_tool::option::quantity::Size;
use bundle_tool::volume::{Attachment, Bind, Recursive, Source};
use clap::ArgAction;
use image_tool::address::home::Home;

use super::refuse;

#[derive(clap::Args)]
#[command(next_help_heading = "Files")]
pub(super) struct Files {
    /// Mount a folder or file of the host, or a named volume: [SOURCE:]TARGET[:OPTIONS].
    #[arg(short, long, value_name = "VOLUME")]
    pub(super) volume: Vec<String>,
    /// Mount something: type=bind|volume|tmpfs,source=…,target=….
    #[arg(long, value_name = "MOUNT")]
    pub(super) mount: Vec<String>,
    /// Mount memory: TARGET[:OPTIONS].
    #[arg(long, value_name = "TARGET")]
    pub(super) tmpfs: Vec<String>,
    /// Mount what another container has mounted: NAME[:ro].
    #[arg(long, value_name = "CONTAINER")]
    pub(super) volumes_from: Vec<String>,
    /// The driver of volumes; there is none but local.
    #[arg(long, value_name = "DRIVER")]
    pub(super) volume_driver: Option<String>,
    /// Make the root file system read-only.
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", hide_default_value = true, value_name = "BOOL", action = ArgAction::Set)]
    pub(super) read_only: bool,
    /// Size of /dev/shm.
    #[arg(long, value_name = "BYTES")]
    pub(super) shm_size: Option<Size>,
    /// Options of the writable layer.
    #[arg(long, value_name = "NAME=VALUE")]
    pub(super) storage_opt: Vec<String>,
    /// Give the container a device of the host, HOST[:CONTAINER][:rwm], or one by its name for CDI, VENDOR/CLASS=NAME.
    #[arg(long, value_name = "DEVICE")]
    pub(super) device: Vec<String>,
    /// Allow a kind of device: "c 42:* rmw".
    #[arg(long, value_name = "RULE")]
    pub(super) device_cgroup_rule: Vec<Rule>,
    /// Give the container GPUs.
    #[arg(long, value_name = "REQUEST")]
    pub(super) gpus: Option<String>,
}

impl Files {
    pub(super) fn shm(&self) -> anyhow::Result<u64> {
        match self.shm_size {
            None => Ok(64 << 20),
            Some(size) => match u64::try_from(size.bytes()) {
                Ok(0) => Ok(64 << 20),
                Ok(bytes) => Ok(bytes),
                Err(_) => refuse("--shm-size", "less than nothing"),
            },
        }
    }

    /// Devices by path.
    pub(super) fn devices(&self) -> anyhow::Result<Vec<Device>> {
        let paths = self.device.iter().filter(|text| !cdi::is_name(text));
        paths.map(|text| text.parse().or_else(|reason: String| refuse("--device", reason))).collect()
    }

    /// What devices by a vendor's name bring: those of `--device`, and GPUs.
    pub(super) fn edits(&self) -> anyhow::Result<Edits> {
        let folders = cdi::FOLDERS.map(PathBuf::from);
        let names: Vec<String> = self.device.iter().filter(|text| cdi::is_name(text)).cloned().collect();
        let Some(request) = &self.gpus else { return Ok(cdi::resolve(&folders, "--device", &names)?) };
        // `all`, `device=0,1`, a number: nvidia's names for CDI. Other capabilities are the driver's description's to choose.
        let gpus: Vec<String> = match request.trim_matches('"').split_once('=') {
            None | Some(("count", "all" | "-1")) if request.contains("all") || request.contains("-1") => {
                vec!["all".into()]
            }
            Some(("device", devices)) => devices.split(',').map(str::to_owned).collect(),
            None | Some(("count", _)) => {
                let count = request.rsplit('=').next().unwrap_or_default().parse::<usize>();
                let count = count
                    .or_else(|_| refuse("--gpus", format!("{request:?} is none of all, a number, device=NAME,…")))?;
                (0..count).map(|number| number.to_string()).collect()
            }
            Some((key, _)) => {
                return refuse("--gpus", format!("{key:?} is not a key of a request (device and count are)"));
            }
        };
        let mut all: Vec<String> = gpus.into_iter().map(|name| format!("nvidia.com/gpu={name}")).collect();
        all.extend(names);
        Ok(cdi::resolve(&folders, "--gpus", &all)?)
    }

    pub(super) fn attachments(&self, home: &Home, base: &Path) -> anyhow::Result<Vec<Attachment>> {
        if let Some(driver) = self.volume_driver.as_deref().filter(|driver| *driver != "local") {
            return refuse("--volume-driver", format!("{driver}: there is none but local"));
        }
        if let Some(option) = self.storage_opt.first() {
            return refuse(
                "--storage-opt",
                format!(
                    "{option}: the file system of the writable layer has no quota that this tool sets (-v a volume of the size)"
                ),
            );
        }
        let mut all = Vec::new();
        for text in &self.volume {
            all.push(Attachment::from_volume(text, base).context("--volume")?);
        }
        for text in &self.mount {
            all.push(Attachment::from_mount(text, base).context("--mount")?);
        }
        for text in &self.tmpfs {
            all.push(Attachment::from_tmpfs(text).context("--tmpfs")?);
        }
        for text in &self.volumes_from {
            for attachment in volumes_of(home, text)? {
                // What is asked for here wins over what another container has.
                if all.iter().all(|known: &Attachment| known.target != attachment.target) {
                    all.push(attachment);
                }
            }
        }
        Ok(all)
    }
}

/// What another container has mounted of the host and of volumes.
pub(super) fn volumes_of(home: &Home, text: &str) -> anyhow::Result<Vec<Attachment>> {
    let (name, readonly) = match text.rsplit_once(':') {
        Some((name, "ro")) => (name, true),
        Some((name, "rw" | "z")) => (name, false),
        _ => (text, false),
    };
    let bundle = Bundle::find(&home.bundles(), name).context("--volumes-from")?;
    let mut all = Vec::new();
    for mount in bundle.config().get("mounts").and_then(|mounts| mounts.as_array()).into_iter().flatten() {
        let text = |key: &str| mount.get(key).and_then(|value| value.as_str()).unwrap_or_default();
        let options: Vec<&str> = mount
            .get("options")
            .and_then(|options| options.as_array())
            .into_iter()
            .flatten()
            .filter_map(|option| option.as_str())
            .collect();
        let own = ["/etc/hosts", "/etc/hostname", "/etc/resolv.conf", config::INIT, "/dev/shm"]
            .contains(&text("destination"));
        if own || !options.iter().any(|option| ["bind", "rbind"].contains(option)) {
            continue;
        }
        let source = Source::Bind(Bind {
            path: text("source").into(),
            create: false,
            propagation: "rprivate",
            recursive: Recursive::Enabled,
            relabel: false,
        });
        all.push(Attachment {
            target: text("destination").into(),
            readonly: readonly || options.contains(&"ro"),
            source,
        });
    }
    Ok(all)
}
