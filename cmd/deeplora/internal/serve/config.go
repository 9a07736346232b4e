package serve

import (
	"errors"
	"fmt"
	"time"
)

// Config is how requests are taken and gathered.
type Config struct {
	MaxBatch  int           // inputs that are computed together, at most
	MaxWait   time.Duration // how long an input waits for others, at most, while nothing else is computed
	MaxInputs int           // inputs of a request
	MaxQueue  int           // inputs that wait; further requests are told to come again later
	MaxBody   int64         // bytes of a request's body
	Timeout   time.Duration // within which a request must have arrived
	Token     string        // that clients must send; empty: none

	Precision, Backend, Version string // what /info says of them
	Merged                      bool
}

// Default returns the defaults of the command line.
func Default() Config {
	return Config{MaxBatch: 64, MaxWait: 5 * time.Millisecond, MaxInputs: 32, MaxQueue: 512, MaxBody: 1 << 20, Timeout: 30 * time.Second}
}

// Check returns all faults of the settings, by the names of their flags.
func (c Config) Check() error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	for _, n := range []struct {
		flag  string
		value int64
	}{{"max-batch", int64(c.MaxBatch)}, {"max-inputs", int64(c.MaxInputs)}, {"max-queue", int64(c.MaxQueue)}, {"max-body", c.MaxBody}} {
		if n.value < 1 {
			fault("--%s: %d is less than 1", n.flag, n.value)
		}
	}
	if most := 1024; c.MaxBatch > most {
		fault("--max-batch: %d is more than %d", c.MaxBatch, most)
	}
	if c.MaxInputs > c.MaxQueue {
		fault("--max-inputs: %d is more than the %d that may wait (--max-queue): such a request would never be taken", c.MaxInputs, c.MaxQueue)
	}
	if c.MaxWait < 0 || c.MaxWait > time.Minute {
		fault("--max-wait: %v is not between 0 and 1m", c.MaxWait)
	}
	if c.Timeout <= 0 {
		fault("--timeout: %v is not above 0", c.Timeout)
	}
	return errors.Join(faults...)
}
