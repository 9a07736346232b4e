#!/usr/bin/env bash
# Known vulnerabilities in what this module calls, by govulncheck: scripts/vulncheck.sh [PACKAGE...]
# Its database is https://vuln.go.dev. Where that is out of reach, this says so and succeeds; with VULNDB=module the
# database is made from its Go module instead, which takes minutes and nothing but a module proxy.
set -euo pipefail
cd "$(dirname "$0")/.."
export GOEXPERIMENT=simd
tools=$PWD/.build/vulncheck
mkdir -p "$tools"

skip() {
	echo "vulncheck: skipped: $1" >&2
	exit 0
}

if ! said=$(GOBIN=$tools go install golang.org/x/vuln/cmd/govulncheck@v1.9.0 2>&1); then
	skip "govulncheck cannot be had: ${said##*$'\n'}"
fi
database=()
if [ "${VULNDB:-}" = module ]; then
	at=$(go list -m -f '{{.Path}} {{.Version}}' golang.org/x/vulndb@latest) || skip "golang.org/x/vulndb cannot be had"
	version=${at#* }
	if [ ! -d "$tools/$version" ]; then
		GOBIN=$tools go install "golang.org/x/vulndb/cmd/indexdb@$version"
		"$tools/indexdb" -vulns "$(go env GOMODCACHE)/golang.org/x/vulndb@$version/data/osv" -out "$tools/$version.tmp"
		mv "$tools/$version.tmp" "$tools/$version"
	fi
	database=(-db "file://$tools/$version")
	echo "vulncheck: $at"
fi
[ $# -gt 0 ] || set -- ./...
code=0
said=$("$tools/govulncheck" "${database[@]}" "$@" 2>&1) || code=$?
if [ $code -eq 1 ] && grep -qiE 'fetching vulnerabilities|dial tcp|no such host|connection refused|proxyconnect|i/o timeout|TLS handshake' <<<"$said"; then
	skip "https://vuln.go.dev cannot be reached; VULNDB=module scripts/vulncheck.sh makes do with a module proxy"
fi
grep -vE '^ +#([2-9]|[0-9]{2,}): ' <<<"$said" || true # of each, the first trace
exit $code
