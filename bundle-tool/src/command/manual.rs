//! What manual pages and completion say beyond the command line.

use image_tool::program::candidates::addresses;
use image_tool::program::completion::Candidates;
use image_tool::program::manual::{Entry, Manual};

/// Where an address is expected.
pub(super) const CANDIDATES: Candidates = &[("ADDRESS", addresses), ("IMAGE", addresses)];

pub(super) const MANUAL: Manual = Manual {
    statuses: &[
        Entry::new("0", "Success."),
        Entry::new("1", "The command failed."),
        Entry::new("2", "The command line is wrong."),
        Entry::new("125", "An option of docker run is not supported.").only(&["create", "spec"]),
    ],
    environment: &[
        Entry::new(
            "OCI_HOME",
            "The data directory of the tools. Default: /var/lib/oci for root, else $XDG_DATA_HOME/oci, else ~/.local/share/oci.",
        ),
        Entry::new("OCI_LAYOUT", "The layout of addresses without LAYOUT. Default: $OCI_HOME/images.")
            .only(&["commit", "create", "spec"]),
        Entry::new(
            "SOURCE_DATE_EPOCH",
            "The time of the new image in seconds since 1970, so that equal input gives equal digests \
             (https://reproducible-builds.org).",
        )
        .only(&["commit"]),
        Entry::new(
            "CNI_PATH",
            "The directories of CNI plugins, separated by colons. Default: /usr/lib/cni:/opt/cni/bin:/usr/libexec/cni.",
        )
        .only(&["create", "delete", "network", "spec"]),
        Entry::new(
            "XDG_RUNTIME_DIR",
            "For users other than root, the directory for the state of their networks. Default: /run.",
        )
        .only(&["create", "delete", "network", "spec"]),
    ],
    files: &[
        Entry::new("$OCI_HOME/bundles/NAME/", "The bundle of the container NAME.")
            .only(&["commit", "create", "delete", "diff", "find", "inspect", "mount", "ps", "spec", "unit", "unmount"]),
        Entry::new(
            "$OCI_HOME/layers/",
            "Layers by diff ID, as archives or unpacked, and mounted images, shared by all bundles: a cache.",
        )
        .only(&["create", "mount", "spec"]),
        Entry::new("$OCI_HOME/volumes/NAME/_data", "The files of the volume NAME.")
            .only(&["create", "delete", "volume"]),
        Entry::new("$OCI_HOME/networks/, /etc/cni/net.d/", "Networks, as CNI conflists.")
            .only(&["create", "network", "spec"]),
        Entry::new("/etc/cdi/, /var/run/cdi/", "Devices by name (Container Device Interface).")
            .only(&["create", "spec"]),
        Entry::new("/run/bundle-tool/", "The networks that are up.").only(&["create", "delete", "network", "spec"]),
        Entry::new("/etc/subuid, /etc/subgid", "The IDs that a user other than root may map.")
            .only(&["create", "spec"]),
    ],
    related: &["build-tool(1)", "docker-run(1)", "image-tool(1)", "registry-tool(1)", "run-tool(1)", "runc(8)"],
};
