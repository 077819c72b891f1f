package main

import (
	"log/slog"
	"math"
	"runtime/debug"
	"strconv"
	"strings"
)

// limitMemory takes the heap that somebody meant for Java's broker as the limit of ours, so that manifests written
// for Java keep their meaning: -Xmx and -XX:MaxDirectMemorySize in JAVA_OPT and JAVA_OPT_EXT. GOMEMLIMIT wins.
func limitMemory(getenv func(string) string, log *slog.Logger) {
	options := getenv("JAVA_OPT") + " " + getenv("JAVA_OPT_EXT")
	limit := javaMemory(options)
	if strings.Contains(options, "-X") {
		log.Info("options of a JVM have no meaning here, but for -Xmx as a limit of memory", "limit", limit)
	}
	if getenv("GOMEMLIMIT") != "" {
		return
	}
	if limit > 0 {
		debug.SetMemoryLimit(limit)
	}
}

// javaMemory adds the two sizes up; 0 if there is no -Xmx. The last of several wins, as in Java.
func javaMemory(options string) int64 {
	var heap, direct int64
	for _, o := range strings.Fields(options) {
		if v, ok := strings.CutPrefix(o, "-Xmx"); ok {
			heap = javaSize(v)
		} else if v, ok := strings.CutPrefix(o, "-XX:MaxDirectMemorySize="); ok {
			direct = javaSize(v)
		}
	}
	if heap == 0 || direct > math.MaxInt64-heap {
		return heap
	}
	return heap + direct
}

// javaSize reads "512m", "4g", "1048576"; 0 if it is no size.
func javaSize(s string) int64 {
	shift := 0
	if n := len(s); n > 0 {
		if at := strings.IndexByte("kmgt", s[n-1]|0x20); at >= 0 {
			shift, s = 10*(at+1), s[:n-1]
		}
	}
	v, err := strconv.ParseInt(s, 10, 64)
	if err != nil || v < 0 || v > math.MaxInt64>>shift {
		return 0
	}
	return v << shift
}
