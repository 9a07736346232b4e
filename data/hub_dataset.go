package data

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/deeplora/deeplora/internal/nearest"
	"github.com/deeplora/deeplora/internal/table"
)

// This file finds the files of a data set of the hub: by the configurations in its README.md or, where that has none, by
// names, as Hugging Face's own programs do.

const datasetCard = "README.md"

// converted is the branch on which the hub keeps a data set as parquet files, whatever it consists of.
const converted = "refs/convert/parquet"

// Dataset finds the files of a data set of the hub, ref being org/name or org/name@revision, and brings them into the
// cache as Resolve does: the paths of each of Train, Validation and Test that it has. Of several configurations config
// names one; empty: the one that the data set declares as its default, or the only one. HubInfo.Config is what was taken.
//
// Where the repository has no files that are read, those that the hub has made of it are taken, with a notice.
func (o HubOptions) Dataset(ctx context.Context, ref, config string) (map[string][]string, HubInfo, error) {
	set := &dataset{config: config}
	want := hubWant{dataset: true, optional: []string{datasetCard}, more: set.more, part: config, whole: true}
	resolved, info, err := resolve(ctx, ref, want, o)
	offline := o.withEnvironment().Offline // then main, of which nothing was taken, is not in the cache
	if err != nil && (errors.Is(err, errNoDataFiles) || offline) && !strings.Contains(ref, "@") {
		if dir, other, again := resolve(ctx, ref+"@"+converted, want, o); again == nil {
			other.Notices = append(other.Notices, fmt.Sprintf("%s has no files that are read here; those are taken that the hub made of them (%s)", ref, converted))
			resolved, info, err = dir, other, nil
		}
	}
	switch {
	case err != nil && !set.met:
		return nil, info, fmt.Errorf("data: there is no file or folder %s here, and as a data set of the hub: %w", ref, err)
	case err != nil:
		return nil, info, fmt.Errorf("data: %w", err)
	}
	info.Config = set.config
	if len(set.others) > 0 {
		info.Notices = append(info.Notices, fmt.Sprintf("%s: splits that are not read: %s", info.Repo, columnList(set.others)))
	}
	paths := map[string][]string{}
	for split, names := range set.files {
		for _, name := range names {
			paths[split] = append(paths[split], filepath.Join(resolved, filepath.FromSlash(name)))
		}
	}
	return paths, info, nil
}

// IsCommit reports whether a revision is a commit, which never changes.
func (o HubOptions) IsCommit(revision string) bool { return commitPattern.MatchString(revision) }

// IsDataset reports whether ref can be the name of a data set of the hub: org/name, and no file or folder here.
func (o HubOptions) IsDataset(ref string) bool {
	if _, err := os.Stat(ref); err == nil {
		return false
	}
	return strings.Count(ref, "/") == 1 && repoPattern.MatchString(ref) && table.Format(ref) == ""
}

var errNoDataFiles = errors.New("it has no files that are read: " + strings.Join(table.Formats(), ", "))

// dataset is what is known of a data set.
type dataset struct {
	config string              // asked for; once it is found, taken
	files  map[string][]string // by split
	others []string            // splits that are none of ours
	met    bool                // the hub, or the cache, has it
}

// card is what a README.md says in front.
type card struct {
	Configs []cardConfig `yaml:"configs"`
}

type cardConfig struct {
	Name    string    `yaml:"config_name"`
	Default bool      `yaml:"default"`
	Files   yaml.Node `yaml:"data_files"`
	Dir     string    `yaml:"data_dir"`
}

// more chooses the files of the configuration, as hubWant.more.
func (d *dataset) more(chosen, files []string, read func(name string) ([]byte, error)) ([]string, error) {
	d.met = true
	var about card
	if slices.Contains(chosen, datasetCard) {
		content, err := read(datasetCard)
		if err != nil {
			return nil, err
		}
		if about, err = parseCard(content); err != nil {
			return nil, fmt.Errorf("%s: %w", datasetCard, err)
		}
	}
	slices.Sort(files)
	var err error
	d.files, d.others = map[string][]string{}, nil
	if len(about.Configs) > 0 {
		err = d.declared(about.Configs, files)
	} else {
		err = d.byName(files)
	}
	if err != nil {
		return nil, err
	}
	var all []string
	for _, split := range []string{Train, Validation, Test} {
		for _, name := range d.files[split] {
			if !slices.Contains(all, name) {
				all = append(all, name)
			}
		}
	}
	switch {
	case len(all) == 0 && len(d.others) > 0:
		return nil, fmt.Errorf("its splits are %s; none is called as one for training, validation or testing is", columnList(d.others))
	case len(all) == 0:
		return nil, errNoDataFiles
	}
	return all, nil
}

// parseCard reads the YAML between the first two lines of three dashes.
func parseCard(content []byte) (c card, err error) {
	content = bytes.ReplaceAll(bytes.TrimPrefix(content, []byte("\ufeff")), []byte("\r\n"), []byte("\n"))
	front, ok := bytes.CutPrefix(content, []byte("---\n"))
	if !ok {
		return c, nil
	}
	if front, _, ok = bytes.Cut(front, []byte("\n---")); !ok {
		return c, nil
	}
	return c, yaml.Unmarshal(front, &c)
}

// declared takes the files of a configuration that the card has.
func (d *dataset) declared(configs []cardConfig, files []string) error {
	var names []string
	at := -1
	for i, c := range configs {
		names = append(names, c.Name)
		switch {
		case d.config != "" && c.Name == d.config, d.config == "" && (c.Default || len(configs) == 1):
			at = i
		case d.config == "" && c.Name == "default" && at < 0:
			at = i
		}
	}
	if at < 0 {
		return d.noConfig(names)
	}
	c := configs[at]
	d.config = c.Name
	if c.Files.Kind == 0 { // it has all files of its folder
		below := slices.DeleteFunc(slices.Clone(files), func(f string) bool { return c.Dir != "" && !strings.HasPrefix(f, path.Clean(c.Dir)+"/") })
		return d.bySplitNames(below)
	}
	parts, err := splitPatterns(&c.Files)
	if err != nil {
		return fmt.Errorf("%s: configuration %q: %w", datasetCard, c.Name, err)
	}
	for _, p := range parts {
		if splitOf(p.split) == "" {
			d.others = append(d.others, p.split)
			continue // its files are not in the cache
		}
		var found []string
		for _, pattern := range p.patterns {
			of, err := globbed(files, path.Join(c.Dir, pattern))
			if err != nil {
				return fmt.Errorf("%s: configuration %q: %w", datasetCard, c.Name, err)
			}
			found = append(found, of...)
		}
		if err := d.add(p.split, found); err != nil {
			return err
		}
	}
	return nil
}

func (d *dataset) noConfig(names []string) error {
	if d.config == "" {
		return fmt.Errorf("it has the configurations %s; give one (--data-config)", columnList(names))
	}
	return fmt.Errorf("it has no configuration %q (--data-config); nearest: %q (it has %s)", d.config, nearest.Of(d.config, names), columnList(names))
}

// add takes files for a split, under whatever name it has.
func (d *dataset) add(split string, files []string) error {
	ours := splitOf(split)
	if ours == "" {
		d.others = append(d.others, split)
		return nil
	}
	for _, f := range files {
		if table.Format(f) == "" {
			return fmt.Errorf("split %s has the file %s; of its kind none are read, only %s", split, f, strings.Join(table.Formats(), ", "))
		}
	}
	for _, f := range files { // patterns may name one twice
		if !slices.Contains(d.files[ours], f) {
			d.files[ours] = append(d.files[ours], f)
		}
	}
	return nil
}

// namesOfSplits are the names that each split goes by.
var namesOfSplits = map[string][]string{
	Train:      {"train", "training"},
	Validation: {"validation", "valid", "val", "dev"},
	Test:       {"test", "testing", "eval", "evaluation"},
}

// splitOf is the split that a name stands for, or "".
func splitOf(name string) string {
	for _, split := range []string{Train, Validation, Test} {
		if slices.Contains(namesOfSplits[split], strings.ToLower(name)) {
			return split
		}
	}
	return ""
}

// patternsOf are the files of a split, as a card has them.
type patternsOf struct {
	split    string
	patterns []string
}

// splitPatterns reads data_files: a pattern, a list of them, or a list of splits with theirs.
func splitPatterns(n *yaml.Node) ([]patternsOf, error) {
	if patterns, ok := texts(n); ok {
		return []patternsOf{{Train, patterns}}, nil
	}
	var splits []struct {
		Split string    `yaml:"split"`
		Path  yaml.Node `yaml:"path"`
	}
	if err := n.Decode(&splits); err != nil {
		return nil, fmt.Errorf("data_files: line %d is not understood; want patterns, or splits with a path", n.Line+1) // of the file: the first is ---
	}
	var parts []patternsOf
	for _, s := range splits {
		patterns, ok := texts(&s.Path)
		if !ok || s.Split == "" {
			return nil, fmt.Errorf("data_files: line %d: want a split with a path", n.Line+1)
		}
		parts = append(parts, patternsOf{s.Split, patterns})
	}
	return parts, nil
}

// texts are a node's text or list of texts.
func texts(n *yaml.Node) (list []string, ok bool) {
	var one string
	if n.Kind == yaml.ScalarNode && n.Decode(&one) == nil && one != "" {
		return []string{one}, true
	}
	if n.Kind != yaml.SequenceNode || n.Decode(&list) != nil {
		return nil, false
	}
	return list, !slices.Contains(list, "")
}

// globbed are the files that a pattern names: * stands for anything within a folder, ** also for folders.
func globbed(files []string, pattern string) ([]string, error) {
	var b strings.Builder
	for i := 0; i < len(pattern); i++ {
		switch c := pattern[i]; {
		case strings.HasPrefix(pattern[i:], "**/"):
			b.WriteString("(.*/)?")
			i += 2
		case strings.HasPrefix(pattern[i:], "**"):
			b.WriteString(".*")
			i++
		case c == '*':
			b.WriteString("[^/]*")
		case c == '?':
			b.WriteString("[^/]")
		case c == '[':
			end := strings.IndexByte(pattern[i:], ']')
			if end < 2 {
				return nil, fmt.Errorf("pattern %.60q: a bracket is not closed", pattern)
			}
			set, not := strings.CutPrefix(pattern[i+1:i+end], "!")
			b.WriteString("[" + map[bool]string{true: "^"}[not] + strings.ReplaceAll(regexp.QuoteMeta(set), `\-`, "-") + "]")
			i += end
		default:
			b.WriteString(regexp.QuoteMeta(string(c)))
		}
	}
	p, err := regexp.Compile("^" + b.String() + "$")
	if err != nil {
		return nil, fmt.Errorf("pattern %.60q: %w", pattern, err)
	}
	found := slices.DeleteFunc(slices.Clone(files), func(f string) bool { return !p.MatchString(f) })
	if len(found) == 0 {
		return nil, fmt.Errorf("no file fits %.60q", pattern)
	}
	return found, nil
}

// inConverted is a file of the branch of that name: configuration, split and part.
var inConverted = regexp.MustCompile(`^([^/]+)/([^/]+)/\d{4}\.parquet$`)

// byName takes files of a data set that declares no configuration.
func (d *dataset) byName(files []string) error {
	readable := slices.DeleteFunc(slices.Clone(files), notData)
	if len(readable) == 0 {
		return errNoDataFiles
	}
	if slices.ContainsFunc(readable, func(f string) bool { return !inConverted.MatchString(f) }) {
		if d.config != "" && d.config != "default" {
			return d.noConfig([]string{"default"})
		}
		d.config = "default"
		return d.bySplitNames(readable)
	}
	var names []string
	for _, f := range readable {
		if name := inConverted.FindStringSubmatch(f)[1]; !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	switch {
	case d.config == "" && len(names) == 1:
		d.config = names[0]
	case d.config == "" && slices.Contains(names, "default"):
		d.config = "default"
	case !slices.Contains(names, d.config):
		return d.noConfig(names)
	}
	for _, f := range readable {
		m := inConverted.FindStringSubmatch(f)
		if m[1] != d.config || splitOf(m[2]) == "" && slices.Contains(d.others, m[2]) {
			continue
		}
		if err := d.add(m[2], []string{f}); err != nil {
			return err
		}
	}
	return nil
}

// notData are files that no split consists of.
func notData(name string) bool {
	for _, part := range strings.Split(name, "/") {
		if strings.HasPrefix(part, ".") || strings.HasPrefix(part, "__") {
			return true
		}
	}
	base := path.Base(name)
	return table.Format(name) == "" || slices.Contains([]string{"dataset_info.json", "dataset_infos.json", "config.json", "state.json"}, base) || strings.HasPrefix(base, "metadata.")
}

// bySplitNames takes files, of the most frequent format, for the splits that their names or folders tell: all for training
// where none does.
func (d *dataset) bySplitNames(files []string) error {
	files = slices.DeleteFunc(slices.Clone(files), notData)
	count, most := map[string]int{}, ""
	for _, f := range files {
		count[table.Format(f)]++
	}
	for _, format := range table.Formats() {
		if count[format] > count[most] {
			most = format
		}
	}
	told := false
	for _, f := range files {
		if table.Format(f) != most {
			continue
		}
		if split := splitInPath(f); split != "" {
			d.files[split], told = append(d.files[split], f), true
		}
	}
	if told {
		return nil
	}
	for _, f := range files {
		if table.Format(f) == most {
			d.files[Train] = append(d.files[Train], f)
		}
	}
	return nil
}

// splitInPath is the split that a file's name says or, failing that, the nearest folder's.
func splitInPath(name string) string {
	parts := strings.Split(name, "/")
	for _, part := range slices.Backward(parts) {
		for _, word := range strings.FieldsFunc(part, func(r rune) bool { return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z') }) {
			if split := splitOf(word); split != "" {
				return split
			}
		}
	}
	return ""
}
