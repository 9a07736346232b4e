package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/deeplora/deeplora/lora"
	"github.com/deeplora/deeplora/train"
)

// Exit codes.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2   // wrong usage or config
	exitInterrupted = 130 // by a signal; a run has saved its state
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run is the whole program but for the exit: what tests call.
func run(args []string, in io.Reader, out, errOut io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// A second signal ends the process at once: whoever insists is not made to wait for a checkpoint.
	context.AfterFunc(ctx, stop)

	root := rootCommand()
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errOut)
	err := root.ExecuteContext(ctx)
	if err != nil {
		fmt.Fprintln(errOut, "deeplora:", explain(err))
	}
	return exitCode(err)
}

func rootCommand() *cobra.Command {
	s := &shared{}
	root := &cobra.Command{
		Use:   "deeplora",
		Short: "Fine-tune BERT-style encoders with Deep LoRA",
		Long: `Fine-tune BERT-style encoders with Deep LoRA: three-factor adapters, trained compressed
to a small rank, that beat plain LoRA where labelled data is scarce.`,
		Example:       "  deeplora demo\n  deeplora train --model ./bert-base-uncased --task rte --data ./glue/RTE --shots 64 --out run",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.ArbitraryArgs,
		Version:       version(),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			return usagef("unknown command %q%s; deeplora --help lists them", args[0], suggestions(cmd, args[0]))
		},
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error { return s.prepare(cmd) },
	}
	root.SetVersionTemplate("deeplora {{.Version}}\n")
	root.SetFlagErrorFunc(flagError)
	root.CompletionOptions.HiddenDefaultCmd = true
	s.bind(root.PersistentFlags())
	for _, command := range []func(*shared) *cobra.Command{
		trainCommand, evalCommand, predictCommand, tokenizeCommand, inspectCommand, engineCommand, doctorCommand, demoCommand,
	} {
		c := command(s)
		if c.Args == nil && !c.HasSubCommands() {
			c.Args = noArgs
		}
		root.AddCommand(c)
	}
	return root
}

// noArgs refuses positional arguments: everything is a flag.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usagef("%s takes flags only; what is %q?", cmd.CommandPath(), args[0])
	}
	return nil
}

func suggestions(cmd *cobra.Command, name string) string {
	cmd.SuggestionsMinimumDistance = 3
	if near := cmd.SuggestionsFor(name); len(near) > 0 {
		return "; nearest: " + strings.Join(near, ", ")
	}
	return ""
}

// usageError is an error of how the program was called: exit code 2.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// exitCode maps an error to the process's exit code.
func exitCode(err error) int {
	var usage usageError
	switch {
	case err == nil:
		return exitDone
	case errors.Is(err, train.ErrInterrupted), errors.Is(err, context.Canceled):
		return exitInterrupted
	case errors.As(err, &usage), errors.Is(err, train.ErrConfig), errors.Is(err, lora.ErrNoMatch):
		return exitUsage
	default:
		return exitFailed
	}
}

// explain makes an error's text one a person reads: joined faults as a list.
func explain(err error) string {
	lines := strings.Split(err.Error(), "\n")
	if len(lines) == 1 {
		return lines[0]
	}
	return fmt.Sprintf("%d faults:\n  %s", len(lines), strings.Join(lines, "\n  "))
}
