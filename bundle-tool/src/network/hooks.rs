//! The hooks in config.json by which a runtime brings a container's network up and takes it down.

use std::path::Path;

use image_tool::address::home::Home;
use image_tool::error::During as _;
use oci_spec::runtime::{Hook, Hooks};

use super::Error;
use crate::option::environment::DEFAULT_PATH;

/// The caller's variables that a hook needs: the folders of plugins, and the folder for the state of networks of a user who is not root.
const INHERITED: [&str; 2] = ["CNI_PATH", "XDG_RUNTIME_DIR"];

/// Hooks that call `bundle-tool hook down` after the container is deleted and, with `up`, `bundle-tool hook up` before its program starts.
/// `program` is the path of bundle-tool.
pub fn hooks(program: &Path, home: &Home, up: bool) -> Result<Hooks, Error> {
    let home = std::path::absolute(home.path()).during("find", home.path())?;
    let variables = variables(&home, |name| std::env::var(name).ok());
    let hook = |action: &str| {
        let mut hook = Hook::default();
        hook.set_path(program.to_owned());
        hook.set_args(Some(vec!["bundle-tool".into(), "hook".into(), action.into()]));
        hook.set_env(Some(variables.clone()));
        hook.set_timeout(Some(60));
        hook
    };
    let mut hooks = Hooks::default();
    hooks.set_create_runtime(up.then(|| vec![hook("up")]));
    hooks.set_poststop(Some(vec![hook("down")]));
    Ok(hooks)
}

/// The environment of a hook, which is only what config.json lists.
fn variables(home: &Path, caller: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let mut variables = vec![DEFAULT_PATH.to_owned(), format!("OCI_HOME={}", home.display())];
    let inherited =
        INHERITED.into_iter().filter_map(|name| Some((name, caller(name).filter(|value| !value.is_empty())?)));
    variables.extend(inherited.map(|(name, value)| format!("{name}={value}")));
    variables
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hook_has_what_the_caller_has_of_plugins_and_state_and_nothing_else() {
        let caller = |name: &str| match name {
            "CNI_PATH" => Some("/opt/cni".to_owned()),
            "XDG_RUNTIME_DIR" => Some("/run/user/7".to_owned()),
            _ => Some("anything".to_owned()),
        };
        assert_eq!(
            variables(Path::new("/data"), caller),
            [DEFAULT_PATH, "OCI_HOME=/data", "CNI_PATH=/opt/cni", "XDG_RUNTIME_DIR=/run/user/7"]
        );
        assert_eq!(variables(Path::new("/data"), |_| Some(String::new())), [DEFAULT_PATH, "OCI_HOME=/data"]);
    }

    #[test]
    fn a_container_without_a_network_of_its_own_has_only_an_end() {
        let hooks = hooks(Path::new("/bin/bundle-tool"), &Home::from_environment(), false).unwrap();
        assert!(hooks.create_runtime().is_none());
        assert_eq!(hooks.poststop().as_ref().unwrap()[0].path(), Path::new("/bin/bundle-tool"));
    }
}
