#!/bin/sh
# Feeds the device tree parser with whatever libFuzzer can think of, for a minute or for the seconds
# given.
set -eu
cd "$(dirname "$0")/../crates/devicetree"

if ! cargo fuzz --version >/dev/null 2>&1; then
    echo "fuzz: installing cargo-fuzz" >&2
    cargo install --locked cargo-fuzz --target host-tuple
fi
if ! cargo +nightly --version >/dev/null 2>&1; then
    echo "fuzz: cargo-fuzz needs a nightly Rust: rustup toolchain install nightly --profile minimal" >&2
    exit 1
fi
exec cargo +nightly fuzz run parse -- -max_total_time="${1:-60}"
