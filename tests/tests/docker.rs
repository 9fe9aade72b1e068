//! The commands of `tests/docker` that the beginner's page (seed.rs) does not cover.

use tests::{Registry, Workdir};

fn busybox(registry: &Registry) -> Workdir {
    let work = Workdir::with_mirror(&registry.address());
    work.sh("docker pull busybox").ok();
    work
}

#[test]
fn a_container_in_the_background_lives_and_ends() {
    let registry = Registry::images();
    let work = busybox(&registry);
    let run = "docker run -d --network none --name c1 --log-opt max-size=1m --log-opt max-file=3";
    let id = work.sh(&format!("{run} busybox sh -c 'echo one; echo two >&2; sleep 1000'")).ok();
    let found = work.sh(&format!("docker inspect --format '{{{{.Name}}}}' {}", &id[..12])).ok();
    assert_eq!(found, "/c1\n", "the first digits of an id serve as a name");
    assert_eq!(work.sh("sleep 0.3; docker logs c1 2>/dev/null").ok(), "one\n");
    assert_eq!(work.sh("docker logs --tail 1 c1 2>&1").ok(), "two\n");
    assert_eq!(work.sh("docker exec -w /tmp -e A=b c1 sh -c 'echo $PWD $A'").ok(), "/tmp b\n");
    assert_eq!(work.sh("echo typed | docker exec -i c1 cat").ok(), "typed\n");
    work.sh("docker exec c1 sh -c 'exit 9'").fails(9);
    assert_eq!(
        work.sh("docker restart -t 0 c1 && docker ps --format '{{.Names}} {{.State}}'").ok(),
        "c1\nc1 running\n"
    );
    assert_eq!(work.sh("docker stop -t 0 c1").ok(), "c1\n");
    assert_eq!(work.sh("docker wait c1").ok(), "137\n");
    let table = work.sh("docker ps -a").ok();
    assert!(table.contains("Exited (137)"), "{table}");
    assert_eq!(work.sh("docker start c1 && docker ps -q | wc -l").ok(), "c1\n1\n");
    work.sh("docker rm c1 2>/dev/null").fails(1);
    assert_eq!(work.sh("docker rm -f c1").ok(), "c1\n");
    assert_eq!(work.sh("docker ps -aq").ok(), "");
}

#[test]
fn a_container_in_the_foreground_keeps_its_status() {
    let registry = Registry::images();
    let work = busybox(&registry);
    work.sh("docker run --network none --name kept busybox sh -c 'exit 3'").fails(3);
    let table = work.sh("docker ps -a").ok();
    assert!(table.contains("Exited (3)"), "{table}");
    // Without -i standard input is empty; with it, it is ours.
    assert_eq!(work.sh("echo typed | docker run --rm --network none busybox cat").ok(), "");
    assert_eq!(work.sh("echo typed | docker run --rm -i --network none busybox cat").ok(), "typed\n");
    assert_eq!(work.sh("docker rm kept && docker ps -aq").ok(), "kept\n");
    let id = work.sh("docker create --network none --name made-first busybox echo made").ok();
    assert_eq!(id.trim_end().len(), 64, "{id}");
    assert!(work.sh("docker ps -a").ok().contains("Created"));
    assert_eq!(
        work.sh("docker start made-first && docker wait made-first && docker logs made-first").ok(),
        "made-first\n0\nmade\n"
    );
    work.sh("docker rm made-first").ok();
}

#[test]
fn options_of_run_are_found_however_they_are_spelled() {
    let registry = Registry::images();
    let work = busybox(&registry);
    work.write("folder/file", "mounted\n");
    for options in
        ["-v$HOME/folder:/f", "--volume=$HOME/folder:/f", "-iv $HOME/folder:/f", "-i --volume $HOME/folder:/f"]
    {
        let text = format!("docker run --rm --network=none {options} busybox cat /f/file");
        assert_eq!(work.sh(&text).ok(), "mounted\n", "{options}");
    }
    for detach in ["-d", "-di", "--detach", "-de A=b"] {
        work.sh(&format!("docker run {detach} --rm --network none --name gone busybox true")).ok();
        // With --rm its supervisor removes it, a moment after it has exited.
        work.sh("for i in $(seq 50); do [ -n \"$(docker ps -aq)\" ] || exit 0; sleep 0.1; done; exit 1").ok();
    }
    // Words after the image belong to the program, even if they look like options.
    assert_eq!(work.sh("docker run --rm --network none busybox echo -d --rm -it").ok(), "-d --rm -it\n");
}

#[test]
fn images_are_tagged_committed_described_and_removed() {
    let registry = Registry::images();
    let work = busybox(&registry);
    work.sh("docker tag busybox mine:1").ok();
    assert_eq!(work.sh("docker images -q").ok().lines().count(), 1, "one image with two names");
    work.sh("docker run --network none --name changed busybox touch /new").ok();
    let id = work.sh("docker commit -m remark -c 'CMD [\"ls\", \"/new\"]' changed committed:1").ok();
    assert!(id.starts_with("sha256:"), "{id}");
    assert_eq!(work.sh("docker inspect --format '{{.Id}}' committed:1").ok(), id);
    assert_eq!(work.sh("docker run --rm --network none committed:1").ok(), "/new\n");
    let history = work.sh("docker history committed:1").ok();
    assert!(history.contains("remark") && history.contains("ADD busybox /"), "{history}");
    work.sh("docker rm changed && docker rmi committed:1 mine:1 busybox").ok();
    assert_eq!(work.sh("docker images -q").ok(), "");
    assert_eq!(work.sh("find $OCI_HOME/images/blobs -type f").ok(), "", "the blobs went with the names");
}

#[test]
fn an_image_is_pushed_and_pulled_again() {
    let images = Registry::images();
    let registry = Registry::empty();
    let address = registry.address();
    let work = busybox(&images);
    work.sh(&format!("docker tag busybox {address}/team/box:1 && docker push {address}/team/box:1 && docker rmi busybox {address}/team/box:1")).ok();
    assert_eq!(work.sh(&format!("docker run --rm --network none {address}/team/box:1 echo again")).ok(), "again\n");
}

#[test]
fn a_build_is_named_and_told_as_docker_does() {
    let registry = Registry::images();
    let work = busybox(&registry);
    work.write("app/Dockerfile", "FROM busybox\nARG WORD=none\nENV WORD=$WORD\nCMD echo $WORD\n");
    let id = work.sh("docker build -q --build-arg WORD=built -t app -t app:2 app").ok();
    assert!(id.starts_with("sha256:") && id.trim_end().len() == 71, "{id}");
    assert_eq!(work.sh("docker run --rm --network none app:2").ok(), "built\n");
    let other = work.sh("docker build -q --tag=app:3 --file app/Dockerfile app").ok();
    assert_ne!(id, other);
    assert_eq!(work.sh("docker run --rm --network none app:3").ok(), "none\n");
}
