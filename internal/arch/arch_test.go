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

// These tests hold the structure of the code: what each package may know of the others, how much of it a user sees, who
// may name an engine, and the manners of the library that it is built on.

const module = "github.com/deeplora/deeplora/"

// floors are the packages from the ground up. A package may import those of lower floors; of its own floor only what
// beside says, but on the ground, where Go itself forbids circles.
var floors = []struct {
	name string
	has  func(dir string) bool
}{
	{"ground", func(dir string) bool { return strings.HasPrefix(dir, "internal/") }},
	{"leaves", oneOf("model", "lora", "data", "engine", "train/loop")},
	{"run", oneOf("train", "lora/loratest")},
	{"export", oneOf("train/export")},
	{"applications", func(dir string) bool { return strings.HasPrefix(dir, "cmd/deeplora/internal/") }},
	{"programs", func(dir string) bool {
		return dir == "cmd/deeplora" || dir == "bench" || strings.HasPrefix(dir, "scripts/")
	}},
}

func oneOf(dirs ...string) func(string) bool {
	return func(dir string) bool { return slices.Contains(dirs, dir) }
}

// beside are the imports within a floor.
var beside = map[string][]string{
	"cmd/deeplora/internal/pretrain":  {"cmd/deeplora/internal/wordpiece"},
	"cmd/deeplora/internal/study":     {"cmd/deeplora/internal/page"},
	"cmd/deeplora/internal/runreport": {"cmd/deeplora/internal/page"},
	"cmd/deeplora/internal/serve":     {"cmd/deeplora/internal/site"},
	"cmd/deeplora/internal/watch":     {"cmd/deeplora/internal/page", "cmd/deeplora/internal/pretrain", "cmd/deeplora/internal/runreport", "cmd/deeplora/internal/site"},
}

// inTests is what the tests of a package above the ground may import besides; the example of a whole program also exports.
var inTests = []string{"lora/loratest", "engine", "train/export"}

// floorOf is a package's floor, -1 for none.
func floorOf(dir string) int {
	for i, f := range floors {
		if f.has(dir) {
			return i
		}
	}
	return -1
}

func imports(file goFile) (paths []string) {
	for _, spec := range file.Imports {
		if name, err := strconv.Unquote(spec.Path.Value); err == nil {
			paths = append(paths, name)
		}
	}
	return paths
}

// ours are the imports of a file within the module, by folder.
func ours(file goFile) (dirs []string) {
	for _, name := range imports(file) {
		if dir, ok := strings.CutPrefix(name, module); ok {
			dirs = append(dirs, dir)
		}
	}
	return dirs
}

// No arrow runs back up: a package imports what stands below it.
func TestNoArrowRunsBackUp(t *testing.T) {
	for _, file := range parsedFiles(t) {
		dir := path.Dir(file.path)
		at := floorOf(dir)
		if at < 0 {
			t.Errorf("%s: package %s stands on no floor: say in floors where it belongs", file.path, dir)
			continue
		}
		test := strings.HasSuffix(file.path, "_test.go")
		for _, to := range ours(file) {
			below := floorOf(to)
			switch {
			case to == dir, below >= 0 && below < at, at == 0 && below == 0, slices.Contains(beside[dir], to):
			case test && (slices.Contains(inTests, to) || below >= 0 && below <= 1 && at > 0):
			default:
				t.Errorf("%s imports %s, which does not stand below it", file.path, to)
			}
		}
	}
}

// graph are the imports of the module's packages, without those of their tests.
func graph(t *testing.T) map[string][]string {
	t.Helper()
	of := map[string][]string{}
	for _, file := range parsedFiles(t) {
		if dir := path.Dir(file.path); !strings.HasSuffix(file.path, "_test.go") {
			of[dir] = append(of[dir], ours(file)...)
		}
	}
	return of
}

// The longest chain of imports, from the command to the ground, is short.
func TestLayersAreFew(t *testing.T) {
	const limit = 9
	of := graph(t)
	chains := map[string][]string{}
	var chain func(dir string) []string
	chain = func(dir string) []string {
		if known, ok := chains[dir]; ok {
			return known
		}
		var longest []string
		for _, below := range of[dir] {
			if c := chain(below); len(c) > len(longest) {
				longest = c
			}
		}
		chains[dir] = append([]string{dir}, longest...)
		return chains[dir]
	}
	ground := 0
	for dir := range of {
		if floorOf(dir) == 0 {
			ground++
		}
	}
	longest := chain("cmd/deeplora")
	t.Logf("%d packages, %d of them on the ground; the longest chain is %s", len(of), ground, strings.Join(longest, " > "))
	if len(longest) > limit {
		t.Errorf("%d packages in a chain, want at most %d: %s", len(longest), limit, strings.Join(longest, " > "))
	}
}

// What a user imports is small: types, functions, constants and variables at the top level.
func TestExportedNamesAreFew(t *testing.T) {
	const limit = 40
	for _, dir := range []string{"model", "lora", "data", "train", "train/loop", "train/export", "engine"} {
		names := exported(t, dir)
		t.Logf("%s: %d exported names", dir, len(names))
		if len(names) > limit || len(names) == 0 {
			t.Errorf("%s exports %d names, want 1 to %d: %s", dir, len(names), limit, strings.Join(names, " "))
		}
	}
}

func exported(t *testing.T, dir string) (names []string) {
	t.Helper()
	add := func(id *ast.Ident) {
		if id.IsExported() {
			names = append(names, id.Name)
		}
	}
	for _, file := range parsedFiles(t) {
		if path.Dir(file.path) != dir || strings.HasSuffix(file.path, "_test.go") || file.path == "data/daulet_off.go" {
			continue
		}
		for _, declaration := range file.Decls {
			switch d := declaration.(type) {
			case *ast.FuncDecl:
				if d.Recv == nil {
					add(d.Name)
				}
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					switch s := spec.(type) {
					case *ast.TypeSpec:
						add(s.Name)
					case *ast.ValueSpec:
						for _, id := range s.Names {
							add(id)
						}
					}
				}
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// engines are what computes: nobody asks for a particular one but the package that opens them, the one that installs
// plugins, and the one that tests compute on.
var engines = []string{"github.com/gomlx/compute/gobackend", "github.com/gomlx/go-xla", "github.com/gomlx/gomlx/backends"}

func mayNameEngines(file string) bool {
	dir := path.Dir(file)
	return dir == "engine" || dir == "internal/plugin" || dir == "internal/plugin/compiled" || dir == "internal/testbackend"
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
		case entry.IsDir() && (entry.Name() == ".git" || entry.Name() == "bin" || entry.Name() == "gpu-check" || entry.Name() == "testshared"):
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
