//! What manual pages and completion say beyond the command line.

use image_tool::program::candidates::addresses;
use image_tool::program::completion::Candidates;
use image_tool::program::manual::Manual;

/// Where an address is expected.
pub(super) const CANDIDATES: Candidates = &[("ADDRESS", addresses), ("IMAGE", addresses)];

pub(super) const MANUAL: Manual = Manual {
    statuses: &[
        ("0", "Success."),
        ("1", "The command failed."),
        ("2", "The command line is wrong."),
        ("125", "An option of docker run cannot be honoured."),
    ],
    environment: &[
        (
            "OCI_HOME",
            "The data folder of the tools. Default: /var/lib/oci for root, else $XDG_DATA_HOME/oci, else $HOME/.local/share/oci.",
        ),
        (
            "OCI_LAYOUT",
            "The default layout, which an address without a layout means. Default: images in the data folder.",
        ),
        (
            "SOURCE_DATE_EPOCH",
            "The time of new images in seconds since 1970, so that equal input gives equal digests (reproducible-builds.org).",
        ),
        (
            "CNI_PATH",
            "The folders of CNI plugins, separated by colons. Default: /usr/lib/cni:/opt/cni/bin:/usr/libexec/cni.",
        ),
        ("XDG_RUNTIME_DIR", "The folder for the state of the networks of a user who is not root. Default: /run."),
    ],
    files: &[
        ("$OCI_HOME/bundles/NAME/", "The bundle of the container NAME."),
        ("$OCI_HOME/layers/", "Unpacked layers by diff id, shared by all bundles: a cache."),
        ("$OCI_HOME/volumes/NAME/_data", "The named volume NAME."),
        ("$OCI_HOME/networks/, /etc/cni/net.d/", "Networks as CNI conflists."),
        ("/etc/cdi/, /var/run/cdi/", "Devices by name (Container Device Interface)."),
        ("/run/bundle-tool/", "The networks that are up."),
        ("/etc/subuid, /etc/subgid", "The ids that a user who is not root may map."),
    ],
    related: &["image-tool", "registry-tool", "run-tool", "build-tool", "runc"],
};
