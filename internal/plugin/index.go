package plugin

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
)

// This file reads a Python package index: its simple API, as JSON (PEP 691) or as HTML (PEP 503).

const (
	defaultIndex = "https://pypi.org/simple"
	maxPage      = 64 << 20 // bytes of a project's page
	acceptSimple = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1"
)

// indexFile is a file that an index offers.
type indexFile struct {
	name   string
	url    *url.URL
	sha256 string // lower case; empty if the index states none
}

// indexURL is the index to ask: PIP_INDEX_URL, index-url of pip's configuration files, the public one.
// PIP_EXTRA_INDEX_URL is not read: the files are pinned, so a second index adds nothing but a place to fail.
func indexURL() (*url.URL, error) {
	address, from := os.Getenv("PIP_INDEX_URL"), "PIP_INDEX_URL"
	for _, file := range pipConfigFiles() {
		if address == "" {
			address, from = pipIndexURL(file), file
		}
	}
	if address == "" {
		address, from = defaultIndex, "the default"
	}
	u, err := url.Parse(strings.TrimSpace(address))
	if err != nil {
		return nil, fmt.Errorf("the index of %s is not an address: %w", from, errors.Unwrap(err)) // url.Error would show a password
	}
	if (u.Scheme != "https" && u.Scheme != "http") || u.Host == "" {
		return nil, fmt.Errorf("the index of %s, %s, is not an address with https:// or http://; for files use --from", from, u.Redacted())
	}
	return u, nil
}

// pipConfigFiles are where pip keeps its settings, the strongest first.
func pipConfigFiles() []string {
	if file := os.Getenv("PIP_CONFIG_FILE"); file == os.DevNull {
		return nil // pip's own way to say: no files
	} else if file != "" {
		return append([]string{file}, pipUserFiles()...)
	}
	return pipUserFiles()
}

func pipUserFiles() []string {
	var files []string
	if dir, err := os.UserConfigDir(); err == nil {
		files = append(files, filepath.Join(dir, "pip", "pip.conf"))
	}
	if home, err := os.UserHomeDir(); err == nil {
		files = append(files, filepath.Join(home, ".pip", "pip.conf"))
	}
	return append(files, "/etc/xdg/pip/pip.conf", "/etc/pip.conf")
}

// pipIndexURL returns index-url of the sections global and install, "" if there is none or no file.
func pipIndexURL(file string) string {
	f, err := os.Open(file)
	if err != nil {
		return ""
	}
	defer f.Close()
	return parsePipConfig(io.LimitReader(f, 1<<20))
}

func parsePipConfig(r io.Reader) string {
	var section string
	found := map[string]string{}
	for lines := bufio.NewScanner(r); lines.Scan(); {
		line := strings.TrimSpace(lines.Text())
		if name, ok := strings.CutPrefix(line, "["); ok {
			section, _, _ = strings.Cut(name, "]")
			continue
		}
		at := strings.IndexAny(line, "=:")
		if at < 0 || strings.HasPrefix(line, "#") || strings.HasPrefix(line, ";") {
			continue
		}
		key := strings.ReplaceAll(strings.ToLower(strings.TrimSpace(line[:at])), "_", "-")
		if key == "index-url" {
			found[section] = strings.TrimSpace(line[at+1:])
		}
	}
	if found["install"] != "" {
		return found["install"]
	}
	return found["global"]
}

// projectPage lists the files of a project.
func (in *installer) projectPage(ctx context.Context, project string) ([]indexFile, error) {
	// A path that ends in a slash: without it indexes redirect, and relative addresses mean something else.
	page := in.index.JoinPath(project + "/")
	content, base, err := in.client.Page(ctx, page.String(), http.Header{"Accept": {acceptSimple}}, maxPage)
	if err != nil {
		return nil, err
	}
	inheritUser(base, page)
	files, err := parseSimple(base, content)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", page.Redacted(), err)
	}
	return files, nil
}

// parseSimple reads a project's page. Mirrors get the content type wrong, so the content tells JSON from
// HTML.
func parseSimple(base *url.URL, body []byte) ([]indexFile, error) {
	if text := strings.TrimSpace(string(body[:min(len(body), 512)])); strings.HasPrefix(text, "{") {
		return parseSimpleJSON(base, body)
	}
	return parseSimpleHTML(base, string(body)), nil
}

func parseSimpleJSON(base *url.URL, body []byte) ([]indexFile, error) {
	var page struct {
		Files []struct {
			Filename string
			URL      string
			Hashes   map[string]string
		}
	}
	if err := json.Unmarshal(body, &page); err != nil {
		return nil, fmt.Errorf("not a page of the simple API: %w", err)
	}
	var files []indexFile
	for _, f := range page.Files {
		if u, err := base.Parse(f.URL); err == nil {
			inheritUser(u, base)
			files = append(files, indexFile{f.Filename, u, strings.ToLower(f.Hashes["sha256"])})
		}
	}
	return files, nil
}

var anchor = regexp.MustCompile(`(?is)<a\s[^>]*?\bhref\s*=\s*(?:"([^"]*)"|'([^']*)')`)

// parseSimpleHTML takes the name from the address, whose last part it is by PEP 503.
func parseSimpleHTML(base *url.URL, body string) []indexFile {
	var files []indexFile
	for _, m := range anchor.FindAllStringSubmatch(body, -1) {
		u, err := base.Parse(html.UnescapeString(m[1] + m[2]))
		if err != nil {
			continue
		}
		sum, _ := strings.CutPrefix(u.Fragment, "sha256=")
		if sum == u.Fragment {
			sum = ""
		}
		u.Fragment, u.RawFragment = "", ""
		inheritUser(u, base)
		files = append(files, indexFile{path.Base(u.Path), u, strings.ToLower(sum)})
	}
	return files
}

// inheritUser gives name and password of an index to addresses on the same server, as pip does.
func inheritUser(u, from *url.URL) {
	if u.User == nil && from.User != nil && u.Scheme == from.Scheme && u.Host == from.Host {
		u.User = from.User
	}
}
