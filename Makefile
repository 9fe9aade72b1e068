TOOLS = image-tool registry-tool bundle-tool run-tool build-tool
SCRIPTS = .ci/run tests/docker tests/demo tests/images tests/bench
# To build; to run; the peers of the tests; what the tests and the demo call.
PACKAGES = g++ gcc libc6-dev libseccomp-dev pkg-config \
	containernetworking-plugins iptables iproute2 passt uidmap \
	buildah containerd crun docker-registry docker.io podman runc skopeo umoci \
	attr bsdutils busybox-static ca-certificates criu curl dbus-daemon mmdebstrap python3-pip shellcheck strace systemd util-linux
PREFIX ?= /usr/local
BUILT = target/release

build:
	cargo build --release --workspace

setup:
	@missing=$$(for p in $(PACKAGES); do dpkg-query -W -f '$${db:Status-Status}\n' $$p 2>/dev/null | grep -qx installed || echo $$p; done); \
	[ -z "$$missing" ] || { sudo=; [ "$$(id -u)" = 0 ] || sudo=sudo; $$sudo apt-get -qq update && \
	$$sudo env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get -qqy install --no-install-recommends $$missing; }

demo: setup build
	tests/demo

test: setup build
	tests/images target/images
	cargo test --workspace --no-fail-fast

lint:
	cargo fmt --check
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS=-Dwarnings cargo doc --workspace --no-deps
	cargo clippy --manifest-path tests/fuzz/Cargo.toml --target-dir target/fuzz -- -D warnings
	shellcheck $(SCRIPTS)

bench: build
	tests/images target/images
	tests/bench

man: build
	mkdir -p target/man && for tool in $(TOOLS); do $(BUILT)/$$tool man >target/man/$$tool.1 || exit 1; done

completions: build
	mkdir -p target/completions && for tool in $(TOOLS); do for shell in bash zsh fish; do \
	$(BUILT)/$$tool completions $$shell >target/completions/$$tool.$$shell || exit 1; done; done

install: man completions
	install -d $(addprefix $(DESTDIR)$(PREFIX)/,bin share/man/man1 share/bash-completion/completions share/zsh/site-functions share/fish/vendor_completions.d)
	install -m755 $(addprefix $(BUILT)/,$(TOOLS)) $(DESTDIR)$(PREFIX)/bin
	install -m755 tests/docker $(DESTDIR)$(PREFIX)/bin/oci-docker
	install -m644 target/man/*.1 $(DESTDIR)$(PREFIX)/share/man/man1
	for tool in $(TOOLS); do c=target/completions/$$tool && \
	install -m644 $$c.bash $(DESTDIR)$(PREFIX)/share/bash-completion/completions/$$tool && \
	install -m644 $$c.zsh $(DESTDIR)$(PREFIX)/share/zsh/site-functions/_$$tool && \
	install -m644 $$c.fish $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/$$tool.fish || exit 1; done

clean:
	cargo clean

.PHONY: build setup demo test lint bench man completions install clean
