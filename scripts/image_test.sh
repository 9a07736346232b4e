#!/usr/bin/env bash
# The steps of the Dockerfile without Docker: from the files that .dockerignore lets through, into a folder, and run
# there with nothing else. The plugin is the user's (make engine), the wheel in $DEEPLORA_WHEELS or from the index;
# where there is none, this says so and tests the image without one.
#   scripts/image_test.sh               a minute
#   IMAGE_BASE=DIR …                    also on a Debian root folder, as debootstrap or `docker export` makes them
#   IMAGE_CUDA=1 …                      also the CUDA plugin, of which 2.4 GB are fetched
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
context=$work/context out=$work/image

fail() {
	echo "image_test: $1" >&2
	exit 1
}

# make_context copies what the builder would be sent.
make_context() {
	local -a sent
	mapfile -t sent < <(sed -n 's/^!//p' .dockerignore)
	mkdir -p "$context"
	for path in "${sent[@]}"; do
		[ -e "$path" ] || continue # .build/wheels
		tar -c --exclude=testdata --exclude='*_test.go' "$path" | tar -x -C "$context"
	done
}

# refused fails unless a step fails and says why.
refused() {
	local why=$1 said
	shift
	if said=$("$@" 2>&1); then
		fail "went through, want a failure with '$why': $*"
	fi
	grep -qF -- "$why" <<<"$said" || fail "$*: does not say '$why': $said"
}

# libc_base makes a root folder of the C library alone, and fails if program or plugin want more.
libc_base() {
	local library
	while read -r library; do
		case ${library##*/} in
		ld-linux-* | libc.so.* | libm.so.* | libdl.so.* | libpthread.so.* | librt.so.*) ;;
		*) fail "$library is wanted, which a base need not have" ;;
		esac
		mkdir -p "$1${library%/*}"
		cp --dereference "$library" "$1$library"
	done < <(ldd "$out/program/usr/local/bin/deeplora" "$out"/cpu/usr/local/lib/go-xla/*_deeplora_plugin.so |
		grep -oE '/[^ ]+\.so[.0-9]*' | grep -v "^$out" | sort -u)
	mkdir -p "$1/proc" "$1/tmp"
}

make_context
step=$context/scripts/image.sh

refused "run first" "$step" engine cpu "$out"
"$step" build "$out"
"$step" engine none "$out"
"$step" check none "$out"
refused "want cpu, cuda or none" "$step" engine tpu "$out"
refused "no fastatomstruct" env DEEPLORA_WHEELS="$work" PIP_INDEX_URL=http://127.0.0.1:9/simple "$step" engine cpu "$out"

pin=$(sed -nE 's/^\t\tpluginSHA256: *"([^"]+)",$/\1/p' internal/plugin/wheels.go | head -n 1)
own=${HOME:-}/.local/lib/go-xla/pjrt_c_api_cpu_deeplora_plugin.so
if echo "$pin  $own" | sha256sum --check --status 2>/dev/null; then
	export DEEPLORA_PLUGIN=$own
fi
if ! said=$("$step" engine cpu "$out" 2>&1); then
	grep -qF 'put the wheel into' <<<"$said" || fail "engine cpu: $said"
	echo "image_test: with a plugin: not run: none can be had; make engine, or put the wheel into .build/wheels"
	exit 0
fi
"$step" check cpu "$out"

# One byte more is another plugin.
mkdir "$work/other"
cp -al "$out/program" "$work/other/"
cp "$out"/cpu/usr/local/lib/go-xla/*_deeplora_plugin.so "$work/pjrt_c_api_cpu_plugin.so"
echo >>"$work/pjrt_c_api_cpu_plugin.so"
refused "is not the plugin" env DEEPLORA_PLUGIN="$work/pjrt_c_api_cpu_plugin.so" "$step" engine cpu "$work/other"

libc_base "$work/libc"
if unshare --mount --pid --fork --net --root=/ --mount-proc true 2>/dev/null; then
	"$step" check cpu "$out" "$work/libc"
	if [ -n "${IMAGE_BASE:-}" ]; then
		"$step" check cpu "$out" "$IMAGE_BASE"
	fi
else
	echo "image_test: in a root folder: not run: this user may not make one"
fi
if [ -n "${IMAGE_CUDA:-}" ]; then
	"$step" engine cuda "$out"
	du -sh "$out/cuda"
fi
du -sh "$out/program" "$out/cpu"
echo "image_test: ok"
