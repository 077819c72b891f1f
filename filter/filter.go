// Package filter decides which messages a subscription wants. Of a tag expression a broker compares the hashes of the
// tags only, so clients look at the tag itself once more; an SQL92 expression is decided here for good.
package filter

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"rocketd/filter/sql92"
	"rocketd/message"
)

// The types of expressions. Source: Java ExpressionType.
const (
	TAG   = "TAG"
	SQL92 = "SQL92"
)

// ErrParse is returned for an expression that is none.
var ErrParse = errors.New("the tag expression holds no tag")

// UnsupportedError is the name of an expression type that this broker does not filter by. Its text is Java's remark.
type UnsupportedError string

func (e UnsupportedError) Error() string {
	return "The broker does not support consumer to filter message by " + string(e)
}

// Filter is a compiled expression. It is immutable and may be shared.
type Filter struct {
	codes []int32 // Java hash codes of the tags, ascending, each once
	match func(tag int64) bool
	wants func(record []byte) bool
}

// all is the expression "*". Its functions stay nil, as readers skip the question then.
var all = &Filter{}

// All wants every message.
func All() *Filter { return all }

// IsTag tells whether an expression type means tags: absent, empty or "TAG".
func IsTag[T ~string | ~[]byte](kind T) bool { return len(kind) == 0 || string(kind) == TAG }

// Compile reads an expression of the given type. An empty expression and "*" want all messages, "a || b" wants those
// whose tag is a or b; blanks around a tag do not count. It returns ErrParse, sql92.ErrSyntax for an SQL92 expression that
// is none, or an UnsupportedError for another type. Source: Java FilterAPI.build; vectors in testdata.
func Compile[T ~string | ~[]byte](kind, expr T) (*Filter, error) {
	if string(kind) == SQL92 {
		s, err := sql92.Compile(string(expr))
		if err != nil {
			return nil, err
		}
		return &Filter{wants: func(record []byte) bool {
			props, ok := message.PeekProperties(record)
			return ok && s.Match(sql92.Properties{Raw: props})
		}}, nil
	}
	if !IsTag(kind) {
		return nil, UnsupportedError(kind)
	}
	if len(expr) == 0 || string(expr) == "*" {
		return all, nil
	}
	names := split(string(expr))
	if len(names) == 0 {
		return nil, fmt.Errorf("%w: %q", ErrParse, string(expr))
	}
	codes := make([]int32, 0, len(names))
	for _, name := range names {
		if name = trim(name); name != "" {
			codes = append(codes, int32(message.TagsCode([]byte(name))))
		}
	}
	return of(codes), nil
}

// FromCodes makes the Filter of a subscription that a client has registered: it sends the hash codes along. Without
// codes the expression counts; one that holds no tag wants nothing. It is meant for tag expressions only, see IsTag.
func FromCodes(expr string, codes []int32) *Filter {
	if len(codes) == 0 || expr == "*" {
		t, err := Compile(TAG, expr)
		if err != nil {
			return of(nil)
		}
		return t
	}
	return of(slices.Clone(codes))
}

func of(codes []int32) *Filter {
	slices.Sort(codes)
	t := &Filter{codes: slices.Compact(codes)}
	t.match = t.has
	return t
}

// Match tells whether a message with this tag code is wanted, as far as its tag can tell. Like Java it compares the low
// 32 bits.
func (t *Filter) Match(tag int64) bool { return t.match == nil || t.has(tag) }

// Func returns Match as a function value that costs nothing to pass on, or nil if the tag of a message does not matter.
func (t *Filter) Func() func(tag int64) bool { return t.match }

// Wants returns what decides by the whole record of a message, or nil if its tag is all that matters.
func (t *Filter) Wants() func(record []byte) bool { return t.wants }

// Codes returns the hash codes of the wanted tags, ascending; the slice must not be changed.
func (t *Filter) Codes() []int32 { return t.codes }

func (t *Filter) has(tag int64) bool {
	code := int32(tag)
	if len(t.codes) > 16 {
		_, ok := slices.BinarySearch(t.codes, code)
		return ok
	}
	for _, c := range t.codes {
		if c == code {
			return true
		}
	}
	return false
}

// split cuts at "||" as Java's String.split does: empty strings at the end are dropped, others are kept.
func split(expr string) []string {
	names := strings.Split(expr, "||")
	for len(names) > 0 && names[len(names)-1] == "" {
		names = names[:len(names)-1]
	}
	return names
}

// trim is Java's String.trim: it takes off whatever is not above the blank.
func trim(s string) string {
	return strings.TrimFunc(s, func(r rune) bool { return r <= ' ' })
}
