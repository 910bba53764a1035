# Thin over cargo; `make help` lists the targets.
PREFIX = /usr/local
SYSCONFDIR = /etc
# NetworkManager and networkd-dispatcher look in /usr/lib and in /etc, and not in /usr/local
VENDOR = $(if $(filter /usr,$(PREFIX)),lib,$(SYSCONFDIR))
# Where zsh looks; Debian's has vendor-completions for packages
ZSH_COMPLETIONS = share/zsh/site-functions
DESTDIR =
CARGO = cargo
BENCH = target/bench
TARGET = $(or $(CARGO_TARGET_DIR),target)
# The build that is installed; `make test` looks at what would be, with BUILD=debug
BUILD = release
SUDO = $(if $(filter-out 0,$(shell id -u)),sudo)
HOST = $(shell rustc -vV | sed -n 's/^host: //p')
COMPLETIONS = $(TARGET)/$(BUILD)/completions
# Of `make campaign`
PACKETS = 100000000
SEED = 28

EXAMPLES := $(sort $(shell find examples -mindepth 2 -type f))

# What is installed, MODE:FILE:PLACE, the place being under PREFIX unless it begins with /. The packages are made of it too.
FILES = \
	755:$(TARGET)/$(BUILD)/fanctl:bin/fanctl \
	644:man/fanctl.8:share/man/man8/fanctl.8 \
	644:man/fanctl-doctor.8:share/man/man8/fanctl-doctor.8 \
	644:man/fanctl-key.8:share/man/man8/fanctl-key.8 \
	644:man/fanctl-names.8:share/man/man8/fanctl-names.8 \
	644:man/fanctl-trace.8:share/man/man8/fanctl-trace.8 \
	644:man/fanctl-json.5:share/man/man5/fanctl-json.5 \
	644:man/fan.toml.5:share/man/man5/fan.toml.5 \
	644:man/fan.5:share/man/man5/fan.5 \
	644:man/fan.7:share/man/man7/fan.7 \
	644:$(COMPLETIONS)/fanctl.bash:share/bash-completion/completions/fanctl \
	644:$(COMPLETIONS)/fanctl.zsh:$(ZSH_COMPLETIONS)/_fanctl \
	644:$(COMPLETIONS)/fanctl.fish:share/fish/vendor_completions.d/fanctl.fish \
	644:systemd/fan.service:lib/systemd/system/fan.service \
	644:systemd/fan@.service:lib/systemd/system/fan@.service \
	644:systemd/fan-watch.service:lib/systemd/system/fan-watch.service \
	644:systemd/fan-names.service:lib/systemd/system/fan-names.service \
	644:systemd/fan-names-engine@.service:lib/systemd/system/fan-names-engine@.service \
	644:systemd/fan-sandbox.conf:lib/systemd/system/fan.service.d/10-sandbox.conf \
	644:systemd/fan-sandbox.conf:lib/systemd/system/fan@.service.d/10-sandbox.conf \
	644:systemd/fan-sandbox.conf:lib/systemd/system/fan-watch.service.d/10-sandbox.conf \
	644:systemd/networkd-fan.conf:lib/systemd/networkd.conf.d/50-fan.conf \
	644:systemd/05-fan.network:lib/systemd/network/05-fan.network \
	644:systemd/05-fan-by-name.network:lib/systemd/network/05-fan-by-name.network \
	644:systemd/70-fan.rules:lib/udev/rules.d/70-fan.rules \
	755:systemd/networkd-dispatcher:$(VENDOR)/networkd-dispatcher/routable.d/50-fan \
	755:NetworkManager/dispatcher:$(VENDOR)/NetworkManager/dispatcher.d/50-fan \
	644:NetworkManager/fan.conf:$(VENDOR)/NetworkManager/conf.d/50-fan.conf \
	755:ifupdown/fanctl:$(SYSCONFDIR)/network/if-up.d/fanctl \
	755:ifupdown/fanctl:$(SYSCONFDIR)/network/if-post-down.d/fanctl \
	644:examples/fan.toml:share/doc/fanctl/examples/fan.toml \
	$(foreach file,$(EXAMPLES),644:$(file):share/doc/fanctl/$(file)) \
	644:docs/comparison.md:share/doc/fanctl/docs/comparison.md \
	644:docs/docker.md:share/doc/fanctl/docs/docker.md \
	644:docs/encryption.md:share/doc/fanctl/docs/encryption.md \
	644:docs/fanctl-json.schema.json:share/doc/fanctl/docs/fanctl-json.schema.json \
	644:docs/how-it-works.md:share/doc/fanctl/docs/how-it-works.md \
	644:docs/kubernetes.md:share/doc/fanctl/docs/kubernetes.md \
	644:docs/lab.md:share/doc/fanctl/docs/lab.md \
	644:docs/libvirt.md:share/doc/fanctl/docs/libvirt.md \
	644:docs/lxd.md:share/doc/fanctl/docs/lxd.md \
	644:docs/mapping.md:share/doc/fanctl/docs/mapping.md \
	644:docs/messages.md:share/doc/fanctl/docs/messages.md \
	644:docs/migration.md:share/doc/fanctl/docs/migration.md \
	644:docs/names.md:share/doc/fanctl/docs/names.md \
	644:docs/packet.svg:share/doc/fanctl/docs/packet.svg \
	644:docs/performance.md:share/doc/fanctl/docs/performance.md \
	644:docs/podman.md:share/doc/fanctl/docs/podman.md \
	644:docs/release.md:share/doc/fanctl/docs/release.md \
	644:docs/security.md:share/doc/fanctl/docs/security.md \
	$(foreach file,$(wildcard docs/bench/*.md docs/bench/*.svg),644:$(file):share/doc/fanctl/$(file)) \
	644:README.md:share/doc/fanctl/README.md \
	644:CHANGELOG.md:share/doc/fanctl/CHANGELOG.md \
	644:LICENSE-APACHE:share/doc/fanctl/LICENSE-APACHE \
	644:LICENSE-MIT:share/doc/fanctl/LICENSE-MIT

# The directories among them that nobody else uses.
DIRECTORIES = $(patsubst %,share/doc/fanctl/%,$(shell find examples -depth -type d)) share/doc/fanctl/docs/bench share/doc/fanctl/docs \
	share/doc/fanctl \
	lib/systemd/system/fan.service.d lib/systemd/system/fan@.service.d lib/systemd/system/fan-watch.service.d

SCRIPTS = .ci/run release/run release/image release/materials release/repository tests/release/run benches/run benches/openvswitch benches/instructions/run benches/wireguard/peers fuzz/run tests/setup tests/steps tests/quick tests/all tests/package/files tests/qemu/common tests/qemu/run tests/qemu/tier tests/qemu/init \
	tests/qemu/etc/udhcpc/default.script tests/package/check tests/package/inside tests/package/run tests/package/tools \
	tests/boot/run tests/boot/root/usr/local/lib/boot/checks tests/boot/root/usr/local/lib/boot/end \
	tests/boot/root/usr/local/lib/boot/wire tests/confined/run tests/confined/inside tests/unfit/run tests/unfit/inside tests/machines/run tests/machines/agent tests/unpack tests/root debian/postinst debian/prerm debian/postrm ifupdown/fanctl \
	systemd/networkd-dispatcher NetworkManager/dispatcher

.PHONY: help build completions demo test test-all soak fuzz check bench campaign names install uninstall deb rpm static release clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' Makefile | expand -t 18

build: ## the release binary, and the completions it writes
	$(CARGO) build --release --locked
	@$(MAKE) -s completions

completions:
	@mkdir -p $(COMPLETIONS)
	@for shell in bash zsh fish; do \
		$(TARGET)/$(BUILD)/fanctl completions $$shell >$(COMPLETIONS)/fanctl.$$shell || exit; done

demo: ## two hosts and their containers on this machine, connected by a fan (asks for root)
	tests/setup demo
	$(MAKE) build
	$(SUDO) $(TARGET)/release/fanctl lab

test: ## what a change must pass, in ten minutes; root also runs those that need namespaces
	CARGO="$(CARGO)" tests/quick

test-all: ## every test there is, in an hour: each case, three kernels, runtimes, packages, a booted system, fuzzing (as root)
	CARGO="$(CARGO)" tests/all

soak: ## fans that come and go for hours, a hundred million packets, a long fuzzing: ROUNDS, PACKETS and SECONDS say how much
	CARGO="$(CARGO)" tests/qemu/tier --on 6.12 --soak $(or $(ROUNDS),100)
	$(MAKE) campaign
	$(MAKE) fuzz SECONDS=$(or $(SECONDS),600)

fuzz: ## every reader on inputs made up to break it, for $(SECONDS) seconds each (60)
	CARGO="$(CARGO)" fuzz/run seconds $(or $(SECONDS),60)

check: ## formatting, lints, documentation, that the fuzzers' lock is up to date, shell scripts
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --locked --no-deps --document-private-items
	$(CARGO) metadata --locked --format-version 1 --manifest-path fuzz/Cargo.toml >/dev/null
	shellcheck $(SCRIPTS)

bench: ## what the fan costs beside what else there is, here and on Debian's kernels in QEMU (asks for root)
	tests/setup
	CARGO="$(CARGO)" benches/run --out $(BENCH)

campaign: ## a hundred million packets of an adversary against the programs, in the interpreter; takes minutes
	CAMPAIGN_PACKETS=$(PACKETS) CAMPAIGN_SEED=$(SEED) $(CARGO) test --release --locked --test program campaign -- --nocapture

names: ## what is promised of names, in simulated time, with $(HOSTS) hosts (1000) and 200,000 messages of a hostile one
	FANCTL_NAMES_HOSTS=$(or $(HOSTS),1000) FANCTL_NAMES_MESSAGES=200000 FANCTL_NAMES_HOUR=$(HOUR) \
		$(CARGO) test --release --locked --test names -- --nocapture --test-threads 1

install: ## everything, under $(DESTDIR)$(PREFIX) and $(DESTDIR)$(SYSCONFDIR)
	@test -x $(TARGET)/$(BUILD)/fanctl || { echo "nothing to install yet; first run: make build" >&2; exit 1; }
	@set -e; umask 022; $(foreach file,$(FILES),$(call install_one,$(subst :, ,$(file)));)

uninstall: ## what install put there
	@rm -f $(foreach file,$(FILES),"$(call place,$(word 3,$(subst :, ,$(file))))")
	@rmdir --ignore-fail-on-non-empty $(foreach directory,$(DIRECTORIES),"$(call place,$(directory))") 2>/dev/null || true

place = $(DESTDIR)$(if $(filter /%,$1),,$(PREFIX)/)$1
install_one = echo "$(call place,$(word 3,$1))"; install -D -m $(word 1,$1) "$(word 2,$1)" "$(call place,$(word 3,$1))"

deb: build ## a Debian package, in target/debian
	CARGO="$(CARGO)" tests/package/tools cargo-deb
	rm -rf target/stage/deb
	$(MAKE) -s install DESTDIR=target/stage/deb PREFIX=/usr SYSCONFDIR=/etc ZSH_COMPLETIONS=share/zsh/vendor-completions
	target/tools/bin/cargo-deb --quiet --locked --no-build --no-strip --output target/debian/

rpm: build ## an RPM package, in target/generate-rpm
	CARGO="$(CARGO)" tests/package/tools cargo-generate-rpm
	rm -rf target/stage/rpm
	$(MAKE) -s install DESTDIR=target/stage/rpm PREFIX=/usr SYSCONFDIR=/etc
	{ echo "post_uninstall_script = 'if [ \"\$$1\" = 0 ]; then cd /usr && rmdir $(DIRECTORIES) 2>/dev/null; fi; true'"; \
	  echo 'assets = ['; \
	  find target/stage/rpm -path target/stage/rpm/etc/network -prune -o -type f -printf '{ source = "%p", dest = "/%P", mode = "%m" },\n'; \
	  echo ']'; } >target/stage/rpm.toml
	target/tools/bin/cargo-generate-rpm --target-dir target --metadata-overwrite target/stage/rpm.toml

static: ## the program for any distribution, in target/static
	RUSTFLAGS='-C target-feature=+crt-static' $(CARGO) build --release --locked --target $(HOST)
	install -D $(TARGET)/$(HOST)/release/fanctl $(TARGET)/static/fanctl

release: ## the files of a release, in target/dist: programs, packages, image, apt repository (as root; KEY=FINGERPRINT signs)
	CARGO="$(CARGO)" KEY="$(KEY)" release/run

clean: ## everything built, and the kernels of tests/qemu
	$(CARGO) clean
