// Package sql92 compiles the expressions by which a consumer chooses messages by their properties, in RocketMQ's
// dialect of SQL92, and decides for each message.
//
//	order > 5 AND region IN ('eu', 'us') OR vip IS NOT NULL
//
// Every value of a property is a string; compared with a number it becomes one of the same type. The rules are Java's
// with all their oddities, since a consumer that moves here must get the same messages: an expression may evaluate to
// true, false, null or fail, and only true selects. Source: Java's SelectorParser and its expression classes, by what
// they do; vectors that Java wrote are in testdata.
package sql92

import (
	"errors"
	"fmt"
)

// Bounds of an expression, so that a stranger's costs little. Java has none but its stack.
const (
	MaxLength = 64 << 10 // bytes
	maxDepth  = 400      // nested parentheses and signs
)

// ErrSyntax is wrapped by every error of Compile.
var ErrSyntax = errors.New("invalid SQL92 expression")

// A Selector is a compiled expression. It is immutable and may be shared.
type Selector struct{ root expr }

// Properties are those of one message: Raw as a record holds them, or where Lookup is not nil, what that returns.
type Properties struct {
	Raw    []byte
	Lookup func(name string) ([]byte, bool)
}

// Result of an evaluation.
type Result uint8

// The results. Failed means that a value could not be compared, such as 'abc' with a number.
const (
	Null Result = iota
	False
	True
	Failed
)

func (r Result) String() string {
	return [...]string{Null: "null", False: "false", True: "true", Failed: "error"}[r]
}

// Compile reads an expression. What follows a complete expression is ignored as far as Java ignores it. The error wraps
// ErrSyntax and says where the expression is wrong.
func Compile(text string) (*Selector, error) {
	if len(text) > MaxLength {
		return nil, fmt.Errorf("%w: it has %d bytes, more than %d", ErrSyntax, len(text), MaxLength)
	}
	p := parser{lexer: lexer{text: text}}
	root, err := p.parse()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSyntax, err)
	}
	return &Selector{root}, nil
}

// Match tells whether the message is selected. It allocates nothing.
func (s *Selector) Match(p Properties) bool { return s.Eval(p) == True }

// Eval evaluates the expression for a message.
func (s *Selector) Eval(p Properties) Result {
	switch v := s.root.eval(p); v.kind {
	case boolean:
		if v.is {
			return True
		}
		return False
	case failed:
		return Failed
	default:
		return Null
	}
}
