package train

import (
	"github.com/gomlx/compute/dtypes"
	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas

	"github.com/deeplora/deeplora/model"
)

// lossFunc gives each example's loss: logits [batch, labels], labels [batch], or [batch, labels] where an example may
// have several -> [batch].
type lossFunc func(logits, labels *Node) *Node

// lossOf is the loss of a problem type.
func lossOf(problem string) lossFunc {
	switch problem {
	case model.Regression:
		return squaredError
	case model.MultiLabel:
		return binaryCrossEntropy
	default:
		return crossEntropy
	}
}

// crossEntropy is -log softmax(logits)[label]; labels are class ids in the logits' dtype.
func crossEntropy(logits, labels *Node) *Node {
	classes := logits.Shape().Dim(-1)
	chosen := OneHot(ConvertDType(labels, dtypes.Int32), classes, logits.DType()) // [batch, labels]
	return Neg(ReduceSum(Mul(chosen, LogSoftmax(logits, -1)), -1))
}

// squaredError is (logit - label)² of the one output.
func squaredError(logits, labels *Node) *Node {
	return Square(Sub(Squeeze(logits, -1), labels))
}

// binaryCrossEntropy is the mean over labels of -log σ(logit) where the label is 1 and of -log(1 - σ(logit)) where it is 0.
// The two are the softmax of (logit, 0), which neither overflows nor has a bend at 0.
func binaryCrossEntropy(logits, labels *Node) *Node {
	both := func(yes, no *Node) *Node { return Stack([]*Node{yes, no}, -1) } // [batch, labels, 2]
	logs := LogSoftmax(both(logits, ZerosLike(logits)), -1)
	return ReduceMean(Neg(ReduceSum(Mul(both(labels, OneMinus(labels)), logs), -1)), -1)
}

// weightedMean is Σ weight·loss / total: the mean over the real examples of a step, of which this batch
// may be a part. Filler rows have weight 0, and others 1 or their class's.
func weightedMean(losses, weights, total *Node) *Node {
	return Div(ReduceAllSum(Mul(losses, weights)), total)
}
