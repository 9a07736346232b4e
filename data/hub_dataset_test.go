package data

import (
	"bytes"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"
)

// splitsOf writes files of a data set relative to the snapshot.
func splitsOf(files map[string][]string) string {
	var parts []string
	for _, split := range []string{Train, Validation, Test} {
		for _, name := range files[split] {
			_, inside, _ := strings.Cut(filepath.ToSlash(name), "/snapshots/")
			_, inside, _ = strings.Cut(inside, "/")
			parts = append(parts, split+"="+inside)
		}
	}
	return strings.Join(parts, " ")
}

func repoOf(card string, names ...string) map[string]string {
	files := map[string]string{}
	for _, name := range names {
		files[name] = "text,label\n" + name + ",a\nx,b\n"
	}
	if card != "" {
		files[datasetCard] = card
	}
	return files
}

// Which files a data set consists of: what its card declares or, without that, what names tell.
func TestDatasetFiles(t *testing.T) {
	const two = "---\nlicense: mit\nconfigs:\n- config_name: en\n  data_files:\n  - split: train\n    path: en/train-*\n  - split: dev\n    path:\n    - en/dev.csv\n- config_name: de\n  default: true\n  data_files: de/**/*.csv\n---\n# Reviews\n"
	for _, c := range []struct {
		card, config string
		names        []string
		want, fault  string
	}{
		{"", "", []string{"train.csv", "test.csv", "dev.csv", "notes.txt"}, "train=train.csv validation=dev.csv test=test.csv", ""},
		{"# no front matter\n", "default", []string{"data/train-00000-of-00002.csv", "data/train-00001-of-00002.csv"}, "train=data/train-00000-of-00002.csv train=data/train-00001-of-00002.csv", ""},
		{"---\nlicense: mit\n---\n", "", []string{"training/b.csv", "training/a.csv", "evaluation/test_1.csv"}, "train=training/a.csv train=training/b.csv test=evaluation/test_1.csv", ""},
		{"", "", []string{"reviews.csv"}, "train=reviews.csv", ""},
		{"", "", []string{"train.csv", "b/train.csv", "test.jsonl", ".hidden/train.csv", "dataset_infos.json"}, "train=b/train.csv train=train.csv", ""},
		{two, "", []string{"de/a/x.csv", "de/y.csv", "en/train-1.csv", "en/dev.csv"}, "train=de/a/x.csv train=de/y.csv", ""},
		{strings.ReplaceAll(two, "\n", "\r\n"), "en", []string{"de/y.csv", "en/train-2.csv", "en/train-10.csv", "en/dev.csv"}, "train=en/train-10.csv train=en/train-2.csv validation=en/dev.csv", ""},
		{"---\nconfigs:\n- config_name: a\n  data_files:\n  - {split: train, path: [b.csv, '*.csv']}\n  - {split: train, path: a.csv}\n---\n", "", []string{"a.csv", "b.csv"}, "train=b.csv train=a.csv", ""},
		{"---\nconfigs:\n- config_name: a\n  data_files: '[!a]*.csv'\n---\n", "", []string{"a.csv", "b.csv"}, "train=b.csv", ""},
		{two, "fr", []string{"de/y.csv"}, "", `it has no configuration "fr" (--data-config); nearest: "en" (it has en, de)`},
		{two, "en", []string{"en/dev.csv"}, "", `README.md: configuration "en": no file fits "en/train-*"`},
		{"---\nconfigs:\n- config_name: a\n- config_name: b\n---\n", "", []string{"train.csv"}, "", "it has the configurations a, b; give one (--data-config)"},
		{"---\nconfigs:\n- config_name: a\n  data_dir: one\n- config_name: b\n  data_dir: two\n---\n", "b", []string{"one/train.csv", "two/train.csv", "two/test.csv"}, "train=two/train.csv test=two/test.csv", ""},
		{"---\nconfigs:\n- config_name: a\n  data_files:\n  - split: train\n    path: t[0-3]?.csv\n---\n", "", []string{"t1x.csv", "t4x.csv", "t12x.csv"}, "train=t1x.csv", ""},
		{"---\nconfigs:\n- config_name: a\n  data_files:\n  - split: train\n    path: t[0-3.csv\n---\n", "", []string{"t1.csv"}, "", `pattern "t[0-3.csv": a bracket is not closed`},
		{"---\nconfigs:\n- config_name: a\n  data_files:\n    train: x.csv\n---\n", "", []string{"x.csv"}, "", "data_files: line 5 is not understood; want patterns, or splits with a path"},
		{"---\nconfigs:\n- config_name: a\n  data_files:\n  - split: train\n    path: x.zip\n---\n", "", []string{"x.zip"}, "", "split train has the file x.zip; of its kind none are read, only csv, tsv, jsonl, json, parquet"},
		{"---\nconfigs: [}\n---\n", "", []string{"x.csv"}, "", "README.md: yaml: did not find expected node content"},
		{"", "x", []string{"train.csv"}, "", `it has no configuration "x" (--data-config); nearest: "default" (it has default)`},
		{"", "", []string{"en/train/0000.parquet", "en/train/0001.parquet", "de/test/0000.parquet"}, "", "it has the configurations de, en; give one"},
		{"", "en", []string{"en/train/0000.parquet", "en/train/0001.parquet", "de/test/0000.parquet"}, "train=en/train/0000.parquet train=en/train/0001.parquet", ""},
		{"", "", []string{"en/partial-train/0000.parquet"}, "", "its splits are partial-train; none is called as one for training, validation or testing is"},
		{"", "", []string{"script.py"}, "", "it has no files that are read: csv, tsv, jsonl, json, parquet"},
	} {
		h := newFakeHub(t, repoOf(c.card, c.names...))
		opt := HubOptions{CacheDir: t.TempDir(), Endpoint: h.URL}
		files, info, err := opt.Dataset(t.Context(), "org/name", c.config)
		if c.fault != "" {
			wantError(t, err, c.fault)
			continue
		}
		if got := splitsOf(files); err != nil || got != c.want || info.Commit != commit1 {
			t.Errorf("%q %v: %s, want %s; %+v, %v", c.card, c.names, got, c.want, info, err)
			continue
		}
		h.requests() // and forget them
		for _, again := range []string{"org/name@" + commit1, "org/name"} {
			opt.Offline = again == "org/name"
			if files, _, err = opt.Dataset(t.Context(), again, c.config); err != nil || splitsOf(files) != c.want {
				t.Errorf("%s from the cache: %s, %v", again, splitsOf(files), err)
			}
		}
		if asked := h.requests(); len(asked) > 0 {
			t.Errorf("the cache was not enough: %v", asked)
		}
	}
}

// A repository of scripts has what the hub made of it. A cache that lacks a file of what had all come is not taken for
// whole, and another program's cache is taken with a word.
func TestDatasetInTheCache(t *testing.T) {
	h := newFakeHub(t, repoOf("", "name.py"))
	var b bytes.Buffer
	type row struct {
		Text  string `parquet:"text"`
		Label int64  `parquet:"label"`
	}
	features := `{"info": {"features": {"text": {"_type": "Value"}, "label": {"names": ["pos", "neg"], "_type": "ClassLabel"}}}}`
	if err := parquet.Write(&b, []row{{"good", 0}, {"bad", 1}, {"what", -1}}, parquet.KeyValueMetadata("huggingface", features)); err != nil {
		t.Fatal(err)
	}
	h.branch = &fakeHub{commit: commit2, repo: h.repo, files: map[string]string{"default/train/0000.parquet": b.String(), "default/test/0000.parquet": b.String()}}
	opt := HubOptions{CacheDir: t.TempDir(), Endpoint: h.URL}
	files, info, err := opt.Dataset(t.Context(), "org/name", "")
	if err != nil || info.Commit != commit2 || info.Config != "default" || !strings.Contains(strings.Join(info.Notices, "\n"), "those are taken that the hub made of them (refs/convert/parquet)") {
		t.Fatalf("%v, %+v, %v", files, info, err)
	}
	offline := opt
	offline.Offline = true
	if again, _, err := offline.Dataset(t.Context(), "org/name", ""); err != nil || splitsOf(again) != splitsOf(files) {
		t.Errorf("offline: %v, %v", again, err)
	}
	s, err := lookup(t, "classification").LoadShards(files[Train], Train, true)
	if err != nil || !slices.Equal(s.Task.Labels, []string{"pos", "neg"}) || !slices.Equal(s.Labels(), []float64{0, 1}) || s.Skipped != 1 {
		t.Fatalf("%+v, %v", s, err)
	}
	if _, err := s.Task.LoadShards(nil, Validation, false); err == nil || !strings.Contains(err.Error(), "no validation file") {
		t.Errorf("%v", err)
	}
	if err := os.Remove(files[Test][0]); err != nil {
		t.Fatal(err)
	}
	opt.Offline = true
	_, _, err = opt.Dataset(t.Context(), "org/name@"+commit2, "")
	wantError(t, err, "not whole in the cache", "no default/test/0000.parquet")
	repo := filepath.Join(opt.CacheDir, "hub", "datasets--org--name")
	if err := os.RemoveAll(filepath.Join(repo, "deeplora")); err != nil {
		t.Fatal(err)
	}
	files, info, err = opt.Dataset(t.Context(), "org/name@"+commit2, "")
	if err != nil || splitsOf(files) != "train=default/train/0000.parquet" || !strings.Contains(strings.Join(info.Notices, "\n"), "is taken as it lies in the cache: nothing says whether all of its files are there") {
		t.Errorf("%v, %+v, %v", files, info, err)
	}
}

// Features that are lists of classes are named too; what is no features at all changes nothing.
func TestParquetNamesClasses(t *testing.T) {
	type row struct {
		Text   string  `parquet:"text"`
		Labels []int64 `parquet:"labels,list"`
	}
	for features, want := range map[string]string{
		`{"info": {"features": {"labels": {"feature": {"names": ["b", "a"], "_type": "ClassLabel"}, "_type": "Sequence"}}}}`: "[b a] [0 1 1 0]",
		`{"info": {"features": {"labels": [{"names": ["b", "a"], "_type": "ClassLabel"}]}}}`:                                 "[b a] [0 1 1 0]",
		`{"info": {"features": {"labels": {"_type": "Value"}}}}`:                                                             "[0 1] [0 1 1 0]",
		`not JSON`: "[0 1] [0 1 1 0]",
	} {
		var b bytes.Buffer
		if err := parquet.Write(&b, []row{{"x", []int64{1}}, {"y", []int64{0}}}, parquet.KeyValueMetadata("huggingface", features)); err != nil {
			t.Fatal(err)
		}
		s, err := lookup(t, "multilabel").LoadFiles(ownFile(t, "a.parquet", b.String()), Train, false)
		if err != nil || fmt.Sprint(s.Task.Labels, s.Labels()) != want {
			t.Errorf("%s: %+v, %v; want %s", features, s, err, want)
		}
	}
	var b bytes.Buffer
	one := `{"info": {"features": {"labels": {"feature": {"names": ["b"], "_type": "ClassLabel"}, "_type": "Sequence"}}}}`
	if err := parquet.Write(&b, []row{{"x", []int64{1}}}, parquet.KeyValueMetadata("huggingface", one)); err != nil {
		t.Fatal(err)
	}
	_, err := lookup(t, "multilabel").LoadFiles(ownFile(t, "a.parquet", b.String()), Train, false)
	wantError(t, err, "row 1: column labels: class id 1; the file names 1 classes")
}

// A name of the hub is no file, and no folder that is there.
func TestIsDataset(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.MkdirAll("here/data", fs.ModePerm); err != nil {
		t.Fatal(err)
	}
	for ref, want := range map[string]bool{
		"org/name": true, "here/data": false, "data/reviews.csv": false, "name": false, "a/b/c": false, "../name": false, "./name": false, "/name": false,
		"org/name@main": false, "data/reviews.jsonl.gz": false, "": false, "org/": false,
	} {
		if got := (HubOptions{}).IsDataset(ref); got != want {
			t.Errorf("%s: %v", ref, got)
		}
	}
}

// FuzzDatasetCard holds that any card gives an error or files that there are.
func FuzzDatasetCard(f *testing.F) {
	for _, seed := range []string{
		"---\nconfigs:\n- config_name: a\n  data_files: '**'\n---\n", "---\nconfigs:\n- config_name: a\n  data_dir: ../x\n---\n", "---\n---\n", "---\nconfigs: [&a [*a]]\n---\n",
		"---\nconfigs:\n- config_name: a\n  data_files:\n  - {split: test, path: ['t[a-z]?*.csv']}\n---\n",
	} {
		f.Add([]byte(seed))
	}
	names := slices.Sorted(maps.Keys(repoOf("x", "train.csv", "data/test-1.csv", "a/dev/0000.parquet")))
	f.Fuzz(func(t *testing.T, content []byte) {
		d := &dataset{}
		chosen, err := d.more([]string{datasetCard}, slices.Clone(names), func(string) ([]byte, error) { return content, nil })
		for _, name := range chosen {
			if err == nil && !slices.Contains(names, name) {
				t.Errorf("%q", name)
			}
		}
	})
}
