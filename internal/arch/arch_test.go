package arch_test

import (
	"bufio"
	"bytes"
	"go/ast"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// These tests hold the imports of the code: what each package may know of the others, who may name an engine, and
// the manners of the library that it is built on. A new package gets a row in mayImport.

const module = "github.com/deeplora/deeplora/"

// basics know nothing of models, adapters, tasks or training, and import one another at most.
var basics = []string{
	"internal/atomicfile", "internal/fetch", "internal/graphx", "internal/jsonfile", "internal/linalg", "internal/memory", "internal/nearest",
	"internal/readfile", "internal/rng", "internal/safetensors", "internal/sums",
}

// mayImport lists, beside the basics, what of the module a package may import. Packages that are absent are a fault.
var mayImport = map[string][]string{
	// The four leaves never import one another.
	"model":                            {},
	"lora":                             {},
	"data":                             {},
	"cmd/deeplora/internal/completion": {},
	"lora/loratest":                    {"lora", "internal/testbackend"},

	// train joins them, and what is built on training comes after.
	"train":                          {"model", "lora", "data", "internal/builtin"},
	"train/export":                   {"train", "model", "lora", "data"},
	"cmd/deeplora/internal/study":    {"train", "model", "lora", "data", "internal/picture"},
	"cmd/deeplora/internal/pretrain": {"train", "model", "data", "cmd/deeplora/internal/wordpiece"},

	"cmd/deeplora/internal/wordpiece": {"data"},
	"internal/picture":                {},

	"engine":                {"internal/plugin"},
	"internal/builtin":      {},
	"internal/plugin":       {"internal/plugin/quiet"},
	"internal/plugin/quiet": {},
	"internal/testbackend":  {"internal/plugin"},
	"internal/testshared":   {},
	"internal/arch":         {},
}

// inTests is what the tests of any package may import besides.
var inTests = []string{"internal/testbackend", "internal/testshared", "internal/builtin", "lora/loratest"}

// programs may import everything but a program.
func isProgram(dir string) bool {
	return dir == "bench" || dir == "cmd/deeplora" || strings.HasPrefix(dir, "scripts/")
}

func imports(file goFile) (paths []string) {
	for _, spec := range file.Imports {
		if name, err := strconv.Unquote(spec.Path.Value); err == nil {
			paths = append(paths, name)
		}
	}
	return paths
}

func TestImportsFollowTheLayout(t *testing.T) {
	for _, file := range parsedFiles(t) {
		dir := path.Dir(file.path)
		allowed, known := mayImport[dir]
		basic := slices.Contains(basics, dir)
		if !known && !basic && !isProgram(dir) {
			t.Errorf("%s: package %s has no row in mayImport: say there what it may import", file.path, dir)
			continue
		}
		allowed = slices.Concat(allowed, basics, []string{dir})
		if strings.HasSuffix(file.path, "_test.go") {
			allowed = slices.Concat(allowed, inTests)
		}
		for _, name := range imports(file) {
			ours, ok := strings.CutPrefix(name, module)
			switch {
			case !ok:
			case isProgram(ours):
				t.Errorf("%s imports %s, which is a program", file.path, ours)
			case !isProgram(dir) && !slices.Contains(allowed, ours):
				t.Errorf("%s imports %s; %s may import %s", file.path, ours, dir, strings.Join(slices.Concat(mayImport[dir], basics), ", "))
			}
		}
	}
}

// The longest chain of packages is five: cmd, study, train, a leaf, a basic. Rows of mayImport form no circle, or
// this would not end.
func TestLayersAreFew(t *testing.T) {
	var depth func(dir string) int
	depth = func(dir string) int {
		deepest := 0
		next := mayImport[dir]
		if !slices.Contains(basics, dir) {
			next = append(slices.Clone(next), basics[0])
		}
		for _, below := range next {
			deepest = max(deepest, depth(below))
		}
		return deepest + 1
	}
	for _, dir := range slices.Sorted(maps.Keys(mayImport)) {
		if slices.Contains(inTests, dir) {
			continue
		}
		if n := depth(dir) + 1; n > 5 { // and cmd above it
			t.Errorf("cmd to %s to the basics is %d packages, want at most 5", dir, n)
		}
	}
}

// engines are what computes: nobody asks for a particular one but the package that opens them, the one that installs
// plugins, and the one that tests compute on.
var engines = []string{"github.com/gomlx/compute/gobackend", "github.com/gomlx/go-xla", "github.com/gomlx/gomlx/backends"}

func mayNameEngines(file string) bool {
	dir := path.Dir(file)
	return dir == "engine" || dir == "internal/plugin" || dir == "internal/testbackend"
}

func TestOnlyEngineNamesAnEngine(t *testing.T) {
	named := map[string]bool{}
	for _, file := range parsedFiles(t) {
		for _, name := range imports(file) {
			for _, engine := range engines {
				if name != engine && !strings.HasPrefix(name, engine+"/") {
					continue
				}
				named[engine] = true
				if !mayNameEngines(file.path) {
					t.Errorf("%s imports %s: take a compute.Backend as an argument, and in tests one of internal/testbackend", file.path, name)
				}
			}
		}
	}
	if len(named) < 2 {
		t.Errorf("found %v named anywhere: are the names right?", named)
	}
}

// GoMLX has packages called model and train too: under those names they would be taken for ours.
var renamed = map[string]string{
	"github.com/gomlx/gomlx/ml/model": "gmodel", "github.com/gomlx/gomlx/ml/train": "gtrain",
}

func TestImportNames(t *testing.T) {
	const dotted = "github.com/gomlx/gomlx/core/graph"
	for _, file := range parsedFiles(t) {
		for _, spec := range file.Imports {
			name, _ := strconv.Unquote(spec.Path.Value)
			as := ""
			if spec.Name != nil {
				as = spec.Name.Name
			}
			if want := renamed[name]; want != "" && as != want {
				t.Errorf("%s imports %s as %q, want %s", file.path, name, as, want)
			}
			if as == "." && name != dotted {
				t.Errorf("%s imports %s with a dot; only %s is read so", file.path, name, dotted)
			}
		}
	}
}

// Every package says what lives in it, once, in the words godoc expects.
func TestPackagesAreDocumented(t *testing.T) {
	docs, names := map[string][]string{}, map[string]string{}
	for _, file := range parsedFiles(t) {
		if strings.HasSuffix(file.path, "_test.go") {
			continue
		}
		dir := path.Dir(file.path)
		names[dir] = file.Name.Name
		if file.Doc != nil {
			docs[dir] = append(docs[dir], file.Doc.Text())
		}
	}
	for _, dir := range slices.Sorted(maps.Keys(names)) {
		name := names[dir]
		switch found := docs[dir]; {
		case len(found) != 1:
			t.Errorf("%s has %d package comments, want one", dir, len(found))
		case name != "main" && !strings.HasPrefix(found[0], "Package "+name+" "):
			t.Errorf("%s: its comment begins %.40q, want %q", dir, found[0], "Package "+name+" …")
		case len(strings.Fields(found[0])) < 15:
			t.Errorf("%s: its comment %q does not say what lives there and what may not", dir, found[0])
		}
	}
}

// A function fits a screen.
func TestFunctionsFitAScreen(t *testing.T) {
	const limit = 60
	for _, file := range parsedFiles(t) {
		if strings.HasSuffix(file.path, "_test.go") {
			continue // tables of cases are read a row at a time
		}
		for _, declaration := range file.Decls {
			f, ok := declaration.(*ast.FuncDecl)
			if !ok {
				continue
			}
			if n := positions.Position(f.End()).Line - positions.Position(f.Pos()).Line + 1; n > limit {
				t.Errorf("%s: %s has %d lines, want at most %d: is there a second idea in it?", file.path, f.Name.Name, n, limit)
			}
		}
	}
}

// The reference data beside the repository is for tests, and tests find it through internal/testshared.
func TestOnlyTestsharedKnowsWhereReferencesLie(t *testing.T) {
	shared := []byte(".." + "/shared")
	err := filepath.WalkDir(repository, func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (entry.Name() == ".git" || entry.Name() == "bin" || entry.Name() == "testshared"):
			return filepath.SkipDir
		case !entry.Type().IsRegular():
			return nil
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		lines := bufio.NewScanner(bytes.NewReader(text))
		lines.Buffer(nil, 1<<30)
		for n := 1; lines.Scan(); n++ {
			if bytes.Contains(lines.Bytes(), shared) {
				t.Errorf("%s:%d names the folder; call testshared.Path", name, n)
			}
		}
		return lines.Err()
	})
	if err != nil {
		t.Fatal(err)
	}
}
