// Command deeplora fine-tunes BERT-style encoders with Deep LoRA.
//
// The files here are the command line and nothing else: flags become settings, packages do the work, and
// what they return or report becomes output. There is no mathematics here and no file format. main.go has
// the root command, the signals and the only os.Exit; flags.go the flags and the config file; ui.go turns
// events into progress; backend.go asks the package engine for what computes.
package main
