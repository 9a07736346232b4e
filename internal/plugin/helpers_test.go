package plugin

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"debug/elf"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/deeplora/deeplora/internal/fetch"
)

func TestMain(m *testing.M) {
	if task := os.Getenv("ENGINE_TEST_PROCESS"); task != "" {
		os.Exit(processes[task]())
	}
	goleak.VerifyTestMain(m)
}

// library is what a test's shared library is made of.
type library struct {
	machine  elf.Machine
	kind     elf.Type
	symbol   string
	imported bool // the symbol is wanted, not given
	padding  int  // bytes of random content, the same each time
}

func pluginLibrary(padding int) library {
	return library{machine: machines[runtimeArch], kind: elf.ET_DYN, symbol: apiSymbol, padding: padding}
}

// bytes writes a 64-bit ELF file: header, one segment, padding, .dynstr, .dynsym, .shstrtab, section table.
func (l library) bytes() []byte {
	var b bytes.Buffer
	b.Write(make([]byte, 64+56))
	random := rand.NewChaCha8([32]byte{1})
	padding := make([]byte, l.padding)
	random.Read(padding)
	b.Write(padding)
	sections := []elf.Section64{{}}
	add := func(kind elf.SectionType, link, entsize int, content []byte) {
		sections = append(sections, elf.Section64{
			Type: uint32(kind), Off: uint64(b.Len()), Size: uint64(len(content)), Link: uint32(link), Entsize: uint64(entsize),
		})
		b.Write(content)
	}
	add(elf.SHT_STRTAB, 0, 0, []byte("\x00"+l.symbol+"\x00"))
	symbol := elf.Sym64{Name: 1, Info: elf.ST_INFO(elf.STB_GLOBAL, elf.STT_FUNC), Shndx: 1}
	if l.imported {
		symbol.Shndx = uint16(elf.SHN_UNDEF)
	}
	var table bytes.Buffer
	binary.Write(&table, binary.LittleEndian, elf.Sym64{})
	binary.Write(&table, binary.LittleEndian, symbol)
	add(elf.SHT_DYNSYM, 1, elf.Sym64Size, table.Bytes())
	add(elf.SHT_STRTAB, 0, 0, []byte("\x00"))
	header := elf.Header64{
		Ident: [elf.EI_NIDENT]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
		Type:  uint16(l.kind), Machine: uint16(l.machine), Version: uint32(elf.EV_CURRENT),
		Phoff: 64, Phentsize: 56, Phnum: 1, Shoff: uint64(b.Len()), Ehsize: 64, Shentsize: 64, Shnum: uint16(len(sections)), Shstrndx: 3,
	}
	segment := elf.Prog64{Type: uint32(elf.PT_LOAD), Filesz: uint64(b.Len()), Memsz: uint64(b.Len())}
	for _, s := range sections {
		binary.Write(&b, binary.LittleEndian, s)
	}
	var start bytes.Buffer
	binary.Write(&start, binary.LittleEndian, header)
	binary.Write(&start, binary.LittleEndian, segment)
	content := b.Bytes()
	copy(content, start.Bytes())
	return content
}

func sum(content []byte) string {
	s := sha256.Sum256(content)
	return hex.EncodeToString(s[:])
}

// zipped packs files, name and content in turn.
func zipped(files ...string) []byte {
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for i := 0; i < len(files); i += 2 {
		w, _ := z.Create(files[i])
		w.Write([]byte(files[i+1]))
	}
	z.Close()
	return b.Bytes()
}

func tarred(name, content string) []byte {
	var b bytes.Buffer
	g := gzip.NewWriter(&b)
	t := tar.NewWriter(g)
	t.WriteHeader(&tar.Header{Name: name, Size: int64(len(content)), Mode: 0o755, Typeflag: tar.TypeReg})
	t.Write([]byte(content))
	t.Close()
	g.Close()
	return b.Bytes()
}

// testWheel returns a wheel with a plugin of some 200 kB, and its pin.
func testWheel(project string) (wheel, []byte) {
	plugin := pluginLibrary(200_000).bytes()
	content := zipped("x/__init__.py", "", "x/libpjrt_cpu.so", string(plugin))
	return wheel{
		project: project, version: "1.2", file: strings.ReplaceAll(project, "-", "_") + "-1.2-py3-none-any.whl",
		size: int64(len(content)), sha256: sum(content), entry: "x/libpjrt_cpu.so", pluginSize: int64(len(plugin)), pluginSHA256: sum(plugin),
	}, content
}

// home gives a test an empty home directory and cache, and no index.
func home(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, value := range map[string]string{
		"HOME": dir, "XDG_CACHE_HOME": filepath.Join(dir, "cache"), "XDG_CONFIG_HOME": filepath.Join(dir, "config"),
		"PIP_INDEX_URL": "http://127.0.0.1:1/simple", "PIP_CONFIG_FILE": os.DevNull, PathEnv: "", "DEEPLORA_OFFLINE": "",
	} {
		t.Setenv(name, value)
	}
	before := systemDir
	systemDir = filepath.Join(dir, "system")
	t.Cleanup(func() { systemDir = before })
	return filepath.Join(dir, ".local", "lib", "go-xla")
}

// server is an index, and go-xla's release, of one's own making.
type server struct {
	*httptest.Server
	mu       sync.Mutex
	requests []string // method, path, range
	handlers map[string]http.HandlerFunc
}

func serve(t *testing.T, handlers map[string]http.HandlerFunc) *server {
	t.Helper()
	s := &server{handlers: handlers}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.requests = append(s.requests, strings.TrimSpace(r.URL.Path+" "+r.Header.Get("Range")))
		s.mu.Unlock()
		if h := s.handlers[r.URL.Path]; h != nil {
			h(w, r)
			return
		}
		http.NotFound(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *server) seen(prefix string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var seen []string
	for _, r := range s.requests {
		if strings.HasPrefix(r, prefix) {
			seen = append(seen, r)
		}
	}
	return seen
}

func body(content []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
	}
}

func text(contentType, content string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		fmt.Fprint(w, content)
	}
}

// page is a project's page with one file.
func page(name, address, sha256 string) http.HandlerFunc {
	return text("application/vnd.pypi.simple.v1+json", fmt.Sprintf(`{"meta": {"api-version": "1.1"}, "name": "x", "files": [
		{"filename": "other-0.1.tar.gz", "url": "https://example.org/other", "hashes": {}},
		{"filename": %q, "url": %q, "hashes": {"sha256": %q}}]}`, name, address, sha256))
}

// testInstaller returns an installer that asks s alone, for these wheels, and has no patience.
func testInstaller(t *testing.T, address string, wheels ...wheel) *installer {
	t.Helper()
	in, err := newInstaller(Options{})
	if err != nil {
		t.Fatal(err)
	}
	return aim(in, address, wheels)
}

func aim(in *installer, address string, wheels []wheel) *installer {
	in.wheels = wheels
	in.index, _ = url.Parse(address + "/simple")
	in.release, _ = url.Parse(address + "/releases/")
	in.patience = 300 * time.Millisecond
	in.client = fetch.New(fetch.Options{Dial: time.Second, Answer: time.Second, Stall: 300 * time.Millisecond, Pause: time.Millisecond, Tries: usual.Tries, Barren: usual.Barren})
	return in
}

func (in *installer) install(t *testing.T) (Installed, error) {
	t.Helper()
	defer in.client.CloseIdleConnections()
	return in.run(t.Context())
}

func write(t *testing.T, path string, content []byte) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// files lists what is in a folder, but for locks.
func files(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".lock") {
			names = append(names, e.Name())
		}
	}
	return names
}

func wantError(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error; want one with %q", parts)
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error %q does not say %q", err, part)
		}
	}
}
