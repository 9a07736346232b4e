package serve

import (
	"fmt"
	"testing"

	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/train"
)

// BenchmarkBatch is what an input costs by how many are computed together, beside the base and merged into it: what
// grouping by adapter loses against mixed batches is between the rates of a group and of all groups together.
func BenchmarkBatch(b *testing.B) {
	f := runs(b)
	open := map[string]func() (*train.Predictor, error){
		"beside": func() (*train.Predictor, error) { return f.runs[0].Beside(f.backend, nil) },
		"merged": func() (*train.Predictor, error) { return f.runs[0].Open(f.backend) },
	}
	for _, name := range []string{"beside", "merged"} {
		p, err := open[name]()
		if err != nil {
			b.Fatal(err)
		}
		defer p.Close()
		plan := newPlan(64, 128)
		for _, n := range []int{1, 4, 8, 16, 32, 64} {
			inputs := make([]data.Encoded, n)
			for i := range inputs { // 28 tokens, as STS-B's pairs have on average
				inputs[i].IDs = make([]int32, 28)
				for j := range inputs[i].IDs {
					inputs[i].IDs[j] = int32(1000 + 37*i + j)
				}
			}
			b.Run(fmt.Sprintf("%s/inputs=%d", name, n), func(b *testing.B) {
				for b.Loop() {
					l := plan.pack(inputs)
					if len(l.index) != n {
						b.Fatalf("%d of %d", len(l.index), n)
					}
					if _, err := p.Laid(0, l.lay(inputs, l.spots, 0), n); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "inputs/s")
			})
		}
	}
}
