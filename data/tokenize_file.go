package data

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/deeplora/deeplora/internal/modelfiles"
	"github.com/deeplora/deeplora/internal/readfile"
)

const (
	tokenizerFile = modelfiles.Tokenizer
	vocabFile     = modelfiles.Vocabulary
	configFile    = modelfiles.TokenizerConfig
	specialsFile  = modelfiles.SpecialTokens
	addedFile     = modelfiles.AddedTokens

	// maxTokenizerFile bounds memory. The largest vocabularies of encoders, of a hundred languages, take 17 MB.
	maxTokenizerFile = 64 << 20
)

// OpenTokenizer reads the tokenizer of an encoder's checkpoint from its folder, such as os.DirFS(name). name is what errors
// call the folder, "" where it has no name.
//
// tokenizer.json is authoritative; truncation and padding it asks for are ignored, since the caller
// decides both. Without it, tokenizer_config.json and the older files of the tokenizer's class are read: vocab.txt, or
// vocab.json with merges.txt, or a SentencePiece model. Where several are there they must agree on vocabulary and case.
// Anything the files ask for that this package does not do, another type of tokenizer above all, is an error that
// names it.
func OpenTokenizer(fsys fs.FS, name string) (Tokenizer, error) {
	in := folder{fsys, name}
	v, err := readVocabulary(in)
	if err != nil {
		return nil, fmt.Errorf("tokenizer: %w", err)
	}
	tok, err := newTokenizer(v)
	if err != nil {
		return nil, fmt.Errorf("tokenizer: %s: %w", in.here(), err)
	}
	return tok, nil
}

// here names the folder in messages; of the root of a file system only the caller knows the name.
func (f folder) here() string {
	if name := f.path("."); name != "." {
		return name
	}
	return "the model's folder"
}

// readVocabulary reads what a folder says of its tokenizer, from whichever files are there.
func readVocabulary(in folder) (*vocabulary, error) {
	config, err := readTokenizerConfig(in)
	if err != nil {
		return nil, err
	}
	lines, err := readVocabFile(in)
	if err != nil {
		return nil, err
	}
	content, err := readBounded(in, tokenizerFile)
	if err == nil {
		err = config.check(in, content != nil)
	}
	if err != nil {
		return nil, err
	}
	if content != nil {
		return readTokenizerJSON(in, config, content, lines)
	}
	return readOlder(in, config, lines)
}

// readTokenizerJSON reads tokenizer.json, and holds the other files against it.
func readTokenizerJSON(in folder, config *tokenizerConfig, content []byte, lines []string) (*vocabulary, error) {
	v, err := parseTokenizerJSON(content, config, in.path(tokenizerFile))
	if err != nil {
		return nil, err
	}
	if err := v.agreesWithFamily(in, config); err != nil {
		return nil, fmt.Errorf("%s: %w", in.path(configFile), err)
	}
	if err := v.agreesWithVocabularyJSON(in); err != nil {
		return nil, err
	}
	return v, v.agrees(in, config, lines)
}

// readOlder reads a tokenizer that has no tokenizer.json.
func readOlder(in folder, config *tokenizerConfig, lines []string) (*vocabulary, error) {
	f := config.family
	config.fill()
	switch {
	case f.older != nil && in.hasAll(f.files):
		return f.older(in, config)
	case f.older != nil:
		return nil, fmt.Errorf("%s has no tokenizer of %s: looked for %s, and for %s; copy them from where the model came from: %w",
			in.here(), f.name, tokenizerFile, strings.Join(f.files, " with "), fs.ErrNotExist)
	case lines != nil && config.missing:
		return nil, fmt.Errorf("%s has %s but no %s that says whether letters are made small; write one: {\"tokenizer_class\": \"%s\", \"do_lower_case\": true} for an uncased model, false for a cased one: %w",
			in.here(), vocabFile, configFile, f.name, fs.ErrNotExist)
	case lines != nil:
		return vocabularyFromLines(in, config, lines)
	}
	for _, other := range families() {
		if other.older != nil && in.hasAll(other.files) {
			return nil, fmt.Errorf("%s has %s, but nothing says what reads it; write tokenizer_class into %s, as \"%s\"",
				in.here(), strings.Join(other.files, " and "), configFile, other.name)
		}
	}
	return nil, fmt.Errorf("%s has no tokenizer: looked for %s, and for %s with %s; copy them from where the model came from: %w",
		in.here(), tokenizerFile, vocabFile, configFile, fs.ErrNotExist)
}

// readBounded returns a file's content, or nil if there is no such file.
func readBounded(in folder, name string) ([]byte, error) {
	content, err := readfile.FS(in.fsys, name, maxTokenizerFile)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case errors.Is(err, readfile.ErrTooLarge):
		return nil, fmt.Errorf("%s is larger than %d MB; no encoder's tokenizer is", in.path(name), maxTokenizerFile>>20)
	case err != nil:
		return nil, fmt.Errorf("%s: %w", in.here(), err)
	}
	return content, nil
}

// readVocabFile returns vocab.txt's tokens, one a line, the id being the line's number from 0; nil if
// there is no such file. Blank lines at the end are no tokens.
func readVocabFile(in folder) ([]string, error) {
	content, err := readBounded(in, vocabFile)
	if content == nil || err != nil {
		return nil, err
	}
	lines := []string{}
	for r := newLineReader(bytes.NewReader(content), in.path(vocabFile)); ; {
		line, err := r.next()
		if errors.Is(err, io.EOF) {
			for len(lines) > 0 && lines[len(lines)-1] == "" { // a token of nothing is never found
				lines = lines[:len(lines)-1]
			}
			return lines, nil
		} else if err != nil {
			return nil, err
		}
		lines = append(lines, line)
	}
}
