#!/bin/sh
# Fetches the packages the corpus is made from and unpacks them: fetch.sh DIR. Needs apt and dpkg-deb (Debian,
# Ubuntu). Versions and sums are those of packages.sha256; another version makes another corpus, and says so.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
[ $# = 1 ] || { echo "usage: $0 DIR" >&2; exit 2; }
command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || {
	echo "$0: needs apt-get and dpkg-deb; elsewhere, unpack the packages of packages.sha256 into $1 by hand" >&2
	exit 1
}
mkdir -p "$1"
cd "$1"
while read -r sum file; do
	name=${file%%_*}
	version=$(echo "$file" | sed 's/^[^_]*_//; s/_[^_]*$//; s/%3a/:/')
	if [ ! -f "$file" ]; then
		apt-get download "$name=$version" 2>/dev/null || {
			echo "$0: $name $version is no longer served: taking the newest, the corpus will differ" >&2
			apt-get download "$name"
			file=$(ls -t "${name}"_*.deb | head -n 1)
			sum=
		}
	fi
	[ -z "$sum" ] || echo "$sum  $file" | sha256sum --check --quiet
	dpkg-deb --extract "$file" "$name"
done <"$here/packages.sha256"
