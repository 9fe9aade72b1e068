//! Its peers' clients, which pull from it and push to it.

use tests::engine::{Daemon, PODMAN, ctr, docker};
use tests::{Registry, Workdir, programs};

use crate::Served;

#[test]
fn docker_pulls_and_pushes() {
    let registry = Registry::images();
    let work = Workdir::with_mirror(&registry.address());
    work.sh("registry-tool pull --quiet python:3.8").ok();
    let served = Served::start(&work, "");
    let address = &served.1;
    let dockerd = Daemon::docker(&work, &format!("--registry-mirror http://{address}"));
    // Under the server's own name, and as a mirror of Docker Hub.
    work.sh(&docker(&format!("pull {address}/library/python:3.8"))).ok();
    let mirrored = work.sh(&docker("pull --quiet python:3.8")).ok();
    assert_eq!(mirrored, "docker.io/library/python:3.8\n");
    work.sh(&docker(&format!("tag python:3.8 {address}/team/app:1"))).ok();
    work.sh(&docker(&format!("push {address}/team/app:1"))).ok();
    work.sh("image-tool verify :team/app:1").ok();
    work.sh(&docker(&format!("rmi {address}/team/app:1"))).ok();
    work.sh(&docker(&format!("pull {address}/team/app:1"))).ok();
    drop(dockerd);
    work.sh("umount -l docker/data/overlay2 docker/data 2>/dev/null; true").ok();
}

#[test]
fn docker_logs_in_where_everybody_may_pull() {
    let registry = Registry::images();
    let work = Workdir::with_mirror(&registry.address());
    work.sh("registry-tool pull --quiet busybox").ok();
    work.write("users", "xag:$2a$05$ROW86Cho49InJZ7N2aIMOuHLzoFeojgS70qojnJ30FhXzwoJI4OTC\n");
    let served = Served::start(&work, "--htpasswd users --anonymous-pull");
    let address = &served.1;
    let dockerd = Daemon::docker(&work, "");
    work.sh(&docker(&format!("pull {address}/busybox"))).ok();
    work.sh(&docker(&format!("tag {address}/busybox {address}/mine"))).ok();
    assert_ne!(work.sh(&docker(&format!("push {address}/mine"))).status, 0);
    work.sh(&docker(&format!("login -u xag -p s3cret {address}"))).ok();
    work.sh(&docker(&format!("push {address}/mine"))).ok();
    assert_ne!(work.sh(&docker(&format!("login -u xag -p wrong {address}"))).status, 0);
    drop(dockerd);
    work.sh("umount -l docker/data/overlay2 docker/data 2>/dev/null; true").ok();
}

#[test]
fn podman_and_skopeo_pull_and_push() {
    let registry = Registry::images();
    let work = Workdir::with_mirror(&registry.address());
    work.sh("registry-tool pull --quiet busybox images && registry-tool pull --quiet --all-platforms xag/multi images")
        .ok();
    let served = Served::start(&work, "images");
    let address = &served.1;
    work.sh(&format!("{PODMAN} pull --quiet --tls-verify=false {address}/library/busybox")).ok();
    work.sh(&format!("{PODMAN} tag {address}/library/busybox {address}/podman/busybox:1")).ok();
    work.sh(&format!("{PODMAN} push --quiet --tls-verify=false {address}/podman/busybox:1")).ok();
    work.sh(&format!("{PODMAN} system reset --force")).ok();
    let copy = "skopeo copy --quiet --all --src-tls-verify=false --dest-tls-verify=false";
    work.sh(&format!("{copy} docker://{address}/xag/multi docker://{address}/skopeo/multi:2")).ok();
    work.sh(&format!("{copy} --format v2s2 docker://{address}/busybox docker://{address}/skopeo/docker:1")).ok();
    work.sh(&format!("{copy} docker://{address}/skopeo/multi:2 dir:all")).ok();
    let tags = work.sh(&format!("skopeo list-tags --tls-verify=false docker://{address}/skopeo/multi")).ok();
    assert!(tags.contains("\"2\""), "{tags}");
    work.sh(&format!("skopeo delete --tls-verify=false docker://{address}/skopeo/docker:1")).ok();
    assert_eq!(
        work.sh("image-tool list images | image-tool verify - >/dev/null && image-tool gc images >/dev/null").ok(),
        ""
    );
    work.sh("image-tool list images | image-tool verify -").ok();
}

#[test]
fn what_skopeo_syncs_is_what_our_sync_does() {
    let registry = Registry::images();
    let work = Workdir::with_mirror(&registry.address());
    work.sh("registry-tool pull --quiet --all-platforms xag/multi images").ok();
    work.sh("for tag in 1.0 1.1 2.0 latest; do image-tool tag images:xag/multi images:team/app:$tag || exit 1; done")
        .ok();
    let (from, to) = (Served::start(&work, "images"), Served::start(&work, "copies"));
    let digest = work.sh(&format!("registry-tool digest {}/team/app:1.0", from.1)).ok();
    work.write(
        "images.yml",
        &format!(
            "{}:\n    tls-verify: false\n    images:\n        xag/multi: []\n        team/app:\n            - \"2.0\"\n            - \"{}\"\n    \
             images-by-tag-regex:\n        team/app: ^1\\.\n",
            from.1,
            digest.trim()
        ),
    );
    let (ours, theirs) = (format!("{}/ours", to.1), format!("{}/theirs", to.1));
    work.sh(&format!("registry-tool sync --quiet images.yml {ours}")).ok();
    work.sh(&format!("skopeo sync --all --dest-tls-verify=false --src yaml --dest docker images.yml {theirs}")).ok();
    for name in ["multi", "app"] {
        let tags = |place: &str| {
            let tags = work.sh(&format!("registry-tool tags {place}/{name}")).ok();
            let digest = |tag: &str| work.sh(&format!("registry-tool digest {place}/{name}:{tag}")).ok();
            tags.lines().map(|tag| format!("{tag} {}", digest(tag))).collect::<Vec<_>>()
        };
        let found = tags(&ours);
        assert_eq!(found, tags(&theirs), "{name}");
        assert!(!found.is_empty(), "{name}");
    }
}

#[test]
fn containerd_pulls_and_pushes() {
    let registry = Registry::images();
    let work = Workdir::with_mirror(&registry.address());
    work.sh("registry-tool pull --quiet --all-platforms xag/multi images").ok();
    let served = Served::start(&work, "images");
    let address = &served.1;
    let daemon = Daemon::containerd(&work);
    let ctr = |words: &str| work.sh(&ctr(words));
    ctr(&format!("images pull --plain-http --all-platforms {address}/xag/multi:latest")).ok();
    ctr(&format!("images tag {address}/xag/multi:latest {address}/team/multi:1")).ok();
    ctr(&format!("images push --plain-http {address}/team/multi:1")).ok();
    ctr(&format!("images tag {address}/xag/multi:latest {address}/team/one:1")).ok();
    ctr(&format!("images push --plain-http --platform linux/amd64 {address}/team/one:1")).ok();
    for name in ["multi", "one"] {
        ctr(&format!("images rm {address}/team/{name}:1")).ok();
        ctr(&format!("images pull --plain-http {address}/team/{name}:1")).ok();
    }
    ctr(&format!("images rm {address}/xag/multi:latest {address}/team/multi:1 {address}/team/one:1")).ok();
    drop(daemon);
    let list = work.sh("image-tool list images | image-tool verify -").ok();
    assert!(list.contains(":team/multi:1@") && list.contains(":team/one:1@"), "{list}");
}

#[test]
fn oras_pushes_attaches_lists_and_pulls() {
    let mut work = Workdir::new();
    programs::add(&mut work);
    work.write("users", "xag:$2a$05$ROW86Cho49InJZ7N2aIMOuHLzoFeojgS70qojnJ30FhXzwoJI4OTC\n");
    let served = Served::start(&work, "--htpasswd users --anonymous-pull images");
    work.write("small", "small\n");
    work.sh("head -c 3000000 /dev/urandom >large").ok();
    work.write(
        "job.py",
        r#"
import sys, oras.client, oras.oci, oras.provider
host = sys.argv[1]
client = oras.client.OrasClient(hostname=host, insecure=True)
try:
    client.push(target=f"{host}/team/files:1", files=["small"])
    raise SystemExit("pushed without a login")
except Exception as error:
    assert "UNAUTHORIZED" in str(error), error
client = oras.client.OrasClient(hostname=host, insecure=True, auth_backend="basic")
client.login(username="xag", password="s3cret", hostname=host)
client.push(target=f"{host}/team/files:1", files=["small:text/plain", "large"], manifest_annotations={"a": "b"})
client.push(target=f"{host}/team/files:2", files=["large"], do_chunked=True, chunk_size=1 << 20)
assert client.get_tags(f"{host}/team/files") == ["1", "2"], client.get_tags(f"{host}/team/files")
manifest = client.get_manifest(f"{host}/team/files:1")
assert manifest["annotations"]["a"] == "b", manifest
subject = oras.oci.Subject.from_manifest(manifest)
client.push(target=f"{host}/team/files:sbom", files=["small"], subject=subject, manifest_config="small:application/vnd.example.sbom")
anybody = oras.client.OrasClient(hostname=host, insecure=True)
assert len(anybody.pull(target=f"{host}/team/files:1", outdir="one")) == 2
anybody.pull(target=f"{host}/team/files:2", outdir="two")
client.delete_tags(f"{host}/team/files", ["2"])
assert client.get_tags(f"{host}/team/files") == ["1", "sbom"]
print("done")
"#,
    );
    let said = work.sh(&format!("python job.py {}", served.1)).ok();
    assert!(said.ends_with("done\n"), "{said}");
    work.sh("cmp small one/small && cmp large one/large && cmp large two/large").ok();
    let name = format!("{}/team/files:1", served.1);
    let found = work.sh(&format!("registry-tool referrers {name}")).ok();
    assert_eq!(found.lines().count(), 1, "{found}");
    work.sh("image-tool list images | image-tool verify -").ok();
}

#[test]
fn udocker_pulls() {
    let registry = Registry::images();
    let mut work = Workdir::with_mirror(&registry.address());
    programs::add(&mut work);
    // It would fetch programs that run containers, which are not needed here.
    work.set("UDOCKER_TARBALL", "");
    work.set("UDOCKER_DIR", work.path("udocker").to_str().unwrap());
    work.sh("registry-tool pull --quiet python:3.8 images").ok();
    let served = Served::start(&work, "images");
    let udocker = |words: &str| work.sh(&format!("udocker --allow-root -q {words}"));
    udocker(&format!("pull --registry=http://{} python:3.8", served.1)).ok();
    udocker("verify python:3.8").ok();
    udocker("create --name=made python:3.8").ok();
    assert_eq!(work.sh("ls udocker/containers/made/ROOT/usr/bin/python3").status, 0);
}
