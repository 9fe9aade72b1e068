//! What people type every day at containers, images and volumes, and what docker's manual does not tell of it. What is expected was
//! recorded from Docker 20.10.24.

use tests::{Registry, Workdir};

fn work() -> Workdir {
    let registry = Registry::images();
    let work = Workdir::with_mirror(&registry.address());
    work.sh("docker pull busybox").ok();
    work
}

#[test]
fn wrong_words_are_refused_before_anything_happens() {
    let work = work();
    work.sh("docker run -d --network none --name c1 busybox sleep 60").ok();
    assert_eq!(
        work.sh("docker update c1").fails(1),
        "you must provide one or more flags when using this command\n",
        "nothing to update"
    );
    for (signal, shown) in [("0", "0"), ("BOGUS", "BOGUS")] {
        let said = work.sh(&format!("docker kill -s {signal} c1")).fails(1);
        assert_eq!(said, format!("Error response from daemon: Invalid signal: {shown}\n"));
    }
    let said = work.sh("docker top c1 -o bogus").fails(1);
    assert!(said.starts_with("docker: ") && said.contains("format specifier \"bogus\"\n"), "{said}");
    let said = work.sh("docker inspect -f '{{.Name' c1").fails(64);
    assert_eq!(said.matches("unclosed action").count(), 1, "{said}");
    let said = work.sh("docker unpause c1").fails(1);
    assert!(said.ends_with(" is not paused\n") && said.len() > 64, "says which: {said}");
    let said = work.sh("docker port c1 80").fails(1);
    assert!(said.ends_with("published for c1\n"), "{said}");
    assert!(work.sh("docker rmi -f nosuch 2>&1").ok().contains("nosuch"), "told, but no failure");
    work.sh("docker rm -f c1").ok();
}

#[test]
fn what_is_not_there_is_told_in_dockers_words() {
    let registry = Registry::images();
    let work = Workdir::with_mirror(&registry.address());
    work.sh("docker pull busybox && docker create --name c1 busybox true && docker tag busybox 127.0.0.1:1/x").ok();
    let there = registry.address();
    let daemon = "Error response from daemon: ";
    let refused = "Get \"https://127.0.0.1:1/v2/\": dial tcp 127.0.0.1:1: connect: connection refused";
    for (words, status, said) in [
        ("tag nosuch x", 1, format!("{daemon}No such image: nosuch:latest")),
        ("history nosuch:1", 1, format!("{daemon}No such image: nosuch:1")),
        ("save nosuch", 1, format!("{daemon}No such image: nosuch")),
        ("rmi nosuch", 1, "Error: No such image: nosuch".into()),
        ("push nosuch", 1, "An image does not exist locally with the tag: nosuch".into()),
        ("push 127.0.0.1:1/x", 1, refused.into()),
        ("pull 127.0.0.1:1/x", 1, format!("{daemon}{refused}")),
        (
            "run 127.0.0.1:1/y",
            125,
            format!("Unable to find image '127.0.0.1:1/y:latest' locally\ndocker: {daemon}{refused}."),
        ),
        (
            &format!("pull {there}/nosuch:1"),
            1,
            format!("{daemon}manifest for {there}/nosuch:1 not found: manifest unknown: manifest unknown"),
        ),
        ("run --network nosuch busybox", 125, format!("docker: {daemon}network nosuch not found.")),
        ("network connect nosuch c1", 1, format!("{daemon}network nosuch not found")),
        ("network disconnect nosuch c1", 1, format!("{daemon}network nosuch not found")),
        ("network disconnect bridge nosuch", 1, format!("{daemon}No such container: nosuch")),
        ("volume rm nosuch", 1, "Error: No such volume: nosuch".into()),
        ("cp c1:/nosuch .", 1, "Error: No such container:path: c1:/nosuch".into()),
        ("cp nosuch:/x .", 1, "Error: No such container:path: nosuch:/x".into()),
        ("cp /etc/hostname c1:/no/such", 1, "Error: No such container:path: c1:/no".into()),
        ("cp /no/such c1:/", 1, "lstat /no/such: no such file or directory".into()),
        ("start nosuch no", 1, "Error: failed to start containers: nosuch, no".into()),
        ("kill nosuch", 1, format!("{daemon}Cannot kill container: nosuch: No such container: nosuch")),
        ("rename nosuch x", 1, "Error: failed to rename container named nosuch".into()),
        ("rename c1 a/b", 1, daemon.into()),
        ("logs nosuch", 1, "Error: No such container: nosuch".into()),
        ("run --network none -u nosuch busybox", 125, format!("docker: {daemon}unable to find user nosuch")),
    ] {
        let all = work.sh(&format!("docker {words} </dev/null >/dev/null")).fails(status);
        assert!(all.starts_with(&said) || all.contains(&format!("\n{said}")), "{words}: {all}");
    }
    for command in ["pause", "top"] {
        let said = work.sh(&format!("docker {command} c1")).fails(1);
        assert!(said.starts_with(&format!("{daemon}Container ")) && said.ends_with(" is not running\n"), "{said}");
    }
    work.sh("docker rm c1").ok();
}

#[test]
fn old_and_short_forms_are_understood() {
    let work = work();
    assert_eq!(work.sh("docker volume create --name v1 && docker volume ls -q").ok(), "v1\nv1\n");
    work.sh("docker volume create --name v2 v3").fails(125);
    work.sh("docker volume rm v1").ok();
    work.sh("docker network create n && docker network rm n").ok();
    work.write("image/Dockerfile", "FROM busybox\nENV A=1\n");
    work.sh("docker build -q -c 512 --cpu-quota 50000 --cpuset-cpus 0 -m 64m --memory-swap=-1 -t b image").ok();
    let run = "docker run --network none --name c1 busybox sh -c 'for i in 1 2 3; do echo $i; done'";
    assert_eq!(work.sh(run).ok(), "1\n2\n3\n");
    for all in ["-5", "all", "odd"] {
        assert_eq!(work.sh(&format!("docker logs --tail {all} c1")).ok(), "1\n2\n3\n", "{all}");
    }
    work.sh("docker export c1 | docker import - flat").ok();
    assert_eq!(work.sh("docker inspect -f '{{.Comment}}' flat").ok(), "Imported from -\n");
    work.sh("docker rm c1").ok();
}

#[test]
fn a_commit_takes_dockers_options_and_instructions() {
    let work = work();
    work.sh("docker create --network none --name c1 busybox true").ok();
    let commit = "docker commit --pause=false -a 'me <x@y>' -c 'HEALTHCHECK --interval=30s CMD test -e /ok' -c 'ONBUILD RUN true' c1 made";
    work.sh(commit).ok();
    let seen = work
        .sh("docker inspect -f '{{.Author}} {{json .Config.Healthcheck}} {{.Config.OnBuild}}' made")
        .ok()
        .to_owned();
    assert_eq!(seen, "me <x@y> {\"Test\":[\"CMD-SHELL\",\"test -e /ok\"],\"Interval\":30000000000} [RUN true]\n");
    work.sh("docker rm c1").ok();
}

#[test]
fn a_commit_has_what_the_container_was_given() {
    let work = work();
    work.write(
        "Dockerfile",
        "FROM busybox\nENV A=image B=image\nENTRYPOINT [\"env\"]\nCMD [\"image\"]\nLABEL l=image\nONBUILD RUN true\n",
    );
    work.sh("docker build -q -t own .").ok();
    let options = "--entrypoint sh -e A=own -w /tmp -u 1 -l m=own --expose 7 -v /anonymous -v named:/named --stop-signal INT --health-cmd check";
    work.sh(&format!("docker create --network none --name c1 {options} own -c 'echo $A $B'; docker commit c1 made"))
        .ok();
    let format = "{{.Config.Env}} {{.Config.Entrypoint}} {{.Config.Cmd}} {{.Config.WorkingDir}} {{.Config.User}} {{.Config.Labels}} \
                  {{.Config.ExposedPorts}} {{.Config.Volumes}} {{.Config.StopSignal}} {{.Config.Healthcheck.Test}} {{.Config.OnBuild}} \
                  [{{.Config.Hostname}}]";
    assert_eq!(
        work.sh(&format!("docker inspect -f '{format}' made")).ok(),
        "[A=own PATH=/bin B=image] [sh] [-c echo $A $B] /tmp 1 map[l:image m:own] map[7/tcp:{}] map[/anonymous:{}] INT [CMD-SHELL check] \
         [RUN true] []\n"
    );
    assert_eq!(work.sh("docker run --rm --network none made").ok(), "own image\n");
    // What is changed by instructions counts more; an entrypoint is without the command that was for another.
    for (changes, words) in [
        ("-c 'CMD [\"x\"]' -c 'ENV A=new'", "[sh] [x] new"),
        ("-c 'ENTRYPOINT [\"y\"]'", "[y] [] own"),
        ("-c 'ENTRYPOINT [\"y\"]' -c 'CMD [\"z\"]'", "[y] [z] own"),
    ] {
        let format = "{{.Config.Entrypoint}} {{.Config.Cmd}} {{index .Config.Env 0}}";
        let seen =
            work.sh(&format!("docker commit {changes} c1 made >/dev/null && docker inspect -f '{format}' made")).ok();
        assert_eq!(seen.replace("A=", ""), format!("{words}\n"), "{changes}");
    }
    work.sh("docker rm -v c1 && docker volume rm named").ok();
}

#[test]
fn what_is_done_to_a_container_is_an_event() {
    let work = work();
    work.sh("docker create --network none --name c1 busybox true").ok();
    work.sh("docker rename c1 c2 && docker update --restart no c2 && docker export c2 >/dev/null && docker commit c2 made:1").ok();
    let format = "{{.Type}} {{.Action}} {{.Actor.Attributes.name}} {{.Actor.Attributes.oldName}}";
    let seen = work
        .sh(&format!("docker events --since 10m --until 0s --filter container=c2 --format '{format}'"))
        .ok()
        .to_owned();
    for line in ["container rename c2 /c1\n", "container update c2 ", "container export c2 ", "container commit c2 "] {
        assert!(seen.contains(line), "{line} in {seen}");
    }
    work.sh("docker run -d --network none --name c3 busybox sleep 1000 && docker top c3 && docker cp c3:/etc/passwd p && docker cp p c3:/p")
        .ok();
    work.sh("docker rm -f c3 && docker run --rm --network none --name c4 busybox true").ok();
    // Without a begin, all that has happened before the end.
    let actions = |name: &str| {
        work.sh(&format!(
            "docker events --until 0s --filter container={name} --format '{{{{.Action}}}}' | tr '\\n' ' '"
        ))
        .ok()
    };
    assert_eq!(actions("c3"), "create start top archive-path extract-to-dir kill die destroy ");
    assert_eq!(actions("c4"), "create attach start die destroy ");
    let future = work.sh("docker events --since 2030-01-01 --until 2029-01-01").fails(1);
    assert!(
        future.starts_with("Error response from daemon: `since` time (") && future.contains("cannot be after `until`"),
        "{future}"
    );
    for (format, why) in
        [("{{nosuch .}}", "function \"nosuch\" not defined"), ("{{.nosuch}}", "can't evaluate field nosuch")]
    {
        // Before there is any event.
        let said = work.sh(&format!("timeout 20 docker events --format '{format}'")).fails(64);
        assert!(said.starts_with("Error parsing format: template: :1:") && said.contains(why), "{said}");
    }
    let images = work.sh("docker events --since 10m --until 0s --filter type=image --filter event=tag --format '{{.Actor.Attributes.name}}'").ok();
    assert!(images.contains("made:1\n"), "{images}");
    work.sh("docker rm c2").ok();
}

#[test]
fn a_terminal_without_a_terminal_translates_newlines() {
    let work = work();
    work.sh("docker run -d --network none --name c1 busybox sleep 60").ok();
    assert_eq!(work.sh("docker exec -t c1 sh -c 'test -t 1 && echo tty; echo error >&2'").ok(), "tty\r\nerror\r\n");
    work.sh("docker rm -f c1").ok();
}

#[test]
fn files_that_are_copied_into_a_container_keep_their_owners() {
    let work = work();
    work.sh("echo x >f && chown 5:6 f && docker run -d --network none --name c1 busybox sleep 60").ok();
    work.sh("docker cp f c1:/tmp/f && docker cp -a f c1:/tmp/g").ok();
    assert_eq!(work.sh("docker exec c1 stat -c '%u:%g' /tmp/f /tmp/g").ok(), "5:6\n5:6\n");
    assert_eq!(work.sh("docker cp c1:/tmp/f back && stat -c '%u:%g' back").ok(), "0:0\n");
    work.sh("docker rm -f c1").ok();
}

#[test]
fn files_are_copied_from_and_to_what_is_mounted_in_a_stopped_container() {
    let work = work();
    work.sh("mkdir bound out && echo bound >bound/f && echo conf >conf").ok();
    work.sh("docker create --network none --name c1 -v /vol -v $PWD/bound:/b -v $PWD/bound:/ro:ro -v $PWD/conf:/etc/conf busybox").ok();
    work.sh("docker cp conf c1:/vol/x && docker cp c1:/vol out && docker cp c1:/b out && docker cp c1:/etc/conf out")
        .ok();
    assert_eq!(work.sh("cat out/vol/x out/b/f out/conf").ok(), "conf\nbound\nconf\n");
    assert!(work.sh("docker cp c1:/etc/hosts -").ok().contains("localhost"));
    // The root has no name: its content is copied.
    work.sh("mkdir all && docker cp c1:/ all && docker cp c1:/ new && docker cp c1:/vol/../b/.. again").ok();
    assert_eq!(work.sh("cat all/b/f new/vol/x again/etc/conf && test ! -e /vol").ok(), "bound\nconf\nconf\n");
    work.sh("mkdir -p top/in && cp conf top && cd top/in && docker cp .. c1:/root && cd .. && docker cp . c1:/home")
        .ok();
    assert_eq!(work.sh("docker cp c1:/home/. - | tar t | sort").ok(), "./\n./conf\n./in/\n");
    assert_eq!(work.sh("docker cp c1:/root/top/conf - | tar xO").ok(), "conf\n");
    let read_only = "Error response from daemon: mounted volume is marked read-only\n";
    assert_eq!(work.sh("docker cp conf c1:/ro/x").fails(1), read_only);
    assert_eq!(work.sh("tar c conf | docker cp - c1:/ro").fails(1), read_only);
    assert!(work.sh("docker cp bound c1:/etc/passwd").fails(1).contains("cannot copy directory"));
    assert!(work.sh("docker cp conf c1:/nosuch/").fails(1).contains("no such directory"));
    assert_eq!(work.sh("cat /proc/mounts").ok().matches("/etc/conf ").count(), 0, "others see no mount");
    work.sh("docker create --network none --name c2 --read-only --tmpfs /tmp busybox sleep 60").ok();
    for start in ["true", "docker start c2"] {
        let refused = work.sh(&format!("{start} >/dev/null && docker cp conf c2:/root")).fails(1);
        assert_eq!(refused, "Error response from daemon: container rootfs is marked read-only\n");
    }
    work.sh("docker cp conf c2:/tmp && docker exec c2 cat /tmp/conf && docker rm -f -v c1 c2").ok();
}

#[test]
fn what_is_in_a_container_is_reached_while_the_one_that_it_joins_is_stopped() {
    let work = work();
    work.sh("docker run -d --network none --name c1 busybox sleep 60").ok();
    work.sh("docker create --network container:c1 --name c2 busybox true && docker kill c1 && echo x >f").ok();
    work.sh("docker cp f c2:/root && docker cp c2:/root/f - >/dev/null && docker export c2 | tar t root/f").ok();
    work.sh("docker rm -f c1 c2").ok();
}

#[test]
fn a_container_with_rm_is_restarted_and_tells_how_it_ended() {
    let work = work();
    work.sh("docker run -d --rm --network none --name c1 busybox sh -c 'sleep 1; exit 3'").ok();
    assert_eq!(work.sh("docker restart -t 0 c1 && docker exec c1 echo in && docker wait c1").ok(), "c1\nin\n3\n");
    work.sh("docker run -d --rm --network none --name c2 busybox sleep 60").ok();
    assert_eq!(work.sh("docker restart -t 0 c2 && docker restart -t 0 c2 && docker kill c2").ok(), "c2\nc2\nc2\n");
    work.sh(
        "for i in 1 2 3 4 5 6 7 8 9; do docker ps -aq | grep -q . || exit 0; sleep 0.3; done; docker ps -a; exit 1",
    )
    .ok();
}

#[test]
fn a_container_shares_the_network_of_one_that_shares_another() {
    let work = work();
    work.sh("docker run -d --network none --name c1 -h one busybox sleep 60").ok();
    work.sh("docker run -d --net container:c1 --name c2 busybox sleep 60").ok();
    assert_eq!(
        work.sh("docker run --rm --net container:c2 busybox sh -c 'hostname; cat /etc/hostname'").ok(),
        "one\none\n"
    );
    work.sh("docker rm -f c1 c2").ok();
}

#[test]
fn options_that_mean_nothing_on_a_network_are_refused_as_by_docker() {
    let work = work();
    for (options, reason) in [
        ("--net container:x -h y", "conflicting options: hostname and the network mode"),
        ("--net container:x --link y", "conflicting options: container type network can't be used with links"),
        ("--net container:x --dns 1.1.1.1", "conflicting options: dns and the network mode"),
        (
            "--net container:x --add-host a:1.1.1.1",
            "conflicting options: custom host-to-IP mapping and the network mode",
        ),
        ("--net container:x -P", "conflicting options: port publishing and the container type network mode"),
        ("--net container:x --expose 1", "conflicting options: port exposing and the container type network mode"),
        ("--net host --mac-address 92:d0:c6:0a:29:33", "conflicting options: mac-address and the network mode"),
        ("--net host --link y", "conflicting options: host type networking can't be used with links"),
        ("--uts host -h y", "conflicting options: hostname and the UTS mode"),
        ("--ip 1.1.1.1", "user specified IP address is supported on user defined networks only"),
        ("--net none --net-alias y", "network-scoped alias is supported only for containers in user defined networks"),
        ("--mac-address 92:d0:c6:0a:29", "92:d0:c6:0a:29 is not a valid mac address"),
    ] {
        let said = work.sh(&format!("docker run {options} busybox true")).fails(125);
        assert!(said.contains(reason), "{options}: {said}");
    }
    assert_eq!(work.sh("docker run --rm --net host -h name busybox hostname").ok(), "name\n");
}

#[test]
fn ps_knows_images_by_what_their_names_lead_to() {
    let work = work();
    work.write("image/Dockerfile", "FROM busybox\nRUN echo built >/built\n");
    work.sh("docker build -q --network none -t bb:2 image && docker tag busybox bb:1").ok();
    work.sh("docker create --network none --name c1 bb:1 && docker create --network none --name c2 bb:2").ok();
    let images = "docker ps -a --format '{{.Names}} {{.Image}}'";
    assert_eq!(work.sh(images).ok(), "c2 bb:2\nc1 bb:1\n");
    assert_eq!(work.sh("docker ps -aq --filter ancestor=busybox | wc -l").ok(), "2\n", "and what is built on it");
    assert_eq!(work.sh("docker ps -a --filter ancestor=bb:2 --format '{{.Names}}'").ok(), "c2\n");
    let id = work.sh("docker inspect -f '{{.Image}}' c1").ok();
    work.sh("docker tag bb:2 bb:1").ok();
    assert_eq!(work.sh(images).ok(), format!("c2 bb:2\nc1 {}\n", &id[7..19]));
    assert_eq!(work.sh("docker ps -a --no-trunc --filter name=c1 --format '{{.Image}}'").ok(), id);
    work.sh("docker rm c1 c2").ok();
}

#[test]
fn a_container_that_restarts_is_killed_and_one_that_is_paused_is_not_started() {
    let work = work();
    work.sh("docker run -d --restart always --network none --name c1 busybox false").ok();
    work.sh("until [ \"$(docker inspect -f '{{.State.Restarting}}' c1)\" = true ]; do sleep 0.1; done; docker kill c1")
        .ok();
    assert_eq!(work.sh("docker inspect -f '{{.State.Status}} {{.State.Running}}' c1").ok(), "exited false\n");
    work.sh("docker run -d --rm --network none --name c2 busybox sleep 60 && docker pause c2").ok();
    let said = work.sh("docker start c2").fails(1);
    assert!(
        said.starts_with("Error response from daemon: cannot start a paused container, try unpause instead"),
        "{said}"
    );
    assert_eq!(work.sh("docker unpause c2 && docker exec c2 echo in").ok(), "c2\nin\n");
    work.sh("docker rm -f c1 c2").ok();
}

#[test]
fn a_terminal_is_attached_to_from_a_terminal() {
    let work = work();
    work.sh("docker run -dt --network none --name c1 busybox sleep 60").ok();
    assert_eq!(work.sh("docker attach c1 </dev/null").fails(1), "docker: the input device is not a TTY\n");
    work.sh("docker rm -f c1").ok();
}

#[test]
fn mounts_of_other_containers_yield_to_what_is_named() {
    let work = work();
    for name in ["c1", "c2"] {
        work.sh(&format!("docker run --network none --name {name} -v /v busybox sh -c 'echo {name} >/v/f'")).ok();
    }
    let run = "docker run --rm --network none";
    let shown = |options: &str| work.sh(&format!("{run} {options} busybox cat /v/f")).ok().to_owned();
    assert_eq!(shown("--volumes-from c1 --volumes-from c2"), "c2\n", "the last counts");
    assert_eq!(shown("--volumes-from c1 -v /v"), "c1\n", "a volume without a name is for an empty place");
    work.sh("mkdir own && echo own >own/f").ok();
    assert_eq!(shown("--volumes-from c1 -v $PWD/own:/v"), "own\n");
    for twice in ["-v one:/v -v two:/v", "--mount type=volume,dst=/v --mount type=volume,dst=/v"] {
        let said = work.sh(&format!("{run} {twice} busybox true")).fails(125);
        assert!(said.contains("Duplicate mount point: /v"), "{said}");
    }
    assert!(
        work.sh(&format!("{run} --tmpfs /t:shared busybox grep ' /t ' /proc/self/mountinfo")).ok().contains(" shared:")
    );
    work.sh("docker rm -v c1 c2").ok();
}

#[test]
fn the_tools_are_found_beside_the_command() {
    let work = work();
    work.sh("mkdir bin && for each in docker bundle-tool image-tool run-tool; do ln -s $(command -v $each) bin/; done")
        .ok();
    let said =
        work.sh("env -i PATH=/usr/bin:/bin OCI_HOME=$OCI_HOME $PWD/bin/docker images --format '{{.Repository}}'").ok();
    assert!(said.contains("busybox"), "{said}");
}

#[test]
fn a_volume_that_docker_cannot_read_has_its_status() {
    let work = work();
    for (volume, reason) in [(":/v", "empty section between colons"), ("", "invalid empty volume spec")] {
        let said = work.sh(&format!("docker create --network none -v '{volume}' busybox")).fails(125);
        assert!(said.contains(reason), "{said}");
    }
}

#[test]
fn an_image_that_is_pulled_by_its_digest_has_a_repository() {
    let registry = Registry::images();
    let work = Workdir::with_mirror(&registry.address());
    let name = format!("{}/library/busybox", registry.address());
    let digest =
        work.sh(&format!("docker pull -q {name}:latest >&2; docker images --digests --format '{{{{.Digest}}}}'")).ok();
    let pinned = format!("{name}@{}", digest.trim());
    work.sh(&format!("docker rmi {name}:latest && docker pull -q {pinned}")).ok();
    let shown = work
        .sh("docker image prune -f >/dev/null; docker images --digests --format '{{.Repository}} {{.Tag}} {{.Digest}}'")
        .ok();
    assert_eq!(shown, format!("{name} <none> {digest}"), "it is not dangling");
    assert_eq!(work.sh(&format!("docker images -q {name} | wc -l; docker images -q -f dangling=true")).ok(), "1\n");
    assert_eq!(work.sh(&format!("docker inspect -f '{{{{.RepoDigests}}}}' {pinned}")).ok(), format!("[{pinned}]\n"));
    work.sh(&format!("docker create --network none --name c1 {pinned} true")).ok();
    let images = work.sh("docker inspect -f '{{.Config.Image}}' c1; docker ps -a --format '{{.Image}}'").ok();
    assert_eq!(images, format!("{pinned}\n{name}\n"));
    assert_eq!(work.sh(&format!("docker ps -aq --filter ancestor={pinned} | wc -l; docker rm c1 >&2")).ok(), "1\n");
    assert_eq!(work.sh(&format!("docker rmi {pinned} >&2; docker images -aq")).ok(), "");
}

#[test]
fn changes_are_told_by_what_was_there_before() {
    let work = work();
    work.write("image/Dockerfile", "FROM busybox\nRUN mkdir /d /e && touch /d/one /d/two /e/a\n");
    work.sh("docker build -q --network none -t bb:1 image").ok();
    let change = "rm -r /d; mkdir /d; touch /d/two /d/new; mv /e/a /e/b; rm /etc/group; echo x >/etc/group";
    work.sh(&format!("docker run --network none --name c1 bb:1 sh -c '{change}'")).ok();
    let expected = "A /d/new\nA /e/b\nC /d\nC /d/two\nC /e\nC /etc\nC /etc/group\nD /d/one\nD /e/a\n";
    assert_eq!(work.sh("docker diff c1 | sort").ok(), expected);
    work.sh("docker start -a c1 >/dev/null 2>&1; docker commit c1 bb:2").ok();
    work.sh("docker run --network none --name c2 bb:2 sh -c 'touch /d/one /e/a; rm /d/new'").ok();
    assert_eq!(work.sh("docker diff c2 | sort").ok(), "A /d/one\nA /e/a\nC /d\nC /e\nD /d/new\n", "over two layers");
    work.sh("docker rm c1 c2").ok();
}
