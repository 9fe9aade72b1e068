//! What manual pages and completion say beyond the command line.

use image_tool::program::candidates::addresses;
use image_tool::program::completion::Candidates;
use image_tool::program::manual::Manual;

/// Where an address is expected.
pub(super) const CANDIDATES: Candidates = &[
    ("ADDRESS", addresses),
    ("ADDRESSES", addresses),
    ("NEW", addresses),
    ("LAYOUT", addresses),
    ("OPERAND", addresses),
];

pub(super) const MANUAL: Manual = Manual {
    statuses: &[
        ("0", "Success."),
        ("1", "The command failed, or the answer is no."),
        ("2", "The command line is wrong."),
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
        ("TMPDIR", "The folder for the temporary tree of squash. Default: /var/tmp."),
    ],
    files: &[
        ("LAYOUT/index.json", "The images of a layout by name (image-spec image-layout.md)."),
        ("LAYOUT/blobs/", "Manifests, configs and layers by digest."),
        ("LAYOUT/.partial/", "Downloads to be resumed by registry-tool; gc removes them."),
    ],
    related: &["registry-tool", "bundle-tool", "build-tool", "skopeo", "umoci"],
};
