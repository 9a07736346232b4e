// Package site is what the command's HTTP servers have in common: the rules that their pages live under. It knows nothing of
// what is served.
package site

import "net/http"

// Policy lets a page run its own script and style and talk to its own server, and nothing else.
const Policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// SetHeaders sets what every answer says: nothing is kept, guessed or told to other sites.
func SetHeaders(h http.Header) {
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
}

// Write answers with a file of a page. A client that is gone hears nothing.
func Write(w http.ResponseWriter, kind string, text []byte) {
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Content-Security-Policy", Policy)
	_, _ = w.Write(text)
}
