//! Debian's tools read what ours write, and the reverse; root filesystems are compared file by file.

use std::path::Path;

use tests::engine::{Daemon, PODMAN, docker};
use tests::{Registry, Workdir, layout, tree};

/// What a bundle adds to the image: the mount points that it lacks, and two files that docker puts into every container.
const ADDED: [&str; 11] = [
    "dev",
    "proc",
    "sys",
    "etc/hosts",
    "etc/hostname",
    "etc/resolv.conf",
    "run",
    "dev/console",
    "run/.containerenv",
    ".dockerenv",
    "etc/mtab",
];

fn python(work: &Workdir) {
    work.sh("registry-tool pull --quiet python:3.8 images").ok();
}

#[test]
fn umoci_unpacks_what_we_pulled_as_we_do() {
    let registry = Registry::images();
    let work = Workdir::with_mirror(&registry.address());
    python(&work);
    work.sh("umoci unpack --image images:python:3.8 theirs && image-tool unpack images:python:3.8 ours").ok();
    tree::assert_equal(&work.path("ours"), &work.path("theirs/rootfs"), &[""]);
}

#[test]
fn the_odd_image_unpacks_as_with_umoci_and_podman() {
    let work = Workdir::new();
    layout::odd(&work.path("odd"));
    work.sh("umoci unpack --image odd:odd theirs && image-tool unpack odd:odd ours").ok();
    tree::assert_equal(&work.path("ours"), &work.path("theirs/rootfs"), &[]);
    work.sh(&format!("{PODMAN} pull --quiet oci:odd:odd")).ok();
    let mount = work.sh(&format!("{PODMAN} image mount $({PODMAN} images -q)")).ok();
    // podman removes the write permission from the root folder, whatever its mode in the layer.
    tree::assert_equal(&work.path("ours"), Path::new(mount.trim_end()), &[""]);
    work.sh(&format!("{PODMAN} image umount --all && {PODMAN} system reset --force")).ok();
    // A bundle's root filesystem is the same tree, both with overlayfs and copied.
    for how in ["", "--copy"] {
        work.sh(&format!("bundle-tool create {how} --network none --bundle bundle odd:odd && {{ mountpoint -q bundle/rootfs || bundle-tool mount bundle; }}"))
            .ok();
        tree::assert_equal(&work.path("bundle/rootfs"), &work.path("theirs/rootfs"), &ADDED);
        work.sh("bundle-tool delete bundle").ok();
    }
}

#[test]
fn skopeo_and_podman_read_our_layouts() {
    let registry = Registry::images();
    let work = Workdir::with_mirror(&registry.address());
    python(&work);
    work.sh("registry-tool pull --quiet --all-platforms xag/multi images").ok();
    let config = work.sh("skopeo inspect --config --raw oci:images:python:3.8").ok();
    assert_eq!(config, work.sh("image-tool show --config images:python:3.8").ok());
    // skopeo verifies each blob that it copies.
    work.sh("skopeo copy --quiet oci:images:python:3.8 dir:copied && skopeo copy --quiet --all oci:images:xag/multi dir:all").ok();
    assert_eq!(
        work.sh("ls all | grep -c -E '^[0-9a-f]{64}'").ok().trim(),
        "5",
        "two manifests, two configs, one layer"
    );
    let run = format!(
        "{PODMAN} run --rm --network none --ulimit nofile=1024:1024 --ulimit nproc=1024:1024 oci:images:python:3.8 python -c 'print(6*7)'"
    );
    assert_eq!(work.sh(&format!("{run} 2>/dev/null")).ok(), "42\n");
    work.sh(&format!("{PODMAN} system reset --force")).ok();
}

#[test]
fn we_read_layouts_of_skopeo_umoci_and_buildah() {
    let registry = Registry::images();
    let work = Workdir::with_mirror(&registry.address());
    let from = format!("--src-tls-verify=false docker://{}/library", registry.address());
    work.sh(&format!("skopeo copy --quiet {from}/python:3.8 oci:theirs:python && skopeo copy --quiet {from}/busybox oci:theirs:busybox")).ok();
    work.sh("umoci config --image theirs:busybox --tag changed --config.env A=b && umoci unpack --image theirs:changed b && \
             touch -d @1700000000 b/rootfs/new && rm b/rootfs/bin/vi && umoci repack --image theirs:repacked b")
        .ok();
    assert_eq!(work.sh("image-tool list theirs | image-tool verify -").ok().lines().count(), 4);
    work.sh("image-tool unpack theirs:repacked ours").ok();
    tree::assert_equal(&work.path("ours"), &work.path("b/rootfs"), &[]);
    assert_eq!(
        work.sh("bundle-tool create --network none --bundle x theirs:changed sh -c 'echo $A' | run-tool --root $RUN_TOOL_ROOT run --bundle - x && bundle-tool delete x").ok(),
        "b\n"
    );
}

#[test]
fn runc_runs_our_bundles() {
    let registry = Registry::images();
    let work = Workdir::with_mirror(&registry.address());
    work.sh("registry-tool pull --quiet busybox images").ok();
    for how in ["", "--copy"] {
        let text = format!(
            "bundle-tool create {how} --network none --bundle b -e A=b -w /tmp -u www-data --read-only images:busybox \
             sh -c 'echo $A $PWD $(id -u) $(id -g); touch /x 2>/dev/null || echo read-only; grep -c . /proc/self/mountinfo >/dev/null; exit 7'; \
             {{ mountpoint -q b/rootfs || bundle-tool mount b 2>/dev/null || true; }} >/dev/null; runc --root $HOME/runc run --bundle b runc-{}; \
             status=$?; bundle-tool delete b; exit $status",
            tests::random_word()
        );
        let output = work.sh(&text);
        assert_eq!(output.status, 7, "{output}");
        assert!(output.stdout.ends_with("b /tmp 33 33\nread-only\n"), "{output}");
    }
}

/// gVisor's runtime, which has its own kernel and neither networks nor control groups here.
#[test]
fn runsc_runs_our_bundles() {
    let registry = Registry::images();
    let work = Workdir::with_mirror(&registry.address());
    work.sh("registry-tool pull --quiet busybox images").ok();
    for how in ["", "--copy"] {
        // It would give /dev/null to the container's user.
        let text = format!(
            "bundle-tool create {how} --network none --bundle b -e A=b -w /tmp -u www-data images:busybox \
             sh -c 'echo $A $PWD $(id -u) $(id -g); exit 7'; \
             : | runsc --root $HOME/runsc --network=none --ignore-cgroups run --bundle b runsc-{} | cat; \
             echo ${{PIPESTATUS[1]}}; bundle-tool delete b",
            tests::random_word()
        );
        let output = work.command("bash").args(["-c", &text]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let lines: Vec<&str> = said.lines().collect();
        assert_eq!(lines[1..3], ["b /tmp 33 33", "7"], "{said}{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn run_tool_runs_bundles_of_umoci_and_runc() {
    let registry = Registry::images();
    let work = Workdir::with_mirror(&registry.address());
    work.sh("registry-tool pull --quiet hello-world images && umoci unpack --image images:hello-world b && sed -i 's/\"terminal\": *true/\"terminal\": false/' b/config.json").ok();
    assert_eq!(work.sh("run-tool --root $RUN_TOOL_ROOT run --bundle b umoci1").ok(), "Hello from Docker!\n");
    work.sh("cd b && rm config.json && runc spec && sed -i 's/\"terminal\": *true/\"terminal\": false/; s/\"sh\"/\"echo\", \"spec\"/' config.json").ok();
    assert_eq!(work.sh("run-tool --root $RUN_TOOL_ROOT run --bundle b runc1").ok(), "spec\n");
}

#[test]
fn podman_and_skopeo_load_our_archives_and_we_load_theirs() {
    let registry = Registry::images();
    let work = Workdir::with_mirror(&registry.address());
    python(&work);
    work.sh("registry-tool pull --quiet busybox images").ok();
    for format in ["docker-archive", "oci-archive"] {
        work.sh(&format!("image-tool save --format {format} -o ours.tar images:python:3.8")).ok();
        work.sh(&format!(
            "skopeo copy --quiet {format}:ours.tar oci:back-{format}:python && image-tool verify back-{format}"
        ))
        .ok();
        // skopeo rewrites the config when it converts between the formats, so only its contents are compared.
        let of = |place: &str| {
            work.sh(&format!("image-tool inspect --format '{{{{json .RootFS}}}} {{{{json .Config}}}}' {place}")).ok()
        };
        assert_eq!(of(&format!("back-{format}")), of("images:python:3.8"), "{format}: the config came through");
        work.sh(&format!("skopeo copy --quiet oci:images:busybox {format}:theirs.tar:busybox:latest && image-tool load -i theirs.tar loaded-{format}")).ok();
        assert_eq!(of(&format!("loaded-{format}")), of("images:busybox"), "{format}: theirs");
        work.sh(&format!("image-tool verify loaded-{format} && rm theirs.tar ours.tar")).ok();
    }
    work.sh("image-tool save -o both.tar images:python:3.8 images:busybox").ok();
    let loaded = work.sh(&format!("{PODMAN} load --quiet -i both.tar")).ok();
    assert!(loaded.contains("python:3.8") && loaded.contains("busybox:latest"), "{loaded}");
    work.sh(&format!("{PODMAN} save --quiet --multi-image-archive -o podman.tar python:3.8 busybox")).ok();
    assert_eq!(work.sh("image-tool load -i podman.tar from-podman | image-tool verify -").ok().lines().count(), 2);
    work.sh(&format!("{PODMAN} system reset --force")).ok();
}

#[test]
fn docker_loads_our_archives_and_we_load_its() {
    let registry = Registry::images();
    let work = Workdir::with_mirror(&registry.address());
    python(&work);
    work.sh("registry-tool pull --quiet busybox images").ok();
    let dockerd = Daemon::docker(&work, "");
    let loaded = work.sh(&format!("image-tool save images:python:3.8 images:busybox | {}", docker("load"))).ok();
    assert!(loaded.contains("Loaded image: python:3.8") && loaded.contains("Loaded image: busybox:latest"), "{loaded}");
    // An image's id is the digest of its config, for us and for docker.
    let id = work.sh(&docker("images --no-trunc --quiet python:3.8")).ok();
    assert_eq!(
        id.trim(),
        format!("sha256:{}", work.sh("image-tool show --config images:python:3.8 | sha256sum | cut -c-64").ok().trim())
    );
    let run = "run --rm --network none --ulimit nofile=1024 python:3.8 python -c 'print(6*7)'";
    assert_eq!(work.sh(&docker(run)).ok(), "42\n");
    work.sh(&format!("{} | image-tool load from-docker", docker("save python:3.8"))).ok();
    work.sh("image-tool verify from-docker:python:3.8 && image-tool unpack from-docker:python:3.8 theirs && image-tool unpack images:python:3.8 ours").ok();
    tree::assert_equal(&work.path("ours"), &work.path("theirs"), &[]);
    drop(dockerd);
    work.sh("umount -l docker/data/overlay2 docker/data 2>/dev/null; true").ok();
}
