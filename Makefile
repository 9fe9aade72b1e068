TOOLS = image-tool registry-tool bundle-tool run-tool build-tool
SCRIPTS = .ci/run tests/docker tests/demo tests/images tests/bench tests/unmounted $(wildcard findings/*.sh)
PREFIX ?= /usr/local
BUILT = target/release

# Debian's packages, by what needs them.
BUILDING = gcc libc6-dev libseccomp-dev pkg-config
RUNNING = containernetworking-plugins iproute2 iptables
IMAGES = busybox-static ca-certificates curl docker-registry mmdebstrap python3-pip skopeo umoci
TESTING = attr bsdutils buildah chromium-headless-shell containerd criu crun dbus-daemon docker-clean docker.io e2fsprogs fish g++ git gnupg mandoc nftables openssh-client openssl packer passt \
	podman procps python3-venv runc runsc strace systemd uidmap util-linux zsh
LINTING = git shellcheck

help: ## Show what can be made
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' Makefile | while IFS='	' read -r name text; do printf '%-12s %s\n' "$$name" "$$text"; done

build: ## Build the five tools into target/release
	cargo build --release --workspace

demo: setup-demo build ## Walk from a registry to a running container and back
	tests/demo

test: setup-test build ## Run all tests, as root, against the real peers
	tests/images target/images
	cargo test --workspace --no-fail-fast
	tests/unmounted cargo test --workspace --no-fail-fast --test mounted --test accidents --test pipeline --test docker

# Its debug build is made five times faster than a release and checks the tree in seconds.
DENY = target/deny-0.20.2/bin/cargo-deny
$(DENY):
	CARGO_PROFILE_DEV_DEBUG=0 cargo install cargo-deny --version =0.20.2 --locked --debug --no-default-features \
	--root target/deny-0.20.2 --target-dir target/deny-0.20.2/build
	rm -rf target/deny-0.20.2/build

lint: setup-lint $(DENY) ## Check format, lints, documentation and scripts
	cargo fmt --check
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS=-Dwarnings cargo doc --workspace --no-deps
	cargo clippy --manifest-path tests/fuzz/Cargo.toml --target-dir target/fuzz -- -D warnings
	$(DENY) --locked check bans licenses sources
	shellcheck $(SCRIPTS)

bench: setup-test build ## Print CPU and wall time beside Debian's peers
	tests/images target/images
	tests/bench

setup: setup-demo setup-test setup-lint ## Install the Debian packages that building, testing and linting need

setup-build: NEEDED = $(BUILDING)
setup-demo: NEEDED = $(BUILDING) $(RUNNING) $(IMAGES)
setup-test: NEEDED = $(BUILDING) $(RUNNING) $(IMAGES) $(TESTING)
setup-lint: NEEDED = $(BUILDING) $(LINTING)
setup-build setup-demo setup-test setup-lint:
	@missing=$$(for p in $(NEEDED); do dpkg-query -W -f '$${db:Status-Status}\n' $$p 2>/dev/null | grep -qx installed || echo $$p; done); \
	[ -z "$$missing" ] || { sudo=; [ "$$(id -u)" = 0 ] || sudo=sudo; $$sudo apt-get -qq update && \
	$$sudo env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get -qqy install --no-install-recommends $$missing; }

man: build ## Write the manual pages into target/man
	rm -rf target/man
	for tool in $(TOOLS); do $(BUILT)/$$tool man target/man || exit 1; done

completions: build ## Write the completions of bash, fish and zsh into target/completions
	mkdir -p target/completions
	for tool in $(TOOLS); do for shell in bash fish zsh; do \
	$(BUILT)/$$tool completions $$shell >target/completions/$$tool.$$shell || exit 1; done; done
	for shell in bash fish zsh; do \
	sed 's/bundle-tool/oci-docker/g; s/bundle_tool/oci_docker/g' target/completions/bundle-tool.$$shell >target/completions/oci-docker.$$shell; done

BIN = $(DESTDIR)$(PREFIX)/bin
MAN = $(DESTDIR)$(PREFIX)/share/man/man1
BASH = $(DESTDIR)$(PREFIX)/share/bash-completion/completions
ZSH = $(DESTDIR)$(PREFIX)/share/zsh/site-functions
FISH = $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d

install: man completions ## Install tools, oci-docker, manual pages and completions below PREFIX (/usr/local)
	install -d $(BIN) $(MAN) $(BASH) $(ZSH) $(FISH)
	install -m755 $(addprefix $(BUILT)/,$(TOOLS)) $(BIN)
	install -m755 tests/docker $(BIN)/oci-docker
	install -m644 target/man/*.1 $(MAN)
	for tool in $(TOOLS) oci-docker; do c=target/completions/$$tool && install -m644 $$c.bash $(BASH)/$$tool && \
	install -m644 $$c.zsh $(ZSH)/_$$tool && install -m644 $$c.fish $(FISH)/$$tool.fish || exit 1; done

uninstall: ## Remove what install installed
	rm -f $(addprefix $(BIN)/,$(TOOLS) oci-docker)
	for tool in $(TOOLS) oci-docker; do rm -f $(MAN)/$$tool.1 $(MAN)/$$tool-*.1 $(BASH)/$$tool $(ZSH)/_$$tool $(FISH)/$$tool.fish; done

clean: ## Remove all that was built
	cargo clean

.PHONY: help build setup setup-build setup-demo setup-test setup-lint demo test lint bench man completions install uninstall clean
