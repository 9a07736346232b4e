package export

import (
	"context"
	"fmt"
	"os"

	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/internal/onnx"
	"github.com/deeplora/deeplora/train"
)

// onnxTolerances by how the weights are stored: as those of merged checkpoints. Of int8, where rounding the states costs
// more than the weights do and some models stand it badly, only what is clearly another model is refused; the report says
// the difference.
var onnxTolerances = map[string]precision{"f32": 2e-5, "f16": 2e-2, "int8": 0.5}

// verify reads the file again, computes with it and holds its logits against the run's: all examples in one batch, and the
// shortest by itself, since the file's sizes were found from other batches than these.
func (e ONNX) verify(ctx context.Context, dir string, s *train.Finished, trained *reference, report *Report) error {
	if err := sameTokens(s.Base, os.DirFS(dir)); err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	program, err := onnx.Read(dir, onnxFile)
	if err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	n := len(trained.rows)
	report.Verified = &Verification{Examples: n}
	for _, part := range [][2]int{{0, n}, {0, 1}} {
		if err := ctx.Err(); err != nil {
			return err
		}
		rows := trained.rows[part[0]:part[1]]
		length, inputs := paddedInputs(rows)
		logits, err := program.Run(e.Backend, len(rows), length, inputs)
		if err != nil {
			return fmt.Errorf("verify: %w", err)
		}
		if err := report.Verified.add(trained.logits[part[0]:part[1]], logits); err != nil {
			return err
		}
	}
	return report.Verified.judge(onnxTolerances[e.Precision])
}

// paddedInputs are rows as the graph takes them, short ones filled up.
func paddedInputs(rows []data.Encoded) (length int, inputs map[string][]int32) {
	for _, r := range rows {
		length = max(length, len(r.IDs))
	}
	ids, mask, types := make([]int32, len(rows)*length), make([]int32, len(rows)*length), make([]int32, len(rows)*length)
	for i, r := range rows {
		copy(ids[i*length:], r.IDs)
		copy(types[i*length:], r.Types)
		for j := range r.IDs {
			mask[i*length+j] = 1
		}
	}
	return length, map[string][]int32{inputIDs: ids, inputMask: mask, inputTypes: types}
}
