# Thin over cargo; `make help` lists the targets.
PREFIX = /usr/local
DESTDIR =
CARGO = cargo
TARGET = $(or $(CARGO_TARGET_DIR),target)
SUDO = $(if $(filter-out 0,$(shell id -u)),sudo)

# What `install` puts under PREFIX and `uninstall` removes: MODE:FILE:PLACE
FILES = \
	755:$(TARGET)/release/fanctl:bin/fanctl \
	644:README.md:share/doc/fanctl/README.md \
	644:LICENSE-APACHE:share/doc/fanctl/LICENSE-APACHE \
	644:LICENSE-MIT:share/doc/fanctl/LICENSE-MIT

SCRIPTS = tests/setup tests/all tests/unpack tests/qemu/run tests/qemu/tier tests/qemu/init tests/qemu/etc/udhcpc/default.script .ci/run \
	tests/ifupdown ifupdown/fanctl

.PHONY: help build demo test check bench install uninstall clean

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' Makefile | expand -t 18

build: ## the release binary
	$(CARGO) build --release --locked

demo: ## two hosts and their containers on this machine, connected by a fan (asks for root)
	tests/setup demo
	$(MAKE) build
	$(SUDO) $(TARGET)/release/fanctl lab

test: ## every tier of the tests, to the end; root also runs those that need namespaces
	CARGO="$(CARGO)" tests/all

check: ## formatting, lints, documentation, shell scripts
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --locked --no-deps
	shellcheck $(SCRIPTS)

bench: ## what the commands cost, in time and memory (asks for root)
	$(CARGO) bench --locked --bench commands $(if $(SUDO),--config "target.'cfg(unix)'.runner='$(SUDO)'")

install: ## the binary and its papers, under $(DESTDIR)$(PREFIX)
	@test -x $(TARGET)/release/fanctl || { echo "nothing to install yet; first run: make build" >&2; exit 1; }
	@set -e; for file in $(FILES); do \
		IFS=:; set -- $$file; \
		install -D -m "$$1" "$$2" "$(DESTDIR)$(PREFIX)/$$3"; \
		echo "$(DESTDIR)$(PREFIX)/$$3"; \
	done

uninstall: ## what install put there
	@set -e; for file in $(FILES); do rm -f "$(DESTDIR)$(PREFIX)/$${file##*:}"; done

clean: ## everything built, and the kernels of tests/qemu
	$(CARGO) clean
