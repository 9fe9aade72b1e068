//! What `make demo` runs after it has built the tools.

use std::process::{Command, Stdio};

use tests::{Workdir, repository, tools};

#[test]
fn the_demo_explains_each_step_and_leaves_nothing() {
    let work = Workdir::new().with_network();
    let mut command = Command::new(repository().join("tests/demo"));
    // Its temporary folder is inside the test's folder, so that anything left behind is found.
    command.env("TMPDIR", work.folder()).env("OCI_TOOLS", tools()).stdin(Stdio::null());
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("\nhello from a container\n"), "{text}");
    assert!(text.contains("\nthis file was printed by a program in a container\n"), "{text}");
    assert!(text.contains("REPOSITORY"), "{text}");
}
