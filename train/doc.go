// Package train joins the encoder (model), the adapters (lora) and the examples (data): it trains,
// evaluates, saves and resumes.
//
// Read trainer.go first: it is the loop. step.go is the whole optimizer step as one compiled graph, and
// hook.go is the only place that knows both adapters and the encoder. run.go is the run directory,
// checkpoint.go what makes a resumed run equal an uninterrupted one to the bit.
//
// The package never prints: it reports Events and returns errors. It takes its backend from the caller.
package train
