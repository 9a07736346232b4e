package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/deeplora/deeplora/internal/plugin"
)

func engineCommand(s *shared) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "engine",
		Short: "Install and list the XLA plugins that compute",
		Long: `Install and list the XLA plugins that compute. A plugin is one large file, fetched once and checked
before each use; without one everything runs on the slow Go engine.`,
		Example: "  deeplora engine install\n  deeplora engine list",
		Args:    noArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(engineInstallCommand(s), engineListCommand(s))
	return cmd
}

func engineInstallCommand(s *shared) *cobra.Command {
	var cuda, bestEffort, asJSON bool
	var from string
	cmd := &cobra.Command{
		Use:   "install",
		Short: "Find or fetch an XLA plugin and verify it",
		Long: `Find or fetch an XLA plugin and verify it. The first of these is taken: a sound plugin that is installed;
go-xla's own release; a pinned wheel from the Python index (PIP_INDEX_URL and pip's configuration are
honoured, PIP_EXTRA_INDEX_URL is not; no Python is needed). The plugin goes into the user's lib/go-xla.`,
		Example: "  deeplora engine install\n  deeplora engine install --from ./wheels   # a machine without a network\n  deeplora engine install --cuda",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			report, err := s.install(cmd.Context(), cuda, from)
			switch {
			case err != nil && bestEffort && cmd.Context().Err() == nil:
				s.ui.line("note: no XLA plugin is installed, computing on the slow Go engine: %s", oneLine(err))
				return nil
			case err != nil:
				return err
			case asJSON:
				return s.ui.json(report)
			default:
				return s.ui.table(report.rows())
			}
		},
	}
	cmd.Flags().BoolVar(&cuda, "cuda", false, "the plugin for NVIDIA GPUs, with NVIDIA's libraries (gigabytes), by go-xla's installer")
	cmd.Flags().StringVar(&from, "from", "", "library, wheel, go-xla's archive, or a folder with one, in the place of the network")
	cmd.Flags().BoolVar(&bestEffort, "best-effort", false, "if none can be had, say so in one line and succeed")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// installReport is what `engine install` has to say.
type installReport struct {
	plugin.Plugin
	Name    string `json:"name"`    // of the backend
	Already bool   `json:"already"` // it was there
	Opens   string `json:"opens"`   // what opening it gave, or why it was not tried
}

func (r installReport) rows() [][]string {
	state := "installed"
	if r.Already {
		state = "already installed"
	}
	return [][]string{
		{r.Name, state},
		{"path", r.Path},
		{"sha256", r.SHA256},
		{"source", strings.TrimSpace(r.Source + " " + r.Version)},
		{"opens", r.Opens},
	}
}

func (s *shared) install(ctx context.Context, cuda bool, from string) (installReport, error) {
	if !plugin.Linked {
		return installReport{}, errors.New("engine install: this program was built without XLA (tag noxla) and could not use a plugin")
	}
	kind := plugin.CPU
	if cuda {
		kind = plugin.CUDA
	}
	done, err := plugin.Install(ctx, plugin.Options{
		Kind: kind, From: from, Offline: s.offline, Cache: s.cache, OnProgress: s.ui.installing(),
	})
	s.ui.clear()
	if err != nil {
		return installReport{}, err
	}
	for _, notice := range done.Notices {
		s.ui.line("note: %s", oneLine(errors.New(notice)))
	}
	report := installReport{Plugin: done.Plugin, Name: "xla:" + string(kind), Already: done.Already}
	report.Opens, err = tryPlugin(done.Plugin)
	return report, err
}

// tryPlugin opens and closes a plugin: the last proof that it is one for this machine.
func tryPlugin(p plugin.Plugin) (string, error) {
	if p.Kind == plugin.CUDA && !plugin.GPUPresent() {
		return "not tried: no GPU here", nil
	}
	backend, _, err := plugin.Open(p)
	if err != nil {
		return "", fmt.Errorf("%w; it was verified but does not work here: try another with --from FILE", err)
	}
	defer backend.Finalize()
	return "yes", nil
}

// installing shows the progress of plugin.Install: bars for what has a length, a line for each phase where
// there are no bars.
func (u *ui) installing() func(plugin.Progress) {
	phase := ""
	return func(p plugin.Progress) {
		if p.Phase != phase {
			phase = p.Phase
			u.clear()
			if !u.terminal || p.Total == 0 {
				u.line("%s", p.Phase)
			}
		}
		if p.Total > 0 {
			u.progress(p.Phase, int(p.Done), int(p.Total), "")
		}
	}
}

func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }

func engineListCommand(s *shared) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List the XLA plugins on this machine",
		Long:    "List the XLA plugins on this machine, the preferred first, each read whole and compared with its record.",
		Example: "  deeplora engine list\n  deeplora engine list --json",
		Args:    noArgs,
		RunE: func(*cobra.Command, []string) error {
			plugins, err := listPlugins()
			if err != nil {
				return err
			}
			if asJSON {
				return s.ui.json(plugins)
			}
			if len(plugins) == 0 {
				s.ui.line("no XLA plugin is installed; run: %s", plugin.CPU.Remedy())
				return nil
			}
			for _, p := range plugins {
				if !p.Sound {
					s.ui.line("%s", p.Fault)
				}
			}
			return s.ui.table(pluginRows(plugins))
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// listedPlugin is a row of `engine list`.
type listedPlugin struct {
	plugin.Plugin
	Sound bool   `json:"sound"`
	Fault string `json:"fault,omitempty"`
}

func listPlugins() ([]listedPlugin, error) {
	found, err := plugin.Find("")
	if err != nil {
		return nil, err
	}
	plugins := []listedPlugin{} // [] in JSON, never null
	for _, p := range found {
		p, err := p.Verify(true)
		row := listedPlugin{Plugin: p, Sound: err == nil}
		if err != nil {
			row.Fault = err.Error()
		}
		plugins = append(plugins, row)
	}
	return plugins, nil
}

func pluginRows(plugins []listedPlugin) [][]string {
	rows := [][]string{{"BACKEND", "STATE", "MB", "SOURCE", "SHA256", "PATH"}}
	for _, p := range plugins {
		state := "sound"
		if !p.Sound {
			state = "unsound" // why stands above the table
		}
		rows = append(rows, []string{
			"xla:" + string(p.Kind), state, fmt.Sprint(p.Size / 1e6), strings.TrimSpace(p.Source + " " + p.Version), p.SHA256, p.Path,
		})
	}
	return rows
}
