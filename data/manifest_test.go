package data

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
)

const sum64 = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

// manifestText is a manifest with one field replaced: "name": value, or dropped if value is empty.
func manifestText(name, value string) string {
	var parts []string
	for _, f := range [][2]string{
		{"version", "1"},
		{"task", `"rte"`},
		{"split", `"train"`},
		{"file", `"train.tsv"`},
		{"sha256", `"` + sum64 + `"`},
		{"rows", "10"},
		{"rule", `"list"`},
		{"seed", "0"},
		{"n", "2"},
		{"indices", "[9,9]"},
	} {
		if f[0] == name {
			f[1] = value
		}
		if f[1] != "" {
			parts = append(parts, fmt.Sprintf("%q: %s", f[0], f[1]))
		}
	}
	return "{" + strings.Join(parts, ", ") + "}"
}

func TestManifestFaults(t *testing.T) {
	if _, err := parseManifest([]byte(manifestText("", ""))); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ field, value, want string }{
		{"version", "2", "version 2; this program knows version 1"},
		{"version", "", `no field "version"`},
		{"task", `""`, "task is empty; want the name of the task that the rows are of"},
		{"split", `"dev"`, `unknown split "dev"`},
		{"file", `7`, "file"},
		{"sha256", `"abc"`, `sha256 "abc"; want 64 hexadecimal digits`},
		{"sha256", `"` + strings.ToUpper(sum64) + `"`, "lower case"},
		{"rows", "0", "rows 0; want at least 1"},
		{"rows", "1e400", "rows"},
		{"rule", `"replacement"`, `unknown rule "replacement"; nearest: with-replacement`},
		{"rule", `"all"`, `rule "all" goes without indices`},
		{"seed", "-1", "seed"},
		{"seed", "null", `field "seed": null is no value`},
		{"n", "3", "2 indices; n is 3"},
		{"n", "0", "n 0; want at least 1"},
		{"indices", "[9,10]", "indices[1] is 10; the file has rows 0 to 9"},
		{"indices", "[-1,0]", "indices[0] is -1"},
		{"indices", "[0,null]", `field "indices": null is no value`},
		{"indices", "[0,0.5]", "indices"},
		{"indices", "", "0 indices; n is 2"},
		{"indices", "[1,2], \"shots\": 2", `unknown field "shots"; nearest: `},
		{"indices", "[1,2], \"Rows\": 2", `unknown field "Rows"; nearest: rows`},
		{"indices", "[1,2], \"rows\": 9", `field "rows" is given twice`},
	} {
		_, err := parseManifest([]byte(manifestText(c.field, c.value)))
		if err == nil {
			t.Errorf("%s %s: no error", c.field, c.value)
			continue
		}
		wantError(t, err, c.want)
	}
	path := filepath.Join(t.TempDir(), "manifest.json")
	if err := os.WriteFile(path, []byte("{}x"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := ReadManifest(path)
	wantError(t, err, "manifest "+path+": text after the JSON object")
	_, err = ReadManifest(path + "x")
	wantError(t, err, "manifest: ", "no such file")
}

func TestReplayChecksTheFile(t *testing.T) {
	whole := numbered(t, 10)
	_, m, err := whole.Sample(DrawOptions{Shots: 3})
	if err != nil {
		t.Fatal(err)
	}
	_, err = m.Replay(numbered(t, 11))
	wantError(t, err, "replay manifest: train.tsv has sha256 ", ", the manifest's train.tsv has ", "; use the file it was drawn from")
	other, err := LoadFS(fstest.MapFS{"train.tsv": text("sentence\tlabel\na\t1\n")}, lookup(t, "cola"), Train)
	if err != nil {
		t.Fatal(err)
	}
	_, err = m.Replay(other)
	wantError(t, err, "it is of task sst2, the data of cola")
	m.Indices[0] = 10
	_, err = m.Replay(whole)
	wantError(t, err, "indices[0] is 10; the file has rows 0 to 9")
	wantError(t, m.Encode(&bytes.Buffer{}), "indices[0] is 10")
}

// An index list of another program (the reference's own draw, say) is imported as rule "list".
func TestReplayAList(t *testing.T) {
	whole := numbered(t, 10)
	file := fmt.Sprintf(`{"version":1,"task":"sst2","split":"train","file":"elsewhere.tsv","sha256":%q,"rows":10,"rule":"list","seed":0,"n":3,"indices":[7,7,0]}`, whole.Source.SHA256)
	m, err := parseManifest([]byte(file))
	if err != nil {
		t.Fatal(err)
	}
	s, err := m.Replay(whole)
	if err != nil {
		t.Fatal(err)
	}
	if got := s.Examples; len(got) != 3 || got[0].Text != "text 7" || !same(got[1], got[0]) || got[2].Text != "text 0" {
		t.Errorf("%+v", got)
	}
}

func FuzzManifest(f *testing.F) {
	f.Add([]byte(manifestText("", "")))
	f.Add([]byte(`{"version":1,"task":"stsb","split":"train","file":"","sha256":"` + sum64 + `","rows":1,"rule":"all","seed":18446744073709551615,"n":1}`))
	f.Fuzz(func(t *testing.T, content []byte) {
		m, err := parseManifest(content)
		if err != nil {
			return
		}
		var first, second bytes.Buffer
		if err := m.Encode(&first); err != nil {
			t.Fatal(err)
		}
		again, err := parseManifest(first.Bytes())
		if err != nil {
			t.Fatalf("%s: %v", first.Bytes(), err)
		}
		if err := again.Encode(&second); err != nil || !bytes.Equal(first.Bytes(), second.Bytes()) {
			t.Fatalf("%s, then %s: %v", first.Bytes(), second.Bytes(), err)
		}
	})
}
