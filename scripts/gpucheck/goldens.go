package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
)

// suite is a row of compiled Go tests. Named are only those that compute on the engine of DEEPLORA_TEST_BACKENDS, and do
// so without DEEPLORA_SLOW.
type suite struct {
	what, pkg string
	tests     []string
	last      bool // after the rows of trainings, which come first where an engine compiles slowly
}

var suites = []suite{
	{what: "logits, gradients, products and dropout", pkg: "model", tests: []string{
		"TestT21Forward", "TestT21ForwardHeld", "TestT22KernelGradients", "TestT22PaddingDoesNotLeak",
		"TestDropoutBits", "TestDropoutApply", "TestProductsInAPrecision", "TestProductsComputedAgain", "TestMiniLM",
	}},
	{what: "the authors' trajectories, and starts", pkg: "lora", tests: []string{
		"TestAuthorsTrajectories", "TestT2MaskedFactorGradients", "TestLoRAGAStart", "TestLoRAOneStart", "TestPiSSAStart", "TestLoRASBStart",
	}},
	{what: "20 steps as PyTorch's", pkg: "train", last: true, tests: []string{
		"TestT23GoldenTraining", "TestT23GoldenTrainingHeld", "TestT22KernelGradientsHeld",
	}},
	{what: "every family, attention, packed rows", pkg: "model", last: true, tests: []string{
		"TestFamilies", "TestAttentionInAPrecision", "TestActivations", "TestTokenLogits", "TestPackedRowsAreTextsAlone", "TestPackedRowsDoNotLeak",
	}},
	{what: "several devices", pkg: "train", last: true, tests: []string{
		"TestDevicesTrainAsOne", "TestDevicesFirstGradients", "TestDevicesSameBitsAndResume", "TestDevicesPredict", "TestDevicesTrainFamilies",
	}},
	{what: "merging, filler, padding, shared kernels", pkg: "train", last: true, tests: []string{
		"TestT20MergedEqualsAdapted", "TestFillerAndPaddingChangeNothing", "TestPaddingIsTheSameModel", "TestPackedGradients",
		"TestT22KernelGradientsInGroups", "TestGradientsOfSharedKernels", "TestGradientsOfHeldTables", "TestRunsOfThePreviousVersion",
	}},
}

// goldens adds a row for a suite, and one more for those of its tests that were skipped, so that none counts as passed.
func (c *check) goldens(ctx context.Context, s suite) {
	name := "goldens of " + s.pkg + ": " + s.what
	var left tally
	c.row(ctx, name, 0, func(ctx context.Context) (figure string, err error) {
		binary := c.at(s.pkg, s.pkg+".test")
		if _, err := os.Stat(binary); errors.Is(err, fs.ErrNotExist) {
			return "", skip("no compiled tests in " + s.pkg + "/: scripts/gpu_check.sh --build makes them")
		}
		out, err := c.execute(ctx, c.at(s.pkg), binary, "-test.v", "-test.run", "^("+strings.Join(s.tests, "|")+")$")
		found := readTests(string(out))
		return found.judge(err, &left)
	})
	if left.skipped > 0 {
		c.add(row{name: name, outcome: skipped, figure: left.text()})
	}
}

// tally counts tests: the innermost ones, since a test passes whose every part was skipped.
type tally struct {
	passed, failed, skipped int
	why                     []string // reasons of skips, each once
	faults                  []string // names
}

var (
	testBegins = regexp.MustCompile(`^=== (?:RUN|NAME|CONT)\s+(\S+)`)
	testEnds   = regexp.MustCompile(`^\s*--- (PASS|FAIL|SKIP): (\S+) \(`)
	testSays   = regexp.MustCompile(`^\s+\w+\.go:\d+: (.*)`)
)

// readTests reads what a test binary prints with -test.v.
func readTests(output string) tally {
	ends, said, at := map[string]string{}, map[string]string{}, ""
	for line := range strings.Lines(output) {
		if m := testBegins.FindStringSubmatch(line); m != nil {
			at = m[1]
		} else if m := testEnds.FindStringSubmatch(line); m != nil {
			ends[m[2]] = m[1]
		} else if m := testSays.FindStringSubmatch(line); m != nil {
			said[at] = m[1]
		}
	}
	var t tally
	names := slices.Sorted(maps.Keys(ends))
	for _, name := range names {
		inside := func(other string) bool { return strings.HasPrefix(other, name+"/") }
		t.count(name, ends[name], said[name], slices.ContainsFunc(names, inside))
	}
	return t
}

// count adds a test. Of one with others inside, those count.
func (t *tally) count(name, end, why string, others bool) {
	switch {
	case others:
	case end == "FAIL":
		t.failed++
		t.faults = append(t.faults, name)
	case end == "PASS":
		t.passed++
	default:
		t.skipped++
		if !slices.Contains(t.why, why) {
			t.why = append(t.why, why)
		}
	}
}

func (t tally) text() string {
	return fmt.Sprintf("tests: %d: %s", t.skipped, strings.Join(t.why, "; "))
}

// judge is the row of a suite that ended with err. Its skips go to left, unless there was nothing else.
func (t tally) judge(err error, left *tally) (figure string, _ error) {
	switch {
	case t.failed > 0:
		*left = t
		return "", joined(fmt.Errorf("tests that failed: %d (%s), that passed: %d", t.failed, strings.Join(t.faults, ", "), t.passed), err)
	case err != nil:
		return "", joined(fmt.Errorf("%w; tests that passed before: %d", err, t.passed), err)
	case t.passed == 0 && t.skipped == 0:
		return "", errors.New("none of the tests is there")
	case t.passed == 0:
		return "", skip(t.text())
	}
	*left = t
	return fmt.Sprintf("tests: %d", t.passed), nil
}

// joined is an error with the log of another, if that has one.
func joined(err, of error) error {
	var f fault
	if errors.As(of, &f) {
		return fault{err, f.log}
	}
	return err
}
