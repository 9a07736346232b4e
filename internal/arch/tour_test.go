package arch_test

import (
	"go/ast"
	"regexp"
	"strings"
	"testing"
)

var tourStop = regexp.MustCompile("`([\\w/]+\\.go)`\\s+`([\\w.]+)`")

// The tour names functions that are where it says.
func TestTourIsTrue(t *testing.T) {
	declared := map[string]map[string]bool{}
	for _, file := range parsedFiles(t) {
		names := map[string]bool{}
		for _, declaration := range file.Decls {
			if f, ok := declaration.(*ast.FuncDecl); ok {
				names[functionName(f)] = true
			}
		}
		declared[file.path] = names
	}
	stops := tourStop.FindAllStringSubmatch(document(t, "docs/tour.md"), -1)
	if len(stops) < 15 {
		t.Errorf("the tour has %d stops: is the pattern right?", len(stops))
	}
	for _, s := range stops {
		if !declared[s[1]][s[2]] {
			t.Errorf("docs/tour.md: %s declares no %s", s[1], s[2])
		}
	}
}

// functionName is a function's, behind its receiver's type and a dot where it is a method.
func functionName(f *ast.FuncDecl) string {
	if f.Recv == nil {
		return f.Name.Name
	}
	of := f.Recv.List[0].Type
	if star, ok := of.(*ast.StarExpr); ok {
		of = star.X
	}
	if generic, ok := of.(*ast.IndexExpr); ok {
		of = generic.X
	}
	if id, ok := of.(*ast.Ident); ok {
		return id.Name + "." + f.Name.Name
	}
	return f.Name.Name
}

// README's program is part of the example that the tests run.
func TestReadmeShowsTheExample(t *testing.T) {
	squeeze := func(text string) string { return strings.Join(strings.Fields(text), " ") }
	_, rest, _ := strings.Cut(document(t, "README.md"), "```go\n")
	program, _, found := strings.Cut(rest, "```")
	if !found || !strings.Contains(squeeze(document(t, "train/example_test.go")), squeeze(program)) {
		t.Error("README.md: its Go program is not in train/example_test.go")
	}
	if lines := strings.Count(document(t, "README.md"), "\n"); lines >= 200 {
		t.Errorf("README.md has %d lines, want less than 200", lines)
	}
}
