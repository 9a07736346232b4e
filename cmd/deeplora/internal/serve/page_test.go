package serve

import (
	"net/http"
	"strings"
	"testing"

	"github.com/deeplora/deeplora/internal/testpage"
)

// The page is well-formed, names each field, and loads nothing from elsewhere.
func TestPage(t *testing.T) {
	r := start(t, nil, fake)
	response, err := r.client.Get(r.url + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text := read(t, response)
	rules := response.Header.Get("Content-Security-Policy")
	if response.StatusCode != http.StatusOK || !strings.Contains(rules, "default-src 'none'") || strings.Contains(rules, "unsafe") {
		t.Errorf("%d, policy %q", response.StatusCode, rules)
	}
	// Elements that have no end are none of XML's.
	closed := strings.NewReplacer(` checked>`, `></input>`, ` value="many">`, `></input>`, ` id="truncate">`, `></input>`, ` id="raw">`, `></input>`,
		` spellcheck="false">`, `></input>`, `href="data:,">`, `href="data:,"></link>`, `href="page.css">`, `href="page.css"></link>`).Replace(text)
	count := testpage.WellFormed(t, closed)
	if fields := count["input"] + count["select"] + count["textarea"]; fields != 8 || count["label"] != fields {
		t.Errorf("%d fields, %d labels", fields, count["label"])
	}
	for _, elsewhere := range []string{"http://", "https://", "//"} {
		if strings.Contains(text, elsewhere) {
			t.Errorf("the page names %s", elsewhere)
		}
	}
	for _, name := range []string{"/page.js", "/page.css"} {
		w := record(r.Handler(), "GET", name, nil)
		if w.Code != http.StatusOK || strings.Contains(w.Body.String(), "://") || strings.Contains(w.Body.String(), "innerHTML") {
			t.Errorf("%s: %d, or it names another place, or writes HTML", name, w.Code)
		}
	}
}
