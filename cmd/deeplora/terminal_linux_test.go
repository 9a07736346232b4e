package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// openTerminal opens a pseudo-terminal of so many columns: what a process writes to the terminal is read from the
// other side.
func openTerminal(t *testing.T, columns uint16) (side, terminal *os.File) {
	t.Helper()
	side, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("no pseudo-terminals here: %v", err)
	}
	t.Cleanup(func() { side.Close() })
	if err := unix.IoctlSetPointerInt(int(side.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(side.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	terminal, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { terminal.Close() })
	if err := unix.IoctlSetWinsize(int(terminal.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Col: columns, Row: 24}); err != nil {
		t.Fatal(err)
	}
	return side, terminal
}

// onTerminal runs the program with its standard error on a terminal and returns what it wrote there.
func onTerminal(t *testing.T, columns uint16, env []string, args ...string) string {
	t.Helper()
	side, terminal := openTerminal(t, columns)
	p := program(t, args...)
	p.Env = append(append(p.Env, "TERM=xterm"), env...)
	p.Stderr = terminal
	p.begin(t)
	var written bytes.Buffer
	read := make(chan struct{})
	go func() {
		defer close(read)
		_, _ = io.Copy(&written, side) // ends with EIO once nobody has the terminal open
	}()
	code := p.code(t)
	terminal.Close()
	<-read
	if code != exitDone {
		t.Fatalf("exit code %d\n%s", code, written.String())
	}
	return written.String()
}

// screen is what a terminal shows after these bytes, and every state that a line of it had when the cursor came
// back to its beginning.
func screen(t *testing.T, written string) (lines, drawn []string) {
	t.Helper()
	var line []rune
	at := 0
	for written != "" {
		switch {
		case strings.HasPrefix(written, "\x1b[2K"):
			line, written = nil, written[4:]
			line = append(line, []rune(strings.Repeat(" ", at))...)
			continue
		case strings.HasPrefix(written, "\x1b[0K"):
			line, written = line[:at], written[4:]
			continue
		}
		r, size := utf8.DecodeRuneInString(written)
		written = written[size:]
		switch r {
		case '\r':
			drawn = append(drawn, string(line))
			at = 0
		case '\n':
			lines, line, at = append(lines, strings.TrimRight(string(line), " ")), nil, 0
		case '\x1b':
			t.Fatalf("an escape sequence that was not expected: %.10q", written)
		default:
			if at < len(line) {
				line[at] = r
			} else {
				line = append(line, r)
			}
			at++
		}
	}
	return append(lines, strings.TrimRight(string(line), " ")), drawn
}

// On a terminal, bars show loss, speed and what is left, fit into its width, and are gone at the end.
func TestBarsOnATerminal(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		columns uint16
		env     []string
		want    string // of some drawn bar
		never   string
	}{
		{"wide", 120, nil, `^ +\d+% \|[█ ]{24}\|  train \d+/30, loss \d+\.\d{4}, \d+ tokens/s, ETA \d+s *$`, ""},
		{"usual", 80, nil, `^ +\d+% \|[█ ]+\|  train \d+/30, loss \d+\.\d{4}, \d+ tokens/s, ETA \d+s *$`, ""},
		{"narrow", 50, nil, `^ +\d+% \|\|  train \d+/30, loss \d+\.\d{4} *$`, `tokens|ETA`},
		{"no colour", 80, []string{"NO_COLOR=1"}, `train \d+/30, loss \d+\.\d{4}, \d+ tokens/s, ETA \d+s *$`, "\x1b"},
	} {
		t.Run(test.name, func(t *testing.T) {
			out := filepath.Join(t.TempDir(), "run")
			written := onTerminal(t, test.columns, test.env, smallRun(t, backendGo, out, "--steps", "30", "--eval-every", "10")...)
			lines, drawn := screen(t, written)
			drawn = slices.DeleteFunc(drawn, func(line string) bool { return !strings.Contains(line, "% |") })
			want := regexp.MustCompile(test.want)
			some := false
			for _, line := range drawn {
				some = some || want.MatchString(line)
				if n := utf8.RuneCountInString(line); n > int(test.columns) {
					t.Errorf("a bar of %d columns wraps at %d: %q", n, test.columns, line)
				}
			}
			if !some {
				t.Errorf("no bar is like %s:\n%s", want, strings.Join(drawn, "\n"))
			}
			if test.never != "" && regexp.MustCompile(test.never).MatchString(strings.Join(drawn, "\n")) {
				t.Errorf("a bar is like %s:\n%s", test.never, strings.Join(drawn, "\n"))
			}
			for _, line := range lines {
				if !strings.HasPrefix(line, "note: ") && strings.ContainsAny(line, "|%") { // notes have shares
					t.Errorf("a bar is left on the screen: %q", line)
				}
			}
			shown := strings.Join(lines, "\n")
			for _, text := range []string{"\ntraining ", "\nstep 10: pearson ", "\nstep 30: pearson "} {
				if !strings.Contains(shown, text) {
					t.Errorf("no line %q on the screen:\n%s", text, shown)
				}
			}
		})
	}
}

// A terminal that cannot move its cursor, and whoever wants quiet, get no bars.
func TestNoBarsWhereTheyAreNotWanted(t *testing.T) {
	t.Parallel()
	run := func(env []string, more ...string) string {
		out := filepath.Join(t.TempDir(), "run")
		return onTerminal(t, 80, env, smallRun(t, backendGo, out, append([]string{"--steps", "3"}, more...)...)...)
	}
	if text := run([]string{"TERM=dumb"}); strings.ContainsAny(text, "\x1b|") || !strings.Contains(text, "step 1/3: loss ") {
		t.Errorf("on a dumb terminal:\n%q", text)
	}
	if text := run(nil, "--quiet"); text != "" {
		t.Errorf("quiet:\n%q", text)
	}
}
