// Package fetch downloads pages and files over HTTP. It retries, resumes broken transfers, checks sizes and
// hashes, follows redirects and keeps secrets out of errors and away from other hosts.
//
// A file is downloaded into a partial file that the caller names, and renames once Client.File has returned without
// an error: then it is complete and has the expected hash. After an error the bytes received stay for the next call,
// also from another process, unless they are wrong, cannot be checked, or fill the disk. Two calls must not use the
// same partial file at once: callers lock it.
//
// The package knows no server, folder layout, flag or file format, and writes only to the partial file.
package fetch
