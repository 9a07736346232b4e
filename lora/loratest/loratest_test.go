package loratest_test

import (
	"testing"

	"github.com/deeplora/deeplora/lora"
	"github.com/deeplora/deeplora/lora/loratest"
)

// Every registered method meets the contract.
func TestConformance(t *testing.T) {
	for _, m := range lora.Methods() {
		t.Run(m.Name, func(t *testing.T) { loratest.Run(t, m.Name) })
	}
}
