package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

const tableHead = `| work | value | ours | Java | ours / Java, median [least - most] | goal | ours / echo | reached |
|---|---|---|---|---|---|---|---|
`

const startName = "start to first accepted message, empty store"

// goalStart and goalMemory are the goals that are not ratios.
const (
	goalStart  = 250 * time.Millisecond
	goalMemory = 200 // MiB
)

// spread is the median of numbers, with the least and the most.
type spread struct{ median, least, most float64 }

func spreadOf(all []float64) spread {
	s := slices.Sorted(slices.Values(all))
	n := len(s)
	return spread{(s[(n-1)/2] + s[n/2]) / 2, s[0], s[n-1]}
}

func (s spread) String() string {
	return fmt.Sprintf("%s [%s - %s]", short(s.median), short(s.least), short(s.most))
}

// tableLines are the rows of one work.
func tableLines(w work, rounds []round) string {
	var b strings.Builder
	collect := func(of func(round) float64) spread {
		var all []float64
		for _, r := range rounds {
			all = append(all, of(r))
		}
		return spreadOf(all)
	}
	noJava := slices.ContainsFunc(rounds, func(r round) bool { return r.java.load == nil })
	for _, v := range w.values {
		ours := collect(func(r round) float64 { return v.of(r.ours) })
		java, ratio := "failed", "-"
		result := ours
		if !noJava {
			java = short(collect(func(r round) float64 { return v.of(r.java) }).median)
			over := collect(func(r round) float64 { return v.of(r.ours) / v.of(r.java) })
			if ratio = over.String(); !v.alone {
				result = over
			}
		}
		reached, sign := result.median <= v.goal, "<="
		if v.least {
			reached, sign = result.median >= v.goal, ">="
		}
		goal, floor := fmt.Sprintf("%s %g", sign, v.goal), "-"
		if v.alone {
			goal += " (ours)"
		} else if noJava {
			reached = false
		}
		if w.echo {
			echo := collect(func(r round) float64 { return v.of(r.ours) / v.of(r.echo) })
			floor = echo.String()
			if v.floor > 0 {
				goal += fmt.Sprintf(", %g of echo", v.floor)
				reached = reached && echo.median >= v.floor
			}
		}
		figure := short(ours.median)
		if v.alone {
			figure = ours.String()
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s | %s | %s |\n", w.name, v.name, figure, java, ratio, goal, floor, yes(reached))
	}
	ours := collect(func(r round) float64 { return r.ours.load.Server.RSSAnonMiB })
	java := "failed"
	if !noJava {
		java = short(collect(func(r round) float64 { return r.java.load.Server.RSSAnonMiB }).median)
	}
	limit := cmp.Or(w.memory, goalMemory)
	goal, reached := fmt.Sprintf("<= %g", limit), yes(ours.most <= limit)
	if w.base != nil { // many queues at work have their price
		goal, reached = "-", "-"
	}
	fmt.Fprintf(&b, "| %s | memory MiB | %s | %s | - | %s | - | %s |\n", w.name, short(ours.median), java, goal, reached)
	return b.String()
}

func startLine(all []time.Duration) string {
	var ms []float64
	for _, d := range all {
		ms = append(ms, float64(d.Microseconds())/1000)
	}
	s := spreadOf(ms)
	goal := float64(goalStart.Milliseconds())
	return fmt.Sprintf("| "+startName+" | ms | %s | - | - | <= %g | - | %s |\n", s, goal, yes(s.median <= goal))
}

func yes(ok bool) string {
	if ok {
		return "yes"
	}
	return "NO"
}

// short writes a number with three digits that count.
func short(x float64) string {
	switch {
	case x >= 100:
		return fmt.Sprintf("%.0f", x)
	case x >= 10:
		return fmt.Sprintf("%.1f", x)
	case x >= 0.1:
		return fmt.Sprintf("%.2f", x)
	}
	return fmt.Sprintf("%.3f", x)
}
