package main

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/spf13/pflag"

	"github.com/deeplora/deeplora/engine"
	"github.com/deeplora/deeplora/train"
)

// deviceCount is the value of --devices: a number from 1, or all.
type deviceCount int

const allDevices = "all"

func (d *deviceCount) String() string {
	if *d == engine.AllDevices {
		return allDevices
	}
	return strconv.Itoa(max(1, int(*d)))
}

func (d *deviceCount) Set(text string) error {
	if text == allDevices {
		*d = engine.AllDevices
		return nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		return errors.New("want a number from 1, or all")
	}
	*d = deviceCount(n)
	return nil
}

// Type names the flag's values, for kinds.
func (d *deviceCount) Type() string { return "devices" }

// bindDevices binds --devices, for the commands that can use several.
func (s *shared) bindDevices(f *pflag.FlagSet) {
	f.Var(&s.devices, "devices", "devices of the engine that share the work: a number, or all")
}

// onDevices is an opened predictor on as many devices as the engine was opened for.
func onDevices(p *train.Predictor, err error, from train.Provenance) (*train.Predictor, error) {
	if err != nil {
		return nil, err
	}
	if err := p.UseDevices(from.Devices); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

// devicesText is how many devices compute, for a line of the result.
func devicesText(n int) string {
	if n <= 1 {
		return ""
	}
	return fmt.Sprintf(", %d devices", n)
}
