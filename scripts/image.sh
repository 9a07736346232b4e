#!/usr/bin/env bash
# The steps of the Dockerfile, which need no Docker to be tried: scripts/image_test.sh runs them in a folder.
#
#   scripts/image.sh build DIR                   DIR/program: the program, licences, certificates
#   scripts/image.sh engine cpu|cuda|none DIR    DIR/<engine>: an XLA plugin, for all users of the image
#   scripts/image.sh check cpu|none DIR [BASE]   run what they made with nothing else: an empty home, no network and,
#                                                for root with BASE (a Debian root folder), no other file than BASE's
#
# DIR/program and DIR/<engine> are laid over the root of the base image. Equal content makes equal layers: every file
# has the one date below, and the CPU plugin is the one that internal/plugin/wheels.go pins first, wherever it is built.
set -euo pipefail
cd "$(dirname "$0")/.."
umask 022
export GOEXPERIMENT=simd

date=946684800 # 2000-01-01, in whole seconds: layers keep no more
plugins=usr/local/lib/go-xla
wheels=${DEEPLORA_WHEELS:-.build/wheels} # where the pinned wheel is looked for before the network
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

die() {
	echo "image: $1" >&2
	exit 1
}

# same_date gives all files below a folder the one date, in the plugins' records too: a plugin whose date is not its
# record's is read, all 270 MB of it, at every start.
same_date() {
	find "$1" -name '*.so.json' -exec sed -i -E "s/\"modified_ns\": [0-9]+/\"modified_ns\": ${date}000000000/" {} +
	find "$1" -exec touch --no-dereference --date="@$date" {} +
}

build() {
	local root=$1/program certificates=/etc/ssl/certs/ca-certificates.crt
	rm -rf "$root"
	mkdir -p "$root/usr/local/bin" "$root/usr/share/doc/deeplora" "$root/etc/ssl/certs"
	[ -s $certificates ] || die "no $certificates for what is fetched by https; install the package ca-certificates"
	go build -trimpath -ldflags='-s -w' -o "$root/usr/local/bin/deeplora" ./cmd/deeplora
	cp LICENSE NOTICE "$root/usr/share/doc/deeplora/"
	cp --dereference $certificates "$root/etc/ssl/certs/"
	same_date "$root"
}

# pinned prints a field of the first wheel that the program itself knows.
pinned() {
	local value
	value=$(sed -nE "s/^\t\t$1: *\"([^\"]+)\",.*/\1/p" internal/plugin/wheels.go | head -n 1)
	[ -n "$value" ] || die "internal/plugin/wheels.go: no field $1 is to be found"
	echo "$value"
}

# fetch_wheel downloads a file of a project from the Python index, as `engine install` would. That command is not used:
# it asks go-xla's release first, whose sum nobody has pinned.
fetch_wheel() {
	local project=$1 file=$2 page=${PIP_INDEX_URL:-https://pypi.org/simple} link
	page=${page%/}/$project/
	link=$(curl --fail --silent --show-error --location --retry 3 "$page" | grep -oE "href=\"[^\"#]*/$file" | head -n 1) ||
		die "no $file on $page; set PIP_INDEX_URL, or put the wheel into $wheels"
	link=${link#href=\"}
	case $link in
	*://*) ;;
	/*) link=$(grep -oE '^[a-z]+://[^/]+' <<<"$page")$link ;;
	*) link=$page$link ;;
	esac
	curl --fail --silent --show-error --location --retry 3 --output "$scratch/$file" "$link" ||
		die "no $file from the Python index; put the wheel into $wheels"
}

# engine_cpu installs the pinned plugin, or $DEEPLORA_PLUGIN if it is the same.
engine_cpu() {
	local root=$1 file from project
	file=$(pinned file)
	project=$(pinned project)
	from=${DEEPLORA_PLUGIN:-$wheels/$file}
	if [ ! -f "$from" ]; then
		[ -z "${DEEPLORA_PLUGIN:-}" ] || die "DEEPLORA_PLUGIN: $from is no file"
		fetch_wheel "$project" "$file"
		from=$scratch/$file
	fi
	DEEPLORA_OFFLINE=1 install_into "$root" --from "$from"
	echo "$(pinned pluginSHA256)  $root/$plugins/pjrt_c_api_cpu_deeplora_plugin.so" | sha256sum --check --quiet ||
		die "$from is not the plugin that internal/plugin/wheels.go pins"
}

# engine_cuda installs what go-xla's installer takes for the newest CUDA 13: its files have the sums that the index
# states. DEEPLORA_CUDA_SHA256 pins the plugin itself.
engine_cuda() {
	local root=$1 nvidia=$1/$plugins/nvidia plugin sum missing
	install_into "$root" --cuda
	plugin=$nvidia/pjrt_c_api_cuda_plugin.so
	ln -sfn ../cu13/bin/ptxas "$nvidia/bin/ptxas" # was absolute, into a home that is gone
	[ -x "$nvidia/bin/ptxas" ] || die "CUDA: no ptxas in $nvidia/cu13/bin"
	sum=$(sha256sum "$plugin" | cut -d ' ' -f 1)
	echo "image: the CUDA plugin's sha256 is $sum"
	[ "${DEEPLORA_CUDA_SHA256:-$sum}" = "$sum" ] || die "CUDA: the plugin's sha256 is $sum, want $DEEPLORA_CUDA_SHA256"
	missing=$(ldd "$plugin" | grep 'not found' | grep -v 'libcuda\.so\.1 ' || true) # that one is the driver's
	[ -z "$missing" ] || die "CUDA: the plugin lacks libraries: $missing"
}

# install_into runs `engine install` for a home of its own and makes what it installs that of all users.
install_into() {
	local root=$1
	shift
	HOME=$scratch/home "${root%/*}/program/usr/local/bin/deeplora" engine install --cache "$scratch/cache" "$@"
	mkdir -p "$root/usr/local"
	mv "$scratch/home/.local/lib" "$root/usr/local/lib"
	rm -f "$root/$plugins/.deeplora-install.lock"
}

engine() {
	local kind=$1 root=$2/$1
	[ -x "$2/program/usr/local/bin/deeplora" ] || die "no program in $2; run first: scripts/image.sh build $2"
	rm -rf "$root"
	mkdir -p "$root"
	case $kind in
	cpu) engine_cpu "$root" ;;
	cuda) engine_cuda "$root" ;;
	none) echo "image: no XLA plugin; the image computes with the Go engine, which is slower" >&2 ;;
	*) die "engine $kind: want cpu, cuda or none" ;;
	esac
	same_date "$root"
}

# alone runs the program in an empty environment, without a network where the system lets it be taken away. In a root
# folder it runs as the image's user would, with /proc and what the image has.
alone() {
	local program=/usr/local/bin/deeplora
	local -a clean=(env -i HOME="$home" PATH=/usr/local/bin:/usr/bin:/bin DEEPLORA_OFFLINE=1)
	if [ -n "$base" ]; then
		"${clean[@]}" unshare --mount --pid --fork --net --root="$base" --mount-proc --setgid=10001 --setuid=10001 "$program" "$@"
		return
	fi
	local -a closed=(unshare --map-root-user --net)
	"${closed[@]}" true 2>/dev/null || closed=()
	[ "${#closed[@]}" -gt 0 ] || echo "image: check: with the network, which may not be taken away here" >&2
	"${clean[@]}" PJRT_PLUGIN_LIBRARY_PATH="$dir/$kind/$plugins" "${closed[@]}" "$dir/program$program" "$@"
}

# check fails unless the engine is the one that is taken, and computes.
check() {
	local kind=$1 dir home=$scratch/alone base='' backend=xla:$1
	dir=$(realpath "$2")
	[ "$kind" != none ] || backend=go
	if [ $# -gt 2 ]; then
		[ "$(id -u)" = 0 ] || die "check: only root can run in a root folder"
		base=$scratch/root home=/home/deeplora
		cp -a --one-file-system "$3" "$base"
		cp -a "$dir/$kind/." "$dir/program/." "$base/"
	fi
	mkdir -p "$base$home"
	[ -z "$base" ] || chown 10001:10001 "$base$home"
	alone doctor --json >"$scratch/doctor.json"
	grep -qF "\"default_backend\": \"$backend\"" "$scratch/doctor.json" || {
		cat "$scratch/doctor.json" >&2
		die "check: the default is not $backend"
	}
	alone train --quiet --steps 2 --shots 8 --batch 4 --out "$home/run" --backend "$backend"
	[ -s "$base$home/run/result.json" ] || die "check: train left no result.json"
	echo "image: check: $backend${base:+ in a root folder}: ok"
}

case "${1:-} $#" in
"build 2") build "$2" ;;
"engine 3") engine "$2" "$3" ;;
"check 3" | "check 4") shift && check "$@" ;;
*) die "usage: build DIR | engine cpu|cuda|none DIR | check cpu|none DIR [BASE]" ;;
esac
