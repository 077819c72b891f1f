// Package settings holds the configuration of a role under the names, types and defaults that RocketMQ users
// know: a property file, flags, the environment, and changes at run time. Every key of the Java release is
// accepted; what a role never asks for can be listed, so that nobody believes in a key without effect.
package settings

import (
	_ "embed"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// The keys of Java 5.5.1, made by reflection: class, key, type, default, allowed values, important, settable,
// inherited from, note, version. "null" is a default that is not there; "by host" and "by processors" are
// worked out from the machine.
//
//go:embed config-keys.tsv
var keyTable string

// kind is what a value must look like.
type kind uint8

const (
	kindString kind = iota
	kindInt
	kindLong
	kindDouble
	kindBool
	kindEnum
)

// key is one configuration key of a role.
type key struct {
	name      string
	kind      kind
	initial   string // canonical default; "" if absent
	absent    bool   // no default: Java holds null and does not print the key
	allowed   []string
	important bool // printed by -m
	fixed     bool // Java has no setter that the property loader finds
}

// parseKeys reads the rows of the given classes; a later class wins where two have the same key, as Java's merge
// does. A table that cannot be read is a mistake of ours and panics.
func parseKeys(m Machine, classes ...string) map[string]*key {
	keys := map[string]*key{}
	for _, class := range classes {
		for line := range strings.Lines(keyTable) {
			f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
			if f[0] != class {
				continue
			}
			keys[f[1]] = parseKey(m, f)
		}
	}
	return keys
}

func parseKey(m Machine, f []string) *key {
	k := &key{name: f[1], important: f[5] == "yes", fixed: f[6] != "yes"}
	if f[4] != "" {
		k.allowed = strings.Split(f[4], "|")
	}
	switch f[2] {
	case "int", "Integer":
		k.kind = kindInt
	case "long":
		k.kind = kindLong
	case "double":
		k.kind = kindDouble
	case "boolean":
		k.kind = kindBool
	default:
		if len(k.allowed) > 0 && f[2] != "String" {
			k.kind = kindEnum
		}
	}
	switch v := f[3]; v {
	case "null":
		k.absent = true
	case "by host":
		k.initial = m.HostName
		if strings.Contains(f[8], "IPv4") {
			k.initial = m.IP
		}
	case "by processors":
		k.initial = byProcessors(f[8], m.Processors)
	default:
		k.initial = m.expand(v)
	}
	return k
}

// byProcessors works a default out that Java computes from the number of processors. The note tells two points
// of a straight line; the one that is not straight is min(processors, 4).
func byProcessors(note string, n int) string {
	var a, b int
	if _, err := fmt.Sscanf(note, "%d with 2 processors, %d with 16", &a, &b); err != nil {
		panic(fmt.Sprintf("settings: note %q", note))
	}
	if b == 4 {
		return strconv.Itoa(min(n, 4))
	}
	return strconv.Itoa(a + (b-a)*(n-2)/14)
}

// parse brings a value into the form that Java would print. Booleans follow Java: only "true" is true.
func (k *key) parse(v string) (string, error) {
	v = strings.TrimSpace(v)
	switch k.kind {
	case kindInt, kindLong:
		bits := 64
		if k.kind == kindInt {
			bits = 32
		}
		n, err := strconv.ParseInt(v, 10, bits)
		if err != nil {
			return "", fmt.Errorf("%q is not a %d-bit number", v, bits)
		}
		return strconv.FormatInt(n, 10), nil
	case kindDouble:
		d, err := strconv.ParseFloat(v, 64)
		if err != nil || math.IsInf(d, 0) || math.IsNaN(d) {
			return "", fmt.Errorf("%q is not a number", v)
		}
		s := strconv.FormatFloat(d, 'f', -1, 64)
		if !strings.Contains(s, ".") {
			s += ".0"
		}
		return s, nil
	case kindBool:
		return strconv.FormatBool(strings.EqualFold(v, "true")), nil
	case kindEnum:
		for _, a := range k.allowed {
			if strings.EqualFold(a, v) {
				return a, nil
			}
		}
		return "", fmt.Errorf("%q is none of %s", v, strings.Join(k.allowed, ", "))
	}
	return v, nil
}
