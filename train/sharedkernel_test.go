package train

import (
	"os"
	"testing"

	"github.com/gomlx/compute"

	"github.com/deeplora/deeplora/internal/safetensors"
	"github.com/deeplora/deeplora/internal/testbackend"
	"github.com/deeplora/deeplora/internal/testshared"
	"github.com/deeplora/deeplora/model"
)

// A kernel that layers share has one gradient, the sum over them, also where the kernels are held in fewer bits.
func TestGradientsOfSharedKernels(t *testing.T) {
	golden, err := safetensors.Open(testshared.Path(t, "reference", "encoders", "albert.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	defer golden.Close()
	batch := packed(t, batchIn(t, golden))
	testbackend.Each(t, func(t *testing.T, b compute.Backend) {
		for p, most := range map[model.Precision]float64{model.F32: 1e-5, "bf16x3": 1e-4, "bf16": 0.1} {
			if p != model.F32 && b.Name() != "xla" || p != "bf16x3" && b.Name() == "xla" && !testshared.Thorough() { // which compiles for long
				continue
			}
			c, err := model.Load(os.DirFS(testshared.Path(t, "reference", "encoders", "albert")), model.LoadOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if err := c.Hold(p, b, func(string) bool { return false }); err != nil {
				t.Fatal(err)
			}
			k := &kernelGradients{devices: one(t, b), config: c.Config, weights: weightsOf(c), batch: divisible{Batch: batch}, kernels: c.Config.Kernels()}
			for _, kernel := range k.kernels {
				want, err := golden.Float64("grad." + kernel.Weight())
				if err != nil {
					t.Fatal(err)
				}
				if !kernel.Lookup {
					want = model.Transposed(want, kernel.Out, kernel.In)
				}
				x, err := k.of(kernel.Name)
				if err != nil {
					t.Fatal(err)
				}
				if d := gap(float64s(t, x), want); !(d <= most) || d == 0 {
					t.Errorf("%s: %s differs by %.2g", p, kernel.Name, d)
				}
			}
		}
	})
}
