//! What a command may have only if the caller of the build grants it (`--allow`): everything (`security.insecure`), the
//! host's network where the build has another (`network.host`), and devices of the host (`device`).
//!
//! A Dockerfile comes from whoever wrote it, and so do the triggers of a base image. They may ask; the command line
//! decides.

use std::path::PathBuf;
use std::str::FromStr;

use bundle_tool::config::cdi::{self, Edits, Listed};
use bundle_tool::option::Refused;
use bundle_tool::option::csv;

use super::error::Error;
use super::network::Network;
use crate::dockerfile::device::Device;

/// One value of `--allow`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entitlement {
    /// `security.insecure`: RUN --security=insecure.
    Insecure,
    /// `network.host`: RUN --network=host.
    HostNetwork,
    /// `device`: RUN --device with any device.
    Devices,
    /// `device=NAME[,alias=ALIAS]`: RUN --device with this one. The alias is what the Dockerfile calls it.
    Device {
        /// The device's name, with a `*` or without a name as in a Dockerfile.
        name: String,
        /// The name in the Dockerfile that means this device.
        alias: Option<String>,
    },
}

impl FromStr for Entitlement {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=').unwrap_or((text, "")) {
            ("security.insecure", "") => Ok(Self::Insecure),
            ("network.host", "") => Ok(Self::HostNetwork),
            ("device", "") => Ok(Self::Devices),
            ("device", value) => {
                let fields = csv::fields(value).map_err(|error| error.to_string())?;
                let (name, rest) = fields.split_first().ok_or("missing name")?;
                let mut alias = None;
                for field in rest {
                    match field.split_once('=') {
                        Some(("alias", value)) if !value.is_empty() => alias = Some(value.to_owned()),
                        _ => return Err(format!("{field:?} is not alias=NAME")),
                    }
                }
                Ok(Self::Device { name: name.clone(), alias })
            }
            _ => Err(format!("{text:?} is none of security.insecure, network.host and device[=NAME]")),
        }
    }
}

/// Everything that the caller grants.
#[derive(Debug, Clone, Default)]
pub struct Granted(Vec<Entitlement>);

impl FromIterator<Entitlement> for Granted {
    fn from_iter<T: IntoIterator<Item = Entitlement>>(granted: T) -> Self {
        Self(granted.into_iter().collect())
    }
}

impl Granted {
    fn has(&self, entitlement: &Entitlement) -> bool {
        self.0.contains(entitlement)
    }

    /// Fails unless a command may have what its `--network` and `--security` ask for. `own` is the build's network, and
    /// `network` that of the command.
    pub fn check(&self, insecure: bool, own: Network, network: Network) -> Result<(), Error> {
        let refused = |flag, entitlement| Err(Error::NotAllowed { flag, entitlement });
        if insecure && !self.has(&Entitlement::Insecure) {
            return refused("--security=insecure", "security.insecure");
        }
        // Where the build has the host's network anyway, there is nothing to grant.
        if network == Network::Host && own != Network::Host && !self.has(&Entitlement::HostNetwork) {
            return refused("--network=host", "network.host");
        }
        Ok(())
    }

    /// The changes of a container's configuration for the devices of a command, all of which it may have.
    pub fn devices(&self, asked: &[Device]) -> Result<Edits, Error> {
        if asked.is_empty() {
            return Ok(Edits::default());
        }
        let folders = cdi::FOLDERS.map(PathBuf::from);
        let names = self.names(asked, &cdi::list(&folders))?;
        let names: Vec<(&str, String)> = names.into_iter().map(|name| (FLAG, name)).collect();
        Ok(cdi::resolve(&folders, &names)?)
    }

    /// The full names of the devices that `asked` means, of all that this host describes.
    fn names(&self, asked: &[Device], all: &[Listed]) -> Result<Vec<String>, Error> {
        let alias = |wanted: &str| {
            self.0.iter().find_map(|granted| match granted {
                Entitlement::Device { name, alias: Some(alias) } if alias == wanted => Some(name.as_str()),
                _ => None,
            })
        };
        let granted = |device: &Listed| {
            device.annotation(AUTO_ALLOW).is_some_and(|value| ["true", "1", "t"].contains(&value))
                || self.0.iter().any(|entitlement| match entitlement {
                    Entitlement::Devices => true,
                    Entitlement::Device { name, .. } => find(name, all).iter().any(|found| found.name == device.name),
                    _ => false,
                })
        };
        let mut names: Vec<String> = Vec::new();
        for device in asked {
            let found = find(alias(&device.name).unwrap_or(&device.name), all);
            if found.is_empty() && device.required {
                let places = cdi::FOLDERS.join(" or ");
                return Err(Refused::new(FLAG, format!("{}: no CDI description in {places}", device.name)).into());
            }
            for device in found {
                if !granted(device) {
                    return Err(Error::DeviceNotAllowed(device.name.clone()));
                }
                if !names.contains(&device.name) {
                    names.push(device.name.clone());
                }
            }
        }
        Ok(names)
    }
}

const FLAG: &str = "--device";

/// The annotation of a description, or of one of its devices, by which this host's administrator grants it to all.
const AUTO_ALLOW: &str = "org.mobyproject.buildkit.device.autoallow";

/// The annotation that makes a device one of a class.
const CLASS: &str = "org.mobyproject.buildkit.device.class";

/// The devices that a name means: one, all of its kind for `*`, the first of the kind without a name, or a class.
fn find<'a>(name: &str, all: &'a [Listed]) -> Vec<&'a Listed> {
    let mut found: Vec<&Listed> = match name.split_once('=') {
        Some((kind, "*")) => all.iter().filter(|device| device.kind() == kind).collect(),
        Some(_) => all.iter().filter(|device| device.name == name).take(1).collect(),
        None => all.iter().filter(|device| device.kind() == name).take(1).collect(),
    };
    if found.is_empty() {
        found = all.iter().filter(|device| device.annotation(CLASS) == Some(name)).collect();
    }
    found
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn granted(texts: &[&str]) -> Granted {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn an_unknown_entitlement_is_named() {
        for text in ["", "network", "security.insecure=1", "device=a,b", "fs=/"] {
            assert!(text.parse::<Entitlement>().unwrap_err().contains(text.rsplit(',').next().unwrap()), "{text}");
        }
    }

    #[test]
    fn what_is_not_granted_is_refused() {
        for (own, network, insecure, texts, expected) in [
            (Network::Host, Network::Host, false, &[][..], true),
            (Network::Bridge, Network::Host, false, &[], false),
            (Network::None, Network::Host, false, &["security.insecure", "device"], false),
            (Network::None, Network::Host, false, &["network.host"], true),
            (Network::Host, Network::None, true, &["network.host"], false),
            (Network::Host, Network::None, true, &["security.insecure"], true),
        ] {
            let outcome = granted(texts).check(insecure, own, network);
            assert_eq!(outcome.is_ok(), expected, "{own:?} {network:?} {insecure} {texts:?}");
        }
    }

    #[test]
    fn devices_are_granted_one_by_one_or_all() {
        let device = |name: &str, annotations: &[(&str, &str)]| Listed {
            name: name.into(),
            annotations: annotations
                .iter()
                .map(|(key, value)| ((*key).into(), (*value).into()))
                .collect::<BTreeMap<_, _>>(),
        };
        let all = [
            device("v.com/c=bar", &[(CLASS, "class1")]),
            device("v.com/c=baz", &[(CLASS, "class1"), (AUTO_ALLOW, "true")]),
            device("v.com/d=0", &[]),
        ];
        let names = |texts: &[&str], asked: &str, required| {
            let asked = [Device { name: asked.into(), required }];
            granted(texts).names(&asked, &all).map_err(|error| error.to_string())
        };
        assert_eq!(names(&["device"], "v.com/c", false).unwrap(), ["v.com/c=bar"]);
        assert_eq!(names(&["device"], "v.com/c=*", false).unwrap(), ["v.com/c=bar", "v.com/c=baz"]);
        assert_eq!(names(&["device=class1"], "class1", false).unwrap(), ["v.com/c=bar", "v.com/c=baz"]);
        assert_eq!(names(&[], "v.com/c=baz", false).unwrap(), ["v.com/c=baz"]);
        assert_eq!(names(&["device=v.com/d=0,alias=gpu"], "gpu", true).unwrap(), ["v.com/d=0"]);
        assert_eq!(names(&["device"], "v.com/x", false).unwrap(), [""; 0]);
        let message = names(&["device"], "v.com/x", true).unwrap_err();
        assert!(message.starts_with("--device: v.com/x: no CDI description in"), "{message}");
        for texts in [&[][..], &["device=v.com/d=0"], &["network.host"]] {
            let message = names(texts, "v.com/c=*", false).unwrap_err();
            assert_eq!(message, "--device=v.com/c=bar is not allowed (build --allow device=v.com/c=bar)");
        }
    }
}
