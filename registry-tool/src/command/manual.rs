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
        Entry::new("2", "The command line is wrong."),
    ],
    environment: &[
        Entry::new(
            "OCI_HOME",
            "The data directory of the tools. Default: /var/lib/oci for root, else $XDG_DATA_HOME/oci, else ~/.local/share/oci.",
        )
        .only(&["pull", "push", "serve"]),
        Entry::new("OCI_LAYOUT", "The layout of addresses without LAYOUT. Default: $OCI_HOME/images.").only(&["pull", "push", "serve"]),
        Entry::new("LISTEN_FDS, LISTEN_PID", "The sockets that systemd passes.").only(&["serve"]),
        Entry::new("TMPDIR", "The directory for images that are compressed anew and blobs from a pipe. Default: /tmp.")
            .only(&["blob", "copy"]),
        Entry::new("REGISTRY_AUTH_FILE", "The only file with credentials, instead of docker's and podman's."),
        Entry::new("DOCKER_CONFIG", "The directory of docker's config.json. Default: ~/.docker."),
        Entry::new(
            "DOCKER_DAEMON_CONFIG",
            "The file with mirrors and insecure registries. Default: /etc/docker/daemon.json.",
        ),
        Entry::new("DOCKER_CONTENT_TRUST", "If 1, images are refused, since docker's content trust cannot be verified.").only(&["pull"]),
        Entry::new("COSIGN_PASSWORD", "The password of an encrypted private key.").only(&["sign"]),
        Entry::new("GNUPGHOME", "The directory with GnuPG's keys. Default: ~/.gnupg.").only(&["sign"]),
        Entry::new(
            "CONTAINERS_REGISTRIES_CONF, CONTAINERS_REGISTRIES_CONF_DIR",
            "The file registries.conf and the directory of its drop-ins. Default: those in /etc/containers.",
        ),
        Entry::new(
            "http_proxy, https_proxy, all_proxy, no_proxy",
            "Proxies, also in capitals; never used for the loopback network.",
        ),
    ],
    files: &[
        Entry::new("~/.docker/config.json", "Credentials, credential helpers and stores. login writes here."),
        Entry::new(
            "$XDG_RUNTIME_DIR/containers/auth.json, /run/containers/UID/auth.json, ~/.config/containers/auth.json",
            "Podman's credentials.",
        ),
        Entry::new("/etc/docker/daemon.json", "Mirrors of Docker Hub, and insecure registries."),
        Entry::new(
            "/etc/containers/registries.conf, /etc/containers/registries.conf.d/, ~/.config/containers/registries.conf",
            "Mirrors, insecure and blocked registries, and short names.",
        ),
        Entry::new(
            "/etc/containers/policy.json, ~/.config/containers/policy.json",
            "Which images are rejected, and which must be signed.",
        )
        .only(&["copy", "pull", "sync"]),
        Entry::new(
            "~/.config/containers/registries.d/*.yaml, else /etc/containers/registries.d/*.yaml",
            "Where the signatures that GnuPG's keys made lie (lookaside), and where they are written (lookaside-staging). \
             Default: /var/lib/containers/sigstore for root, ~/.local/share/containers/sigstore for others.",
        )
        .only(&["copy", "pull", "sign", "sync", "verify"]),
        Entry::new(
            "/etc/docker/certs.d/HOST/, /etc/containers/certs.d/HOST/, ~/.config/containers/certs.d/HOST/",
            "Certificate authorities of a registry (*.crt), and the client certificate for it (NAME.cert with NAME.key).",
        ),
    ],
    related: &["bundle-tool(1)", "build-tool(1)", "image-tool(1)", "skopeo(1)"],
};
