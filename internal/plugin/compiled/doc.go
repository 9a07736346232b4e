// Package compiled keeps what XLA has compiled on disk, so that a program that builds the same graphs again starts at
// once. It stands between go-xla and a plugin: the plugin's table of functions is handed to go-xla with one of them, the
// one that compiles, replaced. What comes from the disk is the machine code that was compiled there before, and computes
// the same bits.
package compiled
