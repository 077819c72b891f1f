package main

import "testing"

func TestJavaMemory(t *testing.T) {
	for options, want := range map[string]int64{
		"":                                    0,
		"-server -Xms4g":                      0,
		"-Xmx512m":                            512 << 20,
		"-Xmx1G -Xmx2G":                       2 << 30,
		"-Xmx1048576 -Da=b":                   1 << 20,
		"-Xmx1g -XX:MaxDirectMemorySize=512m": 1<<30 + 512<<20,
		"-XX:MaxDirectMemorySize=512m":        0,
		"-Xmx":                                0,
		"-Xmxlots":                            0,
		"-Xmx9223372036854775807t":            0,
	} {
		if got := javaMemory(options); got != want {
			t.Errorf("%q: %d, want %d", options, got, want)
		}
	}
}
