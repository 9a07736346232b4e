package plugin

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// processes are what this test's program does when a test starts it as a process of its own.
var processes = map[string]func() int{
	"install": installProcess,
	"threads": threadsProcess,
}

// process returns the command that runs one of them, with the settings that a test's environment has.
func process(t *testing.T, task string, env ...string) *exec.Cmd {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program)
	cmd.Env = append(os.Environ(), append(env, "ENGINE_TEST_PROCESS="+task)...)
	return cmd
}

// installProcess installs the test's wheel from the index at ENGINE_TEST_SERVER and prints what it got.
func installProcess() int {
	in, err := newInstaller(Options{})
	if err == nil {
		w, _ := testWheel("some-wheel")
		var p Installed
		if p, err = aim(in, os.Getenv("ENGINE_TEST_SERVER"), []wheel{w}).run(context.Background()); err == nil {
			err = json.NewEncoder(os.Stdout).Encode(p)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func TestTenProcessesInstall(t *testing.T) {
	home(t)
	w, content := testWheel("some-wheel")
	s := serve(t, map[string]http.HandlerFunc{"/simple/some-wheel/": page(w.file, "/w.whl", w.sha256), "/w.whl": body(content)})
	var wg sync.WaitGroup
	var mu sync.Mutex
	fresh := 0
	for range 10 {
		cmd := process(t, "install", "ENGINE_TEST_SERVER="+s.URL)
		wg.Go(func() {
			out, err := cmd.Output()
			var p Installed
			if err == nil {
				err = json.Unmarshal(out, &p)
			}
			if err != nil || p.SHA256 != w.pluginSHA256 {
				t.Errorf("%s: %v", out, err)
			}
			mu.Lock()
			defer mu.Unlock()
			if !p.Already {
				fresh++
			}
		})
	}
	wg.Wait()
	if got := s.seen("/w.whl"); fresh != 1 || len(got) != 1 {
		t.Errorf("%d installed, requests %q", fresh, got)
	}
}

// A process killed in the middle of a download leaves a part, no plugin and no lock: the next goes on.
func TestInstallAfterAKill(t *testing.T) {
	dir := home(t)
	w, content := testWheel("some-wheel")
	sent := make(chan struct{})
	s := serve(t, map[string]http.HandlerFunc{"/simple/some-wheel/": page(w.file, "/w.whl", w.sha256), "/w.whl": func(rw http.ResponseWriter, r *http.Request) {
		rw.Write(content[:60000])
		rw.(http.Flusher).Flush()
		close(sent)
		<-r.Context().Done()
	}})
	cmd := process(t, "install", "ENGINE_TEST_SERVER="+s.URL)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	<-sent
	in := testInstaller(t, s.URL, w)
	part := filepath.Join(in.cache, w.file)
	for range 200 {
		if fileSize(part) > 0 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	cmd.Process.Kill()
	cmd.Wait()
	have := fileSize(part)
	if have == 0 {
		t.Fatal("the killed process left nothing to go on from")
	}
	s.handlers["/w.whl"] = body(content)
	s.requests = nil
	write(t, filepath.Join(dir, tempPrefix+"123.tmp"), []byte("what a process killed later would leave"))
	p, err := in.install(t)
	if err != nil || p.SHA256 != w.pluginSHA256 {
		t.Fatalf("%+v, %v", p, err)
	}
	if got := s.seen("/w.whl"); len(got) != 1 || got[0] != fmt.Sprintf("/w.whl bytes=%d-", have) {
		t.Errorf("requests %q after %d bytes", got, have)
	}
	if names := strings.Join(files(t, dir), " "); names != strings.Join([]string{ownName, ownName + ".json", goxlaCPU}, " ") {
		t.Errorf("folder %s", names)
	}
}

// threadsProcess confines itself and prints the CPUs of its threads, then waits to be told to end.
func threadsProcess() int {
	n := 0
	fmt.Sscan(os.Getenv("ENGINE_TEST_THREADS"), &n)
	for range 20 { // threads of the Go runtime, to be confined too
		go func() { runtime.LockOSThread(); time.Sleep(time.Hour) }()
	}
	time.Sleep(20 * time.Millisecond)
	if err := SetThreads(n); err != nil {
		fmt.Println(err)
		return 1
	}
	go func() { runtime.LockOSThread(); time.Sleep(time.Hour) }() // one that comes later
	time.Sleep(20 * time.Millisecond)
	threads, _ := filepath.Glob("/proc/self/task/*/status")
	allowed := map[string]bool{}
	for _, file := range threads {
		status, _ := os.ReadFile(file)
		_, after, _ := strings.Cut(string(status), "Cpus_allowed_list:")
		list, _, _ := strings.Cut(strings.TrimSpace(after), "\n")
		allowed[list] = true
	}
	for list := range allowed {
		fmt.Println(len(allowed), len(threads) > 20, runtime.GOMAXPROCS(0), list)
	}
	fmt.Fscanln(os.Stdin) // the CPUs stay taken until the test has looked
	return 0
}

func TestThreadsConfineEveryThread(t *testing.T) {
	if runtime.GOOS != "linux" || runtime.NumCPU() < 2 {
		t.Skip("needs Linux and two CPUs")
	}
	home(t)
	first, firstLine := confined(t, 1)
	defer first()
	second, secondLine := confined(t, 1)
	defer second()
	for _, line := range []string{firstLine, secondLine} {
		if !strings.HasPrefix(line, "1 true 1 ") || strings.ContainsAny(line, ",-") {
			t.Errorf("threads are allowed %q; want all of them one CPU", line)
		}
	}
	if firstLine == secondLine {
		t.Errorf("two processes took the same CPU: %q", firstLine)
	}
	third, thirdLine := confined(t, runtime.NumCPU()) // more than are free: shared, not refused
	defer third()
	if !strings.HasPrefix(thirdLine, fmt.Sprintf("1 true %d ", runtime.NumCPU())) {
		t.Errorf("all CPUs: %q", thirdLine)
	}
}

// confined starts a process that calls SetThreads and returns its report.
func confined(t *testing.T, n int) (end func(), line string) {
	t.Helper()
	cmd := process(t, "threads", fmt.Sprintf("ENGINE_TEST_THREADS=%d", n))
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	report := make([]byte, 256)
	k, err := out.Read(report)
	if err != nil {
		t.Fatal(err)
	}
	return func() { in.Close(); cmd.Wait() }, strings.TrimSpace(string(report[:k]))
}

func TestThreadsRefusesTooMany(t *testing.T) {
	for _, n := range []int{-1, runtime.NumCPU() + 1, 1 << 30} {
		wantError(t, SetThreads(n), fmt.Sprintf("threads: %d asked for", n), fmt.Sprintf("want 1 to %d, or 0 for all", runtime.NumCPU()))
	}
	if err := SetThreads(0); err != nil {
		t.Error(err)
	}
}

// A full disk, of the plugin or of the download, is said with the place and what is needed, and nothing of
// the attempt stays in the way.
func TestInstallOnAFullDisk(t *testing.T) {
	w, content := testWheel("some-wheel")
	for _, what := range []string{"plugin", "download"} {
		t.Run(what, func(t *testing.T) {
			dir := home(t)
			s := serve(t, map[string]http.HandlerFunc{"/simple/some-wheel/": page(w.file, "/w.whl", w.sha256), "/w.whl": body(content)})
			in := testInstaller(t, s.URL, w)
			small := dir
			want := []string{"no space left for " + filepath.Join(dir, ownName), "free 1 MB there"}
			if what == "download" {
				small = in.cache
				want = []string{"no space left for " + filepath.Join(in.cache, w.file), "free 1 MB there", "--cache"}
			}
			mountSmall(t, small)
			_, err := in.install(t)
			wantError(t, err, want...)
			for _, name := range files(t, small) {
				t.Errorf("left %s", name)
			}
		})
	}
}

// mountSmall mounts a file system of 64 kB.
func mountSmall(t *testing.T, dir string) {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("mounts a tmpfs: Linux alone")
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", dir).CombinedOutput(); err != nil {
		t.Skipf("mounts a tmpfs, which needs root: %v: %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %v: %s", err, out)
		}
	})
}

// A program that has the plugin open while another is installed keeps the file it opened.
func TestInstallLeavesOpenPluginsAlone(t *testing.T) {
	home(t)
	in := testInstaller(t, "http://127.0.0.1:1")
	in.From = write(t, filepath.Join(t.TempDir(), "x.so"), pluginLibrary(1).bytes())
	p, err := in.install(t)
	if err != nil {
		t.Fatal(err)
	}
	open, err := os.Open(p.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	before, _ := open.Stat()
	in.From = write(t, filepath.Join(t.TempDir(), "x.so"), pluginLibrary(2).bytes())
	if _, err := in.install(t); err != nil {
		t.Fatal(err)
	}
	after, _ := os.Stat(p.Path)
	if os.SameFile(before, after) {
		t.Error("the installed file was written over")
	}
	if still, _ := open.Stat(); still.Size() != before.Size() || still.Sys().(*syscall.Stat_t).Nlink != 0 {
		t.Error("the open file changed")
	}
}
