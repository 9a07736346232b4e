package export

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"

	"github.com/deeplora/deeplora/internal/jsonfile"
	"github.com/deeplora/deeplora/internal/readfile"
	"github.com/deeplora/deeplora/model"
)

// Files of a PEFT adapter.
const (
	peftConfigFile = "adapter_config.json"
	peftTensors    = "adapter_model.safetensors"
	peftPickle     = "adapter_model.bin"

	maxConfigBytes = 16 << 20 // no adapter has as many patterns
	maxPEFTRank    = 1 << 20
)

// peftConfig is what an adapter_config.json of LoRA says that changes the model (formats.md 2.1).
type peftConfig struct {
	rank          int
	alpha         float64
	ranks, alphas []pattern // exceptions by module, in the file's order: the first that matches holds
	targets       []string
	target        *regexp.Regexp // instead of targets
	allLinear     bool           // instead of either
	saved         []string       // modules_to_save
	rslora        bool
	notices       []string

	layers        []int            // layers_to_transform: those that entries of targets are looked for in; none: all
	layersPattern []*regexp.Regexp // where a layer's number stands in a name
	excluded      []string         // exclude_modules
	exclude       *regexp.Regexp   // instead of excluded
}

// pattern is an entry of rank_pattern or alpha_pattern.
type pattern struct {
	key    string
	module *regexp.Regexp
	value  float64
}

// readPEFTConfig reads an adapter_config.json. An option that this program cannot honour is an error naming its
// field, and so is a field it does not know, unless it is empty: newer versions of PEFT have more of them.
func readPEFTConfig(path string) (*peftConfig, error) {
	text, err := readfile.Path(path, maxConfigBytes)
	if err != nil {
		return nil, err
	}
	c, err := parsePEFTConfig(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

func parsePEFTConfig(text []byte) (*peftConfig, error) {
	fields, err := objectFields(text)
	if err != nil {
		return nil, err
	}
	c := &peftConfig{rank: 8, alpha: 8} // PEFT's defaults
	var faults []error
	present := map[string]bool{}
	for _, f := range fields {
		present[f.name] = true
		if err := c.field(f); err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", f.name, err))
		}
	}
	if !present["peft_type"] {
		faults = append(faults, errors.New("peft_type is missing"))
	}
	if err := c.checkLayers(); err != nil {
		faults = append(faults, err)
	}
	if len(faults) == 0 && len(c.targets) == 0 && c.target == nil && !c.allLinear {
		faults = append(faults, errors.New("target_modules: names no module; want what the adapter was made with"))
	}
	return c, errors.Join(faults...)
}

// patterns reads {"module pattern": number, …}, in the file's order.
func patterns(f jsonField, list *[]pattern, whole bool) error {
	if f.empty() {
		return nil
	}
	fields, err := objectFields(f.value)
	if err != nil {
		return err
	}
	for _, p := range fields {
		value, err := number(p.value)
		if err != nil || whole && (value != math.Trunc(value) || value < 1 || value > maxPEFTRank) {
			return fmt.Errorf("%q: %s is not a number it can have", p.name, p)
		}
		module, err := regexp.Compile(`^(?:.*\.)?(?:` + p.name + `)$`)
		if err != nil {
			return fmt.Errorf("%q is not a regular expression that this program reads: %w", p.name, err)
		}
		*list = append(*list, pattern{p.name, module, value})
	}
	return nil
}

func first(list []pattern, module string, otherwise float64) float64 {
	for _, p := range list {
		if p.module.MatchString(module) {
			return p.value
		}
	}
	return otherwise
}

// rankOf is the rank of a module's pair, and scaleOf what B·A is multiplied with.
func (c *peftConfig) rankOf(module string) int {
	return int(first(c.ranks, module, float64(c.rank)))
}

func (c *peftConfig) scaleOf(module string) float64 {
	alpha, r := first(c.alphas, module, c.alpha), float64(c.rankOf(module))
	if c.rslora {
		return alpha / math.Sqrt(r)
	}
	return alpha / r
}

// kernels are the kernels of a model that the adapter adapts, in the encoder's order. PEFT passes over an entry that
// matches nothing; here it is an error, whatever the others match.
func (c *peftConfig) kernels(all []model.Kernel, head []model.HeadModule) ([]model.Kernel, error) {
	var targeted []model.Kernel
	used := make([]bool, len(c.targets))
	for _, k := range all {
		hit := c.hits(k.Name, used) || c.allLinear && !k.Lookup
		if hit && !c.isSaved(k.Name) && !c.leavesOut(k.Name) {
			targeted = append(targeted, k)
		}
	}
	for _, layer := range head {
		kernel := slices.ContainsFunc(all, func(k model.Kernel) bool { return k.Name == layer.Name })
		if !kernel && c.hits(layer.Name, used) && !c.isSaved(layer.Name) && !c.leavesOut(layer.Name) {
			return nil, fmt.Errorf("target_modules: LoRA on %s is not supported: the head is read as a whole, by modules_to_save; merge the adapter with PEFT's merge_and_unload() and take the merged model", layer.Name)
		}
	}
	for i, t := range c.targets {
		if !used[i] {
			return nil, fmt.Errorf("target_modules: %q is no module of the model", t)
		}
	}
	switch {
	case len(targeted) > 0:
		return targeted, nil
	case len(c.layers) > 0 || len(c.excluded) > 0 || c.exclude != nil:
		return nil, errors.New("target_modules: no module of the model is left by layers_to_transform and exclude_modules")
	default:
		return nil, errors.New("target_modules: no module of the model matches")
	}
}

// hits reports whether target_modules names a module, and notes which of its entries do, in whatever layer. A whole name
// holds in every layer, as in PEFT.
func (c *peftConfig) hits(module string, used []bool) bool {
	hit := c.target != nil && c.target.MatchString(module)
	for i, t := range c.targets {
		if named(module, t) {
			used[i] = true
			hit = hit || module == t || c.inLayers(module)
		}
	}
	return hit
}

// named is PEFT's rule for lists of modules.
func named(module, entry string) bool { return module == entry || strings.HasSuffix(module, "."+entry) }

// savedBy is PEFT's rule for modules_to_save: classifier means pre_classifier too.
func savedBy(module, entry string) bool { return strings.HasSuffix(module, entry) }

// isSaved reports whether a module is saved as a whole, itself or as part of one.
func (c *peftConfig) isSaved(module string) bool {
	for _, entry := range c.saved {
		for part := module; part != ""; {
			if savedBy(part, entry) {
				return true
			}
			i := max(0, strings.LastIndexByte(part, '.'))
			part = part[:i]
		}
	}
	return false
}

// jsonField is a field of a JSON object.
type jsonField struct {
	name  string
	value json.RawMessage
}

// String is the value as an error shows it.
func (f jsonField) String() string {
	const shown = 60
	text := string(f.value)
	if len(text) > shown {
		text = text[:shown] + "…"
	}
	return strings.ToValidUTF8(text, "?")
}

// empty reports a value that asks for nothing.
func (f jsonField) empty() bool {
	switch string(f.value) {
	case "null", "false", `""`, "{}", "[]":
		return true
	default:
		return false
	}
}

func want(f jsonField, value string) error {
	var text string
	if json.Unmarshal(f.value, &text) != nil || text != value {
		return fmt.Errorf("%s is not supported; only %q is", f, value)
	}
	return nil
}

func wantUnlessEmpty(f jsonField, value string) error {
	if f.empty() {
		return nil
	}
	return want(f, value)
}

func decode(f jsonField, into any) error {
	if err := json.Unmarshal(f.value, into); err != nil {
		return fmt.Errorf("%s is not what it can be: want %T", f, into)
	}
	return nil
}

// number reads a finite number.
func number(value json.RawMessage) (float64, error) {
	var n *float64
	if err := json.Unmarshal(value, &n); err != nil || n == nil {
		return 0, fmt.Errorf("%s is not a number", jsonField{value: value})
	}
	return *n, nil
}

// objectFields reads an object's fields in their order, their values without white space.
func objectFields(text []byte) ([]jsonField, error) {
	fields, err := jsonfile.Fields(text)
	if err != nil {
		return nil, err
	}
	compact := make([]jsonField, len(fields))
	for i, f := range fields {
		var b bytes.Buffer
		if err := json.Compact(&b, f.Value); err != nil {
			return nil, fmt.Errorf("%s: %w", f.Name, err)
		}
		compact[i] = jsonField{f.Name, b.Bytes()}
	}
	return compact, nil
}
