// Program chaos lets faults happen to the program at random moments (signals, a full disk, a directory that turns
// read-only, no memory, a jump of the clock, a second process, a damaged checkpoint), goes on as its user would, and
// holds what comes of it against an undisturbed run, byte for byte but for the clock. It knows the program by its
// command line alone.
//
//	go run ./scripts/chaos --faults 300 --seed 1
package main
