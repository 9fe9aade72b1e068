//! Real programs that drive the docker command, at their work: their own versions from PyPI, npm and Debian, unmodified.

use tests::{Registry, Workdir, programs};

/// A folder with these images, the programs in PATH, and git's settings.
fn with_images(registry: &Registry, images: &[&str]) -> Workdir {
    let mut work = Workdir::with_mirror(&registry.address());
    programs::add(&mut work);
    work.write(".gitconfig", "[user]\n\tname = a\n\temail = a@b\n[init]\n\tdefaultBranch = main\n");
    for image in images {
        work.sh(&format!("docker pull -q {image}")).ok();
    }
    work
}

/// A folder with the images `busybox`, `python:3.8` and `ubuntu:20.04`, and the programs in PATH.
fn work(registry: &Registry) -> Workdir {
    with_images(registry, &["busybox", "python:3.8", "ubuntu:20.04"])
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
fn localstack_tells_errors_apart() {
    let registry = Registry::images();
    let work = with_images(&registry, &["busybox"]);
    work.write(
        "job.py",
        r#"
from localstack.utils.container_utils.container_client import (
    ContainerException, DockerContainerStatus, NoSuchContainer, NoSuchImage, NoSuchNetwork, RegistryConnectionError)
from localstack.utils.container_utils.docker_cmd_client import CmdDockerClient
docker = CmdDockerClient()
assert docker.has_docker() and docker.get_system_info()["OSType"] == "linux"
def fails(kind, call, *words, **options):
    try:
        call(*words, **options)
    except kind:
        return
    raise SystemExit(f"{call.__name__} {words}: no {kind.__name__}")
docker.create_network("net")
made = docker.create_container("busybox", name="one", command=["sh", "-c", "echo out; echo err >&2; cat; sleep 300"], interactive=True, network="net")
assert made in docker.get_container_id("one")
assert docker.get_container_status("one") == DockerContainerStatus.DOWN
docker.start_container("one")
assert docker.get_container_status("one") == DockerContainerStatus.UP
assert docker.is_container_running("one") and docker.get_running_container_names() == ["one"]
assert docker.exec_in_container("one", ["sh", "-c", "echo $A; echo b >&2"], env_vars={"A": "a"}) == (b"a\n", b"b\n")
assert docker.get_container_ipv4_for_network("one", "net") in docker.exec_in_container("one", "hostname -i".split())[0].decode()
assert docker.get_networks("one") == ["net"]
docker.disconnect_container_from_network("net", "one")
docker.pause_container("one"); docker.unpause_container("one")
open("file", "w").write("content")
docker.copy_into_container("one", "file", "/tmp/file")
docker.copy_from_container("one", "back", "/tmp/file")
assert open("back").read() == "content"
docker.commit("one", "committed", "1")
assert "committed:1" in docker.get_docker_image_names()
for call, words in [
    (docker.stop_container, ("nosuch",)), (docker.restart_container, ("nosuch",)), (docker.pause_container, ("nosuch",)),
    (docker.unpause_container, ("nosuch",)), (docker.start_container, ("nosuch",)), (docker.get_container_logs, ("nosuch",)),
    (docker.exec_in_container, ("nosuch", "true")), (docker.inspect_container, ("nosuch",)), (docker.commit, ("nosuch", "x", "1")),
    (docker.copy_into_container, ("nosuch", "file", "/x")), (docker.connect_container_to_network, ("net", "nosuch")),
]:
    fails(NoSuchContainer, call, *words)
fails(NoSuchNetwork, docker.connect_container_to_network, "nosuch", "one")
fails(NoSuchNetwork, docker.disconnect_container_from_network, "nosuch", "one")
fails(NoSuchNetwork, docker.inspect_network, "nosuch")
fails(NoSuchImage, docker.tag_image, "nosuch", "x")
fails(NoSuchImage, docker.remove_image, "nosuch", force=False)
fails(NoSuchImage, docker.push_image, "nosuch")
fails(NoSuchImage, docker.inspect_image, "nosuch", pull=False)
docker.tag_image("busybox", "localhost:1/x")
fails(RegistryConnectionError, docker.push_image, "localhost:1/x")
fails(ContainerException, docker.run_container, "busybox", command=["sh", "-c", "exit 7"], remove=True)
docker.remove_container("one", force=True)
docker.delete_network("net")
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

/// Hooks of both kinds that pre-commit has for docker, and files for them to check.
fn hooks(work: &Workdir) {
    work.write("hooks/Dockerfile", "FROM python:3.8\nCOPY check /bin/check\n");
    work.write("hooks/check", "#!/bin/sh\necho \"checked $@\"; exit 3\n");
    work.write(
        "hooks/.pre-commit-hooks.yaml",
        "- {id: built, name: built, language: docker, entry: /bin/check --strict, files: \\.txt$}\n\
         - {id: image, name: image, language: docker_image, entry: python:3.8 grep -L hello, files: \\.txt$}\n\
         - {id: fails, name: fails, language: docker_image, files: \\.txt$, entry: \"--network none --entrypoint /bin/sh -e A=b python:3.8 -c \
         'echo $A; id -u; pwd; exit 7' --\"}\n",
    );
    work.sh("chmod +x hooks/check && cd hooks && git init -q && git add -A && git commit -qm hooks").ok();
    let revision = work.sh("git -C hooks rev-parse HEAD").ok();
    work.write("checked/a.txt", "hello\n");
    work.write(
        "checked/.pre-commit-config.yaml",
        &format!(
            "repos:\n- repo: {}\n  rev: {}\n  hooks: [{{id: built}}, {{id: image}}, {{id: fails}}]\n",
            work.path("hooks").display(),
            revision.trim()
        ),
    );
    work.sh("cd checked && git init -q && git add -A && git commit -qm checked").ok();
}

#[test]
fn pre_commit_and_prek_run_hooks_in_containers() {
    let registry = Registry::images();
    let work = with_images(&registry, &["python:3.8"]);
    hooks(&work);
    for program in ["pre-commit", "prek"] {
        let run = work.sh(&format!("cd checked && {program} run --all-files --color never"));
        assert_eq!(run.status, 1, "{run}");
        for part in [
            "built....",
            "image....",
            "Passed\n",
            "Failed\n",
            "exit code: 3\n",
            "checked --strict a.txt\n",
            "exit code: 7\n",
        ] {
            assert!(run.stdout.contains(part), "{part}: {run}");
        }
        let user = work.sh("id -u").ok();
        assert!(run.stdout.replace("  ", "").contains(&format!("b\n{user}/src\n")), "{run}");
    }
    assert_eq!(work.sh("docker ps -aq").ok(), "");
}

#[test]
fn cibuildwheel_works_in_a_container() {
    let registry = Registry::images();
    let work = with_images(&registry, &["python:3.8"]);
    work.write(
        "Dockerfile",
        "FROM python:3.8\nRUN mkdir -p /opt/python/cp39-cp39/bin && ln -s $(command -v python3) /opt/python/cp39-cp39/bin/python\n",
    );
    work.sh("docker build -q --network none -t wheels:1 .").ok();
    work.write(
        "job.py",
        r#"
import subprocess
from pathlib import Path, PurePosixPath as Inside
from cibuildwheel.oci_container import OCIContainer, OCIContainerEngineConfig, OCIPlatform
def container(**more):
    return OCIContainer(image="wheels:1", oci_platform=OCIPlatform.AMD64, **more)
with container() as own:
    assert own.call(["echo", "hello"], capture_output=True) == "hello\n"
    try:
        own.call(["sh", "-c", "exit 3"])
        raise SystemExit("no exception")
    except subprocess.CalledProcessError as error:
        assert error.returncode == 3
    assert "/bin" in own.get_environment()["PATH"] and "Server" in own.debug_info()
    Path("in/sub").mkdir(parents=True); Path("in/a").write_bytes(b"1"); Path("in/sub/b").write_bytes(bytes(3000))
    own.copy_into(Path("in"), Inside("/work/in")); own.copy_into(Path("in/sub/b"), Inside("/work/b"))
    assert own.call(["wc", "-c", "/work/b", "/work/in/sub/b"], capture_output=True).split()[0] == "3000"
    own.copy_out(Inside("/work/in"), Path("out"))
    assert sorted(map(str, Path("out").rglob("*"))) == ["out/a", "out/sub", "out/sub/b"]
with container(cwd="/work", engine=OCIContainerEngineConfig.from_config_string("docker; create_args: --cap-add=SYS_PTRACE --env=A=b")) as own:
    assert own.call(["sh", "-c", "echo $A; pwd"], capture_output=True) == "b\n/work\n"
print("done")
"#,
    );
    let said = work.sh("python job.py 2>&1").ok();
    assert!(said.ends_with("done\n"), "{said}");
    assert_eq!(work.sh("docker ps -aq").ok(), "");
}

#[test]
fn cwltool_and_boutiques_run_tools_in_containers() {
    let registry = Registry::images();
    let work = with_images(&registry, &["python:3.8", "busybox"]);
    work.write("in.txt", "hello\n");
    let tool = |name: &str, image: &str, rest: &str| {
        work.write(
            name,
            &format!(
                "{{cwlVersion: v1.2, class: CommandLineTool, requirements: {{DockerRequirement: {{{image}}}, NetworkAccess: {{networkAccess: false}}}}, \
                 inputs: {{inp: File}}, outputs: {{out: stdout}}, stdout: out.txt, {rest}}}\n"
            ),
        );
    };
    tool("stdin.cwl", "dockerPull: python:3.8", "baseCommand: [tr, a-z, A-Z], stdin: $(inputs.inp.path)");
    tool(
        "folder.cwl",
        "dockerPull: python:3.8, dockerOutputDirectory: /made",
        "baseCommand: [sh, -c, 'pwd; sleep 3; ls /sys/class/net']",
    );
    tool("fail.cwl", "dockerPull: python:3.8", "baseCommand: [sh, -c, 'sleep 3; exit 3']");
    tool(
        "build.cwl",
        "dockerImageId: built, dockerFile: \"FROM busybox\\nRUN echo built >/built\\n\"",
        "baseCommand: [cat, /built]",
    );
    work.sh("docker create --network none --name box busybox && docker export -o fs.tar box && docker rm box").ok();
    tool("import.cwl", "dockerImageId: imported, dockerImport: fs.tar", "baseCommand: [/bin/busybox, echo, imported]");
    work.sh("docker save -o saved.tar busybox && docker rmi busybox").ok();
    tool("load.cwl", "dockerImageId: busybox, dockerLoad: saved.tar", "baseCommand: [echo, loaded]");
    for (name, expected) in [
        ("stdin", "HELLO\n"),
        ("folder", "/made\nlo\n"),
        ("load", "loaded\n"),
        ("build", "built\n"),
        ("import", "imported\n"),
    ] {
        // What watches the memory of a container is killed with it, and must not hold the tool's streams.
        let run = work.sh(&format!("timeout 60 cwltool --quiet --record-container-id --cidfile-dir $PWD {name}.cwl --inp in.txt >said 2>&1 || cat said >&2; cat out.txt; rm out.txt"));
        assert_eq!(run.stdout, expected, "{run}");
    }
    assert_eq!(work.sh("timeout 60 cwltool --quiet fail.cwl --inp in.txt").status, 1);
    work.write(
        "tool.json",
        r#"{"name":"t","description":"t","tool-version":"1","schema-version":"0.5","command-line":"cat [IN] > [OUT]; id -u","container-image":{"type":"docker","image":"python:3.8"},
"inputs":[{"id":"in","name":"in","type":"File","value-key":"[IN]"}],"output-files":[{"id":"out","name":"out","path-template":"out.txt","value-key":"[OUT]"}]}"#,
    );
    let run = "echo '{\"in\":\"'$PWD/in.txt'\"}' >in.json; bosh exec launch -s -u --skip-data-collection tool.json in.json -v $PWD:$PWD >&2; cat out.txt";
    assert_eq!(work.sh(run).ok(), "hello\n");
    assert_eq!(work.sh("docker ps -aq").ok(), "");
}

#[test]
fn ansible_manages_a_container() {
    let registry = Registry::images();
    let work = with_images(&registry, &["python:3.8"]);
    work.sh("docker run -d --network none --name managed python:3.8 sleep 600").ok();
    work.write("hosts", "managed ansible_connection=community.docker.docker\n");
    work.write("local.txt", "content\n");
    work.write(
        "play.yml",
        "- hosts: all
  gather_facts: false
  tasks:
  - raw: echo raw; id -u
    register: raw
  - copy: {src: local.txt, dest: /tmp/copied, mode: '0640'}
  - command: stat -c %a /tmp/copied
    register: mode
  - fetch: {src: /tmp/copied, dest: fetched, flat: true}
  - user: {name: bob}
  - command: id -un
    vars: {ansible_user: bob}
    register: bob
  - command: sh -c 'exit 9'
    register: nine
    failed_when: nine.rc != 9
  - assert: {that: [\"raw.stdout_lines == ['raw', '0']\", \"mode.stdout == '640'\", \"bob.stdout == 'bob'\"]}
",
    );
    let said = work.sh("ansible-playbook -i hosts play.yml").ok();
    assert!(said.contains("ok=8 ") && said.contains("failed=0 "), "{said}");
    assert_eq!(work.sh("cat fetched; docker rm -f managed").ok(), "content\nmanaged\n");
}

#[test]
fn ansible_runner_works_in_containers() {
    let registry = Registry::images();
    let work = with_images(&registry, &["python:3.8"]);
    work.write(
        "job.py",
        r#"
import os
from ansible_runner import run_command
box = dict(process_isolation=True, process_isolation_executable="docker", container_image="python:3.8", container_options=["--network", "none"], quiet=True)
def run(text, *words, **more):
    return run_command("sh", ["-c", text, *words], **box, **more)
assert run("echo out; echo err >&2; exit 4", runner_mode="subprocess") == ("out\n", "err\n", 4)
open("file", "w").write("content\n")
said, _, code = run('cat "$0"; echo $A; id -u; pwd; ls /host', os.path.abspath("file"), envvars={"A": "b c"}, host_cwd=os.getcwd(),
                    container_volume_mounts=[os.getcwd() + ":/host:ro"])
assert said.split() == ["content", "b", "c", "0", os.getcwd(), "file", "job.py"] and code == 0, said
# It kills the container itself when the time is over.
assert run("sleep 60", timeout=3)[2] == 254
print("done")
"#,
    );
    assert_eq!(work.sh("timeout 60 python job.py").ok(), "done\n");
    assert_eq!(work.sh("docker ps -aq").ok(), "");
}

#[test]
fn packer_makes_images_of_containers() {
    let registry = Registry::images();
    let work = with_images(&registry, &["python:3.8"]);
    work.write("files/f", "uploaded\n");
    let builder = |name: &str, way: &str| {
        format!(
            r#"{{"type": "docker", "name": "{name}", "image": "python:3.8", "pull": false, {way},
"run_command": ["-d", "-i", "-t", "--network=none", "-e", "B=run", "--entrypoint=/bin/sh", "--", "{{{{.Image}}}}"]}}"#
        )
    };
    let [layered, flat] = [
        builder("layered", r#""commit": true, "changes": ["ENV A=\"b c\"", "WORKDIR /opt"]"#),
        builder("flat", r#""export_path": "flat.tar""#),
    ];
    let rest = r#""provisioners": [{"type": "shell", "inline": ["echo provided >/provided"]},
{"type": "file", "source": "files/", "destination": "/files"},
{"type": "file", "source": "/provided", "destination": "back-{{build_name}}", "direction": "download"}],
"post-processors": [[{"type": "docker-tag", "repository": "packed", "tag": "1", "only": ["layered"]}, {"type": "docker-save", "path": "saved.tar", "only": ["layered"]}],
[{"type": "docker-import", "repository": "flat", "tag": "2", "only": ["flat"], "changes": ["CMD [\"cat\", \"/provided\"]"]}]]"#;
    work.write("packer.json", &format!("{{\"builders\": [{layered}, {flat}], {rest}}}\n"));
    let said = work.sh("CHECKPOINT_DISABLE=1 timeout 100 packer build -color=false packer.json").ok();
    assert!(said.contains("Imported Docker image: packed:1"), "{said}");
    assert_eq!(work.sh("cat back-layered back-flat").ok(), "provided\nprovided\n");
    work.sh("docker rmi packed:1 && docker load -i saved.tar").ok();
    // What the container was started with is the image's too.
    let run = "docker run --rm --network none packed:1 -c 'cat /provided /files/f; pwd; echo $A $B'";
    assert_eq!(work.sh(run).ok(), "provided\nuploaded\n/opt\nb c run\n");
    assert_eq!(work.sh("docker run --rm --network none flat:2").ok(), "provided\n");
    assert_eq!(work.sh("docker ps -aq").ok(), "");
}

#[test]
fn docker_clean_removes_what_nobody_needs() {
    let registry = Registry::images();
    let work = with_images(&registry, &["busybox"]);
    work.sh("docker run -d --network none --name live -v used:/data busybox sleep 600").ok();
    work.sh("docker run --network none --name dead -v /anonymous busybox true; docker create --name made busybox true; docker volume create lonely").ok();
    for number in ["1", "2"] {
        work.write("Dockerfile", &format!("FROM busybox\nENV NUMBER={number}\n"));
        work.sh("docker build -q -t one:1 .").ok();
    }
    for (kind, lines) in [
        ("containers", ["\"true\"/[] NAME: \"/made\"", "\"true\"/[] NAME: \"/dead\"", "containers cleaned: 2"]),
        (
            "images",
            ["DELETED: REPOSITORY/TAG: [] IMAGE ID: ", "Images cleaned: 1", "You've cleared approximately MB: "],
        ),
        (
            "volumes",
            ["DELETED DRIVER: \"local\" NAME: lonely", "DELETED DRIVER: \"local\" NAME: ", "Volumes cleaned: 2"],
        ),
        ("stop", ["STOPPED: ID: ", "\"sleep\"/[\"600\"] NAME: \"/live\"", "Containers stopped: 1"]),
    ] {
        let said = work.sh(&format!("docker-clean --{kind} --log")).ok();
        assert!(lines.iter().all(|line| said.contains(line)), "{kind}: {said}");
    }
    assert_eq!(
        work.sh("docker ps -a --format '{{.Names}}'; docker volume ls -q; docker images -aq | wc -l").ok(),
        "live\nused\n2\n"
    );
    work.sh("docker rm -f live && docker volume rm used").ok();
}

#[test]
fn scuba_runs_commands_as_the_caller() {
    let registry = Registry::images();
    let work = with_images(&registry, &["python:3.8"]);
    work.write(
        ".scuba.yml",
        "image: python:3.8\ndocker_args: --network none\nenvironment: {A: b}\naliases:\n  who: {script: [pwd, 'echo $A', 'exit 7']}\n",
    );
    let run = work.sh("scuba who");
    assert_eq!(
        (run.status, run.stdout.as_str()),
        (7, format!("{}\nb\n", work.path("").display()).replace("/\n", "\n").as_str()),
        "{run}"
    );
    assert_eq!(work.sh("scuba python3 -c 'print(1+1)'").ok(), "2\n");
}

#[test]
fn devcontainers_are_made_and_entered() {
    let registry = Registry::images();
    let work = with_images(&registry, &["python:3.8"]);
    work.write(
        "one/.devcontainer/devcontainer.json",
        r#"{"image":"python:3.8","remoteUser":"root","containerEnv":{"A":"b c"},"mounts":["source=vol,target=/vol,type=volume"],"runArgs":["--hostname=dc","--network=none"],
"postCreateCommand":"echo post > /tmp/post","updateRemoteUserUID":false,"capAdd":["SYS_PTRACE"],"securityOpt":["seccomp=unconfined"]}"#,
    );
    work.write(
        "two/.devcontainer/devcontainer.json",
        r#"{"build":{"dockerfile":"Dockerfile","args":{"X":"y"}},"remoteUser":"dev","runArgs":["--network=none"]}"#,
    );
    work.write("two/.devcontainer/Dockerfile", "FROM python:3.8\nARG X\nRUN echo $X >/x && useradd -m dev\n");
    for folder in ["one", "two", "one"] {
        let said = work.sh(&format!("devcontainer up --workspace-folder {folder} 2>err || cat err")).ok();
        assert!(said.contains("\"outcome\":\"success\""), "{said}");
    }
    let run = work.sh(
        "devcontainer exec --workspace-folder one sh -c 'pwd; cat /tmp/post; echo $A; hostname; ls -d /vol; exit 4'",
    );
    assert_eq!((run.status, run.stdout.as_str()), (4, "/workspaces/one\npost\nb c\ndc\n/vol\n"), "{run}");
    assert_eq!(work.sh("devcontainer exec --workspace-folder two sh -c 'id -un; cat /x'").ok(), "dev\ny\n");
    let said = work.sh("devcontainer build --workspace-folder two --image-name made:1 2>/dev/null").ok();
    assert!(said.contains("\"imageName\":[\"made:1\"]"), "{said}");
    work.sh("devcontainer read-configuration --workspace-folder two --include-merged-configuration").ok();
    assert_eq!(work.sh("docker ps -q | wc -l").ok(), "2\n");
    work.sh("docker rm -f $(docker ps -q) && docker volume rm vol && docker rmi made:1").ok();
}

#[test]
fn the_cdk_bundles_assets_in_containers() {
    let registry = Registry::images();
    let work = with_images(&registry, &["python:3.8", "busybox"]);
    // The image with which it fills volumes.
    work.sh("docker tag busybox public.ecr.aws/docker/library/alpine && chmod 777 . && chmod 755 ..").ok();
    work.write("asset/a", "a\n");
    work.write("dk/Dockerfile", "FROM busybox\nARG Q\nRUN mkdir /asset && echo $Q > /asset/q\n");
    work.write(
        "job.js",
        r#"
const { App, Stack, DockerImage, BundlingFileAccess } = require('aws-cdk-lib'), { Asset } = require('aws-cdk-lib/aws-s3-assets'), fs = require('fs');
const stack = new Stack(new App({ outdir: 'cdk.out' }), 'S');
const bundling = { image: DockerImage.fromRegistry('python:3.8'), command: ['sh', '-c', 'cp -r /asset-input/. /asset-output/; echo "$K" $(id -u) >/asset-output/k'],
    environment: { K: 'v w' }, user: '1000:1000', network: 'none', platform: 'linux/amd64', securityOpt: 'no-new-privileges' };
const made = more => {
    fs.rmSync('cdk.out', { recursive: true, force: true });
    new Asset(stack, 'A' + Math.random(), { path: 'asset', bundling: { ...bundling, ...more } });
    const [folder] = fs.readdirSync('cdk.out').filter(name => name.startsWith('asset.'));
    return fs.readdirSync('cdk.out/' + folder).join() + ' ' + fs.readFileSync('cdk.out/' + folder + '/k', 'utf8');
};
console.log(made({}).trim());
console.log(made({ bundlingFileAccess: BundlingFileAccess.VOLUME_COPY }).trim());
DockerImage.fromBuild('dk', { buildArgs: { Q: 'z' } }).cp('/asset', 'out');
console.log(fs.readFileSync('out/q', 'utf8').trim());
try { made({ command: ['sh', '-c', 'exit 6'] }); } catch (error) { console.log(/status 6/.test(error.message)); }
"#,
    );
    let run = work.sh("node job.js 2>err || cat err");
    let lines: Vec<&str> = run.stdout.lines().filter(|line| !line.is_empty() && line.len() < 20).collect();
    assert_eq!(lines, ["a,k v w 1000", "a,k v w 1000", "z", "true"], "{run}");
    assert_eq!(work.sh("docker ps -aq; docker volume ls -q").ok(), "");
}

#[test]
fn gitlab_ci_local_runs_jobs_with_services() {
    let registry = Registry::images();
    let work = with_images(&registry, &["busybox", "python:3.8"]);
    work.write(
        ".gitlab-ci.yml",
        r#"
stages: [one, two]
variables: {GREETING: "hello world"}
who:
  stage: one
  image: {name: busybox, docker: {user: "1000"}}
  script: ['echo "$GREETING $(id -u) $(pwd)"', touch made, cat file]
  after_script: [echo after]
fails:
  stage: one
  image: python:3.8
  allow_failure: {exit_codes: [7]}
  script: [echo failing, exit 7]
serve:
  stage: two
  image: busybox
  services: [{name: "python:3.8", alias: web, command: [python3, -m, http.server, "8000"], variables: {A: b}}]
  script: ['until wget -qO- http://web:8000/ >page 2>/dev/null; do sleep 0.2; done', 'grep -c title page']
"#,
    );
    work.write("file", "content\n");
    work.write(".gitignore", "*\n!file\n!.gitlab-ci.yml\n");
    work.sh("git init -q && git add file .gitlab-ci.yml && git commit -qm x && git remote add origin git@gitlab.com:group/project.git").ok();
    // Its own image for copies has rsync, which only artifacts and caches need.
    let said = work.sh("gitlab-ci-local --helper-image python:3.8 2>&1").ok();
    for line in [
        "who   > hello world 1000 /builds/group/project\n",
        "who   > content\n",
        "who   > after\n",
        "fails > failing\n",
        " WARN  fails",
        "serve > 1\n",
        " PASS  serve",
    ] {
        assert!(said.contains(line), "{line}: {said}");
    }
    assert_eq!(work.sh("docker ps -aq; docker volume ls -q; docker network ls -q --filter name=gitlab").ok(), "");
}

#[test]
fn semantic_release_builds_tags_and_pushes() {
    let (images, registry) = (Registry::images(), Registry::empty());
    let work = with_images(&images, &["busybox"]);
    work.write("Dockerfile", "FROM busybox\nARG V\nRUN echo $V >/v\nCMD cat /v\n");
    work.write(
        "job.js",
        r#"
const { Image } = require('@codedependant/semantic-release-docker/lib/docker/index.js');
const options = { registry: process.argv[2], project: 'group', name: 'app', dockerfile: 'Dockerfile', cwd: '.', build_id: 'abc',
    network: 'none', tags: ['1.0', 'latest'], context: '.' };
(async () => {
    for (const quiet of [true, false]) {
        const image = new Image({ ...options, quiet }).arg('V', '9').flag('label', 'a=b');
        console.log(`id ${/^[0-9a-f]{12}$/.test(await image.build())}`);
        console.log(`run ${await image.run([])}`);
        await image.push();
        await image.clean();
    }
})();
"#,
    );
    let said = work.sh(&format!("node job.js {} 2>err || cat err", registry.address())).ok();
    for line in ["id true\n", "run 9\n"] {
        assert_eq!(said.matches(line).count(), 2, "{said}");
    }
    assert_eq!(work.sh("docker images -q --filter label=a=b").ok(), "");
    assert_eq!(work.sh(&format!("docker run --rm --network none {}/group/app:1.0", registry.address())).ok(), "9\n");
}

#[test]
fn docker_cli_js_reads_what_is_printed() {
    let registry = Registry::images();
    let work = with_images(&registry, &["busybox"]);
    work.write(
        "job.js",
        r#"
const { Docker, Options } = require('docker-cli-js'), assert = require('assert');
const docker = new Docker(new Options(undefined, undefined, false, process.env)), run = text => docker.command(text);
(async () => {
    assert.match((await run('run --name web -d --network none -l a=b busybox sleep 300')).containerId, /^[0-9a-f]{64}$/);
    const [web] = (await run('ps -a --filter label=a=b')).containerList;
    assert.deepEqual([web.image, web.command, web.names, web.status.split(' ')[0]], ['busybox', '"sleep 300"', 'web', 'Up']);
    assert.equal((await run('exec web sh -c "echo out; exit 0"')).raw, 'out\n');
    await assert.rejects(run('exec web sh -c "exit 5"'), error => error.code === 5);
    assert.equal((await run('inspect web')).object[0].State.Status, 'running');
    assert.deepEqual((await run('images busybox')).images.map(image => image.repository + ':' + image.tag), ['busybox:latest']);
    assert.equal((await run('kill web')).raw.trim(), 'web');
    await assert.rejects(run('kill web'), /Error response from daemon: Cannot kill container: web: Container .* is not running/);
    await assert.rejects(run('port web 80'), /stderr Error: No public port '80\/tcp' published for web/);
    assert.equal((await run('info')).object.containers, '1');
    await run('rm web');
    assert.deepEqual((await run('ps -a')).containerList, []);
    console.log('done');
})();
"#,
    );
    assert_eq!(work.sh("node job.js").ok(), "done\n");
}
