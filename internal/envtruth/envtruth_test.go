package envtruth

import "testing"

func TestOn(t *testing.T) {
	for value, want := range map[string]bool{
		"": false, "0": false, "false": false, "False": false, "FALSE": false, "no": false, "No": false, "off": false, "OFF": false, " 0 ": false,
		"1": true, "true": true, "True": true, "yes": true, "on": true, "ON": true, "2": true,
	} {
		t.Setenv("DEEPLORA_TEST_SWITCH", value)
		if On("DEEPLORA_TEST_SWITCH") != want {
			t.Errorf("%q: want %v", value, want)
		}
	}
}
