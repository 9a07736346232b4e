package train

import (
	"cmp"
	"math"
	"slices"

	"github.com/deeplora/deeplora/lora"
	"github.com/deeplora/deeplora/model"
)

// This file is the rule of rates (method.md 2.7): which learning rates, ε and γ a run has whose settings do not say.

// resolveMethod takes what the method brings: a head that is trained with the model, and the learning rates, ε and γ where
// they are not given: by the rule (method.md 2.7), or the authors'. Rates of the rule follow the numbers of steps and
// epochs, and are chosen once these are known.
func (c *Config) resolveMethod() error {
	by, err := c.ruled()
	if err != nil {
		return err
	}
	c.TrainHead = c.TrainHead || c.Whole()
	if c.Method == methodProbe {
		c.HeadStart, c.Steps, c.Epochs = startProbe, 1, 0
	}
	if c.InitScale == 0 {
		c.InitScale = by.InitScale
	}
	if c.Gamma == gammaOfRule {
		c.Gamma = by.Gamma
	}
	given, ruled := c.LR > 0, c.RateRule == ruleRank && !c.Whole()
	head := headRate
	switch {
	case c.HeadStart == startProbe:
		head = probeRate
	case c.TrainPooler:
		head = deepHeadRate
	}
	if ruled {
		if c.Steps == 0 || c.Epochs == 0 {
			return nil
		}
		by.Rate *= shareOfSteps(c.Steps) * shareOfEpochs(c.Epochs, by.FewPasses)
		head *= shareOfSteps(c.Steps)
	}
	if !given {
		c.LR = by.Rate
	}
	if c.HeadLR == 0 && (c.TrainHead || c.TrainPooler) {
		c.HeadLR = c.LR
		if ruled && !given {
			c.HeadLR = head
		}
	}
	return nil
}

// ruled are the rate, ε and γ of the settings' method, by the rule or its authors'.
func (c *Config) ruled() (lora.Ruled, error) {
	d := lora.Defaults()
	if whole, ok := lookupWhole(c.Method); ok {
		return lora.Ruled{Rate: whole.rate, InitScale: d.InitScale, Gamma: d.Gamma}, nil
	}
	method, err := lora.LookupMethod(c.Method)
	if err != nil {
		return lora.Ruled{}, err
	}
	by := lora.Ruled{Rate: method.LearningRate(c.Settings)}
	if c.RateRule == ruleRank && method.Rule != nil {
		by = method.Rule(c.Settings)
	}
	by.InitScale, by.Gamma = cmp.Or(by.InitScale, d.InitScale), cmp.Or(by.Gamma, d.Gamma)
	return by, nil
}

// headRate is the learning rate of a head by the rule of rates: it is small, begins at random, and does not know what
// adapter is under it.
const headRate = 1e-2

// deepHeadRate is that of a head whose dense layer before the outputs is trained too, as most families' is, which their
// checkpoints lack: a matrix of width² entries goes much further at a rate than the outputs do (method.md 2.7).
const deepHeadRate = 7.5e-4

// probeRate is that of a head which starts where it fits the examples: a higher one would take it away from there before the
// adapter has moved.
const probeRate = 1e-3

// fullRateSteps is the number of steps up to which a rule's rate stands; see shareOfSteps.
const fullRateSteps = 400

// shareOfSteps lowers a rule's rate for long runs, as 1/√steps: the noise of a rate adds up over steps, and few steps have
// not the time to go where a lower one would lead (method.md 2.7).
func shareOfSteps(steps int) float64 {
	return math.Sqrt(min(1, fullRateSteps/float64(steps)))
}

// fullRateEpochs is how many passes a rule's rate is for: as many as few-shot runs make.
const fullRateEpochs = 200

// shareOfEpochs is the multiple of a rule's rate for so many passes: with fewer, each example pulls less often, and steps may
// be larger, up to most.
func shareOfEpochs(epochs, most float64) float64 {
	return max(1, min(most, math.Cbrt(fullRateEpochs/epochs)))
}

// rateOf is the multiple of the learning rate that a tensor of the model is trained at: the head has a rate of its own.
func (c *Config) rateOf(name string, m *model.Config) float64 {
	if c.Method == methodProbe {
		return 0
	}
	if c.HeadLR > 0 && (slices.Contains(m.HeadNames(), name) || slices.Contains(m.PoolerNames(), name)) {
		return c.HeadLR / c.LR
	}
	return 1
}
