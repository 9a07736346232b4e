#!/bin/sh
# Builds libtokenizers.a, the Rust library behind the build tag "daulet", from the sources inside the
# Go module github.com/daulet/tokenizers: the version go.mod names, so that archive and Go code agree
# (they are tied by a link-time symbol). Needs go and cargo; takes about two minutes.
#
#	scripts/build_tokenizers.sh DIR        # DIR/libtokenizers.a; prints the variable to build with
#	CGO_LDFLAGS=-LDIR go test -tags daulet ./data/
set -eu

usage() {
	echo "usage: $0 DIR (where libtokenizers.a is put)" >&2
	exit 2
}
fail() {
	echo "build_tokenizers: $*" >&2
	exit 1
}

[ $# -eq 1 ] || usage
case $1 in -*) usage ;; esac
for tool in go cargo; do
	command -v "$tool" >/dev/null || fail "$tool is not on the PATH; install it first"
done
mkdir -p "$1"
out=$(cd "$1" && pwd)

cd "$(dirname "$0")/.."
module=github.com/daulet/tokenizers
go mod download "$module" || fail "go cannot fetch $module"
source=$(go list -m -f '{{.Dir}}' "$module")
[ -d "$source/crates/tokenizers" ] || fail "$source holds no Rust sources"

# The module cache is read-only, and cargo writes beside its manifest.
build=$(mktemp -d "${TMPDIR:-/tmp}/tokenizers.XXXXXX")
trap 'chmod -R u+w "$build"; rm -rf "$build"' EXIT
trap 'exit 130' INT TERM
cp -R "$source/." "$build"
chmod -R u+w "$build"
cd "$build"

# tiktoken-rs comes from a git repository there, which closed networks cannot reach, and serves models
# we do not have. The newest release in the registry has the same functions. Every other dependency
# keeps the version of the module's own Cargo.lock, with its checksum.
sed 's|^tiktoken-rs = .*|tiktoken-rs = "0.7"|' crates/tokenizers/Cargo.toml >manifest
grep -q '^tiktoken-rs = "0.7"$' manifest || fail "crates/tokenizers/Cargo.toml no longer names tiktoken-rs; adapt this script"
mv manifest crates/tokenizers/Cargo.toml

cargo build --release --package tokenizers-ffi >&2
[ -f target/release/libtokenizers_ffi.a ] || fail "cargo left no target/release/libtokenizers_ffi.a"

# A reader never sees half an archive: copied beside its place, then renamed.
cp target/release/libtokenizers_ffi.a "$out/.libtokenizers.a.tmp"
mv "$out/.libtokenizers.a.tmp" "$out/libtokenizers.a"
echo "CGO_LDFLAGS=-L$out"
