package serve

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers/gorillamux"
)

// The description is valid, has every route, and what the server really takes and answers is as it says.
func TestOpenAPI(t *testing.T) {
	r := start(t, func(c *Config) { c.MaxInputs = 2 }, nil)
	response, err := r.client.Get(r.url + "/openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	doc, err := openapi3.NewLoader().LoadFromData([]byte(read(t, response)))
	if err != nil {
		t.Fatal(err)
	}
	if err := doc.Validate(t.Context(), openapi3.EnableExamplesValidation()); err != nil {
		t.Fatal(err)
	}
	for route, method := range methods {
		if strings.HasPrefix(route, "/page.") {
			continue
		}
		if item := doc.Paths.Find(route); item == nil || item.GetOperation(method) == nil {
			t.Errorf("%s %s is not described", method, route)
		}
	}
	router, err := gorillamux.NewRouter(doc)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		method, route, body string
		status              int
	}{
		{"POST", "/predict", `{"inputs": ["A man plays.", "Someone plays."]}`, 200},
		{"POST", "/predict", `{"inputs": [["A man plays.", "Someone plays."], ["a", "b"]], "truncate": true, "truncation_direction": "Right"}`, 200},
		{"POST", "/adapters/mood/predict", `{"inputs": "A wonderful story", "raw_scores": true}`, 200},
		{"POST", "/adapters/tags/predict", `{"inputs": [["A wonderful story"]]}`, 200},
		{"POST", "/adapters/nosuch/predict", `{"inputs": "a"}`, 404},
		{"POST", "/predict", `{"inputs": [["a"], ["b"], ["c"]]}`, 413},
		{"POST", "/predict", `{"inputs": "\ud800"}`, 422},
		{"GET", "/health", "", 200},
		{"GET", "/info", "", 200},
		{"GET", "/openapi.json", "", 200},
	} {
		request, err := http.NewRequestWithContext(t.Context(), test.method, r.url+test.route, strings.NewReader(test.body))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Content-Type", "application/json")
		response, err := r.client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		text := read(t, response)
		response.Body.Close()
		if response.StatusCode != test.status {
			t.Errorf("%s %s: %d %s", test.method, test.route, response.StatusCode, text)
		}
		described := request.Clone(t.Context())
		described.Body = io.NopCloser(strings.NewReader(test.body))
		route, parameters, err := router.FindRoute(described)
		if err != nil {
			t.Fatalf("%s: %v", test.route, err)
		}
		in := &openapi3filter.RequestValidationInput{Request: described, PathParams: parameters, Route: route, Options: &openapi3filter.Options{AuthenticationFunc: openapi3filter.NoopAuthenticationFunc}}
		if err := openapi3filter.ValidateRequest(t.Context(), in); err != nil {
			t.Errorf("%s %s is not as described: %v", test.route, test.body, err)
		}
		out := &openapi3filter.ResponseValidationInput{RequestValidationInput: in, Status: response.StatusCode, Header: response.Header, Body: io.NopCloser(bytes.NewReader([]byte(text)))}
		if err := openapi3filter.ValidateResponse(t.Context(), out); err != nil {
			t.Errorf("%s: the answer is not as described: %v", test.route, err)
		}
	}
}
