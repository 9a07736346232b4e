package main

import (
	"fmt"
	"os"
	"strings"
	"time"
)

// report is everything that was found, in Markdown.
func (c *check) report() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %d rows passed, %d failed, %d skipped, in %.0f s of %.0f\n\n", c.backend, c.count(passed), c.count(failed), c.count(skipped),
		time.Since(c.began).Seconds(), c.limit.Seconds())
	for _, fact := range c.facts {
		fmt.Fprintf(&b, "- %s\n", fact)
	}
	if flags := os.Getenv("XLA_FLAGS"); flags != "" {
		fmt.Fprintf(&b, "- XLA_FLAGS: %s\n", flags)
	}
	b.WriteString("\n| | | figure | s |\n| --- | --- | --- | --- |\n")
	for _, r := range c.rows {
		fmt.Fprintf(&b, "| %s | %s | %s | %.0f |\n", r.name, r.outcome, cell(r.figure), r.seconds)
	}
	for _, text := range c.appendix {
		fmt.Fprintf(&b, "\n%s", text)
	}
	for _, r := range c.rows {
		if r.log != "" {
			fmt.Fprintf(&b, "\n%s:\n\n```\n%s```\n", r.name, r.log)
		}
	}
	return b.String()
}

// cell is a text as it may stand in a table.
func cell(text string) string {
	return strings.NewReplacer("|", `\|`, "\n", " ").Replace(text)
}
