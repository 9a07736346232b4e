// Package serve answers over HTTP with finished runs and checkpoints: in the form of text-embeddings-inference's /predict,
// many adapters over one base, the requests of many clients computed together.
//
// A request goes this way: routes.go takes it, request.go reads it, adapter.go tokenizes it, queue.go has it wait for
// company, plan.go lays what came together into rows, server.go computes them, answer.go says what the logits mean. The
// package knows no flags and opens no model: the command hands it what it opened.
package serve
