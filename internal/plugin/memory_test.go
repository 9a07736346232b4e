//go:build linux && !noxla

package plugin_test

import (
	"os"
	"strings"
	"syscall"
	"testing"

	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/deeplora/deeplora/internal/plugin"
	"github.com/deeplora/deeplora/internal/testbackend"
)

// XLA asks for a graph's working memory anew at each run. The system makes large pages of it, not one by one those of
// 4 KiB.
func TestWorkingMemoryLiesOnLargePages(t *testing.T) {
	const setting = "/sys/kernel/mm/transparent_hugepage/enabled"
	if mode, err := os.ReadFile(setting); err != nil || strings.Contains(string(mode), "[never]") {
		t.Skipf("this system has no large pages to give: %s: %q", setting, mode)
	}
	b, _, err := plugin.Open(testbackend.Plugin(t))
	if err != nil {
		t.Fatal(err)
	}
	defer b.Finalize()
	e := MustNewExec(b, func(x *Node) *Node {
		wide := BroadcastToDims(x, 2048, 2048)
		return ReduceAllSum(Dot(Softmax(wide, 0), Softmax(wide, 1)).Product())
	})
	defer e.Finalize()
	x := tensors.FromScalar(float32(1))
	g, err := e.Compile(x.Shape())
	if err != nil {
		t.Fatal(err)
	}
	working, _ := plugin.WorkingMemory(g.Executable())
	const warm, runs = 2, 8
	var before, after syscall.Rusage
	for i := range warm + runs {
		if i == warm {
			err = syscall.Getrusage(syscall.RUSAGE_SELF, &before)
		}
		e.MustCall(x)
	}
	if err != nil || syscall.Getrusage(syscall.RUSAGE_SELF, &after) != nil {
		t.Fatal("the system does not count page faults")
	}
	faults, pages := after.Minflt-before.Minflt, runs*working/int64(os.Getpagesize())
	if pages < 16_000 || faults > pages/2 {
		t.Errorf("%d page faults in %d runs, whose working memory of %d MB is %d pages", faults, runs, working>>20, pages)
	}
	t.Logf("%d page faults in %d runs, whose working memory of %d MB is %d pages", faults, runs, working>>20, pages)
}
