//! Builds that are killed, that run out of disk, and that run side by side; as root and as an ordinary user. What they leave is a layout
//! that verifies, and nothing else; and equal input gives one digest, whatever happened before.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use tests::{Registry, Workdir};

/// Two stages, a cache mount, files that are copied, changed and removed.
const DOCKERFILE: &str = "FROM busybox AS made\n\
     RUN --mount=type=cache,target=/cache mkdir /made && cp /bin/busybox /made/big && echo made >/made/file && touch /cache/seen\n\
     FROM busybox\n\
     WORKDIR /work\n\
     COPY files files/\n\
     RUN cat files/* >all && chmod 4755 all && chown 7:8 all && ln all hard && rm files/f1\n\
     COPY --from=made /made /made\n\
     RUN rm -r /made/big && mkdir -p deep/er && date >/tmp/now && rm /tmp/now\n";

/// Who builds.
struct User<'a> {
    work: &'a Workdir,
    /// Runs a program as that user; empty for root.
    wrapper: String,
    home: String,
}

impl<'a> User<'a> {
    fn root(work: &'a Workdir) -> Self {
        Self { work, wrapper: String::new(), home: "$HOME/../oci".to_owned() }
    }

    /// An ordinary user, who may have other ids in a namespace of its own.
    fn ordinary(work: &'a Workdir) -> Self {
        work.sh("chmod 755 .. . && mkdir -m 777 user && echo nobody:200000:65536 >subid").ok();
        let wrapper = "unshare --mount --propagation private sh -c 'mount --bind $HOME/subid /etc/subuid && mount --bind $HOME/subid \
                       /etc/subgid && exec setpriv --reuid 65534 --regid 65534 --clear-groups env HOME=$HOME/user OCI_HOME=$HOME/user/oci \
                       \"$@\"' sh ";
        Self { work, wrapper: wrapper.to_owned(), home: "$HOME/user/oci".to_owned() }
    }

    /// The files that are built, and the base image.
    fn prepare(&self) {
        self.work.write("context/Dockerfile", DOCKERFILE);
        for number in 0..20 {
            self.work.write(&format!("context/files/f{number}"), &format!("{number}\n").repeat(2000));
        }
        self.work.sh("chmod -R a+rX context").ok();
        self.work.sh(&self.command("registry-tool pull --quiet busybox :busybox")).ok();
    }

    fn command(&self, text: &str) -> String {
        format!("{}{text}", self.wrapper)
    }

    fn build(&self, more: &str) -> String {
        self.command(&format!("build-tool build --quiet {more} context"))
    }

    /// Builds with a time, and returns the digest.
    fn digest(&self, more: &str) -> String {
        let build = self.build(&format!("-t :whole {more}"));
        let address = self.work.sh(&format!("export SOURCE_DATE_EPOCH=1700000000; {build}")).ok();
        address.trim().split_once('@').map(|(_, digest)| digest.to_owned()).unwrap_or_else(|| panic!("{address}"))
    }

    fn verify(&self, when: &str) {
        let list = format!("{} | {}", self.command("image-tool list"), self.command("image-tool verify -"));
        let verified = self.work.sh(&list);
        assert_eq!(verified.status, 0, "{when}: {verified}");
    }

    /// The folders of steps that there are.
    fn steps(&self) -> BTreeSet<String> {
        let folders = self.work.sh(&format!("ls -A {}/builds", self.home)).stdout;
        folders.lines().filter(|name| name.starts_with(".step-")).map(str::to_owned).collect()
    }

    /// Waits until nothing is left of a build: no process, no mount, no folder, and no cgroup and no state of the steps that it had.
    fn is_clean(&self, when: &str, steps: &BTreeSet<String>) {
        let limit = Instant::now() + Duration::from_secs(10);
        loop {
            let mut left = if self.work.path("disk").exists() { Vec::new() } else { self.work.leaks() };
            left.extend(self.steps());
            left.extend(traces(steps));
            if left.is_empty() {
                return;
            }
            assert!(Instant::now() < limit, "{when}: {left:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Kills a build `times` times, spread over its whole length, and looks at what is left each time.
    fn killed(&self, times: u32) {
        let expected = self.digest("");
        let started = Instant::now();
        self.work.sh(&self.build("--no-cache -t :killed")).ok();
        let whole = started.elapsed();
        for number in 0..times {
            // Neither in order nor evenly, so that a slow machine does not hide a moment.
            let delay = whole.mul_f64(f64::from(number * 37 % times) / f64::from(times));
            let when = format!("kill {number} after {delay:?}");
            let text = format!("exec {}", self.build("--no-cache -t :killed"));
            let mut command = self.work.command("sh");
            let mut child = command.args(["-c", &text]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            std::thread::sleep(delay);
            child.kill().unwrap();
            let steps = self.steps();
            child.wait().unwrap();
            self.is_clean(&when, &steps);
            if number % 5 == 0 {
                self.verify(&when);
            }
            if number % 20 == 0 {
                assert_eq!(self.digest("--no-cache"), expected, "{when}");
            }
        }
        self.verify("at the end");
        assert_eq!(self.digest(""), expected);
        assert_eq!(self.digest("--no-cache"), expected);
    }
}

/// The cgroups of the steps, and what the runtime keeps of them.
fn traces(steps: &BTreeSet<String>) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = ["/sys/fs/cgroup", "/run/build-tool"].map(PathBuf::from).to_vec();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if steps.iter().any(|step| name.contains(&step.replace('.', "-"))) {
                found.push(entry.path().display().to_string());
            } else if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(entry.path());
            }
        }
    }
    found
}

#[test]
fn a_build_may_be_killed_at_any_moment() {
    let registry = Registry::images();
    let work = Workdir::with_mirror(&registry.address());
    let user = User::root(&work);
    user.prepare();
    user.killed(60);
}

#[test]
fn an_ordinary_users_build_may_be_killed_at_any_moment() {
    let registry = Registry::images();
    let work = Workdir::with_mirror(&registry.address());
    let user = User::ordinary(&work);
    user.prepare();
    user.killed(40);
}

#[test]
fn root_and_an_ordinary_user_build_the_same_image() {
    let registry = Registry::images();
    let work = Workdir::with_mirror(&registry.address());
    let (root, ordinary) = (User::root(&work), User::ordinary(&work));
    let digests = [&root, &ordinary].map(|user| {
        user.prepare();
        user.digest("")
    });
    assert_eq!(digests[0], digests[1]);
    root.is_clean("at the end", &BTreeSet::new());
    ordinary.is_clean("at the end", &BTreeSet::new());
}

#[test]
fn without_more_ids_what_needs_no_privilege_is_built() {
    let registry = Registry::images();
    let work = Workdir::with_mirror(&registry.address());
    let user = User::ordinary(&work);
    user.prepare();
    work.write("context/Copy", "FROM busybox\nCOPY files /files\n");
    let expected = user.digest("-f context/Copy --no-cache");
    // Nobody gives this user ids, or newuidmap(1) may not.
    let unprivileged =
        "cp $(command -v newuidmap) plain && chmod 755 plain && mount --bind plain $(command -v newuidmap)";
    for hindrance in ["printf '' >subid", unprivileged] {
        let build = user.build("-t :whole --no-cache -f context/Copy");
        let script = format!("export SOURCE_DATE_EPOCH=1700000000; {hindrance} || exit 125; {build}");
        work.write("script", &script);
        let built = work.sh("unshare --mount --propagation private sh script").ok();
        assert!(built.trim().ends_with(&expected), "{hindrance}: {built}");
        work.write("script", &script.replace("-f context/Copy", ""));
        let refused = work.sh("unshare --mount --propagation private sh script").fails(1);
        assert!(refused.contains("user namespace"), "{hindrance}: {refused}");
        work.write("subid", "nobody:200000:65536\n");
    }
}

#[test]
fn builds_of_one_dockerfile_at_the_same_time_end_as_one() {
    let registry = Registry::images();
    let work = Workdir::with_mirror(&registry.address());
    for user in [User::root(&work), User::ordinary(&work)] {
        user.prepare();
        let build = user.build("-t :same$n");
        let text = format!(
            "export SOURCE_DATE_EPOCH=1700000000; for n in 1 2; do {build} >$n & jobs=\"$jobs $!\"; done; \
             for job in $jobs; do wait $job || exit 1; done; cat 1 2 | cut -d @ -f 2 | sort -u"
        );
        let together = work.sh(&text).ok();
        assert_eq!(together.trim(), user.digest("--no-cache"));
        user.verify("two builds");
        user.is_clean("two builds", &BTreeSet::new());
    }
}

#[test]
fn a_full_disk_ends_a_build_and_nothing_else() {
    let registry = Registry::images();
    let mut work = Workdir::with_mirror(&registry.address());
    work.sh("mkdir disk && mount -t tmpfs -o size=64m none disk").ok();
    let home = work.path("disk/oci").display().to_string();
    work.set("OCI_HOME", &home);
    let user = User { work: &work, wrapper: String::new(), home };
    user.prepare();
    let expected = user.digest("");
    user.work.sh("rm -r disk/oci").ok();
    user.prepare();
    let used: u64 = work.sh("du -sk disk | cut -f 1").ok().trim().parse().unwrap();
    // From hardly any room to nearly enough.
    for more in [64, 512, 1536, 3072, 5120] {
        let size = used + more;
        work.sh(&format!("mount -o remount,size={size}k disk")).ok();
        let build = work.sh(&user.build("--no-cache -t :full"));
        user.is_clean("a full disk", &BTreeSet::new());
        if build.status != 0 {
            let line = build.stderr.lines().last().unwrap_or_default();
            assert!(line.starts_with("build-tool: "), "{build}");
            assert!(build.stderr.contains("No space left on device"), "{more} KiB: {build}");
        }
        work.sh("mount -o remount,size=64m disk").ok();
        user.verify("a full disk");
        assert_eq!(user.digest(""), expected, "{more} KiB");
        work.sh("rm -r disk/oci").ok();
        user.prepare();
    }
    work.sh("umount disk").ok();
}
