//! A request for GPUs (`--gpus`), by docker's grammar.

use std::str::FromStr;

use super::csv;

/// A request for GPUs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GpuRequest {
    gpus: Gpus,
    capabilities: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Gpus {
    /// All, or the first so many.
    Count(Option<usize>),
    /// Those of these names.
    Names(Vec<String>),
}

/// What programs may ask a GPU for, by nvidia's names.
const CAPABILITIES: [&str; 10] =
    ["all", "compat32", "compute", "display", "gpu", "graphics", "ngx", "nvidia", "utility", "video"];

impl GpuRequest {
    /// The CDI names of the devices.
    pub fn devices(&self) -> Vec<String> {
        let name = |name: &str| if name.contains('=') { name.to_owned() } else { format!("nvidia.com/gpu={name}") };
        match &self.gpus {
            Gpus::Count(None) => vec![name("all")],
            Gpus::Count(Some(count)) => (0..*count).map(|number| name(&number.to_string())).collect(),
            Gpus::Names(names) => names.iter().map(|each| name(each)).collect(),
        }
    }

    /// The variable that tells nvidia's libraries the capabilities; absent if none were asked for.
    pub fn variable(&self) -> Option<String> {
        let names: Vec<&str> =
            self.capabilities.iter().map(String::as_str).filter(|name| !["gpu", "nvidia"].contains(name)).collect();
        (!names.is_empty()).then(|| format!("NVIDIA_DRIVER_CAPABILITIES={}", names.join(",")))
    }
}

fn count(text: &str) -> Result<Option<usize>, String> {
    match text {
        "all" => Ok(None),
        text => match text.parse::<i64>() {
            // Any negative number means all.
            Ok(number) => Ok(usize::try_from(number).ok()),
            Err(_) => Err(format!("{text:?} is not a number of GPUs (a number or all)")),
        },
    }
}

impl FromStr for GpuRequest {
    type Err = String;

    /// Reads fields of CSV: `all`, a number, `count=N`, `device=NAME,…`, `capabilities=NAME,…`, `driver=NAME`.
    fn from_str(text: &str) -> Result<Self, String> {
        let (mut counted, mut names, mut capabilities) = (None, None, Vec::new());
        let mut seen: Vec<String> = Vec::new();
        for field in csv::fields(text).map_err(|error| format!("{text:?}: {error}"))? {
            let (key, value) = field.split_once('=').unwrap_or(("count", &field));
            if seen.iter().any(|known| known == key) {
                return Err(format!("{key} can be given only once"));
            }
            seen.push(key.to_owned());
            let list = || value.split(',').map(str::to_owned).collect::<Vec<_>>();
            match key {
                "count" => counted = Some(count(value)?),
                "device" => names = Some(list()),
                "capabilities" => capabilities = list(),
                "driver" if ["", "nvidia", "cdi"].contains(&value) => {}
                "driver" => return Err(format!("driver {value:?} is not supported (nvidia and cdi are)")),
                "options" => return Err("options are not supported (the device's CDI description has its own)".into()),
                _ => return Err(format!("{key:?} is not a valid key (count, device, capabilities or driver)")),
            }
        }
        if let Some(unknown) = capabilities.iter().find(|name| !CAPABILITIES.contains(&name.as_str())) {
            return Err(format!("{unknown:?} is not a capability of a GPU ({})", CAPABILITIES.join(", ")));
        }
        let gpus = match (counted, names) {
            (Some(_), Some(_)) => return Err("count and device cannot be combined".into()),
            (_, Some(names)) if names.iter().any(String::is_empty) => return Err("a device lacks its name".into()),
            (_, Some(names)) => Gpus::Names(names),
            (Some(count), None) => Gpus::Count(count),
            // Docker's default.
            (None, None) => Gpus::Count(Some(1)),
        };
        Ok(Self { gpus, capabilities })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_as_docker_reads_them() {
        let cases: [(&str, &[&str], Option<&str>); 12] = [
            ("all", &["nvidia.com/gpu=all"], None),
            ("-1", &["nvidia.com/gpu=all"], None),
            ("2", &["nvidia.com/gpu=0", "nvidia.com/gpu=1"], None),
            ("0", &[], None),
            ("count=all", &["nvidia.com/gpu=all"], None),
            ("device=1", &["nvidia.com/gpu=1"], None),
            ("\"device=0,GPU-abc\"", &["nvidia.com/gpu=0", "nvidia.com/gpu=GPU-abc"], None),
            ("all,capabilities=utility", &["nvidia.com/gpu=all"], Some("utility")),
            ("all,\"capabilities=compute,utility\"", &["nvidia.com/gpu=all"], Some("compute,utility")),
            ("driver=nvidia,count=1", &["nvidia.com/gpu=0"], None),
            ("driver=cdi,device=vendor.com/gpu=x", &["vendor.com/gpu=x"], None),
            ("capabilities=gpu", &["nvidia.com/gpu=0"], None),
        ];
        for (text, devices, capabilities) in cases {
            let read: GpuRequest = text.parse().unwrap();
            assert_eq!(read.devices(), devices, "{text}");
            let variable = capabilities.map(|names| format!("NVIDIA_DRIVER_CAPABILITIES={names}"));
            assert_eq!(read.variable(), variable, "{text}");
        }
        for text in [
            "",
            "x",
            "all,all",
            "all,1",
            "count=1,device=0",
            "driver=amd",
            "options=a=b",
            "foo=bar",
            "device=",
            "capabilities=fly",
            "\"device=0",
        ] {
            assert!(text.parse::<GpuRequest>().is_err(), "{text}");
        }
    }
}
