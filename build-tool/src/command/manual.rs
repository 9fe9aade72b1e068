//! What manual pages and completion say beyond the command line.

use image_tool::program::candidates::addresses;
use image_tool::program::completion::Candidates;
use image_tool::program::manual::Manual;

/// Where an address is expected.
pub(super) const CANDIDATES: Candidates = &[("ADDRESS", addresses)];

pub(super) const MANUAL: Manual = Manual {
    statuses: &[
        ("0", "Success."),
        ("1", "The build failed, or check has found something."),
        ("2", "The command line is wrong."),
        ("128+N", "The build was interrupted by the signal N."),
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
        ("HTTP_PROXY, HTTPS_PROXY, FTP_PROXY, NO_PROXY", "Given to a RUN command only as build arguments."),
        ("NO_COLOR", "If set, progress has no colour."),
        ("CNI_PATH", "The folders of CNI plugins, for --network bridge."),
    ],
    files: &[
        ("Dockerfile, .dockerignore", "The instructions and the files to leave out, in the root of the context."),
        ("$OCI_HOME/builds/", "The step cache, itself an OCI layout."),
        ("$OCI_HOME/layers/", "Unpacked layers by diff id: a cache."),
    ],
    related: &["image-tool", "registry-tool", "bundle-tool", "run-tool", "buildah"],
};
