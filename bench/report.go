package main

import (
	"cmp"
	"fmt"
	"strings"
)

// table is all results in Markdown: the machine, times, then work and memory. Absent numbers are empty cells.
func table(r *results) string {
	var b strings.Builder
	for _, f := range r.Machine {
		fmt.Fprintf(&b, "- %s: %s\n", f.Name, f.Value)
	}
	threads := "all"
	if n := r.Conditions.Threads; n > 0 {
		threads = fmt.Sprint(n)
	}
	fmt.Fprintf(&b, "- both sides on %s, threads: %s\n", r.Conditions.Device, threads)
	if p := r.Conditions.Precision; p != "" {
		fmt.Fprintf(&b, "- precision: %s%s\n", p, map[bool]string{true: "; the peer under autocast(bfloat16)"}[p == "bf16"])
	}
	fmt.Fprintf(&b, "- matrix products of 2048 x 3072 x 768 on deeplora's engine: %.1f GFLOP/s at best\n", r.Peak/1e9)
	write(&b, r, timesHead, times)
	write(&b, r, workHead, func(_ workload, o *outcome) []string { return workAndMemory(o, r.Peak) })
	b.WriteString(initialised(r))
	return b.String()
}

// beside is the times of two files, those of two precisions, beside each other.
func beside(a, b *results) string {
	name := func(r *results) string { return cmp.Or(r.Conditions.Precision, "f32") }
	head := []string{"", "workload", "deeplora " + name(a) + ", s", "peer, s", "ratio", "deeplora " + name(b) + ", s", "peer, s", "ratio", "deeplora " + name(b) + " / " + name(a), "memory"}
	var text strings.Builder
	for _, r := range []*results{a, b} {
		for _, f := range r.Machine {
			fmt.Fprintf(&text, "- %s: %s: %s\n", name(r), f.Name, f.Value)
		}
	}
	write(&text, a, head, func(w workload, first *outcome) []string {
		cells := []string{w.Name, w.What, number("%.3f", median(first.ours(seconds))), number("%.3f", median(first.peer(seconds))), number("%.2f", median(first.ratios()))}
		second := b.find(w.Name)
		if second == nil || len(second.Rounds) == 0 {
			return append(cells, "", "", "", "", "")
		}
		return append(cells, number("%.3f", median(second.ours(seconds))), number("%.3f", median(second.peer(seconds))), number("%.2f", median(second.ratios())),
			number("%.2f", median(second.ours(seconds))/median(first.ours(seconds))), number("%.2f", median(second.ours(gigabytes))/median(first.ours(gigabytes))))
	})
	return text.String()
}

// write adds a table with a row for each workload that has been measured.
func write(b *strings.Builder, r *results, head []string, row func(workload, *outcome) []string) {
	line := func(cells []string) { fmt.Fprintf(b, "| %s |\n", strings.Join(cells, " | ")) }
	b.WriteString("\n")
	line(head)
	line(strings.Split(strings.Repeat("--- ", len(head)-1)+"---", " "))
	for _, w := range workloads {
		if o := r.find(w.Name); o != nil && len(o.Rounds) > 0 {
			line(row(w, o))
		}
	}
}

var timesHead = []string{"", "workload", "model", "deeplora, s", "peer, s", "deeplora / peer, each round", "median", "with compiling, s"}

func times(w workload, o *outcome) []string {
	var ratios []string
	for _, v := range o.ratios() {
		ratios = append(ratios, fmt.Sprintf("%.2f", v))
	}
	return []string{
		w.Name, w.What, o.Model, number("%.3f", median(o.ours(seconds))), number("%.3f", median(o.peer(seconds))),
		strings.Join(ratios, " "), number("%.2f", median(o.ratios())), number("%.2f", median(o.ours(compiling))),
	}
}

var workHead = []string{"", "real tokens/s", "peer", "GFLOP/s", "of the peak", "peer", "peak memory, GB", "peer", "ratio", "others on the processors"}

func workAndMemory(o *outcome, peak float64) []string {
	ours, peer := median(o.ours(seconds)), median(o.peer(seconds))
	memory, peers := median(o.ours(gigabytes)), median(o.peer(gigabytes))
	per := func(amount, seconds float64) float64 {
		if seconds == 0 {
			return 0
		}
		return amount / seconds
	}
	share := func(seconds float64) string { return number("%.0f%%", 100*per(per(o.FLOPs, seconds), peak)) }
	return []string{
		o.Name, number("%.0f", per(float64(o.Tokens), ours)), number("%.0f", per(float64(o.Tokens), peer)),
		number("%.1f", per(o.FLOPs, ours)/1e9), share(ours), share(peer),
		number("%.2f", memory), number("%.2f", peers), number("%.2f", per(memory, peers)),
		fmt.Sprintf("%.0f%%", 100*median(each(o.Rounds, round.others))),
	}
}

// number is a cell; a number that is not known is 0 and leaves it empty.
func number(format string, v float64) string {
	if v == 0 {
		return ""
	}
	return fmt.Sprintf(format, v)
}

// initialised holds the compressed initialisation against a step and against the memory of training without it.
func initialised(r *results) string {
	h := r.find("h")
	if h == nil || len(h.Rounds) == 0 {
		return ""
	}
	init, memory := median(h.ours(initialise)), median(h.ours(gigabytes))
	text := fmt.Sprintf("\nh: %.2f s of it draw the adapter", init)
	if c := r.find("c"); c != nil && len(c.Rounds) > 0 {
		text += fmt.Sprintf(", %.1f steps of c with their SVDs", init/median(c.ours(seconds)))
	}
	return text + fmt.Sprintf("; peak memory %.2f GB, %.2f times that of LoRA on the same kernels.\n", memory, memory/median(h.ours(plain)))
}
