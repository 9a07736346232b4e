package graphx_test

import (
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"strings"
	"testing"

	"github.com/gomlx/compute"
	. "github.com/gomlx/gomlx/core/graph"

	"github.com/deeplora/deeplora/internal/graphx"
	"github.com/deeplora/deeplora/internal/testbackend"
)

func TestTry(t *testing.T) {
	for _, tc := range []struct {
		name string
		fn   func()
		want string
		is   error
	}{
		{"nothing", func() {}, "", nil},
		{"an error", func() { panic(fs.ErrNotExist) }, "step 3: file does not exist", fs.ErrNotExist},
		{"a wrapped error", func() { panic(fmt.Errorf("load: %w", fs.ErrNotExist)) }, "step 3: load: file does not exist", fs.ErrNotExist},
		{"a text", func() { panic("shapes differ") }, "step 3: shapes differ", nil},
		{"a number", func() { panic(7) }, "step 3: 7", nil},
		{"a Try inside", func() {
			if err := graphx.Try("merge", func() { panic("no") }); err != nil {
				panic(err)
			}
		}, "step 3: merge: no", nil},
	} {
		err := graphx.Try("step 3", tc.fn)
		if got := fmt.Sprint(err); err == nil && tc.want != "" || err != nil && got != tc.want {
			t.Errorf("%s: got %v, want %q", tc.name, err, tc.want)
		}
		if tc.is != nil && !errors.Is(err, tc.is) {
			t.Errorf("%s: %v is not %v", tc.name, err, tc.is)
		}
	}
}

// Faults of the program are no faults of a graph: they are not turned into messages for a user.
func TestTryLetsProgramFaultsPass(t *testing.T) {
	for name, fn := range map[string]func(){
		"index":   func() { var s []int; _ = s[len(s)] },
		"nothing": func() { panic(nil) },
	} {
		func() {
			defer func() {
				if _, ok := recover().(runtime.Error); !ok {
					t.Errorf("%s: the panic did not pass", name)
				}
			}()
			err := graphx.Try("step", fn)
			t.Errorf("%s: became %v", name, err)
		}()
	}
}

// What GoMLX panics with, in building a graph and in running one, becomes an error that says what and why.
func TestTryOfGoMLX(t *testing.T) {
	testbackend.Each(t, func(t *testing.T, b compute.Backend) {
		err := graphx.Try("train step", func() {
			MustNewExec(b, func(x, y *Node) *Node { return Dot(x, y).Product() }).MustCall([][]float32{{1, 2, 3}}, [][]float32{{1}, {2}})
		})
		if err == nil || !strings.HasPrefix(err.Error(), "train step: ") || !strings.Contains(err.Error(), "lhs[1]=3") {
			t.Errorf("shapes that do not fit: %v", err)
		}
	})
}
