# What can be made here: `make help`. What the program is: README.md.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := build
.PHONY: help deps test-deps build release local-sigstore dist dist-check update-trust install test interop conformance fuzz bench demo format lint clean
MAKEFLAGS += --no-print-directory

PREFIX ?= /usr/local

# What the program is built with, and what its tests run against.
packages := libssl-dev libcurl4-openssl-dev libsodium-dev libre2-dev libyaml-dev libp11-kit-dev pkg-config
test_packages = docker-registry openssl python3 python3-venv python3-yaml python3-cryptography softhsm2 opensc opensc-pkcs11 strace bsdutils fish zsh curl git openssh-client jq debian-archive-keyring $(sshd) $(chromium)
# A person's machine gets no SSH server by this; without one, the test of a forwarded socket is left out, and said to be.
sshd = $(if $(CI),openssh-server)
# Ubuntu has Chromium as a snap only; there the tests in a browser are left out, and said to be.
chromium = $(if $(filter debian,$(shell . /etc/os-release && echo $$ID)),chromium)

# How the release is built: in a folder of its own, so that it can be built while the tests are. lld, which comes with Swift,
# because gold warns of functions that the program never calls; and without a search path for libraries beside the program, where a
# download directory could hold anything.
static := $(CURDIR)/.build/static
link := -c release --scratch-path .build/optimized --static-swift-stdlib --disable-local-rpath -Xswiftc -use-ld=lld -Xlinker -L$(static) -Xlinker -O2
# Of the C++ library and of libgcc only what is used, linked in: loading them whole takes longer than most commands. And the
# program offers no symbols to other libraries, which would look through them at every start, but for two (Sources/CMemory),
# which local-sigstore does not have.
link += -Xlinker --version-script=$(static)/symbols.map -Xlinker --undefined-version
# And without the tables by which exceptions pass through code, a fifteenth of the program: Swift throws none. What C++ throws, which is
# for want of memory alone, ends the program, as it does in Swift.
link += -Xlinker --no-eh-frame-hdr -Xlinker -T -Xlinker $(static)/tables.ld
define static_libraries
mkdir -p $(static); \
ln -sf "$$(clang -print-file-name=libstdc++.a)" $(static)/libstdc++.a; \
ln -sf "$$(clang -print-file-name=libgcc_eh.a)" $(static)/libgcc_s.a; \
swiftc -O -parse-as-library -module-name FoundationEssentials -emit-object -o $(static)/FoundationEssentials.o \
    Sources/NoFoundation/FoundationEssentials.swift; \
printf '#!/bin/sh\nexec %s %s "$$@"\n' "$$(clang -print-prog-name=ld.lld)" $(static)/FoundationEssentials.o > $(static)/ld.lld; chmod +x $(static)/ld.lld; \
echo '{ global: free; realloc; local: *; };' > $(static)/symbols.map; \
echo 'SECTIONS { /DISCARD/ : { *(.eh_frame) } } INSERT BEFORE .text;' > $(static)/tables.ld
endef
# Without Foundation: Sources/NoFoundation stands in for it. The linker has to meet it before that library is named, so it is called
# with it: clang looks here first.
without := COMPILER_PATH=$(static)
# Where the C library knows it (2.36 and later), addresses to be relocated are listed in a form that takes a tenth. What is
# given to others (`make dist`) does without: it runs from glibc 2.34 on.
packed := -Xlinker -z -Xlinker pack-relative-relocs
ifeq ($(shell printf '%s\n' 2.36 "$$(getconf GNU_LIBC_VERSION | cut -d' ' -f2)" | sort -V | head -n 1),2.36)
release := $(link) $(packed)
else
release := $(link)
endif

# What is given to others also does not name itself by a digest of all that went in, the names of folders among it; and it is
# compiled for size, since its addresses to be relocated, which are not packed, take a megabyte more. In a folder of its own: other
# flags in the same one would build everything again, there and back.
given = $(link) --scratch-path .build/given$(if $(filter /mnt,$(CURDIR)),-mnt) -Xlinker --build-id=none -Xswiftc -Osize -Xswiftc -num-threads -Xswiftc 1
# What the compiler makes depends, here and there, on where its own memory is: on the length of the folder's name, too. So one thread
# at a time, always at the same addresses, and in a folder that is seen as /mnt meanwhile: what of it the system allows.
in_mnt := unshare --map-root-user --mount sh -c 'mount --bind . /mnt && cd /mnt && unset OLDPWD && exec "$$@"' sh
still = $(shell setarch -R true 2>/dev/null && echo setarch -R) $(if $(shell $(in_mnt) swift --version 2>/dev/null),$(in_mnt))
# Nor may it hold swiftc's own digests of each module, which are for a next build only. They are overwritten: if strip took their
# section out, it would also take out what makes the relocated data read-only (RELRO).
.PHONY: given
given:
	@$(static_libraries)
	$(without) swift build $(given) --product $(PRODUCT)
	@strip -o $(PROGRAM) "$$(swift build $(given) --show-bin-path)/$(PRODUCT)"; \
	read -r at size < <(readelf -SW $(PROGRAM) | sed -nE 's/.* \.swift_modhash +PROGBITS +[0-9a-f]+ ([0-9a-f]+) ([0-9a-f]+) .*/\1 \2/p'); \
	dd if=/dev/zero of=$(PROGRAM) bs=1 seek=$$((16#$$at)) count=$$((16#$$size)) conv=notrunc status=none

as_root := $(if $(filter-out 0,$(shell id -u)),sudo)
# Installs those of the packages $(1) that are missing; asks nothing of the network where none is.
define install_missing
missing=(); \
for package in $(1); do \
    [[ $$(dpkg-query -W -f '$${Status}' $$package 2>/dev/null) == *' installed' ]] || missing+=($$package); \
done; \
if (( $${#missing[@]} )); then \
    echo "installing $${missing[*]}"; \
    $(as_root) apt-get update -qq; \
    $(as_root) env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$${missing[@]}" </dev/null; \
fi
endef

help: ## lists these targets
	@sed -nE 's/^([a-z-]+): [^#]*## (.*)/\1\t\2/p' $(MAKEFILE_LIST) | while IFS=$$'\t' read -r name text; do \
	    printf '  make %-12s %s\n' "$$name" "$$text"; done

deps: ## installs the system libraries that are missing (Debian and Ubuntu; uses sudo unless root)
	@$(call install_missing,$(packages))

test-deps: deps
	@$(call install_missing,$(test_packages))
	@cmp -s Tests/requirements.txt .build/python/requirements.txt || { \
	    python3 -m venv --clear .build/python && .build/python/bin/pip install -q --no-deps --no-compile -r Tests/requirements.txt \
	    && cp Tests/requirements.txt .build/python/ || echo "Tests/requirements.txt could not be installed: tests with moto, model_signing and pypi-attestations are left out"; }
	@Tests/newest .build/newest || echo "Debian's newest git and gitsign could not be fetched: tests with them are left out"

build: deps ## builds everything for debugging
	swift build

release: deps ## builds the program for use: .build/swsign, stripped, the standard library linked in
	@$(static_libraries)
	$(without) swift build $(release) --product swsign
	cp "$$(swift build $(release) --show-bin-path)/swsign" .build/swsign.unstripped
	strip -o .build/swsign .build/swsign.unstripped

dist: deps ## packs this commit for others: .build/dist (signed with DIST_KEY, a private key, or DIST_SIGN, flags for sign-blob)
	@$(call install_missing,dpkg-dev openssl python3 ca-certificates)
	@$(still) $(MAKE) given PRODUCT=swsign PROGRAM=.build/swsign.dist
	Tests/Release/size .build/swsign.dist
	Tests/Release/systems .build/swsign.dist
	.github/dist/dist .build/swsign.dist .build/dist
	@Fixtures/tuf/embed-trust.py age

# A smaller program, built as that of `dist`, by which Tests/Release/same compares two folders.
.PHONY: smaller
smaller:
	@$(still) $(MAKE) given PRODUCT=smaller PROGRAM=.build/smaller

dist-check: test-deps ## makes dist in two folders, compares, and tries all of it in bare systems (root; fetches them)
	@$(call install_missing,debootstrap lintian)
	.github/dist/check

# SWSIGN names a program that is built already; TRUST_MIRROR another mirror, TRUST_ROOT a root in place of the one built in.
update-trust: $(if $(SWSIGN),,release) ## brings what is built in of Sigstore's trust up to date, verified from the root built in
	Fixtures/tuf/embed-trust.py update $(or $(SWSIGN),.build/swsign) "$(TRUST_MIRROR)" "$(TRUST_ROOT)"

local-sigstore: release ## builds a Sigstore for one's own machine: .build/local-sigstore
	swift build $(release) --product local-sigstore
	cp "$$(swift build $(release) --show-bin-path)/local-sigstore" .build/local-sigstore

install: release ## puts the program into PREFIX/bin (PREFIX=/usr/local)
	install -D -m 755 .build/swsign "$(DESTDIR)$(PREFIX)/bin/swsign"

test: deps ## builds and runs all tests, those of the command line with the release program; says what was left out
	@mkdir -p .build
	@$(MAKE) test-deps > .build/test-deps.log 2>&1 & installed=$$!; \
	$(MAKE) local-sigstore > .build/release.log 2>&1 & built=$$!; \
	swift build --build-tests || { wait; exit 1; }; \
	wait $$installed || { cat .build/test-deps.log; wait; exit 1; }; cat .build/test-deps.log; \
	wait $$built || { cat .build/release.log; exit 1; }; cat .build/release.log
	Tests/Release/check .build/swsign .build/swsign.unstripped
	Tests/Release/trust .build/swsign .build/local-sigstore
	Tests/demo .build/swsign .build/local-sigstore
	@if [[ -d ../shared ]]; then Tests/Conformance/run; else echo "LEFT OUT: the conformance suite, in ../shared"; fi
	SWSIGN="$(CURDIR)/.build/swsign" Tests/report --beside Tests/Release/same --beside Tests/Documentation/check \
	    --beside 'Tests/Release/dist .build/swsign' --beside 'Tests/Release/installer .build/swsign $(wildcard .build/dist)'

interop: test-deps release ## only the tests against cosign 2 and cosign 3 (in ../shared/peers) and the corpus beside them
	swift build --build-tests
	SWSIGN="$(CURDIR)/.build/swsign" Tests/report InteropTests

conformance: test-deps release ## the cases of the public conformance suite (in ../shared/conformance), through the release program
	Tests/Conformance/run

fuzz: deps ## fuzzes each reader of bytes from outside for SECONDS (60)
	Tests/Fuzz/run $(or $(SECONDS),60)

bench: test-deps local-sigstore ## measures the release program beside openssl and cosign 3; fails when a bound is missed
	Tests/Benchmarks/bench .build/swsign

demo: local-sigstore ## signs and verifies with the release program, with a key and without, printing each command
	@Tests/demo .build/swsign .build/local-sigstore

format: ## formats the sources
	swift format format --in-place --parallel $$(git ls-files '*.swift')

lint: ## says where the sources are not formatted
	swift format lint --strict --parallel $$(git ls-files '*.swift')

clean: ## removes everything that was built
	rm -rf .build
