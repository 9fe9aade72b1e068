//! Mounts, masked paths, devices and terminals that an image or another container tries to redirect.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::RenameFlags;
use serde_json::json;

use super::{all_capabilities, mount, unmount, user_namespace};
use crate::bundle::Bundle;

#[test]
fn proc_is_not_mounted_through_a_symlink() {
    let bundle = Bundle::new(&["true"]);
    fs::remove_dir(bundle.rootfs().join("proc")).unwrap();
    symlink("/tmp", bundle.rootfs().join("proc")).unwrap();
    let (_, text) = bundle.bad(&["run", &bundle.id()]);
    assert!(text.contains("must be mounted on ordinary directory"), "{text}");
}

#[test]
fn a_mount_point_behind_a_symlink_stays_inside_the_root() {
    // CVE-2021-30465 and similar: a mount point is a symlink to a folder of the host.
    let bundle = Bundle::with(&["cat", "/escape/inside"], |config| {
        config["mounts"].as_array_mut().unwrap().push(json!({
            "destination": "/escape/inside", "source": "/etc/hostname", "options": ["bind", "ro"]
        }));
    });
    let outside = tempfile::tempdir().unwrap();
    symlink(outside.path(), bundle.rootfs().join("escape")).unwrap();
    let output = bundle.tool(&["run", &bundle.id()]);
    assert!(output.status.success(), "{output:?}");
    assert!(!outside.path().join("inside").exists());
    assert_eq!(output.stdout, fs::read("/etc/hostname").unwrap());
}

#[test]
fn masked_paths_are_empty_and_read_only_paths_cannot_be_written() {
    let script = "cat /proc/keys | grep -c .; ls /proc/acpi | grep -c .; echo 1 >/proc/sys/kernel/domainname || echo denied; \
        cat /secret | grep -c .; ls /hidden | grep -c .";
    let bundle = Bundle::with(&["sh", "-c", script], |config| {
        let masked = config["linux"]["maskedPaths"].as_array_mut().unwrap();
        masked.push(json!("/secret"));
        masked.push(json!("/hidden"));
    });
    fs::write(bundle.rootfs().join("secret"), "secret\n").unwrap();
    fs::create_dir(bundle.rootfs().join("hidden")).unwrap();
    fs::write(bundle.rootfs().join("hidden/x"), "secret\n").unwrap();
    let output = bundle.tool(&["run", &bundle.id()]);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "0\n0\ndenied\n0\n0\n");
}

#[test]
fn a_locked_flag_that_cannot_be_cleared_is_named() {
    let source = tempfile::tempdir().unwrap();
    fs::set_permissions(source.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let path = source.path().to_str().unwrap();
    // A mount namespace of its own, so that nothing of it stays.
    let script = format!("mount -t tmpfs -o nosuid,nodev,noexec tmpfs {path} && exec \"$@\"");
    for (option, named) in [("exec", "MS_NOEXEC"), ("suid", "MS_NOSUID"), ("ro", "")] {
        let bundle = Bundle::with(&["true"], |config| {
            user_namespace(config);
            let entry = json!({"destination": "/m", "type": "bind", "source": path, "options": ["bind", option]});
            mount(config, entry);
        });
        // The container's root cannot make the mount point in a folder of the host's root.
        fs::create_dir(bundle.rootfs().join("m")).unwrap();
        let output = Command::new("unshare")
            .args(["--mount", "sh", "-c", &script, "sh", env!("CARGO_BIN_EXE_run-tool"), "--root", "state", "run"])
            .arg(bundle.id())
            .current_dir(bundle.path())
            .stdin(std::process::Stdio::null())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.success(), named.is_empty(), "{output:?}");
        assert!(named.is_empty() || text.contains(&format!("cannot clear locked flags {named}: ")), "{text}");
    }
}

#[test]
fn a_fake_null_device_is_not_used_for_masks() {
    // CVE-2025-31133: the image has its own /dev/null, a symlink to a file that should be masked.
    let bundle = Bundle::with(&["true"], |config| {
        config["mounts"]
            .as_array_mut()
            .unwrap()
            .retain(|mount| !mount["destination"].as_str().unwrap().starts_with("/dev"));
        config["mounts"].as_array_mut().unwrap().push(json!({
            "destination": "/dev", "source": "fakedev", "options": ["bind"]
        }));
    });
    fs::create_dir(bundle.path().join("fakedev")).unwrap();
    symlink("/proc/sys/kernel/core_pattern", bundle.path().join("fakedev/null")).unwrap();
    let (_, text) = bundle.bad(&["run", &bundle.id()]);
    assert!(text.contains("/dev/null"), "{text}");
}

#[test]
fn a_mount_point_that_is_swapped_for_a_symlink_stays_inside_the_root() {
    // CVE-2021-30465 and CVE-2024-45310: another container with the same volume exchanges a folder and a symlink all the time.
    let outside = tempfile::tempdir().unwrap();
    fs::create_dir(outside.path().join("present")).unwrap();
    let bundle = Bundle::with(&["true"], |config| {
        config["root"]["readonly"] = json!(false);
        for name in ["one", "two/deep"] {
            mount(config, json!({"destination": format!("/volume/{name}"), "source": "tmpfs", "type": "tmpfs"}));
        }
        mount(config, json!({"destination": "/volume/present", "source": "tmpfs", "type": "tmpfs"}));
        mount(config, json!({"destination": "/volume/file", "source": "/etc/hostname", "options": ["bind"]}));
        mount(config, json!({"destination": "/volume/folder", "source": "/etc", "options": ["bind"]}));
        let script = format!("! grep -q ' {}/' /proc/self/mountinfo", outside.path().display());
        config["hooks"] =
            json!({"createContainer": [{"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin"]}]});
    });
    let (volume, link) = (bundle.rootfs().join("volume"), bundle.rootfs().join("link"));
    fs::create_dir_all(volume.join("present")).unwrap();
    symlink(outside.path(), &link).unwrap();
    let done = AtomicBool::new(false);
    let mut texts = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let cwd = rustix::fs::CWD;
            while !done.load(Ordering::Relaxed) {
                rustix::fs::renameat_with(cwd, &volume, cwd, &link, RenameFlags::EXCHANGE).unwrap();
            }
        });
        for _ in 0..30 {
            let output = bundle.tool(&["run", &bundle.id()]);
            texts.push(String::from_utf8(output.stderr).unwrap());
        }
        done.store(true, Ordering::Relaxed);
    });
    // A run may fail, but never with a mount outside; and not every run fails.
    assert!(!texts.iter().any(|text| text.contains("createContainer hook")), "{texts:#?}");
    assert!(texts.iter().any(String::is_empty), "{texts:#?}");
    let found: Vec<_> = fs::read_dir(outside.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(found, ["present"]);
    assert_eq!(fs::read_dir(outside.path().join("present")).unwrap().count(), 0);
}

#[test]
fn only_the_new_mount_is_changed_and_filled_while_folders_are_exchanged() {
    let bundle = Bundle::with(&["sh", "-c", "cat /proc/self/mountinfo; ls /volume/*"], |config| {
        config["root"]["readonly"] = json!(false);
        for (name, options) in [
            ("copied", json!(["tmpcopyup"])),
            ("shared", json!(["shared"])),
            ("rro", json!(["rro"])),
            ("late", json!(["ro"])),
        ] {
            let place = format!("/volume/{name}");
            mount(config, json!({"destination": place, "source": "tmpfs", "type": "tmpfs", "options": options}));
        }
    });
    let (volume, other) = (bundle.rootfs().join("volume"), bundle.rootfs().join("other"));
    for (folder, file) in [(&volume, "own"), (&other, "theirs")] {
        for name in ["copied", "shared", "rro", "late"] {
            fs::create_dir_all(folder.join(name)).unwrap();
        }
        fs::write(folder.join("copied").join(file), "").unwrap();
    }
    let link = bundle.rootfs().join("link");
    symlink("other", &link).unwrap();
    let done = AtomicBool::new(false);
    let mut outputs = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let cwd = rustix::fs::CWD;
            while !done.load(Ordering::Relaxed) {
                rustix::fs::renameat_with(cwd, &volume, cwd, &link, RenameFlags::EXCHANGE).unwrap();
            }
        });
        for _ in 0..20 {
            outputs.push(bundle.tool(&["run", &bundle.id()]));
        }
        done.store(true, Ordering::Relaxed);
    });
    for output in outputs {
        let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(!errors.contains("error mounting") && !errors.contains("read-only"), "{errors}");
        let has = |name: &str, what: &str| text.lines().any(|line| line.contains(name) && line.contains(what));
        assert!(has("/shared ", " shared:") && has("/rro ro,", " - tmpfs") && has("/late ro,", " - tmpfs"), "{text}");
    }
    for (folder, file) in [("volume", "own"), ("other", "theirs")] {
        // The last exchange may have gone either way.
        let folder =
            if folder == "volume" && volume.is_symlink() { link.clone() } else { bundle.rootfs().join(folder) };
        let found: Vec<_> =
            fs::read_dir(folder.join("copied")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(found, [file]);
    }
}

#[test]
fn a_symlink_in_place_of_dev_does_not_lead_outside() {
    // CVE-2026-41579.
    let outside = tempfile::tempdir().unwrap();
    let bundle = Bundle::with(&["true"], |config| {
        config["root"]["readonly"] = json!(false);
        unmount(config, "/dev");
    });
    fs::remove_dir(bundle.rootfs().join("dev")).unwrap();
    symlink(outside.path(), bundle.rootfs().join("dev")).unwrap();
    bundle.tool(&["run", &bundle.id()]);
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
}

#[test]
fn an_image_with_its_own_null_device_is_refused() {
    // CVE-2025-31133: masks are bind mounts of /dev/null, and streams are opened from it.
    let secret = "the file that the image put there";
    for kind in ["file", "symlink", "fifo"] {
        let bundle = Bundle::with(&["true"], |config| unmount(config, "/dev"));
        let null = bundle.rootfs().join("dev/null");
        match kind {
            "file" => fs::write(&null, secret).unwrap(),
            "symlink" => symlink("/etc/passwd", &null).unwrap(),
            _ => assert!(Command::new("mkfifo").arg(&null).status().unwrap().success()),
        }
        let (_, text) = bundle.bad(&["run", &bundle.id()]);
        assert!(text.contains("/dev/null"), "{kind}: {text}");
    }
}

#[test]
fn the_target_of_a_masked_symlink_is_masked() {
    let bundle = Bundle::with(&["sh", "-c", "cat /secret; cat /link; echo $?; echo x >/shown"], |config| {
        config["root"]["readonly"] = json!(false);
        config["linux"]["maskedPaths"] = json!(["/link"]);
        config["linux"]["readonlyPaths"] = json!(["/other"]);
    });
    fs::write(bundle.rootfs().join("secret"), "secret\n").unwrap();
    fs::write(bundle.rootfs().join("shown"), "").unwrap();
    symlink("secret", bundle.rootfs().join("link")).unwrap();
    symlink("/../shown", bundle.rootfs().join("other")).unwrap();
    let output = bundle.tool(&["run", &bundle.id()]);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "0\n");
    assert!(String::from_utf8_lossy(&output.stderr).contains("Read-only file system"), "{output:?}");
}

/// Runs a container with a terminal, which must fail, and returns the message.
fn bad_terminal(bundle: &Bundle) -> String {
    let socket = bundle.path().join("console");
    let listener = UnixListener::bind(&socket).unwrap();
    let (_, text) = bundle.bad(&["run", "--detach", "--console-socket", "console", &bundle.id()]);
    drop(listener);
    fs::remove_file(socket).unwrap();
    text
}

#[test]
fn the_terminal_is_not_redirected() {
    // CVE-2025-52565: the image has something else in place of /dev/pts/ptmx or /dev/console.
    let terminal = |place: &str| {
        Bundle::with(&["true"], |config| {
            unmount(config, place);
            config["process"]["terminal"] = json!(true);
        })
    };
    let bundle = terminal("/dev/pts");
    let text = bad_terminal(&bundle);
    assert!(text.contains("/dev/pts/ptmx"), "{text}");
    let bundle = terminal("/dev");
    fs::create_dir(bundle.rootfs().join("dev/pts")).unwrap();
    fs::write(bundle.rootfs().join("dev/pts/ptmx"), "").unwrap();
    let text = bad_terminal(&bundle);
    assert!(text.contains("not that of a real devpts mount"), "{text}");
    let bundle = Bundle::with(&["true"], |config| {
        unmount(config, "/dev");
        mount(
            config,
            json!({"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["newinstance", "ptmxmode=0666"]}),
        );
        config["process"]["terminal"] = json!(true);
        config["root"]["readonly"] = json!(false);
    });
    symlink("/etc/target", bundle.rootfs().join("dev/console")).unwrap();
    fs::write(bundle.rootfs().join("etc/target"), "").unwrap();
    let text = bad_terminal(&bundle);
    assert!(text.contains("symbolic links"), "{text}");
}

#[test]
fn only_a_procfs_can_be_mounted_on_proc_and_nothing_below_it() {
    // CVE-2019-16884, CVE-2019-19921, CVE-2023-27561, CVE-2023-28642, CVE-2025-52881: labels and sysctls would be written elsewhere.
    for (destination, kind) in [
        ("/proc", "tmpfs"),
        ("/proc", "bind"),
        ("/proc/sys", "tmpfs"),
        ("/proc/self/attr", "bind"),
        ("/proc/./self/../sys/kernel", "tmpfs"),
        ("/link/self", "tmpfs"),
        ("/link/sys/net", "bind"),
    ] {
        let bundle = Bundle::with(&["true"], |config| {
            let options = if kind == "bind" { json!(["bind"]) } else { json!([]) };
            mount(config, json!({"destination": destination, "type": kind, "source": "fake", "options": options}));
        });
        fs::create_dir(bundle.path().join("fake")).unwrap();
        symlink("/proc", bundle.rootfs().join("link")).unwrap();
        let (_, text) = bundle.bad(&["run", &bundle.id()]);
        assert!(text.contains("cannot be mounted because it is"), "{destination} {kind}: {text}");
    }
    let bundle = Bundle::new(&["true"]);
    fs::remove_dir(bundle.rootfs().join("sys")).unwrap();
    symlink("/tmp", bundle.rootfs().join("sys")).unwrap();
    assert!(bundle.bad(&["run", &bundle.id()]).1.contains("must be mounted on ordinary directory"));
}

#[test]
fn a_fake_proc_gets_no_sysctl_and_keeps_no_groups() {
    // CVE-2025-52881: the image has plain files in place of the kernel's that run-tool reads and writes.
    let bundle =
        Bundle::with(&["sh", "-c", "id -G; mount -t proc proc /tmp; cat /tmp/sys/net/core/somaxconn"], |config| {
            all_capabilities(config);
            unmount(config, "/proc");
            config["root"]["readonly"] = json!(false);
            config["linux"]["maskedPaths"] = json!([]);
            config["linux"]["readonlyPaths"] = json!([]);
            config["linux"]["sysctl"] = json!({"net.core.somaxconn": "1234"});
        });
    let proc = bundle.rootfs().join("proc");
    fs::create_dir_all(proc.join("sys/net/core")).unwrap();
    fs::create_dir_all(proc.join("self/fd")).unwrap();
    fs::write(proc.join("sys/net/core/somaxconn"), "image\n").unwrap();
    fs::write(proc.join("self/setgroups"), "deny\n").unwrap();
    let output = Command::new("setpriv")
        .args(["--groups", "4242", env!("CARGO_BIN_EXE_run-tool"), "--root", "state", "run", &bundle.id()])
        .current_dir(bundle.path())
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "0\n1234\n", "{output:?}");
    assert_eq!(fs::read_to_string(proc.join("sys/net/core/somaxconn")).unwrap(), "image\n");
}

#[test]
fn a_mount_of_the_host_whose_path_is_not_utf8_stops_no_container() {
    // An ordinary user can make such a mount (FUSE).
    let bundle = Bundle::new(&["true"]);
    let script = "place=$(printf 'place\\377 \\\\'); mkdir \"$place\" && mount -t tmpfs none \"$place\" && exec \"$@\"";
    for options in [&[][..], &["--no-pivot"]] {
        let output = Command::new("unshare")
            .args(["--mount", "sh", "-c", script, "sh", env!("CARGO_BIN_EXE_run-tool"), "--root", "state", "run"])
            .args(options)
            .arg(bundle.id())
            .current_dir(bundle.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        fs::remove_dir(bundle.path().join(std::ffi::OsStr::from_bytes(b"place\xff \\"))).unwrap();
    }
}

#[test]
fn control_groups_are_shown_read_only() {
    // CVE-2023-25809: through a writable cgroup hierarchy a container could change the host's limits, or set a release agent.
    for namespace in [true, false] {
        let bundle = Bundle::with(
            &["sh", "-c", "for d in /sys/fs/cgroup /sys/fs/cgroup/*/; do busybox mkdir $d/evil && echo $d; done"],
            |config| {
                let namespaces = config["linux"]["namespaces"].as_array_mut().unwrap();
                namespaces.retain(|entry| entry["type"] != "cgroup");
                if namespace {
                    namespaces.push(json!({"type": "cgroup"}));
                }
            },
        );
        let output = bundle.tool(&["run", &bundle.id()]);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.stdout.is_empty() && errors.contains("Read-only file system"), "{output:?}");
    }
}
