package message

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// DelayLevels is how long a message of each delay level waits, level 1 first. Source: Java ScheduleMessageService.
type DelayLevels []time.Duration

// DefaultDelayLevels is the table in the text form of messageDelayLevel that a broker has unless it is told another.
const DefaultDelayLevels = "1s 5s 10s 30s 1m 2m 3m 4m 5m 6m 7m 8m 9m 10m 20m 30m 1h 2h"

// ParseDelayLevels reads the value of messageDelayLevel: whole numbers with a unit s, m, h or d, one space between them.
func ParseDelayLevels(text string) (DelayLevels, error) {
	units := map[byte]time.Duration{'s': time.Second, 'm': time.Minute, 'h': time.Hour, 'd': 24 * time.Hour}
	var levels DelayLevels
	for i, one := range strings.Split(strings.TrimRight(text, " "), " ") {
		if len(one) < 2 {
			return nil, fmt.Errorf("level %d: %q is no number with a unit (s, m, h, d)", i+1, one)
		}
		unit := units[one[len(one)-1]]
		n, err := strconv.ParseInt(one[:len(one)-1], 10, 32)
		if unit == 0 || err != nil || n < 0 {
			return nil, fmt.Errorf("level %d: %q is no number with a unit (s, m, h, d)", i+1, one)
		}
		levels = append(levels, time.Duration(n)*unit)
	}
	return levels, nil
}

// Cap is the level that a message of a level above the table has; the others are as they are.
func (l DelayLevels) Cap(level int32) int32 { return min(level, int32(len(l))) }

// Wait is how long a message of a level above 0 waits.
func (l DelayLevels) Wait(level int32) time.Duration { return l[l.Cap(level)-1] }

// DelayLevel reads the value of a DELAY property.
func DelayLevel(value []byte) (int32, error) {
	level, err := strconv.ParseInt(string(value), 10, 32)
	if err != nil {
		return 0, fmt.Errorf("property %s is no number: %q", PropDelayTimeLevel, value)
	}
	return int32(level), nil
}
