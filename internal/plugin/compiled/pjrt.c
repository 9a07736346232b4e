//go:build linux && !noxla

#include "pjrt.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include "_cgo_export.h"

// A wrapped table: the plugin's own stands in front of it.
typedef struct {
  pjrt_api* plugin;
  pjrt_api table;
} wrapped_table;

static pjrt_api* plugin_of(pjrt_api* wrapped) {
  return ((wrapped_table*)((char*)wrapped - offsetof(wrapped_table, table)))->plugin;
}

typedef pjrt_error* (*function)(void* args);

static pjrt_error* call(pjrt_api* wrapped, int place, void* args) {
  return ((function)plugin_of(wrapped)->functions[place])(args);
}

// One plugin a process: the function that compiles is not told which table it was called through.
static pjrt_api* the_wrapped;

static pjrt_error* compile_cached(pjrt_compile* args) { return deeploraCompile(the_wrapped, args); }

pjrt_api* compiled_wrap(const char* path, const char** message) {
  void* library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (library == NULL) {
    *message = dlerror();
    return NULL;
  }
  pjrt_api* (*table_of)(void) = (pjrt_api * (*)(void)) dlsym(library, "GetPjrtApi");
  if (table_of == NULL) {
    *message = "it has no GetPjrtApi";
    return NULL;
  }
  pjrt_api* plugin = table_of();
  size_t needed = offsetof(pjrt_api, functions) + (PJRT_EXECUTABLE_DESERIALIZE_AND_LOAD + 1) * sizeof(void*);
  if (plugin == NULL || plugin->version.major != 0 || plugin->size < needed) {
    *message = "its interface is another version of PJRT";
    return NULL;
  }
  wrapped_table* w = malloc(offsetof(wrapped_table, table) + plugin->size);
  if (w == NULL) {
    *message = "no memory";
    return NULL;
  }
  w->plugin = plugin;
  memcpy(&w->table, plugin, plugin->size);
  w->table.functions[PJRT_CLIENT_COMPILE] = (void*)compile_cached;
  the_wrapped = &w->table;
  return the_wrapped;
}

pjrt_error* compiled_compile(pjrt_api* wrapped, pjrt_compile* args) { return call(wrapped, PJRT_CLIENT_COMPILE, args); }

// failed frees an error, and reports whether there was one.
static int failed(pjrt_api* wrapped, pjrt_error* e) {
  if (e == NULL) {
    return 0;
  }
  struct {
    size_t size;
    void* extensions;
    pjrt_error* error;
  } destroy = {sizeof destroy, NULL, e};
  call(wrapped, PJRT_ERROR_DESTROY, &destroy);
  return 1;
}

char* compiled_serialize(pjrt_api* wrapped, void* loaded, size_t* size) {
  struct {
    size_t size;
    void* extensions;
    void* loaded;
    void* executable;  // out
  } get = {sizeof get, NULL, loaded, NULL};
  if (failed(wrapped, call(wrapped, PJRT_LOADED_EXECUTABLE_GET_EXECUTABLE, &get))) {
    return NULL;
  }
  struct {
    size_t size;
    void* extensions;
    void* executable;
    const char* content;    // out, as all below
    size_t content_size;
    void* backing;
    void (*free)(void* backing);
  } serialize = {sizeof serialize, NULL, get.executable};
  char* copy = NULL;
  if (!failed(wrapped, call(wrapped, PJRT_EXECUTABLE_SERIALIZE, &serialize))) {
    copy = malloc(serialize.content_size);
    if (copy != NULL) {
      memcpy(copy, serialize.content, serialize.content_size);
      *size = serialize.content_size;
    }
    serialize.free(serialize.backing);
  }
  struct {
    size_t size;
    void* extensions;
    void* executable;
  } destroy = {sizeof destroy, NULL, get.executable};
  failed(wrapped, call(wrapped, PJRT_EXECUTABLE_DESTROY, &destroy));
  return copy;
}

void* compiled_load(pjrt_api* wrapped, void* client, const char* content, size_t size) {
  struct {
    size_t size;
    void* extensions;
    void* client;
    const char* content;
    size_t content_size;
    void* loaded;         // out
    const char* options;  // NULL: those that it was compiled with
    size_t options_size;
  } load = {sizeof load, NULL, client, content, size, NULL, NULL, 0};
  if (failed(wrapped, call(wrapped, PJRT_EXECUTABLE_DESERIALIZE_AND_LOAD, &load))) {
    return NULL;
  }
  return load.loaded;
}
