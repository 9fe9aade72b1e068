//! What manual pages and completion say beyond the command line.

use image_tool::program::candidates::addresses;
use image_tool::program::completion::Candidates;
use image_tool::program::manual::{Entry, Manual};

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
        Entry::new("0", "Success."),
        Entry::new("1", "The command failed."),
        Entry::new("1", "An image that verify was given is damaged.").only(&["verify"]),
        Entry::new("2", "The command line is wrong."),
    ],
    environment: &[
        Entry::new(
            "OCI_HOME",
            "The data directory of the tools. Default: /var/lib/oci for root, else $XDG_DATA_HOME/oci, else ~/.local/share/oci.",
        ),
        Entry::new("OCI_LAYOUT", "The layout of addresses without LAYOUT. Default: $OCI_HOME/images."),
        Entry::new(
            "SOURCE_DATE_EPOCH",
            "The time of new images in seconds since 1970, so that equal input gives equal digests \
             (https://reproducible-builds.org).",
        )
        .only(&["append", "config", "diff", "export", "import", "squash"]),
    ],
    files: &[
        Entry::new("LAYOUT/index.json", "The images of a layout by name, as the image spec defines it."),
        Entry::new("LAYOUT/blobs/", "Manifests, configs and layers by digest."),
        Entry::new("$OCI_HOME/layers/", "Layers by diff ID and mounted images, shared with bundle-tool: a cache.")
            .only(&["mount", "unmount"]),
        Entry::new("LAYOUT/.partial/", "Interrupted downloads, which registry-tool resumes and gc removes.")
            .only(&["gc"]),
    ],
    related: &["bundle-tool(1)", "build-tool(1)", "registry-tool(1)", "skopeo(1)", "umoci(1)"],
};
