//go:build !noxla

package plugin

import _ "github.com/deeplora/deeplora/internal/plugin/quiet" // go-xla's messages go to the debug log
