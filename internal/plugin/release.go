package plugin

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// This file fetches the plugin that go-xla's own installer would fetch. That installer is not run: its
// requests have no timeout, it checks no sum and writes escape codes to standard output
// (docs/decisions/0012-engine.md).

const (
	releaseAddress = "https://api.github.com/repos/gomlx/pjrt-cpu-binaries/releases/tags/"
	// releaseVersion is what go-xla v0.4.2 is made for; a test compares it with go-xla's own constant.
	releaseVersion = "v0.114.0"
)

// releasePlatforms have an archive whose plugin can be loaded at run time.
var releasePlatforms = []string{"linux_amd64", "linux_arm64", "darwin_arm64"}

// asset is a file of a release. GitHub states a digest for all that were uploaded since June 2025.
type asset struct {
	Name   string
	URL    string `json:"browser_download_url"`
	Size   int64
	Digest string // sha256:<hex>, or empty
}

func (in *installer) fromRelease(ctx context.Context) (Plugin, error) {
	name := in.goos + "_" + in.arch
	if !slices.Contains(releasePlatforms, name) {
		return Plugin{}, fmt.Errorf("it has no plugin for %s/%s", in.goos, in.arch)
	}
	name = "pjrt_cpu_" + name + ".tar.gz"
	a, err := in.findAsset(ctx, name)
	if err != nil {
		return Plugin{}, err
	}
	u, err := url.Parse(a.URL)
	if err != nil || !strings.HasPrefix(u.Scheme, "http") {
		return Plugin{}, fmt.Errorf("it has no address for %s", name)
	}
	sum, _ := strings.CutPrefix(a.Digest, "sha256:")
	if !hexSHA256.MatchString(sum) {
		sum = ""
	}
	file := filepath.Join(in.cache, releaseVersion+"-"+name)
	if err := in.download(ctx, wanted{u, name, a.Size, sum}, file); err != nil {
		return Plugin{}, err
	}
	p, err := in.placeFile(file, "", "", origin{"go-xla release", releaseVersion})
	_ = os.Remove(file) // a cache may keep what it cannot lose
	return p, err
}

// findAsset asks for the release within a few seconds: in a closed network this is where time is lost.
func (in *installer) findAsset(ctx context.Context, name string) (asset, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, in.patience, fmt.Errorf("no answer within %v", in.patience))
	defer cancel()
	in.progress("ask for go-xla's release", 0, 0)
	content, at, err := in.client.Page(ctx, in.release.JoinPath(releaseVersion).String(), http.Header{"Accept": {"application/vnd.github+json"}}, maxPage)
	if err != nil {
		return asset{}, err
	}
	var release struct{ Assets []asset }
	if err := json.Unmarshal(content, &release); err != nil {
		return asset{}, fmt.Errorf("read %s: %w", at.Redacted(), err)
	}
	i := slices.IndexFunc(release.Assets, func(a asset) bool { return a.Name == name })
	if i < 0 {
		return asset{}, fmt.Errorf("it has no file %s", name)
	}
	return release.Assets[i], nil
}
