package sql92

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// parser reads an expression by recursive descent, one token ahead.
type parser struct {
	lexer
	tok   token
	depth int
}

var errDepth = errors.New("it is nested too deeply")

func (p *parser) parse() (expr, error) {
	if err := p.advance(); err != nil {
		return nil, err
	}
	e, err := p.or()
	if err != nil {
		return nil, err
	}
	return asBoolean(e)
}

func (p *parser) advance() (err error) {
	p.tok, err = p.next()
	return err
}

// accept goes past a token if it is the next one.
func (p *parser) accept(k kind, text string) (bool, error) {
	if !p.tok.is(k, text) {
		return false, nil
	}
	return true, p.advance()
}

func (p *parser) expect(k kind, text string) error {
	if ok, err := p.accept(k, text); ok || err != nil {
		return err
	}
	return fmt.Errorf("%s is missing before %s", text, p.tok)
}

func (p *parser) or() (expr, error)  { return p.chain("OR", p.and) }
func (p *parser) and() (expr, error) { return p.chain("AND", p.equality) }

func (p *parser) chain(op string, operand func() (expr, error)) (expr, error) {
	left, err := operand()
	if err != nil {
		return nil, err
	}
	for p.tok.is(word, op) {
		if err := p.advance(); err != nil {
			return nil, err
		}
		right, err := operand()
		if err != nil {
			return nil, err
		}
		if left, err = asBoolean(left); err != nil {
			return nil, err
		}
		if right, err = asBoolean(right); err != nil {
			return nil, err
		}
		left = &logic{decisive: op == "OR", left: left, right: right}
	}
	return left, nil
}

// equality reads "a = b", "a <> b" and "a IS [NOT] NULL".
func (p *parser) equality() (expr, error) {
	left, err := p.comparison()
	if err != nil {
		return nil, err
	}
	for {
		op := p.tok
		switch {
		case op.is(symbol, "="), op.is(symbol, "<>"):
			if err := p.advance(); err != nil {
				return nil, err
			}
			right, err := p.comparison()
			if err != nil {
				return nil, err
			}
			if err := comparable(left, right); err != nil {
				return nil, err
			}
			left = negated(op.text == "<>", &equal{left, right})
		case op.is(word, "IS"):
			if err := p.advance(); err != nil {
				return nil, err
			}
			not, err := p.accept(word, "NOT")
			if err != nil {
				return nil, err
			}
			if err := p.expect(word, "NULL"); err != nil {
				return nil, err
			}
			left = negated(not, &equal{left, &constant{}})
		default:
			return left, nil
		}
	}
}

// comparison reads what binds closer: orders, BETWEEN, IN and the searches in strings, with and without NOT.
func (p *parser) comparison() (expr, error) {
	left, err := p.unary()
	for err == nil {
		op := p.tok
		switch {
		case op.kind == symbol && (op.text[0] == '<' || op.text[0] == '>') && op.text != "<>":
			if err = p.advance(); err != nil {
				break
			}
			var right expr
			if right, err = p.unary(); err == nil {
				left, err = newOrder(left, op.text, right)
			}
		case op.is(word, "NOT"):
			if err = p.advance(); err == nil {
				left, err = p.predicate(left, true)
			}
		case op.kind == word && predicates[op.text]:
			left, err = p.predicate(left, false)
		default:
			return left, nil
		}
	}
	return nil, err
}

var predicates = map[string]bool{"BETWEEN": true, "IN": true, "CONTAINS": true, "STARTSWITH": true, "ENDSWITH": true}

func (p *parser) predicate(left expr, not bool) (expr, error) {
	op := p.tok
	if op.kind != word || !predicates[op.text] {
		return nil, fmt.Errorf("%s cannot follow NOT", op)
	}
	if err := p.advance(); err != nil {
		return nil, err
	}
	switch op.text {
	case "BETWEEN":
		return p.between(left, not)
	case "IN":
		return p.in(left, not)
	}
	text, err := p.str()
	if err != nil {
		return nil, err
	}
	return &search{left, op.text, []byte(text), not}, nil
}

func (p *parser) between(left expr, not bool) (expr, error) {
	low, err := p.unary()
	if err != nil {
		return nil, err
	}
	if err := p.expect(word, "AND"); err != nil {
		return nil, err
	}
	high, err := p.unary()
	if err != nil {
		return nil, err
	}
	above, below := ">=", "<="
	if not {
		above, below = "<", ">"
	} else if err := ordered(low, high); err != nil {
		return nil, err
	}
	first, err := newOrder(left, above, low)
	if err != nil {
		return nil, err
	}
	second, err := newOrder(left, below, high)
	if err != nil {
		return nil, err
	}
	return &logic{decisive: not, left: first, right: second}, nil
}

func (p *parser) in(left expr, not bool) (expr, error) {
	if err := p.expect(symbol, "("); err != nil {
		return nil, err
	}
	var list [][]byte
	for {
		text, err := p.str()
		if err != nil {
			return nil, err
		}
		list = append(list, []byte(text))
		more, err := p.accept(symbol, ",")
		if err != nil {
			return nil, err
		}
		if !more {
			break
		}
	}
	if err := p.expect(symbol, ")"); err != nil {
		return nil, err
	}
	if _, ok := left.(*property); !ok {
		return nil, errors.New("IN wants the name of a property before it")
	}
	return newIn(left, list, not), nil
}

// unary reads signs and NOT.
func (p *parser) unary() (expr, error) {
	if p.depth++; p.depth > maxDepth {
		return nil, errDepth
	}
	defer func() { p.depth-- }()
	op := p.tok
	switch {
	case op.is(symbol, "+"), op.is(symbol, "-"), op.is(word, "NOT"):
		if err := p.advance(); err != nil {
			return nil, err
		}
		operand, err := p.unary()
		if err != nil || op.text == "+" {
			return operand, err
		}
		if op.text == "-" {
			return &negative{operand}, nil
		}
		if operand, err = asBoolean(operand); err != nil {
			return nil, err
		}
		return negated(true, operand), nil
	}
	return p.primary()
}

func (p *parser) primary() (e expr, err error) {
	t := p.tok
	switch {
	case t.is(symbol, "("):
		if err := p.advance(); err != nil {
			return nil, err
		}
		if e, err = p.or(); err != nil {
			return nil, err
		}
		return e, p.expect(symbol, ")")
	case t.kind == quoted:
		e = &constant{value: value{kind: text, s: []byte(unquote(t.text))}}
	case t.kind == name:
		e = &property{t.text}
	case t.kind == decimal:
		e, err = newDecimal(t.text)
	case t.kind == floating:
		e, err = newFloating(t.text)
	case t.is(word, "TRUE"), t.is(word, "FALSE"):
		e = &constant{value: value{kind: boolean, is: t.text == "TRUE"}}
	case t.is(word, "NULL"):
		e = &constant{}
	default:
		return nil, fmt.Errorf("a value is missing before %s", t)
	}
	if err != nil {
		return nil, err
	}
	return e, p.advance()
}

func (p *parser) str() (string, error) {
	if p.tok.kind != quoted {
		return "", fmt.Errorf("a string in quotes is missing before %s", p.tok)
	}
	s := unquote(p.tok.text)
	return s, p.advance()
}

func unquote(s string) string { return strings.ReplaceAll(s[1:len(s)-1], "''", "'") }

func newDecimal(s string) (expr, error) {
	n, err := strconv.ParseInt(strings.TrimRight(s, "lL"), 10, 64)
	if err != nil {
		return nil, fmt.Errorf("%s is no 64-bit number", s)
	}
	if n == int64(int32(n)) {
		return &constant{value: value{kind: integer, i: n}}, nil
	}
	return &constant{value: value{kind: long, i: n}}, nil
}

func newFloating(s string) (expr, error) {
	f, _ := strconv.ParseFloat(s, 64)
	if math.IsInf(f, 0) || f < math.SmallestNonzeroFloat64 { // Java refuses 0.0 as well
		return nil, fmt.Errorf("%s is not between %g and %g", s, math.SmallestNonzeroFloat64, math.MaxFloat64)
	}
	return &constant{value: value{kind: double, f: f}}, nil
}

// asBoolean makes of an operand what AND, OR and NOT can take.
func asBoolean(e expr) (expr, error) {
	if e.boolean() {
		return e, nil
	}
	if p, ok := e.(*property); ok {
		return &cast{p}, nil
	}
	return nil, errors.New("a part that should be true or false is a value")
}

// comparable refuses what cannot stand beside "=".
func comparable(left, right expr) error {
	l, lok := left.(*constant)
	r, rok := right.(*constant)
	if lok && l.kind == null || rok && r.kind == null {
		return errors.New("NULL cannot be compared, use IS NULL")
	}
	if lok && rok && l.kind == boolean && r.kind != boolean {
		return errors.New("a truth value cannot be compared with something else")
	}
	return nil
}

// ordered refuses bounds of BETWEEN in the wrong order.
func ordered(low, high expr) error {
	l, lok := low.(*constant)
	h, hok := high.(*constant)
	if !lok || !hok {
		return nil
	}
	if l.kind == null || h.kind == null {
		return errors.New("a bound of BETWEEN is NULL")
	}
	if c, ok := compare(h.value, l.value); !ok || c < 0 {
		return errors.New("the lower bound of BETWEEN is above the upper one")
	}
	return nil
}
