package main

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/module"
	"golang.org/x/mod/zip"

	"github.com/deeplora/deeplora/internal/plugin"
	"github.com/deeplora/deeplora/internal/testshared"
)

const modulePath = "github.com/deeplora/deeplora"

// The program as others come by it: `go install` of a version from a module proxy, and a clone at a tag. Neither needs
// the Makefile nor this folder. Another module can open an engine.
//
// The builds take the experiments of this test's own build, since others would compile every dependency again, in
// minutes. With DEEPLORA_SLOW they take none, as whoever types `go install`.
func TestInstalled(t *testing.T) {
	if testing.Short() {
		t.Skip("builds three programs")
	}
	const version = "v1.2.3"
	source := sources(t)
	proxy, modules := moduleProxy(t, source, version), goCommand(t, ".", nil, "env", "GOMODCACHE")
	env := []string{
		"GOTOOLCHAIN=local", "GOSUMDB=off", "GOBIN=" + t.TempDir(), "GOWORK=off",
		"GOPROXY=file://" + proxy + ",file://" + filepath.Join(modules, "cache", "download") + "," + goCommand(t, ".", nil, "env", "GOPROXY"),
	}
	flags := "-trimpath -modcacherw" // the paths of a program that another test has built, and a cache that can be deleted
	if !plugin.Linked {
		flags += " -tags=noxla"
	}
	if testshared.Thorough() {
		env = append(env, "GOEXPERIMENT=")
	}
	cached := slices.Concat(env, []string{"GOFLAGS=" + flags + " -buildvcs=true"})
	env = slices.Concat(env, []string{"GOFLAGS=" + flags + " -mod=mod", "GOMODCACHE=" + t.TempDir()}) // not the user's, which would keep v1.2.3

	t.Run("go install", func(t *testing.T) {
		goCommand(t, t.TempDir(), env, "install", modulePath+"/cmd/deeplora@"+version)
		checkInstalled(t, filepath.Join(goCommand(t, ".", env, "env", "GOBIN"), "deeplora"), version)
	})
	t.Run("another module", func(t *testing.T) {
		dir := t.TempDir()
		release := goCommand(t, ".", nil, "list", "-m", "-f", "{{.GoVersion}}")
		writeFile(t, filepath.Join(dir, "go.mod"), fmt.Sprintf("module example.com/other\n\ngo %s\n\nrequire %s %s\n", release, modulePath, version))
		writeFile(t, filepath.Join(dir, "main.go"), `package main

import (
	"fmt"

	"github.com/deeplora/deeplora/engine"
)

func main() {
	backend, info, err := engine.Open(engine.Options{Name: engine.Go})
	fmt.Println(info.Name, len(info.Notices), err)
	backend.Finalize()
}
`)
		if out := goCommand(t, dir, env, "run", "."); out != "go 0 <nil>" {
			t.Errorf("prints %q", out)
		}
	})
	t.Run("clone", func(t *testing.T) {
		if _, err := exec.LookPath("git"); err != nil {
			t.Skip("no git")
		}
		git(t, source, "init", "--quiet")
		git(t, source, "add", "--all", "--force")
		git(t, source, "commit", "--quiet", "--no-gpg-sign", "--message", "all")
		git(t, source, "tag", "v1.2.4")
		program := filepath.Join(t.TempDir(), "deeplora")
		goCommand(t, source, cached, "build", "-o", program, "./cmd/deeplora")
		checkInstalled(t, program, "v1.2.4")
	})
}

// checkInstalled runs a program in an empty folder and asks it what it is.
func checkInstalled(t *testing.T, program, version string) {
	t.Helper()
	ask := func(args ...string) string {
		cmd := exec.CommandContext(t.Context(), program, args...)
		cmd.Dir = t.TempDir()
		return output(t, cmd)
	}
	if got := ask("--version"); got != "deeplora "+version {
		t.Errorf("--version: %q", got)
	}
	var report diagnosis
	if err := json.Unmarshal([]byte(ask("doctor", "--json")), &report); err != nil {
		t.Fatal(err)
	}
	if report.Version != version || report.Libraries["github.com/gomlx/gomlx"] == "" || report.Slower != slower(report.SIMD, plugin.Linked, runtime.GOARCH) {
		t.Errorf("doctor: %+v", report)
	}
	if report.SIMD && testshared.Thorough() {
		t.Error("built with GOEXPERIMENT=simd, which nobody asked for")
	}
}

// sources copies the files of this module, as they are now.
func sources(t *testing.T) (dir string) {
	t.Helper()
	const root = "../.."
	dir = t.TempDir()
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		relative, _ := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if relative != "." && (strings.HasPrefix(entry.Name(), ".") || relative == "bin") {
			if entry.IsDir() {
				return filepath.SkipDir
			}
			return nil
		}
		if entry.IsDir() {
			return os.MkdirAll(filepath.Join(dir, relative), 0o755)
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dir, relative), content, 0o644)
	})
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// moduleProxy makes a folder that GOPROXY can name, with one version of this module.
func moduleProxy(t *testing.T, source, version string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	versions := filepath.Join(dir, filepath.FromSlash(modulePath), "@v")
	if err := os.MkdirAll(versions, 0o755); err != nil {
		t.Fatal(err)
	}
	mod, err := os.ReadFile(filepath.Join(source, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(versions, "list"), version+"\n")
	writeFile(t, filepath.Join(versions, version+".mod"), string(mod))
	writeFile(t, filepath.Join(versions, version+".info"), fmt.Sprintf(`{"Version": %q, "Time": "2026-01-02T03:04:05Z"}`, version))
	file, err := os.Create(filepath.Join(versions, version+".zip"))
	if err != nil {
		t.Fatal(err)
	}
	if err := zip.CreateFromDir(file, module.Version{Path: modulePath, Version: version}, source); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

func goCommand(t *testing.T, dir string, env []string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	return output(t, cmd)
}

func git(t *testing.T, dir string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", append([]string{"-c", "user.name=A", "-c", "user.email=a@example.com", "-C", dir}, args...)...)
	output(t, cmd)
}

// output runs a command and returns what it prints.
func output(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	var errOut strings.Builder
	cmd.Stderr = &errOut
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, errOut.String())
	}
	return strings.TrimSpace(string(out))
}

func writeFile(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}
