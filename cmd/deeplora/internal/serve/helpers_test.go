package serve

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
)

// record asks a handler without a connection.
func record(h http.Handler, method, route string, body io.Reader) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(method, route, body))
	return w
}

func read(t testing.TB, response *http.Response) string {
	t.Helper()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
