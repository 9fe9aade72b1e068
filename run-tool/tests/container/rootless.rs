//! Containers of an ordinary user: with a single id, and with ranges of ids through newuidmap and newgidmap.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use crate::bundle::{Bundle, eventually};

/// Debian's user nobody: newuidmap requires a user with a name.
const USER: u32 = 65534;

/// A bundle that the user owns, with a copy of run-tool that the user can execute.
pub(crate) struct Owned(pub(crate) Bundle);

impl Owned {
    pub(crate) fn new(arguments: &[&str], change: impl FnOnce(&mut Value)) -> Self {
        let bundle = Bundle::new(arguments);
        // By another process: a child of another test could inherit the open file, and execve fails as long as a file is open for writing.
        let copied =
            Command::new("cp").arg(env!("CARGO_BIN_EXE_run-tool")).arg(bundle.path().join("tool")).status().unwrap();
        assert!(copied.success());
        fs::create_dir(bundle.path().join("run")).unwrap();
        // The user's subordinate ids. `tool` mounts this file over /etc/subuid in its own mount namespace.
        fs::write(bundle.path().join("subids"), "nobody:300000:65536\n").unwrap();
        let status = Command::new("chown").args(["-R", "65534:65534"]).arg(bundle.path()).status().unwrap();
        assert!(status.success());
        fs::remove_file(bundle.path().join("config.json")).unwrap();
        let owned = Self(bundle);
        owned.good(&["spec", "--rootless"]);
        let path = owned.0.path().join("config.json");
        let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        config["process"]["terminal"] = json!(false);
        config["process"]["args"] = json!(arguments);
        change(&mut config);
        fs::write(&path, config.to_string()).unwrap();
        owned
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn tool(&self, arguments: &[&str]) -> Output {
        let script = "mount --bind subids /etc/subuid; mount --bind subids /etc/subgid; \
            exec setpriv --reuid 65534 --regid 65534 --clear-groups --inh-caps=-all ./tool \"$@\"";
        let (out, err) = (self.path().join("out"), self.path().join("err"));
        let status = Command::new("unshare")
            .args(["--mount", "sh", "-c", script, "sh"])
            .args(arguments)
            .current_dir(self.path())
            .env("XDG_RUNTIME_DIR", self.path().join("run"))
            .stdin(Stdio::null())
            .stdout(fs::File::create(&out).unwrap())
            .stderr(fs::File::create(&err).unwrap())
            .status()
            .unwrap();
        Output { status, stdout: fs::read(out).unwrap(), stderr: fs::read(err).unwrap() }
    }

    fn good(&self, arguments: &[&str]) -> String {
        let output = self.tool(arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        // A failed test may leave a container.
        let _ = self.tool(&["delete", "--force", &self.0.id()]);
    }
}

#[test]
fn a_user_runs_a_container_with_a_single_id() {
    let owned = Owned::new(&["sh", "-c", "id -u; cat /proc/self/uid_map; exit 3"], |_| ());
    let output = owned.tool(&["run", &owned.0.id()]);
    let text = String::from_utf8_lossy(&output.stdout);
    let fields: Vec<&str> = text.split_whitespace().collect();
    assert_eq!(fields, ["0", "0", "65534", "1"], "{output:?}");
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(owned.good(&["list", "-q"]), "");
}

#[test]
fn the_state_of_a_users_container_is_in_the_runtime_folder() {
    let owned = Owned::new(&["sleep", "1000"], |_| ());
    let id = owned.0.id();
    owned.good(&["create", "--pid-file", "pid", &id]);
    assert!(owned.path().join("run/run-tool").join(&id).join("state.json").exists());
    owned.good(&["start", &id]);
    let state: Value = serde_json::from_str(&owned.good(&["state", &id])).unwrap();
    assert_eq!(state["pid"].to_string(), fs::read_to_string(owned.path().join("pid")).unwrap());
    assert_eq!(owned.good(&["exec", &id, "sh", "-c", "id -u; pwd"]), "0\n/\n");
    assert!(owned.good(&["list"]).contains("nobody"));
    owned.good(&["kill", &id, "KILL"]);
    eventually("its end", || owned.good(&["state", &id]).contains("\"stopped\""));
    owned.good(&["delete", &id]);
    assert!(!owned.path().join("run/run-tool").join(&id).exists());
}

#[test]
fn ps_says_why_there_is_no_list() {
    let owned = Owned::new(&["sleep", "1000"], |_| ());
    let id = owned.0.id();
    owned.good(&["run", "--detach", &id]);
    let output = owned.tool(&["ps", &id]);
    let text = String::from_utf8_lossy(&output.stderr);
    // Where the user may make groups there is a list.
    if output.status.success() {
        assert!(String::from_utf8_lossy(&output.stdout).contains("sleep"), "{output:?}");
    } else {
        assert!(text.contains("the container has no cgroup of its own"), "{text}");
    }
}

#[test]
fn without_a_runtime_folder_there_is_one_clear_line() {
    let owned = Owned::new(&["true"], |_| ());
    let script = "exec setpriv --reuid 65534 --regid 65534 --clear-groups ./tool \"$@\"";
    let tool = |arguments: &[&str]| {
        let mut command = Command::new("sh");
        command.args(["-c", script, "sh"]).args(arguments).current_dir(owned.path()).env_remove("XDG_RUNTIME_DIR");
        command.output().unwrap()
    };
    for command in [vec!["list"], vec!["run", "x"], vec!["state", "x"]] {
        let output = tool(&command);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{command:?}");
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.contains("$XDG_RUNTIME_DIR is not set (set it to a folder of your own, or use --root)"), "{text}");
    }
    // What needs no state needs no folder.
    for command in [vec!["--version"], vec!["features"], vec!["spec", "--bundle", "run"]] {
        let output = tool(&command);
        assert!(output.status.success(), "{command:?}: {output:?}");
    }
}

#[test]
fn completion_does_not_need_the_runtime_folder() {
    let owned = Owned::new(&["true"], |_| ());
    let folder = owned.path().join("run");
    fs::remove_dir_all(&folder).unwrap();
    fs::write(&folder, "").unwrap();
    assert!(owned.good(&["__complete", "1", "--", "run-tool", "lo"]).starts_with("logs"));
    assert!(owned.good(&["completions", "bash"]).contains("run-tool"));
    let output = owned.tool(&["list"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("must be writable by the user"), "{output:?}");
}

#[test]
fn a_user_gets_ranges_of_ids_through_newuidmap() {
    let script = "id -u; cat /proc/self/uid_map /proc/self/gid_map";
    let owned = Owned::new(&["sh", "-c", script], |config| {
        let maps = json!([
            {"containerID": 0, "hostID": USER, "size": 1}, {"containerID": 1, "hostID": 300_000, "size": 65_536}
        ]);
        config["linux"]["uidMappings"] = maps.clone();
        config["linux"]["gidMappings"] = maps;
        config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
    });
    let text = owned.good(&["run", &owned.0.id()]);
    let fields: Vec<&str> = text.split_whitespace().collect();
    let map = ["0", "65534", "1", "1", "300000", "65536"];
    assert_eq!(fields, [&["1000"][..], &map[..], &map[..]].concat());
}

#[test]
fn a_user_has_the_groups_of_the_configuration_where_they_are_mapped() {
    let grouped = |ranges: &[Value]| {
        Owned::new(&["sh", "-c", "id -G; exec sleep 1000"], |config| {
            let maps = [&[json!({"containerID": 0, "hostID": USER, "size": 1})], ranges].concat();
            config["linux"]["uidMappings"] = json!(maps);
            config["linux"]["gidMappings"] = json!(maps);
            config["process"]["user"] = json!({"uid": 0, "gid": 0, "additionalGids": [10]});
        })
    };
    let owned = grouped(&[json!({"containerID": 1, "hostID": 300_000, "size": 65_536})]);
    let id = owned.0.id();
    owned.good(&["run", "--detach", &id]);
    eventually("its groups", || fs::read_to_string(owned.path().join("out")).is_ok_and(|text| text == "0 10\n"));
    assert_eq!(owned.good(&["exec", &id, "id", "-G"]), "0 10\n");
    assert_eq!(owned.good(&["exec", "--additional-gids", "20", &id, "id", "-G"]), "0 10 20\n");
    // With a single id they would be those of the caller, and the kernel lets nobody change them.
    let alone = grouped(&[]);
    let output = alone.tool(&["run", &alone.0.id()]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("cannot set any additional groups in a rootless container"), "{text}");
    assert!(!output.status.success());
}
