# `just` lists what there is. Nothing here needs more than bash, Rust, and for the cluster Go and root on Debian or Ubuntu.
set shell := ["bash", "-euo", "pipefail", "-c"]

# never more compilers than the machine has memory for
jobs := env("HKS_JOBS", "2")

[private]
default:
    @just --list --unsorted

# The whole story on a real cluster, told step by step; `just demo status` and `just demo stop` afterwards; `just demo tenants` for one of hostile tenants
demo *ARGS: _packages
    @bash tests/cluster/demo {{ ARGS }}

# Every test, on the kit's cluster or the one of HKS_TEST_KUBECONFIG; ARGS go to cargo test
test *ARGS: _packages
    @bash tests/cluster/test {{ ARGS }}

# The tests that need no cluster, in seconds
test-fast *ARGS: _packages
    @bash tests/cluster/test --fast {{ ARGS }}

# What a change must pass besides the tests: format, lints, documentation, dependencies, scripts
check: _packages
    cargo fmt --check
    cargo clippy -j{{ jobs }} --locked --all-targets -- -D warnings
    RUSTDOCFLAGS="-D warnings" cargo doc -j{{ jobs }} --locked --no-deps
    command -v cargo-deny >/dev/null || cargo install --locked -j{{ jobs }} cargo-deny
    cargo deny --locked check --hide-inclusion-graph bans licenses sources
    if cargo deny fetch db >/dev/null 2>&1; then cargo deny --locked check --hide-inclusion-graph --disable-fetch advisories; else echo "not checked: the database of advisories can't be fetched"; fi
    ! command -v shellcheck >/dev/null || shellcheck -x tests/cluster/{cluster,demo,test} tests/cluster/story/*.sh charts/hks-image .ci/run

# hks, optimised, in target/release/hks
build: _packages
    cargo build -j{{ jobs }} --locked --release

# An image of hks for the chart: pushed to TO (REGISTRY/NAME:TAG), or an archive in target/
image TO="": build
    @bash charts/hks-image {{ TO }}

# The test cluster: up, down, status or reset
cluster COMMAND="status":
    @bash tests/cluster/cluster {{ COMMAND }}

# A measurement of tests/bench.rs by name, such as `just bench rest` or `just bench many`; more than 150 Stacks don't fit the vCluster's quota: HKS_TEST_KUBECONFIG=/var/lib/hks-kit/admin.kubeconfig just bench many 1000
bench NAME N="100": _packages
    HKS_BENCH_STACKS={{ N }} cargo test -j{{ jobs }} --locked --release --test bench -- --ignored --nocapture {{ NAME }}

# Long random histories of a Stack, optimised: N of them from SEED on; the invariants must hold after each event
histories N="100000" SEED="1": _packages
    HKS_HISTORIES={{ N }} HKS_SEED={{ SEED }} cargo test -j{{ jobs }} --locked --no-default-features --profile campaign --test histories

# Each single fault at each step of a journey, and each takeover of two daemons, optimised: all of them, or one of EVERY
plans EVERY="1": _packages
    HKS_EVERY={{ EVERY }} cargo test -j{{ jobs }} --locked --no-default-features --profile campaign --test plans -- --nocapture

# Looks for files that cost too much to read, optimised: N climbs from SEED on; `just cost 20 1 time` for what takes longest
cost N="200" SEED="1" BY="bytes": _packages
    HKS_CLIMBS={{ N }} HKS_SEED={{ SEED }} HKS_BY={{ BY }} HKS_STEPS=300 cargo test -j{{ jobs }} --locked --no-default-features --profile campaign --test cost -- --nocapture by_chance

# What others write, read in many spellings, optimised: one target or all, each for SECONDS; without a SEED another one each time
fuzz NAME="" SECONDS="60" SEED="": _packages
    HKS_FUZZ_SECONDS={{ SECONDS }} HKS_SEED={{ if SEED == "" { "$RANDOM" } else { SEED } }} cargo test -j{{ jobs }} --locked --profile campaign --test fuzz -- --nocapture {{ if NAME == "" { "" } else { "--exact " + NAME } }}

# Repositories that are made to do harm, N of them from SEED on, beside peaceful tenants on the test cluster
harm N="156" SEED="0": _packages
    HKS_REPOSITORIES={{ N }} HKS_SEED={{ SEED }} cargo test -j{{ jobs }} --locked --test harm -- --nocapture

# A daemon that has much to do and is ended again and again, on the test cluster: nothing grows; each life takes about half a minute
soak LIVES="240" SEED="1": _packages
    HKS_SOAK={{ LIVES }} HKS_SEED={{ SEED }} cargo test -j{{ jobs }} --locked --test soak -- --nocapture

# Puts faults back one at a time, and sees that the tests kill each; NAME chooses some, a number goes on after so many
mutants NAME="": _packages
    HKS_MUTANT="{{ NAME }}" cargo test -j{{ jobs }} --locked --test mutants -- --ignored --nocapture

# Write the expected files of the tests anew from what hks says now; then read the difference
update-fixtures: _packages
    UPDATE=1 cargo test -j{{ jobs }} --locked --lib --test spec --test tidy
    git diff --stat -- tests schema

# Compiling libgit2 and libssh2 takes a C compiler and OpenSSL's headers
[private]
_packages:
    @bash tests/cluster/story/packages.sh
