// Package plugin finds, fetches, verifies and opens XLA plugins: the shared libraries through which
// GoMLX's XLA backend computes. docs/decisions/0012-engine.md says why each part is as it is.
//
// Find looks, in this order, at what Install has placed (each such file has a record beside it), the
// folders of PJRT_PLUGIN_LIBRARY_PATH, the user's lib/go-xla and the system's. Plugin.Verify says whether
// a plugin may be opened, Open opens it. Install is the only function here, and in the program, that
// downloads a plugin, and nothing calls it but the command a user types.
//
// The package knows plugins as files, and nothing of models. What needs go-xla is in files that the tag noxla
// leaves out; Linked says whether it is there.
package plugin
