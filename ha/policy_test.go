package ha

import (
	"errors"
	"testing"
)

func TestPolicy_Need(t *testing.T) {
	classic := Policy{Sync: true}
	acting := Policy{Sync: true, Available: true}
	with := func(p Policy, change func(*Policy)) Policy { change(&p); return p }
	const none = -1 // ErrNotEnough
	for name, c := range map[string]struct {
		p    Policy
		want []int // for 0, 1, 2, … slaves in sync
	}{
		"async":                     {Policy{InSync: 3, Available: true}, []int{0, 0, 0}},
		"sync":                      {classic, []int{1, 1, 1}},
		"sync, one copy":            {with(classic, func(p *Policy) { p.InSync = 1 }), []int{0, 0, 0}},
		"sync, three copies":        {with(classic, func(p *Policy) { p.InSync = 3 }), []int{2, 2, 2}},
		"classic knows no auto":     {with(classic, func(p *Policy) { p.Auto = true }), []int{1, 1}},
		"classic knows no all":      {with(classic, func(p *Policy) { p.All = true }), []int{1, 1, 1}},
		"acting":                    {acting, []int{none, 1, 1}},
		"acting, one copy":          {with(acting, func(p *Policy) { p.InSync = 1 }), []int{0, 0}},
		"acting, three copies":      {with(acting, func(p *Policy) { p.InSync = 3 }), []int{none, none, 2, 2}},
		"auto":                      {with(acting, func(p *Policy) { p.Auto = true }), []int{0, 1, 1}},
		"auto, three copies":        {with(acting, func(p *Policy) { p.Auto, p.InSync = true, 3 }), []int{0, 1, 2, 2}},
		"auto, at least two":        {with(acting, func(p *Policy) { p.Auto, p.InSync, p.MinInSync = true, 3, 2 }), []int{none, 1, 2, 2}},
		"auto, more than is wished": {with(acting, func(p *Policy) { p.Auto, p.MinInSync = true, 3 }), []int{none, none, 2, 2}},
		"all":                       {with(acting, func(p *Policy) { p.All = true }), []int{0, 1, 2, 3}},
		"all, at least two":         {with(acting, func(p *Policy) { p.All, p.MinInSync = true, 2 }), []int{none, 1, 2, 3}},
	} {
		for inSync, want := range c.want {
			got, err := c.p.Need(inSync)
			if want == none && !errors.Is(err, ErrNotEnough) || want != none && (err != nil || got != want) {
				t.Errorf("%s, %d in sync: %d, %v, want %d", name, inSync, got, err, want)
			}
		}
	}
}
