package builtin_test

import (
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/deeplora/deeplora/internal/builtin"
)

// The embedded encoder is the one its card describes, and small enough to be embedded.
func TestModelIsTheOneOfItsCard(t *testing.T) {
	card, err := os.ReadFile("../../docs/builtin-tiny.md")
	if err != nil {
		t.Fatal(err)
	}
	total := 0
	for _, name := range []string{"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "vocab.txt"} {
		content, err := fs.ReadFile(builtin.Model(), name)
		if err != nil {
			t.Fatal(err)
		}
		total += len(content)
		sum := sha256.Sum256(content)
		if row := "| " + name + " | `" + hex.EncodeToString(sum[:]) + "` |"; !strings.Contains(string(card), row) {
			t.Errorf("docs/builtin-tiny.md has no row %s", row)
		}
	}
	if total > 12<<20 {
		t.Errorf("%d bytes, more than 12 MB", total)
	}
}
