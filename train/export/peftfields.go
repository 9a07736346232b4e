package export

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/deeplora/deeplora/internal/nearest"
)

// peftField is what becomes of a field of adapter_config.json. Exactly one of take, harmless and refused is there.
type peftField struct {
	name     string
	take     func(c *peftConfig, f jsonField) error // it is honoured
	harmless string                                 // why what it says changes nothing of the adapter's function
	refused  string                                 // what it asks for; that it is off is no fault
}

// peftFields are the fields that PEFT 0.21 writes for LoRA, in its order. One that is not here is refused unless it is
// empty: newer versions of PEFT have more of them.
var peftFields = []peftField{
	{name: "task_type", take: func(_ *peftConfig, f jsonField) error { return wantUnlessEmpty(f, "SEQ_CLS") }},
	{name: "peft_type", take: func(_ *peftConfig, f jsonField) error { return want(f, "LORA") }},
	{name: "auto_mapping", harmless: "which class of Transformers the base is of; --model is read as its own config.json says"},
	{name: "peft_version", harmless: "who wrote the file"},
	{name: "base_model_name_or_path", harmless: "where the base lay when it was trained; --model says where it lies"},
	{name: "revision", harmless: "as base_model_name_or_path"},
	{name: "inference_mode", harmless: "whether PEFT trains it further"},
	{name: "r", take: (*peftConfig).takeRank},
	{name: "target_modules", take: (*peftConfig).takeTargets},
	{name: "exclude_modules", take: (*peftConfig).takeExcluded},
	{name: "lora_alpha", take: func(c *peftConfig, f jsonField) (err error) { c.alpha, err = number(f.value); return err }},
	{name: "lora_dropout", harmless: "of training alone"},
	{name: "fan_in_fan_out", take: (*peftConfig).takeOrientation},
	{name: "bias", take: func(_ *peftConfig, f jsonField) error { return want(f, "none") }},
	{name: "use_rslora", take: func(c *peftConfig, f jsonField) error { return decode(f, &c.rslora) }},
	{name: "modules_to_save", take: func(c *peftConfig, f jsonField) error { return decode(f, &c.saved) }},
	{name: "init_lora_weights", take: (*peftConfig).takeStart},
	{name: "layers_to_transform", take: (*peftConfig).takeLayers},
	{name: "layers_pattern", take: (*peftConfig).takeLayersPattern},
	{name: "rank_pattern", take: func(c *peftConfig, f jsonField) error { return patterns(f, &c.ranks, true) }},
	{name: "alpha_pattern", take: func(c *peftConfig, f jsonField) error { return patterns(f, &c.alphas, false) }},
	{name: "megatron_config", harmless: "of Megatron's parallel layers, which BERT has none of"},
	{name: "megatron_core", harmless: "as megatron_config"},
	{name: "trainable_token_indices", refused: "rows of the embedding table that were trained"},
	{name: "loftq_config", harmless: "details of init_lora_weights loftq, which is refused there"},
	{name: "eva_config", harmless: "how A started: EVA takes it from the inputs, B from zero, and leaves the base as it is"},
	{name: "corda_config", harmless: "details of init_lora_weights corda, which is refused there"},
	{name: "lora_ga_config", harmless: "details of init_lora_weights lora_ga, which is refused there"},
	{name: "use_dora", refused: "DoRA, whose update is not of low rank"},
	{name: "velora_config", refused: "VeLoRA's layers"},
	{name: "alora_invocation_tokens", refused: "activated LoRA, which acts behind certain tokens alone"},
	{name: "use_qalora", refused: "QA-LoRA, which pools its inputs"},
	{name: "qalora_group_size", harmless: "of use_qalora, which is refused"},
	{name: "monteclora_config", refused: "MonteCLoRA's random samples"},
	{name: "layer_replication", refused: "a stack of repeated layers"},
	{name: "runtime_config", harmless: "where the adapter was computed"},
	{name: "lora_bias", refused: "a bias of B"},
	{name: "target_parameters", refused: "LoRA on parameters that are no module"},
	{name: "use_bdlora", refused: "BD-LoRA's blocks"},
	{name: "arrow_config", refused: "a router between adapters"},
	{name: "kasa_config", refused: "KaSA, which cuts the base model's weights"},
	{name: "ensure_weight_tying", harmless: "a classifier of BERT has no tied weights"},
}

// field takes one field of the file.
func (c *peftConfig) field(f jsonField) error {
	i := slices.IndexFunc(peftFields, func(known peftField) bool { return known.name == f.name })
	switch {
	case i < 0 && f.empty():
		return nil
	case i < 0:
		return fmt.Errorf("%s is not supported: no field of PEFT 0.21; nearest: %s", f, nearest.Of(f.name, peftFieldNames()))
	case peftFields[i].take != nil:
		return peftFields[i].take(c, f)
	case peftFields[i].refused != "" && !f.empty():
		return fmt.Errorf("%s is not supported: it asks for %s; merge the adapter with PEFT's merge_and_unload() and take the merged model", f, peftFields[i].refused)
	default:
		return nil
	}
}

func peftFieldNames() (names []string) {
	for _, f := range peftFields {
		names = append(names, f.name)
	}
	return names
}

func (c *peftConfig) takeRank(f jsonField) error {
	n, err := number(f.value)
	if err != nil || n != math.Trunc(n) || n < 1 || n > maxPEFTRank {
		return fmt.Errorf("%s is no rank; want a whole number from 1", f)
	}
	c.rank = int(n)
	return nil
}

// takeOrientation: the field is about how the base stores its weights, and BERT's are Linear: PEFT sets it to false.
func (c *peftConfig) takeOrientation(f jsonField) error {
	var turned bool
	if err := decode(f, &turned); err != nil {
		return err
	}
	if turned {
		c.notices = append(c.notices, "fan_in_fan_out is true; BERT's layers are Linear, and it is taken for false as PEFT does")
	}
	return nil
}

// start is a way in which PEFT initialises an adapter.
type start struct {
	name   string
	prefix bool // PEFT takes whatever begins so
	base   bool // it takes its start out of the base model's weights: the adapter belongs to what is left of them
}

// starts are the names that PEFT 0.21 knows, true and false aside. What an adapter started from does not matter to it
// once it is trained, unless the base was changed.
var starts = []start{
	{name: "gaussian"},
	{name: "eva"},
	{name: "orthogonal"},
	{name: "mica"},
	{name: "pissa", prefix: true, base: true},
	{name: "corda", prefix: true, base: true},
	{name: "olora", base: true},
	{name: "loftq", base: true},
	{name: "lora_ga", base: true},
}

// takeStart refuses ways to start that change the base model's weights: PEFT computes them anew from the base when it
// loads the adapter; here the adapter would stand beside weights it was not trained with.
func (c *peftConfig) takeStart(f jsonField) error {
	var name string
	var on bool
	if json.Unmarshal(f.value, &on) == nil || f.empty() {
		return nil
	}
	if err := decode(f, &name); err != nil {
		return err
	}
	lower := strings.ToLower(name)
	i := slices.IndexFunc(starts, func(s start) bool { return s.name == lower || s.prefix && strings.HasPrefix(lower, s.name) })
	switch {
	case i < 0:
		var names []string
		for _, s := range starts {
			names = append(names, s.name)
		}
		return fmt.Errorf("%q is not supported: it may have changed the base model's weights; nearest: %s", name, nearest.Of(lower, names))
	case starts[i].base:
		return fmt.Errorf("%q is not supported: it changed the base model's weights before training, so that the adapter is right beside the changed ones alone; "+
			"write it from PEFT as plain LoRA, model.save_pretrained(DIR, path_initial_model_for_weight_conversion=START), or merge it there with merge_and_unload() and take the merged model", name)
	default:
		return nil
	}
}

func (c *peftConfig) takeTargets(f jsonField) (err error) {
	var text string
	if json.Unmarshal(f.value, &text) != nil {
		return decode(f, &c.targets)
	}
	if strings.EqualFold(text, "all-linear") {
		c.allLinear = true
		return nil
	}
	c.target, err = wholeName(f, text)
	return err
}

// takeExcluded: a list as of target_modules, or a regular expression of whole names.
func (c *peftConfig) takeExcluded(f jsonField) (err error) {
	var text string
	switch {
	case f.empty():
		return nil
	case json.Unmarshal(f.value, &text) != nil:
		return decode(f, &c.excluded)
	default:
		c.exclude, err = wholeName(f, text)
		return err
	}
}

func wholeName(f jsonField, text string) (*regexp.Regexp, error) {
	pattern, err := regexp.Compile(`^(?:` + text + `)$`)
	if err != nil {
		return nil, fmt.Errorf("%s is not a regular expression that this program reads: %w", f, err)
	}
	return pattern, nil
}

// takeLayers: one number or a list; null and [] are all layers, 0 is the first.
func (c *peftConfig) takeLayers(f jsonField) error {
	if f.empty() {
		return nil
	}
	var one int
	if json.Unmarshal(f.value, &one) == nil {
		c.layers = []int{one}
		return nil
	}
	return decode(f, &c.layers)
}

func (c *peftConfig) takeLayersPattern(f jsonField) error {
	if f.empty() {
		return nil
	}
	var list []string
	var one string
	if json.Unmarshal(f.value, &one) == nil {
		list = []string{one}
	} else if err := decode(f, &list); err != nil {
		return err
	}
	for _, text := range list {
		pattern, err := regexp.Compile(`^(?:|.*?\.)(?:` + text + `)\.(?P<idx>\d+)\.`)
		if err != nil {
			return fmt.Errorf("%q is not a regular expression that this program reads: %w", text, err)
		}
		c.layersPattern = append(c.layersPattern, pattern)
	}
	return nil
}

// checkLayers holds the fields that choose layers against those that choose modules, as PEFT does.
func (c *peftConfig) checkLayers() error {
	switch {
	case len(c.layers) > 0 && c.target != nil:
		return errors.New("layers_to_transform: cannot stand beside a target_modules that is a regular expression; write the layers into that")
	case len(c.layersPattern) > 0 && len(c.layers) == 0:
		return errors.New("layers_pattern: says where the numbers of layers_to_transform stand in names, which is absent")
	default:
		return nil
	}
}

// anyLayer finds the first number in a module's name, where no layers_pattern says more.
var anyLayer = regexp.MustCompile(`^.*?\.[^.]*\.(?P<idx>\d+)\.`)

// inLayers reports whether a module lies in one of the layers that the adapter is for.
func (c *peftConfig) inLayers(module string) bool {
	if len(c.layers) == 0 {
		return true
	}
	places := c.layersPattern
	if len(places) == 0 {
		places = []*regexp.Regexp{anyLayer}
	}
	for _, place := range places {
		if m := place.FindStringSubmatch(module); m != nil {
			at, err := strconv.Atoi(m[place.SubexpIndex("idx")])
			return err == nil && slices.Contains(c.layers, at)
		}
	}
	return false
}

// leavesOut reports whether exclude_modules names a module.
func (c *peftConfig) leavesOut(module string) bool {
	return c.exclude != nil && c.exclude.MatchString(module) || slices.ContainsFunc(c.excluded, func(entry string) bool { return named(module, entry) })
}
