//! Hooks: their environment, and what a failure of one of them does to the container.

use std::fs;

use serde_json::json;

use crate::bundle::Bundle;

#[test]
fn a_hook_without_env_has_the_environment_of_the_caller() {
    for kind in ["prestart", "createRuntime", "poststart", "poststop"] {
        for (env, expected) in [(None, "caller"), (Some(json!([])), "none"), (Some(json!(["MARK=own"])), "own")] {
            let mut bundle = Bundle::new(&["true"]);
            let out = bundle.path().join("out");
            let script = format!("echo ${{MARK:-none}} >{}", out.display());
            let mut hook = json!({"path": "/bin/sh", "args": ["sh", "-c", script]});
            if let Some(env) = env {
                hook["env"] = env;
            }
            bundle.config["hooks"] = json!({kind: [hook]});
            bundle.store();
            let status = bundle.command(&["run", &bundle.id()]).env("MARK", "caller").status().unwrap();
            assert!(status.success());
            assert_eq!(fs::read_to_string(&out).unwrap().trim(), expected, "{kind}");
        }
    }
}

#[test]
fn a_hook_in_the_container_never_has_the_environment_of_the_caller() {
    for (kind, expected) in [("createContainer", "none"), ("startContainer", "program")] {
        let mut bundle = Bundle::new(&["true"]);
        let out = bundle.path().join("out");
        fs::create_dir(&out).unwrap();
        // createContainer hooks are programs of the host, startContainer hooks are the container's.
        let place = if kind == "createContainer" { out.to_str().unwrap() } else { "/out" };
        let script = format!("echo ${{MARK:-none}} >{place}/result");
        let mount = json!({"destination": "/out", "source": "out", "options": ["bind"]});
        bundle.config["mounts"].as_array_mut().unwrap().push(mount);
        bundle.config["process"]["env"] = json!(["PATH=/bin", "MARK=program"]);
        bundle.config["hooks"] = json!({kind: [{"path": "/bin/sh", "args": ["sh", "-c", script]}]});
        bundle.store();
        assert!(bundle.command(&["run", &bundle.id()]).env("MARK", "caller").status().unwrap().success());
        assert_eq!(fs::read_to_string(out.join("result")).unwrap().trim(), expected, "{kind}");
    }
}

#[test]
fn a_failing_poststart_hook_ends_the_container_and_runs_its_poststop_hooks() {
    for detached in [false, true] {
        let mut bundle = Bundle::new(&["sleep", "1000"]);
        let mark = bundle.path().join("mark");
        bundle.config["hooks"] = json!({
            "poststart": [{"path": "/bin/false"}],
            "poststop": [{"path": "/bin/touch", "args": ["touch", mark]}],
        });
        bundle.store();
        let id = bundle.id();
        let text = if detached {
            bundle.bad(&["run", "--detach", &id]).1
        } else {
            bundle.good(&["create", &id]);
            bundle.bad(&["start", &id]).1
        };
        assert!(text.contains("error running poststart hook #0"), "{text}");
        assert!(mark.exists(), "the poststop hook has run");
        assert!(bundle.bad(&["state", &id]).1.contains("container does not exist"));
        assert!(crate::bundle::cgroups(&id).is_empty());
    }
}
