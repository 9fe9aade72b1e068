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
fn an_image_whose_name_goes_to_another_stays() {
    let registry = Registry::images();
    let work = busybox(&registry);
    work.sh("docker create --network none --name box busybox true && docker export -o box.tar box").ok();
    work.sh("docker tag busybox x && docker save -o x.tar x && docker rmi x").ok();
    for (number, moves) in [
        "docker build -q -t x - <Dockerfile",
        "docker tag busybox x",
        "docker commit box x",
        "docker import box.tar x",
        "docker load -i x.tar",
        "docker tag x busybox && docker rmi x && docker pull -q busybox",
    ]
    .iter()
    .enumerate()
    {
        work.write("Dockerfile", &format!("FROM busybox\nENV NUMBER={number}\nRUN echo {number} >/number\n"));
        let first = work.sh("docker build -q --network none -t x - <Dockerfile").ok();
        work.write("Dockerfile", "FROM busybox\nRUN echo another >/number\n");
        work.sh(moves).ok();
        let first = first.trim();
        assert_eq!(
            work.sh(&format!("docker run --rm --network none {first} cat /number")).ok(),
            format!("{number}\n"),
            "{moves}"
        );
        assert_eq!(work.sh("docker images --no-trunc -qf dangling=true").ok(), format!("{first}\n"), "{moves}");
        let pruned = work.sh("docker image prune -f").ok();
        assert!(pruned.contains(&format!("deleted: {first}")), "{moves}: {pruned}");
        work.sh("docker rmi -f x").ok();
    }
    // The tools themselves drop it, and an image that has the name already is not another.
    work.sh("docker tag busybox x && docker tag busybox x && build-tool build -q -t :x - <Dockerfile && image-tool tag :busybox :x").ok();
    assert_eq!(work.sh("docker images -qf dangling=true").ok(), "");
    work.sh("docker rm box").ok();
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
    assert_eq!(work.sh("docker build -t app:4 app").ok(), "");
    let told = work.sh("docker build -t app:4 app 2>&1").ok();
    assert!(told.contains(" naming to docker.io/library/app:4 done\n"), "{told}");
    assert!(told.contains("\n 1 warning found (docker build --check shows the lines):\n"), "{told}");
    // What the builder before BuildKit ends with, from which older programs read the ID.
    let told = work.sh("DOCKER_BUILDKIT=0 docker build -t app:5 -t localhost:5000/app app").ok();
    let id5 = work.sh("docker inspect --format '{{.Id}}' app:5").ok();
    let digits = &id5["sha256:".len()..][..12];
    let expected = format!(
        "Successfully built {digits}\nSuccessfully tagged app:5\nSuccessfully tagged localhost:5000/app:latest\n"
    );
    assert_eq!(told, expected);
    let names = work.sh("docker build --progress quiet -o - app | tar -t").ok();
    assert!(names.lines().any(|name| name.ends_with("bin/busybox") || name.ends_with("bin/sh")), "{names}");
    let wrong = work.sh("docker build -t app:a:b app").fails(125);
    assert!(
        wrong.starts_with("invalid argument \"app:a:b\" for \"-t, --tag\" flag: invalid reference format\n"),
        "{wrong}"
    );
    assert!(work.sh("docker build --call=targets app").ok().starts_with("TARGET"));
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
    work.sh("head -c 1000000 /dev/zero >$(docker volume inspect --format '{{.Mountpoint}}' v1)/file").ok();
    assert_eq!(
        work.sh("docker volume prune -f --filter label=keep --filter all=true").ok(),
        "Deleted Volumes:\nv1\n\nTotal reclaimed space: 1MB\n"
    );
    // The filters of the client's configuration come to those of the command line, unless these say the opposite.
    work.write("config/config.json", "{\"pruneFilters\": [\"label=keep\"]}");
    work.sh("docker create --network none --name labelled --label keep=2 busybox && docker create --network none --name bare busybox").ok();
    let left = "docker ps -a --filter name=labelled --filter name=bare --format '{{.Names}}'";
    work.sh("docker --config config container prune -f --filter label=keep=2").ok();
    assert_eq!(work.sh(left).ok(), "bare\n");
    work.sh("docker --config config container prune -f && docker --config config system prune -f").ok();
    assert_eq!(work.sh(left).ok(), "bare\n");
    work.sh("docker create --network none --name old --label keep=1 busybox").ok();
    work.sh("docker --config config container prune -f --filter label!=keep").ok();
    assert_eq!(work.sh(left).ok(), "");
    work.sh("docker network create --label keep=1 n1 || true").ok();
    work.sh("docker system prune -f --volumes --filter until=1h").fails(1);
    work.sh("docker system prune -af --filter label=nosuch").ok();
    assert_eq!(work.sh(names).ok(), "old\nn1\n");
    work.sh("docker container prune -f --filter until=soon").fails(1);
    let pruned = work.sh("docker system prune -af && docker volume rm v2").ok();
    let titles: Vec<&str> = pruned.lines().filter(|line| line.contains(": ") || line.ends_with(':')).collect();
    let titles: Vec<&str> = titles.into_iter().filter_map(|line| line.split(':').next()).collect();
    for title in ["Deleted Containers", "Deleted Networks", "Deleted Images", "untagged", "deleted"] {
        assert!(titles.contains(&title), "{title} in {pruned}");
    }
    assert_eq!(pruned.matches("Total reclaimed space: ").count(), 1, "{pruned}");
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
    assert_eq!(work.sh("docker history --format '{{.CreatedBy}}|{{.Comment}}' i:1").ok().lines().last(), Some("|why"));
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
fn a_folder_into_which_something_is_copied_is_changed_now() {
    let registry = Registry::images();
    let work = busybox(&registry);
    work.sh("docker create --network none --name c1 busybox && mkdir -p to/old && touch -d 2001-01-01 to/old to").ok();
    work.sh("docker cp c1:/etc/passwd to/file && docker cp c1:/etc to/old && docker rm c1").ok();
    assert_eq!(work.sh("find to -maxdepth 1 -type d -newermt 2002-01-01 | sort").ok(), "to\nto/old\n");
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
        "Total reclaimed space: 0B\n0\n"
    );
    assert!(!place.exists());
}

#[test]
fn what_docker_refuses_is_refused_with_its_status() {
    let registry = Registry::images();
    let work = busybox(&registry);
    let help = "See 'docker run --help'.";
    for (line, status, words) in [
        ("run --network none -m -1 busybox true", 125, &["for \"--memory\" flag", help][..]),
        ("run --network none -u 2147483648 busybox true", 125, &["uids and gids must be in range 0-2147483647", help]),
        ("run --network none --sysctl kernel.domainname=x busybox true", 125, &["kernel.domainname", help]),
        (
            "run --network none --security-opt seccomp=/nosuch busybox true",
            125,
            &["opening seccomp profile (/nosuch) failed"],
        ),
        ("run --network none Upper/box true", 125, &["repository name must be lowercase", help]),
        ("run --network none --log-opt max-buffer-size=1m busybox true", 125, &["mode=non-blocking"]),
        ("volume create --driver nosuch x", 1, &["Error response from daemon: ", "plugin \"nosuch\" not found"]),
        ("network create --driver nosuch x", 1, &["Error response from daemon: plugin \"nosuch\" not found"]),
        ("network create --subnet nosuch x", 1, &["Error response from daemon: "]),
        ("network rm nosuch", 1, &["Error: No such network: nosuch"]),
    ] {
        let said = work.sh(&format!("docker {line}")).fails(status);
        assert!(words.iter().all(|word| said.contains(word)), "{line}: {said}");
    }
    let private = "mount -t tmpfs none folder && mount --make-private folder";
    work.write("folder/x", "");
    for (kind, words) in [("rslave", "it is not a shared or slave mount"), ("shared", "it is not a shared mount")] {
        let line = format!("docker run --rm --network none -v $HOME/folder:/f:{kind} busybox true");
        let said = work.sh(&format!("unshare -m sh -c '{private} && {line}'")).fails(125);
        assert!(said.contains(words), "{kind}: {said}");
        let shared = private.replace("private", "shared");
        work.sh(&format!("unshare -m sh -c '{shared} && {line}'")).ok();
    }
}

#[test]
fn a_log_holds_what_was_asked_for_beside_each_line() {
    let registry = Registry::images();
    let work = busybox(&registry);
    let options = "--log-opt labels=app,nosuch --log-opt env=A --log-opt tag=t --log-opt mode=non-blocking";
    work.sh(&format!("docker run --network none --name log {options} -l app=web -e 'A=x y' busybox echo said")).ok();
    assert_eq!(work.sh("docker logs log").ok(), "said\n");
    assert_eq!(work.sh("docker logs --details log").ok(), "A=x+y,app=web,tag=t said\n");
    work.sh("docker run -d --network none --log-driver none --name none1 busybox true").ok();
    let said = work.sh("docker wait none1 >/dev/null; docker logs none1").fails(1);
    assert_eq!(said, "Error response from daemon: configured logging driver does not support reading\n");
    let said = work.sh("docker run --rm --network none --oom-kill-disable busybox true 2>&1").ok();
    assert!(said.contains("WARNING: OOM killer is disabled"), "{said}");
    work.sh("docker rm log none1").ok();
}

#[test]
fn a_limit_of_memory_alone_is_not_raised_beyond_that_of_both() {
    let registry = Registry::images();
    let work = busybox(&registry);
    work.sh(
        "docker create --network none --name free busybox && docker create --network none -m 32m --name full busybox",
    )
    .ok();
    let words = ["update the memoryswap at the same time"];
    work.sh("docker update -m 64m free").fails_saying(1, &words);
    work.sh("docker update -m 128m full").fails_saying(1, &words);
    assert_eq!(work.sh("docker update -m 16m full && docker update -m 64m --memory-swap -1 free").ok(), "full\nfree\n");
    let limits = work.sh("docker inspect --format '{{.HostConfig.Memory}} {{.HostConfig.MemorySwap}}' full free").ok();
    assert_eq!(limits, "16777216 67108864\n67108864 -1\n");
    work.sh("docker rm full free").ok();
}

#[test]
fn a_user_without_a_session_has_a_folder_of_its_own() {
    let work = Workdir::new();
    // A user that nobody else is.
    let user = 40_000 + std::process::id() % 20_000;
    let folder = format!("/tmp/oci-docker-{user}");
    work.sh(&format!(
        "mkdir -m 700 own tree && mkdir tree/bin && cp $(command -v busybox) tree/bin && chown {user} own"
    ))
    .ok();
    work.sh("tar -C tree -cf own/tree.tar . && chmod 755 .").ok();
    let docker = |words: &str| {
        let unset = "unset XDG_RUNTIME_DIR XDG_DATA_HOME OCI_HOME OCI_LAYOUT RUN_TOOL_ROOT";
        work.sh(&format!(
            "{unset}; cd own; export HOME=$PWD; exec setpriv --reuid {user} --regid {user} --clear-groups docker {words}"
        ))
    };
    work.sh(&format!("mkdir -m 700 {folder}")).ok();
    docker("ps").fails_saying(1, &[&folder, "set XDG_RUNTIME_DIR"]);
    work.sh(&format!("rmdir {folder}")).ok();
    assert_eq!(docker("ps -aq").ok(), "");
    docker("import tree.tar bb:1").ok();
    assert_eq!(docker("run --rm bb:1 /bin/busybox echo ran").ok(), "ran\n");
    assert_eq!(work.sh(&format!("stat -c '%u %a' {folder}; rm -r {folder}")).ok(), format!("{user} 700\n"));
}

#[test]
fn a_writable_layer_of_a_size_is_full_at_that_size_and_leaves_nothing() {
    let registry = Registry::images();
    let work = Workdir::with_mirror(&registry.address());
    work.sh("docker pull -q busybox").ok();
    let fill = "dd if=/dev/zero of=/big bs=1M count=32; echo $?; [ $(wc -c </big) -lt 16777216 ] && echo small";
    let run = format!("docker run --network none --storage-opt size=16m --name q1 busybox sh -c '{fill}'");
    let output = work.sh(&run);
    assert!(output.stdout == "1\nsmall\n" && output.stderr.contains("No space left on device"), "{output}");
    assert_eq!(work.sh("docker inspect -f '{{.HostConfig.StorageOpt}}' q1").ok(), "map[size:16m]\n");
    assert_eq!(work.sh("docker diff q1").ok(), "A /big\n");
    // As after a reboot, nothing is mounted: what reads the layer and what starts the container mount it again.
    let reboot = "for path in rootfs writable; do umount \"$(bundle-tool find q1)/$path\"; done";
    work.sh(reboot).ok();
    assert_eq!(work.sh("docker diff q1").ok(), "A /big\n");
    work.sh("umount \"$(bundle-tool find q1)/writable\"").ok();
    assert_eq!(work.sh("docker start -a q1 2>/dev/null; docker wait q1").ok(), "1\nsmall\n0\n");
    work.sh("docker rm q1").ok();
    assert_eq!(
        work.sh("grep -F \"$(readlink -f ..)\" /proc/mounts; losetup -a | grep -F \"$(readlink -f ..)\"").stdout,
        ""
    );
}

#[test]
fn a_user_namespace_maps_the_image_and_what_is_written_belongs_to_the_ids_outside() {
    let registry = Registry::images();
    let work = Workdir::with_mirror(&registry.address());
    work.write("image/Dockerfile", "FROM busybox\nRUN mkdir /data && echo seed >/data/seed && chown -R 33:34 /data\n");
    work.sh("docker build -q -t owned image").ok();
    let run = "docker run --network none --userns 100000:65536";
    work.sh("chmod 700 ..").ok();
    let closed = work.sh(&format!("{run} owned true"));
    assert!(closed.status == 125 && closed.stderr.contains(": closed to the container's users (chmod o+x"), "{closed}");
    work.sh("chmod 711 ..").ok();
    let inside = "cat /proc/self/uid_map | tr -s ' '; stat -c '%u:%g %n' /bin /data/seed /full /new /etc/hosts /work/dir; \
                  touch /root/file /full/file; echo line >>/etc/hosts";
    let output = work
        .sh(&format!("{run} --name n1 -v full:/data -v new:/new -v full:/full -w /work/dir owned sh -c \"{inside}\""));
    assert_eq!(
        output.ok(),
        " 0 100000 65536\n0:0 /bin\n33:34 /data/seed\n33:34 /full\n0:0 /new\n0:0 /etc/hosts\n0:0 /work/dir\n"
    );
    let volume = "cd ../oci/volumes && stat -c '%u:%g %n' full/_data/seed full/_data/file new/_data";
    assert_eq!(
        work.sh(volume).ok(),
        "100033:100034 full/_data/seed\n100000:100000 full/_data/file\n100000:100000 new/_data\n"
    );
    // Nothing was copied or changed for it, and what was written is the container's for all who look.
    assert_eq!(work.sh("docker diff n1").ok(), "C /root\nA /root/file\nA /work\nA /work/dir\n");
    work.sh("echo here >here; docker cp here n1:/root").ok();
    for archive in ["docker export n1", "docker cp n1:/root -", "bundle-tool diff n1"] {
        let owners = work.sh(&format!(
            "{archive} | tar -tv --numeric-owner | grep -E 'root/(file|here)$' | tr -s ' ' | cut -d ' ' -f 2"
        ));
        assert_eq!(owners.ok(), "0/0\n0/0\n", "{archive}");
    }
    work.sh("docker commit n1 kept >/dev/null").ok();
    assert_eq!(work.sh("docker run --rm --network none kept stat -c %u:%g /root/here /root/file").ok(), "0:0\n0:0\n");
    // As after a reboot, the root file system is mounted again.
    work.sh("umount \"$(bundle-tool find n1)/rootfs\"; docker start -a n1 >/dev/null").ok();
    work.sh("docker rm -v n1; docker volume rm full new").ok();
    for (options, reason) in [
        ("--userns nosuch", "--userns: nosuch: /etc/subuid gives it no ids"),
        ("--userns 100000:10 -u 33", "--user: 33:33: not among the ids of --userns"),
        ("--userns 100000:10 --privileged", "--userns: cannot be combined with --privileged"),
        ("--userns 100000:10 --pid host", "--userns: cannot be combined with --pid"),
    ] {
        let refused = work.sh(&format!("docker run --rm --network none {options} owned true"));
        assert!(refused.status == 125 && refused.stderr.contains(reason), "{options}: {refused}");
    }
    assert_eq!(work.sh("grep -F \"$(readlink -f ..)\" /proc/mounts").stdout, "");
}
