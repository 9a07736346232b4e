//go:build !noxla

package compiled

/*
#cgo LDFLAGS: -ldl
#include <stdlib.h>
#include "pjrt.h"
*/
import "C"

import (
	"fmt"
	"log/slog"
	"sync"
	"unsafe"

	"github.com/gomlx/go-xla/pjrt"
)

// Supported says whether plugins can be wrapped on this system.
const Supported = true

// wrapped is the plugin of this process that is wrapped, and the store of the backend opened last.
var wrapped struct {
	sync.Mutex
	path, name string
	store      *Store
}

// Wrap opens the plugin in a file and gives go-xla, under the name returned, its functions with the store in front of its
// compiler; a nil store only passes through. A process wraps one plugin: for another the error says so. name is to go-xla
// what a path would be, and has kind in it, as go-xla goes by that.
func Wrap(path, kind string, store *Store) (name string, err error) {
	wrapped.Lock()
	defer wrapped.Unlock()
	switch {
	case wrapped.path == path:
		wrapped.store = store
		return wrapped.name, nil
	case wrapped.path != "":
		return "", fmt.Errorf("%s is open already, and one plugin a process has its compiled graphs kept", wrapped.path)
	}
	p := C.CString(path)
	defer C.free(unsafe.Pointer(p))
	var message *C.char
	table := C.compiled_wrap(p, &message)
	if table == nil {
		return "", fmt.Errorf("%s", C.GoString(message))
	}
	name = "/deeplora/" + kind
	if err := pjrt.RegisterPreloadedPlugin(name, uintptr(unsafe.Pointer(table))); err != nil {
		return "", err
	}
	wrapped.path, wrapped.name, wrapped.store = path, name, store
	return name, nil
}

// deeploraCompile is the plugin's compiler with the store in front of it.
//
//export deeploraCompile
func deeploraCompile(table *C.pjrt_api, args *C.pjrt_compile) *C.pjrt_error {
	wrapped.Lock()
	store := wrapped.store
	wrapped.Unlock()
	if store == nil {
		return C.compiled_compile(table, args)
	}
	key := store.key(bytesAt(args.program.code, args.program.code_size), bytesAt(args.program.format, args.program.format_size), bytesAt(args.options, args.options_size))
	if content := store.get(key); content != nil {
		loaded := C.compiled_load(table, args.client, (*C.char)(unsafe.Pointer(unsafe.SliceData(content))), C.size_t(len(content)))
		if loaded != nil {
			args.executable = loaded
			return nil
		}
		store.remove(key, "the plugin does not take it")
	}
	if err := C.compiled_compile(table, args); err != nil {
		return err
	}
	var size C.size_t
	content := C.compiled_serialize(table, args.executable, &size)
	if content == nil {
		slog.Debug("compiled graphs", "error", "the plugin does not write what it compiled")
		return nil
	}
	defer C.free(unsafe.Pointer(content))
	store.put(key, bytesAt(content, size))
	return nil
}

// bytesAt are C's bytes where they lie.
func bytesAt(p *C.char, n C.size_t) []byte { return unsafe.Slice((*byte)(unsafe.Pointer(p)), int(n)) }
