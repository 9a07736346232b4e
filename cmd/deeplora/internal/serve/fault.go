package serve

import (
	"errors"
	"fmt"
	"net/http"
)

// fault is what a client is told of a request that is not answered: never a path or where in the program it was found.
type fault struct {
	status int
	Text   string `json:"error"`
	Kind   string `json:"error_type"`
}

func (f *fault) Error() string { return f.Text }

// Kinds of faults: those of text-embeddings-inference, and one for a wrong token.
const (
	validation   = "Validation"
	tokenizer    = "Tokenizer"
	overloaded   = "Overloaded"
	backend      = "Backend"
	unhealthy    = "Unhealthy"
	unauthorized = "Unauthorized"
)

func invalid(format string, args ...any) error {
	return &fault{http.StatusBadRequest, fmt.Sprintf(format, args...), validation}
}

func tooLarge(format string, args ...any) error {
	return &fault{http.StatusRequestEntityTooLarge, fmt.Sprintf(format, args...), validation}
}

func notFound(format string, args ...any) error {
	return &fault{http.StatusNotFound, fmt.Sprintf(format, args...), validation}
}

func untokenized(format string, args ...any) error {
	return &fault{http.StatusUnprocessableEntity, fmt.Sprintf(format, args...), tokenizer}
}

var (
	errFull      = &fault{http.StatusTooManyRequests, "too many inputs wait; try again in a moment", overloaded}
	errDraining  = &fault{http.StatusServiceUnavailable, "the server is going down and takes no new requests", unhealthy}
	errComputing = &fault{http.StatusFailedDependency, "the model could not be computed; the server's log says why", backend}
	errToken     = &fault{http.StatusUnauthorized, "this server wants a token: send it as Authorization: Bearer TOKEN", unauthorized}
	errOrigin    = &fault{http.StatusForbidden, "requests from pages of other sites are not taken", validation}
)

// faultOf is what a client is told of an error. Of an error that is no fault it learns nothing.
func faultOf(err error) *fault {
	var f *fault
	if errors.As(err, &f) {
		return f
	}
	return errComputing
}
