package train

import (
	"github.com/gomlx/compute/dtypes"
	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas

	"github.com/deeplora/deeplora/model"
)

// lossFunc gives each example's loss: logits [batch, labels], labels [batch] -> [batch].
type lossFunc func(logits, labels *Node) *Node

// lossOf is the loss of a problem type.
func lossOf(problem string) lossFunc {
	if problem == model.Regression {
		return squaredError
	}
	return crossEntropy
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

// weightedMean is Σ weight·loss / total: the mean over the real examples of a step, of which this batch
// may be a part. Filler rows have weight 0.
func weightedMean(losses, weights, total *Node) *Node {
	return Div(ReduceAllSum(Mul(losses, weights)), total)
}
