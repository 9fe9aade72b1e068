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

#[test]
fn a_name_is_free_again_once_its_container_has_another() {
    let registry = Registry::images();
    let work = busybox(&registry);
    let run = |name: &str| format!("docker run -d --network none --name {name} busybox sleep 1000");
    let id = work.sh(&run("first")).ok();
    work.sh("docker rename first second").ok();
    work.sh(&run("first")).ok();
    assert_eq!(work.sh("docker ps --format '{{.Names}}' | sort").ok(), "first\nsecond\n");
    assert_eq!(work.sh("docker inspect --format '{{.Id}} {{.Name}}' second").ok(), format!("{} /second\n", id.trim()));
    work.sh(&run("second")).fails(125);
    assert_eq!(work.sh("docker exec second sh -c 'exit 5'").status, 5);
    assert_eq!(
        work.sh("docker restart -t 0 second && docker kill first && docker rm first && docker rm -f second").status,
        0
    );
    let events =
        work.sh("docker events --since 1h --until 0s --filter event=die --format '{{.Actor.Attributes.name}}'").ok();
    assert_eq!(events, "second\nfirst\nsecond\n");
    assert_eq!(work.sh("ls ../oci/bundles").ok(), "");
}

#[test]
fn a_container_whose_files_are_gone_can_be_removed() {
    let registry = Registry::images();
    let work = busybox(&registry);
    for lost in ["rm ../oci/bundles/web", "umount ../oci/bundles/web/rootfs; rm -r $(readlink -f ../oci/bundles/web)"] {
        work.sh("docker run -d --network none --name web busybox sleep 1000").ok();
        work.sh("docker kill web").ok();
        work.sh(lost).ok();
        assert_eq!(work.sh("docker rm -f web").ok(), "web\n", "{lost}");
        assert_eq!(work.sh("docker ps -aq").ok(), "", "{lost}");
    }
    work.sh("docker run --rm --network none --name web busybox true").ok();
}

#[test]
fn one_name_goes_to_one_of_those_who_want_it() {
    let registry = Registry::images();
    let work = busybox(&registry);
    let together = "for n in 1 2 3 4 5 6; do docker create --network none --name same busybox true >$n 2>/dev/null & done; wait; cat 1 2 3 4 5 6 | wc -l";
    assert_eq!(work.sh(together).ok(), "1\n");
    assert_eq!(work.sh("docker ps -a --format '{{.Names}}'; docker rm same").ok(), "same\nsame\n");
    // What a crash leaves is no obstacle.
    work.sh("mkdir ../oci/bundles/0; ln -s $(readlink -f ../oci/bundles/0) ../oci/bundles/same; touch ../oci/bundles/0/.bundle").ok();
    assert_eq!(work.sh(together).ok(), "1\n");
    work.sh("docker rm same; rm -r ../oci/bundles/0").ok();
}

#[test]
fn a_command_without_operands_is_told_as_docker_does() {
    let registry = Registry::images();
    let work = busybox(&registry);
    for (line, said) in [
        (
            "docker run",
            "\"docker run\" requires at least 1 argument.\nSee 'docker run --help'.\n\nUsage:  docker run [OPTIONS] IMAGE [COMMAND] [ARG...]\n\nRun a command in a new container\n",
        ),
        ("docker run --rm", "\"docker run\" requires at least 1 argument."),
        ("docker exec c", "\"docker exec\" requires at least 2 arguments."),
        ("docker ps x", "\"docker ps\" accepts no arguments."),
        ("docker inspect", "\"docker inspect\" requires at least 1 argument."),
    ] {
        let stderr = work.sh(line).fails(1);
        assert!(stderr.starts_with(said), "{line}: {stderr}");
    }
    work.sh("docker run --nosuch").fails(125);
}

#[test]
fn prune_goes_by_filters() {
    let registry = Registry::images();
    let work = busybox(&registry);
    work.sh("docker create --network none --name old --label keep=1 busybox && docker create --network none --name new busybox").ok();
    work.sh("docker network create --label keep=1 n1 && docker network create n2").ok();
    let names = "docker ps -a --format '{{.Names}}'; docker network ls --filter name=^n --filter type=custom --format '{{.Name}}'";
    work.sh("docker container prune -f --filter until=24h && docker network prune -f --filter until=24h").ok();
    assert_eq!(work.sh(names).ok(), "new\nold\nn1\nn2\n", "nothing is as old");
    work.sh("docker container prune -f --filter label!=keep && docker network prune -f --filter label!=keep").ok();
    assert_eq!(work.sh(names).ok(), "old\nn1\n");
    work.sh("docker tag busybox b:1 && printf 'FROM busybox\\nRUN true\\nLABEL a=b\\n' | docker build -t c:1 -").ok();
    work.sh("docker image prune -af --filter until=24h && docker image prune -af --filter label=nosuch").ok();
    work.sh("docker builder prune -f --filter until=24h && docker builder prune -f --filter label=x").ok();
    assert!(!work.sh("build-tool cache ls").ok().is_empty());
    assert_eq!(
        work.sh("docker image prune -af --filter label!=a >/dev/null; docker images --format '{{.Repository}}' | sort")
            .ok(),
        "b\nbusybox\nc\n"
    );
    work.sh("docker volume create --label keep=1 v1 && docker volume create v2").ok();
    assert_eq!(work.sh("docker volume prune -f --filter label=keep --filter all=true").ok(), "v1\n");
    work.sh("docker system prune -f --volumes --filter until=1h").fails(1);
    work.sh("docker system prune -af --filter label=nosuch").ok();
    assert_eq!(work.sh(names).ok(), "old\nn1\n");
    work.sh("docker container prune -f --filter until=soon").fails(1);
    work.sh("docker system prune -af && docker volume rm v2").ok();
    assert_eq!(
        work.sh("docker ps -aq; docker images -q; build-tool cache ls; docker network ls -qf type=custom -f name=^n")
            .ok(),
        ""
    );
}

#[test]
fn events_tell_of_images_and_of_programs_in_containers() {
    let registry = Registry::images();
    let work = busybox(&registry);
    work.sh("docker tag busybox mine:1 && docker save mine:1 >saved.tar && docker rmi mine:1 && docker load -i saved.tar && docker rmi busybox").ok();
    work.sh("docker run -d --network none --name c1 mine:1 sleep 1000 && docker exec c1 sh -c 'exit 3'").fails(3);
    work.sh("docker exec -d c1 true; sleep 0.5; docker rm -f c1; docker rmi mine:1").ok();
    let images =
        "docker events --since 1h --until 0s --filter type=image --format '{{.Action}} {{.Actor.Attributes.name}}'";
    let lines = work.sh(images).ok();
    let id = lines.lines().find_map(|line| line.strip_prefix("save ")).unwrap().to_owned();
    assert!(id.starts_with("sha256:"), "{lines}");
    let expected =
        ["pull busybox", "tag mine:1", "save ID", "untag ID", "load ID", "untag ID", "untag ID", "delete ID"];
    assert_eq!(lines.replace(&id, "ID").lines().collect::<Vec<_>>(), expected);
    let execs = "docker events --since 1h --until 0s --filter event=exec_create --filter event=exec_start --filter event=exec_die --format '{{.Action}} {{.Actor.Attributes.exitCode}}'";
    let none = "<no value>";
    let expected = [
        &format!("exec_create: sh -c exit 3 {none}"),
        &format!("exec_start: sh -c exit 3 {none}"),
        "exec_die 3",
        &format!("exec_create: true {none}"),
        &format!("exec_start: true {none}"),
        "exec_die 0",
    ];
    assert_eq!(work.sh(execs).ok().lines().collect::<Vec<_>>(), expected);
}

#[test]
fn a_container_that_was_starved_says_so_and_when_it_ended_before() {
    let registry = Registry::images();
    let work = busybox(&registry);
    work.sh("docker run --network none --name hungry -m 16m --memory-swap 16m busybox tail /dev/zero").fails(137);
    let state = "docker inspect --format '{{.State.OOMKilled}} {{.State.FinishedAt}}' hungry";
    let ended = work.sh(state).ok();
    assert!(ended.starts_with("true 20"), "{ended}");
    assert_eq!(work.sh("docker events --since 1h --until 0s --filter event=oom --format '{{.Action}}'").ok(), "oom\n");
    work.sh("docker run -d --network none --name again busybox sleep 1000 && docker restart -t 0 again").ok();
    let ended = work.sh("docker inspect --format '{{.State.Running}} {{.State.FinishedAt}}' again").ok();
    assert!(ended.starts_with("true 20"), "{ended}");
    work.sh("docker rm -f hungry again").ok();
}

#[test]
fn an_import_takes_instructions() {
    let registry = Registry::images();
    let work = busybox(&registry);
    work.sh("docker create --network none --name c1 busybox && docker export -o fs.tar c1 && docker rm c1").ok();
    work.sh("docker import -m why -c 'CMD [\"echo\", \"imported\"]' --change 'ENV PATH=/bin A=b' --change 'EXPOSE 80-81' fs.tar i:1").ok();
    assert_eq!(work.sh("docker run --rm --network none i:1").ok(), "imported\n");
    let config = "docker inspect --format '{{json .Config.ExposedPorts}} {{index .Config.Env 1}} {{.Comment}}' i:1";
    assert_eq!(work.sh(config).ok(), "{\"80/tcp\":{},\"81/tcp\":{}} A=b why\n");
    work.sh("docker import -c 'RUN true' fs.tar i:2").fails(125);
}

#[test]
fn nothing_lives_on_when_the_command_is_killed() {
    let registry = Registry::images();
    let work = busybox(&registry);
    work.sh("docker run -d --network none --name c1 busybox sleep 1000").ok();
    for line in ["stats --format '{{.MemPerc}}' c1", "events", "wait c1", "logs -f c1", "build --network none -"] {
        let script = format!(
            "printf 'FROM busybox\\nRUN sleep 1000\\n' | docker {line} >out 2>&1 & sleep 3; kill -9 $!; \
             for n in 1 2 3 4 5 6 7 8 9 10; do sleep 0.2; ls -l /proc/[0-9]*/fd 2>/dev/null | grep -q \"$PWD/out$\" || exit 0; done; exit 1"
        );
        assert_eq!(work.sh(&script).status, 0, "{line}");
    }
    work.sh("docker rm -f c1").ok();
}

#[test]
fn what_is_mounted_twice_in_the_same_words_is_mounted_once() {
    let registry = Registry::images();
    let work = busybox(&registry);
    let run =
        "docker run --rm --network none -v $PWD:/mine -v $PWD:/mine --tmpfs /t:size=1m --tmpfs /t:size=2m busybox";
    assert_eq!(
        work.sh(&format!(
            "{run} sh -c 'grep -c \" /mine \" /proc/mounts; grep \" /t \" /proc/mounts | grep -c size=2048k'"
        ))
        .ok(),
        "1\n1\n"
    );
    work.sh("docker run --rm --network none -v $PWD:/mine -v /tmp:/mine busybox true").fails(125);
}

#[test]
fn there_is_one_context() {
    let work = Workdir::new();
    assert_eq!(work.sh("docker context ls --format '{{.Name}} {{.Current}}'").ok(), "default true\n");
    assert_eq!(work.sh("docker context ls -q").ok(), "default\n");
    assert!(work.sh("docker context ls").ok().starts_with("NAME "));
    let host = work.sh("docker context inspect --format '{{.Endpoints.docker.Host}}'").ok();
    assert_eq!(host, "unix:///var/run/docker.sock\n");
    work.sh("docker context inspect nosuch").fails(1);
}

#[test]
fn without_any_container_there_is_an_empty_list() {
    let mut work = Workdir::new();
    let place = work.folder().join("nowhere");
    work.set("RUN_TOOL_ROOT", place.to_str().unwrap());
    assert_eq!(
        work.sh("docker ps -q && docker container prune -f && docker info --format '{{.Containers}}'").ok(),
        "0\n"
    );
    assert!(!place.exists());
}
