//! spec: the config.json that options give.

use std::fs;

use serde_json::{Value, json};

use crate::work::{Work, mount, root, strings};

#[test]
fn options_of_the_program_are_dockers() {
    let work = Work::new();
    fs::write(work.path("env"), "# comment\nA=file\nB=file\nGIVEN\nABSENT\n").unwrap();
    let config = work.spec("-it --hostname box -e A=option -e LANG=de --env-file env -u www:44 --group-add 7 images:python:3.8 -c -it --rm");
    assert_eq!(config["process"]["args"], json!(["-c", "-it", "--rm"]), "what follows the address is the command's");
    assert_eq!(
        config["process"]["env"],
        json!([
            "PATH=/bin",
            "HOSTNAME=box",
            "TERM=xterm",
            "LANG=de",
            "A=option",
            "B=file",
            "GIVEN=by the caller",
            "HOME=/srv"
        ])
    );
    assert_eq!(config["process"]["user"], json!({"uid": 33, "gid": 44, "additionalGids": [7, 44]}));
    assert_eq!((&config["process"]["terminal"], &config["hostname"]), (&json!(true), &json!("box")));

    let config = work.spec("images:user");
    assert_eq!(config["process"]["args"], json!(["/entry", "x"]));
    assert_eq!(config["process"]["user"], json!({"uid": 33, "gid": 34, "additionalGids": [34, 44]}));
    assert_eq!(config["process"]["cwd"], "/srv/app");
    assert_eq!(config["annotations"]["org.oci-tools.stop-signal"], "SIGQUIT");
    assert!(mount(&config, "/data")["source"].as_str().unwrap().ends_with("/_data"), "the image's volume");
    let bare = work.words(&["spec", "--network", "none", "--entrypoint", "", "images:user", "ls"], b"");
    assert!(!bare.ok().contains("/entry"));
    work.is_clean();
}

#[test]
fn options_of_confinement_and_limits_reach_the_configuration() {
    let work = Work::new();
    let config = work.spec(
        "--cap-drop ALL --cap-add net_admin --read-only --security-opt no-new-privileges --security-opt seccomp=unconfined \
         --tmpfs /run:size=1m --shm-size 32m --ulimit nofile=10:20 --oom-score-adj -5 --pids-limit 9 -m 64m --memory-swap -1 --cpu-shares 512 \
         --device /dev/null:/dev/hole --sysctl net.core.somaxconn=7 --cgroup-parent /group --name box \
         --annotation run.oci.keep_original_groups=1 images:python:3.8",
    );
    assert_eq!(config["annotations"]["run.oci.keep_original_groups"], "1");
    assert_eq!(config["process"]["capabilities"]["bounding"], json!(["CAP_NET_ADMIN"]));
    assert_eq!((&config["root"]["readonly"], &config["process"]["noNewPrivileges"]), (&json!(true), &json!(true)));
    assert!(config["linux"].get("seccomp").is_none());
    assert!(strings(&mount(&config, "/run")["options"]).contains(&"size=1048576"));
    assert!(strings(&mount(&config, "/dev/shm")["options"]).contains(&"size=33554432"));
    assert_eq!(config["process"]["rlimits"], json!([{"type": "RLIMIT_NOFILE", "hard": 20, "soft": 10}]));
    assert_eq!(config["process"]["oomScoreAdj"], -5);
    let resources = &config["linux"]["resources"];
    assert_eq!(
        (&resources["pids"]["limit"], &resources["memory"]["limit"], &resources["memory"]["swap"]),
        (&json!(9), &json!(67_108_864), &json!(-1))
    );
    assert_eq!(resources["cpu"]["shares"], 512);
    assert_eq!(config["linux"]["devices"][0]["path"], "/dev/hole");
    assert_eq!(config["linux"]["sysctl"]["net.core.somaxconn"], "7");
    let group = config["linux"]["cgroupsPath"].as_str().unwrap();
    assert_eq!(group.strip_prefix("/group/").map(str::len), Some(64), "{group}: the ID, as in docker");

    let kinds = |config: &Value| -> Vec<String> {
        config["linux"]["namespaces"]
            .as_array()
            .unwrap()
            .iter()
            .map(|space| space["type"].as_str().unwrap().to_owned())
            .collect()
    };
    let config = work.spec("--pid host --ipc host --uts host images:python:3.8");
    assert!(!kinds(&config).iter().any(|kind| ["pid", "ipc", "uts"].contains(&kind.as_str())), "{config}");
    assert_eq!(mount(&config, "/dev/shm")["source"], "/dev/shm");
    let config: Value =
        serde_json::from_str(work.run("spec --network host --privileged images:python:3.8").ok()).unwrap();
    assert!(!kinds(&config).contains(&"network".to_owned()));
    assert!(
        config["linux"].get("maskedPaths").is_none()
            && config["linux"]["devices"].as_array().is_some_and(|list| list.len() > 1)
    );
}

#[test]
fn what_is_unset_given_twice_or_unclean_is_read_as_docker_reads_it() {
    let work = Work::new();
    let config = work.spec(
        "-e LANG -e ABSENT --cap-drop CHOWN --cap-add CHOWN --ulimit nofile=20:30 --ulimit nofile=10 -w /data/../srv//x/ \
         --hostname h1 --domainname d.example images:python:3.8",
    );
    let env = strings(&config["process"]["env"]);
    assert!(!env.iter().any(|entry| entry.starts_with("LANG") || entry.starts_with("ABSENT")), "{env:?}");
    assert!(strings(&config["process"]["capabilities"]["bounding"]).contains(&"CAP_CHOWN"));
    assert_eq!(config["process"]["rlimits"], json!([{"type": "RLIMIT_NOFILE", "hard": 10, "soft": 10}]));
    assert_eq!(config["process"]["cwd"], "/srv/x");
    if root() {
        assert_eq!(config["linux"]["sysctl"]["kernel.domainname"], "d.example");
        assert_eq!(config["ociVersion"], "1.0.2", "nothing newer is used");
    }
    assert_eq!(work.words(&["spec", "--network", "none", "-w", "", "images:user"], b"").status, 0);
}

#[test]
fn values_that_docker_takes_are_taken() {
    let work = Work::new();
    for words in [
        "--cpus 0",
        "--cpus 1/2",
        "--cpus 1e-1",
        "-m 64Mi",
        "--rm=1",
        "--rm=f",
        "--read-only=T",
        "--tty=False",
        "--detach-keys ctrl-x,x",
        "--dns-search example.com.",
        "--dns-search .",
        "--health-cmd x --health-interval 1ms",
        "--tmpfs /a:size=1Mi",
        "--mount type=tmpfs,dst=/x,ro=t",
        "--platform linux/amd64",
    ] {
        let words = words.replace("linux/amd64", &image_tool::layout::platform::Platform::host().to_string());
        work.spec(&format!("{words} images:python:3.8"));
    }
}

#[test]
fn mounts_keep_the_images_modes_and_need_nothing_new() {
    let work = Work::new();
    let outside = work.path("outside");
    fs::create_dir(&outside).unwrap();
    let config = work.spec(&format!(
        "--tmpfs /data --tmpfs /new --mount type=tmpfs,dst=/etc,tmpfs-mode=700 -v {}:/x:ro images:python:3.8",
        outside.display()
    ));
    for (target, mode) in [("/data", "mode=700"), ("/new", "mode=1777"), ("/etc", "mode=700")] {
        assert!(strings(&mount(&config, target)["options"]).contains(&mode), "{target}: {config}");
    }
    assert_eq!(mount(&config, "/x")["options"], json!(["rbind", "rprivate", "ro"]));
    assert_eq!(config["ociVersion"], "1.0.2");
    let source = format!("type=bind,src={},dst=/x,readonly,bind-recursive=readonly", outside.display());
    let config = work.spec(&format!("--mount {source} images:python:3.8"));
    assert!(strings(&mount(&config, "/x")["options"]).contains(&"rro"));
    assert_eq!(config["ociVersion"], "1.1.0");
}

#[test]
fn options_of_life_are_annotations() {
    let work = Work::new();
    let config = work.spec(
        "-i -d --rm --stop-signal INT --stop-timeout -1 --restart no --log-driver json-file --log-opt max-size=1m -l a=1 -l b \
         --health-cmd true --health-interval 5s --health-retries 3 images:python:3.8 x",
    );
    let annotations = &config["annotations"];
    for (key, value) in [
        ("a", "1"),
        ("b", ""),
        ("org.oci-tools.rm", "true"),
        ("org.oci-tools.interactive", "true"),
        ("org.oci-tools.detach", "true"),
        ("org.oci-tools.stop-signal", "INT"),
        ("org.oci-tools.stop-timeout", "-1"),
        ("org.oci-tools.log-driver", "json-file"),
        ("org.oci-tools.log-options", "{\"max-size\":\"1m\"}"),
        ("org.oci-tools.ports", "8888/tcp"),
        ("org.oci-tools.command", "[\"x\"]"),
        ("org.oci-tools.healthcheck", "{\"Test\":[\"CMD-SHELL\",\"true\"],\"Interval\":5000000000,\"Retries\":3}"),
    ] {
        assert_eq!(annotations[key], value, "{key}");
    }
    assert!(annotations["org.oci-tools.labels"].as_str().unwrap().contains("\"from\":\"image\""));
    assert_eq!(config["hooks"]["poststop"][0]["args"], json!(["bundle-tool", "hook", "down"]));
}
