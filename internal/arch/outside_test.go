package arch_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// A program in a module of its own can be what the examples are: they use exported packages only. The module has this
// one's requirements, so that nothing is fetched.
func TestExamplesBuildOutsideTheModule(t *testing.T) {
	if testing.Short() {
		t.Skip("links programs")
	}
	dir := t.TempDir()
	root, err := filepath.Abs(repository)
	if err != nil {
		t.Fatal(err)
	}
	requirements := regexp.MustCompile(`(?ms)^require \(.*?^\)`).FindAllString(document(t, "go.mod"), -1)
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	goLine := regexp.MustCompile(`(?m)^go .*$`).FindString(document(t, "go.mod"))
	write("go.mod", "module example.com/outside\n\n"+goLine+"\n\nrequire github.com/deeplora/deeplora v0.0.0\n\n"+strings.Join(requirements, "\n\n")+
		"\n\nreplace github.com/deeplora/deeplora => "+root+"\n")
	write("go.sum", document(t, "go.sum"))
	program := func(name, file string) {
		text := document(t, file)
		text = regexp.MustCompile(`(?m)^package \w+`).ReplaceAllString(text, "package main")
		text = strings.Replace(text, "func Example()", "func main()", 1)
		write(filepath.Join(name, "main.go"), text)
	}
	program("reviews", "train/example_test.go")
	program("network", "lora/example_mlp_test.go")
	write("method/method_test.go", strings.Replace(document(t, "lora/example_method_test.go"), "package lora_test", "package method_test", 1))
	write("method/check_test.go", "package method_test\n\nimport \"log\"\n\nfunc check(err error) {\n\tif err != nil {\n\t\tlog.Fatal(err)\n\t}\n}\n")
	for _, args := range [][]string{
		{"build", "-o", filepath.Join(dir, "bin") + "/", "./reviews", "./network"},
		{"test", "-c", "-o", filepath.Join(dir, "bin", "method.test"), "./method"},
	} {
		cmd := exec.Command("go", args...)
		cmd.Dir, cmd.Env = dir, append(os.Environ(), "GOFLAGS=-mod=mod")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	// The method's own suite, by the program that was built outside.
	if out, err := exec.Command(filepath.Join(dir, "bin", "method.test")).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
