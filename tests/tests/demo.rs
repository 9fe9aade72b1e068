//! `make demo`, but for the building that precedes it.

use std::process::{Command, Stdio};

use tests::{Workdir, repository, tools};

#[test]
fn the_demo_tells_each_step_and_leaves_nothing() {
    let work = Workdir::new().with_network();
    let mut command = Command::new(repository().join("tests/demo"));
    // Its temporary folder is in ours, so that what it leaves is found.
    command.env("TMPDIR", work.folder()).env("OCI_TOOLS", tools()).stdin(Stdio::null());
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("\nhello from a container\n"), "{text}");
    assert!(text.contains("\nthis file was printed by a program in a container\n"), "{text}");
    assert!(text.contains("REPOSITORY"), "{text}");
}
