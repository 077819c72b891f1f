package cold

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A group that read too much from the disk waits for the next round; so do all that read when together they did.
func TestControl(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		enabled := false
		c := New(Config{Enabled: func() bool { return enabled }, Threshold: func() int64 { return 100 }, Global: func() int64 { return 250 }})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- c.Run(ctx) }()
		check := func(group string, want bool) {
			t.Helper()
			if got := c.Limited([]byte(group)); got != want {
				t.Errorf("%s limited: %v", group, got)
			}
		}
		read := func(group string, n int) { c.Read([]byte(group), n, time.Now()) }
		read("g", 1000)
		check("g", false) // it is not enabled
		enabled = true
		check("g", false)
		read("g", 99)
		check("g", false)
		read("g", 1)
		check("g", true)
		check("h", false) // it reads nothing cold
		time.Sleep(Round)
		synctest.Wait()
		check("g", false)

		c.Set(map[string]int64{"g": 200})
		read("g", 150)
		check("g", false)
		read("h", 99)
		check("h", false)
		read("h", 1) // 250 together
		check("g", true)
		read("CID_RMQ_SYS_x", 1000)
		check("CID_RMQ_SYS_x", false)
		read("TOOLS_CONSUMER", 1000)
		check("TOOLS_CONSUMER", false)
		text, err := c.JSON()
		if want := `"cgColdReadThreshold":100,"configTable":{"g":200},"globalAcc":2250,"globalColdReadThreshold":250,"runtimeTable":{"CID_RMQ_SYS_x":{"coldAcc":1000,`; err != nil || !strings.Contains(string(text), want) {
			t.Errorf("%s, %v", text, err)
		}
		c.Remove("g")
		time.Sleep(time.Minute + Round)
		synctest.Wait()
		if len(c.groups) != 0 || len(c.thresholds) != 0 {
			t.Errorf("%d groups and %d thresholds are left", len(c.groups), len(c.thresholds))
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// Thresholds that would be too many are not set, none of them; those that are there may still change.
func TestControl_Bounded(t *testing.T) {
	c := New(Config{})
	all := make(map[string]int64)
	for i := range maxThresholds - 1 {
		all[fmt.Sprint("g", i)] = 1
	}
	if !c.Set(all) || c.Set(map[string]int64{"x": 1, "y": 1}) || len(c.thresholds) != len(all) {
		t.Errorf("%d thresholds", len(c.thresholds))
	}
	if !c.Set(map[string]int64{"g0": 2, "x": 1}) || c.Set(map[string]int64{"y": 1}) || !c.Set(map[string]int64{"g0": 3}) || c.thresholds["g0"] != 3 {
		t.Errorf("%d thresholds, that of g0 %d", len(c.thresholds), c.thresholds["g0"])
	}
}
