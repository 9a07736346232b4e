package serve

import (
	"embed"
	"net/http"
	"time"
)

// The page and the description of the routes, which load nothing from elsewhere.
//
//go:embed openapi.json page
var files embed.FS

// policy lets the page run its own script and style and talk to this server, and nothing else.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// file answers with an embedded file.
func file(name, kind string) func(w http.ResponseWriter, r *http.Request) error {
	return func(w http.ResponseWriter, _ *http.Request) error {
		text, err := files.ReadFile(name)
		if err != nil {
			return err
		}
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeTimeout)) // which a test's recorder has not
		w.Header().Set("Content-Type", kind)
		w.Header().Set("Content-Security-Policy", policy)
		_, _ = w.Write(text) // a client that is gone hears nothing
		return nil
	}
}
