package plugin

import (
	"bytes"
	"debug/elf"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

func TestCheck(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("libraries of Linux")
	}
	good := pluginLibrary(5000)
	with := func(change func(*library)) []byte {
		l := good
		change(&l)
		return l.bytes()
	}
	other := elf.EM_AARCH64
	if runtime.GOARCH == "arm64" {
		other = elf.EM_X86_64
	}
	class32 := good.bytes()
	class32[elf.EI_CLASS] = byte(elf.ELFCLASS32)
	whole := good.bytes()
	tests := []struct {
		name    string
		content []byte
		want    string
	}{
		{"a plugin", whole, ""},
		{"empty", nil, `not a shared library: it begins with ""`},
		{"text", []byte("<!DOCTYPE html>…"), `not a shared library: it begins with "<!DOCTYP"`},
		{"a zip", zipped("a", "b"), `not a shared library: it begins with "PK`},
		{"header alone, cut", whole[:40], "truncated: it has 40 bytes, less than its header"},
		{"header alone", whole[:64], "truncated: it has 64 bytes, its headers reach to"},
		{"half", whole[:len(whole)/2], "truncated: it has"},
		{"last byte missing", whole[:len(whole)-1], "truncated: it has"},
		{"another machine", with(func(l *library) { l.machine = other }), "for another machine: " + other.String()},
		{"32 bits", class32, "for another machine"},
		{"a program", with(func(l *library) { l.kind = elf.ET_EXEC }), "not a shared library: its ELF type is ET_EXEC"},
		{"another library", with(func(l *library) { l.symbol = "sqrt" }), "no PJRT plugin: it does not export GetPjrtApi"},
		{"a user of plugins", with(func(l *library) { l.imported = true }), "no PJRT plugin: it does not export GetPjrtApi"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			err := Check(write(t, filepath.Join(t.TempDir(), "x.so"), test.content))
			if test.want != "" {
				wantError(t, err, test.want)
			} else if err != nil {
				t.Error(err)
			}
		})
	}
}

func TestCheckSegmentsBeyondTheEnd(t *testing.T) {
	l := pluginLibrary(0).bytes()
	l[64+32+5] = 1 // the segment's size in the file, by 2^40
	err := checkELF(bytes.NewReader(l), int64(len(l)), runtime.GOARCH)
	wantError(t, err, "truncated", "its segments reach to")
}

func TestCheckNotAFile(t *testing.T) {
	wantError(t, Check(t.TempDir()), "not a file")
	wantError(t, Check(filepath.Join(t.TempDir(), "absent")), "no such file")
}

// The C library is a real shared library, and no plugin.
func TestCheckRealLibrary(t *testing.T) {
	for _, path := range []string{"/lib/x86_64-linux-gnu/libm.so.6", "/lib/aarch64-linux-gnu/libm.so.6", "/lib64/libm.so.6"} {
		if _, err := os.Stat(path); err == nil {
			wantError(t, Check(path), "a shared library but no PJRT plugin")
			return
		}
	}
	t.Skip("no libm.so.6 in the usual places")
}

func TestCheckMachO(t *testing.T) {
	wantError(t, checkMachO(strings.NewReader("no")), "not a shared library")
	wantError(t, checkMachO(bytes.NewReader(pluginLibrary(0).bytes())), "not a shared library")
}

// Whatever is in a file: no panic, no error without words, and nothing accepted that is cut short.
func FuzzCheck(f *testing.F) {
	whole := pluginLibrary(100).bytes()
	f.Add(whole)
	f.Add(whole[:300])
	f.Add([]byte("\x7fELF"))
	f.Fuzz(func(t *testing.T, content []byte) {
		err := checkELF(bytes.NewReader(content), int64(len(content)), runtime.GOARCH)
		if err != nil && err.Error() == "" {
			t.Error("an error without words")
		}
		if err == nil && len(content) > 0 && !bytes.Contains(content, []byte(apiSymbol)) {
			t.Error("accepted a file without the symbol's name")
		}
		_ = checkMachO(bytes.NewReader(content))
	})
}
