package watch

import (
	"regexp"
	"strings"
)

// styled are the style attributes of a drawing; text has none, as its quotes are escaped.
var styled = regexp.MustCompile(`\s+style="([^"]*)"`)

// withoutStyle gives a drawing of internal/picture its style as attributes of their own, which in SVG mean the same: the
// page's policy forbids style in markup. What only a style sheet can say, as the variable of its width, is left out.
func withoutStyle(svg string) string {
	return styled.ReplaceAllStringFunc(svg, func(attribute string) string {
		var plain strings.Builder
		for declaration := range strings.SplitSeq(styled.FindStringSubmatch(attribute)[1], ";") {
			name, value, _ := strings.Cut(strings.TrimSpace(declaration), ":")
			if name == "" || strings.HasPrefix(name, "--") {
				continue
			}
			plain.WriteString(" " + name + `="` + strings.TrimSpace(value) + `"`)
		}
		return plain.String()
	})
}
