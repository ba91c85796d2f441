#!/bin/sh
# Feeds the device tree parser, partition tables, FAT volumes, and the web server's side without sockets, with whatever libFuzzer
# can think of: each for a minute, or for the seconds given.
set -eu
cd "$(dirname "$0")/../crates"

if ! cargo fuzz --version >/dev/null 2>&1; then
    echo "fuzz: installing cargo-fuzz" >&2
    cargo install --locked cargo-fuzz --target host-tuple
fi
if ! cargo +nightly --version >/dev/null 2>&1; then
    echo "fuzz: cargo-fuzz needs a nightly Rust: rustup toolchain install nightly --profile minimal" >&2
    exit 1
fi
seconds=${1:-60}

# fuzz CRATE TARGET SEEDS…
fuzz() {
    echo "fuzz: $1, for $seconds s" >&2
    (
        cd "$1"
        corpus=fuzz/corpus/$2
        target=$2
        shift 2
        mkdir -p "$corpus"
        cargo +nightly fuzz run "$target" "$corpus" "$@" -- -max_total_time="$seconds"
    )
}

fuzz block tables
fuzz devicetree parse tests/data
fuzz fat volumes
fuzz web converse tests/requests ../../tools/requests
