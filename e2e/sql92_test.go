//go:build e2e

package e2e

import (
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"rocketd/filter/sql92"
)

// Java's own filter classes and ours agree on random expressions and properties. E2E_SQL92 is their number, SEED
// repeats a run.
func TestSQL92_AgreesWithJava(t *testing.T) {
	needJava(t)
	count, seed := 20000, rand.Uint64()
	if n, err := strconv.Atoi(os.Getenv("E2E_SQL92")); err == nil {
		count = n
	}
	if n, err := strconv.ParseUint(os.Getenv("SEED"), 10, 64); err == nil {
		seed = n
	}
	g := sqlGenerator{rand.New(rand.NewPCG(seed, 0))}
	type question struct {
		expr  string
		props map[string]string
	}
	var input strings.Builder
	encode := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	asked := make([]question, count)
	for i := range asked {
		q := question{g.expr(), g.props()}
		asked[i] = q
		input.WriteString(encode(q.expr))
		for k, v := range q.props {
			input.WriteString("," + encode(k) + ":" + encode(v))
		}
		input.WriteString("\n")
	}
	answers := strings.Split(strings.TrimSpace(runJava(t, "Sql92", input.String())), "\n")
	if len(answers) != count {
		t.Fatalf("%d answers to %d questions", len(answers), count)
	}
	valid, different := 0, 0
	for i, q := range asked {
		got := "invalid"
		if s, err := sql92.Compile(q.expr); err == nil {
			valid++
			got = s.Eval(sql92.Properties{Lookup: func(name string) ([]byte, bool) {
				v, ok := q.props[name]
				return []byte(v), ok
			}}).String()
		}
		if got != answers[i] {
			if different++; different <= 20 {
				t.Errorf("%q with %q: %s, Java says %s", q.expr, q.props, got, answers[i])
			}
		}
	}
	if valid < count/5 {
		t.Errorf("only %d of %d expressions are valid", valid, count)
	}
	t.Logf("%d expressions, %d of them valid, %d differ; seed %d", count, valid, different, seed)
}

// runJava compiles a class of peers/java against the server's jars and returns what it prints.
func runJava(t *testing.T, class, input string) string {
	t.Helper()
	classpath, err := tool(".", nil, "./javamq", "classpath", "--jars", "server")
	if err != nil {
		t.Fatal(err)
	}
	classes := filepath.Join(work, "classes-"+class)
	if _, err := tool(".", nil, "javac", "-nowarn", "-cp", strings.TrimSpace(classpath), "-d", classes, "peers/java/"+class+".java"); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("./javamq", "run", class)
	cmd.Env = append(os.Environ(), "CLASSPATH_EXTRA="+classes, "JAVAMQ_JARS=server")
	cmd.Stdin = strings.NewReader(input)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", class, err, stderr.String())
	}
	return string(out)
}

// sqlGenerator makes expressions that are mostly valid, and properties that matter to them.
type sqlGenerator struct{ *rand.Rand }

func (g sqlGenerator) pick(from ...string) string { return from[g.IntN(len(from))] }

func (g sqlGenerator) name() string { return g.pick("a", "b", "n", "f", "s", "flag", "A", "_x", "$y") }

func (g sqlGenerator) number() string {
	return g.pick("0", "1", "3", "10", "017", "0x1F", "2147483647", "2147483648", "9223372036854775807", "9223372036854775808",
		"7L", "7l", "0.0", "1.", ".5", "3.5", "1e3", "1E400", "2.5e-1", "1.0d", strconv.Itoa(g.IntN(20)), fmt.Sprint(g.Float64()*10))
}

func (g sqlGenerator) str() string {
	return g.pick("''", "'a'", "'abc'", "'3'", "'3.5'", "'true'", "'it''s'", "''''", "'中文'", "' x '", "'a", "'%'")
}

func (g sqlGenerator) value(depth int) string {
	switch g.IntN(12) {
	case 0, 1, 2, 3, 4:
		return g.name()
	case 5, 6, 7:
		return g.number()
	case 8:
		return g.str()
	case 9:
		return g.pick("-", "+", "- ", "--", "NOT ") + g.value(depth+1)
	case 10:
		return g.pick("TRUE", "false", "NULL", "null")
	default:
		if depth > 3 {
			return g.name()
		}
		return "(" + g.cond(depth+1) + ")"
	}
}

func (g sqlGenerator) cond(depth int) string {
	v := g.value(depth)
	switch g.IntN(14) {
	case 0, 1, 2:
		return v + g.pick("=", " = ", " <> ", "<>") + g.value(depth)
	case 3, 4, 5:
		return v + g.pick(">", " >= ", " < ", "<=") + g.pick(g.number(), g.name())
	case 6:
		return v + g.pick(" IS NULL", " is not null", " IS NOT", " is")
	case 7:
		return v + g.pick(" BETWEEN ", " not between ") + g.value(depth) + g.pick(" AND ", " and ", " OR ") + g.value(depth)
	case 8:
		return g.name() + g.pick(" IN ", " NOT IN", " in") + "(" + g.str() + g.pick("", ","+g.str(), ","+g.str()+", "+g.str(), ",") + ")"
	case 9:
		return v + g.pick(" CONTAINS ", " NOT CONTAINS ", " StartsWith ", " NOT ENDSWITH ", " endswith") + g.str()
	case 10:
		return "NOT " + g.cond(depth+1)
	case 11:
		if depth < 4 {
			return "(" + g.cond(depth+1) + g.pick(" OR ", " AND ") + g.cond(depth+1) + ")"
		}
		return v
	case 12:
		return v
	default:
		return v + g.pick(" ", "\t", "/* c */", " -- c\n", "#", ";", ")", "!") + g.cond(depth+3)
	}
}

func (g sqlGenerator) expr() string {
	e := g.cond(0)
	for g.IntN(3) == 0 {
		e += g.pick(" OR ", " and ", "\nAND ", " or ") + g.cond(0)
	}
	if g.IntN(40) == 0 { // anything at all
		b := []byte(e)
		b[g.IntN(len(b))] = byte(g.IntN(95) + 32)
		e = strings.ToValidUTF8(string(b), "?")
	}
	return e
}

func (g sqlGenerator) props() map[string]string {
	props := make(map[string]string)
	for _, name := range []string{"a", "b", "n", "f", "s", "flag", "_x", "$y"} {
		if g.IntN(4) > 0 {
			props[name] = g.pick("", "1", "3", "10", "-5", "+5", " 1", "1 ", "3.5", "3.0", "1e3", "1e400", "-0.0", "0", "0.0", "NaN", "Infinity",
				"-Infinity", "inf", "nan", "0x1F", "0x1p3", "0x1P3d", "1f", "1d", "1L", "1_0", ".5", "5.", ".", "e1", "abc", "a", "true", "TRUE", "tRuE",
				"false", "it's", "'", "中文", " x ", "%", "2147483648", "9223372036854775807", "99999999999999999999", "１２", "٣", "+", "-", "--1",
				strconv.Itoa(g.IntN(20)))
		}
	}
	return props
}
