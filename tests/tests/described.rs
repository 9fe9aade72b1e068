//! Documents and lists beside those that Docker 20.10.24 gave for the same command lines.

use serde_json::{Value, json};
use tests::{Registry, Workdir};

/// What docker said, with ids and folders replaced: containers that run, that publish ports and that were only created, a network, a
/// volume and an image.
fn recorded() -> Value {
    serde_json::from_str(include_str!("../../bundle-tool/src/describe/recorded.json")).unwrap()
}

/// The fields whose values depend on the host, the moment or the image. Their names and types are compared all the same.
const OPEN: [&str; 30] = [
    "/Id",
    "/Created",
    "/CreatedAt",
    "/Image",
    "/Path",
    "/Args",
    "Path",
    "/State/Pid",
    "/State/StartedAt",
    "/State/Health",
    "/Driver",
    "/GraphDriver",
    "/HostConfig/Runtime",
    "/HostConfig/CgroupnsMode",
    "/HostConfig/MaskedPaths",
    "/HostConfig/ReadonlyPaths",
    "/Config/Hostname",
    "/Config/Image",
    "/Config/Labels",
    "/Config/Env",
    "/Config/Cmd",
    "SandboxID",
    "SandboxKey",
    "NetworkID",
    "EndpointID",
    "/Mountpoint",
    "/Mounts/0/Source",
    "/Mounts/1/Source",
    "/Size",
    "/VirtualSize",
];

/// What differs between docker's document and ours, a line each.
fn differences(path: &str, docker: &Value, ours: &Value, found: &mut Vec<String>) {
    let is_open =
        OPEN.iter().any(|open| path.ends_with(open) || (open.starts_with('/') && path.contains(&format!("{open}/"))));
    match (docker, ours) {
        (Value::Object(docker), Value::Object(ours)) => {
            for (key, value) in docker {
                match ours.get(key) {
                    Some(own) => differences(&format!("{path}/{key}"), value, own, found),
                    None if is_open => {}
                    None => found.push(format!("{path}/{key} is missing")),
                }
            }
            let more = ours.keys().filter(|key| !is_open && !docker.contains_key(*key));
            found.extend(more.map(|key| format!("{path}/{key} is not docker's")));
        }
        (Value::Array(docker), Value::Array(ours)) if docker.len() == ours.len() || is_open => {
            for (index, (one, other)) in docker.iter().zip(ours).enumerate() {
                differences(&format!("{path}/{index}"), one, other, found);
            }
        }
        (one, other) if std::mem::discriminant(one) != std::mem::discriminant(other) => {
            found.push(format!("{path}: docker {one}, ours {other}"));
        }
        (one, other) if one != other && !is_open => found.push(format!("{path}: docker {one}, ours {other}")),
        _ => {}
    }
}

fn assert_same(name: &str, docker: &Value, text: &str) {
    let ours: Value = serde_json::from_str(text).unwrap();
    let mut found = Vec::new();
    differences("", docker, &ours[0], &mut found);
    assert!(found.is_empty(), "{name}:\n{}", found.join("\n"));
}

fn busybox() -> (Registry, Workdir) {
    let registry = Registry::images();
    let work = Workdir::with_mirror(&registry.address());
    work.sh("docker pull busybox && image-tool config --label a=1 --ref bb:1 :busybox").ok();
    (registry, work)
}

#[test]
fn containers_are_described_key_by_key() {
    let (_registry, work) = busybox();
    work.sh("docker volume create --label l=m vol1").ok();
    let options = "-l q=r -m 64m --memory-swap 128m --restart on-failure:2 -v /etc:/e:ro -v vol1:/v --tmpfs /t --hostname h1 \
                   --entrypoint sleep -w /tmp -u 33 --cap-add SYS_PTRACE --cap-drop MKNOD --security-opt no-new-privileges \
                   --ulimit nofile=100:200 --sysctl net.core.somaxconn=100 --device /dev/null:/dev/n:r --group-add 5 --add-host x:1.2.3.4 \
                   --dns 9.9.9.9 --cpus 0.5 --pids-limit 50 --log-opt max-size=1m";
    work.sh(&format!("docker run -d --network none --name c1 {options} bb:1 300")).ok();
    let mut docker = recorded()["running"].take();
    // docker-init need not be installed here.
    docker["HostConfig"].as_object_mut().unwrap().remove("Init");
    assert_same("running", &docker, &work.sh("docker inspect c1").ok());
    work.sh("docker create --network none --name c4 -it --mount type=bind,src=/etc,dst=/m,readonly --mount type=tmpfs,dst=/tt,tmpfs-size=1m bb:1 sh")
        .ok();
    assert_same("created", &recorded()["created"], &work.sh("docker inspect c4").ok());
    let both = work.sh("docker inspect -f '{{.Name}} {{.State.Status}}' c1 nosuch c4");
    assert_eq!((both.status, both.stdout.as_str()), (1, "/c1 running\n/c4 created\n"));
    assert!(both.stderr.contains("No such object: nosuch"), "{}", both.stderr);
    assert_eq!(work.sh("docker inspect nosuch").stdout, "[]\n");
    let said = work.sh("docker inspect -f '{{' c1").fails(64);
    assert!(said.starts_with("template parsing error: "), "{said}");
    let port =
        "{{range index .NetworkSettings.Ports \"80/tcp\"}}x{{end}}{{json (index .HostConfig.PortBindings \"80/tcp\")}}";
    assert_eq!(work.sh(&format!("docker inspect -f '{port}' c4")).ok(), "null\n");
    let sized = work.sh("docker inspect -s -f '{{.SizeRw}} {{gt .SizeRootFs 1000}}' c1").ok();
    assert!(sized.ends_with(" true\n"), "{sized}");
    work.sh("docker rm -f c1 c4").ok();
}

#[test]
fn networks_volumes_and_images_are_described_key_by_key() {
    let (_registry, work) = busybox();
    work.sh("docker volume create -o type=tmpfs -o device=tmpfs -o o=size=1m vol2").ok();
    assert_same("volume", &recorded()["volume"], &work.sh("docker volume inspect vol2").ok());
    let mut docker = recorded()["none"].take();
    docker["Containers"] = json!({});
    assert_same("none", &docker, &work.sh("docker network inspect none").ok());
    let ids = work.sh("docker network ls -q --no-trunc --filter name=none").ok();
    assert_eq!(work.sh(&format!("docker network inspect -f '{{{{.Name}}}}' {ids}")).ok(), "none\n");
    let mut image = recorded()["image"].take();
    for field in ["ExposedPorts", "Healthcheck", "StopSignal", "Shell"] {
        image["Config"].as_object_mut().unwrap().remove(field);
        image["ContainerConfig"].as_object_mut().unwrap().remove(field);
    }
    for (field, value) in [
        ("OnBuild", Value::Null),
        ("Volumes", Value::Null),
        ("Entrypoint", Value::Null),
        ("User", json!("")),
        ("WorkingDir", json!("")),
    ] {
        image["Config"][field] = value;
    }
    let ours: Value = serde_json::from_str(&work.sh("docker inspect --type image bb:1").ok()).unwrap();
    let mut found = Vec::new();
    differences("", &image, &ours[0], &mut found);
    // What the classic builder writes into a config, and no other.
    let builders = [
        "/ContainerConfig",
        "/Container:",
        "/Comment",
        "/DockerVersion",
        "/Parent",
        "/RootFS/Layers",
        "/Metadata",
        "/RepoTags",
        "/RepoDigests",
        "/Descriptor",
        "/Architecture",
        "/Author",
    ];
    found.retain(|line| !builders.iter().any(|path| line.starts_with(path)));
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn lists_have_dockers_filters_and_formats() {
    let (_registry, work) = busybox();
    work.sh("docker run -d --network none --name one -l x=y -v /etc:/e -v data:/d bb:1 sh -c 'sleep 300'").ok();
    work.sh("docker create --network none --name two bb:1 true").ok();
    for (options, expected) in [
        ("-a --format '{{.Names}}'", "two\none\n"),
        ("-a --filter status=created --format '{{.Names}} {{.Status}}'", "two Created\n"),
        ("--filter volume=data --format '{{.Names}} {{.Mounts}} {{.LocalVolumes}}'", "one data,/etc 1\n"),
        ("--filter label=x --format '{{.Label \"x\"}} {{.Command}}'", "y \"sh -c 'sleep 300'\"\n"),
        ("-a --filter since=one --format '{{.Names}}'", "two\n"),
        ("-a --filter before=two --filter name=^/one$ --format '{{.Names}}'", "one\n"),
        (
            "--filter health=none --filter network=none --format '{{.Names}} {{.HealthStatus}}|{{.Platform}}'",
            "one |linux\n",
        ),
        ("--format 'table {{.Names}}\\t{{.State}}'", "NAMES     STATE\none       running\n"),
        ("--filter name=nothing --format '{{.Names}}'", ""),
        ("-q --filter 'name=^.?(one|two)$' --format '{{.Names}}'", "one\n"),
    ] {
        assert_eq!(work.sh(&format!("docker ps {options}")).ok(), expected, "{options}");
    }
    let row: Value = serde_json::from_str(&work.sh("docker ps --format json").ok()).unwrap();
    let keys: Vec<&str> = row.as_object().unwrap().keys().map(String::as_str).collect();
    let dockers = [
        "Command",
        "CreatedAt",
        "ID",
        "Image",
        "Labels",
        "LocalVolumes",
        "Mounts",
        "Names",
        "Networks",
        "Ports",
        "RunningFor",
        "Size",
        "State",
        "Status",
    ];
    assert_eq!(keys, dockers);
    assert!(work.sh("docker ps -s").ok().contains("(virtual "));
    for bad in ["bogus=1", "status=odd", "exited=x", "since=nosuch"] {
        work.sh(&format!("docker ps --filter {bad}")).fails(1);
    }
    assert_eq!(work.sh("docker volume ls -q --format '{{.Name}} {{.Driver}}'").ok(), "data local\n");
    assert_eq!(
        work.sh("docker images -q --format '{{.Repository}}' bb; docker history -q --format '{{.CreatedBy}}' bb:1")
            .ok(),
        "bb\nADD busybox /\n"
    );
    assert!(work.sh("docker network ls").ok().starts_with("NETWORK ID     NAME      DRIVER    SCOPE\n"));
    let df = work.sh("docker system df").ok();
    assert!(
        df.starts_with("TYPE            TOTAL     ACTIVE    SIZE") && df.contains("Local Volumes   1         1"),
        "{df}"
    );
    assert!(work.sh("docker stats --no-stream --format '{{.Name}} {{.PIDs}}'").ok().starts_with("one "));
    assert!(work.sh("docker version -f '{{.Server.Version}}'").ok().starts_with("20.10."));
    assert_eq!(work.sh("docker info -f '{{.Containers}} {{.ContainersRunning}}'").ok(), "2 1\n");
    work.sh("docker rm -f one two && docker volume rm data").ok();
}

#[test]
fn events_tell_the_life_of_a_container() {
    let (_registry, work) = busybox();
    work.sh("docker run -d --network none --name one -l x=y --health-cmd true --health-interval 300ms bb:1 sleep 300")
        .ok();
    work.sh("for i in $(seq 100); do docker ps | grep -q '(healthy)' && exit; sleep 0.1; done; exit 1").ok();
    assert_eq!(work.sh("docker inspect -f '{{.State.Health.Status}} {{.State.Health.FailingStreak}} {{len .Config.Healthcheck.Test}}' one").ok(), "healthy 0 2\n");
    assert_eq!(
        work.sh("docker inspect -f '{{.Config.Healthcheck.Interval}} {{json .Config.Healthcheck.Interval}}' one").ok(),
        "300ms 300000000\n"
    );
    work.sh("docker stop -t 0 one && docker rm one").ok();
    let events = work
        .sh("docker events --since 1h --until 0s --filter container=one --format '{{.Action}} {{.Actor.Attributes.x}}'")
        .ok();
    let (checks, life): (Vec<&str>, Vec<&str>) = events.lines().partition(|line| line.starts_with("exec_"));
    let expected =
        ["create y", "start y", "health_status: healthy y", "kill y", "kill y", "die y", "stop y", "destroy y"];
    assert_eq!(life, expected);
    // A check is a further program, as that of docker exec.
    assert_eq!(checks[..3], ["exec_create: /bin/sh -c true y", "exec_start: /bin/sh -c true y", "exec_die y"]);
    let died = work.sh("docker events --since 1h --until 0s --filter event=die --format '{{json .}}'").ok();
    let died: Value = serde_json::from_str(&died).unwrap();
    let keys: Vec<&str> = died.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, ["Action", "Actor", "Type", "from", "id", "scope", "status", "time", "timeNano"]);
    assert_eq!(died["Actor"]["Attributes"]["exitCode"], "137");
    // What is recorded while somebody waits is told at once.
    let told = work.sh("(sleep 0.5; docker volume create late >/dev/null) & docker events --until $(($(date +%s) + 2)) --filter type=volume; wait").ok();
    assert!(told.contains(" volume create late (driver=local)"), "{told}");
    work.sh("docker volume rm late").ok();
}
