package main

import (
	"slices"
	"time"

	"rocketd/bench"
)

// A work is one row or more of the table: a load that all sides get.
type work struct {
	name   string
	sync   bool     // flush to the disk before an answer
	keys   []string // of the brokers' configuration, key=value
	names  bool     // of NameServers, not brokers
	pair   bool     // of a master that answers when its slave has the message
	echo   bool     // measure the floor too
	filled []string // load that makes a store; both sides then start on a copy of it
	before []string // load that a broker has had before it is measured
	base   []string // load that each side is compared with itself under
	args   []string
	longer time.Duration // measure so much longer: what happens now and then is to happen
	values []value
	memory float64 // the most that ours may take, MiB; 0: goalMemory
}

// A value is what is compared of a work. The goal is about ours over Java's, or about ours alone.
type value struct {
	name  string
	of    func(side) float64
	goal  float64
	least bool    // the goal is the least, not the most
	floor float64 // the least ratio to the echo; 0 is none
	alone bool    // the goal is about ours, with Java's beside it
}

// A side is what one server did under a load, and under the one that it is compared with.
type side struct{ load, base *bench.Result }

func rate(s side) float64      { return s.load.PerSec }
func megabytes(s side) float64 { return s.load.MBPerSec }
func cpu(s side) float64       { return s.load.Server.CPUMicros }
func p50(s side) float64       { return s.load.Latency.P50 }
func p99(s side) float64       { return s.load.Latency.P99 }
func seconds(s side) float64   { return s.load.Seconds }
func early(s side) float64     { return float64(s.load.Check.Early) }
func relative(s side) float64  { return s.load.PerSec / s.base.PerSec }

// works are the rows that the project has set itself.
var works = []work{
	{name: "send 128 B, 16 x 16", echo: true, args: load("send", "16", "16", "128", "binary"), values: []value{
		{name: "messages/s", of: rate, goal: 8, least: true}, {name: "CPU µs/message", of: cpu, goal: 0.12}}},
	{name: "send 128 B, 16 x 16, JSON", echo: true, args: load("send", "16", "16", "128", "json"), values: []value{
		{name: "messages/s", of: rate, goal: 6, least: true}}},
	{name: "send 1 KB, 16 x 16", echo: true, args: load("send", "16", "16", "1024", "binary"), values: []value{
		{name: "messages/s", of: rate, goal: 6, least: true}}},
	{name: "send 128 B, 64 x 1", echo: true, args: load("send", "64", "1", "128", "binary"), values: []value{
		{name: "messages/s", of: rate, goal: 2.5, least: true, floor: 0.6}}},
	{name: "send 128 B, 1 x 1", echo: true, args: load("send", "1", "1", "128", "binary"), values: []value{
		{name: "p50 µs", of: p50, goal: 0.6}}},
	{name: "sync flush 1 KB, 16 x 4", sync: true, args: load("send", "16", "4", "1024", "binary"), values: []value{
		{name: "messages/s", of: rate, goal: 3, least: true}}},
	{name: "sync flush 1 KB, 16 x 16", sync: true, args: load("send", "16", "16", "1024", "binary"), values: []value{
		{name: "messages/s", of: rate, goal: 3, least: true}}},
	{name: "end to end, 1,000/s", args: []string{"e2e", "--rate", "1000", "--size", "128"}, values: []value{
		{name: "p50 µs", of: p50, goal: 0.25}}},
	queues("1,000 queues", "1", "1000", "5s", 0.9),
	queues("10,000 queues", "10", "1000", "5s", 0.85),
	queues("100,000 queues", "100", "1000", "30s", 0.7),
	hot("128 B", "128", "2000000", "1", []value{
		{name: "MB/s", of: megabytes, goal: 2, least: true}, {name: "CPU µs/message", of: cpu, goal: 0.35}}),
	hot("1 KB", "1024", "600000", "1", []value{
		{name: "MB/s", of: megabytes, goal: 2, least: true}, {name: "CPU µs/message", of: cpu, goal: 0.35}}),
	hot("128 B, 16 groups", "128", "2000000", "16", []value{{name: "messages/s", of: rate, goal: 2, least: true}}),
	{name: "POP + ack, 16 consumers, 32 a batch",
		before: append(load("send", "16", "16", "128", "binary"), "--count", "2000000"),
		args:   []string{"pop", "--conns", "16"}, values: []value{{name: "messages/s", of: rate, goal: 4, least: true}}},
	{name: "end to end through POP, 1,000/s", args: []string{"e2e", "--pop", "--rate", "1000", "--size", "128"}, values: []value{
		{name: "p50 µs", of: p50, goal: 0.25}}},
	{name: "timed messages, 16 x 16", args: append(load("send", "16", "16", "128", "binary"), "--queues", "1", "--property", "TIMER_DELAY_MS=3600000"),
		values: []value{{name: "messages/s", of: rate, goal: 4, least: true}}},
	{name: "100,000 timed messages due within a second", args: []string{"timer"}, values: []value{
		{name: "p99 µs late", of: p99, goal: 200_000, alone: true}, {name: "early", of: early, alone: true}}},
	{name: "transactions, 16 x 16", args: load("transaction", "16", "16", "128", "binary"), values: []value{
		{name: "transactions/s", of: rate, goal: 4, least: true}}},
	{name: "pull with SQL92, 1 in 100", keys: []string{"enablePropertyFilter=true"},
		before: append(load("send", "16", "16", "128", "binary"), "--counter", "n", "--count", "2000000"),
		args:   []string{"pull", "--loop", "--sql", "n = 42"}, values: []value{{name: "messages/s", of: rate, goal: 3, least: true}}},
	{name: "query by key in 10,000,000 messages",
		filled: append(load("send", "16", "16", "128", "binary"), "--count", "10000000"),
		args:   []string{"query", "--conns", "4", "--in-flight", "4"}, values: []value{
			{name: "queries/s", of: rate, goal: 5, least: true}, {name: "p99 µs", of: p99, goal: 1000, alone: true}}},
	replicated("1 in flight", "1", "1", []value{
		{name: "messages/s", of: rate, goal: 3, least: true}, {name: "p50 µs", of: p50, goal: 0.4}}),
	replicated("64 in flight", "16", "4", []value{{name: "messages/s", of: rate, goal: 2, least: true}}),
	replicated("256 in flight", "16", "16", []value{{name: "messages/s", of: rate, goal: 4, least: true}}),
	{name: "storm of 1,000 brokers with 1,000 topics each", names: true, args: []string{"storm", "--header", "json"}, memory: 1024, values: []value{
		{name: "s until absorbed", of: seconds, goal: 10, alone: true}, {name: "p99 µs of a route meanwhile", of: p99, goal: 5000, alone: true}}},
	{name: "routes, 64 x 1", names: true, args: route("64", "1"), values: []value{{name: "routes/s", of: rate, goal: 2.5, least: true}}},
	{name: "routes, 16 x 16", names: true, args: route("16", "16"), values: []value{{name: "routes/s", of: rate, goal: 6, least: true}}},
}

func load(mode, conns, inFlight, size, header string) []string {
	return []string{mode, "--conns", conns, "--in-flight", inFlight, "--size", size, "--header", header}
}

// queues is a load on many queues, compared with the same on four. In the warm-up the files of the queues are made.
func queues(name, topics, each, warmup string, goal float64) work {
	send := append(load("send", "16", "16", "128", "binary"), "--create", "--warmup")
	return work{
		name:   "send 128 B to " + name,
		base:   append(slices.Clone(send), "5s", "--queues", "4", "--topic", "Few"),
		args:   append(slices.Clone(send), warmup, "--queues", each, "--topics", topics),
		longer: 8 * time.Second,
		values: []value{{name: "rate relative to 4 queues", of: relative, goal: goal, least: true, alone: true}},
	}
}

// hot is reading from the beginning what the broker has just stored.
func hot(name, size, count, groups string, values []value) work {
	return work{
		name:   "hot catch-up read, " + name,
		before: append(load("send", "16", "16", size, "binary"), "--count", count),
		args:   []string{"pull", "--loop", "--groups", groups},
		values: values,
	}
}

// replicated is sending to a master that answers when its slave has the message.
func replicated(name, conns, inFlight string, values []value) work {
	return work{name: "sync replication 128 B, " + name, pair: true, args: load("send", conns, inFlight, "128", "binary"), values: values}
}

// route are questions for the route of a topic, with JSON headers as Java's clients send them.
func route(conns, inFlight string) []string {
	return []string{"route", "--conns", conns, "--in-flight", inFlight, "--header", "json"}
}
