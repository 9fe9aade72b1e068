//! Real programs that drive the docker command, at their work: their own versions from PyPI, unmodified.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use tests::{Registry, Workdir, repository};

/// The programs, each in its version.
const PACKAGES: [&str; 4] =
    ["pre-commit==4.7.0", "python-on-whales==0.81.0", "pytest-testinfra==10.2.2", "pytest==9.2.0"];

/// The folder of the programs, which are installed once.
fn programs() -> PathBuf {
    let folder = repository().join("target/programs");
    fs::create_dir_all(&folder).unwrap();
    let lock = fs::File::create(folder.join("lock")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let stamp = folder.join("stamp");
    if fs::read_to_string(&stamp).is_ok_and(|text| text == PACKAGES.join("\n")) {
        return folder.join("bin");
    }
    // With the settings of this machine for pip and proxies, which a Workdir hides from our own tools.
    let run = |program: &str, words: &[&str]| {
        let status = Command::new(program).args(words).status().unwrap_or_else(|error| panic!("{program}: {error}"));
        assert!(status.success(), "{program} {words:?}: {status}");
    };
    run("python3", &["-m", "venv", "--clear", folder.to_str().unwrap()]);
    let pip = folder.join("bin/pip");
    run(pip.to_str().unwrap(), &[&["install", "--quiet", "--no-input"][..], &PACKAGES[..]].concat());
    fs::write(&stamp, PACKAGES.join("\n")).unwrap();
    folder.join("bin")
}

/// A folder with the images `busybox`, `python:3.8` and `ubuntu:20.04`, and the programs in PATH.
fn work(registry: &Registry) -> Workdir {
    let mut work = Workdir::with_mirror(&registry.address());
    let path = work.sh("echo $PATH").ok();
    work.set("PATH", &format!("{}:{}", programs().display(), path.trim()));
    work.sh("docker pull -q busybox && docker pull -q python:3.8 && docker pull -q ubuntu:20.04").ok();
    work
}

#[test]
fn python_on_whales_manages_containers_images_and_volumes() {
    let registry = Registry::images();
    let work = work(&registry);
    work.write(
        "job.py",
        r#"
import os
from python_on_whales import docker, DockerException
none = dict(networks=["none"])
docker.pull("busybox", quiet=True)
assert docker.image.exists("busybox") and docker.image.list()
run = docker.run("busybox", ["sh", "-c", "echo $A $(pwd) $(id -u) $(hostname)"], remove=True, envs={"A": "b"}, workdir="/tmp", user="1000",
                 memory="64m", labels={"l": "m"}, hostname="host", tmpfs=["/t"], **none)
assert run == "b /tmp 1000 host", run
whale = docker.run("busybox", ["sleep", "300"], detach=True, name="whale", labels={"l": "m"}, volumes=[("data", "/data")], **none)
assert whale.state.running and whale.name == "whale" and whale.config.labels == {"l": "m"}
assert docker.execute(whale, ["sh", "-c", "echo $X $(id -u) $(pwd)"], user="33", envs={"X": "y"}, workdir="/tmp") == "y 33 /tmp"
assert sorted(docker.execute(whale, ["sh", "-c", "echo a; echo b >&2"], stream=True)) == [("stderr", b"b\n"), ("stdout", b"a\n")]
assert [each.name for each in docker.container.list(filters={"label": "l=m"})] == ["whale"]
open("file", "w").write("content")
docker.copy("file", (whale, "/data/file"))
docker.copy((whale, "/data/file"), "back")
assert open("back").read() == "content"
docker.rename(whale, "orca")
docker.pause(whale); docker.unpause(whale)
docker.commit(whale, "committed")
assert docker.diff(whale) is not None
docker.export(whale, "exported.tar")
docker.update(whale, memory="128m", memory_swap="128m")
docker.restart(whale, time=0); docker.stop(whale, time=0); docker.start(whale); docker.kill(whale)
assert docker.wait(whale) == 137
docker.remove(whale, force=True, volumes=True)
made = docker.create("busybox", ["echo", "made"], name="made", **none)
assert docker.start(made, attach=True) == "made"
docker.remove(made)
docker.volume.create("volume", labels={"a": "b"})
assert docker.volume.inspect("volume").labels == {"a": "b"}
docker.volume.remove("volume"); docker.volume.remove("data")
os.mkdir("context")
open("context/Dockerfile", "w").write("FROM busybox\nCMD echo built\n")
docker.legacy_build("context", tags="built:1")
assert docker.run("built:1", remove=True, **none) == "built"
docker.tag("built:1", "built:2")
docker.save("built:1", output="saved.tar")
docker.image.remove("built:2")
docker.load("saved.tar")
docker.import_("exported.tar", "imported:1")
assert docker.image.inspect("imported:1").id.startswith("sha256:")
docker.container.prune(filters={"label": "nosuch"})
try:
    docker.run("busybox", ["sh", "-c", "exit 7"], remove=True, **none)
    raise SystemExit("no exception")
except DockerException as error:
    assert error.return_code == 7
print("done")
"#,
    );
    let said = work.sh("python job.py").ok();
    assert!(said.ends_with("done\n"), "{said}");
    assert_eq!(work.sh("docker ps -aq").ok(), "");
}

#[test]
fn testinfra_looks_into_a_container() {
    let registry = Registry::images();
    let work = work(&registry);
    work.sh("docker run -d --network none --name infra python:3.8 sleep 600").ok();
    work.write(
        "test_infra.py",
        r#"
import testinfra
host = testinfra.get_host("docker://infra")
def test_package():
    assert host.package("bash").is_installed
def test_file():
    assert host.file("/etc/passwd").contains("root")
def test_run():
    result = host.run("echo out; echo err >&2; exit 5")
    assert (result.stdout, result.stderr, result.rc) == ("out\n", "err\n", 5)
def test_distribution():
    assert host.system_info.distribution == "debian"
def test_process():
    assert host.file("/proc/1/comm").content_string == "sleep\n"
def test_user():
    assert testinfra.get_host("docker://www-data@infra").check_output("id -un") == "www-data"
def test_containers():
    local = testinfra.get_host("local://")
    [container] = local.docker.get_containers()
    assert container.name == "infra" and container.is_running
"#,
    );
    let report = work.sh("python -m pytest -q -p no:cacheprovider test_infra.py").ok();
    assert!(report.contains("7 passed"), "{report}");
    work.sh("docker rm -f infra").ok();
}
