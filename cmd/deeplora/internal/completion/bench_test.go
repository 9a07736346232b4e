package completion

import (
	"fmt"
	"testing"
)

// A compressed iteration: gradient and step, without measurements.
func BenchmarkIteration(b *testing.B) {
	for _, size := range []struct {
		side, rank int
		observed   float64
		method     string
	}{
		{1000, 5, 0.2, Compressed},
		{1000, 5, 0.2, Narrow},
		{5000, 10, 0.05, Compressed},
		{300, 5, 0.3, Wide},
	} {
		p, err := Synthetic{Rows: size.side, Cols: size.side, Rank: size.rank, Observed: size.observed}.Make()
		if err != nil {
			b.Fatal(err)
		}
		b.Run(fmt.Sprintf("%s/%d", size.method, size.side), func(b *testing.B) {
			c := Default()
			c.Method, c.Width = size.method, 2*size.rank
			m, err := c.begin(p)
			if err != nil {
				b.Fatal(err)
			}
			o, all := c.optimizer(p), m.factors()
			b.ReportAllocs()
			for b.Loop() {
				m.gradient()
				o.apply(all)
			}
			b.ReportMetric(float64(p.Observed.Len())*float64(b.N)/b.Elapsed().Seconds()/1e6, "Mentries/s")
		})
	}
}
