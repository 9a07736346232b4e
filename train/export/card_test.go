package export

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/deeplora/deeplora/train"
)

// Names of classes come from files of strangers: in a card they are text, in one cell of one row.
func TestCardShowsNamesAsText(t *testing.T) {
	const evil = "a|b\n# Heading <img src=x onerror=alert(1)> [x](http://y) \x1b[31m\u202e`code`"
	c := &card{Finished: &train.Finished{}, Rank: "2"}
	c.Adapter.Labels, c.Adapter.ProblemType = []string{evil, "fine"}, "single_label_classification"
	c.Run.Model = "base `| \x1b" + evil
	path := t.TempDir() + "/README.md"
	if err := c.write(path, mergedCard); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"\n# Heading", "\x1b", "\u202e"} {
		if bytes.Contains(text, []byte(bad)) {
			t.Errorf("%q is in\n%s", bad, text)
		}
	}
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "| Head |") {
			if rest := strings.NewReplacer(`\<`, "", `\|`, "", `\[`, "", "\\`", "").Replace(line); strings.ContainsAny(rest, "<[`") || strings.Count(rest, "|") != 3 {
				t.Errorf("markup in %s", line)
			}
		}
		if strings.HasPrefix(line, "| Base model |") && (strings.Count(line, "|") != 3 || strings.Count(line, "`") != 2) {
			t.Errorf("markup in %s", line)
		}
	}
}
