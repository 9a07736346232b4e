package study

import (
	"encoding/json"
	"path"
	"reflect"
	"slices"
	"strings"

	"github.com/deeplora/deeplora/train"
)

// Source is where published numbers come from, and whether the study's runs used the model that they are of.
type Source struct {
	Source string   `json:"source"`
	Model  string   `json:"model"`      // that the numbers were measured on; empty: it is not said
	Models []string `json:"models"`     // that the runs use
	Same   bool     `json:"same_model"` // they use that one and no other
}

// PublishedScore is a published value beside the study's own.
type PublishedScore struct {
	Metric string `json:"metric"`
	Value  Number `json:"value"`
	Seeds  int    `json:"seeds"` // that it is the mean of; 0: not said
	Ours   Number `json:"ours"`  // the mean of that metric here
	Same   bool   `json:"same_model"`
}

// found are the published numbers of a cell, before what was measured stands beside them.
type found []PublishedScore

// published finds the published numbers of each cell: those of rows whose settings are the cell's.
func (e *Experiment) published(cells []*cell) ([]found, error) {
	all := make([]found, len(cells))
	if e.Published == nil {
		return all, nil
	}
	for i, c := range cells {
		settings, err := settingsOf(c.runs[0].Config)
		if err != nil {
			return nil, err
		}
		settings[armField], err = json.Marshal(c.arm)
		if err != nil {
			return nil, err
		}
		for _, row := range e.Published.Rows {
			if row.Where.match(settings) {
				all[i] = append(all[i], PublishedScore{
					Metric: row.Metric, Value: Number(row.Value), Seeds: row.Seeds, Ours: none,
					Same: sameModel(e.Published.Model, c.runs[0].Config.Model),
				})
			}
		}
	}
	return all, nil
}

// match reports whether settings have these values: 1e-4 and 0.0001 are one.
func (f Fields) match(settings map[string]json.RawMessage) bool {
	return !slices.ContainsFunc(f, func(field Field) bool {
		var want, have any
		return json.Unmarshal(field.Value, &want) != nil || json.Unmarshal(settings[field.Name], &have) != nil || !reflect.DeepEqual(want, have)
	})
}

// against puts what was measured beside what was published.
func (f found) against(row ScoreRow) []PublishedScore {
	scores := []PublishedScore{}
	for _, p := range f {
		if p.Metric == row.Metric {
			p.Ours = row.Mean
		}
		for _, other := range row.Others {
			if other.Metric == p.Metric {
				p.Ours = other.Mean
			}
		}
		scores = append(scores, p)
	}
	return scores
}

// source describes the published numbers; nil without any.
func (e *Experiment) source(cells []*cell) (*Source, error) {
	if e.Published == nil {
		return nil, nil
	}
	s := &Source{Source: e.Published.Source, Model: e.Published.Model, Models: []string{}, Same: len(cells) > 0}
	for _, c := range cells {
		name := c.runs[0].Config.Model
		if !slices.Contains(s.Models, name) {
			s.Models = append(s.Models, name)
			s.Same = s.Same && sameModel(s.Model, name)
		}
	}
	return s, nil
}

// sameModel reports whether two names are of one model: a directory, a hub id with or without its revision and
// owner, or the model's own name.
func sameModel(a, b string) bool { return a != "" && strings.EqualFold(modelName(a), modelName(b)) }

func modelName(name string) string {
	name, _, _ = strings.Cut(name, "@")
	return path.Base(strings.ReplaceAll(name, `\`, "/"))
}

// publishedDifference is between the published values of the score of an arm and of the baseline, if there are both.
func publishedDifference(base, arm ScoreRow) Number {
	of := func(row ScoreRow) Number {
		for _, p := range row.Published {
			if p.Metric == row.Metric {
				return p.Value
			}
		}
		return none
	}
	return of(arm) - of(base)
}

// settingsOf are the values of settings by name.
func settingsOf(c train.Config) (map[string]json.RawMessage, error) {
	fields, err := train.Settings().Fields(&c)
	values := make(map[string]json.RawMessage, len(fields))
	for _, f := range fields {
		values[f.Name] = f.Value
	}
	return values, err
}
