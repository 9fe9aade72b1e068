//! The network of RUN commands.

use std::collections::BTreeMap;
use std::str::FromStr;

use bundle_tool::bundle::{annotation, name};
use bundle_tool::config::Namespace;
use bundle_tool::container;
use bundle_tool::network::{self, Plan, cni};
use image_tool::address::home::Home;
use oci_spec::runtime::Hooks;

/// The network that a command can reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// The network of this host.
    Host,
    /// Only a loopback device.
    None,
    /// The CNI network `bridge`, which bundle-tool's hooks set up and tear down.
    Bridge,
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "host" | "default" => Ok(Self::Host),
            "none" => Ok(Self::None),
            "bridge" => Ok(Self::Bridge),
            _ => Err(format!("{text:?} is none of host, none and bridge")),
        }
    }
}

/// The network's part of config.json.
#[derive(Debug)]
pub struct Settings {
    /// The network namespace.
    pub namespace: Namespace,
    /// The hooks that set up the network and tear it down.
    pub hooks: Option<Hooks>,
    /// The annotations that the hooks read.
    pub annotations: BTreeMap<String, String>,
}

impl Network {
    /// The network's part of config.json. `gateway_names` are names for this host's address on the network. Fails if the
    /// network cannot be set up here.
    pub fn settings(self, home: &Home, gateway_names: Vec<String>) -> Result<Settings, network::Error> {
        let (namespace, none) = match self {
            Self::Host => (Namespace::Host, true),
            Self::None => (Namespace::Private, true),
            Self::Bridge => (Namespace::Private, false),
        };
        if none {
            return Ok(Settings { namespace, hooks: None, annotations: BTreeMap::new() });
        }
        cni::check_plugins(&container::conflist(home, "bridge")?)?;
        let plan = Plan { network: "bridge".to_owned(), gateway_names, ..Plan::default() };
        let plan = serde_json::to_string(&plan).expect("a plan is JSON");
        let annotations = [(annotation::ID, name::random_id()), (annotation::NETWORK, plan)];
        Ok(Settings {
            namespace,
            hooks: Some(hooks(home)?),
            annotations: annotations.map(|(key, value)| (key.to_owned(), value)).into(),
        })
    }
}

fn hooks(home: &Home) -> Result<Hooks, network::Error> {
    network::hooks(&crate::stage::base::sibling("bundle-tool"), home, true)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// Set in the process that the test starts itself in, so that it can choose the environment.
    const INNER: &str = "BUILD_TOOL_TEST_HOOKS";
    const NAME: &str = concat!(module_path!(), "::hooks_find_the_networks_of_a_user_who_is_not_root");

    #[test]
    fn hooks_find_the_networks_of_a_user_who_is_not_root() {
        if std::env::var_os(INNER).is_some() {
            let hooks = hooks(&Home::from_environment()).unwrap();
            for hook in hooks.create_runtime().iter().chain(hooks.poststop()).flatten() {
                let variables = hook.env().as_ref().unwrap();
                assert!(variables.iter().any(|entry| entry == "XDG_RUNTIME_DIR=/run/user/7"), "{variables:?}");
            }
            return;
        }
        let (_, name) = NAME.split_once("::").unwrap();
        let mut inner = Command::new(std::env::current_exe().unwrap());
        let output =
            inner.args(["--exact", name]).env(INNER, "").env("XDG_RUNTIME_DIR", "/run/user/7").output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("1 passed"), "{text}");
    }
}
