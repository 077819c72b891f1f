package sql92

import (
	"fmt"
	"strings"
)

type kind uint8

const (
	end kind = iota
	symbol
	word // NOT, AND ... in capitals
	decimal
	floating
	quoted
	name
)

// token is the next piece of an expression; text is a view of it, of a word its capitals.
type token struct {
	kind kind
	text string
	at   int
}

func (t token) is(k kind, text string) bool { return t.kind == k && t.text == text }

func (t token) String() string {
	if t.kind == end {
		return "the end"
	}
	return fmt.Sprintf("%q at byte %d", t.text, t.at)
}

var words = map[string]bool{
	"NOT": true, "AND": true, "OR": true, "BETWEEN": true, "IN": true, "TRUE": true, "FALSE": true, "NULL": true,
	"IS": true, "CONTAINS": true, "STARTSWITH": true, "ENDSWITH": true,
}

// lexer cuts an expression into tokens. Where several would do, the longest counts.
type lexer struct {
	text string
	at   int
}

func (l *lexer) next() (token, error) {
	l.skip()
	from := l.at
	if from == len(l.text) {
		return token{kind: end, at: from}, nil
	}
	rest := l.text[from:]
	k, n := symbol, 0
	switch c := rest[0]; {
	case strings.HasPrefix(rest, "<>"), strings.HasPrefix(rest, "<="), strings.HasPrefix(rest, ">="):
		n = 2
	case strings.IndexByte("=<>(),+-", c) >= 0:
		n = 1
	case c == '\'':
		k, n = quoted, quotedLength(rest)
	case isDigit(c) || c == '.':
		k, n = numberLength(rest)
	case isNameStart(c):
		k = name
		for n < len(rest) && (isNameStart(rest[n]) || isDigit(rest[n])) {
			n++
		}
	}
	if n == 0 {
		return token{}, fmt.Errorf("nothing can begin with %q at byte %d", firstRune(rest), from)
	}
	l.at += n
	t := token{k, rest[:n], from}
	if k == name && n <= len("STARTSWITH") {
		if w := strings.ToUpper(t.text); words[w] {
			t.kind, t.text = word, w
		}
	}
	return t, nil
}

// skip passes blanks and comments. A line comment is one only if its line ends.
func (l *lexer) skip() {
	for l.at < len(l.text) {
		rest := l.text[l.at:]
		switch {
		case strings.IndexByte(" \t\n\r\f", rest[0]) >= 0:
			l.at++
		case strings.HasPrefix(rest, "--"):
			n := strings.IndexAny(rest, "\r\n")
			if n < 0 {
				return
			}
			l.at += n
		case strings.HasPrefix(rest, "/*"):
			n := strings.Index(rest[2:], "*/")
			if n < 0 {
				return
			}
			l.at += 2 + n + 2
		default:
			return
		}
	}
}

// quotedLength is the length of the string at the start of s, quotes included; a quote inside is doubled. If it does not
// end, it ends at the first quote of its last pair. 0: it does not end at all.
func quotedLength(s string) (n int) {
	for i := 1; i < len(s); i++ {
		if s[i] != '\'' {
			continue
		}
		n = i + 1
		if n == len(s) || s[n] != '\'' {
			return n
		}
		i++
	}
	return n
}

// numberLength finds the number at the start of s: 12, 12L, 1.5, 1., .5, 1e3. A zero before other digits stands for itself.
func numberLength(s string) (kind, int) {
	digits := digitsAt(s, 0)
	n := digits
	if n < len(s) && s[n] == '.' {
		fraction := digitsAt(s, n+1)
		if digits+fraction > 0 {
			n += 1 + fraction
			return floating, n + exponentAt(s, n)
		}
	}
	if digits == 0 {
		return symbol, 0
	}
	if e := exponentAt(s, n); e > 0 {
		return floating, n + e
	}
	if s[0] == '0' {
		return decimal, 1
	}
	if n < len(s) && (s[n] == 'l' || s[n] == 'L') {
		n++
	}
	return decimal, n
}

func digitsAt(s string, i int) (n int) {
	for i+n < len(s) && isDigit(s[i+n]) {
		n++
	}
	return n
}

func exponentAt(s string, i int) int {
	if i >= len(s) || s[i] != 'e' && s[i] != 'E' {
		return 0
	}
	n := 1
	if i+n < len(s) && (s[i+n] == '+' || s[i+n] == '-') {
		n++
	}
	if d := digitsAt(s, i+n); d > 0 {
		return n + d
	}
	return 0
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func isNameStart(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '_' || c == '$'
}

func firstRune(s string) string {
	for i := range s {
		if i > 0 {
			return s[:i]
		}
	}
	return s
}
