package settings

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The keys that the pages about messages name are keys of a broker, and have the defaults that stand there.
func TestSettings_Docs(t *testing.T) {
	pages, err := filepath.Glob("../docs/messages/*.md")
	if err != nil {
		t.Fatal(err)
	}
	s, _ := broker(t)
	rows := 0
	for _, page := range pages {
		if filepath.Base(page) == "retry.md" { // its keys are those of a group
			continue
		}
		data, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		inside := false
		for line := range strings.Lines(string(data)) {
			cells := strings.Split(line, "|")
			switch {
			case len(cells) < 4:
				inside = false
				continue
			case strings.TrimSpace(cells[1]) == "key":
				inside = true
				continue
			case !inside || strings.HasPrefix(cells[1], "---"):
				continue
			}
			rows++
			list := func(cell string) []string {
				return strings.Split(strings.Trim(strings.ReplaceAll(cell, "`", ""), " "), ", ")
			}
			values := list(cells[2])
			for i, name := range list(cells[1]) {
				if s.keys[name] == nil {
					t.Errorf("%s: there is no key %s", page, name)
				} else if want := strings.TrimSuffix(values[min(i, len(values)-1)], " ms"); s.String(name) != want {
					t.Errorf("%s: %s is %s by default, not %s", page, name, s.String(name), want)
				}
			}
		}
	}
	if rows < 30 {
		t.Errorf("only %d keys were found", rows)
	}
}
