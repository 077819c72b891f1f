package properties

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf16"
)

// Text writes m as lines `key=value`, sorted by key. Only what would be read back as something else is escaped,
// so plain settings look as Java prints them; whatever is not ASCII is written as \uXXXX, since Java reads
// ISO-8859-1. Parse(Text(m)) is m for all valid UTF-8.
func Text(m map[string]string) string {
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(m)) {
		escape(&b, k, true)
		b.WriteByte('=')
		escape(&b, m[k], false)
		b.WriteByte('\n')
	}
	return b.String()
}

func escape(b *strings.Builder, s string, key bool) {
	for i, r := range s {
		switch {
		case r == '\t':
			b.WriteString(`\t`)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\f':
			b.WriteString(`\f`)
		case r == '\\', r == ' ' && (key || i == 0), key && strings.ContainsRune("=:", r), key && i == 0 && (r == '#' || r == '!'):
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < ' ' || r > '~':
			for _, u := range utf16.AppendRune(nil, r) {
				fmt.Fprintf(b, `\u%04X`, u)
			}
		default:
			b.WriteRune(r)
		}
	}
}
