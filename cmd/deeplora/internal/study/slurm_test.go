package study

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/deeplora/deeplora/internal/jsonfile"
)

func TestSlurmMakesEveryJobOnce(t *testing.T) {
	for _, tc := range []struct {
		name   string
		jobs   int
		size   int
		config string
		arrays []string // of each sbatch
	}{
		{"one array", 6, 0, "", []string{"0-5%2"}},
		{"one job", 1, 0, "", []string{"0-0%2"}},
		{"the cluster's limit", 6, 0, "X = 1\nMaxArraySize            = 4\nY = 2\n", []string{"0-3%2", "0-1%2"}},
		{"the scheduler's limit", 5, 0, "MaxArraySize = 1001\nSchedulerParameters = bf_window=9,max_array_tasks=3,x\n", []string{"0-2%2", "0-1%2"}},
		{"one index", 2, 0, "MaxArraySize = 1\n", []string{"0-0%2", "0-0%2"}},
		{"a limit of one's own", 5, 2, "MaxArraySize = 4\n", []string{"0-1%2", "0-1%2", "0-0%2"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			onCluster(t, func(t *testing.T, c *cluster) {
				if tc.config != "" {
					c.config = tc.config
				}
				var notices []string
				s := c.executor(&notices)
				s.ArraySize, s.Parallel, s.Cores, s.Sbatch = tc.size, 2, 3, []string{"--partition=long", "--signal=B:INT@600"}
				var got told
				if err := s.Run(t.Context(), c.jobs(tc.jobs), got.report); err != nil {
					t.Fatal(err)
				}
				if got.count[Started] != tc.jobs || got.count[Done] != tc.jobs || len(got.lines) != 2*tc.jobs || len(notices) != 0 {
					t.Errorf("reported %q, notices %q", got.lines, notices)
				}
				var arrays []string
				for _, call := range c.calls {
					arrays = append(arrays, option(strings.Fields(call), "--array"))
					const want = "--export=ALL --signal=B:INT@120 --cpus-per-task=3 --partition=long --signal=B:INT@600 --array="
					if out := "--output=" + c.dir + "/slurm/%A_%a.out "; !strings.HasPrefix(call, want) || !strings.Contains(call, out) {
						t.Errorf("sbatch %s\nwant %s… and %s", call, want, out)
					}
				}
				if !slices.Equal(arrays, tc.arrays) {
					t.Errorf("arrays %q, want %q", arrays, tc.arrays)
				}
				var record slurmRecord
				if err := jsonfile.Read(filepath.Join(c.dir, "slurm", slurmRecordFile), &record); err != nil || len(record.Arrays) != 0 {
					t.Errorf("recorded as in the queue: %v (%v)", record.Arrays, err)
				}
			})
		})
	}
}

func TestSlurmRepeatsWhatWasStopped(t *testing.T) {
	const unknown = "it left the queue without a result, and Slurm does not say how (task 1_1; logs: "
	for _, tc := range []struct {
		end      fate
		known    string // to whom
		failures int    // before it is done
		text     string
	}{
		{fate{"TIMEOUT", "0:15", 0}, "accounts", 1, "Slurm ended it: TIMEOUT (task 1_1; logs: "},
		{fate{"TIMEOUT", "0:15", 0}, "controller", 1, "Slurm ended it: TIMEOUT (task 1_1; logs: "},
		{fate{"TIMEOUT", "0:15", 0}, "nobody", 1, unknown},
		{fate{"NODE_FAIL", "0:0", 0}, "accounts", 2, "Slurm ended it: NODE_FAIL ("},
		{fate{"PREEMPTED", "0:15", 0}, "controller", 2, "Slurm ended it: PREEMPTED ("},
		{fate{"CANCELLED", "0:9", 0}, "accounts", 1, "Slurm ended it: CANCELLED ("},
		{fate{"CANCELLED", "0:9", 0}, "controller", 1, "Slurm ended it: CANCELLED ("},
		{fate{"FAILED", "130:0", 0}, "accounts", 1, "exit code 130: loss is not finite ("},
		{fate{"FAILED", "0:9", 0}, "controller", 1, "signal 9: loss is not finite ("},
		{fate{"FAILED", "1:0", 0}, "accounts", 3, "exit code 1: loss is not finite (task 1_1; logs: "},
		{fate{"FAILED", "1:0", 0}, "controller", 3, "exit code 1: loss is not finite (task 1_1; logs: "},
		{fate{"FAILED", "1:0", 0}, "nobody", 3, unknown},
	} {
		t.Run(fmt.Sprintf("%s %s, known to %s, %d times", tc.end.state, tc.end.exit, tc.known, tc.failures), func(t *testing.T) {
			onCluster(t, func(t *testing.T, c *cluster) {
				c.accounting, c.forgetful = tc.known == "accounts", tc.known == "nobody"
				c.fate = func(run string, try int) fate {
					if run == "run1" && try < tc.failures {
						return tc.end
					}
					return fate{}
				}
				jobs := c.jobs(3)
				writeLog(t, jobs[1].Log, "step 7\ndeeplora: loss is not finite\n")
				var notices []string
				var got told
				err := c.executor(&notices).Run(t.Context(), jobs, got.report)
				checkRepeats(t, got, err, tc.failures, tc.text)
				if n := c.tries("run1"); n != min(tc.failures+1, 3) || c.tries("run0") != 1 || c.tries("run2") != 1 {
					t.Errorf("run1 had %d tasks", n)
				}
			})
		})
	}
}

// checkRepeats checks what is told of one run of three that did not finish so often, where two repeats are allowed.
func checkRepeats(t *testing.T, got told, err error, failures int, text string) {
	t.Helper()
	failed := failures / 3
	if got.count[Done] != 3-failed || got.count[Repeated] != failures-failed || got.count[Failed] != failed {
		t.Errorf("reported %q", got.lines)
	}
	if !strings.HasPrefix(got.text[0], text) {
		t.Errorf("text %q, want %q", got.text[0], text)
	}
	switch {
	case failed == 0 && err != nil:
		t.Error(err)
	case failed == 1 && (err == nil || !strings.Contains(err.Error(), "run1") || !strings.Contains(err.Error(), "logs: ")):
		t.Errorf("error %v", err)
	}
}

func writeLog(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// What would end the same way again is not repeated, nor what someone cancelled as a whole.
func TestSlurmDoesNotRepeatInVain(t *testing.T) {
	for _, tc := range []struct {
		name   string
		all    bool
		fate   fate
		failed int
		text   string
	}{
		{"wrong settings", false, fate{"FAILED", "2:0", 0}, 1, "exit code 2: it said nothing"},
		{"no memory", false, fate{"OUT_OF_MEMORY", "0:125", 0}, 1, "it ran out of memory; ask sbatch for more with --mem"},
		{"array cancelled", true, fate{"CANCELLED", "0:15", 0}, 4, "Slurm ended it: CANCELLED"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			onCluster(t, func(t *testing.T, c *cluster) {
				c.fate = func(run string, _ int) fate {
					if tc.all || run == "run2" {
						return tc.fate
					}
					return fate{}
				}
				jobs := c.jobs(4)
				writeLog(t, jobs[2].Log, "")
				var notices []string
				var got told
				err := c.executor(&notices).Run(t.Context(), jobs, got.report)
				if err == nil || len(c.tasks) != 4 || got.count[Failed] != tc.failed || got.count[Done] != 4-tc.failed {
					t.Errorf("%d tasks, reported %q, error %v", len(c.tasks), got.lines, err)
				}
				if len(got.text) == 0 || !strings.HasPrefix(got.text[0], tc.text) {
					t.Errorf("text %q, want %q", got.text, tc.text)
				}
			})
		})
	}
}

// When an array is cancelled, what waits is gone at once and what runs takes a while: nothing of it is repeated
// meanwhile.
func TestSlurmSeesAnArrayCancelledSlowly(t *testing.T) {
	onCluster(t, func(t *testing.T, c *cluster) {
		c.fate = func(string, int) fate { return fate{"CANCELLED", "0:15", 0} }
		begin := time.Now()
		c.after = func(program, answer string) (string, error) {
			if program == "squeue" && time.Since(begin) > fakeWait+fakeTime && time.Since(begin) < 2*fakeTime {
				return answer + strings.ReplaceAll("1_0|NAME|CG|node7|None\n", "NAME", c.tasks[0].name), nil
			}
			return answer, nil
		}
		var notices []string
		var got told
		if err := c.executor(&notices).Run(t.Context(), c.jobs(3), got.report); err == nil || got.count[Failed] != 3 || len(c.tasks) != 3 {
			t.Errorf("%d tasks, reported %q, error %v", len(c.tasks), got.lines, err)
		}
	})
}

func TestSlurmWaitsForAResultToBeSeen(t *testing.T) {
	for lag, tries := range map[time.Duration]int{0: 1, 40 * time.Second: 1, 2 * time.Minute: 2} {
		t.Run(lag.String(), func(t *testing.T) {
			onCluster(t, func(t *testing.T, c *cluster) {
				c.fate = func(string, int) fate { return fate{"COMPLETED", "0:0", lag} }
				var notices []string
				var got told
				err := c.executor(&notices).Run(t.Context(), c.jobs(1), got.report)
				if err != nil || len(c.tasks) != tries || got.count[Done] != 1 {
					t.Errorf("%d tasks, want %d; reported %q, error %v", len(c.tasks), tries, got.lines, err)
				}
				if tries == 2 && !strings.Contains(got.text[0], "is that on a file system that the nodes share?") {
					t.Errorf("text %q", got.text[0])
				}
			})
		})
	}
}

// A process that left, at whatever moment after it submitted, leaves nothing that is made twice, and nothing that
// is lost.
func TestSlurmGoesOnWithWhatIsQueued(t *testing.T) {
	for _, died := range []bool{false, true} { // before it noted sbatch's answer
		t.Run(fmt.Sprintf("died %v", died), func(t *testing.T) {
			onCluster(t, func(t *testing.T, c *cluster) {
				c.fate = func(run string, try int) fate {
					if run == "run1" && try == 0 {
						return fate{"TIMEOUT", "0:15", 0}
					}
					return fate{}
				}
				leaveEarly(t, c)
				path := filepath.Join(c.dir, "slurm", slurmRecordFile)
				var record slurmRecord
				if err := jsonfile.Read(path, &record); err != nil || len(record.Arrays) != 1 || record.Arrays[0].ID != "1" {
					t.Fatalf("recorded %+v (%v)", record, err)
				}
				if died {
					record.Arrays[0].ID = ""
					if err := jsonfile.Write(path, record); err != nil {
						t.Fatal(err)
					}
				}
				// Another process, in which the study has grown: what is queued is waited for, the new run alone submitted.
				var notices []string
				var got told
				if err := c.executor(&notices).Run(t.Context(), c.jobs(4), got.report); err != nil {
					t.Fatal(err)
				}
				if got.count[Done] != 4 || got.count[Repeated] != 1 || c.tries("run0") != 1 || c.tries("run1") != 2 || c.tries("run3") != 1 {
					t.Errorf("reported %q, sbatch %q", got.lines, c.calls)
				}
			})
		})
	}
}

// leaveEarly runs three jobs until they have started, and checks what is said of leaving.
func leaveEarly(t *testing.T, c *cluster) {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), 2*fakeWait)
	defer stop()
	var notices []string
	var got told
	err := c.executor(&notices).Run(ctx, c.jobs(3), got.report)
	const want = "jobs go on in Slurm: 3 of them; `deeplora compare --resume` with the same --out waits for them again, `scancel 1` ends them"
	if !errors.Is(err, ErrGoesOn) || !errors.Is(err, context.DeadlineExceeded) || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("error %v, want %s", err, want)
	}
	if got.count[Started] != 3 || len(got.lines) != 3 {
		t.Errorf("reported %q", got.lines)
	}
}

// A submission whose answer is lost is looked for before it is made again.
func TestSlurmFindsArraysByName(t *testing.T) {
	for _, submitted := range []bool{true, false} {
		t.Run(fmt.Sprintf("submitted %v", submitted), func(t *testing.T) {
			onCluster(t, func(t *testing.T, c *cluster) {
				if submitted {
					c.after = func(program, answer string) (string, error) {
						if program == "sbatch" && len(c.calls) == 1 {
							return "", silence("sbatch: Socket timed out on send/recv operation")
						}
						return answer, nil
					}
				} else {
					lost := false
					c.fault = func(program string, _ []string) error {
						if program == "sbatch" && !lost {
							lost = true
							return silence("sbatch: Unable to contact slurm controller")
						}
						return nil
					}
				}
				var notices []string
				var got told
				err := c.executor(&notices).Run(t.Context(), c.jobs(2), got.report)
				if err != nil || len(c.tasks) != 2 || got.count[Done] != 2 || len(got.lines) != 4 {
					t.Errorf("%d tasks, reported %q, error %v", len(c.tasks), got.lines, err)
				}
				if len(notices) != 2 || !strings.HasPrefix(notices[0], "slurm: no answer, asking again every 10s: sbatch: ") || notices[1] != "slurm: it answers again" {
					t.Errorf("notices %q", notices)
				}
			})
		})
	}
}

func TestSlurmOutlivesASilentController(t *testing.T) {
	for silent, survives := range map[time.Duration]bool{10 * time.Minute: true, 40 * time.Minute: false} {
		t.Run(silent.String(), func(t *testing.T) {
			onCluster(t, func(t *testing.T, c *cluster) {
				begin := time.Now()
				c.fault = func(program string, _ []string) error {
					if since := time.Since(begin); program != "sbatch" && since > 20*time.Second && since < silent {
						return silence("%s: exit status 1: Unable to contact slurm controller (connect failure)", program)
					}
					return nil
				}
				var notices []string
				var got told
				err := c.executor(&notices).Run(t.Context(), c.jobs(2), got.report)
				if survives {
					if err != nil || len(c.tasks) != 2 || got.count[Done] != 2 || len(notices) != 2 {
						t.Errorf("%d tasks, reported %q, notices %q, error %v", len(c.tasks), got.lines, notices, err)
					}
					return
				}
				if !errors.Is(err, ErrGoesOn) || !strings.Contains(err.Error(), "compare --resume") || !strings.Contains(err.Error(), "no answer for 30m0s: squeue: exit status 1: Unable") {
					t.Errorf("error %v", err)
				}
			})
		})
	}
}

// Lines that are not understood are no reason to take a task for gone.
func TestSlurmDoesNotTrustAnAnswerItCannotRead(t *testing.T) {
	onCluster(t, func(t *testing.T, c *cluster) {
		asked := 0
		c.after = func(program, answer string) (string, error) {
			if program == "squeue" {
				if asked++; asked%2 == 0 {
					return "*** maintenance on Monday ***\n", nil
				}
			}
			return answer, nil
		}
		var notices []string
		var got told
		if err := c.executor(&notices).Run(t.Context(), c.jobs(3), got.report); err != nil || len(c.tasks) != 3 || got.count[Done] != 3 {
			t.Errorf("%d tasks, reported %q, error %v", len(c.tasks), got.lines, err)
		}
		if want := `slurm: no answer, asking again every 10s: squeue: line "*** maintenance on Monday ***" is not in the format asked for`; len(notices) == 0 || notices[0] != want {
			t.Errorf("notices %q, want %s", notices, want)
		}
	})
}

func TestSlurmRefused(t *testing.T) {
	limit := errors.New("sbatch: exit status 1: sbatch: error: QOSMaxSubmitJobPerUserLimit sbatch: error: Batch job submission failed")
	for _, tc := range []struct {
		name  string
		fault func(c *cluster, args []string) error
		err   string
		calls int
	}{
		{"always", func(*cluster, []string) error { return errRefused }, "slurm: " + errRefused.Error(), 0},
		{"while others are queued", func(c *cluster, _ []string) error {
			if len(c.tasks) == 3 && !time.Now().After(c.tasks[0].end) {
				return errRefused
			}
			return nil
		}, "", 2},
		{"more than two at a time", func(c *cluster, args []string) error {
			queued := 0
			for _, task := range c.tasks {
				if time.Now().Before(task.end) {
					queued++
				}
			}
			var last int
			fmt.Sscanf(option(args, "--array"), "0-%d", &last)
			if queued+last+1 > 2 {
				return limit
			}
			return nil
		}, "", 4},
	} {
		t.Run(tc.name, func(t *testing.T) {
			onCluster(t, func(t *testing.T, c *cluster) {
				c.fault = func(program string, args []string) error {
					if program != "sbatch" {
						return nil
					}
					return tc.fault(c, args)
				}
				var notices []string
				s := c.executor(&notices)
				s.ArraySize = 3
				var got told
				err := s.Run(t.Context(), c.jobs(6), got.report)
				if tc.err != "" {
					if err == nil || err.Error() != tc.err || errors.Is(err, ErrGoesOn) {
						t.Errorf("error %v, want %s", err, tc.err)
					}
					return
				}
				if err != nil || len(c.tasks) != 6 || got.count[Done] != 6 || len(notices) == 0 || !strings.Contains(notices[0], "jobs wait until others are done: sbatch") {
					t.Errorf("%d tasks, reported %q, notices %q, error %v", len(c.tasks), got.lines, notices, err)
				}
				if len(c.calls) < tc.calls {
					t.Errorf("sbatch %q", c.calls)
				}
			})
		})
	}
}

func TestSlurmTellsWhyTasksDoNotStart(t *testing.T) {
	onCluster(t, func(t *testing.T, c *cluster) {
		c.after = func(_, answer string) (string, error) {
			return strings.ReplaceAll(answer, "|Priority", "|launch failed requeued held"), nil
		}
		var notices []string
		var got told
		if err := c.executor(&notices).Run(t.Context(), c.jobs(2), got.report); err != nil {
			t.Fatal(err)
		}
		if want := []string{"slurm: tasks of 1 wait: launch failed requeued held"}; !slices.Equal(notices, want) {
			t.Errorf("notices %q, want %q", notices, want)
		}
	})
}

func TestSlurmRecordDamaged(t *testing.T) {
	onCluster(t, func(t *testing.T, c *cluster) {
		writeLog(t, filepath.Join(c.dir, "slurm", slurmRecordFile), `{"next": 1, "arrays": [`)
		var notices []string
		err := c.executor(&notices).Run(t.Context(), c.jobs(1), nil)
		if !errors.Is(err, jsonfile.ErrCorrupt) || !strings.Contains(err.Error(), "remove the file") || len(c.calls) != 0 {
			t.Errorf("error %v, sbatch %q", err, c.calls)
		}
	})
}

func TestSlurmArguments(t *testing.T) {
	if err := CheckSbatch([]string{"--partition=gpu", "-p", "gpu", "--gres=gpu:1", "--mem=4G", "--time=1:00:00", "-t", "60", "--arrayed"}); err != nil {
		t.Error(err)
	}
	for _, arg := range []string{"--array=0-3", "--array", "-a", "-a0-3", "--wait", "-W", "--output=x", "-ox", "--job-name=x", "--clusters=a,b", "--wrap=x"} {
		if err := CheckSbatch([]string{"--mem=1G", arg}); err == nil || !strings.HasSuffix(err.Error(), "is set by deeplora itself; leave "+arg+" out") {
			t.Errorf("%s: error %v", arg, err)
		}
	}
	s := Slurm{Dir: t.TempDir(), Sbatch: []string{"--array=0-3"}}
	if err := s.Run(t.Context(), nil, nil); err == nil || !strings.HasPrefix(err.Error(), "slurm: sbatch's --array is set by deeplora itself") {
		t.Errorf("error %v", err)
	}
}
