// Package testbackend gives tests the engines they compute on: the Go engine always, and XLA on the CPU
// wherever internal/plugin finds a plugin. A plugin that is there but unsound fails the tests: it would be an
// error to the program too.
//
// DEEPLORA_TEST_BACKENDS, such as go,xla:cpu, names the engines instead: then every one of them must open, so
// that a continuous integration that means to test XLA cannot pass without it. xla:cuda is used only so.
//
// It is for tests alone; programs take theirs from the package engine.
package testbackend
