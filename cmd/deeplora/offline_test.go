//go:build linux

package main

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/deeplora/deeplora/internal/builtin"
	"github.com/deeplora/deeplora/internal/plugin"
)

// These tests hold the promise that --offline opens no socket, against the kernel: it kills a process that asks for
// one, whatever it is for.

// withoutSockets starts a process from a thread on which socket(2) and socketpair(2) are death. The process inherits
// that; the thread is given up.
func withoutSockets(t *testing.T, p *process) {
	t.Helper()
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlock: the thread ends with this function
		if err := forbidSockets(); err != nil {
			started <- err
			return
		}
		started <- p.Start()
	}()
	if err := <-started; err != nil {
		t.Skipf("forbids sockets, which needs a kernel with seccomp: %v", err)
	}
	go func() {
		defer close(p.ended)
		_ = p.Wait() // ProcessState has it
	}()
	t.Cleanup(func() {
		_ = p.Process.Kill() // usually it has ended
		<-p.ended
	})
}

// forbidSockets installs a filter of system calls on this thread: seccomp(2), in the language of bpf(4).
func forbidSockets() error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	const equal, load, give = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, unix.BPF_RET | unix.BPF_K
	program := []unix.SockFilter{
		{Code: load, K: 0}, // the call's number comes first in struct seccomp_data
		{Code: equal, K: unix.SYS_SOCKET, Jt: 2},
		{Code: equal, K: unix.SYS_SOCKETPAIR, Jt: 1},
		{Code: give, K: unix.SECCOMP_RET_ALLOW},
		{Code: give, K: unix.SECCOMP_RET_KILL_PROCESS},
	}
	filter := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	_, _, errno := syscall.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&filter)))
	runtime.KeepAlive(program)
	if errno != 0 {
		return errno
	}
	return nil
}

// offlineProgram is the program with --offline or its variable, on a machine that could reach a hub and an index.
func offlineProgram(t *testing.T, home, address string, args ...string) *process {
	t.Helper()
	p := program(t, args...)
	if named := filepath.Join(t.TempDir(), "deeplora"); os.Link(p.Path, named) == nil { // compare starts itself
		p.Path = named
	}
	p.Env = append(p.Env,
		"HOME="+home, "HF_HOME="+filepath.Join(home, "hf"), "HF_ENDPOINT="+address, "PIP_INDEX_URL="+address+"/simple", "PIP_CONFIG_FILE="+os.DevNull,
		"DEEPLORA_OFFLINE=", "HF_HUB_OFFLINE=", "HTTP_PROXY="+address, "HTTPS_PROXY="+address)
	return p
}

// Every command does its work, or says what it lacks, without a socket; and without --offline the same commands die
// of asking for one, so that the test would see it.
func TestOfflineOpensNoSocket(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	home := t.TempDir()
	fillHub(t, filepath.Join(home, "hf", "hub"), "models--org--name")
	at := func(name string) string { return filepath.Join(home, name) }
	rows := put(t, home, map[string]string{
		"rows.jsonl":      "{\"text\": \"a\", \"pair\": \"b\"}\n",
		"experiment.json": `{"title": "x", "set": {"steps": 1, "batch": 2, "max-length": 16, "target": ["layer.0.*query$"]}, "grid": {"method": ["vanilla", "deep-compressed"], "seed": [0]}}`,
	})
	data, err := filepath.Abs(filepath.Join("testdata", "data"))
	if err != nil {
		t.Fatal(err)
	}
	for _, backend := range engines() {
		run := at("run-" + strings.ReplaceAll(backend, ":", "-"))
		offline(t, home, listener, exitDone, "", smallRun(t, backend, run, "--model", "org/name", "--steps", "2", "--save-every", "1")...)
		offline(t, home, listener, exitDone, "", "predict", "--backend", backend, "--run", run, "--input", rows+"/rows.jsonl")
	}
	run := at("run-go")
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"eval", "--run", run}, exitDone, ""},
		{[]string{"inspect", "--run", run}, exitDone, ""},
		{[]string{"export", "--run", run, "--format", "peft", "--out", run + "-peft"}, exitDone, ""},
		{[]string{"import", "--format", "peft", "--in", run + "-peft", "--model", "org/name", "--out", run + "-back"}, exitDone, ""},
		{[]string{"compare", "--experiment", rows + "/experiment.json", "--model", "org/name", "--data", data, "--out", run + "-study", "--jobs", "1"}, exitDone, ""},
		{[]string{"train", "--model", "org/absent", "--data", data, "--out", at("absent")}, exitFailed, "offline, and not whole in the cache"},
		{[]string{"train", "--model", "org/name", "--data", "hub", "--out", at("absent")}, exitFailed, "hub: nyu-mll/glue: offline, and not whole in the cache"},
	} {
		offline(t, home, listener, c.code, c.says, append(c.args, "--backend", backendGo)...)
	}
	offline(t, home, listener, exitDone, "", "tokenize", "--model", "org/name", "--input", rows+"/rows.jsonl")
	offline(t, home, listener, exitDone, "", "doctor")
	offline(t, home, listener, exitDone, "", "engine", "list")
	if plugin.Linked {
		offline(t, home, listener, exitFailed, "offline", "engine", "install", "--cuda")
	}

	// A process that is not offline asks for a socket.
	p := offlineProgram(t, home, "http://"+listener.Addr().String(), "inspect", "--model", "org/absent")
	withoutSockets(t, p)
	<-p.ended
	if status := p.ProcessState.Sys().(syscall.WaitStatus); !status.Signaled() || status.Signal() != unix.SIGSYS {
		t.Errorf("without --offline: %v; want it killed by %v\n%s", p.ProcessState, unix.SIGSYS, p.err.String())
	}
}

// offline runs a command with --offline and no sockets.
func offline(t *testing.T, home string, listener net.Listener, code int, says string, args ...string) {
	t.Helper()
	p := offlineProgram(t, home, "http://"+listener.Addr().String(), append(args, "--offline")...)
	withoutSockets(t, p)
	if got := p.code(t); got != code || !strings.Contains(p.err.String(), says) {
		t.Errorf("deeplora %s: %v, want exit code %d and %q\n%s", strings.Join(args, " "), p.ProcessState, code, says, p.err.String())
	}
}

// fillHub makes a cache that holds the embedded encoder as a model of the hub.
func fillHub(t *testing.T, cache, repo string) {
	t.Helper()
	snapshot := filepath.Join(cache, repo, "snapshots", hubCommit)
	if err := os.CopyFS(snapshot, builtin.Model()); err != nil {
		t.Fatal(err)
	}
	put(t, cache, map[string]string{repo + "/refs/main": hubCommit})
}

// The demo and a run from the environment's word alone, in a namespace without a network, not even loopback.
func TestOfflineWithoutANetwork(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	for _, args := range [][]string{
		{"demo", "--backend", backendGo, "--steps", "1", "--seeds", "1"},
		smallRun(t, backendGo, filepath.Join(home, "run"), "--steps", "1"),
		{"doctor"},
	} {
		if testing.Short() && args[0] == "demo" { // under the race detector it takes minutes
			continue
		}
		p := offlineProgram(t, home, "http://127.0.0.1:1", args...)
		p.Env = append(p.Env, "DEEPLORA_OFFLINE=1")
		p.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
		if err := exec.Command("unshare", "-n", "true").Run(); err != nil {
			t.Skipf("makes a network namespace, which needs root: %v", err)
		}
		p.begin(t)
		if code := p.code(t); code != exitDone {
			t.Errorf("deeplora %s: exit code %d\n%s", strings.Join(args, " "), code, p.err.String())
		}
	}
}
