// Package export hands finished runs to other programs and takes adapters from them: merged Hugging Face
// checkpoints, PEFT LoRA adapters both ways, ONNX graphs, and the GLUE submission.
//
// What is written is a directory that is there complete or not at all, and is read again and compared with the
// trained model before it gets its name. How ΔK is computed is not known here (package lora), nor how a run is
// trained (package train).
package export
