package model

import (
	"encoding/json"
	"os"
	"testing"
)

// Every distance has the row of the table that PyTorch's arithmetic gives it: a fraction more, and it had the next.
func TestDebertaRows(t *testing.T) {
	text, err := os.ReadFile("testdata/deberta/buckets.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct {
		Buckets  int   `json:"position_buckets"`
		Farthest int   `json:"max_relative_positions"`
		Want     []int `json:"buckets"`
	}
	if err := json.Unmarshal(text, &cases); err != nil || len(cases) == 0 {
		t.Fatalf("%d cases (%v)", len(cases), err)
	}
	for _, tc := range cases {
		d := &deberta{Buckets: tc.Buckets, MaxDistance: tc.Farthest}
		c := &Config{MaxPositionEmbeddings: 7, HiddenSize: 4, NumAttentionHeads: 2, own: d}
		for distance, bucket := range tc.Want {
			behind, before := min(tc.Buckets+bucket, 2*tc.Buckets-1), max(tc.Buckets-bucket, 0)
			if got, other := d.row(c, distance), d.row(c, -distance); got != behind || other != before {
				t.Errorf("%d buckets to %d: distance %d is in rows %d and %d, want %d and %d", tc.Buckets, tc.Farthest, distance, got, other, behind, before)
			}
		}
	}
}
