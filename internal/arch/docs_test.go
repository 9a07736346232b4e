package arch_test

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// These tests hold what the documents say of the code, and the code of the documents, against one another:
// numbers cited in comments, tests named in docs, fields of files, paths and links.

// repository is the module's root as seen from this package.
const repository = "../.."

// goFile is a parsed Go file of the module, whatever its build tags.
type goFile struct {
	path string // from the root, with slashes
	*ast.File
}

var positions = token.NewFileSet()

// goFiles parses every Go file of the module once.
var goFiles = sync.OnceValues(func() (files []goFile, err error) {
	err = filepath.WalkDir(repository, func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && name != repository && (strings.HasPrefix(entry.Name(), ".") || entry.Name() == "testdata"):
			return filepath.SkipDir
		case entry.IsDir() || path.Ext(name) != ".go":
			return nil
		}
		parsed, err := parser.ParseFile(positions, name, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(repository, name)
		files = append(files, goFile{filepath.ToSlash(relative), parsed})
		return err
	})
	return files, err
})

func parsedFiles(t *testing.T) []goFile {
	t.Helper()
	files, err := goFiles()
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// documents are the module's Markdown files by path: docs/ and the root.
func documents(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/decisions/*.md"} {
		names, err := fs.Glob(os.DirFS(repository), pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			found[name] = document(t, name)
		}
	}
	return found
}

func document(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(repository, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

var (
	heading  = regexp.MustCompile(`(?m)^##+ (\d+(?:\.\d+)?) `)
	citation = regexp.MustCompile(`\b(method|formats)\.md (\d+(?:\.\d+)?(?:(?:, | and )\d+(?:\.\d+)?\b)*)`)
	number   = regexp.MustCompile(`\d+(?:\.\d+)?`)
)

// sections are the numbers of a document's headings.
func sections(t *testing.T, name string) map[string]bool {
	t.Helper()
	numbers := map[string]bool{}
	for _, h := range heading.FindAllStringSubmatch(document(t, name), -1) {
		if numbers[h[1]] {
			t.Errorf("%s has two sections %s", name, h[1])
		}
		numbers[h[1]] = true
	}
	return numbers
}

// cited returns the sections that a text cites, as "method 3.3".
func cited(text string) (found []string) {
	oneLine := strings.Join(strings.Fields(text), " ") // citations break across lines
	for _, c := range citation.FindAllStringSubmatch(oneLine, -1) {
		for _, n := range number.FindAllString(c[2], -1) {
			found = append(found, c[1]+" "+n)
		}
	}
	return found
}

func TestCitedReadsLists(t *testing.T) {
	for text, want := range map[string][]string{
		"(method.md 3.2, 3.3; TestT13)":     {"method 3.2", "method 3.3"},
		"see formats.md 5, steps 2 to 5":    {"formats 5"},
		"as method.md 1.2 and\n2.4. Else 7": {"method 1.2", "method 2.4"},
		"method.md\n4). Nothing of style":   {"method 4"},
		"The first is method.md's.":         nil,
	} {
		if got := cited(text); !slices.Equal(got, want) {
			t.Errorf("%q cites %q, want %q", text, got, want)
		}
	}
}

func TestCitationsResolve(t *testing.T) {
	known := map[string]bool{}
	for _, name := range []string{"method", "formats"} {
		for n := range sections(t, "docs/"+name+".md") {
			known[name+" "+n] = true
		}
	}
	count := 0
	check := func(where, text string) {
		for _, c := range cited(text) {
			count++
			if !known[c] {
				name, n, _ := strings.Cut(c, " ")
				t.Errorf("%s cites section %s of docs/%s.md, which has no such heading", where, n, name)
			}
		}
	}
	for _, file := range parsedFiles(t) {
		if strings.HasPrefix(file.path, "internal/arch/") {
			continue // examples of citations
		}
		for _, comment := range file.Comments {
			check(fmt.Sprintf("%s:%d", file.path, positions.Position(comment.Pos()).Line), comment.Text())
		}
	}
	if count == 0 {
		t.Error("no citation found in any Go comment: is the pattern right?")
	}
	for name, text := range documents(t) {
		check(name, text)
	}
}

// testFunctions are the test and fuzz functions of the module: name -> directory.
func testFunctions(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	for _, file := range parsedFiles(t) {
		if !strings.HasSuffix(file.path, "_test.go") {
			continue
		}
		for _, declaration := range file.Decls {
			f, ok := declaration.(*ast.FuncDecl)
			if ok && f.Recv == nil && testName.MatchString(f.Name.Name) {
				found[f.Name.Name] = path.Dir(file.path)
			}
		}
	}
	return found
}

var (
	testName     = regexp.MustCompile(`\b(?:Test|Fuzz)[A-Z]\w+`)
	numberedName = regexp.MustCompile(`^TestT(\d+)[A-Z]`)
	numberedRow  = regexp.MustCompile(`(?m)^\| T(\d+) \|.*\| ([^|]*) \|$`)
)

// Every Tn of method.md 5 is there once, in order. A row names tests that exist, in the directory it says, or
// says "later"; and it names every test that bears its number.
func TestNumberedTestsAreThoseOfTheMethod(t *testing.T) {
	functions := testFunctions(t)
	rows := map[string]string{}
	for i, row := range numberedRow.FindAllStringSubmatch(document(t, "docs/method.md"), -1) {
		if want := strconv.Itoa(i + 1); row[1] != want {
			t.Errorf("docs/method.md 5: row %d is T%s", i+1, row[1])
		}
		rows[row[1]] = row[2]
		checkRow(t, "docs/method.md 5: T"+row[1], row[2], functions)
	}
	if len(rows) != 30 {
		t.Errorf("docs/method.md 5 has %d rows, want T1 to T30", len(rows))
	}
	for name, dir := range functions {
		if n := numberedName.FindStringSubmatch(name); n != nil && !slices.Contains(testName.FindAllString(rows[n[1]], -1), name) {
			t.Errorf("%s: %s is not in row T%s of docs/method.md 5: name it there", dir, name, n[1])
		}
	}
}

// checkRow checks the last cell of a row: "dir: TestA, TestB; dir: TestC", or "later".
func checkRow(t *testing.T, label, cell string, functions map[string]string) {
	t.Helper()
	later := strings.HasPrefix(cell, "later")
	for _, part := range strings.Split(cell, "; ") {
		dir, names, _ := strings.Cut(part, ": ")
		for _, name := range testName.FindAllString(names, -1) {
			if functions[name] != dir {
				t.Errorf("%s names %s in %s, which has no such test", label, name, dir)
			}
		}
	}
	if named := testName.MatchString(cell); named == later {
		t.Errorf("%s names tests: %v, and is for later: %v; want one of the two", label, named, later)
	}
}

func TestDocumentsNameTestsThatExist(t *testing.T) {
	functions := testFunctions(t)
	for name, text := range documents(t) {
		for _, test := range testName.FindAllString(text, -1) {
			if functions[test] == "" {
				t.Errorf("%s names %s, which is no test of this module", name, test)
			}
		}
	}
}

var (
	link       = regexp.MustCompile(`\]\(([^)#\s]+)(?:#[^)]*)?\)`)
	quotedPath = regexp.MustCompile("`((?:bench|cmd|data|docs|engine|internal|lora|model|scripts|train)/[\\w./-]+)`")
)

// Relative links lead somewhere, and a path in backticks that begins with a folder of ours exists.
func TestDocumentsNameFilesThatExist(t *testing.T) {
	for name, text := range documents(t) {
		for _, l := range link.FindAllStringSubmatch(text, -1) {
			if !strings.Contains(l[1], "://") {
				exists(t, name, path.Join(path.Dir(name), l[1]))
			}
		}
		for _, p := range quotedPath.FindAllStringSubmatch(text, -1) {
			exists(t, name, p[1])
		}
	}
}

func exists(t *testing.T, document, file string) {
	t.Helper()
	if _, err := os.Stat(filepath.Join(repository, file)); errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s names %s, which is not there", document, file)
	}
}

// A decision is a page, has a number of its own, and stands in the index.
func TestDecisionsAreShortAndIndexed(t *testing.T) {
	const index, limit = "docs/decisions/README.md", 30
	seen := map[string]string{}
	for name, text := range documents(t) {
		base := path.Base(name)
		if path.Dir(name) != "docs/decisions" || name == index {
			continue
		}
		number, _, _ := strings.Cut(base, "-")
		if other := seen[number]; other != "" {
			t.Errorf("%s and %s share a number", other, base)
		}
		seen[number] = base
		if lines := strings.Count(text, "\n"); lines > limit {
			t.Errorf("%s has %d lines, want at most %d", name, lines, limit)
		}
		if !strings.Contains(document(t, index), "["+number+"]("+base+")") {
			t.Errorf("%s is not in %s", name, index)
		}
	}
	if len(seen) == 0 {
		t.Error("no decision found")
	}
}

// formats.md names every field of the files we write.
func TestFormatsNameEveryField(t *testing.T) {
	text := document(t, "docs/formats.md")
	wanted := map[string][]string{
		"train/run.go":             {"Provenance", "Result"},
		"train/adapterfile.go":     {"AdapterInfo", "AdaptedKernel"},
		"train/loop/checkpoint.go": {"progress"},
		"data/manifest.go":         {"Manifest"},

		"cmd/deeplora/internal/study/summary.go":   {"Summary", "RunName", "ScoreRow", "SeedScore", "MetricRow", "Method", "RunRow"},
		"cmd/deeplora/internal/study/paired.go":    {"Difference", "Overall"},
		"cmd/deeplora/internal/study/published.go": {"Source", "PublishedScore"},

		"cmd/deeplora/internal/completion/config.go": {"Config"},
		"cmd/deeplora/internal/completion/result.go": {"Result"},
		"cmd/deeplora/internal/completion/solve.go":  {"Point"},
	}
	for _, file := range parsedFiles(t) {
		for _, name := range wanted[file.path] {
			fields := jsonFields(file, name)
			if len(fields) == 0 {
				t.Errorf("%s has no struct %s with JSON fields", file.path, name)
			}
			for _, field := range fields {
				if !strings.Contains(text, "`"+field+"`") {
					t.Errorf("docs/formats.md does not name field `%s` of %s in %s", field, name, file.path)
				}
			}
		}
		delete(wanted, file.path)
	}
	for name := range wanted {
		t.Errorf("%s is not there", name)
	}
}

// jsonFields are the names in the JSON tags of a file's struct.
func jsonFields(file goFile, name string) (fields []string) {
	ast.Inspect(file.File, func(n ast.Node) bool {
		spec, ok := n.(*ast.TypeSpec)
		if !ok || spec.Name.Name != name {
			return true
		}
		structure, ok := spec.Type.(*ast.StructType)
		if !ok {
			return false
		}
		for _, f := range structure.Fields.List {
			if f.Tag == nil {
				continue
			}
			tag, _, _ := strings.Cut(reflect.StructTag(strings.Trim(f.Tag.Value, "`")).Get("json"), ",")
			if tag != "" && tag != "-" {
				fields = append(fields, tag)
			}
		}
		return false
	})
	return fields
}
