#!/usr/bin/env bash
# ONNX exports in hugot beside deeplora predict: scripts/check_hugot.sh [--optional] [options of scripts/hugot]
# hugot is a Go module of its own version of GoMLX, so the check is a module too (scripts/hugot). Where its modules cannot
# be fetched this says so and exits with 3, or 0 with --optional.
set -euo pipefail
cd "$(dirname "$0")/.."
export GOEXPERIMENT=simd
without=3
if [ "${1:-}" = --optional ]; then
	without=0
	shift
fi
if ! said=$(cd scripts/hugot && timeout 900 go mod download 2>&1); then
	echo "check_hugot: not run: the modules of scripts/hugot cannot be had: ${said##*$'\n'}"
	exit $without
fi
mkdir -p .build/check_hugot
(cd scripts/hugot && go vet . && go build -o ../../.build/check_hugot/hugot .)
.build/check_hugot/hugot "$@"
