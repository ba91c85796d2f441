#!/bin/sh
# All tests, stage by stage, the quick ones first. Stops at the first stage that fails.
# A stage is one line with its time; what cargo has to say is shown as well.
set -eu
cd "$(dirname "$0")/.."

target=riscv64gc-unknown-none-elf

# Set by setup.sh where core and alloc must be compiled from source.
build_std=${WAKEFUL_BUILD_STD:+-Zbuild-std=$WAKEFUL_BUILD_STD}

# The packages that can be tested on this computer: -p NAME …, and what their tests need.
host_packages() {
    for manifest in $(ls crates/*/Cargo.toml | grep -v ^crates/smoltcp/) ulib/macros/Cargo.toml modules/log/Cargo.toml modules/sync/Cargo.toml tools/Cargo.toml tools/bench/Cargo.toml; do
        sed -n 's/^name = "\(.*\)"/-p \1/p' "$manifest" | head -1
    done
    echo "--features wakeful-stack/ipv6,wakeful-stack/dns"
}

stage() {
    name=$1
    shift
    begin=$(date +%s)
    printf '== %s\n' "$name"
    if "$@"; then
        printf '== %s: ok, %s s\n' "$name" "$(($(date +%s) - begin))"
    else
        printf '== %s: FAILED after %s s\n   %s\n' "$name" "$(($(date +%s) - begin))" "$*"
        exit 1
    fi
}

skip() {
    printf '== %s: left out, %s\n' "$1" "$2"
}

if cargo fmt --version >/dev/null 2>&1; then
    stage "format" cargo fmt --all --check
else
    skip "format" "cargo fmt is not installed"
fi

stage "smoltcp and its patch" tools/smoltcp.sh

# shellcheck disable=SC2046,SC2086
if cargo clippy --version >/dev/null 2>&1; then
    stage "lints, for the machine" \
        cargo clippy --quiet --workspace --exclude wakeful-tools --exclude wakeful-bench --target $target $build_std -- -D warnings
    stage "lints, on this computer" \
        cargo clippy --quiet $(host_packages) --all-targets --target host-tuple -- -D warnings
else
    skip "lints" "cargo clippy is not installed"
fi

# Features only add: the facade builds with none, with each alone, and with all.
# shellcheck disable=SC2086
each_feature() {
    for features in '' $(sed -n '/^\[features\]/,/^\[/s/^\([a-z0-9]*\) = .*/\1/p' ulib/wakeful/Cargo.toml | grep -v default); do
        cargo check --quiet -p wakeful --features "$features" --target $target $build_std || return
    done
    cargo check --quiet -p wakeful --all-features --target $target $build_std
}
stage "each feature alone" each_feature

# shellcheck disable=SC2086
stage "documentation" env RUSTDOCFLAGS=-Dwarnings \
    cargo doc --quiet --no-deps --workspace --exclude wakeful-tools --exclude wakeful-bench --exclude testsuite --exclude websuite --exclude benchsuite --all-features --target $target $build_std

# shellcheck disable=SC2046
stage "tests on this computer" cargo test --quiet $(host_packages) --target host-tuple

stage "executor with counters" \
    cargo test --quiet -p wakeful-executor --features counters --lib --target host-tuple

# Every interleaving of what the executor does on several harts. Optimised, as there are millions.
stage "executor under loom" env RUSTFLAGS="--cfg loom -Cdebug-assertions" CARGO_PROFILE_RELEASE_LTO=off \
    CARGO_TARGET_DIR=target/loom \
    cargo test --quiet -p wakeful-executor --lib --release --target host-tuple loom_

if cargo +nightly miri --version >/dev/null 2>&1; then
    host=$(rustc -vV | sed -n 's/^host: //p')
    # shellcheck disable=SC2086
    under_miri() {
        # Few random cases: Miri is a thousand times slower than the processor.
        package=$1 rules=$2
        shift 2
        env MIRIFLAGS="-Zmiri-disable-isolation $rules" PROPTEST_CASES=4 CARGO_TARGET_DIR=target/miri \
            cargo +nightly miri test --quiet -p $package --lib --target "$host" -- "$@"
    }
    stage "Miri's standard library" cargo +nightly miri setup --quiet --target "$host"
    # Miri uses one processor, so there are two rows of stages, side by side.
    (
        stage "memory under Miri" under_miri wakeful-memory ""
        # Intrusive lists and wakers: the rules that allow for them. Without the tests that let interrupts
        # come everywhere, which would take minutes and do nothing else.
        stage "executor under Miri" under_miri wakeful-executor -Zmiri-tree-borrows --skip interrupted_
        # What has to do with memory and deadlines; the others send many frames.
        stage "stack under Miri" under_miri "wakeful-stack --all-features" -Zmiri-tree-borrows \
            places_are what_is_boxed half_closed wakers reset_connection dropped_listener at_rest no_buffer idle_connection
    ) &
    beside=$!
    failed=
    (
        stage "timer under Miri" under_miri wakeful-timer -Zmiri-tree-borrows
        # What copies, what outlives a restart, and a device that does anything: rings are slow there, as each is
        # hundreds of atomics. One thread needs nobody who looks for races.
        stage "network card under Miri" under_miri wakeful-virtio-net -Zmiri-disable-data-race-detector \
            anything copied outlives
        # Futures that the disk points to, dropped at every stage, reset, and moved from queue to slot; and anything.
        stage "disk under Miri" under_miri wakeful-virtio-blk "-Zmiri-tree-borrows -Zmiri-disable-data-race-detector" \
            a_flush_in_flight between before done_and comes_back just_before
    ) || failed=yes
    wait "$beside" || failed=yes
    [ -z "$failed" ]
else
    skip "tests under Miri" "there is no nightly Rust with Miri"
fi

stage "tests in QEMU" cargo wakeful test
stage "power cuts" cargo wakeful powercut
