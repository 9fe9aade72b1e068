//! Volumes, mounts and devices.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use bundle_tool::bundle::Bundle;
use bundle_tool::config;
use bundle_tool::config::cdi::{self, Edits};
use bundle_tool::option::boolean;
use bundle_tool::option::device::{Device, Rule};
use bundle_tool::option::gpu::GpuRequest;
use bundle_tool::option::quantity::Size;
use bundle_tool::volume::{Attachment, Bind, Recursive, Source, Store};
use clap::{ArgAction, ValueHint};
use image_tool::address::home::Home;

use super::{candidates, refuse};

#[derive(clap::Args)]
#[command(next_help_heading = "Files")]
pub(super) struct Files {
    /// Bind mount a file or directory of the host, or mount a volume; may be repeated.
    #[arg(short, long, value_name = "[SOURCE:]TARGET[:OPTIONS]", allow_hyphen_values = true)]
    pub(super) volume: Vec<String>,
    /// Attach a file system mount to the container: type=bind|volume|tmpfs|image,source=SOURCE,target=TARGET[,…]; may be repeated.
    #[arg(long, value_name = "MOUNT", allow_hyphen_values = true, add = candidates::words(&["type=bind,source=", "type=volume,source=", "type=tmpfs,target=", "type=image,source="]))]
    pub(super) mount: Vec<String>,
    /// Mount a tmpfs; may be repeated.
    #[arg(long, value_name = "TARGET[:OPTIONS]", allow_hyphen_values = true)]
    pub(super) tmpfs: Vec<String>,
    /// Mount the volumes of another container; may be repeated.
    #[arg(long, value_name = "CONTAINER[:ro]", allow_hyphen_values = true, add = candidates::containers())]
    pub(super) volumes_from: Vec<String>,
    /// Volume driver for the container; only local is supported.
    #[arg(long, value_name = "DRIVER", allow_hyphen_values = true, add = candidates::words(&["local"]))]
    pub(super) volume_driver: Option<String>,
    /// Mount the container's root file system read-only.
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", hide_default_value = true, hide_possible_values = true, value_name = "BOOL", value_parser = boolean::parse, action = ArgAction::Set)]
    pub(super) read_only: bool,
    /// Size of /dev/shm, such as 64m [default: 64m].
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true)]
    pub(super) shm_size: Option<Size>,
    /// Storage driver option for the container: size=BYTES, the most that it may write beside volumes.
    #[arg(long, value_name = "KEY=VALUE", allow_hyphen_values = true)]
    pub(super) storage_opt: Vec<String>,
    /// Add a host device to the container, as HOST[:CONTAINER][:rwm] or by its CDI name, VENDOR/CLASS=NAME; may be repeated.
    #[arg(long, value_name = "DEVICE", allow_hyphen_values = true, value_hint = ValueHint::AnyPath)]
    pub(super) device: Vec<String>,
    /// Add a rule to the devices that the cgroup allows, such as "c 42:* rmw"; may be repeated.
    #[arg(long, value_name = "RULE", allow_hyphen_values = true)]
    pub(super) device_cgroup_rule: Vec<Rule>,
    /// GPU devices to add to the container: all, a number, or device=NAME[,…]; may be repeated.
    #[arg(long, value_name = "REQUEST", allow_hyphen_values = true, add = candidates::words(&["all", "device="]))]
    pub(super) gpus: Vec<GpuRequest>,
}

/// The least that a writable layer of its own size may have, of which its file system takes a part.
const SMALLEST: u64 = 4 << 20;

impl Files {
    pub(super) fn shm(&self) -> anyhow::Result<u64> {
        match self.shm_size {
            None => Ok(64 << 20),
            Some(size) => match u64::try_from(size.bytes()) {
                Ok(0) => Ok(64 << 20),
                Ok(bytes) => Ok(bytes),
                Err(_) => refuse("--shm-size", "must not be negative"),
            },
        }
    }

    /// The size of the writable layer, in bytes; the last one counts.
    pub(super) fn size(&self) -> anyhow::Result<Option<u64>> {
        let mut size = None;
        for option in &self.storage_opt {
            let Some(text) = option.split_once('=').filter(|(key, _)| key.eq_ignore_ascii_case("size")) else {
                return refuse("--storage-opt", format!("{option}: not supported (only size=BYTES is)"));
            };
            let bytes = text.1.parse::<Size>().ok().and_then(|size| u64::try_from(size.bytes()).ok());
            match bytes {
                Some(bytes) if bytes >= SMALLEST => size = Some(bytes),
                Some(_) => return refuse("--storage-opt", format!("{option}: too small (at least 4m)")),
                None => return refuse("--storage-opt", format!("{option}: not a valid size (such as 10g)")),
            }
        }
        Ok(size)
    }

    /// The devices that are named by path.
    pub(super) fn devices(&self) -> anyhow::Result<Vec<Device>> {
        let paths = self.device.iter().filter(|text| !cdi::is_name(text));
        paths.map(|text| text.parse().or_else(|reason: String| refuse("--device", reason))).collect()
    }

    /// The edits of the devices that are named for CDI: those of `--device`, and GPUs.
    pub(super) fn edits(&self) -> anyhow::Result<Edits> {
        let folders = cdi::FOLDERS.map(PathBuf::from);
        let named = self.device.iter().filter(|text| cdi::is_name(text)).map(|text| ("--device", text.clone()));
        let gpus = self.gpus.iter().flat_map(GpuRequest::devices).map(|name| ("--gpus", name));
        let names: Vec<(&'static str, String)> = gpus.chain(named).collect();
        let mut edits = cdi::resolve(&folders, &names)?;
        // As the last word of two requests, after the variables of descriptions.
        edits.set_variables(self.gpus.iter().filter_map(GpuRequest::variable));
        Ok(edits)
    }

    pub(super) fn attachments(&self, home: &Home, base: &Path) -> anyhow::Result<Vec<Attachment>> {
        if let Some(driver) = self.volume_driver.as_deref().filter(|driver| *driver != "local") {
            return refuse("--volume-driver", format!("{driver}: not supported (only local is)"));
        }
        let mut all = Vec::new();
        for (index, text) in self.volume.iter().enumerate() {
            // docker takes the same words twice as once.
            if !self.volume[..index].contains(text) {
                all.push(Attachment::from_volume(text, base).context("--volume")?);
            }
        }
        // A volume without a name is for a place where nothing else is mounted.
        let (unnamed, mut all): (Vec<_>, Vec<_>) = all.into_iter().partition(Attachment::is_unnamed);
        for text in &self.mount {
            all.push(Attachment::from_mount(text, base).context("--mount")?);
        }
        for text in &self.tmpfs {
            let attachment = Attachment::from_tmpfs(text).context("--tmpfs")?;
            // Of two for one place the last counts.
            all.retain(|known| known.target != attachment.target || !matches!(known.source, Source::Tmpfs { .. }));
            all.push(attachment);
        }
        // Of two containers with a mount at one place the last counts.
        let mut shared: Vec<Attachment> = Vec::new();
        for text in &self.volumes_from {
            for attachment in volumes_of(home, text)? {
                shared.retain(|known| known.target != attachment.target);
                shared.push(attachment);
            }
        }
        // What is asked for here takes precedence over what they have.
        for attachment in shared.into_iter().chain(unnamed) {
            if all.iter().all(|known: &Attachment| known.target != attachment.target) {
                all.push(attachment);
            }
        }
        Ok(all)
    }
}

/// The bind mounts and volumes of another container.
pub(super) fn volumes_of(home: &Home, text: &str) -> anyhow::Result<Vec<Attachment>> {
    let (name, readonly) = match text.rsplit_once(':') {
        Some((name, "ro")) => (name, true),
        Some((name, "rw" | "z")) => (name, false),
        _ => (text, false),
    };
    let bundle = Bundle::find(&home.bundles(), name).context("--volumes-from")?;
    // A volume stays one, so that it counts as used by each container that has it.
    let store = Store::new(std::path::absolute(home.volumes()).context("--volumes-from")?);
    let volumes = bundle.volumes();
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
        let path = Path::new(text("source"));
        let volume = store.containing(path).and_then(|(name, subpath)| {
            let used = volumes.iter().find(|used| used.name == name)?;
            Some(Source::Shared { name: name.into(), anonymous: used.anonymous, subpath: subpath.map(Path::to_owned) })
        });
        let bind = || {
            let recursive = Recursive::Enabled;
            Source::Bind(Bind { path: path.into(), create: false, propagation: "rprivate", recursive, relabel: false })
        };
        let source = volume.unwrap_or_else(bind);
        all.push(Attachment {
            target: text("destination").into(),
            readonly: readonly || options.contains(&"ro"),
            source,
        });
    }
    Ok(all)
}
