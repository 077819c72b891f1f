// Package properties reads and writes the text format of Java's .properties files: `key=value`, `key: value` or
// `key value` a line, comments, continuation lines and escapes. It keeps what the keys mean, not how the file
// looked. Source of the rules: java.util.Properties, method load.
package properties

import (
	"fmt"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Parse reads the text of a properties file. Of a key that comes twice the last value counts. Text that is not
// valid UTF-8 is taken as ISO-8859-1, which is what Java reads. The only error is a broken \uXXXX escape; it
// names the line.
func Parse(data []byte) (map[string]string, error) {
	text := string(data)
	if !utf8.ValidString(text) {
		text = latin1(data)
	}
	text = strings.TrimPrefix(text, "\uFEFF") // some editors leave a byte order mark
	m := make(map[string]string)
	lines := lineReader{rest: text}
	for {
		line, ok := lines.next()
		if !ok {
			return m, nil
		}
		key, value := split(line)
		k, err := unescape(key)
		if err != nil {
			return nil, fmt.Errorf("properties line %d: %w", lines.first, err)
		}
		if m[k], err = unescape(value); err != nil {
			return nil, fmt.Errorf("properties line %d: %w", lines.first, err)
		}
	}
}

func latin1(data []byte) string {
	r := make([]rune, len(data))
	for i, b := range data {
		r[i] = rune(b)
	}
	return string(r)
}

// lineReader cuts text into logical lines: without comments, blank lines and leading white space, and with
// continuation lines joined.
type lineReader struct {
	rest  string
	line  int // number of the natural line read last, from 1
	first int // where the logical line handed out last began
}

func (r *lineReader) next() (string, bool) {
	for r.rest != "" {
		line := r.natural()
		r.first = r.line
		if line == "" || line[0] == '#' || line[0] == '!' {
			continue
		}
		if !continued(line) {
			return line, true
		}
		var whole strings.Builder
		for continued(line) {
			whole.WriteString(line[:len(line)-1])
			if r.rest == "" {
				line = ""
				break
			}
			line = r.natural()
		}
		whole.WriteString(line)
		if whole.Len() > 0 {
			return whole.String(), true
		}
	}
	return "", false
}

// natural cuts the next line off, ended by \n, \r or \r\n, and drops its leading white space.
func (r *lineReader) natural() string {
	r.line++
	line, rest := r.rest, ""
	if i := strings.IndexAny(r.rest, "\r\n"); i >= 0 {
		line, rest = r.rest[:i], r.rest[i+1:]
		if r.rest[i] == '\r' {
			rest = strings.TrimPrefix(rest, "\n")
		}
	}
	r.rest = rest
	return strings.TrimLeft(line, " \t\f")
}

// continued tells whether a line ends in an odd number of backslashes.
func continued(line string) bool {
	n := len(line) - len(strings.TrimRight(line, `\`))
	return n%2 == 1
}

// split cuts a logical line at its first unescaped separator: white space, '=' or ':', the latter two with white
// space around.
func split(line string) (key, value string) {
	end := len(line)
	for i := 0; i < len(line); i++ {
		if line[i] == '\\' {
			i++
			continue
		}
		if strings.IndexByte("=: \t\f", line[i]) >= 0 {
			end = i
			break
		}
	}
	value = strings.TrimLeft(line[end:], " \t\f")
	if value != "" && (value[0] == '=' || value[0] == ':') {
		value = strings.TrimLeft(value[1:], " \t\f")
	}
	return line[:end], value
}

// unescape resolves \t \n \r \f and \uXXXX; of any other escape only the backslash goes. Two escapes of a
// surrogate pair become one character, half a pair becomes U+FFFD.
func unescape(s string) (string, error) {
	if strings.IndexByte(s, '\\') < 0 {
		return s, nil
	}
	var out strings.Builder
	for i := 0; i < len(s); {
		if s[i] != '\\' {
			out.WriteByte(s[i])
			i++
			continue
		}
		if i++; i == len(s) {
			break
		}
		switch s[i] {
		case 't':
			out.WriteByte('\t')
		case 'n':
			out.WriteByte('\n')
		case 'r':
			out.WriteByte('\r')
		case 'f':
			out.WriteByte('\f')
		case 'u':
			r, err := unit(s[i+1:])
			if err != nil {
				return "", err
			}
			i += 4
			if utf16.IsSurrogate(r) && strings.HasPrefix(s[i+1:], `\u`) {
				if low, err := unit(s[i+3:]); err == nil {
					if pair := utf16.DecodeRune(r, low); pair != utf8.RuneError {
						r = pair
						i += 6
					}
				}
			}
			out.WriteRune(r)
		default:
			out.WriteByte(s[i])
		}
		i++
	}
	return out.String(), nil
}

// unit reads the four hex digits that s begins with.
func unit(s string) (rune, error) {
	if len(s) < 4 {
		return 0, fmt.Errorf(`escape \u%s is cut short`, s)
	}
	var r rune
	for _, c := range []byte(s[:4]) {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, fmt.Errorf(`escape \u%q is not four hex digits`, s[:4])
		}
		r = r<<4 | rune(c)
	}
	return r, nil
}
