package model_test

import "github.com/deeplora/deeplora/internal/rng"

func rngHead() *rng.Stream { return rng.New(0, "head") }
