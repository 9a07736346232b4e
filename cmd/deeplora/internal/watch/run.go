package watch

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/deeplora/deeplora/cmd/deeplora/internal/page"
	"github.com/deeplora/deeplora/cmd/deeplora/internal/pretrain"
	"github.com/deeplora/deeplora/cmd/deeplora/internal/runreport"
	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/internal/rundir"
	"github.com/deeplora/deeplora/train"
	"github.com/deeplora/deeplora/train/loop"
)

// Phases of a run.
const (
	waiting  = "waiting" // there is no run yet
	running  = "running"
	stopped  = "stopped" // its process is gone, and it has not finished
	finished = "finished"
)

// mostRows is how many evaluations are listed, the newest first.
const mostRows = 50

// state is what the page shows.
type state struct {
	Title   string     `json:"title"`
	About   string     `json:"about"`
	Phase   string     `json:"phase"`
	Status  string     `json:"status"` // a sentence that seldom changes: it is read out where a person cannot see the page
	Step    int        `json:"step"`
	Steps   int        `json:"steps"` // 0: not known
	Facts   []fact     `json:"facts"`
	Figures []figure   `json:"figures"`
	Columns []string   `json:"columns"` // of evaluations
	Rows    [][]string `json:"rows"`
	Note    string     `json:"note"`
	Fault   string     `json:"fault"` // why a file cannot be read
}

type fact struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

type figure struct {
	SVG     string `json:"svg"`
	Caption string `json:"caption"`
}

// run reads a run's directory again and again.
type run struct {
	dir     string
	log     loop.Tail
	task    data.Task
	figures []figure // of the log as it was read last
}

// settled are the settings that the page shows. The steps are 0 where there is no run yet.
type settled struct {
	title, about string
	task         data.Task
	steps        int
}

func readSettings(dir string) (s settled, err error) {
	if rundir.Is(dir, pretrain.RunJSON) { // whose config.json, once it is there, is the encoder's
		c, err := pretrain.ReadRunConfig(dir)
		if err != nil {
			return s, err
		}
		return settled{title: "Pretraining", about: "batches of " + strconv.Itoa(c.Batch) + " rows", steps: c.Steps}, nil
	}
	c, err := train.ReadRunConfig(dir)
	if errors.Is(err, rundir.ErrNoRun) {
		return s, nil
	}
	if err != nil {
		return s, err
	}
	s.task, _ = data.LookupTask(c.Task) // of a task that only its program knows, the order of its metrics is not known
	s.title = fmt.Sprintf("%s: %s on %s", c.Task, c.Method, runreport.ModelName(c.Model))
	s.steps = c.Steps
	s.about = fmt.Sprintf("batches of %d, seed %d", c.Batch, c.Seed)
	if !c.Whole() {
		s.about = fmt.Sprintf("rank %d, %s", c.Rank, s.about)
	}
	return s, nil
}

// outcome is of result.json what a training's and a pretraining's have both.
type outcome struct {
	Metrics loop.Metrics `json:"metrics"`
	Steps   int          `json:"steps"`
}

// look says how the run is now. What cannot be read is said in the state.
func (r *run) look() state {
	s := state{Title: filepath.Base(r.dir), Phase: waiting, Facts: []fact{}, Figures: []figure{}, Columns: []string{}, Rows: [][]string{}}
	alive, known := rundir.Owned(r.dir) // before its result, which it writes before it ends
	is, err := readSettings(r.dir)
	if err == nil {
		err = r.read(is.task)
	}
	if err != nil {
		s.Fault = err.Error()
		return s
	}
	if is.steps == 0 {
		s.Status = "Waiting for the run to begin: there is none in this folder yet."
		return s
	}
	s.Title, s.About, s.Step, s.Steps, s.Figures = is.title, is.about, r.log.Last, is.steps, r.figures
	var result outcome
	switch err := readOutcome(r.dir, &result); {
	case err == nil:
		s.Phase, s.Status = finished, "Finished after "+page.Count(result.Steps, "step")+"."
		s.Step = result.Steps
	case !errors.Is(err, fs.ErrNotExist):
		s.Fault = err.Error()
		return s
	case known && !alive:
		s.Phase, s.Status = stopped, fmt.Sprintf("Stopped at step %s: the process that trained it is gone. --resume goes on with it.", page.Grouped(s.Step))
	default:
		s.Phase, s.Status = running, "In progress."
	}
	r.tell(&s, result.Metrics)
	return s
}

func readOutcome(dir string, result *outcome) error {
	path := filepath.Join(dir, "result.json")
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, result); err != nil { // not jsonfile.Read, which would refuse the fields not shown
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// read takes what is new in the log and draws it.
func (r *run) read(task data.Task) error {
	changed, err := r.log.Read()
	if err != nil {
		r.figures = nil
		return err
	}
	if !changed && r.figures != nil && task.Name == r.task.Name {
		return nil
	}
	drawn, err := runreport.Curves(task, r.log.Steps, r.log.Evaluations)
	if err != nil {
		return err
	}
	r.task, r.figures = task, []figure{}
	for _, f := range drawn {
		r.figures = append(r.figures, figure{withoutStyle(string(f.SVG)), f.Caption})
	}
	return nil
}

// tell adds the newest numbers. Those of result.json are of what the run kept, which may be of an earlier step.
func (r *run) tell(s *state, kept loop.Metrics) {
	add := func(name, value string) { s.Facts = append(s.Facts, fact{name, value}) }
	for _, name := range runreport.MetricNames(r.task, kept) {
		add(name, runreport.MetricText(kept[name]))
	}
	if n := len(r.log.Steps); n > 0 {
		last := r.log.Steps[n-1]
		add("training loss", strconv.FormatFloat(last.Loss, 'g', 4, 64))
		add("learning rate", strconv.FormatFloat(last.LR, 'g', 3, 64))
		add("tokens a second", page.Grouped(int(last.TokensPerSecond)))
	}
	if len(r.log.Steps) == 0 && s.Phase != running {
		s.Note = "The run has no log of its training."
	}
	evaluations := slices.Clone(r.log.Evaluations)
	if len(evaluations) == 0 {
		return
	}
	slices.Reverse(evaluations)
	if len(evaluations) > mostRows {
		s.Note = fmt.Sprintf("The newest %d of %s are listed.", mostRows, page.Count(len(evaluations), "evaluation"))
		evaluations = evaluations[:mostRows]
	}
	names := runreport.MetricNames(r.task, evaluations[0].Metrics)
	s.Columns = append([]string{"step"}, names...)
	for _, e := range evaluations {
		row := []string{page.Grouped(e.Step)}
		for _, name := range names {
			row = append(row, textOf(e.Metrics, name))
		}
		s.Rows = append(s.Rows, row)
	}
}

func textOf(m loop.Metrics, name string) string {
	if v, there := m[name]; there {
		return runreport.MetricText(v)
	}
	return ""
}
