//! create: the bundle that it makes, and what it refuses.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::work::{Work, mount};

#[test]
fn create_prints_the_path_of_a_whole_bundle() {
    let work = Work::new();
    for how in ["", "--copy"] {
        let path =
            work.run(&format!("create {how} --network none --name web images:python:3.8 echo hi")).ok().to_owned();
        assert_eq!(Path::new(&path), work.path("oci/bundles/web"));
        let bundle = Path::new(&path);
        assert_eq!(fs::read_to_string(bundle.join("rootfs/etc/motd")).unwrap(), "hello\n");
        assert_eq!(fs::metadata(bundle).unwrap().permissions().mode() & 0o777, 0o700);
        let config: Value = serde_json::from_slice(&fs::read(bundle.join("config.json")).unwrap()).unwrap();
        assert_eq!(config["process"]["args"], json!(["echo", "hi"]));
        assert_eq!(config["annotations"]["org.oci-tools.image"], "python:3.8");
        assert!(config["annotations"].get("org.oci-tools.rm").is_none(), "an image does not decide about its bundle");
        assert_eq!(fs::read_link(bundle.join("rootfs/etc/mtab")).unwrap(), Path::new("/proc/mounts"));
        let changes = work.words(&["diff", "web"], b"");
        assert!(!changes.ok().contains("dockerenv") && !changes.stdout.contains("mtab"), "they are no changes");
        for target in ["proc", "dev", "sys", "etc/hosts", "etc/resolv.conf", ".dockerenv"] {
            assert!(bundle.join("rootfs").join(target).exists(), "{target}");
        }
        work.run("delete web").ok();
        work.is_clean();
    }
}

#[test]
fn a_bundle_is_put_where_it_is_asked_for_and_printed_as_it_was_given() {
    let work = Work::new();
    assert_eq!(work.run_with("create --network none --bundle py --name snake -", b"images:python:3.8\n").ok(), "py");
    assert!(work.path("py/config.json").exists());
    for operand in ["snake", "py", work.path("py").to_str().unwrap()] {
        let found = work.run(&format!("find {operand}")).ok().to_owned();
        assert_eq!(work.0.path().join(found), work.path("py"), "{operand}");
    }
    let id = work.run("find --id snake").ok().to_owned();
    assert_eq!(id.len(), 64);
    assert_eq!(work.run(&format!("find --name {}", &id[..12])).ok(), "snake");
    work.run("create --network none --bundle py images:nothing true").fails(1, &["py: path exists"]);
    work.run_with("delete -", b"py\n").ok();
    assert!(!work.path("py").exists());
    work.is_clean();
    work.run("delete py").fails(1, &["py: no such bundle"]);
    work.run("delete --force py").ok();
}

#[test]
fn an_image_is_read_within_limits() {
    let work = Work::new();
    for (words, said) in [
        ("create --max-layers 0", "layers are more than 0"),
        ("create --max-size 100", "larger than 100 bytes"),
        ("create --max-entries 1", "more than 1 entries"),
        ("create --copy --max-size 100", "larger than 100 bytes"),
        ("create --copy --max-entries 1", "more than 1 entries"),
        ("spec --max-layers 0", "image refused: "),
    ] {
        work.run(&format!("{words} --network none images:python:3.8")).fails(1, &["images:python:3.8: ", said]);
        work.is_clean();
    }
    let words = "create --max-layers 2 --max-size 1M --max-entries 99 --network none --name limited images:python:3.8";
    work.run(words).ok();
    work.run("delete limited").ok();
}

#[test]
fn what_is_wrong_is_told_in_one_line_and_nothing_is_left() {
    let work = Work::new();
    let cases: &[(&str, i32, &[&str])] = &[
        ("images:absent", 1, &["images:absent: no such image (registry-tool pull absent images)"]),
        ("nowhere:python:3.8", 1, &["nowhere:python:3.8: no such image"]),
        ("images:nothing", 1, &["images:nothing: No command specified"]),
        ("-u nosuch images:python:3.8", 1, &["unable to find user nosuch: no matching entries in passwd file"]),
        (
            "--group-add nosuch images:python:3.8",
            1,
            &["unable to find group nosuch: no matching entries in group file"],
        ),
        ("-v relative: images:python:3.8", 125, &["--volume: \"relative:\""]),
        ("-v /a:/x -v /b:/x images:python:3.8", 1, &["Duplicate mount point: /x"]),
        (
            "--mount type=bind,src=/nowhere/at/all,dst=/x images:python:3.8",
            1,
            &["/nowhere/at/all: no such file or folder"],
        ),
        ("-w relative images:python:3.8", 125, &["--workdir: \"relative\""]),
        ("-v /anonymous -w /etc/passwd/x images:python:3.8", 1, &["working directory /etc/passwd/x"]),
        ("--env-file nosuch images:python:3.8", 1, &["--env-file: read nosuch"]),
        ("-e =x images:python:3.8", 1, &["invalid environment variable: \"=x\""]),
        ("-m 1m images:python:3.8", 125, &["Minimum memory limit allowed is 6MB"]),
        ("--cpus 100000 images:python:3.8", 125, &["--cpus: Range of CPUs is from 0.01 to"]),
        ("--sysctl kernel.panic=1 images:python:3.8", 125, &["--sysctl: kernel.panic"]),
        ("--device /etc/passwd images:python:3.8", 125, &["--device: /etc/passwd: not a device"]),
        ("--gpus all images:python:3.8", 125, &["--gpus: nvidia.com/gpu=all: no CDI description"]),
        ("--storage-opt size=1 images:python:3.8", 125, &["--storage-opt: size=1: too small"]),
        ("--storage-opt size=x images:python:3.8", 125, &["--storage-opt: size=x: not a valid size"]),
        ("--storage-opt dm.fs=xfs images:python:3.8", 125, &["--storage-opt: dm.fs=xfs: not supported"]),
        ("--copy --storage-opt size=8m images:python:3.8", 125, &["--storage-opt size: needs an overlay"]),
        ("--volume-driver nfs images:python:3.8", 125, &["--volume-driver: nfs"]),
        ("--userns remap images:python:3.8", 125, &["--userns: remap: /etc/subuid gives it no ids"]),
        ("--copy --userns 100000:65536 images:python:3.8", 125, &["--userns: needs an overlay"]),
        ("--isolation hyperv images:python:3.8", 125, &["--isolation: hyperv"]),
        ("--link-local-ip 169.254.1.1 images:python:3.8", 125, &["--link-local-ip: "]),
        ("--log-driver fluentd images:python:3.8", 125, &["--log-driver: \"fluentd\""]),
        ("--restart sometimes images:python:3.8", 125, &["--restart: \"sometimes\""]),
        ("--restart always --rm images:python:3.8", 125, &["--restart: cannot be combined with --rm"]),
        ("--stop-signal BOGUS images:python:3.8", 125, &["--stop-signal: \"BOGUS\""]),
        ("--security-opt seccomp=/nowhere images:python:3.8", 125, &["opening seccomp profile (/nowhere) failed"]),
        ("--pid container:nosuch images:python:3.8", 1, &["--pid: nosuch: no such bundle"]),
        (
            "--ip 10.0.0.5 images:python:3.8",
            125,
            &["--ip: user specified IP address is supported on user defined networks only"],
        ),
        ("--label org.oci-tools.rm=true images:python:3.8", 125, &["--label: org.oci-tools.rm"]),
        ("--health-interval 5s images:python:3.8", 125, &["--health-cmd"]),
        ("--nosuch images:python:3.8", 2, &["--nosuch"]),
        ("-m 1x images:python:3.8", 2, &["1x"]),
        ("-p nosuch images:python:3.8", 2, &["nosuch"]),
        ("--cap-add NOSUCH images:python:3.8", 2, &["NOSUCH"]),
        ("--name a/b images:python:3.8", 2, &["a/b"]),
        ("--ulimit bogus=1 images:python:3.8", 2, &["bogus"]),
        ("", 2, &["ADDRESS"]),
    ];
    for (words, status, expected) in cases {
        let words = format!("create --network none {words}");
        work.run(&words).fails(*status, expected);
        work.is_clean();
    }
    work.run_with("create --network none -", b"").fails(1, &["standard input is empty"]);
    work.run("nosuch").fails(2, &["nosuch"]);
    assert_eq!(work.run("volume ls").ok(), "");
    work.is_clean();
}

#[test]
fn values_that_docker_refuses_are_refused() {
    let work = Work::new();
    let cases: &[(&str, i32, &[&str])] = &[
        (
            "--health-cmd x --health-interval 1us images:python:3.8",
            125,
            &["--health-interval: cannot be less than 1ms"],
        ),
        ("--memory-reservation 1m images:python:3.8", 125, &["Minimum memory reservation allowed is 6MB"]),
        ("--platform linux/riscv64 images:python:3.8", 125, &["--platform: linux/riscv64: the image is for linux/"]),
        ("--platform bogus images:python:3.8", 125, &["--platform: linux/bogus"]),
        ("--link nosuch:x images:python:3.8", 125, &["--link: needs a network of the container's own"]),
        ("--ulimit nofile=99999999999 images:python:3.8", 125, &["--ulimit: nofile=99999999999: exceeds"]),
        ("--gpus x images:python:3.8", 2, &["\"x\" is not a number of GPUs"]),
        ("--dns-search=-a images:python:3.8", 2, &["\"-a\" is not a valid domain"]),
        ("--device-read-iops /dev/null:1k images:python:3.8", 2, &["\"1k\" is not a positive whole number"]),
        ("--detach-keys ctrl-? images:python:3.8", 2, &["Invalid detach keys (ctrl-?) provided"]),
        ("--rm=maybe images:python:3.8", 2, &["\"maybe\" is not a boolean"]),
    ];
    for (words, status, expected) in cases {
        work.run(&format!("create --network none {words}")).fails(*status, expected);
        work.is_clean();
    }
}

#[test]
fn a_name_is_given_once() {
    let work = Work::new();
    work.run("create --network none --name taken images:python:3.8").ok();
    work.run("create --network none --name taken images:python:3.8")
        .fails(1, &["taken: name already in use", "bundle-tool delete taken"]);
    assert!(work.path("oci/bundles/taken/config.json").exists(), "the first is unharmed");
    let drawn = work.run("create --network none images:python:3.8").ok().to_owned();
    let name = Path::new(&drawn).file_name().unwrap().to_str().unwrap();
    assert!(name.contains('_'), "{name}");
    work.run(&format!("delete taken {name}")).ok();
    work.is_clean();
}

#[test]
fn paths_in_a_configuration_are_absolute_whatever_the_data_folder_is_called() {
    let work = Work::new();
    let run = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bundle-tool"));
        let output = command.args(words).current_dir(work.0.path()).env("OCI_HOME", "oci").output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(
        run(&["create", "--network", "none", "--name", "web", "-v", "data:/x", "images:python:3.8"]),
        "oci/bundles/web\n"
    );
    let config: Value = serde_json::from_slice(&fs::read(work.path("oci/bundles/web/config.json")).unwrap()).unwrap();
    for target in ["/etc/hosts", "/x"] {
        assert!(mount(&config, target)["source"].as_str().unwrap().starts_with('/'), "{config}");
    }
    run(&["delete", "web"]);
    work.is_clean();
}

#[test]
fn an_image_without_layers_is_a_bundle_too() {
    let work = Work::new();
    work.image("scratch", &[], json!({"Cmd": ["/hello"]}));
    for how in ["", "--copy"] {
        work.run(&format!("create {how} --network none --name bare images:scratch")).ok();
        assert!(work.path("oci/bundles/bare/rootfs/proc").is_dir());
        work.run("mount bare").ok();
        work.run("delete bare").ok();
        work.is_clean();
    }
}

#[test]
fn an_id_file_is_written_once() {
    let work = Work::new();
    work.run("create --network none --name one --cidfile id images:python:3.8").ok();
    assert_eq!(fs::read_to_string(work.path("id")).unwrap(), work.run("find --id one").ok());
    work.run("create --network none --cidfile id images:python:3.8").fails(1, &["--cidfile: id: file exists"]);
    work.run("delete one").ok();
    work.is_clean();
}

#[test]
fn what_rm_left_of_a_bundle_can_be_deleted() {
    let work = Work::new();
    for how in ["", "--copy"] {
        work.run(&format!("create {how} --network none --name web images:python:3.8")).ok();
        let bundle = work.path("oci/bundles/web");
        // rm -rf stops at the mounted root file system and has removed the files beside it.
        for name in ["config.json", ".bundle", "hosts", "hostname", "resolv.conf"] {
            fs::remove_file(bundle.join(name)).unwrap();
        }
        work.run("find web").fails(1, &["web: no such bundle"]);
        work.run("create --network none --name web images:python:3.8").fails(1, &["bundle-tool delete web"]);
        work.run("delete web").ok();
        assert!(!bundle.exists());
        work.run("delete web").fails(1, &["web: no such bundle"]);
        work.is_clean();
    }
}

#[test]
fn an_image_is_mounted_read_only_by_its_ref() {
    let work = Work::new();
    work.run("create --network none --name box --mount type=image,src=images:user,dst=/other,image-subpath=data images:python:3.8")
        .ok();
    let config: Value = serde_json::from_slice(&fs::read(work.path("oci/bundles/box/config.json")).unwrap()).unwrap();
    let mount = mount(&config, "/other");
    assert_eq!(mount["options"], json!(["rbind", "rprivate", "ro"]));
    let source = Path::new(mount["source"].as_str().unwrap());
    assert_eq!(fs::read_to_string(source.join("seed")).unwrap(), "from the image\n");
    work.run("create --network none --mount type=image,src=absent,dst=/x images:python:3.8").fails(1, &["absent"]);
    work.run("delete box").ok();
    work.is_clean();
}
