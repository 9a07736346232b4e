//go:build !noxla

package engine

import _ "github.com/deeplora/deeplora/internal/engine/quiet" // go-xla's messages go to the debug log
