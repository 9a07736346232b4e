package settings_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/deeplora/deeplora/internal/settings"
)

type inner struct {
	Steps int
	Rate  float64
}

type config struct {
	Name  string
	Lists []string
	inner
	Scratch int // of the setting that TestANewSettingIsEverywhere adds
}

func table() settings.Table[config] {
	return settings.Table[config]{
		{Name: "name", Part: "outer", Default: "a", Check: settings.OneOf("a", "b"), At: func(c *config) any { return &c.Name }},
		{Name: "lists", Part: "outer", At: func(c *config) any { return &c.Lists }},
		{Name: "steps", Part: "inner", Default: 3, Preset: 5, Check: settings.AtLeast(1), At: func(c *config) any { return &c.Steps }},
		{Name: "rate", Part: "inner", Default: 0.0, Unset: 0.0, Resumable: true, Check: settings.Between(0, 1), At: func(c *config) any { return &c.Rate }},
	}
}

// One field and one row: the setting has its default, preset, check, JSON, key, resume and axis.
func TestANewSettingIsEverywhere(t *testing.T) {
	before := table()
	plain := before.Defaults()
	key, err := before.Key(&plain)
	if err != nil {
		t.Fatal(err)
	}
	after := append(table(), settings.Row[config]{
		Name: "scratch", Part: "inner", Default: 7, Preset: 9, Unset: -1, Resumable: true, Check: settings.AtLeast(-1), At: func(c *config) any { return &c.Scratch },
	})
	c := after.Defaults()
	if c.Scratch != 7 || after.Preset().Scratch != 9 {
		t.Errorf("default %d, preset %d", c.Scratch, after.Preset().Scratch)
	}
	if again, err := after.Key(&c); err != nil || again != key {
		t.Errorf("the key of the defaults was %s and is %s, error %v", key, again, err)
	}
	if err := after.Set(&c, "scratch", json.RawMessage(`8`)); err != nil || c.Scratch != 8 {
		t.Errorf("set to %d, error %v", c.Scratch, err)
	}
	if again, _ := after.Key(&c); again == key {
		t.Error("another value has the same key")
	}
	text, err := after.Marshal(&c)
	if err != nil || !strings.HasSuffix(string(text), `"scratch":8}`) {
		t.Errorf("written %s, error %v", text, err)
	}
	var read config
	if err := after.Unmarshal(text, &read); err != nil || !reflect.DeepEqual(read, c) {
		t.Errorf("read %+v, error %v", read, err)
	}
	if err := before.Unmarshal(text, &read); err == nil || err.Error() != `unknown setting "scratch"; nearest: rate` {
		t.Errorf("the table without it reads it: %v", err)
	}
	c.Scratch = -2
	if faults := after.Check(&c); len(faults) != 1 || faults[0].Error() != "scratch: -2 is less than -1" {
		t.Errorf("faults %v", faults)
	}
	given, chosen := after.Defaults(), after.Defaults()
	given.Scratch, chosen.Scratch = -1, 4
	if after.Choose(&given, &chosen); given.Scratch != 4 {
		t.Errorf("left to the run, %d", given.Scratch)
	}
	given.Scratch = 6
	if after.Change(&chosen, &given); chosen.Scratch != 6 {
		t.Errorf("resumed with %d", chosen.Scratch)
	}
	if rows := after.Differences(&given, &plain); len(rows) != 1 || rows[0].Name != "scratch" || len(after.Of("inner")) != 3 {
		t.Errorf("differences %v", rows.Names())
	}
}

func TestSetRefuses(t *testing.T) {
	for text, want := range map[string]string{
		`{"nmae": "a"}`:            `unknown setting "nmae"; nearest: name`,
		`{"steps": "3"}`:           `setting "steps": a string where int is wanted`,
		`{"steps": null}`:          `setting "steps" is null`,
		`{"steps": 1, "steps": 2}`: `field "steps" is given twice`,
	} {
		c := table().Defaults()
		if err := table().Unmarshal([]byte(text), &c); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
	c := config{Lists: []string{"a"}}
	if err := table().Unmarshal([]byte(`{"lists": null}`), &c); err != nil || c.Lists != nil { // which Go writes for an empty list
		t.Errorf("an empty list is %v, error %v", c.Lists, err)
	}
}

func TestCheckNamesEveryFault(t *testing.T) {
	c := config{Name: "c", inner: inner{Steps: 0, Rate: 2}}
	var got []string
	for _, err := range table().Check(&c) {
		got = append(got, err.Error())
	}
	if want := []string{`name: "c" is unknown; nearest: a (known: a b)`, "steps: 0 is less than 1", "rate: 2 is not between 0 and 1"}; !reflect.DeepEqual(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}
