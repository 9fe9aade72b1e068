//! The network of RUN commands.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;

use bundle_tool::config::Namespace;
use bundle_tool::network::{self, Plan, cni};
use bundle_tool::{annotation, container, environment, name};
use image_tool::home::Home;
use oci_spec::runtime::{Hook, Hooks};

/// What a command can reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// What this host reaches.
    Host,
    /// A loopback device and nothing else.
    None,
    /// The CNI network `bridge`, brought up and taken down by the hooks of bundle-tool.
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

/// What config.json says of a network.
#[derive(Debug)]
pub struct Settings {
    /// The namespace.
    pub namespace: Namespace,
    /// Who brings it up.
    pub hooks: Option<Hooks>,
    /// What they need to know.
    pub annotations: BTreeMap<String, String>,
}

impl Network {
    /// For config.json; what the network needs must be there.
    pub fn settings(self, home: &Home) -> Result<Settings, network::Error> {
        let (namespace, none) = match self {
            Self::Host => (Namespace::Host, true),
            Self::None => (Namespace::Private, true),
            Self::Bridge => (Namespace::Private, false),
        };
        if none {
            return Ok(Settings { namespace, hooks: None, annotations: BTreeMap::new() });
        }
        cni::check_plugins(&container::conflist(home, "bridge")?)?;
        let plan = Plan { network: "bridge".to_owned(), ..Plan::default() };
        let plan = serde_json::to_string(&plan).expect("a plan is JSON");
        let annotations = [(annotation::ID, name::random_id()), (annotation::NETWORK, plan)];
        Ok(Settings {
            namespace,
            hooks: Some(hooks(home, crate::stage::base::sibling("bundle-tool"))),
            annotations: annotations.map(|(key, value)| (key.to_owned(), value)).into(),
        })
    }
}

fn hooks(home: &Home, program: PathBuf) -> Hooks {
    // A runtime gives a hook the environment that is written here and no other.
    let mut variables = vec![environment::DEFAULT_PATH.to_owned()];
    let absolute = std::path::absolute(home.path()).unwrap_or_else(|_| home.path().to_owned());
    variables.push(format!("OCI_HOME={}", absolute.display()));
    variables.extend(std::env::var("CNI_PATH").ok().map(|path| format!("CNI_PATH={path}")));
    let hook = |action: &str| {
        let mut hook = Hook::default();
        hook.set_path(program.clone());
        hook.set_args(Some(vec!["bundle-tool".into(), "hook".into(), action.into()]));
        hook.set_env(Some(variables.clone()));
        hook.set_timeout(Some(60));
        hook
    };
    let mut hooks = Hooks::default();
    hooks.set_create_runtime(Some(vec![hook("up")]));
    hooks.set_poststop(Some(vec![hook("down")]));
    hooks
}
