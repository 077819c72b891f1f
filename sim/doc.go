// Package sim tests replication where a machine can do it a thousand times a second: masters and slaves with the real
// ha, store and put, on disks (internal/crashfs), a network and a clock that exist in memory only, while processes are
// killed and paused, power is cut, disks fill up, clocks are set and roles change. What producers and consumers saw is
// checked by e2e/history. A seed says which faults happen when.
//
// It consists of tests alone:
//
//	SIM_FAULTS=100000 go test ./sim -run TestCluster     so many faults
//	SIM_SEED=17 SIM_WORLDS=1 go test ./sim -run TestCluster -v      the world of one seed, with what happened in it
package sim
