//! What manual pages and completion say beyond the command line.

use image_tool::program::candidates::addresses;
use image_tool::program::completion::Candidates;
use image_tool::program::manual::Manual;

/// Where an address is expected.
pub(super) const CANDIDATES: Candidates = &[("ADDRESS", addresses)];

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
        ("REGISTRY_AUTH_FILE", "The file with credentials, instead of docker's and podman's."),
        ("DOCKER_CONFIG", "The folder of docker's config.json. Default: $HOME/.docker."),
        ("DOCKER_DAEMON_CONFIG", "The file with mirrors and insecure registries. Default: /etc/docker/daemon.json."),
        ("DOCKER_CONTENT_TRUST", "If 1, images that are not verified are refused."),
        (
            "CONTAINERS_REGISTRIES_CONF, CONTAINERS_REGISTRIES_CONF_DIR",
            "The file registries.conf and the folder with its drop-ins. Default: those in /etc/containers.",
        ),
        ("http_proxy, https_proxy, all_proxy, no_proxy", "Proxies, also in capitals; never for the loopback network."),
    ],
    files: &[
        ("~/.docker/config.json", "Credentials, credential helpers and stores. login writes here."),
        ("$XDG_RUNTIME_DIR/containers/auth.json", "Podman's credentials."),
        ("/etc/docker/daemon.json", "registry-mirrors and insecure-registries."),
        ("/etc/containers/registries.conf", "Mirrors, insecure and blocked registries, short names."),
        ("/etc/containers/policy.json", "Which images are rejected, or must be signed."),
        ("/etc/docker/certs.d/HOST/, /etc/containers/certs.d/HOST/", "Certificate authorities of a registry."),
    ],
    related: &["image-tool", "bundle-tool", "build-tool", "skopeo"],
};
