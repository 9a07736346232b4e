package serve

import (
	"embed"
	"net/http"

	"github.com/deeplora/deeplora/cmd/deeplora/internal/site"
)

// The page and the description of the routes, which load nothing from elsewhere.
//
//go:embed openapi.json page
var files embed.FS

// file answers with an embedded file.
func file(name, kind string) func(w http.ResponseWriter, r *http.Request) error {
	return func(w http.ResponseWriter, _ *http.Request) error {
		text, err := files.ReadFile(name)
		if err != nil {
			return err
		}
		site.Allow(w, writeTimeout)
		site.Write(w, kind, text)
		return nil
	}
}
