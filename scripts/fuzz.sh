#!/usr/bin/env bash
# Runs fuzz targets for a time each, all of them or those named: scripts/fuzz.sh 1m [TARGET...]
# KEEP=N adds to each target's corpus in testdata/fuzz the N smallest inputs that covered something new.
set -euo pipefail
cd "$(dirname "$0")/.."
export GOEXPERIMENT=simd
time=${1:-1m}
shift || true
wanted=" $* "
keep=${KEEP:-0}

keep() { # directory, target
	local cache corpus="$1/testdata/fuzz/$2"
	cache="$(go env GOCACHE)/fuzz/$(go list "$1")/$2"
	[ "$keep" -gt 0 ] && [ -d "$cache" ] || return 0
	mkdir -p "$corpus"
	find "$cache" -type f -size -8k -printf '%s %f\n' | sort -n | head -n "$keep" | while read -r _ name; do
		cp "$cache/$name" "$corpus/$name"
	done
	echo "corpus $corpus: $(find "$corpus" -type f | wc -l) inputs"
}

grep -rhoE --include='*_test.go' '^func Fuzz[A-Za-z0-9]+' -l . | xargs -n1 dirname | sort -u | while read -r dir; do
	for target in $(grep -hoE '^func Fuzz[A-Za-z0-9]+' "$dir"/*_test.go | sed 's/func //' | sort); do
		[ "$wanted" = "  " ] || [[ "$wanted" == *" $target "* ]] || continue
		echo "== $dir $target"
		# Minimising one finding for a minute, the default, would use up the time of the target.
		[ "$time" = 0 ] || go test "$dir" -run xxx -fuzz "^$target\$" -fuzztime "$time" -fuzzminimizetime 20x
		keep "$dir" "$target"
	done
done
