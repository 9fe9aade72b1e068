//! A further program in a container, as docker exec has it: the `process` document for a runtime.

use std::collections::BTreeSet;
use std::os::fd::AsFd;

use image_tool::beneath::Root;
use serde_json::{Value, json};

use super::Error;
use crate::bundle::Bundle;
use crate::option::environment;
use crate::rootfs::user;
use crate::security::capability;

/// What docker exec asks for.
#[derive(Clone, Debug, Default)]
pub struct Wish {
    /// The program and its arguments.
    pub arguments: Vec<String>,
    /// `USER[:GROUP]`; the container's own if absent.
    pub user: Option<String>,
    /// The working directory; the container's own if absent.
    pub workdir: Option<String>,
    /// `NAME=VALUE`, or a name alone to remove the variable.
    pub env: Vec<String>,
    /// Whether it gets a terminal.
    pub tty: bool,
    /// Whether it gets all capabilities.
    pub privileged: bool,
}

/// The process that [`Wish`] describes, in the form of `process` in config.json: the container's own, with what is asked for in its place.
pub fn process(bundle: &Bundle, wish: &Wish) -> Result<Value, Error> {
    let mut process = bundle.config()["process"].clone();
    let was_terminal = process["terminal"] == true;
    let old: Vec<String> = serde_json::from_value(process["env"].clone()).unwrap_or_default();
    let mut env = old;
    if let Some(specification) = &wish.user {
        let root = Root::open(bundle.rootfs())?;
        let resolve = |specification: &str| {
            user::resolve(root.as_fd(), specification, &[])
                .map_err(|source| Error::User { specification: specification.into(), source })
        };
        let identity = resolve(specification)?;
        // HOME comes from /etc/passwd unless it was set, and is then the last variable.
        let own = process["user"]["uid"].as_u64().unwrap_or_default().to_string();
        if let Ok(own) = resolve(&own)
            && env.last() == Some(&format!("HOME={}", own.home))
        {
            env.pop();
            env.push(format!("HOME={}", identity.home));
        }
        process["user"] = json!({"uid": identity.uid, "gid": identity.gid, "additionalGids": identity.groups});
        let held: Vec<Value> = process["capabilities"]["bounding"].as_array().cloned().unwrap_or_default();
        process["capabilities"] = sets(held, identity.uid);
    }
    if wish.privileged {
        let uid = process["user"]["uid"].as_u64().unwrap_or_default() as u32;
        let held: BTreeSet<&str> = capability::held();
        process["capabilities"] = sets(held.into_iter().map(Value::from).collect(), uid);
        process["apparmorProfile"] = json!("");
    }
    if was_terminal && !wish.tty {
        env.retain(|entry| entry != "TERM=xterm");
    } else if wish.tty && environment::value(&env, "TERM").is_none() {
        environment::put(&mut env, "TERM=xterm".into());
    }
    environment::overlay(&mut env, wish.env.iter().cloned());
    process["env"] = json!(env);
    process["args"] = json!(wish.arguments);
    process["terminal"] = json!(wish.tty);
    if let Some(workdir) = &wish.workdir {
        process["cwd"] = json!(workdir);
    }
    if let Some(process) = process.as_object_mut() {
        process.remove("consoleSize");
    }
    Ok(process)
}

/// Capability sets. As in docker, a user other than root only has the bounding set.
fn sets(bounding: Vec<Value>, uid: u32) -> Value {
    let held = if uid == 0 { bounding.clone() } else { Vec::new() };
    json!({"bounding": bounding, "effective": held, "permitted": held})
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn bundle(folder: &std::path::Path) -> Bundle {
        fs::create_dir_all(folder.join("rootfs/etc")).unwrap();
        fs::write(folder.join("rootfs/etc/passwd"), "root:x:0:0::/root:/bin/sh\nwww:x:33:33::/var/www:\n").unwrap();
        fs::write(folder.join("rootfs/etc/group"), "disk:x:6:www\n").unwrap();
        let config = json!({"root": {"path": "rootfs"}, "process": {
            "args": ["sleep"], "cwd": "/srv", "env": ["PATH=/bin", "A=1", "HOME=/root"], "user": {"uid": 0, "gid": 0},
            "capabilities": {"bounding": ["CAP_KILL"], "effective": ["CAP_KILL"], "permitted": ["CAP_KILL"]},
            "noNewPrivileges": true, "consoleSize": {"height": 1, "width": 1},
        }});
        fs::write(folder.join("config.json"), config.to_string()).unwrap();
        Bundle::open(folder).unwrap()
    }

    #[test]
    fn a_program_has_what_the_container_has_but_for_what_is_asked() {
        let folder = tempfile::tempdir().unwrap();
        let bundle = bundle(folder.path());
        let wish = Wish { arguments: vec!["id".into()], env: vec!["B=2".into(), "A".into()], ..Wish::default() };
        let made = process(&bundle, &wish).unwrap();
        assert_eq!(made["env"], json!(["PATH=/bin", "HOME=/root", "B=2"]));
        assert_eq!((&made["args"], &made["cwd"]), (&json!(["id"]), &json!("/srv")));
        assert_eq!(made["noNewPrivileges"], true);
        assert!(made.get("consoleSize").is_none());
    }

    #[test]
    fn another_user_has_its_own_groups_home_and_no_capabilities() {
        let folder = tempfile::tempdir().unwrap();
        let bundle = bundle(folder.path());
        let wish = Wish { user: Some("www".into()), tty: true, workdir: Some("/tmp".into()), ..Wish::default() };
        let made = process(&bundle, &wish).unwrap();
        assert_eq!(made["user"], json!({"uid": 33, "gid": 33, "additionalGids": [6, 33]}));
        assert_eq!(made["env"], json!(["PATH=/bin", "A=1", "HOME=/var/www", "TERM=xterm"]));
        assert_eq!(made["capabilities"], json!({"bounding": ["CAP_KILL"], "effective": [], "permitted": []}));
        let wish = Wish { user: Some("nosuch".into()), ..Wish::default() };
        assert!(matches!(process(&bundle, &wish), Err(Error::User { .. })));
        for large in ["2147483648", "0:2147483648"] {
            let wish = Wish { user: Some(large.into()), ..Wish::default() };
            let refused = process(&bundle, &wish).unwrap_err();
            assert!(matches!(refused, Error::User { source: user::Error::TooLarge, .. }), "{large}: {refused}");
        }
    }
}
