package data

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/deeplora/deeplora/internal/testshared"
)

// The counts, label totals and sums below come from awk over the same files.
func TestRealFiles(t *testing.T) {
	root := testshared.Path(t, "glue")
	for _, c := range []struct {
		folder, task, split string
		rows                int
		ones, sum           float64 // labels that are 1; sum of the labels
		sha256              string
	}{
		{"RTE", "rte", Train, 2490, 1241, 1241, "41e3a9b063433392343fad9e962cf2f58b681c78d8f71592f4186f0837246c5c"},
		{"RTE", "rte", Validation, 277, 131, 131, "80230dfa1347282e7b532b06a1004a76a710087541189bf874223ddf0e3819fb"},
		{"SST-2", "sst2", Train, 67349, 37569, 37569, "48eac26399f8456935f81dd9e3a745c1430adb6c62e233ccfe22db4a0d15d1d1"},
		{"SST-2", "sst2", Validation, 872, 444, 444, "54a9c12c77e402fc14d6a66a506f24d999f596b0176eb777c972cccc2f9cc4b0"},
		{"STS-B", "stsb", Train, 5749, -1, 15528.043397, "41c4d978b6162abdcada7e49a982211954cca5459c228db478af333124b257a2"},
		{"STS-B", "stsb", Validation, 1500, -1, 3545.861333, "fe7dc0632a5033562f3cadff991f6e8d9b9b6311861660e78c3c82eb7db67f59"},
	} {
		t.Run(c.folder+"/"+c.split, func(t *testing.T) {
			s, err := Load(filepath.Join(root, c.folder), lookup(t, c.task), c.split)
			if err != nil {
				t.Fatal(err)
			}
			ones, sum := 0.0, 0.0
			for i, e := range s.Examples {
				if e.Row != i || e.HasPair != (c.task != "sst2") {
					t.Fatalf("example %d: %+v", i, e)
				}
				if sum += e.Label; e.Label == 1 {
					ones++
				}
			}
			if len(s.Examples) != c.rows || c.ones >= 0 && ones != c.ones || math.Abs(sum-c.sum) > 1e-5 {
				t.Errorf("%d rows, %v ones, sum %v; want %d, %v, %v", len(s.Examples), ones, sum, c.rows, c.ones, c.sum)
			}
			if want := (Source{c.split + ".tsv", c.sha256, c.rows}); s.Source != want || s.Skipped != 0 || s.Notices != nil {
				t.Errorf("source %+v, skipped %d, notices %q", s.Source, s.Skipped, s.Notices)
			}
		})
	}
	s, err := Load(root, lookup(t, "sst2"), Train) // the folder above works too
	if err != nil {
		t.Fatal(err)
	}
	if e := s.Examples[0]; e.Text != "hide new secretions from the parental units " || e.Label != 0 || s.Source.File != "SST-2/train.tsv" {
		t.Errorf("first example %+v of %s: the space at the end belongs to the text", e, s.Source.File)
	}
}

// One row in the layout of every official file (formats.md 3.2).
func TestOfficialLayouts(t *testing.T) {
	const (
		mnliHead = "index\tpromptID\tpairID\tgenre\tsentence1_binary_parse\tsentence2_binary_parse\tsentence1_parse\tsentence2_parse\tsentence1\tsentence2"
		mnliRow  = "0\t1\t1a\tfiction\tbp1\tbp2\tp1\tp2\tone\ttwo"
		stsbHead = "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2"
		stsbRow  = "0\tg\tf\t2012\t7\tnone\tnone\tone\ttwo"
	)
	none := math.NaN()
	for _, c := range []struct {
		task, split, file, content string
		pair                       bool
		label                      float64
	}{
		{"cola", Train, "train.tsv", "gj04\t1\t\tone\n", false, 1},
		{"cola", Validation, "dev.tsv", "gj04\t0\t*\tone\n", false, 0},
		{"cola", Test, "test.tsv", "index\tsentence\n0\tone\n", false, none},
		{"cola", Train, "train.tsv", "sentence\tlabel\tidx\none\t1\t0\n", false, 1},
		{"sst2", Train, "train.tsv", "sentence\tlabel\none\t1\n", false, 1},
		{"sst2", Test, "test.tsv", "index\tsentence\n0\tone\n", false, none},
		{"mrpc", Train, "train.tsv", "\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String\n1\t7\t8\tone\ttwo\n", true, 1},
		{"mrpc", Test, "test.tsv", "index\t#1 ID\t#2 ID\t#1 String\t#2 String\n0\t7\t8\tone\ttwo\n", true, none},
		{"qqp", Train, "train.tsv", "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n0\t1\t2\tone\ttwo\t1\n", true, 1},
		{"qqp", Test, "test.tsv", "id\tquestion1\tquestion2\n0\tone\ttwo\n", true, none},
		{"stsb", Train, "train.tsv", stsbHead + "\tscore\n" + stsbRow + "\t3.25\n", true, 3.25},
		{"stsb", Test, "test.tsv", stsbHead + "\n" + stsbRow + "\n", true, none},
		{"mnli", Train, "train.tsv", mnliHead + "\tlabel1\tgold_label\n" + mnliRow + "\tneutral\tneutral\n", true, 1},
		{"mnli", Validation, "dev_matched.tsv", mnliHead + "\tlabel1\tlabel2\tlabel3\tlabel4\tlabel5\tgold_label\n" + mnliRow + "\t-\t-\t-\t-\t-\tcontradiction\n", true, 2},
		{"mnli", Test, "test_matched.tsv", mnliHead + "\n" + mnliRow + "\n", true, none},
		{"mnli-mm", Validation, "dev_mismatched.tsv", mnliHead + "\tlabel1\tlabel2\tlabel3\tlabel4\tlabel5\tgold_label\n" + mnliRow + "\t-\t-\t-\t-\t-\tentailment\n", true, 0},
		{"mnli-mm", Test, "test_mismatched.tsv", mnliHead + "\n" + mnliRow + "\n", true, none},
		{"qnli", Train, "train.tsv", "index\tquestion\tsentence\tlabel\n0\tone\ttwo\tnot_entailment\n", true, 1},
		{"qnli", Test, "test.tsv", "index\tquestion\tsentence\n0\tone\ttwo\n", true, none},
		{"rte", Train, "train.tsv", "index\tsentence1\tsentence2\tlabel\n0\tone\ttwo\tentailment\n", true, 0},
		{"rte", Test, "test.tsv", "index\tsentence1\tsentence2\n0\tone\ttwo\n", true, none},
		{"wnli", Train, "train.tsv", "index\tsentence1\tsentence2\tlabel\n0\tone\ttwo\t1\n", true, 1},
		{"wnli", Test, "test.tsv", "index\tsentence1\tsentence2\n0\tone\ttwo\n", true, none},
		{"ax", Test, "diagnostic.tsv", "index\tsentence1\tsentence2\n0\tone\ttwo\n", true, none},
	} {
		t.Run(c.task+"/"+c.split, func(t *testing.T) {
			s, err := LoadFS(fstest.MapFS{c.file: text(c.content)}, lookup(t, c.task), c.split)
			if err != nil {
				t.Fatal(err)
			}
			e := s.Examples[0]
			sameLabel := e.Label == c.label || math.IsNaN(e.Label) && math.IsNaN(c.label)
			if len(s.Examples) != 1 || e.Text != "one" || e.HasPair != c.pair || c.pair && e.Pair != "two" || !sameLabel {
				t.Errorf("%+v", s.Examples)
			}
		})
	}
}

func TestIrregularFiles(t *testing.T) {
	const rte = "index\tsentence1\tsentence2\tlabel\n"
	read := func(task, split, content string) ([]Example, *Split) {
		t.Helper()
		s, err := LoadFS(fstest.MapFS{split + ".tsv": text(content)}, lookup(t, task), split)
		if err != nil {
			t.Fatal(err)
		}
		return s.Examples, s
	}
	t.Run("quotes are text", func(t *testing.T) {
		got, _ := read("rte", Train, rte+"0\t\"one\tit''s \"\" two\"\tentailment\n1\t\"\t\"\tentailment\n")
		if len(got) != 2 || got[0].Text != `"one` || got[0].Pair != `it''s "" two"` || got[1].Text != `"` {
			t.Errorf("%+v", got)
		}
	})
	t.Run("CRLF, byte order mark, no final newline", func(t *testing.T) {
		got, _ := read("rte", Train, "\ufeff"+strings.ReplaceAll(rte, "\n", "\r\n")+"0\ta\tb\tentailment\r\n1\tc\td\rd\tnot_entailment")
		if len(got) != 2 || got[0].Label != 0 || got[1].Pair != "d\rd" || got[1].Label != 1 {
			t.Errorf("%+v", got)
		}
	})
	t.Run("empty texts are kept", func(t *testing.T) {
		got, _ := read("rte", Train, rte+"0\t\t\tentailment\n")
		if len(got) != 1 || got[0].Text != "" || !got[0].HasPair {
			t.Errorf("%+v", got)
		}
	})
	t.Run("QQP's short rows are skipped and counted", func(t *testing.T) {
		got, s := read("qqp", Train, "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n0\t1\t2\ta\tb\t1\n1\t3\tbroken\n2\t4\t5\tc\td\t0\textra\n")
		if len(got) != 2 || got[1].Row != 2 || got[1].Text != "c" || s.Skipped != 1 || s.Source.Rows != 3 {
			t.Errorf("%+v, skipped %d of %d", got, s.Skipped, s.Source.Rows)
		}
		if want := []string{"train.tsv: 1 of 3 rows have too few fields and were skipped"}; !slices.Equal(s.Notices, want) {
			t.Errorf("notices %q", s.Notices)
		}
	})
	t.Run("MRPC's extra fields are ignored", func(t *testing.T) {
		got, _ := read("mrpc", Train, "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\n1\t7\t8\ta\tb\tmore\n")
		if len(got) != 1 || got[0].Pair != "b" {
			t.Errorf("%+v", got)
		}
	})
	t.Run("a test file may have labels, or -1", func(t *testing.T) {
		got, _ := read("rte", Test, rte+"0\ta\tb\tnot_entailment\n1\tc\td\t-1\n")
		if got[0].Label != 1 || !math.IsNaN(got[1].Label) {
			t.Errorf("%+v", got)
		}
	})
}

func TestTSVFaults(t *testing.T) {
	const rte = "index\tsentence1\tsentence2\tlabel\n"
	long := strings.Repeat("x", maxLine)
	for _, c := range []struct{ name, task, content, want string }{
		{"short row", "rte", rte + "0\ta\tb\tentailment\n1\ta\tb\n", "glue: train.tsv:3: 3 fields; want 4"},
		{"long row", "rte", rte + "0\ta\tb\tentailment\tmore\n", "glue: train.tsv:2: 5 fields; want 4"},
		{"blank line", "rte", rte + "\n0\ta\tb\tentailment\n", "glue: train.tsv:2: 1 fields; want 4"},
		{"short row, MRPC", "mrpc", "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\n1\t7\t8\ta\n", "train.tsv:2: 4 fields; want 5"},
		{"short row, CoLA", "cola", "gj04\t1\t\ta\ngj04\t1\tb\n", "train.tsv:2: 3 fields; want 4"},
		{"wrong label", "rte", rte + "0\ta\tb\tmaybe\n", `glue: train.tsv:2: label "maybe" is not known; want entailment, not_entailment (or its id, 0 to 1)`},
		{"wrong score", "stsb", "sentence1\tsentence2\tscore\na\tb\t4.x\n", `glue: train.tsv:2: score "4.x" is not a number; want 0 to 5`},
		{"no label", "rte", "index\tsentence1\tsentence2\n0\ta\tb\n", `glue: train.tsv:1: no column "label"; nearest: "index" (is this a file of rte?)`},
		{"hidden label", "rte", rte + "0\ta\tb\t-1\n", "train.tsv:2: label -1 is not a class"},
		{"another task's file", "rte", "sentence\tlabel\na\t1\n", `train.tsv:1: no column "sentence1"; nearest: "sentence" (is this a file of rte?)`},
		{"a column twice", "rte", "sentence1\tsentence2\tsentence1\tlabel\n", `train.tsv:1: two columns are called "sentence1"`},
		{"empty", "rte", "", "glue: train.tsv: empty file; want a header line"},
		{"header alone", "rte", rte, "glue: train.tsv: no data rows"},
		{"not UTF-8", "rte", rte + "0\ta\xff\tb\tentailment\n", "glue: train.tsv:2: not valid UTF-8; convert the file first"},
		{"endless line", "rte", rte + "0\t" + long, fmt.Sprintf("train.tsv:2: a line of more than %d bytes", maxLine)},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := LoadFS(fstest.MapFS{"train.tsv": text(c.content)}, lookup(t, c.task), Train)
			wantError(t, err, c.want)
		})
	}
}

func TestFindsFiles(t *testing.T) {
	const rows = "sentence1\tsentence2\tlabel\na\tb\t1\n"
	for _, c := range []struct {
		task, split string
		files       []string
		want        string
		notice      string
	}{
		{"rte", Validation, []string{"dev.tsv"}, "dev.tsv", ""},
		{"rte", Validation, []string{"validation.tsv"}, "validation.tsv", ""},
		{"rte", Validation, []string{"dev.tsv", "validation.tsv", "validation.jsonl"}, "dev.tsv", ": reading dev.tsv, not validation.tsv, validation.jsonl"},
		{"rte", Train, []string{"RTE/train.tsv", "SST-2/train.tsv"}, "RTE/train.tsv", ""},
		{"rte", Train, []string{"train.tsv", "RTE/train.tsv"}, "train.tsv", ""},
		{"rte", Train, []string{"data/train.tsv"}, "data/train.tsv", ""},
		{"rte", Train, []string{"rte/train.tsv"}, "rte/train.tsv", ""},
		{"mnli", Validation, []string{"validation.tsv", "validation_matched.tsv"}, "validation_matched.tsv", "not validation.tsv"},
		{"mnli-mm", Validation, []string{"validation.tsv", "mnli/validation_mismatched.tsv"}, "mnli/validation_mismatched.tsv", ""},
		{"mnli-mm", Train, []string{"MNLI/train.tsv"}, "MNLI/train.tsv", ""},
		{"ax", Test, []string{"diagnostic/diagnostic.tsv"}, "diagnostic/diagnostic.tsv", ""},
	} {
		fsys := fstest.MapFS{}
		for _, file := range c.files {
			fsys[file] = text(rows)
		}
		s, err := LoadFS(fsys, lookup(t, c.task), c.split)
		if err != nil {
			t.Errorf("%s of %q: %v", c.split, c.files, err)
			continue
		}
		if s.Source.File != c.want || (c.notice == "") != (s.Notices == nil) || !strings.Contains(strings.Join(s.Notices, "\n"), c.notice) {
			t.Errorf("%s of %q: read %s, notices %q", c.split, c.files, s.Source.File, s.Notices)
		}
	}
}

func TestAbsentFiles(t *testing.T) {
	dir := t.TempDir()
	_, err := Load(dir, lookup(t, "stsb"), Validation)
	wantError(t, err, "glue: no validation file of stsb: looked for {dev,validation}.{tsv,jsonl,parquet} and {dev,validation}-00000-of-00001.parquet in ",
		dir+", ", filepath.Join(dir, "STS-B"), filepath.Join(dir, "stsb"), filepath.Join(dir, "data"))
	_, err = Load(dir, lookup(t, "rte"), Train)
	wantError(t, err, "looked for train.{tsv,jsonl,parquet} and train-00000-of-00001.parquet in ")
	_, err = Load(filepath.Join(dir, "absent"), lookup(t, "rte"), Train)
	wantError(t, err, "glue: data directory: ", "absent: no such file")
	file := filepath.Join(dir, "train.tsv")
	if err := os.WriteFile(file, []byte("sentence1\tsentence2\tlabel\na\tb\tc\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = Load(file, lookup(t, "rte"), Train)
	wantError(t, err, "train.tsv is a file; want the directory that holds it")
	_, err = Load(dir, lookup(t, "rte"), Train)
	wantError(t, err, "glue: "+file+`:2: label "c" is not known`) // the path as the user can open it
}

func TestFilterKeepsRows(t *testing.T) {
	s, err := LoadFS(fstest.MapFS{"train.tsv": text("sentence\tlabel\na\t0\nb\t1\nc\t1\n")}, lookup(t, "sst2"), Train)
	if err != nil {
		t.Fatal(err)
	}
	ones := s.Filter(func(e Example) bool { return e.Label == 1 })
	if len(ones.Examples) != 2 || ones.Examples[1].Row != 2 || ones.Source != s.Source || len(s.Examples) != 3 {
		t.Errorf("%+v", ones)
	}
	if got := s.Labels(); !slices.Equal(got, []float64{0, 1, 1}) {
		t.Errorf("labels %v", got)
	}
}

func FuzzTSV(f *testing.F) {
	f.Add("stsb", "sentence1\tsentence2\tscore\na\tb\t3.5\n")
	f.Add("cola", "gj04\t1\t\tone\r\ngj04\t0\t*\ttwo")
	f.Add("qqp", "\ufeffid\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n0\t1\t2\ta\tb\t1\nx\n")
	f.Add("mrpc", "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\n1\t7\t8\t\"\tb\tmore\n")
	f.Fuzz(func(t *testing.T, name, content string) {
		task, err := LookupTask(name)
		if err != nil {
			t.Skip()
		}
		s, err := LoadFS(fstest.MapFS{"train.tsv": text(content)}, task, Train)
		if err != nil {
			return
		}
		// What was read, written in the plainest form, reads the same.
		again, err := LoadFS(fstest.MapFS{"train.tsv": text(plainTSV(s))}, task, Train)
		if err != nil {
			t.Fatal(err)
		}
		for i, e := range again.Examples {
			if e.Row = s.Examples[i].Row; !same(e, s.Examples[i]) {
				t.Fatalf("example %d: %+v, then %+v", i, s.Examples[i], e)
			}
		}
		if len(again.Examples) != len(s.Examples) || len(s.Examples)+s.Skipped != s.Source.Rows {
			t.Fatalf("%d examples, then %d; skipped %d of %d", len(s.Examples), len(again.Examples), s.Skipped, s.Source.Rows)
		}
	})
}

// plainTSV writes a split with Hugging Face's column names. A label's number is one of its spellings.
func plainTSV(s *Split) string {
	var b strings.Builder
	b.WriteString(strings.Join(append(slices.Clone(s.Task.Columns), "label"), "\t") + "\n")
	for _, e := range s.Examples {
		b.WriteString(e.Text + "\t")
		if e.HasPair {
			b.WriteString(e.Pair + "\t")
		}
		fmt.Fprintf(&b, "%v\n", e.Label)
	}
	return b.String()
}

func BenchmarkLoadSST2(b *testing.B) {
	dir := testshared.Path(b, "glue", "SST-2")
	task := lookup(b, "sst2")
	b.ReportAllocs()
	rows := 0
	for b.Loop() {
		s, err := Load(dir, task, Train)
		if err != nil {
			b.Fatal(err)
		}
		rows += len(s.Examples)
	}
	b.ReportMetric(float64(rows)/b.Elapsed().Seconds(), "rows/s")
}
