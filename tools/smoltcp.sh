#!/usr/bin/env bash
# Checks that crates/smoltcp is the published smoltcp with wakeful.patch applied; `--update` writes the patch.
set -euo pipefail
cd "$(dirname "$0")/.."

ours=crates/smoltcp
version=$(sed -n 's/^version = "\(.*\)+wakeful"$/\1/p' "$ours/Cargo.toml")
# The tools name the published one among their dependencies, so that Cargo has it.
cargo fetch --quiet --locked
published=$(find "${CARGO_HOME:-$HOME/.cargo}/registry/src" -maxdepth 2 -name "smoltcp-$version" -print -quit)
if [ -z "$published" ]; then
    echo "smoltcp.sh: the published smoltcp $version is not in Cargo's registry" >&2
    exit 1
fi
# Names are relative to the package, and there are no dates.
difference() {
    for root in "$published" "$ours"; do
        (cd "$root" && find build.rs src -name '*.rs')
    done | sort -u | while read -r file; do
        diff -uN --label "a/$file" --label "b/$file" "$published/$file" "$ours/$file" || true
    done
}
if [ "${1:-}" = --update ]; then
    difference >"$ours/wakeful.patch"
elif ! difference | diff -u "$ours/wakeful.patch" - >&2; then
    echo "smoltcp.sh: crates/smoltcp is not smoltcp $version with its wakeful.patch; after a change on purpose:" \
        "tools/smoltcp.sh --update" >&2
    exit 1
fi
