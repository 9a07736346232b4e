package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"

	"github.com/spf13/cobra"

	"github.com/deeplora/deeplora/cmd/deeplora/internal/watch"
)

func watchCommand(s *shared) *cobra.Command {
	var run, addr string
	cmd := &cobra.Command{
		Use:   "watch",
		Short: "Show a run in progress as a page that updates itself",
		Long: `Show a training or a pretraining, in progress or finished, as a page: how far it is, the loss, the
evaluations, and when it ends. It reads metrics.jsonl and the other files of the run, which may be another process's and is not
slowed down; the run need not have begun. SIGTERM or Ctrl+C ends it.`,
		Example: `  deeplora watch --run run
  deeplora watch --run run --addr 127.0.0.1:8090`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkWatch(run, addr); err != nil {
				return err
			}
			listener, err := net.Listen("tcp", addr)
			if err != nil {
				return fmt.Errorf("--addr %s: %w", addr, err)
			}
			defer listener.Close()
			server, err := watch.New(run, s.ui.line)
			if err != nil {
				return err
			}
			s.announce(listener.Addr(), "read this run's settings and figures")
			return server.Serve(cmd.Context(), listener)
		},
	}
	cmd.Flags().StringVar(&run, "run", "", "run directory, of train or pretrain; it may be made later")
	cmd.Flags().StringVar(&addr, "addr", "127.0.0.1:0", "address to listen on; port 0: a free one")
	return cmd
}

// checkWatch refuses what can never show a run. A folder that is not there is one that a run may still make.
func checkWatch(run, addr string) error {
	if run == "" {
		return usagef("give --run, the directory of a run")
	}
	if err := checkAddr(addr); err != nil {
		return err
	}
	info, err := os.Stat(run)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("--run: %w", err)
	case !info.IsDir():
		return usagef("--run: %s is a file; give the directory of a run", run)
	}
	return nil
}
