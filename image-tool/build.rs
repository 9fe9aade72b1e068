//! How the tools are linked that are started most: statically, and with the code of every start in one place.
//!
//! An engine starts run-tool several times for each container, and a docker command is two or three short programs, so the time to
//! start counts. Loading shared libraries takes longer than everything else that many commands do, and their pages would be a third
//! of run-tool's memory. rustc's own switch, `-C target-feature=+crt-static`, applies to a whole workspace. But registry-tool and
//! build-tool must not be static: they use the system's configured name resolver, which glibc loads at run time.
//!
//! This is the build script of image-tool, bundle-tool and run-tool; their Cargo.toml name it.

use std::{env, fs, path::Path, process::Command};

/// The libraries that rustc names after `-Bdynamic` when it links one of them, and the static archive to use for each.
const LIBRARIES: [(&str, &str); 4] =
    [("c", "libc.a"), ("m", "libm.a"), ("gcc_s", "libgcc_eh.a"), ("seccomp", "libseccomp.a")];

fn main() {
    println!("cargo:rerun-if-changed=../image-tool/build.rs");
    let variable = |name: &str| env::var(name).unwrap_or_default();
    let features = variable("CARGO_CFG_TARGET_FEATURE");
    if variable("CARGO_CFG_TARGET_ENV") != "gnu" {
        return;
    }
    let layout = Path::new(&variable("CARGO_MANIFEST_DIR")).join("layout.ld");
    if layout.exists() {
        println!("cargo:rerun-if-changed=layout.ld");
        println!("cargo:rustc-link-arg-bins=-Wl,-T,{}", layout.display());
    }
    // run-tool/src/entry.rs
    if variable("CARGO_PKG_NAME") == "run-tool" && variable("CARGO_CFG_TARGET_ARCH") == "x86_64" {
        println!("cargo:rustc-link-arg-bins=-Wl,-e,run_tool_entry");
    }
    // A position-independent program has 10,000 addresses and more to relocate at each start. As a bitmap their list is much smaller.
    println!("cargo:rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    if !features.split(',').any(|feature| feature == "crt-static") {
        archives_for_libraries(Path::new(&variable("OUT_DIR")));
    }
}

/// Makes `-lNAME` find the static archive although rustc asks for the shared library: a linker script with the shared library's
/// name comes first on the search path. If an archive is missing, the tool is linked with shared libraries, with a warning. The
/// archives are in Debian's packages libc6-dev and libseccomp-dev, and in Fedora's glibc-static and libseccomp-static.
fn archives_for_libraries(directory: &Path) {
    let linker = env::var("RUSTC_LINKER").unwrap_or_else(|_| "cc".to_owned());
    for (library, archive) in LIBRARIES {
        let found = Command::new(&linker).arg(format!("-print-file-name={archive}")).output();
        let path = found.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default();
        // The compiler prints the bare name of a file that it does not find.
        if !Path::new(&path).is_absolute() {
            println!(
                "cargo:warning={archive} is not installed: {} is linked with shared libraries and starts more slowly",
                env::var("CARGO_PKG_NAME").unwrap_or_default()
            );
            return;
        }
        fs::write(directory.join(format!("lib{library}.so")), format!("INPUT({path})\n"))
            .expect("OUT_DIR can be written");
    }
    println!("cargo:rustc-link-arg-bins=-L{}", directory.display());
    println!("cargo:rustc-link-arg-bins=-static-pie");
}
