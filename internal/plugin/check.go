package plugin

import (
	"bytes"
	"debug/elf"
	"debug/macho"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
)

// apiSymbol is the one function that a PJRT plugin exports.
const apiSymbol = "GetPjrtApi"

var machines = map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}

// Check says why the file at path is no plugin for this machine, or nil. It reads headers only. What it
// refuses would not open, or kill the process: dlopen of a truncated library is a SIGBUS.
func Check(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return bare(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return bare(err)
	}
	if !info.Mode().IsRegular() {
		return errors.New("not a file; want a shared library")
	}
	if runtime.GOOS == "darwin" {
		return checkMachO(f)
	}
	return checkELF(f, info.Size(), runtime.GOARCH)
}

// checkELF checks a library of Linux.
func checkELF(r io.ReaderAt, size int64, arch string) (err error) {
	defer func() { // debug/elf is not meant for hostile files
		if v := recover(); v != nil {
			err = fmt.Errorf("its headers make no sense: %v", v)
		}
	}()
	header := make([]byte, 64)
	n, err := r.ReadAt(header, 0)
	if err != nil && err != io.EOF {
		return bare(err)
	}
	if !bytes.HasPrefix(header, []byte(elf.ELFMAG)) {
		return fmt.Errorf("not a shared library: it begins with %q", header[:min(n, 8)])
	}
	if n < len(header) {
		return fmt.Errorf("truncated: it has %d bytes, less than its header", size)
	}
	if err := checkHeader(header, size, arch); err != nil {
		return err
	}
	f, err := elf.NewFile(r)
	if err != nil {
		return fmt.Errorf("truncated or damaged: %w", err)
	}
	if f.Type != elf.ET_DYN {
		return fmt.Errorf("not a shared library: its ELF type is %v", f.Type)
	}
	for _, p := range f.Progs {
		if end := p.Off + p.Filesz; end < p.Off || end > uint64(size) {
			return fmt.Errorf("truncated: it has %d bytes, its segments reach to %d", size, end)
		}
	}
	return checkSymbol(f)
}

// checkHeader checks the machine, and that the header's tables are inside the file. The section table is the
// last thing in a library as linkers write them, so this is where most truncations show; debug/elf would say
// "EOF".
func checkHeader(header []byte, size int64, arch string) error {
	class, order := elf.Class(header[elf.EI_CLASS]), elf.Data(header[elf.EI_DATA])
	machine := elf.Machine(binary.LittleEndian.Uint16(header[18:]))
	if want := machines[arch]; machine != want || class != elf.ELFCLASS64 || order != elf.ELFDATA2LSB {
		return fmt.Errorf("for another machine: %v, %v, %v; this is linux/%s, want %v", machine, class, order, arch, want)
	}
	var h elf.Header64
	if err := binary.Read(bytes.NewReader(header), binary.LittleEndian, &h); err != nil {
		return err
	}
	for _, table := range []struct{ offset, bytes uint64 }{
		{h.Phoff, uint64(h.Phentsize) * uint64(h.Phnum)},
		{h.Shoff, uint64(h.Shentsize) * uint64(h.Shnum)},
	} {
		if end := table.offset + table.bytes; end < table.offset || end > uint64(size) {
			return fmt.Errorf("truncated: it has %d bytes, its headers reach to %d", size, end)
		}
	}
	return nil
}

func checkSymbol(f *elf.File) error {
	symbols, err := f.DynamicSymbols()
	if err != nil && !errors.Is(err, elf.ErrNoSymbols) {
		return fmt.Errorf("truncated or damaged: %w", err)
	}
	for _, s := range symbols {
		if s.Name == apiSymbol && s.Section != elf.SHN_UNDEF {
			return nil
		}
	}
	return fmt.Errorf("a shared library but no PJRT plugin: it does not export %s", apiSymbol)
}

// checkMachO checks a library of macOS.
func checkMachO(r io.ReaderAt) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("its headers make no sense: %v", v)
		}
	}()
	f, err := macho.NewFile(r)
	if err != nil {
		return fmt.Errorf("not a shared library: %w", err)
	}
	if f.Cpu != macho.CpuArm64 {
		return fmt.Errorf("for another machine: %v; this is darwin/%s", f.Cpu, runtime.GOARCH)
	}
	if f.Symtab == nil {
		return fmt.Errorf("a shared library but no PJRT plugin: it does not export %s", apiSymbol)
	}
	for _, s := range f.Symtab.Syms {
		if s.Name == "_"+apiSymbol && s.Sect != 0 {
			return nil
		}
	}
	return fmt.Errorf("a shared library but no PJRT plugin: it does not export %s", apiSymbol)
}
