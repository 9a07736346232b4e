package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/train"
)

func tokenizeCommand(s *shared) *cobra.Command {
	model, input, task, maxLength := train.BuiltinModel, "-", "", 0
	cmd := &cobra.Command{
		Use:   "tokenize",
		Short: "Show how texts become token ids",
		Long: `Tokenize texts as training and prediction do. Input is JSONL, {"text": …} or
{"text": …, "pair": …}, or a GLUE TSV with --task; output is a JSON object a line.`,
		Example: `  echo '{"text": "A man is playing a flute.", "pair": "Someone plays."}' | deeplora tokenize`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if maxLength != 0 && maxLength < 3 {
				return usagef("--max-length: %d is less than 3, a text between special tokens; 0 is no limit", maxLength)
			}
			files, _, err := s.sources().Model(cmd.Context(), model)
			if err != nil {
				return err
			}
			tok, err := data.OpenTokenizer(files, "")
			if err != nil {
				return fmt.Errorf("model %s: %w", model, err)
			}
			return tokenizeAll(cmd, tok, input, task, maxLength)
		},
	}
	bindModel(cmd.Flags(), &model)
	cmd.Flags().StringVar(&input, "input", input, "file to read, - for standard input")
	cmd.Flags().StringVar(&task, "task", "", "GLUE task of a TSV")
	cmd.Flags().IntVar(&maxLength, "max-length", 0, "truncate to this many tokens; 0: no limit")
	return cmd
}

// tokenized is a line of output.
type tokenized struct {
	IDs    []int32  `json:"input_ids"`
	Types  []int32  `json:"token_type_ids"`
	Mask   []int32  `json:"attention_mask"`
	Tokens []string `json:"tokens"`
}

func tokenizeAll(cmd *cobra.Command, tok data.Tokenizer, input, task string, maxLength int) error {
	t, err := optionalTask(task)
	if err != nil {
		return err
	}
	in, err := openInput(cmd, input)
	if err != nil {
		return err
	}
	defer in.Close()
	w := bufio.NewWriter(cmd.OutOrStdout())
	out := json.NewEncoder(plainJSON(w))
	out.SetEscapeHTML(false)
	for row, err := range data.ReadInputs("", in, input, t) {
		if err != nil {
			return err
		}
		encoded, err := encodeInput(tok, row, maxLength)
		if err != nil {
			return inputFault(input, row, err)
		}
		line := tokenized{IDs: encoded.IDs, Types: encoded.Types}
		for _, id := range encoded.IDs {
			line.Mask = append(line.Mask, 1)
			line.Tokens = append(line.Tokens, tok.Token(id))
		}
		if line.Types == nil {
			line.Types = make([]int32, len(line.IDs))
		}
		if err := out.Encode(line); err != nil {
			return err
		}
	}
	return w.Flush()
}

// encodeInput tokenizes an input, or takes the ids it brought along.
func encodeInput(tok data.Tokenizer, row data.Input, maxLength int) (data.Encoded, error) {
	if row.Ready {
		if maxLength > 0 && len(row.Encoded.IDs) > maxLength {
			return data.Encoded{}, fmt.Errorf("%d ids; ready ids are not truncated to the %d tokens allowed; raise --max-length or cut them", len(row.Encoded.IDs), maxLength)
		}
		return row.Encoded, nil
	}
	e := row.Example
	encoded, _, err := data.EncodePair(tok, e.Text, e.Pair, e.HasPair, maxLength)
	return encoded, err
}

// inputFault says where in the input an error is.
func inputFault(input string, row data.Input, err error) error {
	if input == "-" {
		input = "standard input"
	}
	return fmt.Errorf("%s:%d: %w", input, row.Line, err)
}

func optionalTask(name string) (*data.Task, error) {
	if name == "" {
		return nil, nil
	}
	t, err := data.LookupTask(name)
	if err != nil {
		return nil, usageError{err}
	}
	return &t, nil
}

// openInput opens a file, or standard input for -.
func openInput(cmd *cobra.Command, path string) (io.ReadCloser, error) {
	if path == "-" {
		return io.NopCloser(cmd.InOrStdin()), nil
	}
	return os.Open(path)
}
