//! How run-tool is linked: without the dynamic linker, and with what every container needs lying together.
//!
//! An engine starts the runtime several times for each container, so its start is a part of every container's start. Loading
//! four shared libraries costs `run-tool --version` more than all else that it does, and their pages are a third of its memory.
//! rustc's own switch for this, `-C target-feature=+crt-static`, can be set only for a whole workspace, and registry-tool is to
//! ask the resolver that the system has configured, which glibc loads at run time.

use std::{env, fs, path::Path, process::Command};

/// The libraries that rustc names after `-Bdynamic` when it links run-tool, and the archive to be taken for each.
const LIBRARIES: [(&str, &str); 4] =
    [("c", "libc.a"), ("m", "libm.a"), ("gcc_s", "libgcc_eh.a"), ("seccomp", "libseccomp.a")];

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=layout.ld");
    let variable = |name: &str| env::var(name).unwrap_or_default();
    let features = variable("CARGO_CFG_TARGET_FEATURE");
    if variable("CARGO_CFG_TARGET_ENV") != "gnu" {
        return;
    }
    println!("cargo:rustc-link-arg-bins=-Wl,-T,{}/layout.ld", variable("CARGO_MANIFEST_DIR"));
    // 20,000 addresses are to be corrected at each start of a program that can lie anywhere: a bitmap says where, not a list.
    println!("cargo:rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    if !features.split(',').any(|feature| feature == "crt-static") {
        archives_for_libraries(Path::new(&variable("OUT_DIR")));
    }
}

/// Makes `-lNAME` find the archive even though rustc asks for the shared library: a linker script of the shared library's name
/// stands in the way that the linker looks. A system that lacks an archive (they come with libc6-dev and libseccomp-dev in
/// Debian, with glibc-static and libseccomp-static in Fedora) gets the shared libraries, and a warning.
fn archives_for_libraries(directory: &Path) {
    let linker = env::var("RUSTC_LINKER").unwrap_or_else(|_| "cc".to_owned());
    for (library, archive) in LIBRARIES {
        let found = Command::new(&linker).arg(format!("-print-file-name={archive}")).output();
        let path = found.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default();
        // What is not found is printed as it was asked for.
        if !Path::new(&path).is_absolute() {
            println!(
                "cargo:warning={archive} is not installed: run-tool is linked with shared libraries and starts slower"
            );
            return;
        }
        fs::write(directory.join(format!("lib{library}.so")), format!("INPUT({path})\n"))
            .expect("OUT_DIR can be written");
    }
    println!("cargo:rustc-link-arg-bins=-L{}", directory.display());
    println!("cargo:rustc-link-arg-bins=-static-pie");
}
