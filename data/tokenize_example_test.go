package data_test

import (
	"fmt"
	"testing/fstest"

	"github.com/deeplora/deeplora/data"
)

func ExampleEncodePair() {
	checkpoint := fstest.MapFS{
		"vocab.txt":             {Data: []byte("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nplay\n##ing\nin\nthe\nrain\n.\n")},
		"tokenizer_config.json": {Data: []byte(`{"do_lower_case": true}`)},
	}
	tok, err := data.OpenTokenizer(checkpoint, "")
	if err != nil {
		fmt.Println(err)
		return
	}
	enc, cut, err := data.EncodePair(tok, "Playing in the rain.", "In the rain", true, 9)
	if err != nil {
		fmt.Println(err)
		return
	}
	for i, id := range enc.IDs {
		fmt.Printf("%s:%d ", tok.Token(id), enc.Types[i])
	}
	fmt.Printf("and %d tokens cut\n", cut)
	// Output: [CLS]:0 play:0 ##ing:0 in:0 [SEP]:0 in:1 the:1 rain:1 [SEP]:1 and 3 tokens cut
}
