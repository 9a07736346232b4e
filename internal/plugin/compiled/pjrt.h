// The parts of PJRT's C interface (openxla/xla, xla/pjrt/c/pjrt_c_api.h, major version 0) that are needed here. The
// interface only ever grows at its end, so that these places and structures stay what they are.

#pragma once

#include <stddef.h>

typedef struct {
  size_t size;  // of this structure, in bytes, as in all below
  void* extensions;
  struct {
    size_t size;
    void* extensions;
    int major, minor;
  } version;
  void* functions[];
} pjrt_api;

// Places in functions.
enum {
  PJRT_ERROR_DESTROY = 0,
  PJRT_ERROR_MESSAGE = 1,
  PJRT_CLIENT_COMPILE = 20,
  PJRT_EXECUTABLE_DESTROY = 40,
  PJRT_EXECUTABLE_SERIALIZE = 49,
  PJRT_LOADED_EXECUTABLE_GET_EXECUTABLE = 51,
  PJRT_EXECUTABLE_DESERIALIZE_AND_LOAD = 56,
};

typedef struct pjrt_error pjrt_error;

typedef struct {
  size_t size;
  void* extensions;
  char* code;
  size_t code_size;
  const char* format;
  size_t format_size;
} pjrt_program;

typedef struct {
  size_t size;
  void* extensions;
  void* client;
  const pjrt_program* program;
  const char* options;  // a serialised CompileOptionsProto
  size_t options_size;
  void* executable;  // out
} pjrt_compile;

// compiled_wrap opens a plugin and returns a copy of its table in which deeploraCompile compiles; NULL with a message
// where it cannot.
pjrt_api* compiled_wrap(const char* path, const char** message);

// compiled_compile compiles as the plugin does.
pjrt_error* compiled_compile(pjrt_api* wrapped, pjrt_compile* args);

// compiled_serialize writes a compiled graph to memory that the caller frees; NULL where the plugin cannot.
char* compiled_serialize(pjrt_api* wrapped, void* loaded, size_t* size);

// compiled_load makes a compiled graph of what compiled_serialize wrote; NULL where the plugin does not take it.
void* compiled_load(pjrt_api* wrapped, void* client, const char* content, size_t size);
