package builtin

import (
	"embed"
	"io/fs"
)

//go:embed tiny
var model embed.FS

// Model is the embedded encoder, builtin:tiny, as a Hugging Face checkpoint: config.json, model.safetensors,
// vocab.txt and tokenizer_config.json. Its weights are random: it shows how things work, not how well.
// scripts/tinymodel makes it.
func Model() fs.FS {
	sub, err := fs.Sub(model, "tiny")
	if err != nil {
		panic(err) // the pattern above embeds it
	}
	return sub
}
