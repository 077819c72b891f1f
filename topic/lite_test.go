package topic

import "testing"

func TestSplitLite(t *testing.T) {
	for _, c := range []struct {
		name, parent, lite string
		ok                 bool
	}{
		{LiteQueue("P", "a"), "P", "a", true}, {"%LMQ%$P$a$b", "P", "a$b", true},
		{"%LMQ%$P$", "P", "", false}, {"%LMQ%$$a", "", "a", false}, {"%LMQ%$P", "P", "", false}, {"%LMQ%P$a", "", "", false}, {"", "", "", false},
	} {
		if parent, lite, ok := SplitLite(c.name); parent != c.parent || lite != c.lite || ok != c.ok {
			t.Errorf("%s: %s %s %t", c.name, parent, lite, ok)
		}
	}
	for name, good := range map[string]bool{"a-B_0": true, "": false, "a,b": false, "a/b": false, "a$b": false, "\x01": false} {
		if err := CheckLite(name); (err == nil) != good {
			t.Errorf("%q: %v", name, err)
		}
	}
}
