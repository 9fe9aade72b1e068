//! The README's table of what is used of libcontainer, compared with the code and with the version that is locked.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// A row of the table: the parts, whether they are used, and the call that uses them.
struct Row {
    parts: Vec<String>,
    used: bool,
    call: String,
}

fn rows(readme: &str) -> Vec<Row> {
    let (_, section) = readme.split_once("\n## libcontainer\n").expect("the section");
    let lines = section.lines().skip_while(|line| !line.starts_with("| ---")).skip(1);
    lines
        .take_while(|line| line.starts_with('|'))
        .map(|line| {
            let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
            assert!(cells.len() == 4 && matches!(cells[1], "yes" | "no"), "{line}");
            let code = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
            assert_ne!(cells[3], "", "{line}: what differs");
            Row { parts: code(cells[0]), used: cells[1] == "yes", call: code(cells[2]).concat() }
        })
        .collect()
}

/// The code without comments and without tests, each file on its own.
fn code(folder: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            code(&entry.path(), found);
            continue;
        }
        let text = fs::read_to_string(entry.path()).unwrap();
        let text = text.split("#[cfg(test)]").next().unwrap();
        let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        found.push(lines.collect::<Vec<_>>().join("\n"));
    }
}

/// The modules of libcontainer and of libcgroups that the code names.
fn named(files: &[String]) -> BTreeSet<String> {
    let word = |text: &str| text.chars().take_while(|next| next.is_alphanumeric() || *next == '_').collect::<String>();
    let of = |root: &str| {
        let start = format!("{root}::");
        files.iter().flat_map(|file| file.split(&start).skip(1).map(word).collect::<Vec<_>>()).collect::<BTreeSet<_>>()
    };
    let groups = of("libcgroups").into_iter().map(|name| format!("libcgroups::{name}"));
    of("libcontainer").into_iter().chain(groups).collect()
}

#[test]
fn the_table_names_what_the_code_calls_and_nothing_else() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let rows = rows(&fs::read_to_string(here.join("README.md")).unwrap());
    let mut files = Vec::new();
    code(&here.join("src"), &mut files);
    let used = |part: &str| rows.iter().any(|row| row.used && row.parts.iter().any(|name| name.starts_with(part)));
    for row in &rows {
        let called = files.iter().any(|file| file.contains(&row.call));
        assert_eq!(row.used, !row.call.is_empty(), "{:?}: a part that is used has a call", row.parts);
        assert!(!row.used || called, "{:?}: {} is not called", row.parts, row.call);
    }
    let named = named(&files);
    assert!(named.contains("oci_spec") && !named.is_empty());
    for module in &named {
        assert!(used(module), "{module} is used, and the table does not say so");
    }
    for row in rows.iter().filter(|row| row.used) {
        for part in &row.parts {
            let module = part.split("::").next().unwrap();
            assert!(named.contains(module), "{part} is not used, and the table says so");
        }
    }
}

#[test]
fn the_table_is_complete_and_of_the_locked_version() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = fs::read_to_string(here.join("README.md")).unwrap();
    let lock = fs::read_to_string(here.join("../Cargo.lock")).unwrap();
    let (_, after) = lock.split_once("name = \"libcontainer\"\nversion = \"").unwrap();
    let version = after.split('"').next().unwrap();
    assert!(
        readme.contains(&format!("built on libcontainer {version}.")),
        "the README is about another version than {version}"
    );
    // The public modules of that version. A new version is to be read again.
    let modules = [
        "apparmor",
        "capabilities",
        "channel",
        "config",
        "container",
        "error",
        "hooks",
        "namespaces",
        "network",
        "notify_socket",
        "process",
        "rootfs",
        "seccomp",
        "signal",
        "syscall",
        "test_utils",
        "tty",
        "user_ns",
        "utils",
        "validator",
        "workload",
        "oci_spec",
        "libcgroups::v1",
        "libcgroups::v2",
        "libcgroups::systemd",
    ];
    let rows = rows(&readme);
    for module in modules {
        let found = rows
            .iter()
            .flat_map(|row| &row.parts)
            .any(|part| part == module || part.starts_with(&format!("{module}::")));
        assert!(found, "{module} is not in the table");
    }
}
