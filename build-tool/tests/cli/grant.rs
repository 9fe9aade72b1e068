//! What a RUN may have only by the leave of whoever builds, and what every RUN is given.

use super::*;

#[test]
fn what_is_not_granted_is_refused_before_anything_is_done() {
    let work = Work::with_base();
    let insecure = "FROM base\nRUN touch /never\nRUN --security=insecure grep CapEff /proc/self/status\n";
    let refused = work.build(insecure);
    refused.fails(
        "Dockerfile:3: RUN --security=insecure grep CapEff /proc/self/status: --security=insecure is not allowed (build --allow security.insecure)",
    );
    assert!(!refused.shows("] RUN touch"), "{}", refused.stderr);
    let granted = work.build_with(insecure, &["--allow", "security.insecure"]).ok();
    assert!(granted.shows("CapEff") && !granted.shows("00000000a80425fb"), "{}", granted.stderr);
    work.build(insecure).fails(
        "Dockerfile:3: RUN --security=insecure grep CapEff /proc/self/status: --security=insecure is not allowed (build --allow security.insecure)",
    );
    let host = "FROM base\nRUN --network=host true\n";
    work.build_with(host, &["--network", "none"])
        .fails("Dockerfile:2: RUN --network=host true: --network=host is not allowed (build --allow network.host)");
    work.build_with(host, &["--network", "none", "--allow", "network.host"]).ok();
    work.build(host).ok();
    work.is_clean();
}

#[test]
fn a_base_image_is_granted_no_more_than_a_dockerfile() {
    let work = Work::with_base();
    work.file("base/Dockerfile", "FROM base\nONBUILD RUN --security=insecure true\n");
    work.run(&["build", "-q", "-t", "images:trap", "--runtime", "runc", "base"]).ok();
    work.build("FROM trap\n").fails(
        "Dockerfile:1: FROM trap: ONBUILD RUN --security=insecure true: --security=insecure is not allowed (build --allow security.insecure)",
    );
    work.build_with("FROM trap\n", &["--allow", "security.insecure"]).ok();
}

#[test]
fn an_option_that_is_wrong_is_named() {
    let work = Work::with_base();
    for (arguments, status, expected) in [
        (&["--allow", "network"][..], 2, "\"network\" is none of security.insecure, network.host and device[=NAME]"),
        (&["--ulimit", "files=1"], 2, "\"files\" is not a resource limit"),
        (&["--add-host", "db"], 2, "\"db\" is not valid"),
        (&["--shm-size", "lots"], 2, "lots"),
        (&["--network", "none", "--add-host", "me:host-gateway"], 1, "--add-host me:host-gateway: with --network none"),
        (&["--ssh", "default"], 1, "--ssh default: SSH_AUTH_SOCK names no agent"),
        (&["--ssh", "key=nosuch"], 1, "open nosuch"),
        (&["--secret", "id=a,src=nosuch"], 1, "--secret id=a,src=nosuch: nosuch: No such file"),
        (&["--secret", "id=a,src=b,env=c"], 1, "expected src= or env=, not both"),
    ] {
        let run = work.build_with("FROM base\n", arguments);
        assert_eq!(run.status, status, "{arguments:?}: {}", run.stderr);
        assert!(run.shows(expected), "{arguments:?}: {}", run.stderr);
    }
}

#[test]
fn a_device_that_this_host_lacks_is_refused_if_it_is_required() {
    let work = Work::with_base();
    work.build("FROM base\nRUN --device=v.com/c=a,required true\n").fails(
        "Dockerfile:2: RUN --device=v.com/c=a,required true: --device: v.com/c=a: no CDI description in /etc/cdi or /var/run/cdi",
    );
    // Without `required`, a device that this host lacks is left out.
    work.build("FROM base\nRUN --device=v.com/c=a true\n").ok();
}

#[test]
fn an_agent_for_keys_is_started_only_where_it_is_needed() {
    let work = Work::with_base();
    work.file("key", "no key");
    work.build_with("FROM base\nRUN true\n", &["--ssh", "default=key"]).ok();
    assert!(work.build_with("FROM base\nRUN --mount=type=ssh true\n", &["--ssh", "default=key"]).status != 0);
    work.is_clean();
}

#[test]
fn run_gets_what_the_options_say() {
    let work = Work::with_base();
    let dockerfile = "FROM base\nRUN cat /etc/hosts /proc/sys/kernel/hostname; ulimit -n; mount | grep /dev/shm; env\n";
    let options = [
        "--add-host",
        "db:10.1.2.3",
        "--add-host",
        "me=host-gateway",
        "--shm-size",
        "1m",
        "--ulimit",
        "nofile=77:88",
        "--build-arg",
        "BUILDKIT_SANDBOX_HOSTNAME=forge",
        "--build-arg",
        "http_proxy=http://p",
        "--build-arg",
        "NO_PROXY=n",
    ];
    let run = work.build_with(dockerfile, &options).ok();
    for line in [
        "127.0.0.1\tlocalhost forge",
        "10.1.2.3\tdb",
        "127.0.0.1\tme",
        " forge",
        " 77",
        "size=1024k",
        "HTTP_PROXY=http://p",
        "http_proxy=http://p",
        "NO_PROXY=n",
        "no_proxy=n",
    ] {
        assert!(run.shows(line), "{line}: {}", run.stderr);
    }
    assert!(!run.shows("WARNING"), "{}", run.stderr);
    // An address and a proxy say how to reach something. They are in no key, and not in the image.
    let other = options.map(|option| option.replace("10.1.2.3", "10.9.9.9").replace("http://p", "http://q"));
    let other: Vec<&str> = other.iter().map(String::as_str).collect();
    assert!(work.build_with(dockerfile, &other).ok().shows("CACHED"));
    let history = work.config()["history"].to_string();
    assert!(!history.contains("proxy") && !history.contains("PROXY"), "{history}");
    assert!(!work.build_with(dockerfile, &options[2..]).ok().shows("CACHED"));
}
