//! What manual pages and completion say beyond the command line.

use image_tool::program::candidates::addresses;
use image_tool::program::completion::Candidates;
use image_tool::program::manual::{Entry, Manual};

/// Where an address is expected.
pub(super) const CANDIDATES: Candidates = &[("ADDRESS", addresses)];

pub(super) const MANUAL: Manual = Manual {
    statuses: &[
        Entry::new("0", "Success."),
        Entry::new("1", "The command failed."),
        Entry::new("1", "A Dockerfile that check was given breaks a rule.").only(&["check"]),
        Entry::new("2", "The command line is wrong."),
        Entry::new("128+N", "The build was interrupted by signal N.").only(&["build"]),
    ],
    environment: &[
        Entry::new(
            "OCI_HOME",
            "The data directory of the tools. Default: /var/lib/oci for root, else $XDG_DATA_HOME/oci, else ~/.local/share/oci.",
        )
        .only(&["build", "cache"]),
        Entry::new("OCI_LAYOUT", "The layout of addresses without LAYOUT. Default: $OCI_HOME/images.").only(&["build"]),
        Entry::new(
            "SOURCE_DATE_EPOCH",
            "The time of the new image in seconds since 1970, so that equal input gives equal digests \
             (https://reproducible-builds.org).",
        )
        .only(&["build"]),
        Entry::new("NO_COLOR", "If set, progress has no colours.").only(&["build"]),
        Entry::new("BUILDKIT_PROGRESS", "The style of progress, unless --progress gives one.").only(&["build"]),
        Entry::new(
            "CNI_PATH",
            "The directories of CNI plugins for --network=bridge, separated by colons. Default: \
             /usr/lib/cni:/opt/cni/bin:/usr/libexec/cni.",
        )
        .only(&["build"]),
    ],
    files: &[
        Entry::new("Dockerfile, dockerfile", "The instructions, in the context unless --file names another file.")
            .only(&["build", "check", "graph", "parse"]),
        Entry::new(
            "Dockerfile.dockerignore, .dockerignore",
            "Patterns of files that COPY and ADD do not see; the first file that exists is read.",
        )
        .only(&["build", "check"]),
        Entry::new("$OCI_HOME/builds/", "The step cache, itself an OCI layout.").only(&["build", "cache"]),
        Entry::new(
            "/run/build-tool/, $XDG_RUNTIME_DIR/build-tool/",
            "What the runtime keeps of the commands that are running, of root and of other users. If there is no such place, it is in builds/.",
        )
        .only(&["build"]),
        Entry::new("$OCI_HOME/layers/", "Layers by diff ID, as archives or unpacked, shared with bundle-tool: a cache.").only(&["build"]),
    ],
    related: &["buildah-build(1)", "bundle-tool(1)", "docker-build(1)", "image-tool(1)", "registry-tool(1)", "run-tool(1)"],
};
