package main

import (
	"fmt"
	"math"
	"slices"
)

// results are all that was measured: the file of --json.
type results struct {
	Machine    []fact     `json:"machine"`
	Conditions conditions `json:"conditions"`
	Peak       float64    `json:"peak_flops_per_second"` // of matrix products on deeplora's engine
	Outcomes   []*outcome `json:"workloads"`
}

// fact is a line about the machine.
type fact struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// outcome is a workload's.
type outcome struct {
	Name    string  `json:"name"`
	Model   string  `json:"model"`
	FLOPs   float64 `json:"flops"`           // needed for what is timed; 0 where that is not counted
	Tokens  int     `json:"tokens"`          // real ones in what is timed
	Checked float64 `json:"checked_differs"` // furthest that logits or loss of both sides were apart
	Rounds  []round `json:"rounds"`
}

// round is what both sides took, one after the other.
type round struct {
	Ours *timing `json:"ours"`
	Peer *timing `json:"peer"` // nil without a peer
}

func (r round) ratio() float64 { return r.Ours.Seconds / r.Peer.Seconds }

// others is the larger share that other processes had while one of the sides ran.
func (r round) others() float64 {
	if r.Peer == nil {
		return r.Ours.Others
	}
	return max(r.Ours.Others, r.Peer.Others)
}

// timing is what a process was timed at.
type timing struct {
	Seconds    float64 `json:"seconds"`
	Compiling  float64 `json:"with_compiling_seconds,omitempty"` // the first epoch
	Initialise float64 `json:"initialise_seconds,omitempty"`
	Tokens     int     `json:"tokens,omitempty"`
	PeakRSS    int64   `json:"peak_rss_bytes"`
	PlainRSS   int64   `json:"plain_peak_rss_bytes,omitempty"` // of a process that draws LoRA's adapter instead
	Others     float64 `json:"others_share"`                   // of the processors' time, taken by other processes meanwhile
}

// of is the outcome of a workload, a new one if there is none yet.
func (r *results) of(w workload) *outcome {
	if o := r.find(w.Name); o != nil {
		return o
	}
	o := &outcome{Name: w.Name}
	r.Outcomes = append(r.Outcomes, o)
	return o
}

func (r *results) find(name string) *outcome {
	i := slices.IndexFunc(r.Outcomes, func(o *outcome) bool { return o.Name == name })
	if i < 0 {
		return nil
	}
	return r.Outcomes[i]
}

// sameWork is an error unless both sides of a round computed the workload's tokens. Deeplora's are known by its speed,
// which is rounded.
func (o *outcome) sameWork(r round) error {
	const near = 0.01
	if ours := r.Ours.Tokens; ours != 0 && math.Abs(float64(ours-o.Tokens)) > near*float64(o.Tokens) {
		return fmt.Errorf("deeplora computed %d tokens of %d", ours, o.Tokens)
	}
	if r.Peer != nil && r.Peer.Tokens != 0 && r.Peer.Tokens != o.Tokens {
		return fmt.Errorf("the peer computed %d tokens of %d: its tokenizer cuts texts otherwise", r.Peer.Tokens, o.Tokens)
	}
	return nil
}

// each collects a number of every round, leaving out those that are 0.
func each(rounds []round, of func(round) float64) (values []float64) {
	for _, r := range rounds {
		if v := of(r); v != 0 {
			values = append(values, v)
		}
	}
	return values
}

func (o *outcome) ours(of func(*timing) float64) []float64 {
	return each(o.Rounds, func(r round) float64 { return of(r.Ours) })
}

func (o *outcome) peer(of func(*timing) float64) []float64 {
	return each(o.Rounds, func(r round) float64 {
		if r.Peer == nil {
			return 0
		}
		return of(r.Peer)
	})
}

func (o *outcome) ratios() []float64 {
	return each(o.Rounds, func(r round) float64 {
		if r.Peer == nil {
			return 0
		}
		return r.ratio()
	})
}

func seconds(t *timing) float64    { return t.Seconds }
func compiling(t *timing) float64  { return t.Compiling }
func initialise(t *timing) float64 { return t.Initialise }
func gigabytes(t *timing) float64  { return float64(t.PeakRSS) / 1e9 }
func plain(t *timing) float64      { return float64(t.PlainRSS) / 1e9 }

// median is the middle value, of an even number the mean of the two in the middle; 0 of none.
func median(values []float64) float64 {
	n := len(values)
	if n == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}
