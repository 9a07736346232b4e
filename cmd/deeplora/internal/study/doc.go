// Package study compares methods over tasks, sizes and seeds: an experiment, a diff against the defaults, becomes
// runs; an executor makes those that are not finished; and what they measured becomes paired statistics, tables
// and a report.
//
// Every run is one that `deeplora train` makes, in a directory named after the hash of its settings. The package
// knows runs by their settings and by the files they leave. It trains nothing itself.
package study
