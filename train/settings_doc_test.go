package train

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the table of settings into docs/formats.md")

// docs/formats.md 6.1 has the table of settings as the program has it.
func TestSettingsAreDocumented(t *testing.T) {
	const file, begin, end = "../docs/formats.md", "<!-- settings -->\n", "<!-- end of settings -->"
	text := string(fileBytes(t, file))
	before, rest, _ := strings.Cut(text, begin)
	_, after, found := strings.Cut(rest, end)
	if !found {
		t.Fatalf("%s has no place for the settings", file)
	}
	want := before + begin + settingsTable() + end + after
	if *update {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if text != want {
		t.Errorf("%s has another table of settings; go test ./train -run SettingsAreDocumented -update writes it", file)
	}
}

func settingsTable() string {
	var b strings.Builder
	b.WriteString("| setting | of | default | chosen | reference | meaning |\n| --- | --- | --- | --- | --- | --- |\n")
	for _, r := range Settings() {
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s | %s |\n", r.Name, r.Part, cell(r.Default), cell(r.Unset), cell(r.Preset), strings.ReplaceAll(r.Help, "|", `\|`))
	}
	return b.String()
}

// cell is a default in a table: empty where there is none.
func cell(v any) string {
	if v == nil {
		return ""
	}
	if v == "" {
		return `""`
	}
	return fmt.Sprint(v)
}
