//! Invalid input produces one line that names the culprit and the remedy, and leaves nothing half-written behind.

use std::net::TcpListener;

use tests::{Registry, Workdir, layout, registry};

/// A folder with busybox in the default layout.
fn busybox(registry: &Registry) -> Workdir {
    let work = Workdir::with_mirror(&registry.address());
    work.sh("docker pull busybox >/dev/null 2>&1").ok();
    work
}

/// Asserts that the failed attempt left nothing: the layout verifies, no container exists, and nothing runs or is mounted.
fn sound(work: &Workdir) {
    let output = work.sh("image-tool list | image-tool verify -");
    assert_eq!(output.status, 0, "{output}");
    assert_eq!(work.sh("docker ps -aq").ok(), "", "no container");
    assert_eq!(work.leaks(), Vec::<String>::new());
}

#[test]
fn a_missing_image() {
    let registry = Registry::images();
    let work = busybox(&registry);
    // In docker's words, which tell of the registry alone if that cannot be reached.
    work.sh("docker pull nosuch:1").fails_saying(1, &["Error response from daemon: "]);
    work.sh("docker run nosuch:1").fails_saying(125, &["docker: Error response from daemon: "]);
    work.sh("bundle-tool create images:python:3.8")
        .fails_saying(1, &["bundle-tool: images:python:3.8", "no such image", "registry-tool pull python:3.8 images"]);
    work.sh("image-tool inspect :nosuch").fails_saying(1, &["image-tool: ", "nosuch"]);
    work.write("context/Dockerfile", "FROM busybox\nFROM nosuch:1\nCOPY --from=0 /bin /bin\n");
    work.sh("docker build context 2>&1 >/dev/null | grep docker: >&2; exit 1").fails_saying(1, &["nosuch:1"]);
    sound(&work);
}

#[test]
fn a_bad_digest() {
    let registry = Registry::images();
    let work = busybox(&registry);
    let zeros = "0".repeat(64);
    work.sh(&format!("image-tool show :busybox@sha256:{zeros}")).fails_saying(1, &[&zeros]);
    work.sh("image-tool show :busybox@sha256:123").fails(2);
    work.sh(&format!("registry-tool pull busybox@sha256:{zeros}")).fails_saying(1, &[&zeros]);
    sound(&work);
}

#[test]
fn a_truncated_or_changed_layer() {
    let work = Workdir::new();
    let tar = layout::Tar::new().folder("bin/").file("bin/file", "content").bytes();
    for (name, damage) in [
        ("truncated", "truncate -s -1"),
        ("grown", "truncate -s +1"),
        ("changed", "sed -i s/content/CONTENT/"),
        ("missing", "rm"),
    ] {
        let folder = work.path(name);
        layout::Builder::new(&folder).layer(&tar).image("bad", serde_json::json!({ "Cmd": ["/bin/file"] }));
        let digest = layout::digest(&tar);
        work.sh(&format!("{damage} {name}/blobs/sha256/{}", &digest[7..])).ok();
        for text in [
            "image-tool verify",
            "image-tool unpack",
            "bundle-tool create --network none --bundle b",
            "image-tool save -o x.tar",
        ] {
            let operand = if text.contains("unpack") { "out" } else { "" };
            work.sh(&format!("{text} {name}:bad {operand}")).fails_saying(1, &[&format!("{name}:bad"), &digest]);
            assert!(!work.path("b").exists() && !work.path("x.tar").exists(), "{text} {name} left something");
        }
    }
    assert_eq!(
        work.sh("ls $OCI_HOME/layers/sha256 2>/dev/null | grep -E '^[0-9a-f]{64}$'").stdout,
        "",
        "no damaged layer is cached"
    );
}

#[test]
fn an_unreachable_registry() {
    let registry = Registry::images();
    let work = busybox(&registry);
    // Nobody listens on a port that was free a moment ago.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    work.sh(&format!("registry-tool pull {address}/x:1")).fails_saying(1, &[&address.to_string()]);
    work.sh(&format!("registry-tool push :busybox {address}/x:1")).fails_saying(1, &[&address.to_string()]);
    work.sh(&format!("registry-tool search {address}/x")).fails_saying(1, &[&address.to_string()]);
    sound(&work);
}

#[test]
fn a_wrong_password() {
    let images = Registry::images();
    let registry = Registry::with_password();
    let address = registry.address();
    let work = busybox(&images);
    let (user, password) = registry::LOGIN;
    work.sh(&format!("echo wrong | docker login -u {user} --password-stdin {address}")).fails_saying(1, &[&address]);
    work.sh(&format!("docker tag busybox {address}/busybox && docker push {address}/busybox"))
        .fails_saying(1, &[&address, "login"]);
    work.sh(&format!("echo {password} | docker login -u {user} --password-stdin {address}")).ok();
    work.sh(&format!("docker push {address}/busybox 2>/dev/null")).ok();
    assert_eq!(
        work.sh(&format!("grep -r {password} . 2>/dev/null")).status,
        1,
        "the password is stored nowhere in plain text"
    );
    work.sh(&format!("docker logout {address}")).ok();
    work.sh(&format!("docker pull {address}/busybox")).fails_saying(1, &[&address, "login"]);
    sound(&work);
}

/// Not in an error and not in the most detailed log; `RUST_LOG`, which other programs obey, changes nothing.
#[test]
fn no_secret_is_told() {
    const SECRET: &str = "hunter2";
    let registry = Registry::with_password();
    let address = registry.address();
    let mut work = Workdir::new();
    let (user, password) = registry::LOGIN;
    work.set("RUST_LOG", "trace");
    work.set("TOKEN", SECRET);
    work.write("token", SECRET);
    work.write("broken/config.json", &format!("{{\"auths\": {{\"{address}\": {{\"auth\": \"{SECRET}\"}}}}}}"));
    work.write("mirrors.json", &format!("{{\"registry-mirrors\": [\"https://me:{SECRET}@mirror.example\"]}}"));
    work.write("run/Dockerfile", "FROM scratch\nRUN --mount=type=secret,id=t,env=T [\"/nosuch\"]\n");
    work.write("add/Dockerfile", "FROM scratch\nARG TOKEN\nADD http://me:$TOKEN@127.0.0.1:1/x /\n");
    let login = format!("registry-tool -vv login -u {user}");
    for text in [
        format!("{login} -p {SECRET} {address}"),
        format!("{login} --password={SECRET} --password-stdin {address}"),
        format!("{login} -p {SECRET} {address} more"),
        format!("echo {SECRET} | {login} --password-stdin {address}"),
        format!("echo {SECRET} | {login} --password-stdin 127.0.0.1:1"),
        format!("echo {password} | {login} --password-stdin {address} && registry-tool -vv pull {address}/nosuch out"),
        format!("registry-tool -vv tags {address}/nosuch; registry-tool -vv catalog {address}"),
        format!("DOCKER_CONFIG=broken registry-tool -vv pull {address}/nosuch out"),
        "DOCKER_DAEMON_CONFIG=mirrors.json registry-tool -vv pull nosuch out".to_owned(),
        "build-tool -vv build --secret id=t,env=TOKEN --network none run".to_owned(),
        "build-tool -vv build --secret id=t,src=token --network none --runtime nosuch run".to_owned(),
        format!("build-tool -vv build --build-arg TOKEN={SECRET} add"),
    ] {
        let output = work.sh(&text);
        for secret in [SECRET, password] {
            assert!(!output.stdout.contains(secret) && !output.stderr.contains(secret), "{output}");
        }
        assert!(text.contains(" tags ") || output.status != 0, "{output}");
    }
}

#[test]
fn a_wrong_dockerfile() {
    let registry = Registry::images();
    let work = busybox(&registry);
    let cases = [
        ("FROM busybox\nFLY away\n", "dockerfile parse error line 2: unknown instruction: ", "FLY"),
        ("FROM busybox\nCOPY nosuch /\n", "Dockerfile:2", "nosuch"),
        ("COPY a b\n", "dockerfile parse error line 1: ", "FROM"),
        ("FROM busybox\nRUN exit 3\n", "Dockerfile:2", "3"),
        ("FROM busybox AS a\nCOPY --from=nosuch / /\n", "Dockerfile:2", "nosuch"),
        ("FROM busybox\nENV\n", "dockerfile parse error line 2: ", "ENV"),
        ("FROM busybox\nUSER nosuch\nRUN true\n", "Dockerfile:3", "nosuch"),
        ("FROM busybox\nCOPY ../../../etc/passwd /\n", "Dockerfile:2", "etc/passwd"),
    ];
    for (dockerfile, place, word) in cases {
        work.write("context/Dockerfile", dockerfile);
        let output = work.sh("docker build --quiet -t built context");
        assert_eq!(output.status, 1, "{dockerfile}{output}");
        let last = output.stderr.lines().last().unwrap_or_default();
        assert!(last.starts_with("docker: ") && last.contains(place) && last.contains(word), "{dockerfile}{output}");
        assert_eq!(output.stdout, "", "{dockerfile}");
    }
    work.sh("docker build nosuch").fails_saying(1, &["nosuch"]);
    work.sh("mkdir empty; docker build empty").fails_saying(1, &["Dockerfile"]);
    assert_eq!(work.sh("docker images -q").ok().lines().count(), 1, "only busybox is there");
    sound(&work);
}

#[test]
fn a_port_in_use() {
    let registry = Registry::images();
    let work = busybox(&registry).with_network();
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    work.sh(&format!("docker run --rm -p {port}:80 busybox true")).fails_saying(125, &[&port.to_string()]);
    work.sh("docker ps -aq | xargs -r docker rm -f").ok();
    sound(&work);
}

#[test]
fn a_name_in_use() {
    let registry = Registry::images();
    let work = busybox(&registry);
    work.sh("docker run -d --network none --name taken busybox sleep 1000").ok();
    let line = work.sh("docker run --network none --name taken busybox true").fails_saying(125, &["taken"]);
    assert!(line.contains("in use") || line.contains("already"), "{line}");
    assert_eq!(work.sh("docker ps --format '{{.Names}}'").ok(), "taken\n", "the first one still runs");
    work.sh("docker rm -f taken").ok();
    sound(&work);
}

#[test]
fn no_such_program_in_the_container() {
    let registry = Registry::images();
    let work = busybox(&registry);
    work.sh("docker run --rm --network none busybox nosuch").fails_saying(127, &["nosuch"]);
    work.sh("docker run --rm --network none busybox /etc/passwd").fails_saying(126, &["/etc/passwd"]);
    work.sh("docker run --rm --network none -u nosuch busybox true").fails_saying(125, &["nosuch"]);
    work.sh("docker run --rm --network none -w relative busybox true").fails_saying(125, &["relative"]);
    work.sh("docker run -d --network none --name up busybox sleep 1000").ok();
    work.sh("docker exec up nosuch").fails_saying(126, &["nosuch"]);
    work.sh("docker exec up /etc/passwd").fails_saying(126, &["/etc/passwd"]);
    work.sh("docker exec up sh -c 'exit 5'").fails(5);
    work.sh("docker run -d --network none --name never busybox nosuch").fails_saying(127, &["nosuch"]);
    assert_eq!(
        work.sh("docker ps -a --format '{{.Names}}'").ok(),
        "never\nup\n",
        "as docker does, a container that could not start is kept"
    );
    work.sh("docker exec nosuch true").fails_saying(1, &["nosuch"]);
    work.sh("docker rm -f up never").ok();
    sound(&work);
}

#[test]
fn no_such_container() {
    let registry = Registry::images();
    let work = busybox(&registry);
    for verb in ["stop", "kill", "rm", "logs", "wait"] {
        work.sh(&format!("docker {verb} nosuch")).fails_saying(1, &["nosuch"]);
    }
    assert_eq!(work.sh("docker nosuch").fails(1), "docker: 'nosuch' is not a docker command.\nSee 'docker --help'\n");
    sound(&work);
}

#[test]
fn wrong_options() {
    let registry = Registry::images();
    let work = busybox(&registry);
    for (option, word) in [
        ("--nosuch", "--nosuch"),
        ("-p nosuch", "nosuch"),
        ("-p 99999:80", "99999"),
        ("-m 1x", "1x"),
        ("-v relative:", "relative"),
        ("--cpus 1000000", "--cpus"),
        ("--network nosuch", "nosuch"),
        ("--cap-add NOSUCH", "NOSUCH"),
        ("-e =x", "=x"),
        ("--env-file nosuch", "nosuch"),
    ] {
        let output = work.sh(&format!("docker run --rm {option} busybox true"));
        assert!([125, 2, 1].contains(&output.status), "{option}: {output}");
        assert!(output.stderr.contains(word), "{option}: {output}");
        sound(&work);
    }
}

#[test]
fn no_overlay_falls_back_to_a_copy() {
    let registry = Registry::images();
    let mut work = busybox(&registry);
    // An overlay cannot be the upper directory of another overlay, as with $OCI_HOME inside a container.
    let overlay = |work: &Workdir, at: &str| {
        let options = format!("lowerdir=lower-{at},upperdir=upper-{at},workdir=work-{at}");
        let place = work.folder().join(at).to_str().unwrap().to_owned();
        work.sh(&format!("mkdir lower-{at} upper-{at} work-{at} && mkdir -p {place}")).ok();
        work.sh(&format!("mount -t overlay overlay -o {options} {place}")).ok();
        place
    };
    // The supervisor tells the command of the end before it has ended itself.
    let release = |work: &Workdir, place: &str| {
        let release =
            format!("for round in $(seq 100); do umount {place} && exit; sleep 0.1; done 2>/dev/null; umount {place}");
        work.sh(&release).ok();
    };
    let run = "docker run --rm --network none busybox echo copied 2>/dev/null";
    // An image that has been used is there without an overlay too.
    work.sh(run).ok();
    let bundles = work.folder().join("oci/bundles").to_str().unwrap().to_owned();
    let stored = work.folder().join("oci/images").to_str().unwrap().to_owned();
    let place = overlay(&work, "used");
    work.sh(&format!("mount --bind {place} {bundles}")).ok();
    assert_eq!(work.sh(run).ok(), "copied\n");
    release(&work, &bundles);
    release(&work, &place);
    let home = overlay(&work, "over");
    work.set("OCI_LAYOUT", &stored);
    work.set("OCI_HOME", &home);
    assert_eq!(work.sh(run).ok(), "copied\n");
    release(&work, &home);
}

#[test]
fn no_root() {
    let registry = Registry::images();
    let work = busybox(&registry);
    work.sh("chmod 755 .. . && chmod -R a+rX ../oci && mkdir -m 777 rootless ../rootless-run").ok();
    let user = "setpriv --reuid 65534 --regid 65534 --clear-groups env HOME=$HOME/rootless OCI_HOME=$HOME/rootless/oci OCI_LAYOUT=$HOME/../oci/images";
    // Reading needs no privilege; what needs root says so.
    assert_eq!(work.sh(&format!("{user} image-tool list")).ok().lines().count(), 1);
    let output = work.sh(&format!("{user} bundle-tool create --network none --bundle rootless/b :busybox echo hi"));
    if output.status == 0 {
        let run = work.sh(&format!("{user} run-tool --root $HOME/../rootless-run run --bundle rootless/b b"));
        assert!(run.status == 0 || run.stderr.lines().count() == 1, "{run}");
        work.sh(&format!("{user} bundle-tool delete rootless/b")).ok();
    } else {
        assert_eq!(output.stderr.lines().count(), 1, "{output}");
        assert!(output.stderr.contains("root"), "{output}");
    }
    sound(&work);
}

#[test]
fn no_root_but_cgroup_2() {
    let registry = Registry::images();
    let work = busybox(&registry);
    work.sh("chmod 755 .. . && chmod -R a+rX ../oci && mkdir -m 777 rootless ../rootless-run").ok();
    // The network is the host's, and so is /sys; the groups in it are the container's.
    let script = "
        mount -t cgroup2 none /sys/fs/cgroup
        group=/sys/fs/cgroup/oci-rootless-$$
        mkdir $group
        trap \"echo $$ >/sys/fs/cgroup/cgroup.procs; rmdir $group\" EXIT
        echo $$ >$group/cgroup.procs
        setpriv --reuid 65534 --regid 65534 --clear-groups env HOME=$HOME/rootless OCI_HOME=$HOME/rootless/oci \
            OCI_LAYOUT=$HOME/../oci/images sh -euc \"
                bundle-tool create --quiet --bundle rootless/b :busybox ls /sys/fs/cgroup
                run-tool --root ../rootless-run run --bundle rootless/b b
                bundle-tool unit rootless/b
                bundle-tool delete rootless/b\"";
    let output = work.sh(&format!("unshare --mount sh -euc '{script}'"));
    assert!(output.stdout.contains("cgroup.type") && !output.stdout.contains("oci-rootless"), "{output}");
    // The systemd of a user has no multi-user.target.
    assert!(output.stdout.contains("WantedBy=default.target"), "{output}");
    sound(&work);
}
