//! Images that are mounted, not unpacked: one mount for all containers, sound after any accident, and unpacked where the kernel or the
//! file system cannot mount.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tests::{Registry, Workdir, layout};

const CREATE: &str = "bundle-tool -v create --network none";

/// A working directory with an image, and whether images are mounted here.
fn work() -> (Workdir, bool) {
    let work = Workdir::new();
    let tar =
        layout::Tar::new().folder("./").folder("etc/").file("etc/os", "this").file("big", &"x".repeat(100_000)).bytes();
    let top = layout::Tar::new().file("etc/more", "that").symlink("lib", "etc").file("lib/linked", "through").bytes();
    layout::Builder::new(&work.path("images"))
        .layer(&tar)
        .layer(&top)
        .image("one", serde_json::json!({ "Cmd": ["/x"] }));
    let said = work.sh(&format!("{CREATE} --name first images:one && bundle-tool delete first"));
    said.ok();
    let is_mounted = said_erofs(&work.sh(&format!("{CREATE} --name first images:one")).stderr);
    work.sh("bundle-tool delete first").ok();
    (work, is_mounted)
}

fn said_erofs(stderr: &str) -> bool {
    stderr.contains("using the EROFS image")
}

/// How many images are mounted below this working directory.
fn mounts(work: &Workdir) -> usize {
    let folder = work.folder().to_str().unwrap();
    let table = fs::read_to_string("/proc/self/mounts").unwrap();
    table.lines().filter(|line| line.contains(folder) && line.contains(" erofs ")).count()
}

#[test]
fn containers_at_once_share_one_mount_of_their_image() {
    let (work, is_mounted) = work();
    if !is_mounted {
        return;
    }
    let text = format!(
        "for n in $(seq 50); do {CREATE} --name c$n images:one >$n 2>&1 & jobs=\"$jobs $!\"; done; \
         for job in $jobs; do wait $job || exit 1; done"
    );
    work.sh(&text).ok();
    assert_eq!(mounts(&work), 1);
    work.sh("for n in $(seq 49); do bundle-tool delete c$n >/dev/null & jobs=\"$jobs $!\"; done; wait $jobs").ok();
    assert_eq!(mounts(&work), 1, "one container is left");
    assert_eq!(work.sh("cat $(bundle-tool find c50)/rootfs/lib/linked").ok(), "through");
    work.sh("bundle-tool unmount c50").ok();
    assert_eq!(mounts(&work), 0);
    work.sh("bundle-tool mount c50 && test -e $(bundle-tool find c50)/rootfs/etc/linked").ok();
    assert_eq!(mounts(&work), 1);
    work.sh("bundle-tool delete c50").ok();
    assert_eq!((mounts(&work), work.leaks()), (0, Vec::new()));
}

#[test]
fn what_a_further_container_costs_does_not_grow_with_those_there_are() {
    let (work, _) = work();
    work.sh(&format!("{CREATE} --name first images:one")).ok();
    let traced =
        format!("strace -f -qq -e trace=open,openat,openat2 -o log {CREATE} --name second images:one && cat log");
    let log = work.sh(&traced).ok();
    assert!(log.contains("/bundles/second"), "{log}");
    for what in ["/proc/self/mount", "/proc/mounts", "/bundles/first"] {
        assert!(!log.contains(what), "{what}: {log}");
    }
    work.sh("bundle-tool delete first second").ok();
}

#[test]
fn a_stored_image_is_mounted_without_a_trial() {
    let (work, is_mounted) = work();
    if !is_mounted {
        return;
    }
    let log =
        work.sh(&format!("strace -f -qq -e trace=fsmount -o log {CREATE} --name second images:one && cat log")).ok();
    assert_eq!(log.matches("fsmount(").count(), 2, "the image and the overlay: {log}");
    work.sh("bundle-tool delete second").ok();
}

#[test]
fn what_every_container_lacks_in_an_image_is_made_once_for_all() {
    let (work, is_mounted) = work();
    if !is_mounted {
        return;
    }
    let text = format!(
        "bundle-tool gc >/dev/null; for n in $(seq 9); do {CREATE} --name c$n images:one >$n 2>&1 & jobs=\"$jobs $!\"; done; \
         for job in $jobs; do wait $job || exit 1; done"
    );
    work.sh(&text).ok();
    let made = || work.sh("ls -A $OCI_HOME/layers/images/*.init").ok().lines().map(str::to_owned).collect::<Vec<_>>();
    let for_all = made();
    assert_eq!(for_all.len(), 1);
    // Another mount point, but for one that the image has, is the container's own.
    work.sh(&format!(
        "mkdir x && {CREATE} --name own -v $PWD/x:/lib/x images:one && {CREATE} --name has -v $PWD/x:/lib images:one"
    ))
    .ok();
    assert_eq!(work.sh("cd $OCI_HOME/bundles && ls -d */init").ok(), "own/init\n");
    assert_eq!(made(), for_all);
    let shown = "cd $(bundle-tool find c1)/rootfs && ls -A . etc && stat -c %Y etc";
    let first = work.sh(shown).ok();
    assert!(
        [".dockerenv", "proc", "hosts", "mtab"].iter().all(|name| first.lines().any(|line| line == *name)),
        "{first}"
    );
    // A cache: without it, what is missing is made again, and is no change of the container.
    work.sh(
        "for n in $(seq 9); do bundle-tool unmount c$n; done && bundle-tool unmount has && bundle-tool unmount own",
    )
    .ok();
    work.sh("rm -r $OCI_HOME/layers/images/*.init && bundle-tool mount c1").ok();
    assert_eq!((work.sh(shown).ok(), made()), (first, for_all));
    assert_eq!(work.sh("bundle-tool diff c1 | tar t").ok(), "");
    work.sh("bundle-tool delete c1 c2 c3 c4 c5 c6 c7 c8 c9 own has && bundle-tool gc").ok();
    assert_eq!(work.sh("ls -A $OCI_HOME/layers/images").ok(), "");
}

#[test]
fn what_a_temporary_container_writes_is_never_flushed() {
    let (work, _) = work();
    for (option, flushed) in [("", true), ("--rm", false)] {
        work.sh(&format!("{CREATE} {option} --name one images:one")).ok();
        work.sh("echo kept >$(bundle-tool find one)/rootfs/new").ok();
        // Newer kernels print fsync=volatile.
        let options = "grep $(bundle-tool find one)/rootfs /proc/self/mounts";
        assert_eq!(!work.sh(options).ok().contains("volatile"), flushed, "{option}");
        work.sh("bundle-tool unmount one && bundle-tool mount one").ok();
        assert_eq!(!work.sh(options).ok().contains("volatile"), flushed, "{option}");
        assert_eq!(work.sh("cat $(bundle-tool find one)/rootfs/new; bundle-tool delete one").ok(), "kept\n");
    }
}

#[test]
fn a_layer_that_was_damaged_is_stored_again() {
    let (work, is_mounted) = work();
    if !is_mounted {
        return;
    }
    let layers = work.folder().join("oci/layers");
    let archive = || {
        let files = fs::read_dir(layers.join("sha256")).unwrap().map(|entry| entry.unwrap().path());
        files.max_by_key(|path| path.metadata().unwrap().len()).unwrap()
    };
    let image = || {
        let mut files = fs::read_dir(layers.join("images")).unwrap().map(|entry| entry.unwrap().path());
        files.find(|path| path.extension().is_some_and(|extension| extension == "erofs")).unwrap()
    };
    let forget = |path: &Path| fs::write(path.with_extension("state"), "").unwrap();
    let shorten = |path: &Path| {
        let file = fs::OpenOptions::new().write(true).open(path).unwrap();
        file.set_len(file.metadata().unwrap().len() / 2).unwrap();
    };
    let change = |path: &Path| {
        let mut bytes = fs::read(path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(path, bytes).unwrap();
    };
    // Somebody writes to them, or the power fails before they are on the disk.
    let accidents: [(&str, &dyn Fn()); 7] = [
        ("changed archive", &|| change(&archive())),
        ("shortened archive", &|| shorten(&archive())),
        ("archive of unknown state", &|| forget(&archive())),
        ("no archive", &|| fs::remove_file(archive()).unwrap()),
        ("changed image", &|| change(&image())),
        ("shortened image", &|| shorten(&image())),
        ("image of unknown state", &|| forget(&image())),
    ];
    for (what, accident) in accidents {
        accident();
        let made = work.sh(&format!("{CREATE} --name again images:one"));
        assert!(said_erofs(&made.stderr), "{what}: {made}");
        let seen = work.sh("cd $(bundle-tool find again)/rootfs && cat etc/os etc/linked && wc -c <big").ok();
        assert_eq!(seen, "thisthrough100000\n", "{what}");
        assert_eq!(archive().metadata().unwrap().permissions().mode() & 0o777, 0o400, "{what}");
        work.sh("bundle-tool delete again").ok();
    }
}

#[test]
fn where_no_image_can_be_mounted_layers_are_unpacked() {
    let (mut work, is_mounted) = work();
    // A tmpfs cannot back EROFS. There may be none here.
    let Ok(memory) = tempfile::Builder::new().prefix("oci-tools-").tempdir_in("/dev/shm") else { return };
    work.set("OCI_HOME", memory.path().to_str().unwrap());
    let made = work.sh(&format!("{CREATE} --name cc images:one"));
    assert!(
        made.stderr.contains("unpacked layers") && (!is_mounted || made.stderr.contains("cannot back EROFS")),
        "{made}"
    );
    let seen =
        work.sh("cat $(bundle-tool find cc)/rootfs/etc/os; ls $OCI_HOME/layers/sha256 | grep -v state | wc -l").ok();
    assert_eq!(seen, "this2\n");
    let said = work.sh("mkdir m; image-tool mount images:one m");
    assert!(said.status == 1 && said.stderr.contains("image-tool unpack"), "{said}");
    work.sh("bundle-tool delete cc").ok();
}

#[test]
fn layers_that_are_unpacked_already_are_not_stored_once_more() {
    let (work, is_mounted) = work();
    if !is_mounted {
        return;
    }
    // As an older version left it.
    let text = "cd $OCI_HOME/layers && rm -rf images && cd sha256 && for tar in $(ls | grep -v state); do \
                mv $tar old && rm $tar.state && mkdir $tar && tar -xf old -C $tar && rm -f old && echo durable >$tar.state; done";
    work.sh(text).ok();
    let made = work.sh(&format!("{CREATE} --name old images:one"));
    assert!(made.stderr.contains("using 2 unpacked layers"), "{made}");
    assert_eq!(work.sh("find $OCI_HOME/layers -maxdepth 2 -type f ! -name '*.state' | wc -l").ok().trim(), "0");
    work.sh("bundle-tool delete old").ok();
    // Where the top one is unpacked, it lies on an image of the others.
    let text =
        "cd $OCI_HOME/layers/sha256 && for d in $(ls | grep -v state); do [ ! -e $d/big ] || rm -rf $d $d.state; done";
    work.sh(text).ok();
    let made = work.sh(&format!("{CREATE} --name both images:one"));
    assert!(said_erofs(&made.stderr) && made.stderr.contains("below 1 unpacked layer"), "{made}");
    work.sh("test -e $(bundle-tool find both)/rootfs/big && bundle-tool delete both").ok();
    assert_eq!(mounts(&work), 0);
}

#[test]
fn containers_at_once_of_an_image_that_does_not_fit_share_its_layers() {
    let (work, _) = work();
    // Debian's packages have lists like this one, of the owner, the group and the others, in /var/log/journal.
    let acl = b"\x02\0\0\0\x01\0\x07\0\xff\xff\xff\xff\x04\0\x05\0\xff\xff\xff\xff\x20\0\x05\0\xff\xff\xff\xff";
    let mut tar = layout::Tar::new();
    tar.folder("etc/").file("etc/os", "this").attributes(&[("system.posix_acl_default", acl)]).folder("log/");
    layout::Builder::new(&work.path("acl")).layer(&tar.bytes()).image("one", serde_json::json!({ "Cmd": ["/x"] }));
    let create = "for n in $(seq 20); do bundle-tool create --network none --name c$n acl:one >$n 2>&1 & jobs=\"$jobs $!\"; done; \
                  for job in $jobs; do wait $job || exit 1; done";
    work.sh(create).ok();
    let seen = work.sh("for n in $(seq 20); do cat $(bundle-tool find c$n)/rootfs/etc/os; done").ok();
    assert_eq!(seen, "this".repeat(20));
    work.sh("for n in $(seq 20); do bundle-tool delete c$n >/dev/null || exit; done").ok();
}

#[test]
fn an_image_is_mounted_and_unmounted() {
    let (work, is_mounted) = work();
    if !is_mounted {
        return;
    }
    layout::odd(&work.path("odd"));
    for address in ["images:one", "odd:odd"] {
        work.sh(&format!("rm -rf tree; mkdir -p m; image-tool unpack {address} tree && image-tool mount {address} m"))
            .ok();
        tests::tree::assert_equal(&work.path("m"), &work.path("tree"), &[""]);
        assert!(fs::write(work.path("m/new"), "").is_err());
        work.sh("image-tool unmount m").ok();
    }
    assert!(work.sh("image-tool unmount m").stderr.contains("no image is mounted here"));
    assert_eq!(mounts(&work), 0);
}

#[test]
fn an_image_of_debians_packages_is_shown_as_it_is_unpacked() {
    let (_, is_mounted) = work();
    if !is_mounted {
        return;
    }
    let registry = Registry::images();
    let work = Workdir::with_mirror(&registry.address());
    work.sh("registry-tool pull --quiet python:3.8 images && mkdir m && image-tool mount images:python:3.8 m").ok();
    work.sh("image-tool unpack images:python:3.8 tree").ok();
    tests::tree::assert_equal(&work.path("m"), &work.path("tree"), &[]);
    work.sh("image-tool unmount m").ok();
}

#[test]
fn what_is_pulled_for_containers_is_stored_while_it_arrives() {
    let registry = Registry::images();
    let work = Workdir::with_mirror(&registry.address());
    let pull = "registry-tool pull --unpack --quiet python:3.8 images";
    let stored = "ls $OCI_HOME/layers/sha256 | grep -v state | wc -l";
    assert_eq!(work.sh(&format!("{pull} >/dev/null && {stored}")).ok(), "3\n");
    // Without the blobs of the layers, there is nothing else that the container could be made of.
    work.sh("find images/blobs -type f -size +100k -exec mv '{}' . \\;").ok();
    let made = "bundle-tool create --network none --name cc images:python:3.8 >/dev/null && test -e $(bundle-tool find cc)/rootfs/etc/os-release \
                && bundle-tool delete cc >/dev/null";
    work.sh(made).ok();
    // An image that is there is stored as well, and one that is stored is left alone.
    work.sh("mv [0-9a-f]*[0-9a-f] images/blobs/sha256").ok();
    let inodes = "stat -c %i $OCI_HOME/layers/sha256/*";
    let before = work.sh(inodes).ok();
    assert_eq!(work.sh(&format!("{pull} >/dev/null && {inodes}")).ok(), before);
    assert_eq!(work.sh(&format!("rm -rf $OCI_HOME/layers; {pull} >/dev/null && {stored}")).ok(), "3\n");
    let said = work.sh("registry-tool pull --unpack --all-platforms python:3.8 images");
    assert!(said.status == 2 && said.stderr.contains("--unpack"), "{said}");
}

#[test]
fn what_is_stored_is_told_and_removed_when_nobody_needs_it() {
    let (work, is_mounted) = work();
    let form = if is_mounted { "tar" } else { "folder" };
    let pieces = if is_mounted { 3 } else { 2 };
    let said = work.sh("image-tool tree images:one").ok();
    assert_eq!(said.lines().filter(|line| line.contains(&format!(" {form} "))).count(), 2, "{said}");
    work.sh("bundle-tool create --network none --name cc images:one").ok();
    let df = |wanted: &str| {
        let said =
            work.sh("bundle-tool df --format '{{.Type}}|{{.TotalCount}}|{{.Active}}|{{.Reclaimable}}' </dev/null").ok();
        assert!(said.lines().any(|line| line.starts_with(wanted)), "{wanted} {said}");
    };
    df("Stored Layers|2|2|0B");
    let said = work.sh("bundle-tool df -v </dev/null").ok();
    let lines = said.lines().filter(|line| ["tar", "folder", "erofs"].iter().any(|form| line.contains(form)));
    assert_eq!(lines.filter(|line| line.trim_end().ends_with(" 1")).count(), pieces, "{said}");
    assert_eq!(work.sh("bundle-tool gc").ok(), "", "the container needs them");
    work.sh("bundle-tool delete cc").ok();
    df("Stored Layers|2|0|");
    if is_mounted {
        // To be removed is no harm to what is mounted.
        work.sh("mkdir m && image-tool mount images:one m").ok();
    }
    assert_eq!(work.sh("bundle-tool gc --dry-run").ok().lines().count(), pieces);
    assert_eq!(work.sh("bundle-tool gc").ok().lines().count(), pieces);
    df("Stored Layers|0|0|0B");
    if is_mounted {
        assert_eq!(
            work.sh("cat m/etc/os m/etc/linked && wc -c <m/big && image-tool unmount m >/dev/null").ok(),
            "thisthrough100000\n"
        );
    }
    assert_eq!(work.sh("find $OCI_HOME/layers -type f").ok(), "");
    work.sh("bundle-tool create --network none --name cc images:one && bundle-tool delete cc").ok();
    // What the default layout has stays.
    work.sh("cp -r images $OCI_HOME/images && bundle-tool gc").ok();
    df("Stored Layers|2|0|0B");
    work.sh("image-tool rm :one && bundle-tool gc").ok();
    df("Stored Layers|0|0|0B");
}

#[test]
fn a_kernel_without_erofs_has_unpacked_layers() {
    let (work, is_mounted) = work();
    if !is_mounted {
        return;
    }
    // As before Linux 5.2, or under a filter.
    let made = work.sh(&format!(
        "rm -rf $OCI_HOME/layers; strace -f -qq -o log -e inject=fsopen:error=ENOSYS {CREATE} --name old images:one"
    ));
    assert!(
        made.stderr.contains("using 2 unpacked layers instead of an EROFS image: this kernel has no EROFS"),
        "{made}"
    );
    assert_eq!(work.sh("cat $(bundle-tool find old)/rootfs/etc/os").ok(), "this");
    work.sh("bundle-tool delete old").ok();
}

#[test]
fn a_killed_creation_is_repeated() {
    let registry = Registry::images();
    let work = Workdir::with_mirror(&registry.address());
    work.sh("registry-tool pull --quiet python:3.8 images").ok();
    for step in 0..8 {
        let text = format!(
            "rm -rf $OCI_HOME/layers; timeout --foreground --signal=KILL 0.0{step}5 {CREATE} --name cc images:python:3.8 >/dev/null 2>&1; \
             bundle-tool delete --force cc >/dev/null 2>&1; {CREATE} --name cc images:python:3.8 >/dev/null && bundle-tool delete cc"
        );
        work.sh(&text).ok();
        assert_eq!((mounts(&work), work.leaks()), (0, Vec::new()), "{step}");
    }
    let left = work.sh("find $OCI_HOME/layers -mindepth 1 -maxdepth 2 -name '.*' ! -name '.new.*'").ok();
    assert_eq!(left, "", "what a killed process left is swept");
}
