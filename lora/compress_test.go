package lora_test

import (
	"fmt"
	"math"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/gomlx/gomlx/core/tensors"
	"gonum.org/v1/gonum/mat"

	"github.com/deeplora/deeplora/internal/linalg"
	"github.com/deeplora/deeplora/internal/rng"
	"github.com/deeplora/deeplora/internal/safetensors"
	"github.com/deeplora/deeplora/internal/testshared"
	"github.com/deeplora/deeplora/lora"
)

// explicit is method.md 3.2 with O [in, out] at hand, what compress does without it. u and v are the
// gradient's leading singular vectors.
func explicit(o, u, v *mat.Dense) (left, right *mat.Dense) {
	left, right = new(mat.Dense), new(mat.Dense)
	var turned mat.Dense
	if in, out := o.Dims(); in <= out {
		turned.Mul(o.T(), u)
		right.Augment(&turned, linalg.Extend(&turned, v, rng.New(0)))
		left.Mul(o, right)
	} else {
		turned.Mul(o, v)
		left.Augment(&turned, linalg.Extend(&turned, u, rng.New(0)))
		right.Mul(o.T(), left)
	}
	return left, right
}

func TestT11CompressionIdentity(t *testing.T) {
	file := openShared(t, "reference", "compress_rect.safetensors")
	var misc struct {
		CompressRect map[string]struct {
			In, Out, H          int
			SingularValuesLeft  []float64 `json:"singular_values_left"`
			SingularValuesRight []float64 `json:"singular_values_right"`
		} `json:"compress_rect"`
	}
	readJSON(t, testshared.Path(t, "reference", "misc.json"), &misc)
	for _, name := range []string{"square", "in_lt_out", "in_gt_out"} {
		t.Run(name, func(t *testing.T) {
			want := misc.CompressRect[name]
			load := func(what string) *mat.Dense { return matrixIn(t, file, name+"."+what) }
			u, v := leadingVectors(t, load("G"), want.H)
			left, right := explicit(load("O"), u, v)
			var product mat.Dense
			product.Mul(left, right.T())
			within(t, "left·rightᵀ", &product, load("left_rightT"), 1e-9)
			within(t, "projector on left", projector(left), load("projector_left"), 1e-9)
			within(t, "projector on right", projector(right), load("projector_right"), 1e-9)
			withinSlice(t, "singular values of left", linalg.SingularValues(left), want.SingularValuesLeft, 1e-9)
			withinSlice(t, "singular values of right", linalg.SingularValues(right), want.SingularValuesRight, 1e-9)
		})
	}
}

var compressionShapes = []struct{ in, out, h int }{
	{24, 24, 2}, {16, 32, 2}, {32, 16, 2}, {30, 30, 3}, {20, 36, 3}, {36, 20, 3},
}

func TestT12ImplicitConstruction(t *testing.T) {
	for _, c := range compressionShapes {
		t.Run(fmt.Sprintf("%dx%d h=%d", c.in, c.out, c.h), func(t *testing.T) {
			s := rng.New(12, t.Name())
			g := linalg.Gaussian(s, c.in, c.out)
			left, right, err := lora.Compress(g.RawMatrix().Data, c.in, c.out, 2*c.h, s.At(1))
			if err != nil {
				t.Fatal(err)
			}
			short, long := left, right
			if c.in > c.out {
				short, long = right, left
			}
			within(t, "gram of the long side", gram(long), identity(2*c.h), 1e-12)
			if c.in == c.out {
				within(t, "gram of the other side", gram(short), identity(2*c.h), 1e-12)
			}
			for i, v := range linalg.SingularValues(short) {
				if v > 1+1e-12 || i < c.h && v < 1-1e-10 {
					t.Errorf("singular value %d of the short side is %.15f", i, v)
				}
			}
			u, v := leadingVectors(t, g, c.h)
			inSpan(t, "U_h in left", u, left, 1e-10)
			inSpan(t, "V_h in right", v, right, 1e-10)
			completable(t, short, long)
		})
	}
}

// completable checks that an O with orthonormal rows and short = O·long exists: I − short·shortᵀ is
// positive semi-definite, and O = short·longᵀ + its root in the complement of long.
func completable(t *testing.T, short, long *mat.Dense) {
	t.Helper()
	a, k := short.Dims()
	b, _ := long.Dims()
	rest := mat.NewSymDense(a, nil)
	var outer mat.Dense
	outer.Mul(short, short.T())
	for i := range a {
		for j := i; j < a; j++ {
			rest.SetSym(i, j, -outer.At(i, j))
		}
		rest.SetSym(i, i, 1-outer.At(i, i))
	}
	var eigen mat.EigenSym
	if !eigen.Factorize(rest, true) {
		t.Fatal("eigenvalues did not converge")
	}
	var vectors mat.Dense
	eigen.VectorsTo(&vectors)
	var root [][]float64
	for i, value := range eigen.Values(nil) {
		if value < -1e-12 {
			t.Errorf("I − short·shortᵀ has the eigenvalue %g", value)
		}
		if value > 1e-9 {
			column := mat.Col(nil, i, &vectors)
			for j := range column {
				column[j] *= math.Sqrt(value)
			}
			root = append(root, column)
		}
	}
	if len(root) > b-k {
		t.Fatalf("%d directions are left, the complement has %d", len(root), b-k)
	}
	complement := linalg.Extend(long, linalg.Gaussian(rng.New(1), b, b-k), rng.New(2))
	var o mat.Dense
	o.Mul(short, long.T())
	for i, column := range root {
		o.RankOne(&o, 1, mat.NewVecDense(a, column), complement.ColView(i))
	}
	var rows mat.Dense
	rows.Mul(&o, o.T())
	within(t, "O·Oᵀ of the completed O", &rows, identity(a), 1e-9)
}

// The random part has the law of the explicit construction: the means of three statistics over 2,000 draws
// of each. The first is method.md's. It does not see which column of left goes with which of right; the
// other two, the inner product of left·rightᵀ with G and its square, do.
func TestT13SameLaw(t *testing.T) {
	for _, c := range compressionShapes {
		t.Run(fmt.Sprintf("%dx%d", c.in, c.out), func(t *testing.T) { sameLaw(t, c.in, c.out, c.h, 2000) })
	}
}

func sameLaw(t *testing.T, in, out, h, draws int) {
	s := rng.New(13, t.Name())
	g := linalg.Gaussian(s, in, out)
	u, v := leadingVectors(t, g, h)
	statistics := func(left, right *mat.Dense) [3]float64 {
		inside := multiply(left.T(), g, right)
		along := mat.Trace(inside)
		return [3]float64{square(gram(left)) + square(gram(right)) + square(inside)/square(g), along, along * along}
	}
	var implicit, direct [3]moments
	for i := range uint64(draws) {
		left, right, err := lora.Compress(g.RawMatrix().Data, in, out, 2*h, s.At(1).At(i))
		if err != nil {
			t.Fatal(err)
		}
		a, b := statistics(left, right), statistics(explicit(linalg.Haar(s.At(2).At(i), in, out), u, v))
		for k := range a {
			implicit[k].add(a[k])
			direct[k].add(b[k])
		}
	}
	for k := range implicit {
		a, b := implicit[k], direct[k]
		z := (a.mean() - b.mean()) / math.Sqrt((a.variance()+b.variance())/float64(draws))
		if !(math.Abs(z) <= 4) {
			t.Errorf("statistic %d: means %v and %v differ by %.1f standard errors", k, a.mean(), b.mean(), z)
		}
	}
}

type moments struct{ n, sum, squares float64 }

func (m *moments) add(x float64)     { m.n, m.sum, m.squares = m.n+1, m.sum+x, m.squares+x*x }
func (m *moments) mean() float64     { return m.sum / m.n }
func (m *moments) variance() float64 { return m.squares/m.n - m.mean()*m.mean() }

func TestT14DegenerateGradients(t *testing.T) {
	for _, c := range []struct{ in, out int }{{20, 20}, {12, 40}, {40, 12}, {90, 100}, {200, 80}} {
		for name, entry := range map[string]func(i, j int) float64{
			"zero":     func(int, int) float64 { return 0 },
			"rank one": func(i, j int) float64 { return float64(1+i) * float64(1-j) },
			"tiny":     func(i, j int) float64 { return 1e-20 * math.Sin(float64(1+i*i+3*j)) },
		} {
			g := make([]float32, c.in*c.out)
			for i := range g {
				g[i] = float32(entry(i/c.out, i%c.out))
			}
			left, right, err := lora.Compress(g, c.in, c.out, 8, rng.New(14))
			if err != nil {
				t.Fatal(err)
			}
			short, long := left, right
			if c.in > c.out {
				short, long = right, left
			}
			within(t, fmt.Sprintf("%s %v: gram of the long side", name, c), gram(long), identity(8), 1e-12)
			if top := linalg.SingularValues(short)[0]; !(top <= 1+1e-12) {
				t.Errorf("%s %v: short side has singular value %v", name, c, top)
			}
			if name == "rank one" { // the one direction there is must be kept
				d, err := linalg.TopSVD(g, c.in, c.out, 1, rng.New(1))
				if err != nil {
					t.Fatal(err)
				}
				inSpan(t, "U_1 in left", d.U, left, 1e-10)
				inSpan(t, "V_1 in right", d.V, right, 1e-10)
			}
		}
	}
}

func TestT14CompressedRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		rank, depth int
		want        []string
	}{
		"odd rank":   {7, 3, []string{"method deep-compressed: rank 7 is odd"}},
		"depth 2":    {8, 2, []string{"method deep-compressed: depth 2; want 3 or more"}},
		"both":       {7, 1, []string{"rank 7 is odd", "depth 1; want 3 or more"}},
		"large rank": {34, 3, []string{"kernel pooler.dense [32 64]: rank 34 is larger than its smaller side; want at most 32"}},
	} {
		s := lora.Defaults()
		s.Rank, s.Depth = c.rank, c.depth
		a, err := lora.New("deep-compressed", s)
		if err == nil {
			_, err = a.Init(lora.Site{Name: "pooler.dense", In: 32, Out: 64})
		}
		if err == nil {
			t.Errorf("%s: no error", name)
			continue
		}
		for _, want := range c.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %q does not say %q", name, err, want)
			}
		}
	}
}

func TestT15MemoryOfTheEmbedding(t *testing.T) {
	if testing.Short() {
		t.Skip("a 89 MB gradient")
	}
	const in, out, rank = 28996, 768, 8
	g := make([]float32, in*out)
	for i := range g { // cheap and of full rank
		g[i] = float32(int32(uint32(i)*2654435761)) * 0x1p-31
	}
	s := lora.Defaults()
	s.Rank = rank
	a, err := lora.New("deep-compressed", s)
	if err != nil {
		t.Fatal(err)
	}
	gradient := tensors.FromFlatDataAndDimensions(g, in, out)
	factors, err := a.Init(lora.Site{
		Name: "embeddings.word_embeddings", In: in, Out: out, Seed: 15,
		Gradient: func() (*tensors.Tensor, error) { return gradient, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	start := time.Now()
	for _, f := range factors {
		if _, err := f.Value(); err != nil {
			t.Fatal(err)
		}
	}
	seconds := time.Since(start).Seconds()
	runtime.ReadMemStats(&after)
	// Everything allocated, alive or not: an upper bound of what was held at once.
	allocated := float64(after.TotalAlloc-before.TotalAlloc) / (1 << 20)
	t.Logf("%.2f s, %.0f MB allocated", seconds, allocated)
	if allocated >= 128 {
		t.Errorf("%.0f MB allocated, want less than 128", allocated)
	}
	if seconds >= 10 {
		t.Errorf("%.1f s, want less than 10", seconds)
	}
}

// The rows of two gradients that differ by rounding alone must lead to nearby factors: signs and order
// do not hang on the last bit.
func TestCompressionIsStable(t *testing.T) {
	s := rng.New(16)
	g := linalg.Gaussian(s, 70, 90)
	d, err := linalg.ThinSVD(g)
	if err != nil {
		t.Fatal(err)
	}
	for i, v := range []float64{90, 60, 40} { // three directions that stand out
		g.RankOne(g, v, d.U.ColView(i), d.V.ColView(i))
	}
	noisy := mat.DenseCopyOf(g)
	noisy.Apply(func(i, j int, v float64) float64 { return v * (1 + 1e-7*float64((i*31+j*17)%5-2)) }, noisy)
	for rank := 2; rank <= 6; rank += 2 {
		l1, r1, err := lora.Compress(g.RawMatrix().Data, 70, 90, rank, s.At(1))
		if err != nil {
			t.Fatal(err)
		}
		l2, r2, err := lora.Compress(noisy.RawMatrix().Data, 70, 90, rank, s.At(1))
		if err != nil {
			t.Fatal(err)
		}
		within(t, "left", l2, l1, 1e-5)
		within(t, "right", r2, r1, 1e-5)
	}
}

func leadingVectors(t *testing.T, g *mat.Dense, h int) (u, v *mat.Dense) {
	t.Helper()
	d, err := linalg.ThinSVD(g)
	if err != nil {
		t.Fatal(err)
	}
	return firstColumns(d.U, h), firstColumns(d.V, h)
}

func openShared(t *testing.T, elem ...string) *safetensors.File {
	t.Helper()
	file, err := safetensors.Open(testshared.Path(t, elem...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close() })
	return file
}

func matrixIn(t *testing.T, file *safetensors.File, name string) *mat.Dense {
	t.Helper()
	info, _ := file.Info(name)
	data, err := file.Float64(name)
	if err != nil {
		t.Fatal(err)
	}
	return mat.NewDense(info.Shape[0], info.Shape[1], data)
}
