package main

import (
	"strings"
	"testing"

	"rocketd/bench"
)

func TestSpread(t *testing.T) {
	for want, all := range map[string][]float64{
		"2.00 [1.00 - 3.00]": {3, 1, 2}, "15.0 [0.050 - 1000]": {1000, 0.05, 10, 20}, "7.00 [7.00 - 7.00]": {7},
	} {
		if got := spreadOf(all).String(); got != want {
			t.Errorf("%v: %s, want %s", all, got, want)
		}
	}
}

// The ratio is taken in each round, and both the goal over Java and the one over the echo must be reached.
func TestTableLines(t *testing.T) {
	result := func(perSec float64) side {
		return side{load: &bench.Result{PerSec: perSec, Server: &bench.Cost{RSSAnonMiB: 50}}}
	}
	rounds := []round{{result(100), result(10), result(200)}, {result(30), result(10), result(40)}, {result(80), result(10), result(90)}}
	w := work{name: "W", echo: true, values: []value{{name: "messages/s", of: rate, goal: 8, least: true, floor: 0.6}}}
	got := tableLines(w, rounds)
	want := "| W | messages/s | 80.0 | 10.0 | 8.00 [3.00 - 10.0] | >= 8, 0.6 of echo | 0.75 [0.50 - 0.89] | yes |\n"
	if !strings.HasPrefix(got, want) {
		t.Errorf("%s want %s", got, want)
	}
	w.values[0].floor = 0.8
	if got := tableLines(w, rounds); !strings.Contains(got, "| NO |\n") {
		t.Errorf("below the floor is reached: %s", got)
	}
	w.values[0] = value{name: "messages/s", of: rate, goal: 7}
	if got := tableLines(w, rounds); !strings.Contains(got, "<= 7 |") || !strings.Contains(got, "| NO |\n") {
		t.Errorf("above the most is reached: %s", got)
	}
}

// A goal about ours alone is compared with ours; where Java failed, only such a goal can be reached.
func TestTableLines_Alone(t *testing.T) {
	result := func(perSec, base float64) side {
		return side{&bench.Result{PerSec: perSec, Server: &bench.Cost{RSSAnonMiB: 50}}, &bench.Result{PerSec: base}}
	}
	rounds := []round{{ours: result(90, 100), java: result(10, 100)}, {ours: result(70, 100), java: result(20, 100)}, {ours: result(80, 100), java: result(40, 100)}}
	w := work{name: "W", base: []string{"send"}, values: []value{{name: "relative", of: relative, goal: 0.8, least: true, alone: true},
		{name: "messages/s", of: rate, goal: 1, least: true}}}
	got := tableLines(w, rounds)
	for _, want := range []string{
		"| W | relative | 0.80 [0.70 - 0.90] | 0.20 | 3.50 [2.00 - 9.00] | >= 0.8 (ours) | - | yes |\n",
		"| W | memory MiB | 50.0 | 50.0 | - | - | - | - |\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%s want %s", got, want)
		}
	}
	rounds[1].java = side{}
	got = tableLines(w, rounds)
	for _, want := range []string{
		"| W | relative | 0.80 [0.70 - 0.90] | failed | - | >= 0.8 (ours) | - | yes |\n",
		"| W | messages/s | 80.0 | failed | - | >= 1 | - | NO |\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%s want %s", got, want)
		}
	}
}
