#!/bin/sh
# Fetches the packages the corpus is made from and unpacks them: fetch.sh DIR. Needs apt and dpkg-deb (Debian,
# Ubuntu). Versions and sums are those of packages.sha256; another version makes another corpus, and says so.
set -eu
[ $# = 1 ] || { echo "usage: $0 DIR" >&2; exit 2; }
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || {
	echo "$0: needs apt-get and dpkg-deb; elsewhere, unpack each package of packages.sha256 into $1/NAME by hand" >&2
	exit 1
}
mkdir -p -- "$1"
CDPATH='' cd -- "$1"
temp=$(mktemp -d)
trap 'rm -rf "$temp"' EXIT
while read -r sum file; do
	name=${file%%_*}
	version=$(echo "$file" | sed 's/^[^_]*_//; s/_[^_]*$//; s/%3a/:/')
	if [ ! -f "$file" ] && ! apt-get download "$name=$version" </dev/null; then
		echo "$0: could not get $name $version: taking the newest, the corpus will differ" >&2
		newest=$(mktemp -d "$temp/XXXXXX") # a folder of its own, since what the file is called is not known
		(cd "$newest" && apt-get download "$name" </dev/null) || {
			echo "$0: could not get $name either; does apt-get update help?" >&2
			exit 1
		}
		file=$(echo "$newest"/*.deb)
		sum=
	fi
	if [ -n "$sum" ] && ! echo "$sum  $file" | sha256sum --check --quiet; then
		echo "$0: $1/$file is not the file of packages.sha256; delete it and start again" >&2
		exit 1
	fi
	dpkg-deb --extract "$file" "$name"
done <"$here/packages.sha256"
