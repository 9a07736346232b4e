package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/gomlx/compute"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/deeplora/deeplora/cmd/deeplora/internal/serve"
	"github.com/deeplora/deeplora/model"
	"github.com/deeplora/deeplora/train"
)

// tokenEnv has the token that clients must send, where no file has it.
const tokenEnv = "DEEPLORA_TOKEN"

func serveCommand(s *shared) *cobra.Command {
	c := &server{shared: s, Config: serve.Default()}
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Answer over HTTP with finished runs or a checkpoint",
		Long: `Serve finished runs, or a checkpoint, over HTTP: POST /predict and /adapters/NAME/predict in the
form of text-embeddings-inference, GET /health, /info, /metrics (Prometheus), /openapi.json, and a page to
try it at /. Runs of one base model share it: it is held once, with each run's adapter beside it. Requests
of many clients are computed together. SIGTERM ends it once all that was asked is answered.`,
		Example: `  deeplora serve --run run
  deeplora serve --run sts-run=similarity --run rte-run=entailment --addr 0.0.0.0:8080 --token-file token
  curl http://127.0.0.1:8080/predict -H 'Content-Type: application/json' -d '{"inputs": ["A man plays.", "Someone plays."]}'`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := c.check(); err != nil {
				return err
			}
			return c.serve(cmd)
		},
	}
	c.bind(cmd.Flags())
	return cmd
}

// server is the serve command.
type server struct {
	*shared
	serve.Config
	runs                         []string
	model, addr, precision, file string
	maxLength                    int
}

func (c *server) bind(f *pflag.FlagSet) {
	f.StringArrayVar(&c.runs, "run", nil, "directory of a finished run, or DIR=NAME (repeatable); the first answers /predict")
	f.StringVar(&c.model, "model", "", "checkpoint with a classifier, a directory or hub id; beside --run: "+baseNow)
	f.StringVar(&c.addr, "addr", "127.0.0.1:8080", "address to listen on; port 0: a free one")
	f.BoolVar(&c.Merged, "merged", false, "merge the adapter into the model: one run, at the model's own speed")
	bindPrecision(f, &c.precision)
	c.bindDevices(f)
	f.StringVar(&c.file, "token-file", "", "file with the token that clients must send (default $"+tokenEnv+", or none)")
	f.IntVar(&c.MaxBatch, "max-batch", c.MaxBatch, "inputs computed together")
	f.DurationVar(&c.MaxWait, "max-wait", c.MaxWait, "how long an input waits for others while nothing is computed")
	f.IntVar(&c.MaxInputs, "max-inputs", c.MaxInputs, "inputs of a request")
	f.IntVar(&c.MaxQueue, "max-queue", c.MaxQueue, "inputs that wait, in all; further requests get 429")
	f.Int64Var(&c.MaxBody, "max-body", c.MaxBody, "bytes of a request")
	f.IntVar(&c.maxLength, "max-length", 0, "longest input, in tokens (default the run's, or 128)")
	f.DurationVar(&c.Timeout, "timeout", c.Timeout, "within which a request must have arrived")
}

// check refuses what cannot be meant, before a file is read.
func (c *server) check() error {
	switch {
	case len(c.runs) == 0 && c.model == "":
		return usagef("give --run, a finished run, or --model, a checkpoint with a classifier")
	case c.Merged && len(c.runs) != 1:
		return usagef("--merged is for one --run; there are %d", len(c.runs))
	}
	if err := checkAddr(c.addr); err != nil {
		return err
	}
	if err := checkPrecision(c.precision); err != nil {
		return err
	}
	if err := c.Check(); err != nil {
		return usageError{err}
	}
	return nil
}

func (c *server) serve(cmd *cobra.Command) error {
	if err := c.readToken(); err != nil {
		return err
	}
	listener, err := net.Listen("tcp", c.addr) // before anything is loaded: it is soon seen to fail
	if err != nil {
		return fmt.Errorf("--addr %s: %w", c.addr, err)
	}
	defer listener.Close()
	ctx := cmd.Context()
	adapters, err := c.open(ctx)
	defer func() {
		for _, a := range adapters {
			a.Close()
		}
	}()
	if err != nil {
		return err
	}
	s, err := serve.New(adapters, c.Config, c.ui.line)
	if err != nil {
		return usageError{err}
	}
	if err := s.Warm(ctx, c.ui.phaseFunc("compile")); err != nil {
		return err
	}
	use := "use this server: there is no token (--token-file)"
	if c.Token != "" {
		use = ""
	}
	c.announce(listener.Addr(), use)
	return s.Serve(ctx, listener)
}

func checkAddr(addr string) error {
	if _, _, err := net.SplitHostPort(addr); err != nil {
		return usagef("--addr: %q is not HOST:PORT, such as 127.0.0.1:8080: %w", addr, err)
	}
	return nil
}

// announce says, whatever --quiet, where a server listens, and what everybody may do who reaches it; use is empty where
// not everybody may.
func (s *shared) announce(addr net.Addr, use string) {
	s.ui.clear()
	if tcp, ok := addr.(*net.TCPAddr); ok && !tcp.IP.IsLoopback() && use != "" {
		s.ui.line("note: everybody who reaches %s may %s", addr, use)
	}
	fmt.Fprintf(s.ui.err, "listening on http://%s\n", addr)
}

// readToken takes the token from the file or the environment.
func (c *server) readToken() error {
	c.Token = os.Getenv(tokenEnv)
	if c.file == "" {
		return nil
	}
	text, err := os.ReadFile(c.file)
	if err != nil {
		return fmt.Errorf("--token-file: %w", err)
	}
	if c.Token = strings.TrimSpace(string(text)); c.Token == "" {
		return usagef("--token-file: %s is empty", c.file)
	}
	return nil
}

// open opens what is served.
func (c *server) open(ctx context.Context) ([]*serve.Adapter, error) {
	for _, run := range c.runs { // before an engine is started for nothing
		dir, name := nameOf(run)
		if _, err := train.ReadRunConfig(dir); err != nil {
			return nil, err
		}
		if err := serve.CheckName(name); err != nil {
			return nil, usageError{err}
		}
	}
	backend, info, err := c.shared.open()
	if err != nil {
		return nil, err
	}
	c.Backend, c.Version = info.Backend, version()
	var adapters []*serve.Adapter
	if len(c.runs) == 0 {
		adapters, err = c.openCheckpoint(ctx, backend)
	} else {
		adapters, err = c.openRuns(ctx, backend)
	}
	for _, a := range adapters {
		if err == nil {
			err = a.UseDevices(info.Devices)
		}
	}
	return adapters, err
}

func (c *server) openCheckpoint(ctx context.Context, backend compute.Backend) ([]*serve.Adapter, error) {
	p, err := train.OpenCheckpoint(ctx, c.model, backend, train.OpenOptions{Sources: c.sources(), Precision: c.precision})
	if err != nil {
		return nil, err
	}
	c.Precision = c.precision
	if c.Precision == "" {
		c.Precision = string(model.F32)
	}
	name := modelName(c.model)
	a, err := c.adapter(name, name, p)
	return []*serve.Adapter{a}, err
}

// openRuns opens runs on one base or, with --merged, the one run with its adapter merged in.
func (c *server) openRuns(ctx context.Context, backend compute.Backend) (list []*serve.Adapter, err error) {
	var with *train.Predictor
	for _, run := range c.runs {
		dir, name := nameOf(run)
		f, err := train.ReadFinished(ctx, dir, train.OpenOptions{Sources: c.sources(), Model: c.model, Precision: c.precision})
		if err != nil {
			return list, err
		}
		for _, n := range f.Notices {
			c.ui.line("note: %s", n)
		}
		c.Precision = f.Run.Precision
		var p *train.Predictor
		switch {
		case !c.Merged:
			p, err = f.Beside(backend, with)
		case c.Precision != string(model.F32):
			err = usagef("--merged: kernels in %s have too few bits for an adapter to be merged in; give --precision f32 too, or leave --merged out", c.Precision)
		default:
			p, err = f.Open(backend)
		}
		if err != nil {
			return list, err
		}
		a, err := c.adapter(name, modelName(f.Run.Model), p)
		a.Method = f.Run.Method
		if list, with = append(list, a), p; err != nil {
			return list, err
		}
	}
	return list, nil
}

// adapter is p under a name, with the longest input settled within what the model has positions for.
func (c *server) adapter(name, base string, p *train.Predictor) (*serve.Adapter, error) {
	a := &serve.Adapter{Name: name, Predictor: p, Base: base, MaxLength: c.maxLength}
	switch positions := p.Config().Positions(); {
	case c.maxLength == 0:
		a.MaxLength = min(p.Run.MaxLength, positions)
	case c.maxLength < 3 || c.maxLength > positions:
		return a, usagef("--max-length: %d is not between 3 and the model's %d positions", c.maxLength, positions)
	}
	return a, nil
}

// nameOf splits RUN=NAME. Without a name a run has that of its folder.
func nameOf(run string) (dir, name string) {
	if at := strings.LastIndexByte(run, '='); at >= 0 {
		return run[:at], run[at+1:]
	}
	absolute, err := filepath.Abs(run)
	if err != nil { // of a working directory that is gone; the name is then what was typed
		absolute = run
	}
	return run, filepath.Base(absolute)
}

// modelName is what a model is called before clients, who are to see no path of this machine.
func modelName(model string) string {
	if model == train.BuiltinModel {
		return "builtin-tiny"
	}
	if strings.Count(model, "/") == 1 && !filepath.IsAbs(model) {
		if _, err := os.Stat(model); err != nil { // an id of the hub
			return strings.ReplaceAll(model, "/", "--")
		}
	}
	return path.Base(filepath.ToSlash(filepath.Clean(model)))
}
