// Package study compares methods over tasks, sizes and seeds. An experiment file, a diff against the defaults, is
// expanded into runs; an executor trains those that are not finished; their results become paired statistics, tables
// and a report.
//
// Every run is made by a `deeplora train` command, in a directory named after the hash of its settings. The package
// sees only the settings and the files of a run. It trains nothing itself.
package study
