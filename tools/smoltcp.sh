#!/usr/bin/env bash
# Checks that crates/smoltcp is the published smoltcp with wakeful.patch applied; `--update` writes the patch.
set -euo pipefail
cd "$(dirname "$0")/.."

ours=crates/smoltcp
version=$(sed -n 's/^version = "\(.*\)+wakeful"$/\1/p' "$ours/Cargo.toml")
# The tools depend on the published one, so that Cargo has it.
cargo fetch --quiet --locked
published=$(find "${CARGO_HOME:-$HOME/.cargo}/registry/src" -maxdepth 2 -name "smoltcp-$version" -print -quit)
if [ -z "$published" ]; then
    echo "smoltcp.sh: the published smoltcp $version is not in Cargo's registry" >&2
    exit 1
fi
difference() {
    diff -ru --label a --label b "$published/build.rs" "$ours/build.rs" || true
    # Names relative to the package, and no dates.
    (cd "$published" && find src -name '*.rs' | sort) | while read -r file; do
        diff -u --label "a/$file" --label "b/$file" "$published/$file" "$ours/$file" || true
    done
    diff -rq "$published/src" "$ours/src" | grep '^Only in' || true
}
if [ "${1:-}" = --update ]; then
    difference >"$ours/wakeful.patch"
elif ! difference | diff -u "$ours/wakeful.patch" - >&2; then
    echo "smoltcp.sh: crates/smoltcp is not smoltcp $version with its wakeful.patch; after a change on purpose:" \
        "tools/smoltcp.sh --update" >&2
    exit 1
fi
