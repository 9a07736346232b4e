package tokenizer

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
)

// typeOf is the type that a part of a tokenizer.json names, "" for null.
func typeOf(raw json.RawMessage) (string, error) {
	if len(raw) == 0 || string(raw) == "null" {
		return "", nil
	}
	var part struct {
		Type *string `json:"type"`
	}
	if err := json.Unmarshal(raw, &part); err != nil {
		return "", fmt.Errorf(`is %.40s; want an object with "type"`, raw)
	}
	if part.Type == nil || *part.Type == "" {
		return "", fmt.Errorf("is %.40s; it has no type", raw)
	}
	return *part.Type, nil
}

// parseStrictly reads a part whose fields are all known: one that is not may ask for what is not done.
func parseStrictly(raw json.RawMessage, to any, kind string) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(to); err != nil {
		return fmt.Errorf("%s: %s", kind, strings.TrimPrefix(err.Error(), "json: "))
	}
	return nil
}

// onlyType holds that a part has no options.
func onlyType(raw json.RawMessage, kind string) error {
	var part struct {
		Type string `json:"type"`
	}
	return parseStrictly(raw, &part, kind)
}

func lacks(kind, field string) error { return fmt.Errorf("%s lacks %s", kind, field) }
