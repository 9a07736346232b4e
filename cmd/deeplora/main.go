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

	"github.com/deeplora/deeplora/cmd/deeplora/internal/study"
	"github.com/deeplora/deeplora/engine"
	"github.com/deeplora/deeplora/internal/nearest"
	"github.com/deeplora/deeplora/lora"
	"github.com/deeplora/deeplora/train"
	"github.com/deeplora/deeplora/train/loop"
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

	root := rootCommand(&shared{release: stop})
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errOut)
	err := root.ExecuteContext(ctx)
	if err != nil {
		fmt.Fprintln(errOut, "deeplora:", plain(explain(err)))
	}
	return exitCode(err)
}

func rootCommand(s *shared) *cobra.Command {
	root := &cobra.Command{
		Use:   "deeplora",
		Short: "Fine-tune BERT-style encoders with Deep LoRA",
		Long: `Fine-tune BERT-style encoders with Deep LoRA: three-factor adapters, trained compressed
to a small rank, for encoders and tasks with little labelled data, at one rate for every rank.`,
		Example:           "  deeplora demo\n  deeplora train --model ./bert-base-uncased --task rte --data ./glue/RTE --shots 64 --out run",
		SilenceErrors:     true,
		SilenceUsage:      true,
		Args:              groupArgs,
		Version:           version(),
		RunE:              func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error { return s.prepare(cmd) },
	}
	root.SetVersionTemplate("deeplora {{.Version}}\n")
	root.SetFlagErrorFunc(flagError)
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SetHelpCommand(helpCommand())
	s.bind(root.PersistentFlags())
	for _, command := range []func(*shared) *cobra.Command{
		trainCommand, evalCommand, predictCommand, serveCommand, reportCommand, watchCommand, tokenizeCommand, inspectCommand, exportCommand, importCommand, glueSubmitCommand, compareCommand, pretrainCommand, replayCommand, matrixCompletionCommand, engineCommand, doctorCommand, demoCommand,
	} {
		c := command(s)
		switch {
		case c.HasSubCommands():
			c.Args = groupArgs
		case c.Args == nil:
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

// groupArgs refuses what is no command of a group of commands.
func groupArgs(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	var names []string
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			names = append(names, c.Name())
		}
	}
	return usagef("unknown command %q of %s; nearest: %s (known: %s)", args[0], cmd.CommandPath(), nearest.Of(args[0], names), strings.Join(names, " "))
}

// helpCommand is cobra's, but for commands that are not there: cobra takes asking for them as done.
func helpCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "help [command]",
		Short:   "Help about any command",
		Long:    "Help about any command.",
		Example: "  deeplora help train",
		Args:    cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			of, rest, err := cmd.Root().Find(args)
			if err != nil || len(rest) > 0 && !of.HasSubCommands() {
				return noArgs(of, rest)
			}
			if err := groupArgs(of, rest); err != nil {
				return err
			}
			of.InitDefaultHelpFlag()
			return of.Help()
		},
	}
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
	case errors.Is(err, loop.ErrInterrupted), errors.Is(err, context.Canceled):
		return exitInterrupted
	case errors.As(err, &usage), errors.Is(err, engine.ErrUsage), errors.Is(err, train.ErrConfig), errors.Is(err, lora.ErrNoMatch):
		return exitUsage
	default:
		return exitFailed
	}
}

// explain makes an error's text one a person reads: joined faults as a list.
func explain(err error) string {
	if errors.Is(err, context.Canceled) && !saysWhatIsLeft(err) {
		return "interrupted"
	}
	lines := strings.Split(err.Error(), "\n")
	if len(lines) == 1 {
		return lines[0]
	}
	return fmt.Sprintf("%d faults:\n  %s", len(lines), strings.Join(lines, "\n  "))
}

// saysWhatIsLeft reports whether the error of something that was interrupted says what becomes of it.
func saysWhatIsLeft(err error) bool {
	return errors.Is(err, loop.ErrInterrupted) || errors.Is(err, study.ErrStopped) || errors.Is(err, study.ErrGoesOn) || errors.Is(err, errNoReport)
}
