#!/usr/bin/env bash
# What is promised of a GPU, checked on one in ten minutes at most; scripts/gpucheck does it, and says what.
#   scripts/gpu_check.sh --build DIR   where Go and the sources are: all that the machine with the GPU needs, 200 MB
#   DIR/gpu_check.sh --out check.md    there: Linux on x86-64, an NVIDIA driver, and the plugin that
#                                      `DIR/deeplora engine install --cuda` puts there or $PJRT_PLUGIN_LIBRARY_PATH names
#   scripts/gpu_check.sh …             the same with the folder ./gpu-check, or that of --tests DIR; --help lists the rest
# Golden tests read the reference data of $DEEPLORA_SHARED, or beside the repository; without it they are skipped.
set -euo pipefail
here=$(dirname "$0")

build() {
	local out package shared
	mkdir -p "$1"
	out=$(cd "$1" && pwd)
	cd "$here/.."
	export GOEXPERIMENT=simd
	go build -trimpath -o "$out/" ./cmd/deeplora ./scripts/gpucheck
	mkdir -p "$out/bench"
	go build -trimpath -o "$out/bench/" ./bench
	cp bench/peer.py "$out/bench/"
	for package in model lora train; do
		mkdir -p "$out/$package"
		go test -c -trimpath -ldflags '-s -w' -o "$out/$package/" "./$package"
		rm -rf "$out/$package/testdata"
		cp -R "$package/testdata" "$out/$package/"
	done
	shared=${DEEPLORA_SHARED:-$(dirname "$PWD")/shared}
	rm -rf "$out/shared"
	mkdir -p "$out/shared"
	if [ -d "$shared/reference" ]; then
		cp -R "$shared/reference" "$out/shared/"
	else
		echo "gpu_check: no reference data in $shared: golden tests that need it will be skipped" >&2
	fi
	cp scripts/gpu_check.sh "$out/"
	echo "gpu_check: built: $out"
}

if [ "${1:-}" = --build ]; then
	[ $# = 2 ] || { echo "usage: gpu_check.sh --build DIR" >&2 && exit 2; }
	build "$2"
	exit
fi
tests=gpu-check
if [ -x "$here/gpucheck" ] && [ ! -d "$here/gpucheck" ]; then # this is the copy in the folder
	tests=$here
fi
given=$tests
for argument in "$@"; do
	case $argument in
	--tests=*) tests=${argument#--tests=} ;;
	*) [ "$given" != --tests ] || tests=$argument ;;
	esac
	given=$argument
done
if [ ! -x "$tests/gpucheck" ]; then
	echo "gpu_check: $tests has no gpucheck: scripts/gpu_check.sh --build $tests makes it, where Go and the sources are" >&2
	exit 1
fi
exec "$tests/gpucheck" --tests "$tests" "$@"
