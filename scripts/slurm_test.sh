#!/usr/bin/env bash
# The tests of `compare --executor slurm` on a Slurm of one node, set up for them and taken down again. Where that
# cannot be done (not Debian, not root, no network) it says so and passes.
set -euo pipefail
cd "$(dirname "$0")/.."
export GOEXPERIMENT=simd
dir=.build/slurm

if settings=$(scripts/slurm_one_node.sh start "$dir"); then
	eval "$settings"
elif [ $? = 3 ]; then
	echo "slurm tests: not run: there is no Slurm here"
	exit 0
else
	exit 1
fi
trap 'scripts/slurm_one_node.sh stop "$dir"' EXIT
DEEPLORA_SLURM=1 go test -count=1 ./cmd/deeplora/internal/study ./cmd/deeplora -run 'Slurm'
