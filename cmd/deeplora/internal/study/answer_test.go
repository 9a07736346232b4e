package study

import (
	"strings"
	"testing"
)

func TestAnswer(t *testing.T) {
	for _, c := range []struct {
		name        string
		base, other []float64
		want        []string
	}{
		{"ahead", []float64{0.5, 0.5, 0.5, 0.5, 0.5}, []float64{0.6, 0.7, 0.65, 0.7, 0.6}, []string{
			"deep-narrow is ahead of vanilla, by 0.150 of pearson on average (95\u00a0% interval +0.110 to +0.190, 5 seeds); it scores higher in 5 of 5 pairs of runs.",
			"There are not enough seeds to call a difference significant: with 5 pairs the test's p is 0.0625 at the least; it takes 6 seeds.",
		}},
		{"six seeds", []float64{0.5, 0.5, 0.5, 0.5, 0.5, 0.5}, []float64{0.6, 0.71, 0.65, 0.7, 0.61, 0.58}, []string{
			"it scores higher in 6 of 6 pairs of runs.",
			"Taken one by one, and corrected for their number, 1 of 1 difference is significant (p < 0.05).",
		}},
		{"chance", []float64{0.5, 0.5, 0.5, 0.5}, []float64{0.4, 0.65, 0.35, 0.7}, []string{
			"deep-narrow and vanilla cannot be told apart: the mean difference is +0.025 of pearson (95", "4 seeds); deep-narrow is ahead in 2 of 4 pairs of runs.",
		}},
		{"behind", []float64{0.5, 0.5}, []float64{0.4, 0.3}, []string{"deep-narrow is behind vanilla, by 0.150 of pearson on average", "in 0 of 2 pairs"}},
		{"level", []float64{0.5, 0.5}, []float64{0.5, 0.5}, []string{"deep-narrow and vanilla score the same: the mean difference of pearson and its whole 95\u00a0% interval (2 seeds) are 0.000."}},
		{"a hair behind, always", []float64{0.5, 0.6, 0.7}, []float64{0.4999999, 0.5999998, 0.6999999}, []string{"deep-narrow and vanilla score the same"}},
		{"one seed", []float64{0.5}, []float64{0.6}, []string{"by 0.100 of pearson on average; it scores higher in 1 of 1 pair of runs. That is without an interval: too few seeds"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := scored(t, c.base, c.other)
			got := strings.Join(f.summary(t).answer(), "\n")
			for _, text := range c.want {
				if !strings.Contains(got, text) {
					t.Errorf("no %q in\n%s", text, got)
				}
			}
		})
	}
}

func TestAnswerOverConditions(t *testing.T) {
	f := fabricate(t, smallStudy)
	for i := range f.measured {
		m := &f.measured[i]
		switch {
		case m.Arm == "vanilla":
			m.Result.Metrics["pearson"] = 0.5
		case m.Arm == "deep-narrow" && m.Config.Shots != 16:
			m.Result.Metrics["pearson"] = 0.4
		default:
			m.Result.Metrics["pearson"] = 0.6
		}
	}
	got := strings.Join(f.summary(t).answer(), "\n")
	for _, text := range []string{
		"deep-compressed is ahead of vanilla in 6 of 6 conditions, by 0.100 of pearson on average",
		"deep-narrow is behind vanilla in 4 of 6 conditions, by 0.033 of pearson on average",
		"with 5 pairs the test's p is 0.0625 at the least, and 12 comparisons are corrected for; it takes 9 seeds.",
	} {
		if !strings.Contains(got, text) {
			t.Errorf("no %q in\n%s", text, got)
		}
	}
}

func TestNumbersAsText(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{score(0.12345), "0.123"},
		{score(none), "–"},
		{signed(0.5), "+0.500"},
		{signed(-0.5), "−0.500"},
		{signed(-0.0001), "0.000"},
		{signed(none), "–"},
		{probability(0.0625), "0.0625"},
		{probability(0.5), "0.5000"},
		{probability(0.00012345), "0.00012"},
	} {
		if c.got != c.want {
			t.Errorf("%q, want %q", c.got, c.want)
		}
	}
}

func TestModelText(t *testing.T) {
	for _, c := range []struct {
		source Source
		want   string
	}{
		{Source{Source: "the paper", Model: "bert-base-cased", Models: []string{"bert-base-cased"}, Same: true}, "which these runs used too"},
		{Source{Source: "the paper", Model: "bert-base-cased", Models: []string{"builtin:tiny"}}, "these runs used builtin:tiny. Compare the differences"},
		{Source{Source: "the paper", Models: []string{"a", "b"}}, "it is not said of which model, and these runs used a, b."},
	} {
		if got := c.source.modelText(); !strings.Contains(got, c.want) {
			t.Errorf("%q lacks %q", got, c.want)
		}
	}
}
