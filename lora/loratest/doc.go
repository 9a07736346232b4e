// Package loratest is the contract of lora.Adapter as a test: Run holds a registered method to
// everything the rest of the project relies on, on every engine of the machine.
//
// A method's own mathematics is tested beside it; what is true of all of them is tested here, once. A
// new method is under test as soon as it stands in lora.Methods. Objective and AdamW are the tools: a
// quadratic loss of ΔK with gradients through the method's graph, and the optimizer written out plainly.
//
// For tests alone: it starts engines.
package loratest
