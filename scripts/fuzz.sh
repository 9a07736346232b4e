#!/usr/bin/env bash
# Runs every fuzz target of the project for a time each: scripts/fuzz.sh 1m
set -euo pipefail
cd "$(dirname "$0")/.."
export GOEXPERIMENT=simd
time=${1:-1m}
grep -rhoE --include='*_test.go' '^func Fuzz[A-Za-z0-9]+' -l . | xargs -n1 dirname | sort -u | while read -r dir; do
	for target in $(grep -hoE '^func Fuzz[A-Za-z0-9]+' "$dir"/*_test.go | sed 's/func //' | sort); do
		echo "== $dir $target"
		# Minimising one finding for a minute, the default, would use up the time of the target.
		go test "$dir" -run xxx -fuzz "^$target\$" -fuzztime "$time" -fuzzminimizetime 20x
	done
done
