//! The same input for Debian's runc 1.1 and for run-tool gives the same exit status and output, byte for byte.
//!
//! A row is a shell command. It runs twice: `runc` is first one runtime and then the other, in the same folder and with the same
//! container id (`$c`), so only times must be removed before the outputs are compared. Where the two are meant to differ, the row
//! has a `Deviation`: the text of runc, the text of run-tool, and the reason. The text of runc must occur, and is replaced before
//! the comparison, so no row is compared loosely.

mod commands;
mod configs;
mod deviations;

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::bundle::Bundle;

/// An intended difference between run-tool and runc 1.1.
pub(crate) struct Deviation {
    /// The text in runc's output.
    pub(crate) runc: &'static str,
    /// The text in run-tool's output in its place.
    pub(crate) tool: &'static str,
    /// The reason for the difference.
    pub(crate) why: &'static str,
    /// `Some(true)`: it only shows on a system with cgroup v2 alone. `Some(false)`: it only shows on others.
    pub(crate) unified: Option<bool>,
}

/// The state of the container `$c` before the row's command.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Start {
    Nothing,
    Created,
    Running,
    Paused,
    Stopped,
}

impl Start {
    fn script(self) -> &'static str {
        match self {
            Start::Nothing => "",
            Start::Created => "program 'exec sleep 1000'; runc create $c",
            Start::Running => "program 'exec sleep 1000'; runc run -d $c",
            Start::Paused => "program 'exec sleep 1000'; runc run -d $c; runc pause $c",
            Start::Stopped => "program 'exec sleep 1000'; runc run -d $c; runc kill $c KILL; gone",
        }
    }
}

/// Shell functions for the rows. `program TEXT` sets the container's program. `gone` waits until the container has stopped. `steady`
/// removes process ids and times (all numbers of three digits or more), `column` removes right-aligned numbers but keeps the width
/// of their column, and `shape` removes all numbers.
///
/// Go raises the soft limit of open files to the hard one, and containers of runc 1.1 inherit that, so here they are made equal. The
/// bundle is on a shared mount of its own, because runc's treatment of the root's parent mount depends on that.
const PROLOGUE: &str = r#"
ulimit -Sn $(ulimit -Hn)
mount --make-rshared /
mount --bind "$PWD" "$PWD"
cd "$PWD"
runc() { command runc --root "$PWD/state" "$@"; }
program() { sed -i "s|PROGRAM|$1|" config.json; }
gone() { until runc state $c | grep -q '"stopped"'; do sleep 0.01; done; }
asleep() { until [ "$(cat "/proc/$(runc state $c | sed -n 's/.*"pid": \([0-9]*\),.*/\1/p')/comm")" = sleep ]; do sleep 0.01; done; }
steady() { sed -E 's/[0-9]{4}-..-..T[0-9:.]+Z/TIME/g; s/[0-9]{3,}/N/g'; }
column() { sed -E ':a; s/ ([0-9N]*[0-9])/N\1/; ta; s/[0-9]/N/g'; }
shape() { sed -E 's/[0-9]+/0/g; s/(0,)+0/0/g; s/,?"psi":\{("(some|full)":\{[^}]*\},?)*\}//g; s/\{,/{/g'; }
"#;

const CLEANUP: &str = r#"
for left in $(ls state 2>/dev/null); do command runc --root "$PWD/state" delete --force "$left"; done >/dev/null 2>&1
"#;

/// A row of either table.
struct Case {
    name: String,
    config: Value,
    script: String,
    deviations: &'static [Deviation],
}

/// What both runtimes share: the configuration, and the root file system, of which each container gets a copy.
struct Ground {
    folder: TempDir,
    template: Bundle,
    /// The number of the first container; ids are made from numbers.
    first: usize,
}

const APPLETS: [&str; 16] = [
    "cut", "sed", "stat", "sort", "hostname", "readlink", "df", "touch", "mknod", "tr", "head", "wc", "mkdir", "find",
    "chmod", "umount",
];

impl Ground {
    fn new(first: usize) -> Self {
        let mut template = Bundle::new(&["sh", "-c", "PROGRAM"]);
        for applet in APPLETS {
            symlink("busybox", template.rootfs().join("bin").join(applet)).unwrap();
        }
        template.config["ociVersion"] = json!("1.0.2");
        // Like the container ids, the name has no digits.
        let folder = tempfile::Builder::new().prefix(&letters(first)).rand_bytes(0).tempdir().unwrap();
        for (name, program) in [("runc", runc()), ("run-tool", env!("CARGO_BIN_EXE_run-tool").into())] {
            fs::create_dir(template.path().join(name)).unwrap();
            symlink(program, template.path().join(name).join("runc")).unwrap();
        }
        Self { folder, template, first }
    }

    /// Runs a case with one of the runtimes. Returns its status and output as one text.
    fn outcome(&self, runtime: &str, case: &Case, id: &str) -> String {
        let bundle = self.folder.path().join(id);
        let copied = Command::new("cp").arg("-al").arg(self.template.rootfs()).arg(&bundle).status();
        assert!(copied.unwrap().success());
        fs::rename(&bundle, self.folder.path().join("moving").join(id)).unwrap();
        fs::create_dir(&bundle).unwrap();
        fs::rename(self.folder.path().join("moving").join(id), bundle.join("rootfs")).unwrap();
        fs::write(bundle.join("config.json"), serde_json::to_vec_pretty(&case.config).unwrap()).unwrap();
        let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", self.template.path().join(runtime).display());
        let shell = |script: &str| {
            let (out, err) = (tempfile::NamedTempFile::new().unwrap(), tempfile::NamedTempFile::new().unwrap());
            let status = Command::new("timeout")
                .args(["--kill-after=5", "120", "unshare", "--mount", "--propagation=private", "sh", "-c", script])
                .current_dir(&bundle)
                .env_clear()
                .env("PATH", &path)
                .env("c", id)
                .stdin(Stdio::null())
                .stdout(out.reopen().unwrap())
                .stderr(err.reopen().unwrap())
                .status()
                .unwrap();
            let read = |file: &Path| String::from_utf8_lossy(&fs::read(file).unwrap()).into_owned();
            (status, read(out.path()), read(err.path()))
        };
        let (status, stdout, stderr) = shell(&format!("{PROLOGUE}\n{}", case.script));
        shell(CLEANUP);
        fs::remove_dir_all(&bundle).unwrap();
        let stdout: String = stdout.split_inclusive('\n').map(sorted).collect();
        // A process that has just died may still be in a group when runc removes it. runc tries again with a warning, run-tool
        // without one.
        let retried = |line: &&str| !line.contains("level=warning msg=\"Failed to remove cgroup (will retry)\"");
        let stderr: String = stderr.split_inclusive('\n').filter(retried).collect();
        let text = format!("{status}\n--- stdout\n{stdout}--- stderr\n{stderr}");
        without_chance(&text.replace(bundle.to_str().unwrap(), "BUNDLE").replace(id, "ID"))
    }

    fn check(&self, cases: &[Case]) {
        fs::create_dir(self.folder.path().join("moving")).unwrap();
        let next = AtomicUsize::new(0);
        let wrong = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    loop {
                        let index = next.fetch_add(1, Ordering::SeqCst);
                        let Some(case) = cases.get(index) else { break };
                        let id = letters(self.first + index);
                        // On a busy machine with cgroup v1, runc gives up freezing a group.
                        let gave_up = |text: &String| text.contains("unable to freeze");
                        let mut tries = (0..5).map(|_| self.outcome("runc", case, &id));
                        let expected = tries.find(|text| !gave_up(text)).expect("runc freezes groups");
                        let found = self.outcome("run-tool", case, &id);
                        if let Some(text) = difference(case, expected, &found) {
                            wrong.lock().unwrap().push((index, text));
                        }
                    }
                });
            }
        });
        let mut wrong = wrong.into_inner().unwrap();
        wrong.sort();
        let texts: Vec<String> = wrong.into_iter().map(|(_, text)| text).collect();
        assert!(texts.is_empty(), "{} of {} rows differ\n{}", texts.len(), cases.len(), texts.join("\n"));
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        // Both runtimes leave behind the parent of a container's group.
        for hierarchy in fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
            let _ = fs::remove_dir(hierarchy.path().join("compatible-inner"));
        }
    }
}

/// The runc to compare with: Debian's, or the one in $RUNC.
fn runc() -> PathBuf {
    let path = PathBuf::from(std::env::var_os("RUNC").unwrap_or_else(|| "/usr/sbin/runc".into()));
    assert!(path.exists(), "package runc: {}", path.display());
    path
}

/// A container id that is unique to this process, without digits, so that the removal of numbers does not change it.
fn letters(index: usize) -> String {
    let number = std::process::id() as usize * 1000 + index;
    let letters = number.to_string().bytes().map(|digit| char::from(digit - b'0' + b'a')).collect::<String>();
    format!("compatible-{letters}")
}

/// Sorts the keys of a line of JSON, so that it is compared as a value.
fn sorted(line: &str) -> String {
    match serde_json::from_str::<Value>(line) {
        Ok(value @ (Value::Object(_) | Value::Array(_))) => format!("{value}\n"),
        _ => line.to_owned(),
    }
}

/// Removes from a text whatever may differ: times (RFC 3339), numbers of descriptors in messages about mounts, and help texts.
fn without_chance(text: &str) -> String {
    let mut result = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("20") {
        let (before, from) = rest.split_at(at);
        result.push_str(before);
        let end = from
            .find(|character: char| !matches!(character, '0'..='9' | '-' | ':' | '.' | 'T' | 'Z'))
            .unwrap_or(from.len());
        if end >= 20 && from.as_bytes()[10] == b'T' {
            result.push_str("TIME");
            rest = &from[end..];
        } else {
            result.push_str("20");
            rest = &from[2..];
        }
    }
    result.push_str(rest);
    for place in ["dstFd=/proc/self/fd/", "via /proc/self/fd/"] {
        if let Some(start) = result.find(place).map(|start| start + place.len()) {
            let digits = result[start..].find(|character: char| !character.is_ascii_digit()).unwrap_or(0);
            result.replace_range(start..start + digits, "FD");
        }
    }
    while let Some(start) = result.find("NAME:\n") {
        let end = result[start..].find("--- stderr\n").map_or(result.len(), |end| start + end);
        result.replace_range(start..end, "<help>\n");
    }
    result
}

/// Describes the differences in a row. `None`: there are none.
fn difference(case: &Case, expected: String, found: &str) -> Option<String> {
    let mut expected = expected;
    let mut text = format!("== {}\n", case.name);
    let mut wrong = false;
    let unified = crate::cgroup::unified();
    for deviation in case.deviations.iter().filter(|deviation| deviation.unified.is_none_or(|only| only == unified)) {
        if !expected.contains(deviation.runc) {
            wrong = true;
            writeln!(text, "  no such deviation any more: {:?} ({})", deviation.runc, deviation.why).unwrap();
        }
        expected = expected.replace(deviation.runc, deviation.tool);
    }
    if expected != found {
        wrong = true;
        let (old, new): (Vec<&str>, Vec<&str>) = (expected.lines().collect(), found.lines().collect());
        for line in old.iter().filter(|line| !new.contains(line)) {
            writeln!(text, "  runc     {line}").unwrap();
        }
        for line in new.iter().filter(|line| !old.contains(line)) {
            writeln!(text, "  run-tool {line}").unwrap();
        }
        if old.iter().all(|line| new.contains(line)) && new.iter().all(|line| old.contains(line)) {
            writeln!(text, "  the order or number of lines differs\n{expected}\n  and\n{found}").unwrap();
        }
    }
    wrong.then_some(text)
}

/// Changes a configuration: objects are merged, `"+name"` appends to the list `name`, `"REMOVE"` removes a key, and any other value
/// replaces the old one.
fn patch(value: &mut Value, change: &Value) {
    let (Value::Object(value), Value::Object(change)) = (&mut *value, change) else {
        *value = change.clone();
        return;
    };
    for (key, change) in change {
        match (key.strip_prefix('+'), change) {
            (Some(key), Value::Array(more)) => {
                let list = value.entry(key).or_insert_with(|| json!([]));
                list.as_array_mut().unwrap().extend(more.iter().cloned());
            }
            (_, Value::String(text)) if text == "REMOVE" => {
                value.remove(key);
            }
            _ => patch(value.entry(key.clone()).or_insert(Value::Null), change),
        }
    }
}

#[test]
fn command_lines_have_the_same_results_as_under_runc() {
    let ground = Ground::new(0);
    let cases: Vec<Case> = commands::ROWS
        .iter()
        .map(|(start, line, deviations)| Case {
            name: format!("{start:?}: {line}"),
            config: ground.template.config.clone(),
            script: format!(
                "{{ {}; }} >/dev/null\n{line}",
                match start.script() {
                    "" => ":",
                    script => script,
                }
            ),
            deviations,
        })
        .collect();
    ground.check(&cases);
}

#[test]
fn configurations_have_the_same_results_as_under_runc() {
    let ground = Ground::new(500);
    let cases: Vec<Case> = configs::ROWS
        .iter()
        .map(|(change, program, deviations)| {
            let mut config = ground.template.config.clone();
            let program =
                configs::PROBES.iter().fold((*program).to_owned(), |text, (word, probe)| text.replace(word, probe));
            if !program.is_empty() {
                config["process"]["args"][2] = json!(program);
            }
            let change: Value = serde_json::from_str(change).unwrap_or_else(|error| panic!("{change}: {error}"));
            patch(&mut config, &change);
            Case { name: format!("{change} {program}"), config, script: "runc run $c".to_owned(), deviations }
        })
        .collect();
    ground.check(&cases);
}
