// Package loratest is the contract of lora.Adapter as a test: Run holds a registered method to everything that callers
// rely on, on every engine of the machine. A method of one's own is registered first (lora.Register).
//
// A method's own mathematics is tested beside it; what is true of all methods is tested here, once. Objective and AdamW
// are tools for both: a quadratic loss of ΔK with its gradients through the method's graph, and the optimizer in plain
// float64.
//
// For tests alone: it starts engines.
package loratest
