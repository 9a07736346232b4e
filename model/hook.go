package model

import (
	"github.com/gomlx/compute/dtypes"
	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas
)

// Kernel is one weight matrix of the encoder, as a hook sees it: K is [In, Out] and y = x·K.
type Kernel struct {
	Name    string // Hugging Face name without ".weight": bert.encoder.layer.0.attention.self.query
	In, Out int
	Lookup  bool   // an embedding table: x holds row ids, y the rows of K
	Part    string // what it does in its encoder: one of internal/parts; empty where the graph names a kernel
}

// Weight is the name of the kernel's tensor in a checkpoint and in Weights.
func (k Kernel) Weight() string { return k.Name + ".weight" }

// WeightHook gives y for kernel k with weight w [In, Out]: x [rows, In] -> y [rows, Out]. For a Lookup
// x is ids [rows], int32. Hidden states stay flat (rows = batch·seq) between attentions, because products
// of rank 3 are compiled to a slow path once adapters are trained; the pooler has one row per example.
// Biases stay with the encoder.
type WeightHook func(k Kernel, x, w *Node) *Node

// Frozen is the plain model: y = x·K, or the rows of K. The kernel's dtype says the precision (Checkpoint.Hold).
func Frozen(k Kernel, x, w *Node) *Node {
	if k.Lookup {
		rows := Gather(w, InsertAxes(x, -1)) // [rows, Out]
		if w.DType().IsHalfPrecision() {
			return ConvertDType(rows, dtypes.Float32)
		}
		return rows
	}
	if w.DType() == dtypes.BFloat16 {
		return heldProduct(x, w)
	}
	return Dot(x, w).Product() // [rows, Out]
}
