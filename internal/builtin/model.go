package builtin

import (
	"embed"
	"io/fs"
)

//go:embed tiny
var model embed.FS

// Model is the embedded encoder, builtin:tiny, as a Hugging Face checkpoint: config.json, model.safetensors,
// tokenizer.json, tokenizer_config.json and vocab.txt. make tiny makes it; docs/builtin-tiny.md is its card.
func Model() fs.FS {
	sub, err := fs.Sub(model, "tiny")
	if err != nil {
		panic(err) // the pattern above embeds it
	}
	return sub
}
